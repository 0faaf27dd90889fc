use std::fmt;
use std::marker::PhantomData;

use super::handle::BulkheadHandle;
use super::permits::Permits;
use crate::call::track::AtResponse;
use crate::layers::admission::{
    Gate, Queued, Rejecting, admitted_future, call_through_gate, inner_of_gate, queued_future,
    wait_at_gate,
};
use crate::layers::keyed::{Keying, KeyingOf, OneForAll};

/// Limits the calls in flight to an inner service. Made by a
/// [`BulkheadLayer`](crate::BulkheadLayer).
#[derive(Clone)]
pub struct Bulkhead<S, M = Rejecting, T = AtResponse, K: Keying = OneForAll> {
    pub(super) gate: Gate<S, K::Instances<Permits>, T>,
    pub(super) queueing: PhantomData<M>,
}

inner_of_gate!([S, M, T, K: Keying] Bulkhead<S, M, T, K>);

impl<S, M, T, K: Keying> Bulkhead<S, M, T, K> {
    /// A handle to inspect its instance.
    #[must_use]
    pub fn handle(&self) -> BulkheadHandle {
        BulkheadHandle::new(K::target(&self.gate.state))
    }
}

call_through_gate!(
    [K: KeyingOf<Req>] Bulkhead<S, Rejecting, T, K>,
    ResponseFuture<S::Future, T>,
    K => Permits
);
wait_at_gate!(
    [K: KeyingOf<Req>] Bulkhead<S, Queued, T, K>,
    QueuedFuture<S, Req, T>,
    K => Permits
);

admitted_future! {
    /// The future of a call through a bulkhead without a queue.
    pub struct ResponseFuture<F> of Permits
}

queued_future! {
    /// The future of a call through a bulkhead with a queue.
    pub struct QueuedFuture<S, Req> of Permits
}

impl<S: fmt::Debug, M, T, K: Keying> fmt::Debug for Bulkhead<S, M, T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bulkhead")
            .field("inner", &self.gate.inner)
            .field("mode", &self.handle().settings().mode)
            .finish_non_exhaustive()
    }
}
