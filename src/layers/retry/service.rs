use std::fmt;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use tower_service::Service;

use super::attempt::traced;
use super::future::{Phase, ResponseFuture};
use super::layer::Core;
use super::policy::{RetryErrors, RetryPolicy};
use super::receive::{AsItComes, Receive};
use crate::call::entry::Entry;
use crate::call::inner::Inner;
use crate::call::readiness::Readiness;
use crate::observe::emit::Emit;
use crate::observe::span::InSpan;
use crate::policy::retry::Progress;
use crate::runtime::scoped::Scope;
use crate::runtime::shared::Shared;
use crate::vocabulary::context::{self, Attempt};
use crate::vocabulary::error::{Grown, WithRejection};

/// A service behind a [`RetryLayer`](crate::RetryLayer).
pub struct Retry<S, P = RetryErrors, R = AsItComes> {
    pub(super) inner: Inner<S>,
    /// Of the last `poll_ready`.
    pub(super) readiness: Readiness,
    pub(super) kit: Shared<Kit<S, P, R>>,
}

/// What a call needs that may have to be repeated.
pub(crate) struct Kit<S, P, R> {
    pub(super) core: Arc<Core<P, R>>,
    /// The inner service to clone when there is something to retry: cloning it for every call would cost every call
    /// as much as the layers it consists of. It is never polled, so it keeps nothing reserved.
    pub(super) spare: Mutex<S>,
}

impl<S, P, R> Retry<S, P, R> {
    /// The inner service.
    pub fn get_ref(&self) -> &S {
        self.inner.get_ref()
    }

    /// The inner service, without retries.
    pub fn into_inner(self) -> S {
        self.inner.into_inner()
    }
}

impl<S, Req, P, R> Service<Req> for Retry<S, P, R>
where
    S: Service<Req> + Clone,
    S::Error: WithRejection,
    R: Receive<S::Response>,
    P: RetryPolicy<Req, R::Response, Grown<S::Error>>,
{
    type Response = R::Response;
    type Error = Grown<S::Error>;
    type Future = ResponseFuture<S, Req, P, R>;

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let (ready, readiness) = Readiness::of(|| self.inner.poll_ready(cx));
        self.readiness = readiness;
        ready.map(Ok)
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn call(&mut self, mut request: Req) -> Self::Future {
        let mut entry = Entry::of(self);
        let core = &self.kit.core;
        if let Some(budget) = &core.settings.budget {
            budget.request(&mut entry);
        }
        let repeats = core.settings.attempts > 1;
        if repeats {
            core.begin();
        }
        let kept = if repeats {
            core.policy.keep(&mut request, core.settings.replay_limit)
        } else {
            None
        };
        // Where nothing is repeated, the number is that of a retry further out.
        let attempt = if repeats {
            Attempt::new(1)
        } else {
            Attempt::new(context::attempt().max(1))
        };
        let kit = self.kit.hold();
        let deadline = context::deadline().local();
        if repeats && let Some(span) = InSpan::of_attempt(self.kit.core.emitter().instance(), 1) {
            let call = traced(attempt, span, || self.inner.call(request, &entry));
            return ResponseFuture {
                phase: Phase::CallingTraced { call },
                kept,
                readiness: self.readiness,
                progress: Progress::FIRST,
                deadline,
                kit,
            };
        }
        let _scope = attempt.enter();
        // Made where it is to be: to move it would cost as much as all the rest.
        ResponseFuture {
            phase: Phase::first(self.inner.call(request, &entry), attempt),
            kept,
            readiness: self.readiness,
            progress: Progress::FIRST,
            deadline,
            kit,
        }
    }
}

impl<S: Clone, P, R> Clone for Retry<S, P, R> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            readiness: Readiness::Ready,
            kit: self.kit.clone(),
        }
    }
}

impl<S: fmt::Debug, P, R> fmt::Debug for Retry<S, P, R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("inner", &self.inner)
            .field("settings", &self.kit.core.settings)
            .finish_non_exhaustive()
    }
}
