use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use pin_project_lite::pin_project;

use super::cover::{Answered, Cover, HeadOnly};
use crate::context::{self, DeadlineScope};
use crate::runtime::{Moment, Timer};
use crate::scoped::{Scope, Scoped};
use crate::tells::Teller;
use crate::{Reason, Rejection, WithRejection};

/// Everything inside knows the deadline.
#[derive(Clone, Copy)]
struct Until(Moment);

impl Scope for Until {
    type Entered<'a> = DeadlineScope;

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn enter(&self) -> DeadlineScope {
        // A deadline that is set where the future is polled but was not where it was called (behind a buffer, say)
        // holds as well.
        DeadlineScope::enter(self.0.min(context::deadline()))
    }
}

pin_project! {
    /// The future of a call with a time limit.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F, B = HeadOnly> {
        #[pin]
        pub(super) state: State<F>,
        pub(super) cover: B,
    }
}

pin_project! {
    #[project = StateProj]
    pub(super) enum State<F> {
        Calling {
            #[pin]
            inner: Scoped<F, Until>,
            #[pin]
            timer: Option<Timer>,
            teller: Teller,
            ends: bool,
        },
        Rejected {
            rejection: Option<Rejection>,
        },
    }
}

impl<F> State<F> {
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub(super) fn calling(inner: F, deadline: Moment, teller: Teller) -> Self {
        Self::Calling {
            inner: Scoped::new(inner, Until(deadline)),
            timer: None,
            teller,
            ends: true,
        }
    }

    /// Of a layer that ends nothing.
    #[cold]
    pub(super) fn unlimited(inner: F, teller: Teller) -> Self {
        Self::Calling {
            inner: Scoped::new(inner, Until(Moment::NEVER)),
            timer: None,
            teller,
            ends: false,
        }
    }
}

impl<F, B> ResponseFuture<F, B> {
    pub(super) fn rejected(rejection: Rejection, cover: B) -> Self {
        Self {
            state: State::Rejected {
                rejection: Some(rejection),
            },
            cover,
        }
    }
}

impl<F, B, Res, E> Future for ResponseFuture<F, B>
where
    F: Future<Output = Result<Res, E>>,
    E: WithRejection,
    B: Cover<Res>,
{
    type Output = Result<B::Response, E::Error>;

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let mut state = this.state;
        let rejection = match state.as_mut().project() {
            StateProj::Calling {
                mut inner,
                mut timer,
                teller,
                ends,
            } => {
                // The answer first: one that is there when the time is over is given.
                if let Poll::Ready(result) = inner.as_mut().poll(cx) {
                    return Poll::Ready(match result {
                        Ok(response) => {
                            let Until(own) = *inner.scope();
                            let answered = Answered {
                                deadline: own.min(context::deadline()),
                                teller,
                            };
                            Ok(this.cover.cover(response, &answered, cx))
                        }
                        Err(error) => Err(error.grow()),
                    });
                }
                if !*ends {
                    return Poll::Pending;
                }
                if timer.is_none() {
                    let Until(own) = *inner.scope();
                    let deadline = own.min(context::deadline());
                    if deadline == Moment::NEVER {
                        return Poll::Pending;
                    }
                    timer.set(Some(Timer::at(deadline)));
                }
                if let Some(timer) = timer.as_pin_mut() {
                    ready!(timer.poll(cx));
                }
                teller.reject(Reason::TimedOut)
            }
            StateProj::Rejected { rejection } => match rejection.take() {
                Some(rejection) => rejection,
                None => return Poll::Pending,
            },
        };
        // The call is dropped now, not when the caller gets round to it.
        state.set(State::Rejected { rejection: None });
        Poll::Ready(Err(E::reject(rejection)))
    }
}

impl<F, B> fmt::Debug for ResponseFuture<F, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
