use std::fmt;
use std::time::Duration;

/// What to do after an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Decision {
    /// Give the caller this result.
    Return,
    /// Try again, after the back-off.
    Retry,
    /// Try again after so long: the server said when. What it asks is met exactly, or, if it is longer than the layer's
    /// [`max_retry_after`](crate::RetryBuilder::max_retry_after) or than what is left, the caller gets this result.
    RetryAfter(Duration),
}

/// Decides what is tried again.
///
/// The error is the *grown* one (see [`WithRejection`](crate::WithRejection)). Results that are a rejection of a call that was never sent are not
/// shown: they are never retried.
///
/// Closures do for most: [`RetryBuilder::retry_if`](crate::RetryBuilder::retry_if) and [`RetryBuilder::decide`](crate::RetryBuilder::decide).
pub trait RetryPolicy<Req, Res, Err> {
    /// A copy of the request to send again, made before it is sent; `None` where it cannot be copied or must not be sent twice. It is
    /// then sent once.
    fn clone_request(&self, request: &Req) -> Option<Req>;

    /// What to do after an attempt: 1 is the first one.
    fn decide(&self, request: &Req, result: Result<&Res, &Err>, attempt: u32) -> Decision;
}

/// Retries every error: for operations that may be repeated.
#[derive(Debug, Clone, Copy, Default)]
pub struct RetryErrors;

impl<Req: Clone, Res, Err> RetryPolicy<Req, Res, Err> for RetryErrors {
    #[inline]
    fn clone_request(&self, request: &Req) -> Option<Req> {
        Some(request.clone())
    }

    fn decide(&self, _: &Req, result: Result<&Res, &Err>, _: u32) -> Decision {
        match result {
            Ok(_) => Decision::Return,
            Err(_) => Decision::Retry,
        }
    }
}

/// A closure as a policy. Made by [`RetryBuilder::decide`](crate::RetryBuilder::decide).
#[derive(Clone, Copy)]
pub struct RetryFn<F>(pub(super) F);

impl<Req, Res, Err, F> RetryPolicy<Req, Res, Err> for RetryFn<F>
where
    Req: Clone,
    F: Fn(&Req, Result<&Res, &Err>, u32) -> Decision,
{
    #[inline]
    fn clone_request(&self, request: &Req) -> Option<Req> {
        Some(request.clone())
    }

    fn decide(&self, request: &Req, result: Result<&Res, &Err>, attempt: u32) -> Decision {
        (self.0)(request, result, attempt)
    }
}

impl<F> fmt::Debug for RetryFn<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RetryFn(..)")
    }
}

/// A yes or no of a closure as a policy. Made by [`RetryBuilder::retry_if`](crate::RetryBuilder::retry_if).
#[derive(Clone, Copy)]
pub struct RetryIf<F>(pub(super) F);

impl<Req, Res, Err, F> RetryPolicy<Req, Res, Err> for RetryIf<F>
where
    Req: Clone,
    F: Fn(&Req, Result<&Res, &Err>) -> bool,
{
    #[inline]
    fn clone_request(&self, request: &Req) -> Option<Req> {
        Some(request.clone())
    }

    fn decide(&self, request: &Req, result: Result<&Res, &Err>, _: u32) -> Decision {
        if (self.0)(request, result) {
            Decision::Retry
        } else {
            Decision::Return
        }
    }
}

impl<F> fmt::Debug for RetryIf<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RetryIf(..)")
    }
}

/// Two closures as a policy, for requests that are not `Clone`. Made by
/// [`RetryBuilder::decide_cloning`](crate::RetryBuilder::decide_cloning).
#[derive(Clone, Copy)]
pub struct CloneWith<C, F> {
    pub(super) clone: C,
    pub(super) decide: F,
}

impl<Req, Res, Err, C, F> RetryPolicy<Req, Res, Err> for CloneWith<C, F>
where
    C: Fn(&Req) -> Option<Req>,
    F: Fn(&Req, Result<&Res, &Err>, u32) -> Decision,
{
    fn clone_request(&self, request: &Req) -> Option<Req> {
        (self.clone)(request)
    }

    fn decide(&self, request: &Req, result: Result<&Res, &Err>, attempt: u32) -> Decision {
        (self.decide)(request, result, attempt)
    }
}

impl<C, F> fmt::Debug for CloneWith<C, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CloneWith(..)")
    }
}
