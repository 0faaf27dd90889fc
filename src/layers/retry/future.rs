//! The future of a call that may be retried.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use pin_project_lite::pin_project;
use tower_service::Service;

use super::attempt::{Traced, traced};
use super::budget::Payment;
use super::layer::Core;
use super::policy::RetryPolicy;
use super::receive::{Ended, Receive};
use super::service::CallContext;
use super::snapshot::Stats;
use super::wait::{self, PendingRetry, Wait};
use crate::call::entry::Entry;
use crate::call::inner::InnerFuture;
use crate::call::readiness::Readiness;
use crate::layers::handle::Adjust as _;
use crate::layers::keyed::{Keying, OneForAll};
use crate::observe::emit::Emit;
use crate::observe::event::EventKind;
use crate::observe::span::InSpan;
use crate::policy::retry::{End, Known, Next, Progress, Rules};
use crate::policy::retry::{RetryCause, RetryRefused};
use crate::runtime::scoped::{Scope, Scoped};
use crate::runtime::shared::Held;
use crate::runtime::{Moment, random};
use crate::vocabulary::context::{self, Attempt};
use crate::vocabulary::name::InstanceName;
use crate::vocabulary::outcome::{not_sent, timed_out};
use crate::vocabulary::{
    error::{Grown, WithRejection},
    mode::Mode,
    reason::Reason,
    rejection::{Rejection, TimeLimit},
};

pin_project! {
    /// The future of a call that may be retried.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<S, Req, P, R, K = OneForAll>
    where
        S: Service<Req>,
        S::Error: WithRejection,
        R: Receive<S::Response>,
        P: RetryPolicy<Req, R::Response, Grown<S::Error>>,
        K: Keying,
    {
        #[pin]
        pub(super) phase: Phase<S, S::Future, Grown<S::Error>, Req>,
        // `None` if the request cannot be sent again. Dropped once the answer is known: it may hold
        // a body.
        pub(super) kept: Option<P::Kept>,
        pub(super) readiness: Readiness,
        pub(super) progress: Progress,
        pub(super) deadline: Moment,
        pub(super) context: Held<CallContext<S, P, R, K>>,
        pub(super) of_call: K::OfCall<Stats>,
    }
}

pin_project! {
    #[project = PhaseProj]
    pub(super) enum Phase<S, F, E, Req> {
        Calling {
            #[pin]
            call: Scoped<InnerFuture<F>, Attempt>,
        },
        /// The same, with a span.
        CallingTraced {
            call: Traced<InnerFuture<F>>,
        },
        /// Boxed, because it is large, and few calls need it.
        Waiting {
            wait: Pin<Box<Wait<S, E, Req>>>,
        },
        Done,
    }
}

impl<S, F, E, Req> Phase<S, F, E, Req> {
    /// The first attempt.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub(super) fn first(call: InnerFuture<F>, attempt: Attempt) -> Self {
        Self::Calling {
            call: Scoped::new(call, attempt),
        }
    }

    /// Begins another attempt. Inlined although rare: passing references to it slows down all
    /// calls.
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn another(
        instance: &InstanceName,
        attempt: Attempt,
        call: impl FnOnce() -> InnerFuture<F>,
    ) -> Self {
        if let Some(span) = InSpan::of_attempt(instance, attempt.number()) {
            let call = traced(attempt, span, call);
            return Self::CallingTraced { call };
        }
        let _entered = attempt.enter();
        Self::first(call(), attempt)
    }
}

impl<S, Req, P, R, K> Future for ResponseFuture<S, Req, P, R, K>
where
    S: Service<Req> + Clone,
    S::Error: WithRejection,
    R: Receive<S::Response>,
    P: RetryPolicy<Req, R::Response, Grown<S::Error>>,
    K: Keying,
{
    type Output = Result<R::Response, Grown<S::Error>>;

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let mut this = self.project();
        loop {
            this.readiness.before_poll();
            let result = match this.phase.as_mut().project() {
                PhaseProj::Calling { call } => ready!(call.poll(cx)),
                PhaseProj::CallingTraced { call } => ready!(call.as_mut().poll(cx)),
                PhaseProj::Waiting { wait } => {
                    let deadline = (*this.deadline).min(context::deadline().local());
                    let core = &this.context.core;
                    let stats = K::of_call(&core.instances, this.of_call);
                    let spare = &this.context.spare;
                    let result = ready!(wait.as_mut().poll(cx, spare, stats, deadline));
                    let wait::Next {
                        mut service,
                        request,
                        readiness,
                    } = match result {
                        Ok(next) => next,
                        Err(error) => {
                            *this.kept = None;
                            this.phase.set(Phase::Done);
                            return Poll::Ready(Err(error));
                        }
                    };
                    *this.readiness = readiness;
                    Readiness::forget();
                    let attempt = Attempt::new(this.progress.attempt());
                    let attempt = attempt.refusals_count(this.progress.refusals_are_used_up());
                    let next = Phase::another(stats.emitter().instance(), attempt, || {
                        service.call(request, &Entry::new())
                    });
                    this.phase.set(next);
                    continue;
                }
                PhaseProj::Done => return Poll::Pending,
            };
            let core = &this.context.core;
            let stats = K::of_call(&core.instances, this.of_call);
            let unsent = result.is_err() && this.readiness.is_unsent();
            let mut result = match result {
                Ok(response) => Ok(core.receive.receive(response, cx)),
                Err(error) => Err(error.grow()),
            };
            let kept = this.kept.as_mut().filter(|_| !not_sent(&result));
            // The task of `call` and the polling task may differ: both deadlines hold.
            let deadline = || (*this.deadline).min(context::deadline().local());
            let next = match kept {
                None => None,
                Some(kept) => {
                    // It did not leave this process, so no policy forbids to send it.
                    let end = if unsent {
                        End::NotSent
                    } else {
                        let attempt = this.progress.attempt();
                        let decision = core.policy.decide(kept, result.as_ref(), attempt);
                        let end = End::of(decision, this.progress);
                        core.report(stats, end, &mut result);
                        end
                    };
                    match end.cause(|| cause_of(&result)) {
                        None => None,
                        Some(cause) => {
                            let replay = |attempt| core.policy.again(kept, attempt);
                            prepare(stats, end, cause, *this.progress, deadline(), replay)
                        }
                    }
                }
            };
            let Some((at, next)) = next else {
                *this.kept = None;
                this.phase.set(Phase::Done);
                return Poll::Ready(if unsent {
                    result.map_err(|error| core.unready(stats, error))
                } else {
                    result
                });
            };
            *this.progress = next.progress;
            // Drops the response, with all it holds, and the finished call.
            let pending_retry = PendingRetry::new(Arc::clone(stats));
            let wait = Wait::until(
                at,
                next.payment.flatten(),
                next.request,
                result.err(),
                pending_retry,
            );
            let wait = Box::pin(wait);
            this.phase.set(Phase::Waiting { wait });
        }
    }
}

/// Whether the caller's deadline ended an attempt. Its length is the caller's choice, and must not
/// prevent retries of other calls.
#[cold]
fn ended_by_its_caller<Res, E: WithRejection>(result: &Result<Res, E>) -> bool {
    let rejection = result.as_ref().err().and_then(WithRejection::rejection);
    let limit = rejection.and_then(Rejection::time_limit);
    matches!(limit, Some(TimeLimit::Deadline(_))) || context::has_run_out(Duration::ZERO)
}

/// The cause of a retry.
fn cause_of<Res, E: WithRejection>(result: &Result<Res, E>) -> RetryCause {
    match result {
        Ok(_) => RetryCause::Response,
        Err(_) if timed_out(result) => RetryCause::TimedOut,
        Err(_) => RetryCause::Error,
    }
}

impl<P, R, K: Keying> Core<P, R, K> {
    /// The answer to a call whose last attempt was not sent, because a service was not ready.
    #[cold]
    fn unready<Req, Res, E>(&self, stats: &Stats, error: E) -> E
    where
        P: RetryPolicy<Req, Res, E>,
        E: WithRejection<Error = E>,
    {
        if error.rejection().is_some() {
            return error;
        }
        let rejection = Rejection::by(stats.emitter().instance(), Reason::NotReady);
        let answer = self.policy.unready(error, E::reject(rejection.clone()));
        if answer.rejection() == Some(&rejection) {
            stats.rejected(&rejection);
        }
        answer
    }

    /// Reports the end of an attempt to the [throttling of gRPC](super::RetryBudget::throttle).
    #[inline]
    fn report<Res, E>(&self, stats: &Stats, end: End, result: &mut Result<R::Response, E>)
    where
        R: Receive<Res>,
        E: WithRejection,
    {
        let throttle = stats.budget();
        let Some(throttle) = throttle.filter(|budget| budget.needs_outcomes()) else {
            return;
        };
        match end.is_success() {
            Some(true) => {
                // Only a response that the policy returned is known to be a success.
                if let Ok(response) = result
                    && self.receive.ended(response, throttle) == Ended::Success
                {
                    throttle.succeeded();
                }
            }
            Some(false) if !ended_by_its_caller(result) => throttle.failed(),
            Some(false) | None => {}
        }
    }
}

/// The next attempt and its time; `None` if the result of the last attempt is the answer.
#[cold]
fn prepare<Req>(
    stats: &Stats,
    end: End,
    cause: RetryCause,
    progress: Progress,
    deadline: Moment,
    replay: impl FnOnce(u32) -> Result<Req, RetryRefused>,
) -> Option<(Moment, Next<Option<Payment>, Req>)> {
    let settings = stats.settings();
    if settings.mode == Mode::Off {
        return None;
    }
    let rules = Rules {
        attempts: settings.attempts,
        backoff: &settings.backoff(),
        max_hint: settings.max_retry_after,
    };
    let now = Moment::now();
    let known = Known {
        progress,
        left: (deadline != Moment::NEVER).then(|| deadline.since(now)),
        random: random(),
    };
    let pay = || match stats.budget() {
        Some(budget) => budget.withdraw().map(Some),
        None => Some(None),
    };
    match rules.next(end, known, pay, replay) {
        Ok(next) => {
            let next = next?;
            if settings.mode == Mode::Shadow {
                if let Some(payment) = next.payment.flatten() {
                    payment.spend();
                }
                stats.refuse(RetryRefused::Shadow);
                return None;
            }
            stats.retrying(cause);
            let (attempt, delay) = (next.progress.attempt(), next.delay);
            stats.emit_and_log(|| EventKind::Retrying {
                attempt,
                delay,
                cause,
            });
            Some((now.after(delay), next))
        }
        Err(why) => {
            stats.refuse(why);
            None
        }
    }
}

impl<S, Req, P, R, K> fmt::Debug for ResponseFuture<S, Req, P, R, K>
where
    S: Service<Req>,
    S::Error: WithRejection,
    R: Receive<S::Response>,
    P: RetryPolicy<Req, R::Response, Grown<S::Error>>,
    K: Keying,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture")
            .field("attempt", &self.progress.attempt())
            .finish_non_exhaustive()
    }
}
