//! The future of a call through a layer that admits or rejects it.

use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::call::track::{Head, Settle, Track};
use crate::call::{permit::ErasedPermit, track::AtResponse};
use crate::vocabulary::outcome::{FAILED, IGNORED};
use crate::vocabulary::outcome::{not_sent, of_timed_out, timed_out};
use crate::vocabulary::sealed::Sealed;
use crate::vocabulary::{
    error::WithRejection,
    outcome::{ErrorsFail, Verdict},
    rejection::Rejection,
};

/// The permit of a call, as the call's future uses it.
///
/// A guard that is dropped before the inner `call` has [returned](Self::returned) belongs to a call
/// that panicked; one that is dropped later was cancelled. A panic of the inner future settles the
/// guard during unwinding. So a panic is never taken for a cancellation, and a call that does not
/// panic need not record when user code runs.
pub(crate) trait Guard: Settle {
    /// How the layer classifies and tracks responses.
    type Track;

    /// The tracker.
    fn tracker(&self) -> &Self::Track;

    /// The inner `call` has returned a future.
    fn returned(&mut self);

    /// Whether the call has to yield to the scheduler before it starts; `true` once.
    #[inline]
    fn yields_first(&mut self) -> bool {
        false
    }

    /// The call is pending.
    fn suspended(&mut self) {}

    /// The response is there: the latency is final, but the outcome is not known yet.
    fn at_head(&mut self) {}
}

/// Wraps user code that runs in a poll: dropping this means that it panicked.
///
/// A flag in the guard would do, too. But then the processor stalls: it writes a part of a word and
/// reads the whole word right after.
struct Running<'a, G: Guard>(&'a mut Option<G>);

impl<G: Guard> Drop for Running<'_, G> {
    #[inline]
    fn drop(&mut self) {
        if let Some(guard) = self.0 {
            guard.settle(FAILED);
        }
    }
}

/// The guard of a layer that counts nothing.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Uncounted;

impl Sealed for Uncounted {}

impl Settle for Uncounted {
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn settle(&mut self, _: Verdict) {}

    #[inline]
    fn holds_permit(&self) -> bool {
        false
    }

    fn erase(self) -> ErasedPermit {
        ErasedPermit::nothing()
    }
}

impl Guard for Uncounted {
    type Track = AtResponse;

    #[inline]
    fn tracker(&self) -> &AtResponse {
        &AtResponse(ErrorsFail)
    }

    #[inline]
    fn returned(&mut self) {}
}

/// Defines the future of a layer that may reject calls but counts none of them.
macro_rules! uncounted_future {
    ($(#[$attribute:meta])* pub struct $name:ident<F>) => {
        $crate::runtime::opaque::opaque_future! {
            $(#[$attribute])*
            pub struct $name<F> = $crate::call::future::CallFuture<
                $crate::call::inner::InnerFuture<F>,
                $crate::call::future::Uncounted,
            >;
            impl<Res, E> [
                F: std::future::Future<Output = Result<Res, E>>,
                E: $crate::vocabulary::error::WithRejection,
            ] for Output = Result<Res, $crate::vocabulary::error::Grown<E>>
        }
    };
}

pub(crate) use uncounted_future;

pin_project! {
    /// A call that holds a permit until it is over, or was rejected.
    #[project = CallFutureProj]
    #[must_use = "futures do nothing unless polled"]
    pub(crate) enum CallFuture<F, G> {
        /// Admitted. The inner future is dropped before the permit.
        Admitted {
            #[pin]
            inner: F,
            guard: Option<G>,
        },
        /// Rejected.
        Rejected {
            rejection: Option<Rejection>,
        },
    }
}

impl<F, G> CallFuture<F, G> {
    /// Takes the future that the inner `call` returned.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub(crate) fn admitted(inner: F, mut guard: G) -> Self
    where
        G: Guard,
    {
        guard.returned();
        Self::Admitted {
            inner,
            guard: Some(guard),
        }
    }

    #[inline]
    pub(crate) fn rejected(rejection: Rejection) -> Self {
        Self::Rejected {
            rejection: Some(rejection),
        }
    }
}

/// The result of a [`CallFuture`].
pub(crate) type Output<G, Res, E> = Result<
    <<G as Guard>::Track as Track<Res, <E as WithRejection>::Error>>::Response,
    <E as WithRejection>::Error,
>;

impl<F, G, Res, E> Future for CallFuture<F, G>
where
    F: Future<Output = Result<Res, E>>,
    E: WithRejection,
    G: Guard,
    G::Track: Track<Res, E::Error>,
{
    type Output = Output<G, Res, E>;

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project() {
            CallFutureProj::Admitted { inner, guard } => {
                if let Some(guard) = guard
                    && guard.yields_first()
                {
                    guard.suspended();
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
                let running = Running(guard);
                let polled = match inner.poll(cx) {
                    Poll::Pending => {
                        if let Some(guard) = running.0 {
                            guard.suspended();
                        }
                        Poll::Pending
                    }
                    Poll::Ready(result) if running.0.is_some() => {
                        Poll::Ready(finish(running.0, result))
                    }
                    // Polled after completion.
                    Poll::Ready(_) => Poll::Pending,
                };
                mem::forget(running);
                polled
            }
            CallFutureProj::Rejected { rejection } => match rejection.take() {
                Some(rejection) => Poll::Ready(Err(E::reject(rejection))),
                None => Poll::Pending,
            },
        }
    }
}

/// Classifies the result, and settles the call or attaches the guard to the response. Works on the
/// guard in place, because moving it costs more than the rest.
#[cfg_attr(not(debug_assertions), inline(always))]
pub(crate) fn finish<G, Res, E>(slot: &mut Option<G>, result: Result<Res, E>) -> Output<G, Res, E>
where
    E: WithRejection,
    G: Guard,
    G::Track: Track<Res, E::Error>,
{
    let result = result.map_err(WithRejection::grow);
    let mut pending = None;
    if let Some(guard) = slot {
        if not_sent(&result) {
            guard.settle(IGNORED);
        } else {
            match guard.tracker().head(result.as_ref()) {
                Head::Final(verdict) if timed_out(&result) => {
                    guard.settle(of_timed_out(verdict, &result));
                }
                Head::Final(verdict) => guard.settle(verdict),
                Head::Pending(_) if result.is_err() => guard.settle(FAILED),
                Head::Pending(state) => {
                    guard.at_head();
                    pending = Some(state);
                }
            }
        }
    }
    match result {
        Ok(response) => Ok(G::Track::attach(response, pending, slot)),
        Err(error) => {
            *slot = None;
            Err(error)
        }
    }
}

impl<F, G> fmt::Debug for CallFuture<F, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Admitted { .. } => "CallFuture::Admitted",
            Self::Rejected { .. } => "CallFuture::Rejected",
        })
    }
}
