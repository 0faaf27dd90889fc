//! The standard stacks, as their users have them: on real sockets, stored in structs, shared; what counts as evidence in them, the README's
//! snippets and the recipes.
#![cfg(feature = "full")]

mod any;
mod clashes;
mod clients;
mod deadline;
mod evidence;
mod extremes;
mod fits;
mod foreign;
mod full_headers;
mod grpc;
mod healthy;
mod judging;
mod keyed;
mod live;
mod long_responses;
mod order;
mod overrides;
mod rates;
mod readme;
mod recipes;
mod refine;
mod refine_names;
mod reqwests;
mod served;
mod servers;
mod shapes;
mod sharing;
mod unset;
mod upstream;
mod without;
mod without_servers;

#[path = "../common/mod.rs"]
mod common;
#[path = "../support/mod.rs"]
mod support;

/// Made from `examples/proto/users.proto`.
#[allow(unreachable_pub, reason = "generated")]
mod users {
    include!("../../examples/proto/users.rs");
}
