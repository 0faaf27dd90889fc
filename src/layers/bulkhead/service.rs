use std::fmt;
use std::task::{Context, Poll};

use tower_service::Service;

use super::layer::Rejecting;
use super::places::Places;
use crate::call::entry::Entry;
use crate::call::guarded::Output;
use crate::call::track::AtResponse;
use crate::call::track::Track;
use crate::layers::admission::{Admitted, Gate};
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

/// The future of a call through a bulkhead that rejects.
pub type ResponseFuture<F, T = AtResponse> = Admitted<F, Places, T>;

/// The permit of a call in a bulkhead.
pub(super) type Permit<T> = crate::call::permit::Permit<Places, T>;

impl<S: fmt::Debug, M: fmt::Debug, T> fmt::Debug for Bulkhead<S, M, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bulkhead")
            .field("inner", &self.gate.inner)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

/// What a call through a bulkhead resolves to.
pub(super) type Resolved<S, Req, T> =
    Output<Permit<T>, <S as Service<Req>>::Response, <S as Service<Req>>::Error>;
