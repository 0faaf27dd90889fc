//! Standard stacks for any request type: [`client`] and [`server`].

mod client;
mod client_stack;
mod deadline;
mod parts;
mod propagate;
mod server;
mod server_stack;

pub use crate::layers::deadline::{Deadline, DeadlineFuture, WriteDeadline};
pub use client::{AnyClientBuilder, client};
pub use client_stack::{AnyClient, AnyClientSnapshot, AnyClientStack};
pub use deadline::{CarriedDeadlineLayer, DeadlineField};
pub use parts::{AnyLimit, IntoRetry, NoRetry};
pub use propagate::{Carried, NoContext, Propagate};
pub use server::{AnyServerBuilder, server};
pub use server_stack::{AnyServer, AnyServerSnapshot, AnyServerStack};
