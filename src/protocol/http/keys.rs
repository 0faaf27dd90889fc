//! Keys of HTTP requests.

use std::borrow::Cow;
use std::sync::Arc;

use http::header::HeaderName;

use super::head::HttpRequest;
use crate::layers::keyed::Key;
use crate::vocabulary::overrides::Overrides;

/// The host and port of a request: see [`by_authority`].
#[derive(Debug, Clone, Copy, Default)]
pub struct ByAuthority;

/// A key for layers of a client that calls several hosts: host and port of the request's URI, such
/// as `api.example.com` or `[::1]:8080`.
///
/// It is in lower case, without user and password, without the dot that can end a host name, and
/// without the port if that is the scheme's default. HTTP and reqwest client stacks use it by
/// default.
///
/// Requests whose URI has no authority share one instance. The `host` header is no key: such a
/// request is for the upstream of its connection, and in a proxy the header is the caller's. So is
/// the authority of an HTTP/2 request. A proxy that forwards both to one upstream needs one instance
/// for all calls, such as with `one_for_all()` of a client stack.
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
        Some(normal(request.authority()?, request.scheme()))
    }

    #[inline]
    fn key_override(&self, request: &Req, name: &str) -> Option<Arc<str>> {
        Overrides::key_of(request.overrides(), name)
    }

    fn name(&self) -> Cow<'_, str> {
        "authority".into()
    }
}

/// An authority as it is compared. Borrowed if it is so already.
fn normal<'a>(authority: &'a str, scheme: Option<&str>) -> Cow<'a, str> {
    let authority = match authority.rsplit_once('@') {
        Some((_, authority)) => authority,
        None => authority,
    };
    // The colons of an IPv6 address are in brackets.
    let is_port = |port: &str| port.bytes().all(|byte| byte.is_ascii_digit());
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if is_port(port) => (host, port.trim_start_matches('0')),
        _ => (authority, ""),
    };
    let host = host.strip_suffix('.').unwrap_or(host);
    let default_port = match scheme {
        Some("http") => "80",
        Some("https") => "443",
        _ => "",
    };
    let port = if port == default_port { "" } else { port };
    let length = host.len() + port.len() + usize::from(!port.is_empty());
    // Host and port are borrowed together if nothing between them was removed.
    let is_whole = port.is_empty() || length == authority.len();
    if is_whole && !host.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Cow::Borrowed(authority.get(..length).unwrap_or(authority));
    }
    let mut key = host.to_ascii_lowercase();
    if !port.is_empty() {
        key.push(':');
        key.push_str(port);
    }
    Cow::Owned(key)
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

    #[inline]
    fn key_override(&self, request: &Req, name: &str) -> Option<Arc<str>> {
        Overrides::key_of(request.overrides(), name)
    }

    fn name(&self) -> Cow<'_, str> {
        let header = self.0.as_ref().map_or("none", HeaderName::as_str);
        format!("header {header}").into()
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
            ("http://[::1]:/", "[::1]"),
            ("http://api.example.com:/", "api.example.com"),
            ("http://api.example.com:080/", "api.example.com"),
            ("http://api.example.com:08080/", "api.example.com:8080"),
            ("http://api.example.com./", "api.example.com"),
            ("http://api.example.com.:80/", "api.example.com"),
            ("http://Api.example.com.:81/", "api.example.com:81"),
            ("api.example.com:80", "api.example.com:80"),
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
    fn the_host_header_is_no_key() {
        let request = Request::builder()
            .uri("/x")
            .header("host", "api.example.com");
        assert_eq!(ByAuthority.key(&request.body(()).unwrap()), None);
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
