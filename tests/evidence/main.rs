//! What counts as evidence against an upstream, and what one caller can do to the calls of others.
#![cfg(feature = "full")]

mod answers;
mod budgets;
mod callers;
mod gateway;
mod half_sent;
mod limits;
mod refusals;
mod shadow;
mod uploads;

#[path = "../common/mod.rs"]
mod common;
#[path = "../support/mod.rs"]
mod support;

#[allow(unreachable_pub, reason = "generated")]
mod users {
    include!("../../examples/proto/users.rs");
}
