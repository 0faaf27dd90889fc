use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::HeaderName;
use pin_project_lite::pin_project;
use tower_service::Service;

use super::wire::{Form, GRPC_TIMEOUT};
use crate::http::{ContentType, HttpRequest};
use crate::name::unnamed::DEADLINE;
use crate::runtime::{Entry, Moment};
use crate::{Grown, Reason, Rejection, WithRejection, context};

/// A service behind a [`DeadlineLayer`](super::DeadlineLayer).
#[derive(Debug, Clone)]
pub struct Deadline<S> {
    inner: S,
    header: Option<HeaderName>,
}

impl<S> Deadline<S> {
    pub(super) fn new(inner: S, header: Option<HeaderName>) -> Self {
        Self { inner, header }
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service, which is told of no deadline.
    pub fn into_inner(self) -> S {
        self.inner
    }

    /// Writes what is left from `now`; false when there is nothing left.
    fn write(&self, request: &mut impl HttpRequest, deadline: Moment, now: Moment) -> bool {
        let Some(header) = &self.header else {
            return true;
        };
        let left = deadline.since(now);
        if left.is_zero() {
            return false;
        }
        let headers = request.headers_mut();
        let (form, name) = if ContentType::of(headers).is_grpc() {
            (Form::Grpc, &GRPC_TIMEOUT)
        } else {
            (Form::Millis, header)
        };
        let shorter = form.of_header(headers, name).is_some_and(|own| own <= left);
        if !shorter {
            // Fails only for a map of 32 768 headers, which then goes without.
            let _ = headers.try_insert(name, form.format(left));
        }
        true
    }
}

impl<S, Req> Service<Req> for Deadline<S>
where
    S: Service<Req>,
    S::Error: WithRejection,
    Req: HttpRequest,
{
    type Response = S::Response;
    type Error = Grown<S::Error>;
    type Future = ResponseFuture<S::Future>;

    #[inline]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx).map_err(WithRejection::grow)
    }

    fn call(&mut self, mut request: Req) -> Self::Future {
        let deadline = context::deadline();
        let state = if deadline == Moment::NEVER {
            State::Calling {
                inner: self.inner.call(request),
            }
        } else {
            let entry = Entry::new();
            if self.write(&mut request, deadline, entry.now()) {
                State::Calling {
                    inner: self.inner.call(request),
                }
            } else {
                let rejection = Rejection::by(&DEADLINE, Reason::DeadlinePassed);
                State::Rejected {
                    rejection: Some(rejection),
                }
            }
        };
        ResponseFuture { state }
    }
}

pin_project! {
    /// The future of a call that was told its deadline.
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F> {
        Calling {
            #[pin]
            inner: F,
        },
        Rejected {
            rejection: Option<Rejection>,
        },
    }
}

impl<F, Res, E> Future for ResponseFuture<F>
where
    F: Future<Output = Result<Res, E>>,
    E: WithRejection,
{
    type Output = Result<Res, E::Error>;

    #[inline]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Calling { inner } => {
                Poll::Ready(ready!(inner.poll(cx)).map_err(WithRejection::grow))
            }
            StateProj::Rejected { rejection } => match rejection.take() {
                Some(rejection) => Poll::Ready(Err(E::reject(rejection))),
                None => Poll::Pending,
            },
        }
    }
}

impl<F> fmt::Debug for ResponseFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}
