use std::any::Any;
use std::fmt;

use http::{Method, StatusCode};

use super::head::{HttpRequest, HttpResponse, ResponseHead};
use super::replay::{Repeatable, ReplayRequest};
use super::unprocessed::Unprocessed;
use crate::layers::retry::{Decision, RetryPolicy};
use crate::policy::retry::RetryRefused;
use crate::vocabulary::overrides::CallSettings;

/// The retry policy for HTTP requests.
///
/// # When it retries
///
/// After the statuses 408, 425, 429, 502, 503 and 504, after transport errors, and after an attempt
/// that timed out. It waits exactly as long as the `Retry-After` of a 429 or a 503. 500 is not in
/// the list, because a request that broke a server once usually does so again:
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
///
/// # Which requests it retries
///
/// Requests with an idempotent method (GET, HEAD, OPTIONS, TRACE, PUT, DELETE), with an
/// `Idempotency-Key`, or with [`Overrides::idempotent`](crate::Overrides::idempotent). A request
/// whose body cannot be sent again is sent once: see [`ReplayBody`](super::ReplayBody).
///
/// Any other request is sent again only if the server never processed it, according to the
/// transport:
///
/// | the transport's error | the retry |
/// |---|---|
/// | HTTP/2 refused the stream (`REFUSED_STREAM`, `GOAWAY`; feature `http2`) | [transparent](Decision::RetryTransparently): free of charge to the budget, not an attempt. A burst of 500 requests to a server with a limit of 100 streams succeeds. |
/// | the connection was closed before the request was sent | an attempt, [free of charge](Decision::RetryUnsent) to the budget |
/// | no connection could be made | an attempt like any other |
///
/// Errors of reqwest do not count as such: reqwest follows redirects, so a server may have
/// processed the request before the next one failed to connect. For the same reason, put a layer
/// that follows redirects, such as tower-http's, outside of the retry.
#[derive(Clone)]
pub struct HttpRetry {
    statuses: Vec<StatusCode>,
    repeatable: Repeatable,
}

impl HttpRetry {
    /// Creates the policy with the statuses and methods given above.
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

    /// Retries after these statuses only. Default 408, 425, 429, 502, 503 and 504.
    #[must_use]
    pub fn statuses(mut self, statuses: impl IntoIterator<Item = StatusCode>) -> Self {
        self.statuses = statuses.into_iter().collect();
        self
    }

    /// Also retries after this status.
    #[must_use]
    pub fn also_status(mut self, status: StatusCode) -> Self {
        self.statuses.push(status);
        self
    }

    /// Also retries requests of this method without an `Idempotency-Key`: for a server that handles
    /// a repeated POST, say, without harm.
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

/// A kept request, and whether it may be repeated.
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
    #[doc(hidden)]
    type Kept = KeptFor<Req::Kept>;

    #[inline]
    fn keep(&self, request: &mut Req, limit: usize) -> Option<Self::Kept> {
        let overrides = CallSettings::of(request.overrides());
        if overrides.never_retries() {
            return None;
        }
        let may_repeat = overrides.is_idempotent() || self.repeatable.allows(request);
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
                    // A hint of zero (also a date in the past) does not replace the back-off.
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

/// Whether the request, or the decoding of the response, caused the error, so that another attempt
/// fails, too.
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
#[path = "retry_tests.rs"]
mod tests;
