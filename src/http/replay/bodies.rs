use std::fmt;

use bytes::Bytes;
use http_body::Body;

use super::tape::{Reader, Tape};
use crate::RetryRefused;

/// A body that can be sent again, or that knows that it cannot.
///
/// What is in memory is cloned: `()`, [`Bytes`], `String`, `&'static str`, `Vec<u8>`, http-body-util's `Full` and `Empty` (feature `hyper`), a
/// `reqwest::Body` that does not stream. What streams is *taped*: the bodies of axum, tonic and reqwest and http-body-util's boxes, each with its
/// feature. A taped body is read by the attempt as it comes, and what has been read of it is kept, up to a limit
/// ([`RetryBuilder::replay_limit`](crate::RetryBuilder::replay_limit)); the next attempt begins with that and goes on with the rest of the stream. Nothing is
/// collected before it is sent and nothing is copied: buffers are shared. Over the limit the attempt goes on, what was kept is freed, and there
/// is no other attempt. Frames that hold fewer bytes than it takes to keep one count as so many.
///
/// The body of an earlier attempt ends in an error when the next one begins, for whoever may still hold it. Where the error type of a box is
/// one that mainstay cannot make (`Infallible`, say, but not `BoxError` or `io::Error`), there is no other attempt while the body is still being read.
///
/// `hyper::body::Incoming` is sent once, unless you put it into one of those boxes: no other body can be put in its place.
///
/// ```
/// use mainstay::{RetryRefused, http::ReplayBody};
///
/// /// A body of your own that is `Clone`:
/// #[derive(Clone)]
/// struct Json(bytes::Bytes);
///
/// impl ReplayBody for Json {
///     type Kept = Self;
///
///     fn keep(&mut self, _: usize) -> Option<Self> { Some(self.clone()) }
///
///     fn again(kept: &mut Self) -> Result<Self, RetryRefused> { Ok(kept.clone()) }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "mainstay does not know how to send a body of type `{Self}` again",
    note = "for a body type of your own: `impl mainstay::http::ReplayBody for {Self}`; for one that streams `keep` returns `None`",
    note = "for a body type of another crate, put it into a box of http-body-util's, which comes with mainstay's feature `hyper`, or use `RetryBuilder::decide_cloning`"
)]
pub trait ReplayBody: Sized {
    /// What is kept of it while it is sent.
    type Kept;

    /// Keeps what it takes to send it again, no more than `limit` bytes where it streams; `None` where it cannot be sent again. May
    /// put another body in its place, which yields the same.
    fn keep(&mut self, limit: usize) -> Option<Self::Kept>;

    /// The same body again.
    ///
    /// # Errors
    ///
    /// Why it cannot be sent again after all.
    fn again(kept: &mut Self::Kept) -> Result<Self, RetryRefused>;
}

macro_rules! cloned {
    ($($(#[$attribute:meta])* [$($generics:tt)*] $body:ty),* $(,)?) => {$(
        $(#[$attribute])*
        impl<$($generics)*> ReplayBody for $body {
            type Kept = Self;

            #[inline]
            fn keep(&mut self, _: usize) -> Option<Self> {
                Some(self.clone())
            }

            #[inline]
            fn again(kept: &mut Self) -> Result<Self, RetryRefused> {
                Ok(kept.clone())
            }
        }
    )*};
}

cloned! {
    [] (),
    [] Bytes,
    [] String,
    [] &'static str,
    [] &'static [u8],
    [] Vec<u8>,
    #[cfg(feature = "hyper")] [D: Clone] http_body_util::Full<D>,
    #[cfg(feature = "hyper")] [D] http_body_util::Empty<D>,
}

/// What is kept of a body that streams, if it does.
pub struct KeptBody<B: Body>(Kept<B>);

#[cfg_attr(
    not(any(
        feature = "axum",
        feature = "hyper",
        feature = "reqwest",
        feature = "tonic"
    )),
    allow(dead_code, reason = "every body that streams comes with a feature")
)]
enum Kept<B: Body> {
    Empty,
    #[cfg(feature = "reqwest")]
    Bytes(Bytes),
    Taped(Tape<B>),
}

#[cfg_attr(
    not(any(
        feature = "axum",
        feature = "hyper",
        feature = "reqwest",
        feature = "tonic"
    )),
    allow(dead_code, reason = "every body that streams comes with a feature")
)]
impl<B> KeptBody<B>
where
    B: Body<Data: Clone, Error: 'static> + Unpin,
{
    /// Tapes a body; `source` takes it out of its place.
    fn tape<P>(
        place: &mut P,
        limit: usize,
        empty: P,
        source: impl FnOnce(P) -> B,
        wrap: impl FnOnce(Reader<B>) -> P,
    ) -> Option<Self>
    where
        P: Body,
    {
        if place.is_end_stream() {
            return Some(Self(Kept::Empty));
        }
        let least = usize::try_from(place.size_hint().lower()).unwrap_or(usize::MAX);
        if limit == 0 || least > limit {
            return None;
        }
        let body = std::mem::replace(place, empty);
        let (tape, reader) = Tape::new(source(body), limit);
        *place = wrap(reader);
        Some(Self(Kept::Taped(tape)))
    }
}

impl<B: Body> fmt::Debug for KeptBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeptBody(..)")
    }
}

macro_rules! taped {
    ($($(#[$attribute:meta])* [$($generics:tt)*] $body:ty => $empty:expr),* $(,)?) => {$(
        $(#[$attribute])*
        impl<$($generics)*> ReplayBody for $body {
            type Kept = KeptBody<Self>;

            fn keep(&mut self, limit: usize) -> Option<Self::Kept> {
                KeptBody::tape(self, limit, $empty, |body| body, |reader| Self::new(reader))
            }

            fn again(kept: &mut Self::Kept) -> Result<Self, RetryRefused> {
                match &mut kept.0 {
                    Kept::Taped(tape) => tape.again().map(Self::new),
                    _ => Ok($empty),
                }
            }
        }
    )*};
}

taped! {
    #[cfg(feature = "axum")] [] axum_core::body::Body => Self::empty(),
    #[cfg(feature = "tonic")] [] tonic::body::Body => Self::empty(),
    #[cfg(feature = "hyper")] [D: bytes::Buf + Clone + Send + 'static, E: Send + 'static]
        http_body_util::combinators::BoxBody<D, E> => Self::default(),
    #[cfg(feature = "hyper")] [D: bytes::Buf + Clone + Send + 'static, E: Send + 'static]
        http_body_util::combinators::UnsyncBoxBody<D, E> => Self::default(),
}

#[cfg(feature = "hyper")]
impl ReplayBody for hyper::body::Incoming {
    type Kept = std::convert::Infallible;

    fn keep(&mut self, _: usize) -> Option<Self::Kept> {
        None
    }

    fn again(kept: &mut Self::Kept) -> Result<Self, RetryRefused> {
        match *kept {}
    }
}

#[cfg(feature = "reqwest")]
mod of_reqwest {
    use std::pin::Pin;
    use std::task::{Context, Poll, Waker};

    use http_body::{Frame, SizeHint};

    use super::*;
    use crate::BoxError;

    /// reqwest's body with an error that can be made.
    #[derive(Debug)]
    pub struct Source(reqwest::Body);

    impl Body for Source {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            cx: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
            let polled = Pin::new(&mut self.0).poll_frame(cx);
            polled.map_err(BoxError::from)
        }

        fn size_hint(&self) -> SizeHint {
            self.0.size_hint()
        }

        fn is_end_stream(&self) -> bool {
            self.0.is_end_stream()
        }
    }

    impl ReplayBody for reqwest::Body {
        type Kept = KeptBody<Source>;

        fn keep(&mut self, limit: usize) -> Option<Self::Kept> {
            if self.as_bytes().is_some() {
                // What is in memory comes out in one piece, at once.
                let mut cx = Context::from_waker(Waker::noop());
                let bytes = match Pin::new(&mut *self).poll_frame(&mut cx) {
                    Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
                    _ => Bytes::new(),
                };
                *self = bytes.clone().into();
                return Some(KeptBody(Kept::Bytes(bytes)));
            }
            let empty = Self::from(Bytes::new());
            KeptBody::tape(self, limit, empty, Source, Self::wrap)
        }

        fn again(kept: &mut Self::Kept) -> Result<Self, RetryRefused> {
            match &mut kept.0 {
                Kept::Empty => Ok(Self::from(Bytes::new())),
                Kept::Bytes(bytes) => Ok(bytes.clone().into()),
                Kept::Taped(tape) => tape.again().map(Self::wrap),
            }
        }
    }
}
