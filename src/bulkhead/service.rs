use std::fmt;
use std::task::{Context, Poll};

use tower_service::Service;

use super::layer::Rejecting;
use super::places::Places;
use crate::guarded::{Guarded, Output};
use crate::hold::Hold;
use crate::inner::{Inner, InnerFuture, Ready};
use crate::name::Origin;
use crate::pool::Home;
use crate::tells::Tells;
use crate::track::Track;
use crate::{AtResponse, Grown, Reason, WithRejection};

/// A service behind a [`BulkheadLayer`](crate::BulkheadLayer).
#[derive(Clone)]
pub struct Bulkhead<S, M = Rejecting, T = AtResponse> {
    pub(super) inner: Inner<S>,
    pub(super) places: Home<Places>,
    pub(super) origin: &'static Origin,
    pub(super) mode: M,
    pub(super) tracker: T,
}

impl<S, M, T> Bulkhead<S, M, T> {
    /// The inner service.
    pub fn get_ref(&self) -> &S {
        self.inner.get_ref()
    }

    /// The inner service, without the bulkhead.
    pub fn into_inner(self) -> S {
        self.inner.into_inner()
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
        if self.places.is_full() {
            self.inner.will_reject(Reason::Full);
            return Poll::Ready(Ok(()));
        }
        self.inner.poll_ready(cx).map(Ok)
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn call(&mut self, request: Req) -> Self::Future {
        let reason = match self.inner.take_ready() {
            Ready::Yes => match self.places.try_take() {
                Some(generation) => {
                    let place = self.places.state().place(generation, self.tracker.clone());
                    return Guarded::admitted(self.inner.call(request), place);
                }
                None => Reason::Full,
            },
            Ready::No(reason) => reason,
        };
        Guarded::rejected(self.places.reject(self.origin, reason, None))
    }
}

/// The future of a call through a bulkhead without a queue.
pub type ResponseFuture<F, T = AtResponse> = Guarded<InnerFuture<F>, Place<T>>;

/// A place in a bulkhead, held by a call until it is over.
pub type Place<T> = Hold<Places, T>;

impl<S: fmt::Debug, M: fmt::Debug, T> fmt::Debug for Bulkhead<S, M, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bulkhead")
            .field("inner", &self.inner)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

/// What a call through a bulkhead resolves to.
pub(super) type Resolved<S, Req, T> =
    Output<Place<T>, <S as Service<Req>>::Response, <S as Service<Req>>::Error>;
