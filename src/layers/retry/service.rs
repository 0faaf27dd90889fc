//! The service.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tower_service::Service;

use super::attempt::traced;
use super::future::{Phase, ResponseFuture};
use super::handle::RetryHandle;
use super::layer::Core;
use super::policy::{RetryErrors, RetryPolicy};
use super::receive::{Receive, Unchanged};
use super::snapshot::Stats;
use crate::call::entry::Entry;
use crate::call::inner::Inner;
use crate::call::readiness::Readiness;
use crate::layers::keyed::{Keying, KeyingOf, OneForAll};
use crate::observe::emit::Emit;
use crate::observe::span::InSpan;
use crate::policy::retry::Progress;
use crate::runtime::isolate::isolate;
use crate::runtime::scoped::Scope;
use crate::runtime::shared::Shared;
use crate::vocabulary::context::{self, Attempt};
use crate::vocabulary::error::{Grown, WithRejection};
use crate::vocabulary::overrides::CallSettings;

/// A service with retries: see [`RetryLayer`](crate::RetryLayer).
pub struct Retry<S, P = RetryErrors, R = Unchanged, K: Keying = OneForAll> {
    pub(super) inner: Inner<S>,
    /// The result of the last `poll_ready`.
    pub(super) readiness: Readiness,
    pub(super) context: Shared<CallContext<S, P, R, K>>,
    /// The budget of the last call, if there are several.
    pub(super) last: K::Last<Stats>,
}

/// The state that a call needs for retries.
pub(crate) struct CallContext<S, P, R, K: Keying> {
    pub(super) core: Arc<Core<P, R, K>>,
    /// Cloned for a retry. A clone for every call would cost as much as the inner layers. It is
    /// never polled, so it reserves nothing.
    pub(super) spare: Spare<S>,
}

/// A service that is only cloned. The lock makes it `Sync`, which `S` need not be.
///
/// `S::clone` is foreign code, so it runs outside the lock: whoever clones the service takes it out
/// and puts it back.
pub(crate) struct Spare<S>(Mutex<Place<S>>);

struct Place<S> {
    service: Option<S>,
    /// The retries that wait for the service to be put back.
    waiting: Vec<Waker>,
}

impl<S> Spare<S> {
    pub(super) fn new(service: S) -> Self {
        Self(Mutex::new(Place {
            service: Some(service),
            waiting: Vec::new(),
        }))
    }

    /// A clone; pending while another retry makes one.
    pub(super) fn poll_clone(&self, cx: &Context<'_>) -> Poll<S>
    where
        S: Clone,
    {
        let mut taken = Taken {
            service: self.lock().service.take(),
            spare: self,
        };
        if taken.service.is_none() {
            // Foreign code, too.
            let waker = cx.waker().clone();
            let mut place = self.lock();
            taken.service = place.service.take();
            if taken.service.is_none() {
                // A task may be polled for other reasons meanwhile.
                if !place.waiting.iter().any(|other| other.will_wake(&waker)) {
                    place.waiting.push(waker);
                }
                return Poll::Pending;
            }
        }
        taken.service.clone().map_or(Poll::Pending, Poll::Ready)
    }

    fn lock(&self) -> MutexGuard<'_, Place<S>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Puts the service back, even if its `clone` panics.
struct Taken<'a, S> {
    service: Option<S>,
    spare: &'a Spare<S>,
}

impl<S> Drop for Taken<'_, S> {
    fn drop(&mut self) {
        let Some(service) = self.service.take() else {
            return;
        };
        let waiting = {
            let mut place = self.spare.lock();
            place.service = Some(service);
            std::mem::take(&mut place.waiting)
        };
        for waker in waiting {
            // The others are woken even if this one panics.
            isolate(|| waker.wake());
        }
    }
}

impl<S, P, R, K: Keying> Retry<S, P, R, K> {
    /// The inner service.
    pub fn get_ref(&self) -> &S {
        self.inner.get_ref()
    }

    /// The inner service, without retries.
    pub fn into_inner(self) -> S {
        self.inner.into_inner()
    }
}

impl<S, P, R, K: Keying> Retry<S, P, R, K> {
    /// A handle to inspect its instance.
    #[must_use]
    pub fn handle(&self) -> RetryHandle {
        RetryHandle::new(K::target(&self.context.core.instances))
    }
}

impl<S, Req, P, R, K> Service<Req> for Retry<S, P, R, K>
where
    S: Service<Req> + Clone,
    S::Error: WithRejection,
    R: Receive<S::Response>,
    P: RetryPolicy<Req, R::Response, Grown<S::Error>>,
    K: KeyingOf<Req>,
{
    type Response = R::Response;
    type Error = Grown<S::Error>;
    type Future = ResponseFuture<S, Req, P, R, K>;

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        let (ready, readiness) = Readiness::of(|| self.inner.poll_ready(cx));
        self.readiness = readiness;
        ready.map(Ok)
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn call(&mut self, mut request: Req) -> Self::Future {
        let mut entry = Entry::of(self);
        let core = &self.context.core;
        let of_call = K::hold(&core.instances, &mut self.last, &request);
        let stats = K::of_call(&core.instances, &of_call);
        if let Some(budget) = stats.budget() {
            budget.request(&mut entry);
        }
        let retries = stats.attempts() > 1;
        if retries {
            stats.begin();
        }
        let kept = if retries && !CallSettings::current().never_retries() {
            core.policy.keep(&mut request, stats.replay_limit())
        } else {
            None
        };
        // Without retries, the number is that of an outer retry.
        let attempt = if retries {
            Attempt::new(1)
        } else {
            Attempt::new(context::attempt().max(1))
        };
        let span = if retries {
            InSpan::of_attempt(stats.emitter().instance(), 1)
        } else {
            None
        };
        let context = self.context.hold();
        let deadline = context::deadline().local();
        if let Some(span) = span {
            let call = traced(attempt, span, || self.inner.call(request, &entry));
            return ResponseFuture {
                phase: Phase::CallingTraced { call },
                kept,
                readiness: self.readiness,
                progress: Progress::FIRST,
                deadline,
                context,
                of_call,
            };
        }
        let _scope = attempt.enter();
        // Made in place: moving it would cost as much as the rest.
        ResponseFuture {
            phase: Phase::first(self.inner.call(request, &entry), attempt),
            kept,
            readiness: self.readiness,
            progress: Progress::FIRST,
            deadline,
            context,
            of_call,
        }
    }
}

impl<S: Clone, P, R, K: Keying> Clone for Retry<S, P, R, K> {
    fn clone(&self) -> Self {
        Self {
            inner: self.inner.clone(),
            readiness: Readiness::Ready,
            context: self.context.clone(),
            last: self.last.clone(),
        }
    }
}

impl<S: fmt::Debug, P, R, K: Keying> fmt::Debug for Retry<S, P, R, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Retry")
            .field("inner", &self.inner)
            .field("settings", &self.handle().as_set())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;
