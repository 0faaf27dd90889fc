//! Whether a stack propagates the context in its requests.

use tower_layer::Identity;

use super::deadline::CarriedDeadlineLayer;
use crate::layers::correlation::{Client, Consumer, CorrelationLayer};
use crate::vocabulary::sealed::Sealed;

/// Whether a stack for any request type propagates the [`Context`](crate::Context) in its requests:
/// [`Carried`] or [`NoContext`].
///
/// This trait is sealed: only mainstay implements it.
pub trait Propagate: Sealed {
    /// The correlation layer of a client.
    #[doc(hidden)]
    type Client: Clone;
    /// The deadline layer of a client.
    #[doc(hidden)]
    type Deadline: Clone;
    /// The correlation layer of a server.
    #[doc(hidden)]
    type Server: Clone;
    #[doc(hidden)]
    const CARRIES: bool;
}

impl Sealed for NoContext {}
impl Sealed for Carried {}

/// Requests of any type, without a context.
#[derive(Debug, Clone, Copy)]
pub struct NoContext;

/// Requests that implement [`Carry`](crate::Carry) and propagate the context.
#[derive(Debug, Clone, Copy)]
pub struct Carried;

impl Propagate for NoContext {
    type Client = Identity;
    type Deadline = Identity;
    type Server = Identity;
    const CARRIES: bool = false;
}

impl Propagate for Carried {
    type Client = CorrelationLayer<Client>;
    type Deadline = CarriedDeadlineLayer;
    type Server = CorrelationLayer<Consumer>;
    const CARRIES: bool = true;
}
