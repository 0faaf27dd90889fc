//! Hostile peers, over real sockets: whatever they do, everything is given back, the outcome is what README says, nothing panics, and a
//! call that is well answered goes through afterwards.
#![cfg(all(
    feature = "axum",
    feature = "hyper",
    feature = "reqwest",
    feature = "tonic"
))]

mod peers;
mod stacks;

mod clients_h1;
mod clients_h2;
mod reqwests;
mod servers;
