use std::fmt;

use super::bodies::ReplayBody;
use crate::policy::retry::RetryRefused;

/// A request that can be sent again.
///
/// `http::Request` is one if its body is a [`ReplayBody`], and so is `reqwest::Request` (feature `reqwest`). For a
/// [`RetryPolicy`](crate::RetryPolicy) of your own over such requests these are the methods that it passes on to:
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
    message = "`{Self}` cannot be sent again, nor say that it cannot",
    note = "`http::Request<B>` can where `B: mainstay::http::ReplayBody`, `reqwest::Request` with mainstay's feature `reqwest`",
    note = "for a request of another type, use `RetryBuilder::decide_cloning`"
)]
pub trait ReplayRequest: Sized {
    /// What is kept of it while it is sent.
    type Kept;

    /// Keeps what it takes to send it again, and no more than `limit` bytes of a body that streams; `None` where it cannot be sent
    /// again. May put another body in the place of its own, which yields the same.
    fn keep(&mut self, limit: usize) -> Option<Self::Kept>;

    /// The same request again.
    ///
    /// # Errors
    ///
    /// Why it cannot be sent again after all.
    fn again(kept: &mut Self::Kept) -> Result<Self, RetryRefused>;
}

/// What is kept of an [`http::Request`].
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

/// A request with a copy of everything but the body.
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
        // Neither the headers nor the query: they may hold secrets.
        f.debug_struct("KeptRequest")
            .field("method", self.head.method())
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    #[test]
    fn everything_of_a_request_is_sent_again() {
        let mut request = http::Request::builder()
            .method("PUT")
            .uri("https://shop.example/orders?id=1")
            .version(http::Version::HTTP_2)
            .header("a", "1")
            .header("a", "2")
            .body(Bytes::from_static(b"body"))
            .unwrap();
        request.extensions_mut().insert(7_u32);
        let mut kept = request.keep(0).unwrap();
        for _ in 0..3 {
            let again = http::Request::<Bytes>::again(&mut kept).unwrap();
            assert_eq!(again.method(), request.method());
            assert_eq!(again.uri(), request.uri());
            assert_eq!(again.version(), request.version());
            assert_eq!(again.headers(), request.headers());
            assert_eq!(again.extensions().get::<u32>(), Some(&7));
            assert_eq!(again.body(), request.body());
        }
    }
}
