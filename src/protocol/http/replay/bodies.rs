use bytes::Bytes;

use crate::policy::retry::RetryRefused;

/// A request body that a retry can send again.
///
/// Bodies in memory are cloned: `()`, [`Bytes`], `&'static str`, http-body-util's `Full` and
/// `Empty` (feature `hyper`), and a `reqwest::Body` that does not stream. `String` and `Vec<u8>`
/// are copied, up to the limit.
///
/// Streaming bodies are *recorded*: those of axum, tonic and reqwest and http-body-util's boxes,
/// each with its feature. An attempt reads the stream as it arrives, and its frames are kept up to
/// [`RetryBuilder::replay_limit`](crate::RetryBuilder::replay_limit). The next attempt replays them
/// and continues with the stream. Nothing is collected before it is sent and nothing is copied:
/// buffers are shared. Over the limit the attempt continues, the kept frames are freed, and no
/// other attempt follows. The same holds for frames under 32 bytes on average, which take more
/// memory than the limit allows.
///
/// When an attempt begins, the body of the attempt before it ends in an error. If the error type of
/// a box is one that mainstay cannot create (`Infallible`, say, unlike `BoxError` or `io::Error`),
/// no other attempt begins while the body is still being read.
///
/// `hyper::body::Incoming` cannot be replaced, so it is sent once. Put it into a box to retry it.
///
/// ```
/// use mainstay::{RetryRefused, http::ReplayBody};
///
/// /// A custom body that is `Clone`:
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
    message = "mainstay cannot send a body of type `{Self}` again",
    note = "for your own body type: `impl mainstay::http::ReplayBody for {Self}`; if it streams, `keep` returns `None`",
    note = "for a body type of another crate, put the body into a box of http-body-util (mainstay's feature `hyper`): `request.map(http_body_util::BodyExt::boxed_unsync)`; standard stacks accept it, too",
    note = "a retry layer outside of a standard stack can also keep requests with a closure: `RetryBuilder::decide_cloning`"
)]
pub trait ReplayBody: Sized {
    /// The kept body, from which the next attempt's body is made.
    type Kept;

    /// Keeps the body: at most `limit` bytes of a stream. Returns `None` if it cannot be sent
    /// again. It may replace the body by one that yields the same frames.
    fn keep(&mut self, limit: usize) -> Option<Self::Kept>;

    /// Makes the body of the next attempt.
    ///
    /// # Errors
    ///
    /// When the body can no longer be sent again.
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
    [] &'static str,
    [] &'static [u8],
    #[cfg(feature = "hyper")] [D: Clone] http_body_util::Full<D>,
    #[cfg(feature = "hyper")] [D] http_body_util::Empty<D>,
}

/// A clone of these types is a copy, so the limit applies.
macro_rules! copied {
    ($($body:ty),*) => {$(
        impl ReplayBody for $body {
            type Kept = Self;

            fn keep(&mut self, limit: usize) -> Option<Self> {
                (self.len() <= limit).then(|| self.clone())
            }

            fn again(kept: &mut Self) -> Result<Self, RetryRefused> {
                Ok(kept.clone())
            }
        }
    )*};
}

copied!(String, Vec<u8>);

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

#[cfg(test)]
#[path = "bodies_tests.rs"]
mod tests;
