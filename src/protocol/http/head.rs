//! What the adapters read (and write) of a request and of a response, whichever library they come from.

use std::fmt;
use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method, StatusCode};

use super::{header, retry_after, upload};
use crate::layers::timeout::Upload;

/// A request of HTTP: what a policy reads of it, and where a layer writes.
///
/// `http::Request` is one, and so is `reqwest::Request` (feature `reqwest`).
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not an HTTP request",
    note = "`http::Request` is one, and `reqwest::Request` with mainstay's feature `reqwest`; implement `mainstay::http::HttpRequest` for a request type of your own"
)]
pub trait HttpRequest {
    /// The method.
    fn method(&self) -> &Method;

    /// The path of its URI.
    fn path(&self) -> &str;

    /// The headers.
    fn headers(&self) -> &HeaderMap;

    /// The headers, to be written to.
    fn headers_mut(&mut self) -> &mut HeaderMap;

    /// The time limit that the request has by itself, apart from its headers: none, unless its type has a place for one, as
    /// `reqwest::Request` has.
    fn timeout(&self) -> Option<Duration> {
        None
    }

    /// Watches the body while it is sent.
    #[doc(hidden)]
    fn upload(&mut self) -> Upload {
        Upload::None
    }
}

/// A response of HTTP: what a classifier or a policy reads of it.
///
/// `http::Response` is one, and so is `reqwest::Response` (feature `reqwest`).
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
    fn upload(&mut self) -> Upload {
        upload::watch(self.body_mut())
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

/// The head of a response, as a closure sees it.
///
/// One concrete type for the responses of all libraries, so that `|head| head.status() == 500` needs no annotation.
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

    /// What `content-type` says.
    pub(crate) fn content_type(&self) -> ContentType {
        ContentType::of(self.headers)
    }

    /// How long the server asks to be left alone: `Retry-After`, in seconds or as a date, on a 429 or a 503. A date in the past
    /// is zero.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        retry_after::read(self.status, self.headers)
    }
}

/// The types of content that make a difference.
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
        // As nearly all that speak it write it.
        if value == b"application/grpc" {
            return Self::Grpc;
        }
        let rest = |after: &[u8]| {
            let (start, rest) = value.split_at_checked(after.len())?;
            start.eq_ignore_ascii_case(after).then_some(rest)
        };
        // Told apart by one byte, mostly: this is asked of every response.
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

    /// gRPC's own or gRPC-Web's.
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
        // Not the headers: they may hold secrets, and this may end up in a log.
        f.debug_struct("ResponseHead")
            .field("status", &self.status)
            .finish_non_exhaustive()
    }
}
