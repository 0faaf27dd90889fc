use std::convert::Infallible;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use http::{Request, Response};
use pin_project_lite::pin_project;
use tower_service::Service;

use super::answer::{Format, answer, in_format};
use super::body::{KnownBody, MakeBody};
use super::errors::{MapError, Mapping, RejectionsOnly};
use super::layer::RespondLayer;
use crate::vocabulary::error::Error;

/// The service of a [`RespondLayer`](crate::RespondLayer).
pub struct Respond<S, M: Mapping = RejectionsOnly, B = KnownBody> {
    inner: S,
    layer: RespondLayer<M, B>,
    /// A readiness error of the inner service, until the next call returns it.
    unready: Option<Error<M::Rest>>,
}

impl<S, M: Mapping, B> Respond<S, M, B> {
    pub(super) fn new(inner: S, layer: RespondLayer<M, B>) -> Self {
        Self {
            inner,
            layer,
            unready: None,
        }
    }

    /// The inner service.
    pub fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The inner service, with its errors.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, ReqB, ResB, M, B> Service<Request<ReqB>> for Respond<S, M, B>
where
    S: Service<Request<ReqB>, Response = Response<ResB>>,
    M: MapError<S::Error, ResB> + Clone,
    B: MakeBody<ResB> + Clone,
{
    type Response = Response<ResB>;
    type Error = Infallible;
    type Future = ResponseFuture<S::Future, M, B>;

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        if self.unready.is_none()
            && let Err(error) = ready!(self.inner.poll_ready(cx))
        {
            self.unready = Some(M::sort(error));
        }
        Poll::Ready(Ok(()))
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn call(&mut self, request: Request<ReqB>) -> Self::Future {
        let format = Format::of(request.method(), request.headers());
        let layer = self.layer.clone();
        // Constructed in place, because the inner future is often large.
        if self.unready.is_none() {
            return ResponseFuture {
                state: State::Calling {
                    inner: self.inner.call(request),
                },
                format,
                layer,
            };
        }
        ResponseFuture {
            state: State::Failed {
                error: self.unready.take(),
            },
            format,
            layer,
        }
    }
}

pin_project! {
    /// The future of [`Respond`].
    #[must_use = "futures do nothing unless polled"]
    pub struct ResponseFuture<F, M, B>
    where
        M: Mapping,
    {
        #[pin]
        state: State<F, M::Rest>,
        format: Format,
        layer: RespondLayer<M, B>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F, R> {
        Calling {
            #[pin]
            inner: F,
        },
        /// The inner service was not called.
        Failed {
            error: Option<Error<R>>,
        },
    }
}

impl<F, ResB, E, M, B> Future for ResponseFuture<F, M, B>
where
    F: Future<Output = Result<Response<ResB>, E>>,
    M: MapError<E, ResB>,
    B: MakeBody<ResB>,
{
    type Output = Result<Response<ResB>, Infallible>;

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        let error = match this.state.project() {
            StateProj::Calling { inner } => match ready!(inner.poll(cx)) {
                Ok(response) => return Poll::Ready(Ok(response)),
                Err(error) => M::sort(error),
            },
            StateProj::Failed { error } => match error.take() {
                Some(error) => error,
                None => return Poll::Pending,
            },
        };
        let layer = this.layer;
        Poll::Ready(Ok(match error {
            Error::Rejected(rejection) => {
                answer(rejection, *this.format, &layer.style, &layer.body)
            }
            Error::Inner(error) => in_format(layer.map.answer(error), *this.format, &layer.body),
        }))
    }
}

impl<S, M, B> Clone for Respond<S, M, B>
where
    S: Clone,
    M: Mapping + Clone,
    B: Clone,
{
    /// A clone does not take over the readiness error of the original.
    fn clone(&self) -> Self {
        Self::new(self.inner.clone(), self.layer.clone())
    }
}

impl<S, M, B> fmt::Debug for Respond<S, M, B>
where
    S: fmt::Debug,
    M: Mapping + fmt::Debug,
    B: fmt::Debug,
{
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Respond")
            .field("inner", &self.inner)
            .field("layer", &self.layer)
            .finish_non_exhaustive()
    }
}

impl<F, M: Mapping, B> fmt::Debug for ResponseFuture<F, M, B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ResponseFuture").finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "service_tests.rs"]
mod tests;
