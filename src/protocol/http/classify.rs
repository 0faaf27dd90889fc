use std::fmt;

use http::StatusCode;

use super::erased_error::ErasedError;
use super::head::{HttpResponse, ResponseHead};
use super::unprocessed::is_harmless_refusal;
use crate::vocabulary::outcome::{Classify, Outcome, Verdict};
use crate::vocabulary::sealed::Sealed;

/// The classifier for HTTP.
///
/// | result | outcome |
/// |---|---|
/// | 500 to 599 except 501 and 505, and the invalid statuses 600 to 999 | failure |
/// | 429 | ignored: it depends on the caller |
/// | any other response, including 4xx, 501 and 505 | success |
/// | an error | failure; ignored if the request is at fault (it could not be built, its body failed), or if HTTP/2 refused it unprocessed |
///
/// A 503 is overload, and its `Retry-After` (seconds or a date) sets how long a circuit stays open.
/// A classifier never sees the rejection of an inner layer.
///
/// A 504, a 408 or a 499 counts as cancelled if the propagated deadline has passed: see
/// [`OnCancel`](crate::OnCancel).
///
/// # Refusals that depend on the request
///
/// One caller's request must not open the circuit for all others. A response that depends on the
/// request or its caller is therefore never a failure: a request that is too large (413, 431), an
/// unknown method or version (501, 505), an exceeded quota (429). A 429 is still retried after its
/// `Retry-After`: see [`HttpRetry`](super::HttpRetry).
///
/// The same holds for requests that the server refused unprocessed (`REFUSED_STREAM`, `GOAWAY`): a
/// server that restarts, or is at its limit of streams, is healthy. A retry sends such a request
/// again. Once the retry [gives up](crate::Decision::RetryTransparently), a further refusal is a
/// failure.
///
/// If a 429 means that the upstream is overloaded, classify it as a failure with a closure. It then
/// counts as overload for an adaptive limit, too, and its `Retry-After` keeps the circuit open:
///
/// ```
/// use mainstay::{Outcome, http};
///
/// let layer = http::circuit_breaker()
///     .classify_head(|head| match head.status().as_u16() {
///         429 | 500 | 502..=504 => Outcome::Failure,
///         _ => Outcome::Success,
///     })
///     .build()?;
/// # Ok::<_, mainstay::ConfigError>(())
/// ```
///
/// # The head and the body
///
/// A failure at the head is final. A success is not: the layers of [`mainstay::http`](crate::http)
/// follow the body, and an error of the body is a failure. A body that is read to its end or
/// dropped by the caller is a success. A response with gRPC's `content-type` is classified as gRPC:
/// see [`GrpcClassifier`](crate::grpc::GrpcClassifier).
#[derive(Debug, Clone, Copy, Default)]
pub struct HttpClassifier;

impl<Res: HttpResponse, Err: 'static> Classify<Res, Err> for HttpClassifier {
    #[inline]
    fn classify(&self, result: Result<&Res, &Err>) -> Verdict {
        match result {
            Ok(response) => self.of_head(&ResponseHead::of(response)),
            Err(error) => outcome_of_error(error).into(),
        }
    }
}

impl HttpClassifier {
    #[inline]
    pub(super) fn of_head(self, head: &ResponseHead<'_>) -> Verdict {
        let status = head.status();
        if status.as_u16() >= 400 {
            return classify_error_status(head);
        }
        Outcome::Success.into()
    }
}

#[cold]
fn classify_error_status(head: &ResponseHead<'_>) -> Verdict {
    match head.status() {
        StatusCode::TOO_MANY_REQUESTS => {
            Verdict::new(Outcome::Ignored).with_retry_after(head.retry_after())
        }
        StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED => {
            Outcome::Success.into()
        }
        // Not `is_server_error`: RFC 9110, 15 treats an invalid status (600 to 999) as a 5xx.
        status if status.as_u16() >= 500 => failure(head),
        status => Verdict::new(Outcome::Success).with_deadline_exceeded(is_timeout(status)),
    }
}

/// Whether the status reports a timeout: of a gateway, a server, or nginx after its client left
/// (499).
pub(crate) fn is_timeout(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 499 | 504)
}

#[cold]
fn failure(head: &ResponseHead<'_>) -> Verdict {
    Verdict::new(Outcome::Failure)
        .with_overload(is_overload(head.status()))
        .with_deadline_exceeded(is_timeout(head.status()))
        .with_retry_after(head.retry_after())
}

/// The outcome of an error. A mistake of the caller is no evidence against the upstream.
#[cold]
pub(super) fn outcome_of_error<E: 'static>(error: &E) -> Outcome {
    let any: &dyn std::any::Any = error;
    if let Some(erased) = ErasedError::find(any) {
        return erased.outcome();
    }
    #[cfg(feature = "reqwest")]
    if super::errors::reqwest::is_callers_fault(any) {
        return Outcome::Ignored;
    }
    #[cfg(feature = "hyper")]
    if super::errors::hyper::is_final(any) {
        return Outcome::Ignored;
    }
    let _ = any;
    if is_harmless_refusal(error) {
        return Outcome::Ignored;
    }
    Outcome::Failure
}

fn is_overload(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    )
}

/// A classifier made of a closure over the head of a response. See [`classify`].
#[derive(Clone, Copy)]
pub struct ClassifyHead<F>(F);

/// Makes a classifier of a closure over the head of a response. The closure returns an [`Outcome`]
/// or a [`Verdict`]; an error is a failure.
///
/// The head completes an [`Outcome`]: a failure with a 429 or a 503 is overload and has its
/// `Retry-After`, and a 504, a 408 or a 499 reports a timeout. A `Verdict` stays as it is.
///
/// ```
/// use mainstay::{Outcome, http};
///
/// let layer = http::circuit_breaker()
///     .classify_head(|head| {
///         if head.status().is_server_error() { Outcome::Failure } else { Outcome::Success }
///     })
///     .build()?;
/// # Ok::<_, mainstay::ConfigError>(())
/// ```
///
/// As a [`Classify`] for a builder:
///
/// ```
/// use mainstay::{CircuitBreakerLayer, Outcome, http};
///
/// let classifier = http::classify(|head| match head.status().as_u16() {
///     401 => Outcome::Ignored,
///     500.. => Outcome::Failure,
///     _ => Outcome::Success,
/// });
/// let layer = CircuitBreakerLayer::builder().classifier(classifier).build()?;
/// # Ok::<_, mainstay::ConfigError>(())
/// ```
pub fn classify<F, V>(classify: F) -> ClassifyHead<F>
where
    F: Fn(&ResponseHead<'_>) -> V,
    V: HeadVerdict,
{
    ClassifyHead(classify)
}

/// The return type of a closure over a head: an [`Outcome`] or a [`Verdict`].
///
/// This trait is sealed: only mainstay implements it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the outcome of a call",
    note = "return a `mainstay::Outcome`, or a `mainstay::Verdict` for more detail"
)]
pub trait HeadVerdict: Sealed {
    #[doc(hidden)]
    fn complete(self, head: &ResponseHead<'_>) -> Verdict;
}

impl Sealed for Outcome {}
impl Sealed for Verdict {}

impl HeadVerdict for Outcome {
    fn complete(self, head: &ResponseHead<'_>) -> Verdict {
        match self {
            Self::Failure => failure(head),
            other => Verdict::new(other).with_deadline_exceeded(is_timeout(head.status())),
        }
    }
}

impl HeadVerdict for Verdict {
    fn complete(self, _: &ResponseHead<'_>) -> Verdict {
        self
    }
}

impl<F, V, Res, Err> Classify<Res, Err> for ClassifyHead<F>
where
    F: Fn(&ResponseHead<'_>) -> V,
    V: HeadVerdict,
    Res: HttpResponse,
    Err: 'static,
{
    #[inline]
    fn classify(&self, result: Result<&Res, &Err>) -> Verdict {
        match result {
            Ok(response) => self.of_head(&ResponseHead::of(response)),
            Err(error) => outcome_of_error(error).into(),
        }
    }
}

impl<F> ClassifyHead<F> {
    #[inline]
    fn of_head<V>(&self, head: &ResponseHead<'_>) -> Verdict
    where
        F: Fn(&ResponseHead<'_>) -> V,
        V: HeadVerdict,
    {
        (self.0)(head).complete(head)
    }
}

impl<F> fmt::Debug for ClassifyHead<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ClassifyHead(..)")
    }
}

#[cfg(test)]
#[path = "classify_tests.rs"]
mod tests;
