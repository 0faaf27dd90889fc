use http::{HeaderName, HeaderValue};

use super::code::Code;
use super::errors::{self, Cause, cause};
use super::peek::GrpcResponse;
use super::pushback::{self, Pushback};
use super::rules::Rules;
use crate::layers::retry::LAYER;
use crate::layers::retry::{Decision, RetryPolicy};
use crate::policy::retry::RetryRefused;
use crate::protocol::http::{HttpRequest, ReplayRequest, ResponseHead, Unprocessed, header};
use crate::vocabulary::{config::ConfigError, error::WithRejection};

static PREVIOUS_ATTEMPTS: HeaderName = HeaderName::from_static("grpc-previous-rpc-attempts");

/// How gRPC calls are retried (proposal A6 of gRPC).
///
/// A call is retried when its code is `UNAVAILABLE`, which a server gives for what it has not begun, and when the transport fails: a connection that
/// breaks is `UNAVAILABLE`, too, whatever tonic calls it; a stream that the server resets with `CANCEL` is `CANCELLED`. Further codes are for you
/// to add, for all methods or for some: nobody but you knows which may be repeated. What the transport says was never begun (no connection, a
/// stream that was refused unseen) is sent again whatever the codes are. A call that was refused unseen (`REFUSED_STREAM`, `GOAWAY`) is
/// [sent again transparently](Decision::RetryTransparently): it is no attempt and costs the budget nothing. gRPC does so once and then counts
/// attempts; here there are up to 30, with waits of at most a second between them. One whose connection was closed before it was sent
/// [costs the budget nothing](Decision::RetryUnsent) either.
///
/// The code is the one in the head of the response, or of the error, or in trailers that come right after the head, without a message before them.
/// Once there is a message, the call is the caller's: an error that comes later is never retried.
///
/// A `RESOURCE_EXHAUSTED` with `grpc-retry-pushback-ms` is retried after that time: the server asks for it, for a quota that is
/// free again then. Without the hint it is not, and neither where [`codes`](Self::codes) or a rule of your own says which codes are.
///
/// `grpc-retry-pushback-ms` is met exactly, and the back-off starts anew after it; a negative or unreadable one forbids the retry. So is the
/// `Retry-After` of a proxy that answered without a code. A retry tells the server how
/// many attempts there were before it, in `grpc-previous-rpc-attempts` (unless the request's header map is full).
///
/// ```
/// use mainstay::grpc::{self, Code, GrpcRetry};
///
/// let policy = GrpcRetry::new()
///     .also_code(Code::ResourceExhausted)
///     .codes_for("shop.Search", [Code::Unavailable, Code::Internal])?
///     .never("shop.Orders/Create")?;
/// let layer = grpc::retry().policy(policy).build()?;
/// # Ok::<_, mainstay::ConfigError>(())
/// ```
///
/// # With tonic
///
/// Where the inner service is not ready for the last attempt either, a stub gets `UNAVAILABLE`, unless the error of readiness has a code of
/// its own. A `tonic::Status` or a `BoxError` becomes a status with the error as its source. Any other error has no room
/// for a status and is replaced by a rejection with [`Reason::NotReady`](crate::Reason::NotReady).
///
/// A stub around the stack is retried like anything else. The body of its request streams, also that of a unary call, so it is kept as it is
/// sent, up to [`replay_limit`](crate::RetryBuilder::replay_limit); streams of both directions are not held up. A call that has sent more is
/// not retried: see [`ReplayBody`](crate::http::ReplayBody).
#[derive(Debug, Clone)]
pub struct GrpcRetry {
    codes: Vec<Code>,
    /// Whether `RESOURCE_EXHAUSTED` is retried when the server says when.
    by_hint: bool,
    /// After which codes, for a name; `None`: never.
    rules: Rules<Option<Vec<Code>>>,
}

impl GrpcRetry {
    /// Retries after `UNAVAILABLE`, and after a `RESOURCE_EXHAUSTED` that says when.
    #[must_use]
    pub fn new() -> Self {
        Self {
            codes: vec![Code::Unavailable],
            by_hint: true,
            rules: Rules::default(),
        }
    }

    /// Retries after these codes, and no others. `tonic::Code`s will do as well.
    #[must_use]
    pub fn codes<C: Into<Code>>(mut self, codes: impl IntoIterator<Item = C>) -> Self {
        self.codes = codes.into_iter().map(Into::into).collect();
        self.by_hint = false;
        self
    }

    /// Retries after this code, too.
    #[must_use]
    pub fn also_code(mut self, code: impl Into<Code>) -> Self {
        self.codes.push(code.into());
        self
    }

    /// Retries the calls of a service (`shop.Orders`) or of one method (`shop.Orders/Create`) after these codes and no others. What is said of a method goes before
    /// what is said of its service, and that before what is said of all; of two for the same name, the later one holds.
    ///
    /// # Errors
    ///
    /// When the name is neither of a service nor of a method.
    pub fn codes_for<C: Into<Code>>(
        mut self,
        name: impl AsRef<str>,
        codes: impl IntoIterator<Item = C>,
    ) -> Result<Self, ConfigError> {
        let codes = codes.into_iter().map(Into::into).collect();
        self.rules
            .set((LAYER, "codes_for"), name.as_ref(), Some(codes))?;
        Ok(self)
    }

    /// Sends the calls of a service (`shop.Orders`) or of one method (`shop.Orders/Create`) once, whatever happens.
    ///
    /// # Errors
    ///
    /// When the name is neither of a service nor of a method.
    pub fn never(mut self, name: impl AsRef<str>) -> Result<Self, ConfigError> {
        self.rules.set((LAYER, "never"), name.as_ref(), None)?;
        Ok(self)
    }
}

impl GrpcRetry {
    /// The codes that are retried.
    fn codes_of(&self, rule: Option<usize>) -> &[Code] {
        let of_rule = rule.and_then(|rule| self.rules.get(rule)?.as_ref());
        of_rule.unwrap_or(&self.codes)
    }

    /// Whether this code is retried where the server says when, and only there.
    fn needs_hint(&self, rule: Option<usize>, code: Code) -> bool {
        code == Code::ResourceExhausted && self.by_hint && rule.is_none()
    }
}

impl Default for GrpcRetry {
    fn default() -> Self {
        Self::new()
    }
}

/// What is kept of a request, and which rule is for it.
#[derive(Debug)]
pub struct KeptFor<K> {
    request: K,
    rule: Option<usize>,
}

impl<Req, Res, Err> RetryPolicy<Req, Res, Err> for GrpcRetry
where
    Req: HttpRequest + ReplayRequest,
    Res: GrpcResponse,
    Err: WithRejection + 'static,
{
    type Kept = KeptFor<Req::Kept>;

    fn keep(&self, request: &mut Req, limit: usize) -> Option<Self::Kept> {
        let rule = self.rules.find(request.path());
        if rule.is_some_and(|rule| self.rules.get(rule) == Some(&None)) {
            return None;
        }
        let request = request.keep(limit)?;
        Some(KeptFor { request, rule })
    }

    fn decide(&self, kept: &Self::Kept, result: Result<&Res, &Err>, _: u32) -> Decision {
        let codes = self.codes_of(kept.rule);
        let code = match result {
            Ok(response) => match response.early_trailers() {
                Some(trailers) => Code::of_trailers(trailers),
                None => Code::of_head(response.status(), response.headers()),
            },
            Err(error) => match Unprocessed::of(error) {
                Some(Unprocessed::Refused) => return Decision::RetryTransparently,
                Some(Unprocessed::NotSent) => return Decision::RetryUnsent,
                Some(Unprocessed::NotConnected) => return Decision::Retry,
                None => code_of(error),
            },
        };
        let listed = codes.contains(&code);
        if !listed && !self.needs_hint(kept.rule, code) {
            return Decision::Return;
        }
        let pushback = match result {
            Ok(response) => {
                let trailers = response.early_trailers().and_then(pushback::read);
                trailers.or_else(|| pushback::of_head(&ResponseHead::of(response)))
            }
            Err(error) => errors::pushback(error),
        };
        match pushback {
            None if !listed => Decision::Return,
            None => Decision::Retry,
            Some(Pushback::After(after)) => Decision::RetryAfter(after),
            Some(Pushback::Never) => Decision::Fail,
        }
    }

    fn unready(&self, error: Err, rejected: Err) -> Err {
        errors::unready(error, rejected)
    }

    fn again(&self, kept: &mut Self::Kept, attempt: u32) -> Result<Req, RetryRefused> {
        let mut request = Req::again(&mut kept.request)?;
        // What the server refused unseen was no attempt, and is sent again under the number that it had.
        let previous = attempt.saturating_sub(1);
        if previous > 0 {
            let previous = HeaderValue::from(previous);
            header::set(request.headers_mut(), &PREVIOUS_ATTEMPTS, previous);
        }
        Ok(request)
    }
}

fn code_of<E: WithRejection + 'static>(error: &E) -> Code {
    match cause(error) {
        Cause::Code(code) => code,
        Cause::TimedOut => Code::DeadlineExceeded,
        Cause::Cancelled => Code::Cancelled,
        Cause::Transport => Code::Unavailable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::layers::retry::Receive;
    use crate::protocol::grpc::{EarlyTrailers, Peeked};
    use crate::vocabulary::{error::Error, reason::Reason, rejection::Rejection};
    use std::io;
    use std::task::{Context, Waker};
    use std::time::Duration;

    type Req = http::Request<bytes::Bytes>;
    type Res = http::Response<Peeked<String>>;
    type Err = Error<io::Error>;

    fn decide(policy: &GrpcRetry, headers: &[(&str, &str)]) -> Decision {
        let mut response = http::Response::builder();
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let response = response.body(String::new()).unwrap();
        let mut cx = Context::from_waker(Waker::noop());
        decide_by(policy, Ok(&EarlyTrailers.receive(response, &mut cx)))
    }

    fn decide_by(policy: &GrpcRetry, result: Result<&Res, &Err>) -> Decision {
        let mut request = Req::default();
        *request.uri_mut() = http::Uri::from_static("http://shop.example/shop.Orders/Get");
        let kept = RetryPolicy::<Req, Res, Err>::keep(policy, &mut request, 0).unwrap();
        RetryPolicy::<Req, Res, Err>::decide(policy, &kept, result, 1)
    }

    #[test]
    fn codes() {
        let policy = GrpcRetry::new();
        assert_eq!(decide(&policy, &[("grpc-status", "14")]), Decision::Retry);
        for code in ["0", "1", "2", "4", "8", "13", "99"] {
            let decision = decide(&policy, &[("grpc-status", code)]);
            assert_eq!(decision, Decision::Return, "{code}");
        }
        assert_eq!(decide(&policy, &[]), Decision::Return);
        let also = policy.clone().also_code(Code::Aborted);
        assert_eq!(decide(&also, &[("grpc-status", "10")]), Decision::Retry);
        let only = policy.codes([Code::Aborted]);
        assert_eq!(decide(&only, &[("grpc-status", "14")]), Decision::Return);
    }

    #[test]
    fn the_server_says_when_or_never() {
        let policy = GrpcRetry::new();
        let with = |pushback| {
            let status = ("grpc-status", "14");
            decide(&policy, &[status, ("grpc-retry-pushback-ms", pushback)])
        };
        let delay = Duration::from_millis(40);
        assert_eq!(with("40"), Decision::RetryAfter(delay));
        assert_eq!(with("-1"), Decision::Fail);
        assert_eq!(with("soon"), Decision::Fail);
    }

    #[test]
    fn a_quota_is_retried_when_the_server_says_when() {
        let policy = GrpcRetry::new();
        let quota = |policy: &GrpcRetry, pushback: Option<&str>| {
            let status = ("grpc-status", "8");
            match pushback {
                None => decide(policy, &[status]),
                Some(after) => decide(policy, &[status, ("grpc-retry-pushback-ms", after)]),
            }
        };
        let delay = Duration::from_millis(40);
        assert_eq!(quota(&policy, None), Decision::Return);
        assert_eq!(quota(&policy, Some("40")), Decision::RetryAfter(delay));
        assert_eq!(quota(&policy, Some("-1")), Decision::Fail);
        let also = policy.clone().also_code(Code::Aborted);
        assert_eq!(quota(&also, Some("40")), Decision::RetryAfter(delay));
        let only = policy.clone().codes([Code::Unavailable]);
        assert_eq!(quota(&only, Some("40")), Decision::Return);
        let rule = policy.codes_for("shop.Orders", [Code::Unavailable]);
        assert_eq!(quota(&rule.unwrap(), Some("40")), Decision::Return);
    }

    #[test]
    fn a_proxy_says_when_as_http_does() {
        let response = |status: u16, headers: &[(&str, &str)]| {
            let mut response = http::Response::builder().status(status);
            for (name, value) in headers {
                response = response.header(*name, *value);
            }
            let response = response.body(String::new()).unwrap();
            let mut cx = Context::from_waker(Waker::noop());
            decide_by(
                &GrpcRetry::new(),
                Ok(&EarlyTrailers.receive(response, &mut cx)),
            )
        };
        let two = Decision::RetryAfter(Duration::from_secs(2));
        let hint = ("retry-after", "2");
        assert_eq!(response(429, &[hint]), two);
        assert_eq!(response(503, &[hint]), two);
        assert_eq!(response(503, &[("retry-after", "0")]), Decision::Retry);
        assert_eq!(response(502, &[hint]), Decision::Retry);
        // gRPC's own hint goes first, and with a code of its own `Retry-After` means nothing.
        let never = ("grpc-retry-pushback-ms", "-1");
        assert_eq!(response(503, &[hint, never]), Decision::Fail);
        let status = ("grpc-status", "14");
        assert_eq!(response(200, &[hint, status]), Decision::Retry);
    }

    #[test]
    fn errors() {
        let decide = |policy: &GrpcRetry, error: Err| decide_by(policy, Err(&error));
        let policy = GrpcRetry::new();
        let reset = || Error::Inner(io::Error::other("reset"));
        assert_eq!(decide(&policy, reset()), Decision::Retry);
        let late = || Error::Rejected(Rejection::new("timeout", "users", Reason::TimedOut));
        assert_eq!(decide(&policy, late()), Decision::Return);
        let also = policy.also_code(Code::DeadlineExceeded);
        assert_eq!(decide(&also, late()), Decision::Retry);
    }

    #[test]
    fn a_rule_for_a_method_replaces_the_codes_for_all() {
        let policy = GrpcRetry::new().codes_for("shop.Orders", [Code::Aborted]);
        let policy = policy.unwrap();
        assert_eq!(decide(&policy, &[("grpc-status", "10")]), Decision::Retry);
        assert_eq!(decide(&policy, &[("grpc-status", "14")]), Decision::Return);
        let other = GrpcRetry::new().codes_for("shop.Carts", [Code::Aborted]);
        let other = other.unwrap();
        assert_eq!(decide(&other, &[("grpc-status", "14")]), Decision::Retry);
    }

    #[test]
    fn what_is_never_retried_is_not_kept() {
        let policy = GrpcRetry::new().never("shop.Orders").unwrap();
        let mut request = Req::default();
        let keep = |request: &mut Req| RetryPolicy::<Req, Res, Err>::keep(&policy, request, 0);
        assert!(keep(&mut request).is_some());
        *request.uri_mut() = http::Uri::from_static("/shop.Orders/Get");
        assert!(keep(&mut request).is_none());
    }

    #[test]
    fn a_retry_says_how_many_there_were_before() {
        let policy = GrpcRetry::new();
        let mut request = Req::default();
        let kept = RetryPolicy::<Req, Res, Err>::keep(&policy, &mut request, 0);
        assert!(request.headers().is_empty());
        let mut kept = kept.unwrap();
        for (attempt, previous) in [(2, "1"), (3, "2")] {
            let again = RetryPolicy::<Req, Res, Err>::again(&policy, &mut kept, attempt);
            let headers = again.unwrap().into_parts().0.headers;
            assert_eq!(headers["grpc-previous-rpc-attempts"], previous);
        }
    }

    #[test]
    fn a_request_with_as_many_headers_as_there_can_be_is_sent_again_without_one_more() {
        let policy = GrpcRetry::new();
        let mut request = Req::default();
        header::fill(request.headers_mut());
        let all = request.headers().len();
        let kept = RetryPolicy::<Req, Res, Err>::keep(&policy, &mut request, 0);
        let again = RetryPolicy::<Req, Res, Err>::again(&policy, &mut kept.unwrap(), 2).unwrap();
        assert_eq!(again.headers().len(), all);
        assert!(!again.headers().contains_key(&PREVIOUS_ATTEMPTS));
    }
}
