//! Events, metrics, log lines, spans and snapshots, and that they agree.

mod books;
mod events;
mod health;
mod logs;
mod metrics;
mod metrics_sockets;
mod recorders;
mod registry;
mod shutdown;
mod snapshots;
mod spans;

#[path = "../common/mod.rs"]
mod common;
#[path = "../support/mod.rs"]
mod support;

/// Made from `examples/proto/users.proto`.
#[allow(unreachable_pub, reason = "generated")]
mod users {
    include!("../../examples/proto/users.rs");
}
