use std::fmt;

use super::bodies::ReplayBody;
use crate::policy::retry::RetryRefused;

/// A request that a retry can send again: `http::Request` with a [`ReplayBody`], or
/// `reqwest::Request` (feature `reqwest`).
///
/// A custom [`RetryPolicy`](crate::RetryPolicy) delegates to its methods:
///
/// ```
/// use mainstay::http::ReplayRequest;
/// use mainstay::{Decision, RetryPolicy, RetryRefused};
///
/// struct OnErrors;
///
/// impl<Req: ReplayRequest, Res, Err> RetryPolicy<Req, Res, Err> for OnErrors {
///     type Kept = Req::Kept;
///
///     fn keep(&self, request: &mut Req, limit: usize) -> Option<Req::Kept> { request.keep(limit) }
///
///     fn again(&self, kept: &mut Req::Kept, _: u32) -> Result<Req, RetryRefused> { Req::again(kept) }
///
///     fn decide(&self, _: &Req::Kept, result: Result<&Res, &Err>, _: u32) -> Decision {
///         if result.is_ok() { Decision::Return } else { Decision::Retry }
///     }
/// }
/// ```
#[diagnostic::on_unimplemented(
    message = "mainstay cannot send a request of type `{Self}` again",
    note = "it can send `http::Request<B>` again if `B: mainstay::http::ReplayBody`, and `reqwest::Request` with mainstay's feature `reqwest`",
    note = "for a request of another type, use `RetryBuilder::decide_cloning`"
)]
pub trait ReplayRequest: Sized {
    /// The kept request, from which the next attempt's request is made.
    type Kept;

    /// Keeps the request: at most `limit` bytes of a streaming body. Returns `None` if it cannot be
    /// sent again. It may replace the body by one that yields the same frames.
    fn keep(&mut self, limit: usize) -> Option<Self::Kept>;

    /// Makes the request of the next attempt.
    ///
    /// # Errors
    ///
    /// When the request can no longer be sent again.
    fn again(kept: &mut Self::Kept) -> Result<Self, RetryRefused>;
}

/// The kept form of an [`http::Request`].
pub struct KeptRequest<K> {
    head: http::Request<()>,
    body: K,
}

impl<B: ReplayBody> ReplayRequest for http::Request<B> {
    type Kept = KeptRequest<B::Kept>;

    fn keep(&mut self, limit: usize) -> Option<Self::Kept> {
        let body = self.body_mut().keep(limit)?;
        let head = with_head(self, ());
        Some(KeptRequest { head, body })
    }

    fn again(kept: &mut Self::Kept) -> Result<Self, RetryRefused> {
        let body = B::again(&mut kept.body)?;
        Ok(with_head(&kept.head, body))
    }
}

/// Copies everything but the body.
fn with_head<A, B>(request: &http::Request<A>, body: B) -> http::Request<B> {
    let mut copy = http::Request::new(body);
    copy.method_mut().clone_from(request.method());
    copy.uri_mut().clone_from(request.uri());
    *copy.version_mut() = request.version();
    copy.headers_mut().clone_from(request.headers());
    copy.extensions_mut().clone_from(request.extensions());
    copy
}

impl<K> fmt::Debug for KeptRequest<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the headers and the query, which may hold secrets.
        f.debug_struct("KeptRequest")
            .field("method", self.head.method())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
#[path = "request_tests.rs"]
mod tests;
