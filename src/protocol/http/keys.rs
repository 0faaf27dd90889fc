//! Keys of HTTP requests.

use std::borrow::Cow;

use http::header::{HOST, HeaderName};

use super::head::HttpRequest;
use crate::layers::keyed::Key;

/// The host and port of a request: see [`by_authority`].
#[derive(Debug, Clone, Copy, Default)]
pub struct ByAuthority;

/// A key for layers of a client that calls several hosts: host and port of the request's URI, such
/// as `api.example.com` or `[::1]:8080`.
///
/// It is in lower case, without user and password, and without the port if that is the scheme's
/// default. If the URI has no authority, it comes from the `host` header. HTTP and reqwest client
/// stacks use it by default.
///
/// ```
/// let layer = mainstay::http::circuit_breaker().keyed_by(mainstay::http::by_authority()).build()?;
/// # Ok::<_, mainstay::ConfigError>(())
/// ```
#[must_use]
pub const fn by_authority() -> ByAuthority {
    ByAuthority
}

impl<Req: HttpRequest + ?Sized> Key<Req> for ByAuthority {
    #[inline]
    fn key<'a>(&'a self, request: &'a Req) -> Option<Cow<'a, str>> {
        let authority = match request.authority() {
            Some(authority) => authority,
            None => request.headers().get(HOST)?.to_str().ok()?,
        };
        Some(normal(authority, request.scheme()))
    }
}

/// An authority as it is compared. Borrowed if it is so already.
fn normal<'a>(authority: &'a str, scheme: Option<&str>) -> Cow<'a, str> {
    let host = match authority.rsplit_once('@') {
        Some((_, host)) => host,
        None => authority,
    };
    let default_port = match scheme {
        Some("http") => ":80",
        Some("https") => ":443",
        _ => "",
    };
    let host = host.strip_suffix(default_port).unwrap_or(host);
    if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        Cow::Owned(host.to_ascii_lowercase())
    } else {
        Cow::Borrowed(host)
    }
}

/// The value of a header: see [`by_header`].
#[derive(Debug, Clone)]
pub struct ByHeader(Option<HeaderName>);

/// A key for layers of a server with several tenants: the value of a request header.
///
/// Requests without the header share one instance, and so do all requests if no header can have
/// this name. Trust the header: a caller that chooses the key also chooses the limit.
///
/// ```
/// let layer = mainstay::http::bulkhead().limit(8).keyed_by(mainstay::http::by_header("x-tenant")).build()?;
/// # Ok::<_, mainstay::ConfigError>(())
/// ```
#[must_use]
pub fn by_header(name: &str) -> ByHeader {
    ByHeader(name.parse().ok())
}

impl<Req: HttpRequest + ?Sized> Key<Req> for ByHeader {
    fn key<'a>(&'a self, request: &'a Req) -> Option<Cow<'a, str>> {
        let value = request.headers().get(self.0.as_ref()?)?;
        Some(String::from_utf8_lossy(value.as_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::Request;

    #[test]
    fn the_authority_is_normal() {
        for (uri, key) in [
            ("http://api.example.com/x", "api.example.com"),
            ("http://api.example.com:80/", "api.example.com"),
            ("https://api.example.com:443/", "api.example.com"),
            ("https://api.example.com:80/", "api.example.com:80"),
            ("http://API.Example.com:8080/", "api.example.com:8080"),
            ("http://user:pass@api.example.com/", "api.example.com"),
            ("http://[::1]:8080/", "[::1]:8080"),
            ("http://[::1]:80/", "[::1]"),
            ("http://[FE80::80]/", "[fe80::80]"),
        ] {
            let request = Request::builder().uri(uri).body(()).unwrap();
            assert_eq!(ByAuthority.key(&request).as_deref(), Some(key), "{uri}");
        }
    }

    #[test]
    fn usual_authorities_are_borrowed() {
        let request = Request::builder()
            .uri("http://api.example.com:8080/")
            .body(())
            .unwrap();
        assert!(matches!(
            ByAuthority.key(&request),
            Some(Cow::Borrowed("api.example.com:8080"))
        ));
    }

    #[test]
    fn without_an_authority_it_is_the_host_header() {
        let mut request = Request::builder().uri("/x").body(()).unwrap();
        assert_eq!(ByAuthority.key(&request), None);
        let host = "Api.example.com:81".parse().unwrap();
        request.headers_mut().insert(HOST, host);
        let key = ByAuthority.key(&request);
        assert_eq!(key.as_deref(), Some("api.example.com:81"));
    }

    #[test]
    fn a_header_is_a_key() {
        let request = Request::builder()
            .header("x-tenant", "blue")
            .header("x-odd", &b"\xffblue"[..])
            .body(())
            .unwrap();
        assert_eq!(by_header("X-Tenant").key(&request).as_deref(), Some("blue"));
        assert_eq!(
            by_header("x-odd").key(&request).as_deref(),
            Some("\u{fffd}blue")
        );
        assert_eq!(by_header("x-other").key(&request), None);
        assert_eq!(by_header("no header").key(&request), None);
    }
}
