//! Standard stacks for any request type: [`client`] and [`server`].

mod client;
mod client_stack;
mod deadline;
mod parts;
mod propagate;
mod server;

pub use client::{AnyClientBuilder, client};
pub use client_stack::{AnyClient, AnyClientSnapshot, AnyClientStack};
pub use deadline::{CarriedDeadline, CarriedDeadlineLayer};
pub use parts::{AnyLimit, IntoRetry, NoRetry};
pub use propagate::{Carried, NoContext, Propagate};
pub use server::{AnyServer, AnyServerBuilder, AnyServerSnapshot, AnyServerStack, server};
