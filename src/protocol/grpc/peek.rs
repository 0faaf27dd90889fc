//! Reads the first frame of a response body if it is available.

use std::fmt;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Buf;
use http::{HeaderMap, StatusCode};
use http_body::{Body, Frame, SizeHint};
use pin_project_lite::pin_project;

use super::code::{Code, GRPC_STATUS, is_grpc};
use crate::layers::retry::RetryBudget;
use crate::layers::retry::{Ended, Receive};
use crate::protocol::http::{HttpResponse, header};
use crate::vocabulary::sealed::Sealed;

/// Reads trailers that arrive without a message, so that [`GrpcRetry`](super::GrpcRetry) sees their
/// status.
///
/// A server that fails after the response head but before any message mostly sends its trailers
/// together with the head. So if the head has no code, the body is polled once. A frame that is
/// available is kept, and the reader of the body gets it first. A frame that is not is not awaited.
#[derive(Debug, Clone, Copy, Default)]
pub struct EarlyTrailers;

impl Sealed for EarlyTrailers {}

impl<B> Receive<http::Response<B>> for EarlyTrailers
where
    B: Body + Unpin,
{
    type Response = http::Response<Peeked<B>>;

    #[inline]
    fn receive(&self, response: http::Response<B>, cx: &mut Context<'_>) -> Self::Response {
        let headers = response.headers();
        let is_open = response.status() == StatusCode::OK
            && header::first(headers, &GRPC_STATUS).is_none()
            && is_grpc(headers);
        response.map(|mut body| {
            let polled = if is_open && !body.is_end_stream() {
                Pin::new(&mut body).poll_frame(cx)
            } else {
                Poll::Pending
            };
            Peeked {
                head_decides: !is_open,
                budget: None,
                first: match polled {
                    Poll::Pending => First::Unread,
                    Poll::Ready(Some(result)) => First::Frame { result },
                    Poll::Ready(None) => First::End,
                },
                body,
            }
        })
    }

    fn ended(&self, response: &mut Self::Response, budget: &RetryBudget) -> Ended {
        let code = if response.body().head_decides {
            Code::of_head(response.status(), response.headers())
        } else {
            match &response.body().first {
                First::Unread | First::Frame { result: Err(_) } => return later(response, budget),
                First::End => Code::Unknown,
                First::Frame { result: Ok(frame) } => match frame.trailers_ref() {
                    Some(trailers) => Code::of_trailers(trailers),
                    None => return later(response, budget),
                },
            }
        };
        match code {
            Code::Ok => Ended::Success,
            _ => Ended::Neutral,
        }
    }
}

fn later<B: Body>(response: &mut http::Response<Peeked<B>>, budget: &RetryBudget) -> Ended {
    response.body_mut().budget = Some(budget.clone());
    Ended::Later
}

/// A gRPC response whose first frame may have been read.
///
/// This trait is sealed: only mainstay implements it.
#[diagnostic::on_unimplemented(
    message = "`GrpcRetry` cannot see the trailers of `{Self}`",
    note = "build the layer with `mainstay::grpc::retry()`, around a service that returns `http::Response`; its `policy(..)` accepts your own `GrpcRetry`"
)]
pub trait GrpcResponse: Sealed + HttpResponse {
    /// The trailers, if they have arrived without a message before them.
    fn early_trailers(&self) -> Option<&HeaderMap>;
}

impl<B: Body> Sealed for http::Response<Peeked<B>> {}

impl<B: Body> GrpcResponse for http::Response<Peeked<B>> {
    fn early_trailers(&self) -> Option<&HeaderMap> {
        match &self.body().first {
            First::Frame { result: Ok(frame) } => frame.trailers_ref(),
            _ => None,
        }
    }
}

pin_project! {
    /// The response body of [`grpc::retry`](super::retry()), with unchanged content.
    pub struct Peeked<B>
    where
        B: Body,
    {
        head_decides: bool,
        first: First<B::Data, B::Error>,
        // The budget that counts the end of the call.
        budget: Option<RetryBudget>,
        #[pin]
        body: B,
    }
}

enum First<D, E> {
    /// Not polled, not available, or already returned.
    Unread,
    Frame {
        result: Result<Frame<D>, E>,
    },
    End,
}

impl<B: Body> Body for Peeked<B> {
    type Data = B::Data;
    type Error = B::Error;

    #[inline]
    fn poll_frame(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let this = self.project();
        let polled = match this.first {
            First::Unread => this.body.poll_frame(cx),
            First::End => Poll::Ready(None),
            first => match std::mem::replace(first, First::Unread) {
                First::Frame { result } => Poll::Ready(Some(result)),
                First::Unread | First::End => Poll::Ready(None),
            },
        };
        if let (Some(budget), Poll::Ready(frame)) = (&*this.budget, &polled) {
            let success = match frame {
                Some(Ok(frame)) => match frame.trailers_ref().map(Code::of_trailers) {
                    // The trailers follow later.
                    None => return polled,
                    Some(Code::Ok) => Some(true),
                    // The code that would have been retried before the first message.
                    Some(Code::Unavailable) => Some(false),
                    Some(_) => None,
                },
                Some(Err(_)) => Some(false),
                None => None,
            };
            if let Some(success) = success {
                budget.record(success);
            }
            *this.budget = None;
        }
        polled
    }

    fn size_hint(&self) -> SizeHint {
        let rest = self.body.size_hint();
        let data = match &self.first {
            First::Unread | First::Frame { result: Err(_) } => return rest,
            First::End => return SizeHint::with_exact(0),
            First::Frame { result: Ok(frame) } => frame.data_ref(),
        };
        let data = data.map_or(0, |data| data.remaining() as u64);
        let mut hint = SizeHint::new();
        if let Some(upper) = rest.upper().and_then(|upper| upper.checked_add(data)) {
            hint.set_upper(upper);
        }
        hint.set_lower(rest.lower().saturating_add(data));
        hint
    }

    fn is_end_stream(&self) -> bool {
        match self.first {
            First::Unread => self.body.is_end_stream(),
            First::Frame { .. } => false,
            First::End => true,
        }
    }
}

/// The inner body's default, for generated code such as a stub's `with_interceptor`. No retry
/// budget counts it.
impl<B: Body + Default> Default for Peeked<B> {
    fn default() -> Self {
        Self {
            head_decides: true,
            budget: None,
            first: First::Unread,
            body: B::default(),
        }
    }
}

impl<B: Body> fmt::Debug for Peeked<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Peeked(..)")
    }
}

#[cfg(test)]
#[path = "peek_tests.rs"]
mod tests;
