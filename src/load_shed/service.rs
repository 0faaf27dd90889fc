use std::fmt;
use std::task::{Context, Poll};
use std::time::Duration;

use tower_service::Service;

use super::layer::{Limited, OnReadiness};
use super::load::{Admitted, Load};
use crate::context;
use crate::guarded::{Guard, Guarded, Inner, Progress, Ready};
use crate::observe::EventKind;
use crate::runtime::{Entry, Moment};
use crate::track::{CANCELLED, FAILED, Settle, Track};
use crate::{AtResponse, Grown, Outcome, Reason, Verdict, WithRejection};

/// A service behind a [`LoadShedLayer`](crate::LoadShedLayer).
#[derive(Clone)]
pub struct LoadShed<S, M = Limited> {
    pub(super) inner: Inner<S>,
    pub(super) mode: M,
}

impl<S, M> LoadShed<S, M> {
    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner.service
    }

    /// The inner service, without load shedding.
    pub fn into_inner(self) -> S {
        self.inner.service
    }

    /// Always ready, or failed as the inner service has.
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn poll_inner<Req>(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Grown<S::Error>>>
    where
        S: Service<Req>,
        S::Error: WithRejection,
    {
        match self.inner.poll_ready(cx) {
            Poll::Pending => Poll::Ready(Ok(())),
            ready => ready,
        }
    }
}

impl<S, Req, T> Service<Req> for LoadShed<S, Limited<T>>
where
    S: Service<Req>,
    S::Error: WithRejection,
    T: Track<S::Response, Grown<S::Error>> + Clone,
{
    type Response = T::Response<InFlight<T>>;
    type Error = Grown<S::Error>;
    type Future = ResponseFuture<S::Future, InFlight<T>>;

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        if self.mode.load.is_full() {
            self.inner.will_reject(Reason::Shed);
            return Poll::Ready(Ok(()));
        }
        self.poll_inner(cx)
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn call(&mut self, request: Req) -> Self::Future {
        let mode = &self.mode;
        let reason = match self.inner.take_ready() {
            Ready::Yes => match mode.load.try_admit() {
                Some(admitted) => {
                    let entry = admitted.sample.then(Entry::new);
                    let in_flight = InFlight {
                        load: mode.load.state(),
                        tracker: mode.tracker.clone(),
                        started: entry.as_ref().map_or(Moment::NEVER, Entry::now),
                        progress: Progress::new(admitted.to_bits()),
                    };
                    return Guarded::admitted(self.inner.service.call(request), in_flight);
                }
                None => Reason::Shed,
            },
            Ready::No(reason) => reason,
        };
        Guarded::rejected(mode.load.listeners.reject(mode.origin, reason, None))
    }
}

impl<S, Req> Service<Req> for LoadShed<S, OnReadiness>
where
    S: Service<Req>,
    S::Error: WithRejection,
{
    type Response = S::Response;
    type Error = Grown<S::Error>;
    type Future = ResponseFuture<S::Future, Uncounted>;

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.poll_inner(cx)
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn call(&mut self, request: Req) -> Self::Future {
        match self.inner.take_ready() {
            Ready::Yes => Guarded::admitted(self.inner.service.call(request), Uncounted),
            Ready::No(reason) => Guarded::rejected(self.mode.teller.reject(reason)),
        }
    }
}

/// The future of a call through a load shedder.
pub type ResponseFuture<F, G = InFlight<AtResponse>> = Guarded<F, G>;

/// A call in flight under a limit.
pub struct InFlight<T> {
    load: &'static Load,
    tracker: T,
    /// Known for samples from the start, for the others from when they first had to wait: that is all a
    /// cancellation needs.
    started: Moment,
    /// With how it was admitted.
    progress: Progress,
}

impl<T> InFlight<T> {
    #[inline]
    fn admitted(&self) -> Admitted {
        Admitted::from_bits(self.progress.number())
    }

    /// The latency of a sample is taken, or a drop is noted.
    #[cold]
    fn report(&self, verdict: Verdict) {
        let (load, outcome) = (self.load, verdict.outcome());
        let now = Moment::now();
        let latency = (self.started != Moment::NEVER).then(|| now.since(self.started));
        let ran = if context::deadline_has_passed() {
            // Cut off by its own deadline, however short that was: no caller that changed its mind.
            Some(Duration::MAX)
        } else {
            latency
        };
        let gave_up =
            outcome == Outcome::Cancelled && ran.is_some_and(|ran| load.gave_up_after(ran));
        let now = now.since_beginning();
        let moved = match latency {
            _ if verdict.is_overload() || gave_up => load.dropped(self.admitted(), now),
            Some(latency) if self.admitted().sample && outcome == Outcome::Success => {
                load.sample(self.admitted(), now, latency)
            }
            _ => None,
        };
        if let Some((from, to)) = moved {
            let stamp = self.admitted().stamp();
            load.listeners
                .tell(stamp, || EventKind::LimitChanged { from, to });
        }
    }
}

impl<T> Settle for InFlight<T> {
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn settle(&mut self, verdict: Verdict) {
        if self.progress.is_settled() {
            return;
        }
        self.progress.settle();
        let tells = self.admitted().sample
            || verdict.is_overload()
            || verdict.outcome() == Outcome::Cancelled;
        if tells && self.load.moves() {
            self.report(verdict);
        }
        let stamp = self.admitted().stamp();
        self.load.listeners.tell(stamp, || EventKind::Settled {
            outcome: verdict.outcome(),
            latency: None,
        });
    }
}

impl<T> Guard for InFlight<T> {
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

    #[inline]
    fn suspended(&mut self) {
        self.returned();
        if self.started == Moment::NEVER && self.load.moves() {
            self.started = Moment::now();
        }
    }
}

impl<T> Drop for InFlight<T> {
    #[inline]
    fn drop(&mut self) {
        self.settle(if self.progress.is_entered() {
            FAILED
        } else {
            CANCELLED
        });
        self.load.release(self.admitted());
    }
}

/// What a call holds where only readiness sheds: nothing.
#[derive(Debug, Clone, Copy)]
pub struct Uncounted;

impl Settle for Uncounted {
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn settle(&mut self, _: Verdict) {}
}

impl Guard for Uncounted {
    type Track = AtResponse;

    #[inline]
    fn tracker(&self) -> &AtResponse {
        &AtResponse(crate::ErrorsFail)
    }

    #[inline]
    fn entered(&mut self) {}

    #[inline]
    fn returned(&mut self) {}
}

impl<S: fmt::Debug, M: fmt::Debug> fmt::Debug for LoadShed<S, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadShed")
            .field("inner", &self.inner.service)
            .field("mode", &self.mode)
            .finish()
    }
}

impl<T> fmt::Debug for InFlight<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InFlight")
    }
}
