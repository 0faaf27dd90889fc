//! Hostile peers, over real sockets: whatever they do, everything is given back, the outcome is what README says, nothing panics, and a
//! call that is well answered goes through afterwards.
#![cfg(all(
    feature = "axum",
    feature = "hyper",
    feature = "reqwest",
    feature = "tonic"
))]

#[path = "../common/mod.rs"]
mod common;
mod peers;
mod stacks;

mod clients_h1;
mod clients_h2;
mod reqwests;
mod servers;

#[allow(unreachable_pub, reason = "generated")]
mod users {
    include!("../../examples/proto/users.rs");
}
