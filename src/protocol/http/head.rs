//! The heads of requests and responses of all supported libraries.

use std::fmt;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, StatusCode};

use super::{body, header, retry_after};
use crate::layers::timeout::Upload;
use crate::vocabulary::overrides::Overrides;

/// An HTTP request, as policies and layers see it: `http::Request`, or `reqwest::Request` (feature
/// `reqwest`).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an HTTP request",
    note = "`http::Request` is one, and `reqwest::Request` with mainstay's feature `reqwest`; implement `mainstay::http::HttpRequest` for a request type of your own"
)]
pub trait HttpRequest {
    /// The method.
    fn method(&self) -> &Method;

    /// The path of its URI.
    fn path(&self) -> &str;

    /// The scheme of its URI, such as `https`. Default none.
    fn scheme(&self) -> Option<&str> {
        None
    }

    /// The authority of its URI, such as `api.example.com:8443`. Default none.
    fn authority(&self) -> Option<&str> {
        None
    }

    /// The headers.
    fn headers(&self) -> &HeaderMap;

    /// The headers, mutably.
    fn headers_mut(&mut self) -> &mut HeaderMap;

    /// The request's own time limit, apart from its headers: for types such as `reqwest::Request`
    /// that have one. Default none.
    fn timeout(&self) -> Option<Duration> {
        None
    }

    /// The request's own [`Overrides`], such as its extension. They come before those of the
    /// [scope](Overrides::scope). Default none.
    fn overrides(&self) -> Option<&Overrides> {
        None
    }

    /// Watches the body while it is sent.
    #[doc(hidden)]
    fn upload(&mut self) -> Upload {
        Upload::None
    }
}

/// An HTTP response, as classifiers and policies see it: `http::Response`, or `reqwest::Response`
/// (feature `reqwest`).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an HTTP response",
    note = "`http::Response` is one, and `reqwest::Response` with mainstay's feature `reqwest`; implement `mainstay::http::HttpResponse` for a response type of your own"
)]
pub trait HttpResponse {
    /// The status.
    fn status(&self) -> StatusCode;

    /// The headers.
    fn headers(&self) -> &HeaderMap;
}

impl<B: 'static> HttpRequest for http::Request<B> {
    #[inline]
    fn overrides(&self) -> Option<&Overrides> {
        self.extensions().get()
    }

    #[inline]
    fn upload(&mut self) -> Upload {
        body::watch(self.body_mut())
    }

    #[inline]
    fn method(&self) -> &Method {
        self.method()
    }

    #[inline]
    fn path(&self) -> &str {
        self.uri().path()
    }

    #[inline]
    fn scheme(&self) -> Option<&str> {
        self.uri().scheme_str()
    }

    #[inline]
    fn authority(&self) -> Option<&str> {
        self.uri().authority().map(http::uri::Authority::as_str)
    }

    #[inline]
    fn headers(&self) -> &HeaderMap {
        self.headers()
    }

    #[inline]
    fn headers_mut(&mut self) -> &mut HeaderMap {
        self.headers_mut()
    }
}

impl<B> HttpResponse for http::Response<B> {
    #[inline]
    fn status(&self) -> StatusCode {
        self.status()
    }

    #[inline]
    fn headers(&self) -> &HeaderMap {
        self.headers()
    }
}

/// The head of a response, as a closure receives it.
///
/// It is one type for the responses of all libraries, so that the closure
/// `|head| head.status() == 500` needs no type annotation.
#[derive(Clone, Copy)]
pub struct ResponseHead<'a> {
    status: StatusCode,
    headers: &'a HeaderMap,
}

impl<'a> ResponseHead<'a> {
    #[inline]
    pub(crate) fn of(response: &'a impl HttpResponse) -> Self {
        Self {
            status: response.status(),
            headers: response.headers(),
        }
    }

    /// The status.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.status
    }

    /// The headers.
    #[must_use]
    pub fn headers(&self) -> &'a HeaderMap {
        self.headers
    }

    pub(crate) fn content_type(&self) -> ContentType {
        ContentType::of(self.headers)
    }

    /// The `Retry-After` (seconds or a date) of a 429 or a 503. A date in the past is zero.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        retry_after::read(self.status, self.headers)
    }
}

/// The content types that the layers distinguish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ContentType {
    Grpc,
    GrpcWeb,
    Events,
    Other,
    Missing,
}

impl ContentType {
    pub(crate) fn of(headers: &HeaderMap) -> Self {
        match header::first(headers, &CONTENT_TYPE) {
            Some(value) => Self::of_value(value.as_bytes()),
            None => Self::Missing,
        }
    }

    fn of_value(value: &[u8]) -> Self {
        // The common spelling first.
        if value == b"application/grpc" {
            return Self::Grpc;
        }
        let rest = |after: &[u8]| {
            let (start, rest) = value.split_at_checked(after.len())?;
            start.eq_ignore_ascii_case(after).then_some(rest)
        };
        // One byte excludes most values: this runs for every response.
        match value.get(5) {
            Some(b'c' | b'C') => match rest(b"application/grpc") {
                Some([] | [b'+' | b';' | b' ', ..]) => Self::Grpc,
                Some([b'-', ..]) if rest(b"application/grpc-web").is_some() => Self::GrpcWeb,
                _ => Self::Other,
            },
            Some(b'e' | b'E') if rest(b"text/event-stream").is_some() => Self::Events,
            _ => Self::Other,
        }
    }

    /// gRPC or gRPC-Web.
    pub(crate) fn is_grpc(self) -> bool {
        matches!(self, Self::Grpc | Self::GrpcWeb)
    }
}

impl HttpResponse for ResponseHead<'_> {
    #[inline]
    fn status(&self) -> StatusCode {
        self.status
    }

    #[inline]
    fn headers(&self) -> &HeaderMap {
        self.headers
    }
}

impl fmt::Debug for ResponseHead<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the headers, which may hold secrets.
        f.debug_struct("ResponseHead")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}
