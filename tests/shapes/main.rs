//! The shapes in which tonic, axum, hyper and tower-http take a service or a layer: each compiles with a standard stack, and a call passes through it.
#![cfg(all(feature = "axum", feature = "hyper", feature = "tonic"))]

#[allow(unreachable_pub, reason = "generated")]
mod users {
    include!("../../examples/proto/users.rs");
}
#[path = "../common/mod.rs"]
mod common;

mod middleware;
mod routers;
mod stubs;
mod wrapped;
