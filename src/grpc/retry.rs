use super::code::Code;
use super::errors::{self, Cause, cause};
use super::pushback::{self, Pushback};
use crate::http::{HttpResponse, ReplayRequest};
use crate::{Decision, RetryPolicy, RetryRefused, WithRejection};

/// How gRPC calls are retried.
///
/// A call is retried when its code is `UNAVAILABLE` (the head's, or the error's), which a server gives for what it has not begun, and when the
/// transport fails. Further codes are for you to add: nobody but you knows which methods may be repeated.
///
/// `grpc-retry-pushback-ms` is met exactly; a negative or unreadable one forbids the retry.
///
/// ```
/// use mainstay::grpc::{self, Code, GrpcRetry};
///
/// let layer = grpc::retry()
///     .policy(GrpcRetry::new().also_code(Code::ResourceExhausted))
///     .build()?;
/// # Ok::<_, mainstay::ConfigError>(())
/// ```
///
/// # With tonic
///
/// The request of a tonic stub has a body that streams and cannot be copied, so **in this release a call from a stub is sent once**, whatever
/// the policy says. A later release keeps small messages for a replay, with the same policy. Until then a call can be retried around the stub,
/// where the message still is one: a `service_fn` over the message, behind a [`RetryLayer`](crate::RetryLayer).
/// Requests whose body can be copied ([`CopyBody`](crate::http::CopyBody)) are retried now.
#[derive(Debug, Clone)]
pub struct GrpcRetry {
    codes: Vec<Code>,
}

impl GrpcRetry {
    /// Retries after `UNAVAILABLE`.
    #[must_use]
    pub fn new() -> Self {
        Self {
            codes: vec![Code::Unavailable],
        }
    }

    /// Retries after these codes, and no others. `tonic::Code`s will do as well.
    #[must_use]
    pub fn codes<C: Into<Code>>(mut self, codes: impl IntoIterator<Item = C>) -> Self {
        self.codes = codes.into_iter().map(Into::into).collect();
        self
    }

    /// Retries after this code, too.
    #[must_use]
    pub fn also_code(mut self, code: impl Into<Code>) -> Self {
        self.codes.push(code.into());
        self
    }
}

impl Default for GrpcRetry {
    fn default() -> Self {
        Self::new()
    }
}

impl<Req, Res, Err> RetryPolicy<Req, Res, Err> for GrpcRetry
where
    Req: ReplayRequest,
    Res: HttpResponse,
    Err: WithRejection + 'static,
{
    type Kept = Req::Kept;

    fn keep(&self, request: &mut Req, limit: usize) -> Option<Req::Kept> {
        request.keep(limit)
    }

    fn again(&self, kept: &mut Req::Kept, _: u32) -> Result<Req, RetryRefused> {
        Req::again(kept)
    }

    fn decide(&self, _: &Req::Kept, result: Result<&Res, &Err>, _: u32) -> Decision {
        let code = match result {
            Ok(response) => Code::of_head(response.status(), response.headers()),
            Err(error) => match cause(error) {
                Cause::Code(code) => code,
                Cause::TimedOut => Code::DeadlineExceeded,
                Cause::Transport => Code::Unavailable,
            },
        };
        if !self.codes.contains(&code) {
            return Decision::Return;
        }
        let pushback = match result {
            Ok(response) => pushback::read(response.headers()),
            Err(error) => errors::pushback(error),
        };
        match pushback {
            None => Decision::Retry,
            Some(Pushback::After(after)) => Decision::RetryAfter(after),
            Some(Pushback::Never) => Decision::Return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Error, Reason, Rejection};
    use std::io;
    use std::time::Duration;

    type Req = http::Request<bytes::Bytes>;
    type Res = http::Response<()>;
    type Err = Error<io::Error>;

    fn decide(policy: &GrpcRetry, headers: &[(&str, &str)]) -> Decision {
        let mut response = http::Response::builder();
        for (name, value) in headers {
            response = response.header(*name, *value);
        }
        let response: Res = response.body(()).unwrap();
        decide_by(policy, Ok(&response))
    }

    fn decide_by(policy: &GrpcRetry, result: Result<&Res, &Err>) -> Decision {
        let mut request = Req::default();
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
        assert_eq!(with("-1"), Decision::Return);
        assert_eq!(with("soon"), Decision::Return);
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
}
