//! Deadlines on the wire and time limits on bodies, each test named after what it keeps from happening.
#![cfg(feature = "full")]

#[path = "../common/mod.rs"]
mod common;
#[path = "../support/mod.rs"]
mod support;
#[allow(unreachable_pub, reason = "generated")]
mod users {
    include!("../../examples/proto/users.rs");
}

mod bodies;
mod inbound;
mod outbound;
mod script;
mod sockets;
mod tonics;
mod uploads;
mod whole_calls;
