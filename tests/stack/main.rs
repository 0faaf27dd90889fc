//! The standard stacks, as their users have them: on real sockets, stored in structs, shared.
#![cfg(feature = "full")]

mod any;
mod clashes;
mod clients;
mod deadline;
mod extremes;
mod fits;
mod foreign;
mod full_headers;
mod grpc;
mod healthy;
mod judging;
mod long_responses;
mod order;
mod refine;
mod refine_names;
mod reqwests;
mod served;
mod servers;
mod sharing;
mod upstream;
mod without;
mod without_servers;

#[path = "../common/mod.rs"]
mod common;

#[allow(unreachable_pub, reason = "generated")]
mod users {
    include!("../../examples/proto/users.rs");
}
