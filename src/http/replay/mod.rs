//! Requests that can be sent again, and what their bodies have to do with it.

mod bodies;
mod request;
#[cfg(any(
    feature = "axum",
    feature = "hyper",
    feature = "reqwest",
    feature = "tonic"
))]
mod streams;

pub use bodies::ReplayBody;
pub use request::{KeptRequest, ReplayRequest};
