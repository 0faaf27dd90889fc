//! The first frame of a response, looked at where it is already there.

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

/// Looks whether a response has come to its end without a message, so that a [`GrpcRetry`](super::GrpcRetry) sees the status in its trailers.
///
/// A server that fails after it has sent the head of a response, and before any message, says so in trailers that mostly come together with the
/// head. So the body of a head that does not decide is polled, once: what is there is kept and given back first, and what is not there is
/// not waited for.
#[derive(Debug, Clone, Copy, Default)]
pub struct EarlyTrailers;

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
                decides: !is_open,
                told: None,
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
        let code = if response.body().decides {
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
            Code::Ok => Ended::Well,
            _ => Ended::Otherwise,
        }
    }
}

fn later<B: Body>(response: &mut http::Response<Peeked<B>>, budget: &RetryBudget) -> Ended {
    response.body_mut().told = Some(budget.clone());
    Ended::Later
}

/// A response of gRPC whose first frame may have been looked at.
#[diagnostic::on_unimplemented(
    message = "`GrpcRetry` cannot see the trailers of `{Self}`",
    note = "begin with `mainstay::grpc::retry()`, over a service that answers with `http::Response`; its `policy(..)` takes a `GrpcRetry` of your own"
)]
pub trait GrpcResponse: HttpResponse {
    /// The trailers, if they are already there and there was no message before them.
    fn early_trailers(&self) -> Option<&HeaderMap>;
}

impl<B: Body> GrpcResponse for http::Response<Peeked<B>> {
    fn early_trailers(&self) -> Option<&HeaderMap> {
        match &self.body().first {
            First::Frame { result: Ok(frame) } => frame.trailers_ref(),
            _ => None,
        }
    }
}

pin_project! {
    /// The body of a response behind [`grpc::retry`](super::retry()): the same as without it.
    pub struct Peeked<B>
    where
        B: Body,
    {
        // The head says how the call went.
        decides: bool,
        first: First<B::Data, B::Error>,
        // Wants to know how the call ends.
        told: Option<RetryBudget>,
        #[pin]
        body: B,
    }
}

enum First<D, E> {
    /// It was not looked at, was not there, or has been given back.
    Unread,
    Frame {
        result: Result<Frame<D>, E>,
    },
    /// There is none.
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
        if let (Some(budget), Poll::Ready(frame)) = (&*this.told, &polled) {
            let success = match frame {
                Some(Ok(frame)) => match frame.trailers_ref().map(Code::of_trailers) {
                    // There is more to come.
                    None => return polled,
                    Some(Code::Ok) => Some(true),
                    // What a retry is for, had it come in time.
                    Some(Code::Unavailable) => Some(false),
                    Some(_) => None,
                },
                Some(Err(_)) => Some(false),
                None => None,
            };
            if let Some(success) = success {
                budget.told(success);
            }
            *this.told = None;
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

/// The inner body's default, which no retry budget waits for: for generated code, such as a stub's `with_interceptor`.
impl<B: Body + Default> Default for Peeked<B> {
    fn default() -> Self {
        Self {
            decides: true,
            told: None,
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
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;
    use std::collections::VecDeque;
    use std::convert::Infallible;
    use std::task::Waker;

    /// `None` is one that is not there yet, and with trailers at the end.
    struct Script(VecDeque<Option<usize>>, bool);

    impl Body for Script {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            Poll::Ready(match self.0.pop_front() {
                Some(None) => return Poll::Pending,
                Some(Some(size)) => Some(Ok(Frame::data(vec![b'x'; size].into()))),
                None if std::mem::take(&mut self.1) => Some(Ok(Frame::trailers(HeaderMap::new()))),
                None => None,
            })
        }

        fn size_hint(&self) -> SizeHint {
            SizeHint::with_exact(self.0.iter().flatten().sum::<usize>() as u64)
        }

        fn is_end_stream(&self) -> bool {
            self.0.is_empty() && !self.1
        }
    }

    /// Everything a reader learns of a body.
    fn read<B: Body<Error = Infallible> + Unpin>(mut body: B) -> Vec<(Option<usize>, u64, bool)> {
        let mut read = Vec::new();
        for _ in 0..30 {
            let (hint, ended) = (body.size_hint().exact().unwrap(), body.is_end_stream());
            let polled = Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop()));
            match polled {
                Poll::Pending => {}
                Poll::Ready(None) => {
                    read.push((None, hint, ended));
                    return read;
                }
                Poll::Ready(Some(Ok(frame))) => {
                    let size = frame.data_ref().map(Buf::remaining);
                    read.push((size, hint, ended));
                }
            }
        }
        read
    }

    proptest! {
        #[test]
        fn a_body_that_was_looked_at_reads_as_before(
            frames in prop::collection::vec(prop::option::of(0_usize..9), 0..8),
            trailers in any::<bool>(),
        ) {
            let script = || Script(frames.clone().into(), trailers);
            let mut cx = Context::from_waker(Waker::noop());
            let response = EarlyTrailers.receive(http::Response::new(script()), &mut cx);
            let early = frames.is_empty() && trailers;
            prop_assert_eq!(response.early_trailers().is_some(), early);
            prop_assert_eq!(read(response.into_body()), read(script()));
        }
    }

    #[test]
    fn only_a_head_that_does_not_decide_is_looked_behind() {
        let mut cx = Context::from_waker(Waker::noop());
        for (status, name, value, expected) in [
            (200, "content-type", "application/grpc", true),
            (200, "content-type", "text/html", false),
            (200, "grpc-status", "0", false),
            (503, "content-type", "application/grpc", false),
        ] {
            let response = http::Response::builder().status(status).header(name, value);
            let body = Script(VecDeque::new(), true);
            let response = EarlyTrailers.receive(response.body(body).unwrap(), &mut cx);
            assert_eq!(response.early_trailers().is_some(), expected, "{value}");
        }
    }
}
