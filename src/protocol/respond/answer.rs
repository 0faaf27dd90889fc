//! A rejection as a response: HTTP's problem details, or a gRPC status.

use std::fmt::Write as _;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderName, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

#[cfg(feature = "axum")]
use super::body::KnownBody;
use super::body::MakeBody;
use crate::layers::rate_limit::RateLimitHandle;
use crate::protocol::grpc::{Code, GRPC_STATUS, PUSHBACK, millis};
use crate::protocol::http::header;
use crate::protocol::http::retry_after::seconds;
use crate::vocabulary::{reason::Reason, rejection::Rejection};

static GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
static GRPC_PUSHBACK: HeaderName = HeaderName::from_static(PUSHBACK);
static RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
static RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The settings of a response.
#[derive(Debug, Clone)]
pub(crate) struct Style {
    pub(crate) full: StatusCode,
    pub(crate) names: bool,
    /// The rate limit whose rate `RateLimit-Policy` contains.
    pub(crate) quota: Option<RateLimitHandle>,
}

impl Style {
    pub(super) const DEFAULT: Self = Self {
        full: StatusCode::SERVICE_UNAVAILABLE,
        names: false,
        quota: None,
    };
}

/// The format of a response, which depends on the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Http,
    /// HTTP without a body, for a HEAD request: over HTTP/2 a body would be a protocol error.
    Head,
    /// gRPC or gRPC-Web, with the request's content type.
    Grpc(&'static str),
}

/// The known content types, the most specific first.
const GRPC: [&str; 8] = [
    "application/grpc-web-text+proto",
    "application/grpc-web-text",
    "application/grpc-web+proto",
    "application/grpc-web+json",
    "application/grpc-web",
    "application/grpc+proto",
    "application/grpc+json",
    "application/grpc",
];

impl Format {
    #[inline]
    pub(super) fn of(method: &Method, headers: &HeaderMap) -> Self {
        if *method == Method::HEAD {
            return Self::Head;
        }
        match header::first(headers, &CONTENT_TYPE) {
            Some(value) => Self::of_content_type(value.as_bytes()),
            None => Self::Http,
        }
    }

    fn of_content_type(value: &[u8]) -> Self {
        let begins = |with: &str| {
            value
                .get(..with.len())
                .is_some_and(|start| start.eq_ignore_ascii_case(with.as_bytes()))
        };
        if value == b"application/grpc" {
            // The common case.
            return Self::Grpc("application/grpc");
        }
        if !begins("application/grpc") {
            return Self::Http;
        }
        let known = GRPC.iter().find(|known| {
            begins(known) && matches!(value.get(known.len()), None | Some(b'+' | b';' | b' '))
        });
        known.map_or(Self::Http, |known| Self::Grpc(known))
    }
}

/// The response to a rejection, with the [`Rejection`] in its extensions.
#[cold]
pub(super) fn answer<ResB, B: MakeBody<ResB>>(
    rejection: Rejection,
    format: Format,
    style: &Style,
    body: &B,
) -> Response<ResB> {
    let mut response = match format {
        Format::Http => http(&rejection, style, body, false),
        Format::Head => http(&rejection, style, body, true),
        Format::Grpc(content_type) => grpc(&rejection, style, content_type, body),
    };
    response.extensions_mut().insert(rejection);
    response
}

/// The HTTP response to a rejection, where the request is unknown.
#[cfg(feature = "axum")]
pub(crate) fn answer_http<ResB>(rejection: Rejection) -> Response<ResB>
where
    KnownBody: MakeBody<ResB>,
{
    answer(rejection, Format::Http, &Style::DEFAULT, &KnownBody)
}

fn http<ResB, B: MakeBody<ResB>>(
    rejection: &Rejection,
    style: &Style,
    body: &B,
    head: bool,
) -> Response<ResB> {
    let status = status(rejection.reason(), style);
    let json = if B::HAS_CONTENT && !head {
        problem(rejection, status, style).into()
    } else {
        Bytes::new()
    };
    let mut response = Response::new(body.make(json));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    if B::HAS_CONTENT {
        let problem = HeaderValue::from_static("application/problem+json");
        headers.insert(CONTENT_TYPE, problem);
    }
    if let Some(after) = rejection.retry_after() {
        let seconds = seconds(after);
        headers.insert(RETRY_AFTER, seconds.into());
        if rejection.reason() == Reason::RateLimited {
            write_rate_limit(headers, rejection, style, seconds);
        }
    }
    response
}

/// Writes the fields of draft-ietf-httpapi-ratelimit-headers: no quota is left for `seconds`. A
/// name needs no escape, as in problem details.
fn write_rate_limit(headers: &mut HeaderMap, rejection: &Rejection, style: &Style, seconds: u64) {
    let name = if style.names {
        rejection.name()
    } else {
        "default"
    };
    let mut write = |field: &HeaderName, value: String| {
        if let Ok(value) = HeaderValue::try_from(value) {
            headers.insert(field.clone(), value);
        }
    };
    write(&RATE_LIMIT, format!(r#""{name}";r=0;t={seconds}"#));
    let quota = style.quota.as_ref();
    if let Some(limit) = quota.filter(|limit| limit.name() == rejection.name()) {
        // A key can have a rate of its own.
        let key = rejection.key().and_then(|key| limit.key(key));
        let settings = key.as_ref().unwrap_or(limit).settings();
        let (permits, window) = settings.rate().in_whole_seconds();
        let policy = format!(r#""{name}";q={permits};w={window}"#);
        write(&RATE_LIMIT_POLICY, policy);
    }
}

fn status(reason: Reason, style: &Style) -> StatusCode {
    match reason {
        Reason::Full | Reason::QueueTimeout => style.full,
        reason => StatusCode::from_u16(reason.status()).unwrap_or(StatusCode::SERVICE_UNAVAILABLE),
    }
}

/// Problem details. Nothing in it needs to be escaped: the words are this crate's, and names are letters, digits and `. _ : / -`.
fn problem(rejection: &Rejection, status: StatusCode, style: &Style) -> String {
    let reason = rejection.reason();
    let mut json = format!(
        r#"{{"type":"about:blank","title":"{}","status":{},"detail":"{}","reason":"{}""#,
        status.canonical_reason().unwrap_or_default(),
        status.as_u16(),
        rejection.describe(),
        reason.as_str(),
    );
    if style.names {
        // Writing to a string cannot fail.
        let _ = write!(
            json,
            r#","layer":"{}","name":"{}""#,
            rejection.layer(),
            rejection.name(),
        );
    }
    json.push('}');
    json
}

/// A trailers-only response, the only form that every gRPC client understands.
fn grpc<ResB, B: MakeBody<ResB>>(
    rejection: &Rejection,
    style: &Style,
    content_type: &'static str,
    body: &B,
) -> Response<ResB> {
    let mut response = Response::new(body.make(Bytes::new()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    write_status(headers, rejection, style);
    response
}

/// The trailers of a response that is rejected after its head.
pub(crate) fn grpc_trailers(rejection: &Rejection) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    write_status(&mut trailers, rejection, &Style::DEFAULT);
    trailers
}

fn write_status(headers: &mut HeaderMap, rejection: &Rejection, style: &Style) {
    let code = match rejection.reason() {
        // With 429 the limit is the caller's own.
        Reason::Full | Reason::QueueTimeout if style.full == StatusCode::TOO_MANY_REQUESTS => {
            Code::ResourceExhausted
        }
        reason => Code::of_reason(reason),
    };
    headers.insert(GRPC_STATUS.clone(), HeaderValue::from_static(code.as_str()));
    let message = if style.names {
        percent_encoded(&rejection.to_string())
    } else {
        percent_encoded(&rejection.describe().to_string())
    };
    if let Ok(message) = HeaderValue::try_from(message) {
        headers.insert(GRPC_MESSAGE.clone(), message);
    }
    if let Some(after) = rejection.retry_after() {
        headers.insert(GRPC_PUSHBACK.clone(), millis(after).into());
    }
}

/// Converts the response of a user's closure, which does not know the request, to the request's
/// format: a gRPC status for gRPC, and no body for HEAD.
pub(super) fn in_format<ResB, B: MakeBody<ResB>>(
    response: Response<ResB>,
    format: Format,
    body: &B,
) -> Response<ResB> {
    let content_type = match format {
        Format::Http => return response,
        Format::Head => return response.map(|_| body.make(Bytes::new())),
        Format::Grpc(content_type) => content_type,
    };
    if response.headers().contains_key(&GRPC_STATUS) {
        return response;
    }
    let code = match Code::from_http(response.status()) {
        // The result was an error, whatever the HTTP status.
        Code::Ok => Code::Unknown,
        code => code,
    };
    let mut response = Response::new(body.make(Bytes::new()));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(GRPC_STATUS.clone(), HeaderValue::from_static(code.as_str()));
    response
}

/// The encoding of `grpc-message`: all bytes but printable ASCII without `%` are escaped.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if matches!(byte, b' '..=b'~') && byte != b'%' {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
#[path = "answer_tests.rs"]
mod tests;
