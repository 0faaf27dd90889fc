use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tower_service::Service;

use super::attempt::{Traced, traced};
use super::layer::Core;
use super::next::{Next, Steps};
use super::policy::{Decision, RetryPolicy};
use super::receive::{Ended, Receive};
use super::service::Kit;
use super::wait::{self, Announced, Wait};
use crate::context::{self, Attempt};
use crate::inner::InnerFuture;
use crate::name::Origin;
use crate::observe::{EventKind, RetryCause, RetryRefused};
use crate::outcome::{not_sent, timed_out};
use crate::runtime::Moment;
use crate::scoped::{Scope, Scoped};
use crate::shared::Held;
use crate::span::InSpan;
use crate::tells::{NOW, Tells};
use crate::unsent::Found;
use crate::{Grown, Reason, Rejection, TimeLimit, WithRejection};

pin_project! {
    /// The future of a call that may be tried again.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, Req, P, R>
    where
        S: Service<Req>,
        S::Error: WithRejection,
        R: Receive<S::Response>,
        P: RetryPolicy<Req, R::Response, Grown<S::Error>>,
    {
        #[pin]
        pub(super) phase: Phase<S, S::Future, Grown<S::Error>, Req>,
        // To send again; `None` where the request cannot be. Dropped as soon as the answer is known: it may keep a body.
        pub(super) kept: Option<P::Kept>,
        pub(super) attempt: u32,
        pub(super) found: Found,
        pub(super) steps: Steps,
        pub(super) deadline: Moment,
        pub(super) kit: Held<Kit<S, P, R>>,
    }
}

pin_project! {
    #[project = PhaseProj]
    pub(super) enum Phase<S, F, E, Req> {
        Calling {
            #[pin]
            call: Scoped<InnerFuture<F>, Attempt>,
        },
        /// The same, where somebody wants a span of it.
        CallingTraced {
            call: Traced<InnerFuture<F>>,
        },
        /// Apart, because it is large, and most calls never come here.
        Waiting {
            wait: Pin<Box<Wait<S, E, Req>>>,
        },
        Done,
    }
}

impl<S, F, E, Req> Phase<S, F, E, Req> {
    /// The first attempt is under way.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub(super) fn first(call: InnerFuture<F>, attempt: Attempt) -> Self {
        Self::Calling {
            call: Scoped::new(call, attempt),
        }
    }

    /// Another one begins. Inlined though it is rare: what a function is given by reference is slower for all calls.
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn another(
        origin: &'static Origin,
        attempt: Attempt,
        call: impl FnOnce() -> InnerFuture<F>,
    ) -> Self {
        if let Some(span) = InSpan::of_attempt(origin, attempt.number()) {
            let call = traced(attempt, span, call);
            return Self::CallingTraced { call };
        }
        let _entered = attempt.enter();
        Self::first(call(), attempt)
    }
}

impl<S, Req, P, R> Future for ResponseFuture<S, Req, P, R>
where
    S: Service<Req> + Clone,
    S::Error: WithRejection,
    R: Receive<S::Response>,
    P: RetryPolicy<Req, R::Response, Grown<S::Error>>,
{
    type Output = Result<R::Response, Grown<S::Error>>;

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            this.found.before_poll();
            let result = match this.phase.as_mut().project() {
                PhaseProj::Calling { call } => ready!(call.poll(cx)),
                PhaseProj::CallingTraced { call } => ready!(call.as_mut().poll(cx)),
                PhaseProj::Waiting { wait } => {
                    let deadline = (*this.deadline).min(context::deadline().local());
                    let result = ready!(wait.as_mut().poll(cx, this.kit, deadline));
                    let wait::Next {
                        mut service,
                        request,
                        found,
                    } = match result {
                        Ok(next) => next,
                        Err(error) => {
                            *this.kept = None;
                            this.phase.set(Phase::Done);
                            return Poll::Ready(Err(error));
                        }
                    };
                    *this.found = found;
                    Found::forget();
                    let core = &this.kit.core;
                    let attempt = Attempt::new(*this.attempt);
                    let attempt = attempt.refusals_count(this.steps.refusals_are_used_up());
                    let next = Phase::another(core.origin, attempt, || service.call(request));
                    this.phase.set(next);
                    continue;
                }
                PhaseProj::Done => return Poll::Pending,
            };
            let core = &this.kit.core;
            let unsent = result.is_err() && this.found.is_unsent();
            let mut result = match result {
                Ok(response) => Ok(core.receive.receive(response, cx)),
                Err(error) => Err(error.grow()),
            };
            let kept = this.kept.as_mut().filter(|_| !not_sent(&result));
            // Where it is called and where it is polled may be different tasks: either's deadline holds.
            let deadline = || (*this.deadline).min(context::deadline().local());
            let next = match kept {
                None => None,
                Some(kept) => {
                    // It did not leave this process. No policy forbids to send it for the first time.
                    let wanted = if unsent {
                        Wanted::Retry(RetryCause::NotSent, None)
                    } else {
                        let decision = core.policy.decide(kept, result.as_ref(), *this.attempt);
                        core.heed(decision, *this.steps, &mut result)
                    };
                    match wanted {
                        Wanted::Nothing => None,
                        Wanted::Retry(cause, hint) => {
                            let again = |attempt| core.policy.again(kept, attempt);
                            let (attempt, steps) = (*this.attempt, *this.steps);
                            core.prepare(cause, attempt, steps, hint, deadline(), again)
                        }
                    }
                }
            };
            let Some((next, request)) = next else {
                *this.kept = None;
                this.phase.set(Phase::Done);
                return Poll::Ready(if unsent {
                    result.map_err(|error| core.unready(error))
                } else {
                    result
                });
            };
            *this.attempt = next.attempt;
            *this.steps = next.steps;
            // Sets the response free, with all it holds, and the finished call.
            let announced = Announced::new(Arc::clone(&core.books));
            let wait = Wait::until(next.at, next.payment, request, result.err(), announced);
            let wait = Box::pin(wait);
            this.phase.set(Phase::Waiting { wait });
        }
    }
}

/// Whether another attempt is to follow: what for, and when the server wants it.
enum Wanted {
    Nothing,
    Retry(RetryCause, Option<Duration>),
}

/// Whether the caller's deadline ended an attempt. How short that was is the caller's choice, and must not keep others from
/// being retried.
#[cold]
fn ended_by_its_caller<Res, E: WithRejection>(result: &Result<Res, E>) -> bool {
    let rejection = result.as_ref().err().and_then(WithRejection::rejection);
    let limit = rejection.and_then(Rejection::time_limit);
    matches!(limit, Some(TimeLimit::Deadline(_))) || context::has_run_out(Duration::ZERO)
}

/// What a retry is for.
fn cause_of<Res, E: WithRejection>(result: &Result<Res, E>) -> RetryCause {
    match result {
        Ok(_) => RetryCause::Response,
        Err(_) if timed_out(result) => RetryCause::TimedOut,
        Err(_) => RetryCause::Error,
    }
}

impl<P, R> Core<P, R> {
    /// The answer to a call of which the last attempt was not sent, because a service was not ready.
    #[cold]
    fn unready<Req, Res, E>(&self, error: E) -> E
    where
        P: RetryPolicy<Req, Res, E>,
        E: WithRejection<Error = E>,
    {
        if error.rejection().is_some() {
            return error;
        }
        let rejection = Rejection::by(self.origin, Reason::NotReady);
        let answer = self.policy.unready(error, E::reject(rejection.clone()));
        if answer.rejection() == Some(&rejection) {
            self.rejected(self.origin, &rejection);
        }
        answer
    }

    /// Also tells the budget how the attempt went.
    #[inline]
    fn heed<Res, E>(
        &self,
        decision: Decision,
        steps: Steps,
        result: &mut Result<R::Response, E>,
    ) -> Wanted
    where
        R: Receive<Res>,
        E: WithRejection,
    {
        let hint = match decision {
            Decision::Return => {
                // Only what the policy has seen and let pass is known to be a success.
                if let (Ok(response), Some(budget)) = (result, &self.settings.budget)
                    && budget.is_throttle()
                    && self.receive.ended(response, budget) == Ended::Well
                {
                    budget.succeeded();
                }
                return Wanted::Nothing;
            }
            Decision::RetryTransparently if !steps.refusals_are_used_up() => {
                return Wanted::Retry(RetryCause::Refused, None);
            }
            Decision::RetryUnsent => return Wanted::Retry(RetryCause::NotSent, None),
            Decision::Fail => None,
            Decision::Retry | Decision::RetryTransparently => Some(None),
            Decision::RetryAfter(hint) => Some(Some(hint)),
        };
        if let Some(budget) = &self.settings.budget
            && budget.is_throttle()
            && !ended_by_its_caller(result)
        {
            budget.failed();
        }
        match hint {
            None => Wanted::Nothing,
            Some(hint) => Wanted::Retry(cause_of(result), hint),
        }
    }

    /// A retry was called for and is not sent.
    #[cold]
    pub(super) fn refuse(&self, why: RetryRefused) {
        self.books.refused(why);
        self.tell_and_log(NOW, || EventKind::RetryRefused(why));
    }

    /// `None` where something forbids another attempt: the last one's result is the answer all the same.
    #[cold]
    fn prepare<Req>(
        &self,
        cause: RetryCause,
        attempt: u32,
        steps: Steps,
        hint: Option<Duration>,
        deadline: Moment,
        again: impl FnOnce(u32) -> Result<Req, RetryRefused>,
    ) -> Option<(Next, Req)> {
        let next = self.settings.next(cause, attempt, steps, hint, deadline);
        // Last of all: it takes the body away from the attempt that may still be sending it. Without it, nothing has been paid.
        let next = next.and_then(|next| Ok((again(next.attempt)?, next)));
        match next {
            Ok((request, next)) => {
                self.books.retrying(cause);
                let (attempt, delay) = (next.attempt, next.delay);
                self.tell_and_log(NOW, || EventKind::Retrying {
                    attempt,
                    delay,
                    cause,
                });
                Some((next, request))
            }
            Err(why) => {
                self.refuse(why);
                None
            }
        }
    }
}

impl<S, Req, P, R> fmt::Debug for ResponseFuture<S, Req, P, R>
where
    S: Service<Req>,
    S::Error: WithRejection,
    R: Receive<S::Response>,
    P: RetryPolicy<Req, R::Response, Grown<S::Error>>,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture")
            .field("attempt", &self.attempt)
            .finish_non_exhaustive()
    }
}
