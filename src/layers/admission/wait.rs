//! Calls that wait for a permit, in every layer with a queue.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tower_service::Service;

use super::gate::{Admitted, Gate, reject};
use crate::call::admit::{Admit, Refusal};
use crate::call::entry::Entry;
use crate::call::future::{CallFuture, Output};
use crate::call::inner::{Inner, InnerFuture, Ready};
use crate::call::permit::Permit;
use crate::call::readiness::Readiness;
use crate::call::ticket::Ticket;
use crate::call::track::Track;
use crate::observe::meter::Handles;
use crate::runtime::shared::Held;
use crate::runtime::{Moment, Timer};
use crate::vocabulary::{
    context,
    error::{Grown, WithRejection},
    reason::Reason,
};

/// The state of a layer with a queue: first come, first served.
pub(crate) trait Queue: Admit {
    /// Acquires a permit or joins the queue. Refuses when the queue is full, or when no permit can
    /// come by `until`.
    fn join(&self, until: Moment, waker: Waker) -> Result<Joined, Refusal>;

    /// Acquires a permit for a waiter, which then leaves the queue. The error is the time at which
    /// to poll again, unless the waker comes first.
    fn poll_turn(
        &self,
        waiter: u64,
        cx: &mut Context<'_>,
        is_ready: &mut dyn FnMut(&mut Context<'_>) -> bool,
    ) -> Result<(), Moment>;

    /// Removes a waiter from the queue.
    fn leave(&self, waiter: u64);

    /// Releases a permit of a call that never started.
    fn release_unused(&self) {}

    /// Records that a caller gave up before its call was admitted or rejected.
    fn gave_up(&self, waited: Duration);

    /// The refusal of a waiter whose maximum wait has passed in the queue, which it has not left yet.
    fn max_wait_passed(&self, waiter: u64) -> Refusal;
}

/// How a call joined the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Joined {
    /// It has a permit already.
    Permit,
    /// It waits under this number.
    Waiter(u64),
}

impl<S, A: Queue, T> Gate<S, A, T> {
    /// Ready at once if the call would wait or be rejected, else when the inner service is ready.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub(crate) fn poll_ready_or_wait<Req>(&mut self, cx: &mut Context<'_>) -> Poll<()>
    where
        S: Service<Req>,
        S::Error: Send + 'static,
    {
        if let Some(reason) = self.state.refuses() {
            self.inner.will_reject(reason);
            Readiness::Deferred.record();
            return Poll::Ready(());
        }
        self.inner.poll_ready(cx)
    }

    /// Calls the inner service, or waits for a permit and for the inner service. With a `max_wait`
    /// of `None`, no call waits.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub(crate) fn call_or_wait<Req>(
        &mut self,
        request: Req,
        mut entry: Entry,
        max_wait: Option<Duration>,
    ) -> WaitingFuture<S, Req, A, T>
    where
        S: Service<Req> + Clone,
        S::Error: 'static,
        T: Clone,
    {
        let (was_ready, refusal) = match self.inner.take_ready() {
            Ready::Yes if self.state.is_off() => {
                return WaitingFuture {
                    phase: Phase::Passing {
                        call: self.inner.call(request, &entry),
                    },
                };
            }
            Ready::Yes => match self.state.admit(&mut entry) {
                Ok(ticket) => {
                    // Made before the call, so that a panic in the call releases it.
                    let permit = Permit::new(self.state.hold(), ticket, || self.tracker.clone());
                    let call = CallFuture::admitted(self.inner.call(request, &entry), permit);
                    return WaitingFuture {
                        phase: Phase::Calling { call },
                    };
                }
                Err(refusal) => (true, refusal),
            },
            Ready::No(reason) => (false, Refusal::new(reason)),
        };
        let phase = match max_wait {
            Some(max_wait) => self.wait(request, was_ready, max_wait),
            None => {
                let retry_after = refusal.retry_after.or_else(|| self.state.retry_after());
                let refusal = Refusal {
                    retry_after,
                    ..refusal
                };
                let call = reject(&*self.state, refusal);
                Phase::Calling { call }
            }
        };
        WaitingFuture { phase }
    }

    #[cold]
    fn wait<Req>(
        &mut self,
        request: Req,
        was_ready: bool,
        max_wait: Duration,
    ) -> Phase<S, Req, S::Future, A, T>
    where
        S: Service<Req> + Clone,
        S::Error: 'static,
        T: Clone,
    {
        // The call uses a clone that is made ready after the wait. A ready service that waits here
        // could reserve what other calls need.
        let service = self.inner.for_later();
        if was_ready {
            self.inner.reset();
        }
        let since = Moment::now();
        let wait = Wait {
            parts: Some(Parts {
                request,
                service,
                tracker: self.tracker.clone(),
                turn: Turn {
                    state: self.state.hold(),
                    stage: Stage::New,
                    is_counted: false,
                    since,
                    is_recorded: false,
                    is_not_ready: false,
                    is_in_flight: false,
                    is_asking: false,
                },
            }),
            deadline: context::deadline().local(),
            until: since.after(max_wait),
            timer: None,
            timer_at: Moment::NEVER,
        };
        Phase::Waiting {
            wait: Box::pin(wait),
        }
    }
}

/// A call that has not started.
struct Parts<S, Req, A: Queue, T> {
    // The last field: the request and the service are dropped before the next waiter's turn.
    request: Req,
    service: Inner<S>,
    tracker: T,
    turn: Turn<A>,
}

/// A position in the queue or a permit. Dropping it leaves the queue or releases the permit.
struct Turn<A: Queue> {
    state: Held<A>,
    stage: Stage,
    /// Whether the call was admitted or rejected. If neither, a drop counts it as given up.
    is_counted: bool,
    since: Moment,
    /// Whether the gauge of waiting calls includes it.
    is_recorded: bool,
    /// Whether it is its turn, and the inner service is not ready.
    is_not_ready: bool,
    /// Whether the gauge of calls in flight includes it.
    is_in_flight: bool,
    /// Whether the inner service is being asked for its readiness. If so in a drop, it has panicked.
    is_asking: bool,
}

#[derive(Clone, Copy)]
enum Stage {
    New,
    InQueue(u64),
    HasPermit,
}

impl<A: Queue> Turn<A> {
    /// A permit or a refusal. The error is the time at which to poll again, or never.
    fn poll(
        &mut self,
        until: Moment,
        cx: &mut Context<'_>,
        is_ready: &mut dyn FnMut(&mut Context<'_>) -> bool,
    ) -> Result<Result<(), Refusal>, Moment> {
        loop {
            match self.stage {
                Stage::New => match self.state.join(until, cx.waker().clone()) {
                    Ok(Joined::Permit) => self.has_permit(),
                    Ok(Joined::Waiter(number)) => {
                        self.stage = Stage::InQueue(number);
                        self.is_recorded = self.state.record(Handles::queued);
                    }
                    Err(refusal) => return Ok(Err(refusal)),
                },
                Stage::InQueue(number) => {
                    let mut was_asked = None;
                    let is_asking = &mut self.is_asking;
                    let mut is_ready = |cx: &mut Context<'_>| {
                        *is_asking = true;
                        let ready = is_ready(cx);
                        *is_asking = false;
                        was_asked = Some(ready);
                        ready
                    };
                    let turn = self.state.poll_turn(number, cx, &mut is_ready);
                    if let Some(ready) = was_asked {
                        self.is_not_ready = !ready;
                    }
                    turn?;
                    self.left_queue();
                    self.has_permit();
                }
                Stage::HasPermit => return Ok(Ok(())),
            }
        }
    }

    /// It waits for the inner service from now on.
    fn has_permit(&mut self) {
        self.stage = Stage::HasPermit;
        self.is_in_flight = self.state.record(Handles::entered);
    }

    fn left_queue(&self) {
        if self.is_recorded {
            self.state
                .record_again(|handles| handles.dequeued(self.since.elapsed()));
        }
    }

    /// The refusal of a call whose maximum wait has passed.
    fn timed_out(&self) -> Refusal {
        match self.stage {
            Stage::InQueue(number) if !self.is_not_ready => self.state.max_wait_passed(number),
            Stage::New | Stage::InQueue(_) | Stage::HasPermit => Reason::NotReady.into(),
        }
    }

    /// The permit of the call that now starts.
    fn into_permit<T>(mut self, tracker: T) -> Permit<A, T> {
        (self.stage, self.is_counted) = (Stage::New, true);
        Permit::new(self.state.clone(), Ticket::NONE, || tracker).in_flight(self.is_in_flight)
    }
}

impl<A: Queue> Drop for Turn<A> {
    fn drop(&mut self) {
        match self.stage {
            Stage::New => {}
            Stage::InQueue(number) => {
                self.state.leave(number);
                self.left_queue();
            }
            // The permit of the call that has failed.
            Stage::HasPermit if self.is_asking => {}
            Stage::HasPermit => {
                if self.is_in_flight {
                    self.state.record_again(Handles::left);
                }
                self.state.release_unused();
            }
        }
        if self.is_asking {
            // A permit that is dropped while user code runs is that of a panic: a failure.
            let permit = Permit::new(self.state.clone(), Ticket::NONE, || ());
            drop(permit.in_flight(self.is_in_flight));
        } else if !self.is_counted {
            self.state.gave_up(self.since.elapsed());
        }
    }
}

pin_project! {
    /// The future of a call that may wait for its permit.
    #[must_use = "futures do nothing unless polled"]
    pub(crate) struct WaitingFuture<S, Req, A, T>
    where
        S: Service<Req>,
        A: Queue,
    {
        #[pin]
        phase: Phase<S, Req, S::Future, A, T>,
    }
}

pin_project! {
    #[project = PhaseProj]
    enum Phase<S, Req, F, A, T>
    where
        A: Queue,
    {
        /// Called through a layer that is switched off.
        Passing {
            #[pin]
            call: InnerFuture<F>,
        },
        /// Boxed: it is large, and most calls do not wait.
        Waiting {
            wait: Pin<Box<Wait<S, Req, A, T>>>,
        },
        /// Called or rejected without a wait.
        Calling {
            #[pin]
            call: Admitted<F, A, T>,
        },
        /// Called after a wait, with how the inner service became ready.
        Waited {
            #[pin]
            call: Admitted<F, A, T>,
            readiness: Readiness,
        },
        Done,
    }
}

pin_project! {
    /// A call that waits for a permit, and then for the inner service.
    struct Wait<S, Req, A, T>
    where
        A: Queue,
    {
        parts: Option<Parts<S, Req, A, T>>,
        deadline: Moment,
        // The end of the maximum wait.
        until: Moment,
        // Made at the first wait, and replaced when the time changes.
        #[pin]
        timer: Option<Timer>,
        timer_at: Moment,
    }
}

/// The result of a wait.
type Waited<S, Req, A, T> = (Parts<S, Req, A, T>, Result<Readiness, Refusal>);

impl<S, Req, A, T> Wait<S, Req, A, T>
where
    S: Service<Req>,
    S::Error: WithRejection,
    A: Queue,
{
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Waited<S, Req, A, T>> {
        let mut this = self.project();
        let Some(parts) = this.parts else {
            return Poll::Pending;
        };
        // The call may have been made outside of the context in which it is polled, behind a buffer.
        let deadline = context::deadline().local().min(*this.deadline);
        let until = deadline.min(*this.until);
        let ended = loop {
            let now = Moment::now();
            if now >= deadline {
                break Err(Reason::DeadlinePassed.into());
            }
            let mut again = Moment::NEVER;
            let service = &mut parts.service;
            let mut is_ready =
                |cx: &mut Context<'_>| Readiness::of(|| service.poll_ready(cx)).0.is_ready();
            match parts.turn.poll(until, cx, &mut is_ready) {
                Ok(Err(refusal)) => break Err(refusal),
                Ok(Ok(())) => {
                    parts.turn.is_asking = true;
                    let (ready, readiness) = Readiness::of(|| parts.service.poll_ready(cx));
                    parts.turn.is_asking = false;
                    if ready.is_ready() {
                        break Ok(readiness);
                    }
                }
                Err(at) => again = at,
            }
            if now >= until {
                break Err(parts.turn.timed_out());
            }
            let at = again.min(until);
            if this.timer.is_none() || *this.timer_at != at {
                this.timer.set(Some(Timer::at(at)));
                *this.timer_at = at;
            }
            if let Some(timer) = this.timer.as_mut().as_pin_mut() {
                ready!(timer.poll(cx));
            }
            this.timer.set(None);
        };
        match this.parts.take() {
            Some(parts) => Poll::Ready((parts, ended)),
            None => Poll::Pending,
        }
    }
}

impl<S, Req, A, T> Future for WaitingFuture<S, Req, A, T>
where
    S: Service<Req>,
    S::Error: WithRejection,
    A: Queue,
    T: Track<S::Response, Grown<S::Error>>,
{
    type Output = Output<Permit<A, T>, S::Response, S::Error>;

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut phase = self.project().phase;
        if let PhaseProj::Passing { call } = phase.as_mut().project() {
            return call.poll(cx).map(|result| match result {
                Ok(response) => Ok(T::attach(response, None, &mut None::<Permit<A, T>>)),
                Err(error) => Err(error.grow()),
            });
        }
        if !matches!(*phase, Phase::Calling { .. } | Phase::Waited { .. })
            && let Err(error) = ready!(phase.as_mut().arrive(cx))
        {
            return Poll::Ready(Err(error));
        }
        match phase.project() {
            PhaseProj::Calling { call } => call.poll(cx),
            PhaseProj::Waited { call, readiness } => {
                let polled = call.poll(cx);
                if let Poll::Ready(Err(_)) = polled {
                    readiness.record_unsent();
                }
                polled
            }
            PhaseProj::Passing { .. } | PhaseProj::Waiting { .. } | PhaseProj::Done => {
                Poll::Pending
            }
        }
    }
}

impl<S, Req, A, T> Phase<S, Req, S::Future, A, T>
where
    S: Service<Req>,
    S::Error: WithRejection,
    A: Queue,
{
    /// Waits, then calls the inner service.
    #[cold]
    fn arrive(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<(), Grown<S::Error>>> {
        let PhaseProj::Waiting { wait } = self.as_mut().project() else {
            return Poll::Pending;
        };
        let (parts, ended) = ready!(wait.as_mut().poll(cx));
        let Parts {
            request,
            mut service,
            tracker,
            mut turn,
        } = parts;
        let refusal = match ended {
            Ok(readiness) => {
                let permit = turn.into_permit(tracker);
                let call = CallFuture::admitted(service.call(request, &Entry::new()), permit);
                self.set(Phase::Waited { call, readiness });
                return Poll::Ready(Ok(()));
            }
            Err(refusal) => refusal,
        };
        turn.is_counted = true;
        let state = turn.state.clone();
        self.set(Phase::Done);
        // The next waiter must not start before the request is gone, nor wait for an observer of the
        // rejection.
        drop((request, service));
        drop(turn);
        let rejection = state.reject(refusal.reason, refusal.retry_after);
        Poll::Ready(Err(S::Error::reject(rejection)))
    }
}

impl<S: Service<Req>, Req, A: Queue, T> fmt::Debug for WaitingFuture<S, Req, A, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitingFuture").finish_non_exhaustive()
    }
}

#[cfg(mainstay_loom)]
pub(crate) mod models;
