//! The layers over HTTP: servers, bodies, deadlines, and peers that misbehave.

mod axum;
mod body;
mod deadlines;
mod edges;
mod hostile;
mod replay;
mod shutdown;
mod streams;

#[path = "../common/mod.rs"]
mod common;
#[path = "../support/mod.rs"]
mod support;

/// Made from `examples/proto/users.proto`.
#[allow(unreachable_pub, reason = "generated")]
mod users {
    include!("../../examples/proto/users.rs");
}
