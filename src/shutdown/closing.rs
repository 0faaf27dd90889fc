//! The future and the streams that end when a server closes.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll, ready};

use futures_core::Stream;
use pin_project_lite::pin_project;

use super::state::State;

/// A future of a [`Shutdown`](super::Shutdown): see [`closing`](super::Shutdown::closing) and
/// [`begun`](super::Shutdown::begun).
///
/// It keeps the shutdown alive. If it is dropped, nothing else changes.
#[must_use = "futures do nothing unless polled"]
pub struct Closing(Pin<Box<dyn Future<Output = ()> + Send + Sync>>);

impl Closing {
    pub(super) fn new(future: impl Future<Output = ()> + Send + Sync + 'static) -> Self {
        Self(Box::pin(future))
    }
}

impl Future for Closing {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        self.0.as_mut().poll(cx)
    }
}

impl fmt::Debug for Closing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Closing")
    }
}

pin_project! {
    /// A stream that ends when its server closes: see
    /// [`until_closing`](super::Shutdown::until_closing).
    #[must_use = "streams do nothing unless polled"]
    pub struct UntilClosing<S> {
        #[pin]
        stream: S,
        closing: Option<Closing>,
        counted: Counted,
    }
}

impl<S> UntilClosing<S> {
    pub(super) fn new(stream: S, closing: Closing, state: &Arc<State>) -> Self {
        Self {
            stream,
            closing: Some(closing),
            counted: Counted::new(state),
        }
    }
}

impl<S: Stream> Stream for UntilClosing<S> {
    type Item = S::Item;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        let this = self.project();
        let Some(closing) = this.closing else {
            return Poll::Ready(None);
        };
        if Pin::new(closing).poll(cx).is_ready() {
            *this.closing = None;
            return Poll::Ready(None);
        }
        let item = ready!(this.stream.poll_next(cx));
        if item.is_none() {
            *this.closing = None;
        }
        Poll::Ready(item)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        match self.closing {
            // It may end at any time.
            Some(_) => (0, self.stream.size_hint().1),
            None => (0, Some(0)),
        }
    }
}

impl<S> fmt::Debug for UntilClosing<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("UntilClosing")
    }
}

/// Counts a stream as long as it exists.
struct Counted(Arc<State>);

impl Counted {
    fn new(state: &Arc<State>) -> Self {
        state.streams.fetch_add(1, Ordering::Relaxed);
        Self(Arc::clone(state))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.streams.fetch_sub(1, Ordering::Relaxed);
    }
}
