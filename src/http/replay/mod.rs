//! Requests that can be sent again, and what their bodies have to do with it.

mod bodies;
mod request;
mod superseded;
mod tape;
#[cfg(test)]
mod tests;

pub use bodies::{KeptBody, ReplayBody};
pub use request::{KeptRequest, ReplayRequest};
