//! The body of a request that is being sent: while it moves, a default time limit begins anew with each piece of it.

use std::any::Any;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};

use crate::layers::timeout::{Progress, Upload};

/// A body whose pieces are progress.
struct Moving<B> {
    inner: B,
    progress: Progress,
}

impl<B: Body + Unpin> Body for Moving<B> {
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<B::Data>, B::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(cx);
        self.progress.waits(polled.is_pending());
        if let Poll::Ready(next) = &polled {
            let piece = next
                .as_ref()
                .and_then(|next| next.as_ref().ok()?.data_ref());
            let bytes = piece.map_or(0, Buf::remaining);
            self.progress.moved(on_a_slow_line(bytes as u64));
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl<B> Drop for Moving<B> {
    /// Nobody waits for more of it.
    fn drop(&mut self) {
        self.progress.waits(false);
    }
}

/// Watches a body, if it is of a type that can be watched. Nothing happens to a body that is at its end.
pub(crate) fn watch<B: 'static>(body: &mut B) -> Upload {
    let _any: &mut dyn Any = body;
    #[cfg(feature = "axum")]
    if let Some(body) = _any.downcast_mut::<axum_core::body::Body>() {
        return moving(body, axum_core::body::Body::new);
    }
    #[cfg(feature = "tonic")]
    if let Some(body) = _any.downcast_mut::<tonic::body::Body>() {
        return moving(body, tonic::body::Body::new);
    }
    #[cfg(feature = "hyper")]
    {
        use bytes::Bytes;
        use http_body_util::Full;

        if let Some(body) = _any.downcast_ref::<Full<Bytes>>() {
            return whole(body.size_hint().lower());
        }
        if let Some(upload) = boxed::watch(_any) {
            return upload;
        }
    }
    Upload::None
}

#[cfg(feature = "hyper")]
mod boxed {
    use std::any::Any;
    use std::convert::Infallible;
    use std::io;

    use bytes::Bytes;
    use http_body_util::combinators::{BoxBody, UnsyncBoxBody};

    use super::{Upload, moving};
    use crate::vocabulary::error::BoxError;

    macro_rules! boxes {
        ($body:ident: $($error:ty),*) => {$(
            if let Some(body) = $body.downcast_mut::<UnsyncBoxBody<Bytes, $error>>() {
                return Some(moving(body, UnsyncBoxBody::new));
            }
            if let Some(body) = $body.downcast_mut::<BoxBody<Bytes, $error>>() {
                return Some(moving(body, BoxBody::new));
            }
        )*};
    }

    /// The boxes of http-body-util with the errors that are in use.
    pub(super) fn watch(body: &mut dyn Any) -> Option<Upload> {
        boxes!(body: BoxError, io::Error, Infallible);
        #[cfg(feature = "hyper")]
        boxes!(body: hyper::Error);
        None
    }
}

/// Puts a body that counts its pieces in the place of another one.
fn moving<B: Body + Default + Unpin>(body: &mut B, wrap: impl FnOnce(Moving<B>) -> B) -> Upload {
    if body.is_end_stream() {
        return Upload::None;
    }
    let progress = Progress::new();
    let inner = std::mem::take(body);
    *body = wrap(Moving {
        inner,
        progress: progress.clone(),
    });
    Upload::Moves(progress)
}

/// A body in memory is handed over in one piece. It has the time that it takes on a slow line.
fn whole(bytes: u64) -> Upload {
    match on_a_slow_line(bytes) {
        Duration::ZERO => Upload::None,
        takes => Upload::Whole(takes),
    }
}

/// How long a piece takes at 1 Mbit/s.
fn on_a_slow_line(bytes: u64) -> Duration {
    /// What takes no time to speak of.
    const SMALL: u64 = 64 * 1024;
    const BYTES_PER_SECOND: u64 = 125_000;
    if bytes <= SMALL {
        return Duration::ZERO;
    }
    Duration::from_secs(bytes / BYTES_PER_SECOND)
}

#[cfg(feature = "reqwest")]
pub(crate) fn watch_reqwest(body: &mut reqwest::Body) -> Upload {
    match body.as_bytes() {
        Some(bytes) => whole(bytes.len() as u64),
        None => moving(body, reqwest::Body::wrap),
    }
}
