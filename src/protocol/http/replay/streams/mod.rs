//! Bodies that stream.

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

/// What is kept of a body that streams, if it does.
pub struct KeptBody<B: Body>(Kept<B>);

enum Kept<B: Body> {
    Empty,
    #[cfg(feature = "reqwest")]
    Bytes(bytes::Bytes),
    Taped(Tape<B>),
}

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
        impl<$($generics)*> super::ReplayBody for $body {
            type Kept = KeptBody<Self>;

            fn keep(&mut self, limit: usize) -> Option<Self::Kept> {
                KeptBody::tape(self, limit, $empty, |body| body, |reader| Self::new(reader))
            }

            fn again(kept: &mut Self::Kept) -> Result<Self, crate::policy::retry::RetryRefused> {
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
