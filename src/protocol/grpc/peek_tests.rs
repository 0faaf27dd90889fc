use super::*;
use bytes::Bytes;
use proptest::prelude::*;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::task::Waker;

/// `None` is a frame that is not available yet. The flag adds trailers at the end.
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

/// Everything that a reader sees of a body.
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
    fn a_peeked_body_reads_as_before(
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
fn the_body_is_polled_only_if_the_head_does_not_decide() {
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
