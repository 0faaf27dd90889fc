//! The deadline in headers.

mod header;
mod layer;
mod wire;

pub use header::DeadlineHeader;
pub use layer::DeadlineLayer;
pub(crate) use layer::checked;
pub(crate) use wire::{Form, GRPC_TIMEOUT, TIMEOUT_MS};

pub use crate::layers::deadline::{Deadline, DeadlineFuture, WriteDeadline};
