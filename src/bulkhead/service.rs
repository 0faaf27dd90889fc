use std::fmt;
use std::task::{Context, Poll};

use tower_service::Service;

use super::layer::{Rejecting, State};
use crate::guarded::{Guard, Guarded, Inner, Output, Ready};
use crate::observe::EventKind;
use crate::shared::{Held, Shared};
use crate::track::{CANCELLED, FAILED, Settle, Track};
use crate::{AtResponse, Grown, Reason, Verdict, WithRejection};

/// A service behind a [`BulkheadLayer`](crate::BulkheadLayer).
pub struct Bulkhead<S, M = Rejecting, T = AtResponse> {
    pub(super) inner: Inner<S>,
    pub(super) shared: Shared<State<T>>,
    pub(super) mode: M,
}

impl<S, M, T> Bulkhead<S, M, T> {
    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner.service
    }

    /// The inner service, without the bulkhead.
    pub fn into_inner(self) -> S {
        self.inner.service
    }
}

impl<S, Req, T> Service<Req> for Bulkhead<S, Rejecting, T>
where
    S: Service<Req>,
    S::Error: WithRejection,
    T: Track<S::Response, Grown<S::Error>>,
{
    type Response = T::Response<Place<T>>;
    type Error = Grown<S::Error>;
    type Future = ResponseFuture<S::Future, T>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        if self.shared.places.is_full() {
            self.inner.will_reject(Reason::Full);
            return Poll::Ready(Ok(()));
        }
        self.inner.poll_ready(cx)
    }

    #[inline]
    fn call(&mut self, request: Req) -> Self::Future {
        let reason = match self.inner.take_ready() {
            Ready::Yes if self.shared.places.try_take() => {
                let place = Place::new(self.shared.hold());
                return Guarded::admitted(self.inner.service.call(request), place);
            }
            Ready::Yes => Reason::Full,
            Ready::No(reason) => reason,
        };
        Guarded::rejected(self.shared.listeners.reject(reason, None))
    }
}

/// The future of a call through a bulkhead without a queue.
pub type ResponseFuture<F, T = AtResponse> = Guarded<F, Place<T>>;

/// A place in a bulkhead, held by a call until it is over.
pub struct Place<T> {
    state: Held<State<T>>,
    settled: bool,
    entered: bool,
}

impl<T> Place<T> {
    #[inline]
    pub(super) fn new(state: Held<State<T>>) -> Self {
        Self {
            state,
            settled: false,
            entered: true,
        }
    }
}

impl<T> Settle for Place<T> {
    #[inline]
    fn settle(&mut self, verdict: Verdict) {
        if !std::mem::replace(&mut self.settled, true) {
            self.state.listeners.tell(|| EventKind::Settled {
                outcome: verdict.outcome(),
                latency: None,
            });
        }
    }
}

impl<T> Guard for Place<T> {
    type Track = T;

    #[inline]
    fn tracker(&self) -> &T {
        &self.state.tracker
    }

    #[inline]
    fn entered(&mut self) {
        self.entered = true;
    }

    #[inline]
    fn returned(&mut self) {
        self.entered = false;
    }
}

impl<T> Drop for Place<T> {
    #[inline]
    fn drop(&mut self) {
        self.settle(if self.entered { FAILED } else { CANCELLED });
        self.state.places.give_back();
    }
}

impl<S: Clone, M: Clone, T> Clone for Bulkhead<S, M, T> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            shared: self.shared.clone(),
            mode: self.mode.clone(),
        }
    }
}

impl<S: fmt::Debug, M: fmt::Debug, T> fmt::Debug for Bulkhead<S, M, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bulkhead")
            .field("inner", &self.inner.service)
            .field("mode", &self.mode)
            .finish_non_exhaustive()
    }
}

impl<T> fmt::Debug for Place<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Place")
    }
}

/// What a call through a bulkhead resolves to.
pub(super) type Resolved<S, Req, T> =
    Output<Place<T>, <S as Service<Req>>::Response, <S as Service<Req>>::Error>;
