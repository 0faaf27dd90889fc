//! A request that can be sent again, and what its body has to do with it.

use bytes::Bytes;

/// A request of which a copy can be kept, to send it again.
///
/// `http::Request` is one if its body is a [`CopyBody`], and so is `reqwest::Request` (feature `reqwest`).
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be sent again, nor say that it cannot",
    note = "`http::Request<B>` can where `B: mainstay::http::CopyBody`, `reqwest::Request` with mainstay's feature `reqwest`",
    note = "for a request of another type, use `RetryBuilder::decide_cloning`"
)]
pub trait CopyRequest: Sized {
    /// A copy, or `None` where there cannot be one: the request is then sent once.
    fn copy(&self) -> Option<Self>;
}

/// A body that can be copied, or that knows that it cannot.
///
/// Not simply `Clone`, because the bodies of tonic and axum, and those that stream, are not: one policy serves all, and requests
/// with such a body are sent once. Bodies that are known: `()`, [`Bytes`], `String`, `&'static str`, `Vec<u8>`, and with their features
/// those of axum, tonic, reqwest, hyper and http-body-util.
///
/// ```
/// use mainstay::http::CopyBody;
///
/// /// A body of your own that is `Clone`:
/// #[derive(Clone)]
/// struct Json(bytes::Bytes);
///
/// impl CopyBody for Json {
///     fn copy(&self) -> Option<Self> { Some(self.clone()) }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "mainstay does not know how to copy a body of type `{Self}`, to send a request again",
    note = "for a body type of your own: `impl mainstay::http::CopyBody for {Self}`; for one that streams it returns `None`",
    note = "for a body type of another crate, use `RetryBuilder::decide_cloning`; http-body-util's come with mainstay's feature `hyper`"
)]
pub trait CopyBody: Sized {
    /// A copy, or `None` where there cannot be one.
    fn copy(&self) -> Option<Self>;
}

impl<B: CopyBody> CopyRequest for http::Request<B> {
    fn copy(&self) -> Option<Self> {
        let mut copy = Self::new(self.body().copy()?);
        copy.method_mut().clone_from(self.method());
        copy.uri_mut().clone_from(self.uri());
        *copy.version_mut() = self.version();
        copy.headers_mut().clone_from(self.headers());
        copy.extensions_mut().clone_from(self.extensions());
        Some(copy)
    }
}

macro_rules! cloned {
    ($($(#[$attribute:meta])* [$($generics:tt)*] $body:ty),* $(,)?) => {$(
        $(#[$attribute])*
        impl<$($generics)*> CopyBody for $body {
            fn copy(&self) -> Option<Self> {
                Some(self.clone())
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

/// These stream: what has been sent of them is gone. Where there is nothing to send there is nothing to lose.
macro_rules! streams {
    ($($(#[$attribute:meta])* [$($generics:tt)*] $body:ty => $empty:expr),* $(,)?) => {$(
        $(#[$attribute])*
        impl<$($generics)*> CopyBody for $body {
            fn copy(&self) -> Option<Self> {
                http_body::Body::is_end_stream(self).then(|| $empty)
            }
        }
    )*};
}

streams! {
    #[cfg(feature = "axum")] [] axum_core::body::Body => Self::empty(),
    #[cfg(feature = "tonic")] [] tonic::body::Body => Self::empty(),
    #[cfg(feature = "hyper")] [D: bytes::Buf + 'static, E] http_body_util::combinators::BoxBody<D, E> => Self::default(),
    #[cfg(feature = "hyper")] [D: bytes::Buf + 'static, E] http_body_util::combinators::UnsyncBoxBody<D, E> => Self::default(),
}

#[cfg(feature = "hyper")]
impl CopyBody for hyper::body::Incoming {
    fn copy(&self) -> Option<Self> {
        None
    }
}

#[cfg(feature = "reqwest")]
impl CopyBody for reqwest::Body {
    fn copy(&self) -> Option<Self> {
        // Only what is in memory has bytes.
        self.as_bytes().map(|bytes| bytes.to_vec().into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_of_a_request_is_copied() {
        let mut request = http::Request::builder()
            .method("PUT")
            .uri("https://shop.example/orders?id=1")
            .version(http::Version::HTTP_2)
            .header("a", "1")
            .header("a", "2")
            .body(Bytes::from_static(b"body"))
            .unwrap();
        request.extensions_mut().insert(7_u32);
        let copy = request.copy().unwrap();
        assert_eq!(copy.method(), request.method());
        assert_eq!(copy.uri(), request.uri());
        assert_eq!(copy.version(), request.version());
        assert_eq!(copy.headers(), request.headers());
        assert_eq!(copy.extensions().get::<u32>(), Some(&7));
        assert_eq!(copy.body(), request.body());
    }

    #[cfg(all(feature = "axum", feature = "tonic", feature = "hyper"))]
    #[test]
    fn a_body_that_streams_is_copied_only_when_there_is_nothing_in_it() {
        assert!(axum_core::body::Body::empty().copy().is_some());
        assert!(axum_core::body::Body::from("text").copy().is_none());
        assert!(tonic::body::Body::empty().copy().is_some());
        let body = tonic::body::Body::new(http_body_util::Full::new(Bytes::from_static(b"x")));
        assert!(body.copy().is_none());
    }
}
