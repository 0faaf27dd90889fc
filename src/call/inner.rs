//! The inner service of a layer, and its readiness.
//!
//! An error of the inner service's `poll_ready` is an outcome of the call that follows. [`Inner`] keeps the
//! error, reports that it is ready, and the next call resolves to the error without calling the inner
//! service. So neither the circuit breaker nor a retry misses it, and it never leaves a stack through
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
use crate::call::unsent::{FailureNumber, Found};
use crate::vocabulary::reason::Reason;

/// The inner service of a layer.
///
/// A rejection is the answer to a call, never an error of readiness. So a layer that already knows that it
/// will reject is ready without asking the inner service; and having said so, it rejects the call
/// that follows, whatever has changed since, because the inner service may not be called unasked.
pub(crate) struct Inner<S> {
    service: S,
    ready: Ready,
    /// The error of readiness that the next call resolves to.
    failure: Option<Failure>,
}

/// The result of the last `poll_ready`.
#[derive(Clone, Copy)]
pub(crate) enum Ready {
    /// One call may be made: the inner service is ready for it, or has failed and the call resolves to its error.
    Yes,
    /// The inner service is not ready (or was not asked), and a call is rejected for this reason.
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

    /// Asks the inner service. Ready when it is, and when it has failed.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub(crate) fn poll_ready<Req>(&mut self, cx: &mut Context<'_>) -> Poll<()>
    where
        S: Service<Req>,
        S::Error: Send + 'static,
    {
        if let Some(failure) = &self.failure {
            if matches!(self.ready, Ready::Yes) {
                // It said that it is ready, and stays so until the call.
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
        Found::Failed(failure.number).note();
        Poll::Ready(())
    }

    /// Is ready to reject the next call.
    #[inline]
    pub(crate) fn will_reject(&mut self, reason: Reason) {
        self.ready = Ready::No(reason);
    }

    /// The result of the last `poll_ready`, once: the next call needs a new one.
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
            // It is not where the service was made ready for requests of another type, whose error is another.
            && failure.is::<S::Error>()
        {
            return InnerFuture::Failed {
                failure: Some(failure),
            };
        }
        let _handed = entry.hand_on(&self.service);
        InnerFuture::Called {
            inner: self.service.call(request),
        }
    }
}

impl<S: Clone> Inner<S> {
    /// Gives up what the inner service has reserved, and leaves a clone in its place, which is not ready.
    pub(crate) fn reset(&mut self) -> S {
        let service = self.service.clone();
        *self = Self::new(service.clone());
        service
    }
}

impl<S: Clone> Clone for Inner<S> {
    /// A clone is never ready: what the original reserved is its own.
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
/// A layer does not know the type of its requests before it is called, nor then the type of the inner service's
/// error. So the error is kept without its type. The mutex is never locked: it makes `Sync` what need not be.
pub struct Failure {
    error: Box<Mutex<dyn Any + Send>>,
    kind: TypeId,
    number: FailureNumber,
}

impl Failure {
    #[cold]
    fn new<E: Send + 'static>(error: E) -> Self {
        Self {
            error: Box::new(Mutex::new(Some(error))),
            kind: TypeId::of::<E>(),
            number: FailureNumber::next(),
        }
    }

    #[cold]
    fn is<E: 'static>(&self) -> bool {
        self.kind == TypeId::of::<E>()
    }

    #[cold]
    fn take<E: 'static>(&mut self) -> Option<E> {
        self.number.is_the_answer();
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
    /// The future of an inner service that was called, or failed when it was to be made ready.
    #[project = InnerProj]
    #[must_use = "futures do nothing unless polled"]
    pub enum InnerFuture<F> {
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
            // Without an error it was polled after its completion.
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
