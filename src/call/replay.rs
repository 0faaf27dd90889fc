//! Keeps a copy of a request, to send it again.
//!
//! For layers that send a request more than once, such as retry. The way depends on the type of the
//! request: see [`Cloned`], [`ClonedBy`] and, for bodies that stream, `http::ReplayRequest`.

use crate::policy::retry::RetryRefused;

/// A way to keep requests of a type.
pub(crate) trait Replay<Req> {
    /// The copy of a request.
    type Kept;

    /// Keeps a request before it is sent; `None` if it cannot be sent again. Keeps at most `limit`
    /// bytes of a stream. May replace the request by an equal one.
    fn keep(&self, request: &mut Req, limit: usize) -> Option<Self::Kept>;

    /// Makes the request again.
    ///
    /// # Errors
    ///
    /// Why it cannot be sent again after all.
    fn again(&self, kept: &mut Self::Kept) -> Result<Req, RetryRefused>;
}

/// Keeps a clone.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cloned;

impl<Req: Clone> Replay<Req> for Cloned {
    type Kept = Req;

    #[inline]
    fn keep(&self, request: &mut Req, _: usize) -> Option<Req> {
        Some(request.clone())
    }

    fn again(&self, kept: &mut Req) -> Result<Req, RetryRefused> {
        Ok(kept.clone())
    }
}

/// Keeps a copy made by a closure, for requests that cannot always be cloned.
#[derive(Clone, Copy)]
pub(crate) struct ClonedBy<C>(pub(crate) C);

impl<Req, C> Replay<Req> for ClonedBy<C>
where
    C: Fn(&Req) -> Option<Req>,
{
    /// Empty once the copy itself was sent, because it could not be copied.
    type Kept = Option<Req>;

    #[inline]
    fn keep(&self, request: &mut Req, _: usize) -> Option<Self::Kept> {
        (self.0)(request).map(Some)
    }

    fn again(&self, kept: &mut Self::Kept) -> Result<Req, RetryRefused> {
        let again = kept.as_ref().and_then(&self.0);
        again.or_else(|| kept.take()).ok_or(RetryRefused::Body)
    }
}

#[cfg(test)]
mod tests;
