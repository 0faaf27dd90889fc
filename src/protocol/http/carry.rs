//! The context in HTTP headers.

use bytes::Bytes;
use http::Version;
use http::header::{HeaderMap, HeaderName, HeaderValue};

use super::InCorrelationBody;
use super::header::{self, Single};
use crate::layers::correlation::{Carry, CorrelationId, Encoded, InCorrelation, Reply};

/// The default headers, so that no call parses their names.
static CORRELATION_ID: HeaderName = HeaderName::from_static("x-correlation-id");
static REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

fn known(field: &str) -> Option<&'static HeaderName> {
    [&CORRELATION_ID, &REQUEST_ID]
        .into_iter()
        .find(|name| name.as_str() == field)
}

impl Carry for HeaderMap {
    /// The value of a header; empty if the header is repeated, because none of its values counts.
    #[inline]
    fn get(&self, field: &str) -> Option<&[u8]> {
        let single = match known(field) {
            Some(name) => Single::of(self, name),
            None => Single::of_values(self.get_all(field).iter()),
        };
        match single {
            Single::Missing => None,
            Single::Value(value) => Some(value.as_bytes()),
            Single::Repeated => Some(&[]),
        }
    }

    fn set(&mut self, field: &str, value: &str) {
        // The version is unknown here; HTTP/1.1 has no table of headers.
        set(self, field, value, Version::HTTP_11);
    }
}

fn set(headers: &mut HeaderMap, field: &str, value: &str, version: Version) {
    // An invalid value is left out: a request without its ID is better than no request.
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
    type InContext = http::Response<InCorrelationBody<B>>;

    #[inline]
    fn in_context(self, scope: InCorrelation) -> Self::InContext {
        self.map(|body| InCorrelationBody::within(body, scope))
    }
}

#[cfg(test)]
#[path = "carry_tests.rs"]
mod tests;
