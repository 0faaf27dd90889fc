//! The layers over gRPC: servers, clients and their retries.

mod health;
mod hints;
mod retries;
mod tonic;

#[path = "../common/mod.rs"]
mod common;
#[path = "../support/mod.rs"]
mod support;

/// Made from `examples/proto/users.proto`.
#[allow(unreachable_pub, reason = "generated")]
mod users {
    include!("../../examples/proto/users.rs");
}
