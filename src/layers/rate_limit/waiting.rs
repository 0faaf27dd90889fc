//! A call that may wait for a permit.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;
use tower_service::Service;

use super::layer::Waiting;
use super::limiter::Limiter;
use super::line::Number;
use super::service::{RateLimit, ResponseFuture};
use crate::call::entry::Entry;
use crate::call::guarded::{Guarded, Output};
use crate::call::inner::{Inner, Ready};
use crate::call::permit::{Admit, Permit, Refusal, Ticket};
use crate::call::track::Track;
use crate::call::unsent::Found;
use crate::observe::emit::Emit;
use crate::observe::meter::Handles;
use crate::runtime::shared::Held;
use crate::runtime::{Moment, Timer};
use crate::vocabulary::{
    context,
    error::{Grown, WithRejection},
    reason::Reason,
};

impl<S, Req, T> Service<Req> for RateLimit<S, Waiting, T>
where
    S: Service<Req> + Clone,
    S::Error: WithRejection,
    T: Track<S::Response, Grown<S::Error>> + Clone,
{
    type Response = T::Response;
    type Error = Grown<S::Error>;
    type Future = WaitingFuture<S, Req, T>;

    /// While there is no permit, it is ready to let a call wait without asking the inner service.
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        if let Some(reason) = self.gate.state.refuses() {
            self.gate.inner.will_reject(reason);
            Found::Unasked.note();
            return Poll::Ready(Ok(()));
        }
        self.gate.inner.poll_ready(cx).map(Ok)
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn call(&mut self, request: Req) -> Self::Future {
        let mut entry = Entry::of(self);
        let gate = &mut self.gate;
        let was_ready = match gate.inner.take_ready() {
            Ready::Yes => match gate.state.admit(&mut entry) {
                Ok(ticket) => {
                    // Before the call, so that it is counted should the call panic.
                    let permit = Permit::new(gate.state.hold(), ticket, || gate.tracker.clone());
                    let call = Guarded::admitted(gate.inner.call(request, &entry), permit);
                    return WaitingFuture {
                        phase: Phase::Calling { call },
                    };
                }
                Err(_) => true,
            },
            Ready::No(_) => false,
        };
        WaitingFuture {
            phase: self.wait(request, was_ready),
        }
    }
}

impl<S, T> RateLimit<S, Waiting, T> {
    #[cold]
    fn wait<Req>(&mut self, request: Req, was_ready: bool) -> Phase<S, Req, S::Future, T>
    where
        S: Service<Req> + Clone,
        T: Clone,
    {
        let gate = &mut self.gate;
        // Ready or not, the service that is called in the end is a clone that is made ready then: one
        // that waited here could keep something reserved that others need.
        let service = if was_ready {
            gate.inner.reset()
        } else {
            gate.inner.get_ref().clone()
        };
        let since = Moment::now();
        let deadline = context::deadline().local();
        let wait = Wait {
            parts: Some(Parts {
                request,
                service: Inner::new(service),
                tracker: gate.tracker.clone(),
                turn: Turn {
                    limiter: gate.state.hold(),
                    stage: Stage::New,
                    is_counted: false,
                    since,
                    is_recorded: false,
                },
            }),
            deadline,
            until: since.after(self.mode.max_wait).min(deadline),
            timer: None,
            timer_at: Moment::NEVER,
        };
        Phase::Waiting {
            wait: Box::pin(wait),
        }
    }
}

/// A call before it is called.
struct Parts<S, Req, T> {
    // The turn comes last: the request and the service are dropped before the line moves on.
    request: Req,
    service: Inner<S>,
    tracker: T,
    turn: Turn,
}

/// A position in the line, which is left when this is dropped.
struct Turn {
    limiter: Held<Limiter>,
    stage: Stage,
    /// Whether the call is counted as admitted or rejected. Else it is given up when this is dropped.
    is_counted: bool,
    since: Moment,
    /// Whether the gauge counts it.
    is_recorded: bool,
}

#[derive(Clone, Copy)]
enum Stage {
    New,
    InLine(Number),
    HasPermit,
}

impl Turn {
    /// Ready with a permit or a refusal; else the time at which to ask again, or never.
    fn poll(
        &mut self,
        now: Moment,
        until: Moment,
        cx: &Context<'_>,
    ) -> Result<Result<(), Refusal>, Moment> {
        loop {
            match self.stage {
                Stage::New => match self.limiter.join(now, until, cx.waker().clone()) {
                    Ok(number) => {
                        self.stage = Stage::InLine(number);
                        self.is_recorded = self.limiter.record(Handles::queued);
                    }
                    Err(refusal) => return Ok(Err(refusal)),
                },
                Stage::InLine(number) => {
                    if !self.limiter.line.is_first(number, cx.waker()) {
                        return Err(Moment::NEVER);
                    }
                    if let Err(wait) = self.limiter.take(now) {
                        return Err(now.after(wait));
                    }
                    self.leave(number);
                    self.stage = Stage::HasPermit;
                }
                Stage::HasPermit => return Ok(Ok(())),
            }
        }
    }

    fn leave(&self, number: Number) {
        self.limiter.line.leave(number);
        if self.is_recorded {
            self.limiter
                .record_again(|handles| handles.dequeued(self.since.elapsed()));
        }
    }

    /// The permit, for the call that now begins.
    fn into_permit<T>(mut self, tracker: T) -> Permit<Limiter, T> {
        self.is_counted = true;
        Permit::new(self.limiter.clone(), Ticket::NONE, || tracker)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Stage::InLine(number) = self.stage {
            self.leave(number);
        }
        if !self.is_counted {
            self.limiter.gave_up(self.since.elapsed());
        }
    }
}

pin_project! {
    /// The future of a call through a rate limit in which calls may wait.
    #[must_use = "futures do nothing unless polled"]
    pub struct WaitingFuture<S, Req, T>
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
        /// Called.
        Calling {
            #[pin]
            call: ResponseFuture<F, T>,
        },
        /// Called after a wait, and the readiness of the inner service then.
        Waited {
            #[pin]
            call: ResponseFuture<F, T>,
            found: Found,
        },
        Done,
    }
}

pin_project! {
    /// A call that waits for a permit, or with a permit for the inner service.
    struct Wait<S, Req, T> {
        parts: Option<Parts<S, Req, T>>,
        deadline: Moment,
        until: Moment,
        // Made when it first has to wait, and anew when it waits for another time.
        #[pin]
        timer: Option<Timer>,
        timer_at: Moment,
    }
}

/// The end of a wait.
type Waited<S, Req, T> = (Parts<S, Req, T>, Result<Found, Refusal>);

impl<S, Req, T> Wait<S, Req, T>
where
    S: Service<Req>,
    S::Error: WithRejection,
{
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Waited<S, Req, T>> {
        let mut this = self.project();
        let Some(parts) = this.parts else {
            return Poll::Pending;
        };
        let ended = loop {
            let now = parts.turn.limiter.now();
            if matches!(parts.turn.stage, Stage::New) && now >= *this.deadline {
                break Err(Reason::DeadlinePassed.into());
            }
            let mut again = Moment::NEVER;
            match parts.turn.poll(now, *this.until, cx) {
                Ok(Err(refusal)) => break Err(refusal),
                Ok(Ok(())) => {
                    let (ready, found) = Found::by(|| parts.service.poll_ready(cx));
                    if ready.is_ready() {
                        break Ok(found);
                    }
                }
                Err(at) => again = at,
            }
            if now >= *this.until {
                let has_permit = matches!(parts.turn.stage, Stage::HasPermit);
                break Err(match has_permit {
                    _ if *this.until == *this.deadline => Reason::DeadlinePassed.into(),
                    true => Reason::NotReady.into(),
                    false => parts.turn.limiter.refusal(),
                });
            }
            let at = again.min(*this.until);
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

impl<S, Req, T> Future for WaitingFuture<S, Req, T>
where
    S: Service<Req>,
    S::Error: WithRejection,
    T: Track<S::Response, Grown<S::Error>>,
{
    type Output = Output<Permit<Limiter, T>, S::Response, S::Error>;

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
        let (parts, ended) = ready!(wait.as_mut().poll(cx));
        let Parts {
            request,
            mut service,
            tracker,
            mut turn,
        } = parts;
        let error = match ended {
            Ok(found) => {
                let permit = turn.into_permit(tracker);
                let call = Guarded::admitted(service.call(request, &Entry::new()), permit);
                self.set(Phase::Waited { call, found });
                return Poll::Ready(Ok(()));
            }
            Err(Refusal {
                reason,
                retry_after,
            }) => {
                turn.is_counted = true;
                S::Error::reject(turn.limiter.reject(reason, retry_after))
            }
        };
        self.set(Phase::Done);
        // The turn comes last: the next in line must not find the request still there.
        drop((request, service));
        drop(turn);
        Poll::Ready(Err(error))
    }
}

impl<S: Service<Req>, Req, T> fmt::Debug for WaitingFuture<S, Req, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitingFuture").finish_non_exhaustive()
    }
}
