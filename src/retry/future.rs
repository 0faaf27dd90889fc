use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tower_service::Service;

use super::budget::Payment;
use super::layer::{Core, Settings};
use super::policy::{Decision, RetryPolicy};
use super::service::Kit;
use super::wait::Wait;
use crate::context::{self, AttemptScope};
use crate::observe::{EventKind, NOW, RetryRefused};
use crate::outcome::not_sent;
use crate::runtime::{Moment, random};
use crate::scoped::{Scope, Scoped};
use crate::shared::Held;
use crate::{Grown, WithRejection};

/// Which attempt it is, for everything inside.
struct Attempt(u32);

impl Scope for Attempt {
    type Entered<'a> = AttemptScope;

    #[cfg_attr(not(debug_assertions), inline(always))]
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
        deadline: Moment,
        kit: Held<Kit<S, P>>,
    }
}

pin_project! {
    #[project = PhaseProj]
    enum Phase<S, F, E> {
        Calling {
            #[pin]
            call: Scoped<F, Attempt>,
        },
        /// Apart, because it is large, and most calls never come here.
        Waiting {
            wait: Pin<Box<Wait<S, E>>>,
        },
        Done,
    }
}

impl<S, Req, P> ResponseFuture<S, Req, P>
where
    S: Service<Req>,
    S::Error: WithRejection,
{
    #[cfg_attr(not(debug_assertions), inline(always))]
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

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            match this.phase.as_mut().project() {
                PhaseProj::Calling { call } => {
                    let result = ready!(call.poll(cx)).map_err(WithRejection::grow);
                    let (attempt, core) = (*this.attempt, &this.kit.core);
                    let decision = match this.copy {
                        Some(request) if !not_sent(&result) => {
                            Some(core.policy.decide(request, result.as_ref(), attempt))
                        }
                        _ => None,
                    };
                    let hint = match decision.unwrap_or(Decision::Return) {
                        Decision::Return => {
                            // Only what the policy has seen and let pass is known to be a success.
                            if let (Some(_), Ok(_), Some(budget)) =
                                (decision, &result, &core.settings.budget)
                            {
                                budget.succeeded();
                            }
                            this.phase.set(Phase::Done);
                            return Poll::Ready(result);
                        }
                        Decision::Retry => None,
                        Decision::RetryAfter(hint) => Some(hint),
                    };
                    // Where it is called and where it is polled may be different tasks: either's deadline holds.
                    let deadline = (*this.deadline).min(context::deadline());
                    let Some(next) = core.prepare(attempt, *this.steps, hint, deadline) else {
                        this.phase.set(Phase::Done);
                        return Poll::Ready(result);
                    };
                    *this.steps = next.steps;
                    let (at, payment) = (next.at, next.payment);
                    // Sets the response free, with all it holds, and the finished call.
                    let wait = Box::pin(Wait::until(at, payment, result.err()));
                    this.phase.set(Phase::Waiting { wait });
                }
                PhaseProj::Waiting { wait } => {
                    let deadline = (*this.deadline).min(context::deadline());
                    let result = ready!(wait.as_mut().poll(cx, this.kit, deadline));
                    let (mut service, request) = match (result, this.copy.take()) {
                        (Ok(service), Some(request)) => (service, request),
                        (Ok(_), None) => return Poll::Pending,
                        (Err(error), _) => {
                            this.phase.set(Phase::Done);
                            return Poll::Ready(Err(error));
                        }
                    };
                    // Also before the last attempt: the budget wants to know how that one goes.
                    *this.copy = this.kit.core.policy.clone_request(&request);
                    *this.attempt += 1;
                    let scope = Attempt(*this.attempt);
                    let entered = scope.enter();
                    let call = service.call(request);
                    drop(entered);
                    this.phase.set(Phase::Calling {
                        call: Scoped::new(call, scope),
                    });
                }
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

/// The attempt that follows, decided before the last one's response is given up.
struct Next {
    at: Moment,
    delay: Duration,
    steps: Steps,
    payment: Option<Payment>,
}

impl<P> Core<P> {
    /// `None` where something forbids another attempt: the last one's result is the answer all the same.
    #[cold]
    fn prepare(
        &self,
        attempt: u32,
        steps: Steps,
        hint: Option<Duration>,
        deadline: Moment,
    ) -> Option<Next> {
        let settings = &self.settings;
        if let Some(budget) = &settings.budget {
            budget.failed();
        }
        match settings.next(attempt, steps, hint, deadline) {
            Ok(next) => {
                let (attempt, delay) = (attempt + 1, next.delay);
                self.listeners
                    .tell(NOW, || EventKind::Retrying { attempt, delay });
                Some(next)
            }
            Err(why) => {
                self.listeners.tell(NOW, || EventKind::RetryRefused(why));
                None
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
        deadline: Moment,
    ) -> Result<Next, RetryRefused> {
        if attempt >= self.attempts {
            return Err(RetryRefused::Attempts);
        }
        if hint.is_some_and(|hint| hint > self.max_retry_after) {
            return Err(RetryRefused::HintTooLong);
        }
        let delay = hint.unwrap_or_else(|| {
            let step = steps.taken.saturating_add(1);
            self.backoff.delay(step, steps.previous, random())
        });
        let at = Moment::now().after(delay);
        if at >= deadline {
            return Err(RetryRefused::Deadline);
        }
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
