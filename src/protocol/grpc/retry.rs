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
use crate::vocabulary::overrides::CallSettings;
use crate::vocabulary::{config::ConfigError, error::WithRejection, reason::Reason};

static PREVIOUS_ATTEMPTS: HeaderName = HeaderName::from_static("grpc-previous-rpc-attempts");

/// The retry policy for gRPC (proposal A6).
///
/// By default a call is retried after `UNAVAILABLE`, which servers use for calls that they have not
/// begun, and after `RESOURCE_EXHAUSTED` with a hint. Only you know which methods may be repeated,
/// so further codes are up to you: for all methods ([`also_code`](Self::also_code)), or for some
/// ([`codes_for`](Self::codes_for)).
///
/// The code is that of the response head, of the error, or of trailers that arrive right after the
/// head. After the first message, a call is never retried.
///
/// # Transport errors
///
/// A broken connection is `UNAVAILABLE`, even if tonic reports another code. A stream that the
/// server resets with `CANCEL` is `CANCELLED`. A call that certainly did not begin is retried
/// whatever the codes are:
///
/// - Without a connection, it is a plain retry.
/// - If its connection closed before it was sent, the retry
///   [costs the budget nothing](Decision::RetryUnsent).
/// - If the server refused it without processing it (`REFUSED_STREAM`, `GOAWAY`), it is a
///   [transparent retry](Decision::RetryTransparently), which costs the budget nothing and is no
///   attempt. gRPC permits one and then counts attempts. Here up to 30 are made, with waits of at
///   most a second.
///
/// # Hints of the server
///
/// `grpc-retry-pushback-ms` is the exact wait, and the back-off restarts after it. A negative or
/// invalid value forbids the retry. The `Retry-After` of a proxy's response without a code is an
/// exact wait, too, unless it is zero. `RESOURCE_EXHAUSTED` is retried only with a hint, and not at
/// all if [`codes`](Self::codes) or a rule for the method sets other codes.
///
/// A retry sends the number of previous attempts in `grpc-previous-rpc-attempts`, unless the
/// request's header map is full.
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
/// If the inner service is not ready for the last attempt, a stub gets `UNAVAILABLE`, unless the
/// readiness error has a code of its own. A `tonic::Status` or a `BoxError` becomes a status with
/// the error as its source. Any other error type cannot hold a status, and is replaced by a
/// rejection with [`Reason::NotReady`](crate::Reason::NotReady).
///
/// A stub's request body is a stream, even for a unary call. It is recorded while it is sent, up to
/// [`replay_limit`](crate::RetryBuilder::replay_limit), and bidirectional streams are not delayed.
/// A call that has sent more is not retried: see [`ReplayBody`](crate::http::ReplayBody).
#[derive(Debug, Clone)]
pub struct GrpcRetry {
    codes: Vec<Code>,
    /// Whether `RESOURCE_EXHAUSTED` is retried with a hint.
    by_hint: bool,
    /// The codes for a name; `None` for no retries.
    rules: Rules<Option<Vec<Code>>>,
}

impl GrpcRetry {
    /// Retries after `UNAVAILABLE`, and after `RESOURCE_EXHAUSTED` with a hint.
    #[must_use]
    pub fn new() -> Self {
        Self {
            codes: vec![Code::Unavailable],
            by_hint: true,
            rules: Rules::default(),
        }
    }

    /// Retries after exactly these codes. Default `UNAVAILABLE`, and `RESOURCE_EXHAUSTED` with a
    /// hint. Also accepts `tonic::Code`s.
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

    /// Retries the calls of a service (`shop.Orders`) or of one method (`shop.Orders/Create`) after
    /// exactly these codes. A rule for a method takes precedence over one for its service, and a
    /// later rule replaces an earlier one for the same name.
    ///
    /// # Errors
    ///
    /// If the name is not that of a service or method.
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

    /// Never retries the calls of a service (`shop.Orders`) or of one method
    /// (`shop.Orders/Create`).
    ///
    /// # Errors
    ///
    /// If the name is not that of a service or method.
    pub fn never(mut self, name: impl AsRef<str>) -> Result<Self, ConfigError> {
        self.rules.set((LAYER, "never"), name.as_ref(), None)?;
        Ok(self)
    }
}

impl GrpcRetry {
    fn codes_of(&self, rule: Option<usize>) -> &[Code] {
        let of_rule = rule.and_then(|rule| self.rules.get(rule)?.as_ref());
        of_rule.unwrap_or(&self.codes)
    }

    /// Whether this code is retried only with a hint.
    fn needs_hint(&self, rule: Option<usize>, code: Code) -> bool {
        code == Code::ResourceExhausted && self.by_hint && rule.is_none()
    }
}

impl Default for GrpcRetry {
    fn default() -> Self {
        Self::new()
    }
}

/// The kept request and its rule.
#[derive(Debug)]
pub struct KeptFor<K> {
    request: K,
    rule: Option<usize>,
    is_idempotent: bool,
}

impl<Req, Res, Err> RetryPolicy<Req, Res, Err> for GrpcRetry
where
    Req: HttpRequest + ReplayRequest,
    Res: GrpcResponse,
    Err: WithRejection + 'static,
{
    #[doc(hidden)]
    type Kept = KeptFor<Req::Kept>;

    fn keep(&self, request: &mut Req, limit: usize) -> Option<Self::Kept> {
        let overrides = CallSettings::of(request.overrides());
        if overrides.never_retries() {
            return None;
        }
        let is_idempotent = overrides.is_idempotent();
        let mut rule = self.rules.find(request.path());
        if rule.is_some_and(|rule| self.rules.get(rule) == Some(&None)) {
            if !is_idempotent {
                return None;
            }
            rule = None;
        }
        let request = request.keep(limit)?;
        Some(KeptFor {
            request,
            rule,
            is_idempotent,
        })
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
                None if kept.is_idempotent && was_lost(error) => return Decision::Retry,
                None => code_of(error),
            },
        };
        // A server that ends a call at its limit answers with one of these.
        let is_lost = matches!(code, Code::DeadlineExceeded | Code::Cancelled);
        let listed = codes.contains(&code) || (kept.is_idempotent && is_lost);
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
        // A transparent retry keeps the attempt number.
        let previous = attempt.saturating_sub(1);
        if previous > 0 {
            let previous = HeaderValue::from(previous);
            header::set(request.headers_mut(), &PREVIOUS_ATTEMPTS, previous);
        }
        Ok(request)
    }
}

/// Whether the answer of an attempt never arrived.
fn was_lost<E: WithRejection + 'static>(error: &E) -> bool {
    match error.rejection() {
        Some(rejection) => rejection.reason() == Reason::TimedOut,
        None => !matches!(cause(error), Cause::Code(_)),
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
#[path = "retry_tests.rs"]
mod tests;
