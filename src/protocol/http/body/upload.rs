//! Request bodies whose progress a default time limit watches: each piece restarts the limit.

use std::any::Any;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Buf;
use http_body::{Body, Frame, SizeHint};

use crate::layers::timeout::{Progress, Upload};

/// A body that reports its pieces as progress.
struct ProgressBody<B> {
    inner: B,
    progress: Progress,
}

impl<B: Body + Unpin> Body for ProgressBody<B> {
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
            self.progress.moved(time_on_slow_line(bytes as u64));
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

impl<B> Drop for ProgressBody<B> {
    fn drop(&mut self) {
        self.progress.waits(false);
    }
}

/// Watches a body if its type can be watched. A body that is at its end stays as it is.
pub(in crate::protocol::http) fn watch<B: 'static>(body: &mut B) -> Upload {
    let _any: &mut dyn Any = body;
    #[cfg(feature = "axum")]
    if let Some(body) = _any.downcast_mut::<axum_core::body::Body>() {
        return with_progress(body, axum_core::body::Body::new);
    }
    #[cfg(feature = "tonic")]
    if let Some(body) = _any.downcast_mut::<tonic::body::Body>() {
        return with_progress(body, tonic::body::Body::new);
    }
    #[cfg(feature = "hyper")]
    {
        use bytes::Bytes;
        use http_body_util::Full;

        if let Some(body) = _any.downcast_ref::<Full<Bytes>>() {
            return in_memory(body.size_hint().lower());
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

    use super::{Upload, with_progress};
    use crate::vocabulary::error::BoxError;

    macro_rules! boxes {
        ($body:ident: $($error:ty),*) => {$(
            if let Some(body) = $body.downcast_mut::<UnsyncBoxBody<Bytes, $error>>() {
                return Some(with_progress(body, UnsyncBoxBody::new));
            }
            if let Some(body) = $body.downcast_mut::<BoxBody<Bytes, $error>>() {
                return Some(with_progress(body, BoxBody::new));
            }
        )*};
    }

    /// Watches http-body-util's boxes with the common error types.
    pub(super) fn watch(body: &mut dyn Any) -> Option<Upload> {
        boxes!(body: BoxError, io::Error, Infallible);
        #[cfg(feature = "hyper")]
        boxes!(body: hyper::Error);
        None
    }
}

/// Replaces a body by one that reports its progress.
fn with_progress<B: Body + Default + Unpin>(
    body: &mut B,
    wrap: impl FnOnce(ProgressBody<B>) -> B,
) -> Upload {
    if body.is_end_stream() {
        return Upload::None;
    }
    let progress = Progress::new();
    let inner = std::mem::take(body);
    *body = wrap(ProgressBody {
        inner,
        progress: progress.clone(),
    });
    Upload::Moves(progress)
}

/// The transport takes a body in memory in one piece, so it gets the time that it needs on a slow
/// line.
fn in_memory(bytes: u64) -> Upload {
    match time_on_slow_line(bytes) {
        Duration::ZERO => Upload::None,
        takes => Upload::Whole(takes),
    }
}

/// The time that a piece takes at 1 Mbit/s, or zero for up to 64 KiB.
fn time_on_slow_line(bytes: u64) -> Duration {
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
        Some(bytes) => in_memory(bytes.len() as u64),
        None => with_progress(body, reqwest::Body::wrap),
    }
}
