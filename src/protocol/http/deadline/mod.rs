//! Deadlines on the wire.

mod layer;
mod service;
mod wire;

pub use layer::DeadlineLayer;
pub(crate) use layer::checked;
pub use service::{Deadline, ResponseFuture as DeadlineFuture};
pub(crate) use wire::{Form, GRPC_TIMEOUT, TIMEOUT_MS};
