//! Requests that can be sent again, with their bodies.

mod bodies;
mod repeat;
mod request;
#[cfg(any(
    feature = "axum",
    feature = "hyper",
    feature = "reqwest",
    feature = "tonic"
))]
mod streams;

pub use bodies::ReplayBody;
pub(in crate::protocol::http) use repeat::Repeatable;
pub use request::{KeptRequest, ReplayRequest};
