//! The inner service of a layer, and its readiness.
//!
//! An error of the inner service's `poll_ready` is the outcome of the next call. [`Inner`] stores
//! the error and reports that it is ready. The next call resolves to the error without calling the
//! inner service. So circuit breakers and retries see it, and it never leaves a stack through
//! `poll_ready`.

use std::any::{Any, TypeId};
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Poll};

use pin_project_lite::pin_project;
use tower_service::Service;

use crate::call::entry::Entry;
use crate::call::readiness::{FailureId, Readiness};
use crate::vocabulary::reason::Reason;

/// The inner service of a layer.
///
/// A rejection is the answer to a call, never an error of readiness. So a layer that will reject
/// the next call is ready without polling the inner service. It then rejects that call even if its
/// state has changed: the inner service must not be called without a `poll_ready`.
pub(crate) struct Inner<S> {
    service: S,
    ready: Ready,
    /// The next call resolves to this error of readiness.
    failure: Option<Failure>,
}

/// The result of the last `poll_ready`.
#[derive(Clone, Copy)]
pub(crate) enum Ready {
    /// The inner service is ready for one call, or has failed and the call resolves to its error.
    Yes,
    /// The inner service is not ready, or was not polled: a call is rejected for this reason.
    No(Reason),
}

impl<S> Inner<S> {
    pub(crate) const fn new(service: S) -> Self {
        Self {
            service,
            ready: Ready::No(Reason::NotReady),
            failure: None,
        }
    }

    pub(crate) fn get_ref(&self) -> &S {
        &self.service
    }

    pub(crate) fn into_inner(self) -> S {
        self.service
    }

    /// Polls the inner service. `Ready` also if it has failed.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub(crate) fn poll_ready<Req>(&mut self, cx: &mut Context<'_>) -> Poll<()>
    where
        S: Service<Req>,
        S::Error: Send + 'static,
    {
        if let Some(failure) = &self.failure {
            if matches!(self.ready, Ready::Yes) {
                // It reported that it is ready, and stays so until the call.
                return Self::failed(failure);
            }
            // The call that would have resolved to it was rejected.
            self.failure = None;
        }
        match self.service.poll_ready(cx) {
            Poll::Ready(Ok(())) => {
                self.ready = Ready::Yes;
                Poll::Ready(())
            }
            Poll::Ready(Err(error)) => {
                self.ready = Ready::Yes;
                Self::failed(self.failure.insert(Failure::new(error)))
            }
            Poll::Pending => {
                self.ready = Ready::No(Reason::NotReady);
                Poll::Pending
            }
        }
    }

    #[cold]
    fn failed(failure: &Failure) -> Poll<()> {
        Readiness::Failed(failure.id).record();
        Poll::Ready(())
    }

    /// Becomes ready to reject the next call.
    #[inline]
    pub(crate) fn will_reject(&mut self, reason: Reason) {
        self.ready = Ready::No(reason);
    }

    /// The result of the last `poll_ready`. Each call needs a new one.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub(crate) fn take_ready(&mut self) -> Ready {
        std::mem::replace(&mut self.ready, Ready::No(Reason::NotReady))
    }

    /// Calls the inner service, or resolves to the error of its readiness.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub(crate) fn call<Req>(&mut self, request: Req, entry: &Entry) -> InnerFuture<S::Future>
    where
        S: Service<Req>,
        S::Error: 'static,
    {
        if let Some(failure) = self.failure.take()
            // Not if the service was polled for another type of request, which has another error.
            && failure.is::<S::Error>()
        {
            return InnerFuture::Failed {
                failure: Some(failure),
            };
        }
        let _passed = entry.pass_on(&self.service);
        InnerFuture::Called {
            inner: self.service.call(request),
        }
    }
}

impl<S: Clone> Inner<S> {
    /// A clone for a call that is called later. It is not ready, unless the inner service has
    /// failed: then the call resolves to that error, as it would have without a wait.
    pub(crate) fn for_later<Req>(&mut self) -> Self
    where
        S: Service<Req>,
        S::Error: 'static,
    {
        let mut later = self.clone();
        if let Some(failure) = self.failure.take()
            && failure.is::<S::Error>()
        {
            later.ready = Ready::Yes;
            later.failure = Some(failure);
        }
        later
    }

    /// Replaces the inner service by a clone that is not ready, so that it releases its
    /// reservation.
    pub(crate) fn reset(&mut self) {
        *self = self.clone();
    }
}

impl<S: Clone> Clone for Inner<S> {
    /// A clone is never ready: the reservation belongs to the original.
    fn clone(&self) -> Self {
        Self::new(self.service.clone())
    }
}

impl<S: fmt::Debug> fmt::Debug for Inner<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.service.fmt(f)
    }
}

/// An error of readiness.
///
/// Its type is erased: the error's type depends on the type of the request, which a layer does not
/// know before it is called. The mutex is never locked; it makes the error `Sync`.
pub(crate) struct Failure {
    error: Box<Mutex<dyn Any + Send>>,
    kind: TypeId,
    id: FailureId,
}

impl Failure {
    #[cold]
    fn new<E: Send + 'static>(error: E) -> Self {
        Self {
            error: Box::new(Mutex::new(Some(error))),
            kind: TypeId::of::<E>(),
            id: FailureId::next(),
        }
    }

    #[cold]
    fn is<E: 'static>(&self) -> bool {
        self.kind == TypeId::of::<E>()
    }

    #[cold]
    fn take<E: 'static>(&mut self) -> Option<E> {
        self.id.record_answer();
        let error = self.error.get_mut().unwrap_or_else(PoisonError::into_inner);
        error.downcast_mut::<Option<E>>().and_then(Option::take)
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Failure")
    }
}

pin_project! {
    /// The future of an inner service that was called, or whose `poll_ready` failed.
    #[project = InnerProj]
    #[must_use = "futures do nothing unless polled"]
    pub(crate) enum InnerFuture<F> {
        /// Called.
        Called {
            #[pin]
            inner: F,
        },
        /// Not called.
        Failed {
            failure: Option<Failure>,
        },
    }
}

impl<F, Res, E> Future for InnerFuture<F>
where
    F: Future<Output = Result<Res, E>>,
    E: 'static,
{
    type Output = Result<Res, E>;

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            InnerProj::Called { inner } => inner.poll(cx),
            // No error: polled after completion.
            InnerProj::Failed { failure } => {
                let error = failure.take().and_then(|mut failure| failure.take());
                error.map_or(Poll::Pending, |error| Poll::Ready(Err(error)))
            }
        }
    }
}

impl<F> fmt::Debug for InnerFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Called { .. } => "InnerFuture::Called",
            Self::Failed { .. } => "InnerFuture::Failed",
        })
    }
}
