//! The shapes in which tonic, axum, hyper and tower-http take a service or a layer: each compiles with a standard stack, and a call passes through it.
#![cfg(all(feature = "axum", feature = "hyper", feature = "tonic"))]

mod middleware;
mod routers;
mod stubs;
mod wrapped;
