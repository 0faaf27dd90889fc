//! Streaming bodies that are recorded and replayed.

#[cfg(feature = "reqwest")]
mod of_reqwest;
mod reader;
mod superseded;
mod tape;
#[cfg(test)]
mod tests;

use std::fmt;

use http_body::Body;
use reader::Reader;
use tape::Tape;

/// The kept form of a body that may stream.
pub struct KeptBody<B: Body>(Kept<B>);

enum Kept<B: Body> {
    Empty,
    #[cfg(feature = "reqwest")]
    Bytes(bytes::Bytes),
    Recorded(Tape<B>),
}

impl<B> KeptBody<B>
where
    B: Body<Data: Clone, Error: 'static> + Unpin,
{
    /// Replaces a body by the first reader of its tape. `source` unwraps the body, `wrap` wraps the
    /// reader.
    fn record<P>(
        body: &mut P,
        limit: usize,
        empty: P,
        source: impl FnOnce(P) -> B,
        wrap: impl FnOnce(Reader<B>) -> P,
    ) -> Option<Self>
    where
        P: Body,
    {
        if body.is_end_stream() {
            return Some(Self(Kept::Empty));
        }
        let least = usize::try_from(body.size_hint().lower()).unwrap_or(usize::MAX);
        if limit == 0 || least > limit {
            return None;
        }
        let taken = std::mem::replace(body, empty);
        let (tape, reader) = Tape::new(source(taken), limit);
        *body = wrap(reader);
        Some(Self(Kept::Recorded(tape)))
    }
}

impl<B: Body> fmt::Debug for KeptBody<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("KeptBody(..)")
    }
}

macro_rules! recorded {
    ($($(#[$attribute:meta])* [$($generics:tt)*] $body:ty => $empty:expr),* $(,)?) => {$(
        $(#[$attribute])*
        impl<$($generics)*> super::ReplayBody for $body {
            #[doc(hidden)]
            type Kept = KeptBody<Self>;

            fn keep(&mut self, limit: usize) -> Option<Self::Kept> {
                KeptBody::record(self, limit, $empty, |body| body, |reader| Self::new(reader))
            }

            fn again(kept: &mut Self::Kept) -> Result<Self, crate::policy::retry::RetryRefused> {
                match &mut kept.0 {
                    Kept::Recorded(tape) => tape.again().map(Self::new),
                    _ => Ok($empty),
                }
            }
        }
    )*};
}

recorded! {
    #[cfg(feature = "axum")] [] axum_core::body::Body => Self::empty(),
    #[cfg(feature = "tonic")] [] tonic::body::Body => Self::empty(),
    #[cfg(feature = "hyper")] [D: bytes::Buf + Clone + Send + 'static, E: Send + 'static]
        http_body_util::combinators::BoxBody<D, E> => Self::default(),
    #[cfg(feature = "hyper")] [D: bytes::Buf + Clone + Send + 'static, E: Send + 'static]
        http_body_util::combinators::UnsyncBoxBody<D, E> => Self::default(),
}
