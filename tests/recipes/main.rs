//! What the recipes of `mainstay::recipes` promise, over real sockets.
#![cfg(feature = "full")]

#[path = "../common/mod.rs"]
mod common;
#[allow(missing_docs, unreachable_pub, reason = "generated")]
mod users {
    include!("../../examples/proto/users.rs");
}

mod edge;
mod fallback;
mod health;
mod long;
mod routes;
mod shutdown;
mod streams;
