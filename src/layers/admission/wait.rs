//! The future of a call that may wait for a permit, in every layer with a queue.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tower_service::Service;

use super::gate::{Admitted, reject};
use super::queue::{Queue, Turn};
use crate::call::admit::Refusal;
use crate::call::entry::Entry;
use crate::call::future::{CallFuture, Output};
use crate::call::inner::{Inner, InnerFuture, Ready};
use crate::call::permit::Permit;
use crate::call::readiness::Readiness;
use crate::call::track::Track;
use crate::runtime::shared::Shared;
use crate::runtime::{Moment, Timer};
use crate::vocabulary::{
    context,
    error::{Grown, WithRejection},
    reason::Reason,
};

/// Ready at once if the call would wait or be rejected for this reason, else when the inner service
/// is ready.
#[cfg_attr(not(debug_assertions), inline(always))]
pub(crate) fn poll_ready_or_wait<S, Req>(
    inner: &mut Inner<S>,
    refuses: Option<Reason>,
    cx: &mut Context<'_>,
) -> Poll<()>
where
    S: Service<Req>,
    S::Error: Send + 'static,
{
    if let Some(reason) = refuses {
        inner.will_reject(reason);
        Readiness::Deferred.record();
        return Poll::Ready(());
    }
    inner.poll_ready(cx)
}

/// Calls the inner service, or waits for a permit and for the inner service.
#[cfg_attr(not(debug_assertions), inline(always))]
pub(crate) fn call_or_wait<S, A, T, Req>(
    inner: &mut Inner<S>,
    state: &mut Shared<A>,
    tracker: &T,
    request: Req,
    mut entry: Entry,
) -> WaitingFuture<S, Req, A, T>
where
    S: Service<Req> + Clone,
    S::Error: 'static,
    A: Queue,
    T: Clone,
{
    let (was_ready, refusal) = match inner.take_ready() {
        Ready::Yes if state.is_off() => {
            return WaitingFuture {
                phase: Phase::Passing {
                    call: inner.call(request, &entry),
                },
            };
        }
        Ready::Yes => match state.admit(&mut entry) {
            Ok(ticket) => {
                // Made before the call, so that a panic in the call releases it.
                let permit = Permit::new(state.hold(), ticket, || tracker.clone());
                let call = CallFuture::admitted(inner.call(request, &entry), permit);
                return WaitingFuture {
                    phase: Phase::Calling { call },
                };
            }
            Err(refusal) => (true, refusal),
        },
        Ready::No(reason) => (false, Refusal::new(reason)),
    };
    let phase = match state.max_wait() {
        Some(max_wait) => wait(inner, state, tracker, request, was_ready, max_wait),
        None => {
            let retry_after = refusal.retry_after.or_else(|| state.retry_after());
            let refusal = Refusal {
                retry_after,
                ..refusal
            };
            let call = reject(&**state, refusal);
            Phase::Calling { call }
        }
    };
    WaitingFuture { phase }
}

#[cold]
fn wait<S, A, T, Req>(
    inner: &mut Inner<S>,
    state: &mut Shared<A>,
    tracker: &T,
    request: Req,
    was_ready: bool,
    max_wait: Duration,
) -> Phase<S, Req, S::Future, A, T>
where
    S: Service<Req> + Clone,
    S::Error: 'static,
    A: Queue,
    T: Clone,
{
    // The call uses a clone that is made ready after the wait. A ready service that waits here
    // could reserve what other calls need.
    let service = inner.for_later();
    if was_ready {
        inner.reset();
    }
    let since = Moment::now();
    let wait = Wait {
        parts: Some(Parts {
            request,
            service,
            tracker: tracker.clone(),
            turn: Turn::new(state.hold(), since),
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

/// A call that has not started.
struct Parts<S, Req, A: Queue, T> {
    // The last field: the request and the service are dropped before the next waiter's turn.
    request: Req,
    service: Inner<S>,
    tracker: T,
    turn: Turn<A>,
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
                    let service = &mut parts.service;
                    let (ready, readiness) =
                        parts.turn.ask(|| Readiness::of(|| service.poll_ready(cx)));
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
            turn,
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
        self.set(Phase::Done);
        // The next waiter must not start before the request is gone, nor wait for an observer of the
        // rejection.
        drop((request, service));
        let state = turn.rejected();
        let rejection = state.reject(refusal.reason, refusal.retry_after);
        Poll::Ready(Err(S::Error::reject(rejection)))
    }
}

impl<S: Service<Req>, Req, A: Queue, T> fmt::Debug for WaitingFuture<S, Req, A, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WaitingFuture").finish_non_exhaustive()
    }
}
