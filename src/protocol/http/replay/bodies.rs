use bytes::Bytes;

use crate::policy::retry::RetryRefused;

/// A body that can be sent again, or that knows that it cannot.
///
/// What is in memory is cloned: `()`, [`Bytes`], `&'static str`, http-body-util's `Full` and `Empty` (feature `hyper`), a
/// `reqwest::Body` that does not stream; `String` and `Vec<u8>`, of which a clone is a copy, up to the limit. What streams is *taped*: the bodies of axum, tonic and reqwest and http-body-util's boxes, each with its
/// feature. A taped body is read by the attempt as it comes, and what has been read of it is kept, up to a limit
/// ([`RetryBuilder::replay_limit`](crate::RetryBuilder::replay_limit)); the next attempt begins with that and goes on with the rest of the stream. Nothing is
/// collected before it is sent and nothing is copied: buffers are shared. Over the limit the attempt goes on, what was kept is freed, and there
/// is no other attempt. So it is when the frames are so many and so small (less than 32 bytes, on average) that keeping them takes more than what is in them.
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
    note = "for a body type of another crate, let the client take a box of http-body-util's (mainstay's feature `hyper`), and put the body into it: `request.map(http_body_util::BodyExt::boxed_unsync)`; standard stacks take it, too",
    note = "a retry layer outside of a standard stack can also keep requests by a closure: `RetryBuilder::decide_cloning`"
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
    [] &'static str,
    [] &'static [u8],
    #[cfg(feature = "hyper")] [D: Clone] http_body_util::Full<D>,
    #[cfg(feature = "hyper")] [D] http_body_util::Empty<D>,
}

/// A clone of these is a copy, which the limit is for as well.
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
mod tests {
    use super::*;

    #[test]
    fn what_would_be_copied_is_kept_up_to_the_limit_and_what_is_shared_always() {
        assert!(String::from("four").keep(4).is_some());
        assert!(String::from("fives").keep(4).is_none());
        assert!(vec![0_u8; 4].keep(4).is_some());
        assert!(vec![0_u8; 5].keep(4).is_none());
        assert!(Bytes::from_static(b"fives").keep(4).is_some());
        assert!("fives".keep(4).is_some());
    }
}
