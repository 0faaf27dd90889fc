//! A call that may wait for its place.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::layer::Queued;
use super::places::{Generation, Number, Places, Taken};
use super::service::{Bulkhead, Place, Resolved, ResponseFuture};
use crate::guarded::Guarded;
use crate::inner::{Inner, Ready};
use crate::meter::{Handles, Meter};
use crate::name::Origin;
use crate::pool::Home;
use crate::runtime::{Entry, Moment, Timer};
use crate::tells::Tells;
use crate::track::Track;
use crate::unsent::Found;
use crate::{Grown, Reason, WithRejection, context};

impl<S, Req, T> Service<Req> for Bulkhead<S, Queued, T>
where
    S: Service<Req> + Clone,
    S::Error: WithRejection,
    T: Track<S::Response, Grown<S::Error>> + Clone,
{
    type Response = T::Response;
    type Error = Grown<S::Error>;
    type Future = QueuedFuture<S, Req, T>;

    /// While the bulkhead is full, it is ready to let a call wait (or to reject it) without asking the inner service.
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        if self.places.is_full() {
            self.inner.will_reject(Reason::Full);
            Found::Unasked.note();
            return Poll::Ready(Ok(()));
        }
        self.inner.poll_ready(cx).map(Ok)
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn call(&mut self, request: Req) -> Self::Future {
        let (was_ready, reason) = match self.inner.take_ready() {
            Ready::Yes => match self.places.try_take() {
                Some(generation) => {
                    // Before the call, so that it is given back should the call panic.
                    let place = self.places.state().place(generation, self.tracker.clone());
                    let call = Guarded::admitted(self.inner.call(request), place);
                    return QueuedFuture {
                        phase: Phase::Calling { call },
                    };
                }
                None => (true, Reason::Full),
            },
            Ready::No(reason) => (false, reason),
        };
        QueuedFuture {
            phase: self.wait_or_reject(request, was_ready, reason),
        }
    }
}

impl<S, T> Bulkhead<S, Queued, T> {
    #[cold]
    fn wait_or_reject<Req>(
        &mut self,
        request: Req,
        was_ready: bool,
        reason: Reason,
    ) -> Phase<S, Req, S::Future, T>
    where
        S: Service<Req> + Clone,
        T: Clone,
    {
        let Some(max_wait) = self.mode.max_wait else {
            let call = Guarded::rejected(self.places.reject(self.origin, reason, None));
            return Phase::Calling { call };
        };
        // Ready or not, the service that is called in the end is a clone that is made ready then: one that
        // waited here could keep something reserved that others need.
        let service = if was_ready {
            self.inner.reset()
        } else {
            self.inner.get_ref().clone()
        };
        let now = Entry::new().now();
        let wait = Wait {
            waiting: Some(Waiting {
                request,
                service: Inner::new(service),
                tracker: self.tracker.clone(),
                turn: Turn {
                    places: self.places.clone(),
                    origin: self.origin,
                    stage: Stage::New,
                    is_counted: false,
                    since: now,
                    meter: Meter::NOBODY,
                },
            }),
            until: now.after(max_wait).min(context::deadline().local()),
            timer: None,
        };
        Phase::Waiting {
            wait: Box::pin(wait),
        }
    }
}

/// A call and its turn, before it is called.
struct Waiting<S, Req, T> {
    // The turn comes last: the request and the service are given up before the place is.
    request: Req,
    service: Inner<S>,
    tracker: T,
    turn: Turn,
}

/// A place in the queue or in the bulkhead, given back when it is dropped. Whoever waits keeps the bulkhead alive.
struct Turn {
    places: Home<Places>,
    origin: &'static Origin,
    stage: Stage,
    /// Whether the call is counted as admitted or rejected. Else it is given up when this is dropped.
    is_counted: bool,
    since: Moment,
    meter: Meter,
}

#[derive(Clone, Copy)]
enum Stage {
    New,
    InQueue(Number),
    HasPlace(Generation),
}

impl Turn {
    /// Ready with the place, or with `None` when there is not even room to wait.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<Generation>> {
        loop {
            match self.stage {
                Stage::New => match self.places.take_or_wait(cx.waker()) {
                    Taken::Place(generation) => self.stage = Stage::HasPlace(generation),
                    Taken::Full => return Poll::Ready(None),
                    Taken::Waiting(number) => {
                        self.stage = Stage::InQueue(number);
                        self.meter = self.places.meter();
                        self.meter.tell(Handles::queued);
                        return Poll::Pending;
                    }
                },
                Stage::InQueue(number) => {
                    let generation = ready!(self.places.poll_handed(number, cx));
                    self.left_queue();
                    self.stage = Stage::HasPlace(generation);
                }
                Stage::HasPlace(generation) => return Poll::Ready(Some(generation)),
            }
        }
    }

    fn left_queue(&self) {
        // Whoever was told that it waits.
        self.meter
            .tell(|handles| handles.dequeued(self.since.elapsed()));
    }

    /// The place, for the call that now begins.
    fn into_place<T>(mut self, generation: Generation, tracker: T) -> Place<T> {
        (self.stage, self.is_counted) = (Stage::New, true);
        self.places.state().place(generation, tracker)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        match self.stage {
            Stage::New => {}
            Stage::InQueue(number) => {
                self.places.leave(number);
                self.left_queue();
            }
            Stage::HasPlace(generation) => self.places.give_back_unused(generation),
        }
        if !self.is_counted {
            self.places.gave_up(self.since.elapsed());
        }
    }
}

pin_project! {
    /// The future of a call through a bulkhead with a queue.
    #[must_use = "futures do nothing unless polled"]
    pub struct QueuedFuture<S, Req, T>
    where
        S: Service<Req>,
    {
        #[pin]
        phase: Phase<S, Req, S::Future, T>,
    }
}

pin_project! {
    #[project = PhaseProj]
    enum Phase<S, Req, F, T> {
        /// Apart, because it is large, and most calls never come here.
        Waiting {
            wait: Pin<Box<Wait<S, Req, T>>>,
        },
        /// Called, or rejected.
        Calling {
            #[pin]
            call: ResponseFuture<F, T>,
        },
        /// Called after a wait, and what was found of the inner service's readiness then.
        Waited {
            #[pin]
            call: ResponseFuture<F, T>,
            found: Found,
        },
        Done,
    }
}

pin_project! {
    /// A call that waits for a place, or with a place for the inner service.
    struct Wait<S, Req, T> {
        waiting: Option<Waiting<S, Req, T>>,
        until: Moment,
        // Made when it first has to wait.
        #[pin]
        timer: Option<Timer>,
    }
}

/// What had waited, and how it ended.
type Waited<S, Req, T> = (Waiting<S, Req, T>, Ended);

/// How the wait ended.
enum Ended {
    Admitted(Generation, Found),
    Rejected(Reason),
}

impl<S, Req, T> Wait<S, Req, T>
where
    S: Service<Req>,
    S::Error: WithRejection,
{
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Waited<S, Req, T>> {
        let mut this = self.project();
        let Some(held) = this.waiting else {
            return Poll::Pending;
        };
        let ended = match held.poll(cx) {
            Poll::Ready(ended) => ended,
            Poll::Pending => {
                if this.timer.is_none() {
                    this.timer.set(Some(Timer::at(*this.until)));
                }
                if let Some(timer) = this.timer.as_pin_mut() {
                    ready!(timer.poll(cx));
                }
                Ended::Rejected(Reason::QueueTimeout)
            }
        };
        match this.waiting.take() {
            Some(waiting) => Poll::Ready((waiting, ended)),
            None => Poll::Pending,
        }
    }
}

impl<S, Req, T> Future for QueuedFuture<S, Req, T>
where
    S: Service<Req>,
    S::Error: WithRejection,
    T: Track<S::Response, Grown<S::Error>>,
{
    type Output = Resolved<S, Req, T>;

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut phase = self.project().phase;
        if !matches!(*phase, Phase::Calling { .. } | Phase::Waited { .. })
            && let Err(error) = ready!(phase.as_mut().arrive(cx))
        {
            return Poll::Ready(Err(error));
        }
        match phase.project() {
            PhaseProj::Calling { call } => call.poll(cx),
            PhaseProj::Waited { call, found } => {
                let polled = call.poll(cx);
                if let Poll::Ready(Err(_)) = polled {
                    found.settle();
                }
                polled
            }
            PhaseProj::Waiting { .. } | PhaseProj::Done => Poll::Pending,
        }
    }
}

impl<S, Req, T> Phase<S, Req, S::Future, T>
where
    S: Service<Req>,
    S::Error: WithRejection,
{
    /// Waits, and then calls.
    #[cold]
    fn arrive(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Grown<S::Error>>> {
        let PhaseProj::Waiting { wait } = self.as_mut().project() else {
            return Poll::Pending;
        };
        let (waiting, ended) = ready!(wait.as_mut().poll(cx));
        let Waiting {
            request,
            mut service,
            tracker,
            mut turn,
        } = waiting;
        let error = match ended {
            Ended::Admitted(generation, found) => {
                let place = turn.into_place(generation, tracker);
                let call = Guarded::admitted(service.call(request), place);
                self.set(Phase::Waited { call, found });
                return Poll::Ready(Ok(()));
            }
            Ended::Rejected(reason) => {
                turn.is_counted = true;
                S::Error::reject(turn.places.reject(turn.origin, reason, None))
            }
        };
        self.set(Phase::Done);
        // The place comes last: whoever gets it must not find the request still there.
        drop((request, service));
        drop(turn);
        Poll::Ready(Err(error))
    }
}

impl<S, Req, T> Waiting<S, Req, T>
where
    S: Service<Req>,
    S::Error: WithRejection,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Ended> {
        let Some(generation) = ready!(self.turn.poll(cx)) else {
            return Poll::Ready(Ended::Rejected(Reason::Full));
        };
        let (ready, found) = Found::by(|| self.service.poll_ready(cx));
        ready.map(|()| Ended::Admitted(generation, found))
    }
}

impl<S: Service<Req>, Req, T> fmt::Debug for QueuedFuture<S, Req, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueuedFuture").finish_non_exhaustive()
    }
}
