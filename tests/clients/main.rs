//! The layers around clients of HTTP and gRPC.

mod hyper;
mod keyed;
mod keyed_any;
mod overrides;
mod priority;
mod readiness;
mod refused;
mod reqwest;

#[path = "../common/mod.rs"]
mod common;

/// Made from `examples/proto/users.proto`.
#[allow(unreachable_pub, reason = "generated")]
mod users {
    include!("../../examples/proto/users.rs");
}
