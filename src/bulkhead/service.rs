use std::fmt;
use std::task::{Context, Poll};

use tower_service::Service;

use super::layer::Rejecting;
use super::places::{Generation, Places};
use crate::guarded::{Guard, Guarded, Inner, Output, Progress, Ready};
use crate::name::Origin;
use crate::observe::EventKind;
use crate::pool::Home;
use crate::track::{CANCELLED, FAILED, Settle, Track};
use crate::{AtResponse, Grown, Reason, Verdict, WithRejection};

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
    T: Track<S::Response, Grown<S::Error>> + Clone,
{
    type Response = T::Response<Place<T>>;
    type Error = Grown<S::Error>;
    type Future = ResponseFuture<S::Future, T>;

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        if self.places.is_full() {
            self.inner.will_reject(Reason::Full);
            return Poll::Ready(Ok(()));
        }
        self.inner.poll_ready(cx)
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn call(&mut self, request: Req) -> Self::Future {
        let reason = match self.inner.take_ready() {
            Ready::Yes => match self.places.try_take() {
                Some(generation) => {
                    let places = self.places.state();
                    let place = Place::new(places, generation, self.tracker.clone());
                    return Guarded::admitted(self.inner.service.call(request), place);
                }
                None => Reason::Full,
            },
            Ready::No(reason) => reason,
        };
        Guarded::rejected(self.places.listeners.reject(self.origin, reason, None))
    }
}

/// The future of a call through a bulkhead without a queue.
pub type ResponseFuture<F, T = AtResponse> = Guarded<F, Place<T>>;

/// A place in a bulkhead, held by a call until it is over.
pub struct Place<T> {
    places: &'static Places,
    tracker: T,
    /// With the generation.
    progress: Progress,
}

impl<T> Place<T> {
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub(super) fn new(places: &'static Places, generation: Generation, tracker: T) -> Self {
        Self {
            places,
            tracker,
            progress: Progress::new(generation.stamp()),
        }
    }
}

impl<T> Settle for Place<T> {
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn settle(&mut self, verdict: Verdict) {
        if !self.progress.is_settled() {
            self.progress.settle();
            let stamp = self.progress.number();
            self.places.listeners.tell(stamp, || EventKind::Settled {
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
        &self.tracker
    }

    #[inline]
    fn entered(&mut self) {
        self.progress.enter();
    }

    #[inline]
    fn returned(&mut self) {
        self.progress.leave();
    }
}

impl<T> Drop for Place<T> {
    #[inline]
    fn drop(&mut self) {
        self.settle(if self.progress.is_entered() {
            FAILED
        } else {
            CANCELLED
        });
        let generation = Generation::of_stamp(self.progress.number());
        self.places.give_back(generation);
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
