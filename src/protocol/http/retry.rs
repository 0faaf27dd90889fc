use std::any::Any;
use std::fmt;

use http::{Method, StatusCode};

use super::head::{HttpRequest, HttpResponse, ResponseHead};
use super::replay::{Repeatable, ReplayRequest};
use super::unprocessed::Unprocessed;
use crate::layers::retry::{Decision, RetryPolicy};
use crate::policy::retry::RetryRefused;

/// How HTTP requests are retried.
///
/// A request is retried if it may be repeated: its method is idempotent (GET, HEAD, OPTIONS, TRACE, PUT, DELETE), or it has an
/// `Idempotency-Key`. Any other is sent again only if the transport says that the server never began it: there was no connection, or it was
/// closed before the request was sent, or HTTP/2 refused the stream unseen (`REFUSED_STREAM`, `GOAWAY`; feature `http2`). reqwest's errors do not
/// count as such, because it follows redirects by itself: a server may have done what the request asks for before the one that it redirects
/// to could not be reached. For the same reason put a layer that follows redirects, such as tower-http's, outside of the retry. A request whose
/// body cannot be sent again is sent once: see [`ReplayBody`](super::ReplayBody).
///
/// A request that was refused unseen is [sent again transparently](Decision::RetryTransparently): at no cost to the budget, and not as one
/// of the attempts. So a burst of 500 requests to a server with room for 100 streams succeeds. One whose connection was closed before it was sent
/// [costs the budget nothing](Decision::RetryUnsent) either, but is one of the attempts. Where no connection can be made, that is a failed attempt like
/// any other.
///
/// It is retried after the statuses 408, 425, 429, 502, 503 and 504, after errors of the transport, and after an attempt that timed out. A
/// `Retry-After` on a 429 or a 503 is met exactly. 500 is not in the list, because what broke a server once usually does so again:
///
/// ```
/// use http::StatusCode;
/// use mainstay::http::HttpRetry;
///
/// let layer = mainstay::http::retry()
///     .policy(HttpRetry::new().also_status(StatusCode::INTERNAL_SERVER_ERROR))
///     .build()?;
/// # Ok::<_, mainstay::ConfigError>(())
/// ```
#[derive(Clone)]
pub struct HttpRetry {
    statuses: Vec<StatusCode>,
    repeatable: Repeatable,
}

impl HttpRetry {
    /// The statuses and methods that are given above.
    #[must_use]
    pub fn new() -> Self {
        Self {
            statuses: vec![
                StatusCode::REQUEST_TIMEOUT,
                StatusCode::TOO_EARLY,
                StatusCode::TOO_MANY_REQUESTS,
                StatusCode::BAD_GATEWAY,
                StatusCode::SERVICE_UNAVAILABLE,
                StatusCode::GATEWAY_TIMEOUT,
            ],
            repeatable: Repeatable::default(),
        }
    }

    /// Retries after these statuses, and no others.
    #[must_use]
    pub fn statuses(mut self, statuses: impl IntoIterator<Item = StatusCode>) -> Self {
        self.statuses = statuses.into_iter().collect();
        self
    }

    /// Retries after this status, too.
    #[must_use]
    pub fn also_status(mut self, status: StatusCode) -> Self {
        self.statuses.push(status);
        self
    }

    /// Retries requests of this method, too, without an `Idempotency-Key`: for a server whose POST, say, does no harm when it is
    /// done twice.
    #[must_use]
    pub fn also_method(mut self, method: Method) -> Self {
        self.repeatable.methods.push(method);
        self
    }
}

impl Default for HttpRetry {
    fn default() -> Self {
        Self::new()
    }
}

/// What is kept of a request, and whether it may be repeated.
#[derive(Debug)]
pub struct KeptFor<K> {
    request: K,
    may_repeat: bool,
}

impl<Req, Res, Err> RetryPolicy<Req, Res, Err> for HttpRetry
where
    Req: HttpRequest + ReplayRequest,
    Res: HttpResponse,
    Err: 'static,
{
    type Kept = KeptFor<Req::Kept>;

    #[inline]
    fn keep(&self, request: &mut Req, limit: usize) -> Option<Self::Kept> {
        let may_repeat = self.repeatable.allows(request);
        let request = request.keep(limit)?;
        Some(KeptFor {
            request,
            may_repeat,
        })
    }

    fn decide(&self, kept: &Self::Kept, result: Result<&Res, &Err>, _: u32) -> Decision {
        match result {
            Ok(response) if self.statuses.contains(&response.status()) => {
                if !kept.may_repeat {
                    return Decision::Fail;
                }
                match ResponseHead::of(response).retry_after() {
                    // "At once" (0, or a date that has passed by our clock) says nothing that would be worth giving up the
                    // back-off and its jitter for.
                    Some(after) if !after.is_zero() => Decision::RetryAfter(after),
                    _ => Decision::Retry,
                }
            }
            Ok(_) => Decision::Return,
            Err(error) if is_final(error) => Decision::Return,
            Err(error) => match unprocessed(error) {
                Some(Unprocessed::Refused) => Decision::RetryTransparently,
                Some(Unprocessed::NotSent) => Decision::RetryUnsent,
                Some(Unprocessed::NotConnected) => Decision::Retry,
                None if kept.may_repeat => Decision::Retry,
                None => Decision::Fail,
            },
        }
    }

    fn again(&self, kept: &mut Self::Kept, _: u32) -> Result<Req, RetryRefused> {
        Req::again(&mut kept.request)
    }
}

fn unprocessed<E: 'static>(error: &E) -> Option<Unprocessed> {
    #[cfg(all(feature = "reqwest", feature = "http2", feature = "tracing"))]
    super::errors::reqwest::log_refusal(error);
    Unprocessed::of(error)
}

/// Whether an error says that the request, or what was made of the response, is at fault: another attempt goes the same way.
fn is_final<E: 'static>(error: &E) -> bool {
    let error: &dyn Any = error;
    #[cfg(feature = "reqwest")]
    if super::errors::reqwest::is_final(error) {
        return true;
    }
    #[cfg(feature = "hyper")]
    if super::errors::hyper::is_final(error) {
        return true;
    }
    let _ = error;
    false
}

impl fmt::Debug for HttpRetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpRetry")
            .field("statuses", &self.statuses)
            .field("also_methods", &self.repeatable.methods)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::error::Error;
    use std::io;
    use std::time::Duration;

    type Req = http::Request<&'static str>;
    type Res = http::Response<()>;
    type Err = Error<io::Error>;

    fn repeats(policy: &HttpRetry, method: &str, key: Option<&str>) -> bool {
        let mut request = http::Request::builder().method(method);
        if let Some(key) = key {
            request = request.header("idempotency-key", key);
        }
        let mut request: Req = request.body("").unwrap();
        let kept = RetryPolicy::<Req, Res, Err>::keep(policy, &mut request, 0).unwrap();
        let mut response: Res = http::Response::new(());
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
        match RetryPolicy::<Req, Res, Err>::decide(policy, &kept, Ok(&response), 1) {
            Decision::Retry => true,
            Decision::Fail => false,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn only_what_may_be_repeated_is_retried() {
        let policy = HttpRetry::new();
        for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"] {
            assert!(repeats(&policy, method, None), "{method}");
        }
        for method in ["POST", "PATCH", "CONNECT", "PURGE"] {
            assert!(!repeats(&policy, method, None), "{method}");
            assert!(!repeats(&policy, method, Some("")), "{method}");
            assert!(repeats(&policy, method, Some("4711")), "{method}");
        }
        let policy = HttpRetry::new().also_method(Method::POST);
        assert!(repeats(&policy, "POST", None));
        assert!(!repeats(&policy, "PATCH", None));
    }

    fn decide(policy: &HttpRetry, status: u16, after: Option<&str>) -> Decision {
        let mut response = http::Response::builder().status(status);
        if let Some(after) = after {
            response = response.header("retry-after", after);
        }
        let response: Res = response.body(()).unwrap();
        decide_by(policy, "GET", Ok(&response))
    }

    fn decide_by(policy: &HttpRetry, method: &str, result: Result<&Res, &Err>) -> Decision {
        let request = http::Request::builder().method(method);
        let mut request: Req = request.body("").unwrap();
        let kept = RetryPolicy::<Req, Res, Err>::keep(policy, &mut request, 0).unwrap();
        RetryPolicy::<Req, Res, Err>::decide(policy, &kept, result, 1)
    }

    #[test]
    fn statuses() {
        let policy = HttpRetry::new();
        for status in [408, 425, 429, 502, 503, 504] {
            assert_eq!(decide(&policy, status, None), Decision::Retry, "{status}");
        }
        for status in [200, 301, 400, 404, 409, 500, 501, 505] {
            assert_eq!(decide(&policy, status, None), Decision::Return, "{status}");
        }
        let also = policy
            .clone()
            .also_status(StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(decide(&also, 500, None), Decision::Retry);
        let only = policy.statuses([StatusCode::BAD_GATEWAY]);
        assert_eq!(decide(&only, 503, None), Decision::Return);
    }

    #[test]
    fn the_servers_hint_is_met_where_it_means_one() {
        let policy = HttpRetry::new();
        let two = Decision::RetryAfter(Duration::from_secs(2));
        assert_eq!(decide(&policy, 429, Some("2")), two);
        assert_eq!(decide(&policy, 503, Some("2")), two);
        assert_eq!(decide(&policy, 502, Some("2")), Decision::Retry);
        assert_eq!(decide(&policy, 503, Some("soon")), Decision::Retry);
        assert_eq!(decide(&policy, 503, Some("0")), Decision::Retry);
        assert_eq!(decide(&policy, 301, Some("2")), Decision::Return);
    }

    #[test]
    fn errors_of_the_transport_are_retried_where_the_request_may_be_repeated() {
        let error = Error::Inner(io::Error::other("reset"));
        let policy = HttpRetry::new();
        assert_eq!(decide_by(&policy, "GET", Err(&error)), Decision::Retry);
        assert_eq!(decide_by(&policy, "POST", Err(&error)), Decision::Fail);
    }
}
