use std::fmt;
use std::task::{Context, Poll};

use tower_service::Service;

use super::layer::{Limited, OnReadiness};
use super::load::Load;
use crate::guarded::{Guarded, Uncounted};
use crate::hold::Hold;
use crate::inner::{Inner, InnerFuture, Ready};
use crate::runtime::Entry;
use crate::tells::Tells;
use crate::time::Time;
use crate::track::Track;
use crate::{AtResponse, Grown, Reason, WithRejection};

/// A service behind a [`LoadShedLayer`](crate::LoadShedLayer).
#[derive(Clone)]
pub struct LoadShed<S, M = Limited> {
    pub(super) inner: Inner<S>,
    pub(super) mode: M,
}

impl<S, M> LoadShed<S, M> {
    /// The inner service.
    pub fn get_ref(&self) -> &S {
        self.inner.get_ref()
    }

    /// The inner service, without load shedding.
    pub fn into_inner(self) -> S {
        self.inner.into_inner()
    }

    /// Always ready.
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn poll_inner<Req>(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Grown<S::Error>>>
    where
        S: Service<Req>,
        S::Error: WithRejection,
    {
        let _ = self.inner.poll_ready(cx);
        Poll::Ready(Ok(()))
    }
}

impl<S, Req, T> Service<Req> for LoadShed<S, Limited<T>>
where
    S: Service<Req>,
    S::Error: WithRejection,
    T: Track<S::Response, Grown<S::Error>> + Clone,
{
    type Response = T::Response;
    type Error = Grown<S::Error>;
    type Future = ResponseFuture<S::Future, InFlight<T>>;

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        if self.mode.load.is_full() {
            self.inner.will_reject(Reason::Shed);
            return Poll::Ready(Ok(()));
        }
        if self.mode.waits {
            return self.inner.poll_ready(cx).map(Ok);
        }
        self.poll_inner(cx)
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn call(&mut self, request: Req) -> Self::Future {
        let mode = &self.mode;
        let reason = match self.inner.take_ready() {
            Ready::Yes => match mode.load.try_admit() {
                Some(admitted) => {
                    let load = mode.load.state();
                    let entry = admitted.is_sample().then(|| {
                        load.watch_lag(admitted);
                        Entry::new()
                    });
                    // Known for samples from the start, for the others from when they first had to wait: that is all that
                    // a cancellation and a snapshot need.
                    let time = match &entry {
                        Some(entry) => Time::at_once(entry.now()),
                        None => Time::UNKNOWN,
                    };
                    let in_flight =
                        InFlight::new(load, time, admitted.to_bits(), mode.tracker.clone())
                            .queueing_up(load.queues_up());
                    return Guarded::admitted(self.inner.call(request), in_flight);
                }
                None => Reason::Shed,
            },
            Ready::No(reason) => reason,
        };
        if reason == Reason::Shed {
            mode.load.shed();
        }
        Guarded::rejected(mode.load.reject(mode.origin, reason, None))
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
            Ready::Yes => Guarded::admitted(self.inner.call(request), Uncounted),
            Ready::No(reason) => Guarded::rejected(self.mode.teller.reject(reason)),
        }
    }
}

/// The future of a call through a load shedder.
pub type ResponseFuture<F, G = InFlight<AtResponse>> = Guarded<InnerFuture<F>, G>;

/// A call in flight under a limit.
pub type InFlight<T> = Hold<Load, T>;

impl<S: fmt::Debug, M: fmt::Debug> fmt::Debug for LoadShed<S, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadShed")
            .field("inner", &self.inner)
            .field("mode", &self.mode)
            .finish()
    }
}
