//! The context in HTTP headers.

use bytes::Bytes;
use http::Version;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::InContextBody;
use super::header::{self, Given};
use crate::layers::correlation::{Carry, CorrelationId, Encoded, InCorrelation, Reply};

/// The headers that are read and written unless others are asked for: their names need not be made anew for each request.
static CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

fn known(field: &str) -> Option<&'static HeaderName> {
    [&CORRELATION_ID, &REQUEST_ID]
        .into_iter()
        .find(|name| name.as_str() == field)
}

impl Carry for HeaderMap {
    /// The value of a header; an empty one when it is given more than once: nobody can say which one is meant.
    #[inline]
    fn get(&self, field: &str) -> Option<&[u8]> {
        let given = match known(field) {
            Some(name) => Given::of(self, name),
            None => Given::one_of(self.get_all(field).iter()),
        };
        match given {
            Given::Not => None,
            Given::Once(value) => Some(value.as_bytes()),
            Given::Repeatedly => Some(&[]),
        }
    }

    fn set(&mut self, field: &str, value: &str) {
        // Some version in which nothing is kept.
        set(self, field, value, Version::HTTP_11);
    }
}

fn set(headers: &mut HeaderMap, field: &str, value: &str, version: Version) {
    // What cannot be a header is left out: a request without its name in a log is better than no request.
    if let Ok(value) = HeaderValue::from_str(value) {
        set_value(headers, field, value, version);
    }
}

/// An ID is encoded once for the request and the response: both headers share one allocation.
fn set_id(
    headers: &mut HeaderMap,
    field: &str,
    id: &CorrelationId,
    encoded: &mut Encoded,
    version: Version,
) {
    if encoded.0.is_none() {
        let Some(text) = id.uuid_text() else {
            return set(headers, field, id.encode(&mut [0; 36]), version);
        };
        encoded.0 = HeaderValue::from_maybe_shared(Bytes::from_owner(text)).ok();
    }
    if let Some(value) = encoded.0.clone() {
        set_value(headers, field, value, version);
    }
}

fn set_value(headers: &mut HeaderMap, field: &str, value: HeaderValue, version: Version) {
    let value = match version {
        Version::HTTP_2 => header::never_indexed(value),
        _ => value,
    };
    if let Some(name) = known(field) {
        header::set(headers, name, value);
    } else if let Ok(name) = HeaderName::from_bytes(field.as_bytes()) {
        header::set(headers, &name, value);
    }
}

impl<B> Carry for http::Request<B> {
    fn get(&self, field: &str) -> Option<&[u8]> {
        Carry::get(self.headers(), field)
    }

    fn set(&mut self, field: &str, value: &str) {
        let version = self.version();
        set(self.headers_mut(), field, value, version);
    }

    fn set_id(&mut self, field: &str, id: &CorrelationId, encoded: &mut Encoded) {
        let version = self.version();
        set_id(self.headers_mut(), field, id, encoded, version);
    }
}

impl<B> Carry for http::Response<B> {
    fn get(&self, field: &str) -> Option<&[u8]> {
        Carry::get(self.headers(), field)
    }

    fn set(&mut self, field: &str, value: &str) {
        let version = self.version();
        set(self.headers_mut(), field, value, version);
    }

    fn set_id(&mut self, field: &str, id: &CorrelationId, encoded: &mut Encoded) {
        let version = self.version();
        set_id(self.headers_mut(), field, id, encoded, version);
    }
}

impl<B: http_body::Body> Reply for http::Response<B> {
    type InContext = http::Response<InContextBody<B, InCorrelation>>;

    #[inline]
    fn in_context(self, scope: InCorrelation) -> Self::InContext {
        self.map(|body| InContextBody::within(body, scope))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_given_twice_is_there_and_says_nothing() {
        let mut headers = HeaderMap::new();
        assert_eq!(Carry::get(&headers, "x-correlation-id"), None);
        headers.append("x-correlation-id", HeaderValue::from_static("a"));
        assert_eq!(Carry::get(&headers, "x-correlation-id"), Some(&b"a"[..]));
        headers.append("x-correlation-id", HeaderValue::from_static("a"));
        assert_eq!(Carry::get(&headers, "x-correlation-id"), Some(&b""[..]));
    }

    #[test]
    fn bytes_come_as_they_are() {
        let mut headers = HeaderMap::new();
        headers.insert("x-request-id", HeaderValue::from_bytes(b"\xff\t").unwrap());
        assert_eq!(Carry::get(&headers, "x-request-id"), Some(&b"\xff\t"[..]));
    }

    #[test]
    fn setting_replaces_all_and_refuses_quietly() {
        let mut headers = HeaderMap::new();
        headers.append("x-correlation-id", HeaderValue::from_static("a"));
        headers.append("x-correlation-id", HeaderValue::from_static("b"));
        headers.set("x-correlation-id", "c");
        assert_eq!(Carry::get(&headers, "x-correlation-id"), Some(&b"c"[..]));
        headers.set("x-trace.id", "d");
        assert_eq!(Carry::get(&headers, "x-trace.id"), Some(&b"d"[..]));

        headers.set("not a name", "x");
        headers.set("", "x");
        headers.set("x-correlation-id", "two\nlines");
        assert_eq!(Carry::get(&headers, "x-correlation-id"), Some(&b"c"[..]));
        assert_eq!(headers.len(), 2);
    }

    /// An ID is another one in every message: it would be of no use in the table of a connection.
    #[test]
    fn over_http_2_it_stays_out_of_the_table() {
        for (version, stays_out) in [(Version::HTTP_11, false), (Version::HTTP_2, true)] {
            let mut request = http::Request::new(());
            *request.version_mut() = version;
            Carry::set(&mut request, "x-correlation-id", "a");
            assert_eq!(
                request.headers()["x-correlation-id"].is_sensitive(),
                stays_out
            );

            let mut response = http::Response::new(());
            *response.version_mut() = version;
            Carry::set(&mut response, "x-correlation-id", "a");
            assert_eq!(
                response.headers()["x-correlation-id"].is_sensitive(),
                stays_out
            );
        }
    }

    #[test]
    fn a_full_map_is_left_alone() {
        let mut headers = HeaderMap::new();
        header::fill(&mut headers);
        for field in ["x-correlation-id", "x-trace.id"] {
            headers.set(field, "a");
            assert_eq!(Carry::get(&headers, field), None);
            let mut response = http::Response::new(());
            *response.headers_mut() = headers.clone();
            Carry::set(&mut response, field, "a");
            assert_eq!(Carry::get(&response, field), None);
        }
    }
}
