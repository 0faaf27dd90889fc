use std::fmt;

use http::StatusCode;

use super::erased::ErasedError;
use super::head::{HttpResponse, ResponseHead};
use super::unprocessed::is_harmless_refusal;
use crate::vocabulary::outcome::{Classify, Outcome, Verdict};

/// How HTTP says how a call went.
///
/// | the result | the outcome |
/// |---|---|
/// | 500 to 599 but for 501 and 505, and what is no status at all (600 to 999) | a failure |
/// | 429 | ignored: it depends on who calls |
/// | any other response, 4xx, 501 and 505 too: the server does what it should | a success |
/// | an error | a failure; ignored where the request itself is at fault (it could not be built, its own body broke off), and where HTTP/2 refused it unseen |
///
/// 503 is overload, and its `Retry-After` (seconds or a date) is the hint that a circuit breaker may stay open for. What a
/// layer further in refused is never shown to a classifier.
///
/// A 504, a 408 or a 499 counts as cancelled where the deadline that was propagated has run out: see
/// [`OnCancel`](crate::OnCancel).
///
/// # Refusals that depend on the request
///
/// One caller's request must not open the circuit for all others. A response that depends on the request or on its caller is
/// therefore never a failure: a request that is too large (413, 431), a method or a version that the server does not know (501,
/// 505), a quota that one tenant has used up (429). A 429 is retried after its `Retry-After` all the same: see
/// [`HttpRetry`](super::HttpRetry).
///
/// The same holds for what the server refused unseen (`REFUSED_STREAM`, `GOAWAY`): a server that restarts, or has no room for one more
/// stream, is healthy. A retry sends it again, and only when the retry
/// [gives up](crate::Decision::RetryTransparently) on a call does a further refusal count as a failure.
///
/// Where a 429 does mean that the upstream is overloaded, say so by a closure. It then also counts as overload for an adaptive
/// limit, and its `Retry-After` keeps the circuit open:
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
/// A failure in the head is final. A success is not: the layers of [`mainstay::http`](crate::http) follow the body, and one that breaks off is a
/// failure. A body that is read to its end, or that the caller drops, was a success. A response that says by its `content-type`
/// that it is gRPC is judged as gRPC: see [`GrpcClassifier`](crate::grpc::GrpcClassifier).
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
            return not_fulfilled(head);
        }
        Outcome::Success.into()
    }
}

#[cold]
fn not_fulfilled(head: &ResponseHead<'_>) -> Verdict {
    match head.status() {
        StatusCode::TOO_MANY_REQUESTS => {
            Verdict::new(Outcome::Ignored).with_retry_after(head.retry_after())
        }
        StatusCode::NOT_IMPLEMENTED | StatusCode::HTTP_VERSION_NOT_SUPPORTED => {
            Outcome::Success.into()
        }
        // Not `is_server_error`: a status that does not exist (600 to 999) is to be taken for a 5xx, says RFC 9110, 15.
        status if status.as_u16() >= 500 => failed(head),
        status => Verdict::new(Outcome::Success).with_deadline_exceeded(ran_out(status)),
    }
}

/// Whether somebody says that the time had run out: a gateway, a server, or a proxy whose client is gone (499, nginx's own).
pub(crate) fn ran_out(status: StatusCode) -> bool {
    matches!(status.as_u16(), 408 | 499 | 504)
}

#[cold]
fn failed(head: &ResponseHead<'_>) -> Verdict {
    Verdict::new(Outcome::Failure)
        .with_overload(overloaded(head.status()))
        .with_deadline_exceeded(ran_out(head.status()))
        .with_retry_after(head.retry_after())
}

/// What the caller did wrong says nothing of what was called, which may never have seen it.
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

fn overloaded(status: StatusCode) -> bool {
    matches!(
        status,
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE
    )
}

/// A closure over the head of a response as a classifier. Made by [`classify`].
#[derive(Clone, Copy)]
pub struct ClassifyHead<F>(F);

/// Judges responses by a closure over their head, which returns an [`Outcome`] or a [`Verdict`]; an error is a failure.
///
/// An [`Outcome`] is completed by what the head says by itself: a failure with a 429 or a 503 is overload and carries its `Retry-After`,
/// and a 504, a 408 or a 499 says that the time had run out.
/// A `Verdict` is taken as it is.
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
/// The same as a [`Classify`] to pass on:
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

/// What a closure over a head may return: an [`Outcome`] or a [`Verdict`].
#[diagnostic::on_unimplemented(
    message = "a `{Self}` does not say how a call went",
    note = "return a `mainstay::Outcome`, or a `mainstay::Verdict` to say more"
)]
pub trait HeadVerdict: sealed::Sealed {
    #[doc(hidden)]
    fn complete(self, head: &ResponseHead<'_>) -> Verdict;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for crate::vocabulary::outcome::Outcome {}
    impl Sealed for crate::vocabulary::outcome::Verdict {}
}

impl HeadVerdict for Outcome {
    fn complete(self, head: &ResponseHead<'_>) -> Verdict {
        match self {
            Self::Failure => failed(head),
            other => Verdict::new(other).with_deadline_exceeded(ran_out(head.status())),
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
mod tests {
    use super::*;
    use std::time::Duration;

    fn response(status: u16) -> http::Response<()> {
        http::Response::builder()
            .status(status)
            .header("retry-after", "3")
            .body(())
            .unwrap()
    }

    fn verdict(status: u16) -> Verdict {
        let response = response(status);
        HttpClassifier.classify(Ok::<_, &()>(&response))
    }

    #[test]
    fn statuses() {
        for status in [100, 200, 204, 301, 400, 404, 413, 431, 498, 501, 505] {
            assert_eq!(verdict(status), Outcome::Success.into(), "{status}");
        }
        for status in [500, 502, 507, 599, 600, 999] {
            assert_eq!(verdict(status), Outcome::Failure.into(), "{status}");
        }
        for (status, outcome) in [
            (408, Outcome::Success),
            (499, Outcome::Success),
            (504, Outcome::Failure),
        ] {
            let expected = Verdict::new(outcome).with_deadline_exceeded(true);
            assert_eq!(verdict(status), expected, "{status}");
        }
        let hint = Some(Duration::from_secs(3));
        let quota = Verdict::new(Outcome::Ignored).with_retry_after(hint);
        assert_eq!(verdict(429), quota);
        let overload = Verdict::new(Outcome::Failure).with_overload(true);
        assert_eq!(verdict(503), overload.with_retry_after(hint));
    }

    #[test]
    fn a_429_is_overload_where_a_closure_calls_it_a_failure() {
        let closure = classify(|head| match head.status().as_u16() {
            429 => Outcome::Failure,
            _ => Outcome::Success,
        });
        let quota = response(429);
        let verdict = closure.classify(Ok::<_, &()>(&quota));
        let expected = Verdict::new(Outcome::Failure)
            .with_overload(true)
            .with_retry_after(Some(Duration::from_secs(3)));
        assert_eq!(verdict, expected);
    }

    #[test]
    fn errors_are_failures() {
        let result: Result<&http::Response<()>, &str> = Err("broken");
        let verdict = HttpClassifier.classify(result.as_ref().map(|ok| *ok));
        assert_eq!(verdict, Outcome::Failure.into());
        let closure = classify(|_| Outcome::Success);
        let verdict = closure.classify(result.as_ref().map(|ok| *ok));
        assert_eq!(verdict, Outcome::Failure.into());
    }

    #[test]
    fn an_outcome_is_completed_and_a_verdict_is_not() {
        let closure = classify(|head| {
            if head.headers().contains_key("retry-after") {
                Outcome::Failure
            } else {
                Outcome::Success
            }
        });
        let busy = response(503);
        let verdict = closure.classify(Ok::<_, &()>(&busy));
        assert!(verdict.is_overload());
        assert_eq!(verdict.retry_after(), Some(Duration::from_secs(3)));

        let closure = classify(|_| Verdict::new(Outcome::Failure));
        let verdict = closure.classify(Ok::<_, &()>(&busy));
        assert_eq!(verdict, Outcome::Failure.into());
    }
}
