use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::PoisonError;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tokio::time::Instant;
use tower_service::Service;

use super::budget::Payment;
use super::layer::Settings;
use super::policy::{Decision, RetryPolicy};
use super::service::Kit;
use crate::context::{self, AttemptScope, earlier};
use crate::observe::{EventKind, NOW, RetryRefused};
use crate::outcome::not_sent;
use crate::runtime::{self, Timer};
use crate::scoped::{Scope, Scoped};
use crate::shared::Held;
use crate::{Grown, Reason, WithRejection};

/// Which attempt it is, for everything inside.
struct Attempt(u32);

impl Scope for Attempt {
    type Entered<'a> = AttemptScope;

    #[inline]
    fn enter(&self) -> AttemptScope {
        AttemptScope::enter(self.0)
    }
}

pin_project! {
    /// The future of a call that may be tried again.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, Req, P>
    where
        S: Service<Req>,
        S::Error: WithRejection,
    {
        #[pin]
        phase: Phase<S, S::Future, Grown<S::Error>>,
        // To send again; `None` where the request cannot be copied.
        copy: Option<Req>,
        attempt: u32,
        steps: Steps,
        deadline: Option<Instant>,
        kit: Held<Kit<S, P>>,
    }
}

pin_project! {
    #[project = PhaseProj]
    #[project_replace = PhaseOwned]
    enum Phase<S, F, E> {
        Calling {
            #[pin]
            call: Scoped<F, Attempt>,
        },
        /// Waits for the time of the next attempt. The last one's error is kept: it is the answer if there is no next one.
        Sleeping {
            #[pin]
            timer: Timer,
            payment: Option<Payment>,
            error: Option<E>,
        },
        /// Waits for the inner service to be ready for the next attempt.
        Readying {
            service: S,
            #[pin]
            timer: Timer,
            payment: Option<Payment>,
            error: Option<E>,
        },
        Done,
    }
}

impl<S, Req, P> ResponseFuture<S, Req, P>
where
    S: Service<Req>,
    S::Error: WithRejection,
{
    #[inline]
    pub(super) fn new(call: S::Future, copy: Option<Req>, kit: Held<Kit<S, P>>) -> Self {
        Self {
            phase: Phase::Calling {
                call: Scoped::new(call, Attempt(1)),
            },
            copy,
            attempt: 1,
            steps: Steps::default(),
            deadline: context::deadline(),
            kit,
        }
    }
}

impl<S, Req, P> Future for ResponseFuture<S, Req, P>
where
    S: Service<Req> + Clone,
    S::Error: WithRejection,
    P: RetryPolicy<Req, S::Response, Grown<S::Error>>,
{
    type Output = Result<S::Response, Grown<S::Error>>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.phase.as_mut().project() {
                PhaseProj::Calling { call } => {
                    let result = ready!(call.poll(cx)).map_err(WithRejection::grow);
                    let after = match this.copy {
                        Some(request) if !not_sent(&result) => {
                            // Where it is called and where it is polled may be different tasks: either's deadline holds.
                            let deadline = earlier(*this.deadline, context::deadline());
                            let attempt = *this.attempt;
                            this.kit
                                .after(request, &result, attempt, *this.steps, deadline)
                        }
                        _ => After::Return,
                    };
                    let After::Retry(next) = after else {
                        if let (After::Return, Ok(_), Some(budget)) =
                            (after, &result, &this.kit.core.settings.budget)
                        {
                            budget.succeeded();
                        }
                        this.phase.set(Phase::Done);
                        return Poll::Ready(result);
                    };
                    *this.steps = next.steps;
                    // Sets the response free, with all it holds, and the finished call.
                    this.phase.set(Phase::Sleeping {
                        timer: Timer::at(next.at),
                        payment: next.payment,
                        error: result.err(),
                    });
                }
                PhaseProj::Sleeping { timer, .. } => {
                    ready!(timer.poll(cx));
                    let wait = this.kit.core.settings.max_ready_wait;
                    let until = runtime::now().checked_add(wait);
                    let until = earlier(until, earlier(*this.deadline, context::deadline()));
                    let PhaseOwned::Sleeping { payment, error, .. } =
                        this.phase.as_mut().project_replace(Phase::Done)
                    else {
                        return Poll::Pending;
                    };
                    let spare = &this.kit.spare;
                    let service = spare.lock().unwrap_or_else(PoisonError::into_inner).clone();
                    this.phase.set(Phase::Readying {
                        service,
                        timer: Timer::at(until.unwrap_or_else(runtime::now)),
                        payment,
                        error,
                    });
                }
                PhaseProj::Readying {
                    service,
                    timer,
                    payment,
                    error,
                } => match service.poll_ready(cx) {
                    Poll::Ready(Ok(())) => {
                        let Some(request) = this.copy.take() else {
                            return Poll::Pending;
                        };
                        // Also before the last attempt: the budget wants to know how that one goes.
                        *this.copy = this.kit.core.policy.clone_request(&request);
                        *this.attempt += 1;
                        if let Some(payment) = payment.take() {
                            payment.spend();
                        }
                        let scope = Attempt(*this.attempt);
                        let entered = scope.enter();
                        let call = service.call(request);
                        drop(entered);
                        this.phase.set(Phase::Calling {
                            call: Scoped::new(call, scope),
                        });
                    }
                    Poll::Ready(Err(error)) => {
                        this.phase.set(Phase::Done);
                        return Poll::Ready(Err(error.grow()));
                    }
                    Poll::Pending => {
                        ready!(timer.poll(cx));
                        let error = error.take();
                        this.phase.set(Phase::Done);
                        return Poll::Ready(Err(error.unwrap_or_else(|| {
                            let core = &this.kit.core;
                            let reason = Reason::NotReady;
                            S::Error::reject(core.listeners.reject(core.origin, reason, None))
                        })));
                    }
                },
                PhaseProj::Done => return Poll::Pending,
            }
        }
    }
}

/// How far the back-off has got.
#[derive(Debug, Clone, Copy, Default)]
struct Steps {
    taken: u32,
    previous: Option<Duration>,
}

/// What follows an attempt.
enum After {
    /// Its result is the answer.
    Return,
    /// A retry was called for, but something forbids it: its result is the answer all the same.
    Refused,
    Retry(Next),
}

/// The attempt that follows, decided before the last one's response is given up.
struct Next {
    at: Instant,
    delay: Duration,
    steps: Steps,
    payment: Option<Payment>,
}

impl<S, P> Kit<S, P> {
    #[inline]
    fn after<Req, Res, E>(
        &self,
        request: &Req,
        result: &Result<Res, E>,
        attempt: u32,
        steps: Steps,
        deadline: Option<Instant>,
    ) -> After
    where
        P: RetryPolicy<Req, Res, E>,
    {
        match self.core.policy.decide(request, result.as_ref(), attempt) {
            Decision::Return => After::Return,
            Decision::Retry => self.prepare(attempt, steps, None, deadline),
            Decision::RetryAfter(hint) => self.prepare(attempt, steps, Some(hint), deadline),
        }
    }

    #[cold]
    fn prepare(
        &self,
        attempt: u32,
        steps: Steps,
        hint: Option<Duration>,
        deadline: Option<Instant>,
    ) -> After {
        let (listeners, settings) = (&self.core.listeners, &self.core.settings);
        if let Some(budget) = &settings.budget {
            budget.failed();
        }
        match settings.next(attempt, steps, hint, deadline) {
            Ok(next) => {
                let (attempt, delay) = (attempt + 1, next.delay);
                listeners.tell(NOW, || EventKind::Retrying { attempt, delay });
                After::Retry(next)
            }
            Err(why) => {
                listeners.tell(NOW, || EventKind::RetryRefused(why));
                After::Refused
            }
        }
    }
}

impl Settings {
    /// The budget comes last: what anything else forbids is not paid for.
    fn next(
        &self,
        attempt: u32,
        steps: Steps,
        hint: Option<Duration>,
        deadline: Option<Instant>,
    ) -> Result<Next, RetryRefused> {
        if attempt >= self.attempts {
            return Err(RetryRefused::Attempts);
        }
        if hint.is_some_and(|hint| hint > self.max_retry_after) {
            return Err(RetryRefused::HintTooLong);
        }
        let delay = hint.unwrap_or_else(|| {
            let random = runtime::random();
            let step = steps.taken.saturating_add(1);
            self.backoff.delay(step, steps.previous, random)
        });
        let at = runtime::now().checked_add(delay);
        let at = at.filter(|&at| deadline.is_none_or(|deadline| at < deadline));
        let at = at.ok_or(RetryRefused::Deadline)?;
        let payment = match &self.budget {
            None => None,
            Some(budget) => Some(budget.withdraw().ok_or(RetryRefused::Budget)?),
        };
        Ok(Next {
            at,
            delay,
            // After a server's own hint the back-off starts anew.
            steps: match hint {
                Some(_) => Steps::default(),
                None => Steps {
                    taken: steps.taken.saturating_add(1),
                    previous: Some(delay),
                },
            },
            payment,
        })
    }
}

impl<S, Req, P> fmt::Debug for ResponseFuture<S, Req, P>
where
    S: Service<Req>,
    S::Error: WithRejection,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture")
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}
