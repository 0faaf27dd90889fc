//! A call that may wait for its place.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::layer::Queued;
use super::places::{Number, Places, Taken};
use super::service::{Bulkhead, Permit, Resolved, ResponseFuture};
use crate::call::entry::Entry;
use crate::call::guarded::Guarded;
use crate::call::inner::{Inner, Ready};
use crate::call::permit::{Admit, Ticket};
use crate::call::track::Track;
use crate::call::unsent::Found;
use crate::layers::admission;
use crate::observe::emit::Emit;
use crate::observe::meter::Handles;
use crate::runtime::shared::Held;
use crate::runtime::{Moment, Timer};
use crate::vocabulary::{
    context,
    error::{Grown, WithRejection},
    reason::Reason,
};

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
        if self.gate.state.is_full() {
            self.gate.inner.will_reject(Reason::Full);
            Found::Unasked.note();
            return Poll::Ready(Ok(()));
        }
        self.gate.inner.poll_ready(cx).map(Ok)
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn call(&mut self, request: Req) -> Self::Future {
        let mut entry = Entry::of(self);
        let gate = &mut self.gate;
        let (was_ready, reason) = match gate.inner.take_ready() {
            Ready::Yes => match gate.state.admit(&mut entry) {
                Ok(ticket) => {
                    // Before the call, so that it is released should the call panic.
                    let permit = Permit::new(gate.state.hold(), ticket, || gate.tracker.clone());
                    let call = Guarded::admitted(gate.inner.call(request, &entry), permit);
                    return QueuedFuture {
                        phase: Phase::Calling { call },
                    };
                }
                Err(refusal) => (true, refusal.reason),
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
            let call = admission::reject(&*self.gate.state, reason.into());
            return Phase::Calling { call };
        };
        // Ready or not, the service that is called in the end is a clone that is made ready then: one that
        // waited here could keep something reserved that others need.
        let service = if was_ready {
            self.gate.inner.reset()
        } else {
            self.gate.inner.get_ref().clone()
        };
        let now = Moment::now();
        let deadline = context::deadline().local();
        let wait = Wait {
            waiting: Some(Waiting {
                request,
                service: Inner::new(service),
                tracker: self.gate.tracker.clone(),
                turn: Turn {
                    places: self.gate.state.hold(),
                    stage: Stage::New,
                    is_counted: false,
                    since: now,
                    deadline,
                    is_recorded: false,
                },
            }),
            until: now.after(max_wait).min(deadline),
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
    places: Held<Places>,
    stage: Stage,
    /// Whether the call is counted as admitted or rejected. Else it is given up when this is dropped.
    is_counted: bool,
    since: Moment,
    /// When the request's own deadline passes, or never.
    deadline: Moment,
    /// Whether the gauge counts it.
    is_recorded: bool,
}

#[derive(Clone, Copy)]
enum Stage {
    New,
    InQueue(Number),
    HasPermit,
}

impl Turn {
    /// Ready with whether it has a permit: not, when there is not even room to wait.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<bool> {
        loop {
            match self.stage {
                Stage::New => match self.places.take_or_wait(cx.waker().clone()) {
                    Taken::Permit => self.stage = Stage::HasPermit,
                    Taken::Full => return Poll::Ready(false),
                    Taken::Waiting(number) => {
                        self.stage = Stage::InQueue(number);
                        self.is_recorded = self.places.record(Handles::queued);
                        return Poll::Pending;
                    }
                },
                Stage::InQueue(number) => {
                    ready!(self.places.poll_handed(number, cx));
                    self.left_queue();
                    self.stage = Stage::HasPermit;
                }
                Stage::HasPermit => return Poll::Ready(true),
            }
        }
    }

    /// What the call waited for in vain, until this moment.
    fn timed_out(&self, until: Moment) -> Reason {
        if until == self.deadline {
            Reason::DeadlinePassed
        } else if matches!(self.stage, Stage::HasPermit) {
            Reason::NotReady
        } else {
            Reason::QueueTimeout
        }
    }

    fn left_queue(&self) {
        if self.is_recorded {
            self.places
                .record_again(|handles| handles.dequeued(self.since.elapsed()));
        }
    }

    /// The permit, for the call that now begins.
    fn into_permit<T>(mut self, tracker: T) -> Permit<T> {
        (self.stage, self.is_counted) = (Stage::New, true);
        Permit::new(self.places.clone(), Ticket::NONE, || tracker)
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
            Stage::HasPermit => self.places.give_back_unused(),
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
    Admitted(Found),
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
                Ended::Rejected(held.turn.timed_out(*this.until))
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
            Ended::Admitted(found) => {
                let permit = turn.into_permit(tracker);
                let call = Guarded::admitted(service.call(request, &Entry::new()), permit);
                self.set(Phase::Waited { call, found });
                return Poll::Ready(Ok(()));
            }
            Ended::Rejected(reason) => {
                turn.is_counted = true;
                S::Error::reject(turn.places.reject(reason, None))
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
        if !ready!(self.turn.poll(cx)) {
            return Poll::Ready(Ended::Rejected(Reason::Full));
        }
        let (ready, found) = Found::by(|| self.service.poll_ready(cx));
        ready.map(|()| Ended::Admitted(found))
    }
}

impl<S: Service<Req>, Req, T> fmt::Debug for QueuedFuture<S, Req, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("QueuedFuture").finish_non_exhaustive()
    }
}
