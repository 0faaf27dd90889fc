use std::fmt;
use std::marker::PhantomData;

use super::handle::BulkheadHandle;
use super::permits::Permits;
use crate::call::track::AtResponse;
use crate::layers::admission::{
    Gate, Queued, Rejecting, admitted_future, call_through_gate, inner_of_gate, queued_future,
    wait_at_gate,
};

/// Limits the calls in flight to an inner service. Made by a
/// [`BulkheadLayer`](crate::BulkheadLayer).
#[derive(Clone)]
pub struct Bulkhead<S, M = Rejecting, T = AtResponse> {
    pub(super) gate: Gate<S, Permits, T>,
    pub(super) queueing: PhantomData<M>,
}

inner_of_gate!(Bulkhead<S, M, T>);

impl<S, M, T> Bulkhead<S, M, T> {
    /// A handle to inspect its instance.
    #[must_use]
    pub fn handle(&self) -> BulkheadHandle {
        BulkheadHandle::new(&self.gate.state)
    }
}

call_through_gate!(Bulkhead<S, Rejecting, T>, ResponseFuture<S::Future, T>);
wait_at_gate!(Bulkhead<S, Queued, T>, QueuedFuture<S, Req, T>);

admitted_future! {
    /// The future of a call through a bulkhead without a queue.
    pub struct ResponseFuture<F> of Permits
}

queued_future! {
    /// The future of a call through a bulkhead with a queue.
    pub struct QueuedFuture<S, Req> of Permits
}

impl<S: fmt::Debug, M, T> fmt::Debug for Bulkhead<S, M, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bulkhead")
            .field("inner", &self.gate.inner)
            .field("mode", &self.gate.state.mode())
            .finish_non_exhaustive()
    }
}
