//! Keeping a request while it is sent, to send it again.
//!
//! For every layer that calls its inner service more than once for a request, or calls another one
//! for it: retry now. How a request is kept depends on its type: see [`Cloned`], [`ClonedBy`] and,
//! for requests with bodies that stream, `http::ReplayRequest`.

use crate::policy::retry::RetryRefused;

/// A way to keep requests of a type.
pub(crate) trait Replay<Req> {
    /// What is kept of a request.
    type Kept;

    /// Keeps a request before it is sent; `None` where it cannot be sent again. No more than `limit`
    /// bytes of one that streams may be kept. The request may be changed to one that is equal.
    fn keep(&self, request: &mut Req, limit: usize) -> Option<Self::Kept>;

    /// The same request again.
    ///
    /// # Errors
    ///
    /// The reason why it cannot be sent again after all.
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

/// Keeps a copy that a closure makes, for requests that are not `Clone`, or not always.
#[derive(Clone, Copy)]
pub(crate) struct ClonedBy<C>(pub(crate) C);

impl<Req, C> Replay<Req> for ClonedBy<C>
where
    C: Fn(&Req) -> Option<Req>,
{
    /// Empty when the copy itself had to be sent, because it gave no other one.
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
mod tests {
    use super::*;

    #[test]
    fn a_clone_is_sent_as_often_as_it_is_asked_for() {
        let mut kept = Cloned.keep(&mut "request", 0).unwrap();
        assert_eq!(Cloned.again(&mut kept), Ok("request"));
        assert_eq!(Cloned.again(&mut kept), Ok("request"));
    }

    #[test]
    fn a_copy_that_gives_no_other_is_sent_itself_once() {
        let replay = ClonedBy(|left: &u32| left.checked_sub(1));
        assert_eq!(replay.keep(&mut 0, 0), None);
        let mut kept = replay.keep(&mut 2, 0).unwrap();
        assert_eq!(replay.again(&mut kept), Ok(0));
        let mut last = replay.keep(&mut 1, 0).unwrap();
        assert_eq!(replay.again(&mut last), Ok(0));
        assert_eq!(replay.again(&mut last), Err(RetryRefused::Body));
    }
}
