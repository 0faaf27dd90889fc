use std::fmt;
use std::task::{Context, Poll};

use tower_service::Service;

use super::layer::{Queued, Rejecting};
use super::places::Places;
use crate::call::entry::Entry;
use crate::call::track::AtResponse;
use crate::call::track::Track;
use crate::layers::admission::{Admitted, Gate, WaitingFuture};
use crate::vocabulary::error::{Grown, WithRejection};

/// A service behind a [`BulkheadLayer`](crate::BulkheadLayer).
#[derive(Clone)]
pub struct Bulkhead<S, M = Rejecting, T = AtResponse> {
    pub(super) gate: Gate<S, Places, T>,
    pub(super) mode: M,
}

impl<S, M, T> Bulkhead<S, M, T> {
    /// The inner service.
    pub fn get_ref(&self) -> &S {
        self.gate.inner.get_ref()
    }

    /// The inner service, without the bulkhead.
    pub fn into_inner(self) -> S {
        self.gate.inner.into_inner()
    }
}

impl<S, Req, T> Service<Req> for Bulkhead<S, Rejecting, T>
where
    S: Service<Req>,
    S::Error: WithRejection,
    T: Track<S::Response, Grown<S::Error>> + Clone,
{
    type Response = T::Response;
    type Error = Grown<S::Error>;
    type Future = ResponseFuture<S::Future, T>;

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.gate.poll_ready(cx).map(Ok)
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn call(&mut self, request: Req) -> Self::Future {
        let entry = Entry::of(self);
        self.gate.call(request, entry)
    }
}

impl<S, Req, T> Service<Req> for Bulkhead<S, Queued, T>
where
    S: Service<Req> + Clone,
    S::Error: WithRejection,
    T: Track<S::Response, Grown<S::Error>> + Clone,
{
    type Response = T::Response;
    type Error = Grown<S::Error>;
    type Future = QueuedFuture<S, Req, T>;

    /// While the bulkhead is full, it is ready to let a call wait (or to reject it) without asking the
    /// inner service.
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.gate.poll_ready_or_wait(cx).map(Ok)
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn call(&mut self, request: Req) -> Self::Future {
        let entry = Entry::of(self);
        self.gate.call_or_wait(request, entry, self.mode.max_wait)
    }
}

/// The future of a call through a bulkhead that rejects.
pub type ResponseFuture<F, T = AtResponse> = Admitted<F, Places, T>;

/// The future of a call through a bulkhead with a queue.
pub type QueuedFuture<S, Req, T = AtResponse> = WaitingFuture<S, Req, Places, T>;

impl<S: fmt::Debug, M: fmt::Debug, T> fmt::Debug for Bulkhead<S, M, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bulkhead")
            .field("inner", &self.gate.inner)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}
