//! The README's snippets, compiled and run.
#![cfg(feature = "full")]

#[path = "../common/mod.rs"]
mod common;
#[allow(missing_docs, unreachable_pub, reason = "generated")]
mod users {
    include!("../../examples/proto/users.rs");
}

mod axum_server;
mod gateway;
mod reqwest_client;
mod snippets;
mod tonic;
