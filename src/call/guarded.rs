//! What the layers that admit or reject a call have in common: the future of a call that holds something.

use std::fmt;
use std::future::Future;
use std::mem;
use std::pin::Pin;
use std::task::{Context, Poll};

use pin_project_lite::pin_project;

use crate::call::track::{Head, Settle, Track};
use crate::call::{permit::Held, track::AtResponse};
use crate::vocabulary::outcome::{FAILED, IGNORED};
use crate::vocabulary::outcome::{not_sent, of_timed_out, timed_out};
use crate::vocabulary::{
    error::WithRejection,
    outcome::{ErrorsFail, Verdict},
    rejection::Rejection,
};

/// What a layer holds for a call, as the call's future sees it.
///
/// It begins in the inner `call`: if it is dropped before that has [returned](Self::returned), user code has panicked; if it is dropped later,
/// the caller went away. A panic of the inner future settles it where the unwinding passes by. That tells a panic from a cancellation even where
/// the unwinding has long been caught, and no call that does not panic has to note when user code runs.
pub trait Guard: Settle {
    /// How the layer judges and tracks responses.
    type Track;

    /// How the layer judges and tracks responses.
    fn tracker(&self) -> &Self::Track;

    /// The inner `call` has returned a future.
    fn returned(&mut self);

    /// Whether the call has to take a turn of the run queue before it starts; once.
    #[inline]
    fn queues_up(&mut self) -> bool {
        false
    }

    /// The call waits.
    fn suspended(&mut self) {}

    /// The response is there: latency is taken now, although the outcome is not known yet.
    fn at_head(&mut self) {}
}

/// Around user code that runs in a poll: if this is dropped, it has panicked.
///
/// A mark in the guard, set before and cleared afterwards, would say the same, but the processor has to wait for what was changed in part before
/// it can be read as a whole.
struct Running<'a, G: Guard>(&'a mut Option<G>);

impl<G: Guard> Drop for Running<'_, G> {
    #[inline]
    fn drop(&mut self) {
        if let Some(guard) = self.0 {
            guard.settle(FAILED);
        }
    }
}

/// What a call holds that its layer does not count: nothing.
#[derive(Debug, Clone, Copy)]
pub struct Uncounted;

impl Settle for Uncounted {
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn settle(&mut self, _: Verdict) {}

    #[inline]
    fn holds(&self) -> bool {
        false
    }

    fn into_held(self) -> Held {
        Held::nothing()
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

pin_project! {
    /// A call that holds something of its layer until it is over, or was rejected at once.
    #[project = GuardedProj]
    #[must_use = "futures do nothing unless polled"]
    pub enum Guarded<F, G> {
        /// Admitted. The work is dropped before what it holds is given back.
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

impl<F, G> Guarded<F, G> {
    /// The inner `call` has returned this future.
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

/// What a guarded call resolves to.
pub(crate) type Output<G, Res, E> = Result<
    <<G as Guard>::Track as Track<Res, <E as WithRejection>::Error>>::Response,
    <E as WithRejection>::Error,
>;

impl<F, G, Res, E> Future for Guarded<F, G>
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
            GuardedProj::Admitted { inner, guard } => {
                if let Some(guard) = guard
                    && guard.queues_up()
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
                    // Polled after completion, and the inner future allowed it.
                    Poll::Ready(_) => Poll::Pending,
                };
                mem::forget(running);
                polled
            }
            GuardedProj::Rejected { rejection } => match rejection.take() {
                Some(rejection) => Poll::Ready(Err(E::reject(rejection))),
                None => Poll::Pending,
            },
        }
    }
}

/// The result is there: judges it, and settles the call or passes the guard on with the response. Done where the guard
/// lies: moving it costs more than all it does.
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
                Head::Pending(what) => {
                    guard.at_head();
                    pending = Some(what);
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

impl<F, G> fmt::Debug for Guarded<F, G> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Admitted { .. } => "Guarded::Admitted",
            Self::Rejected { .. } => "Guarded::Rejected",
        })
    }
}
