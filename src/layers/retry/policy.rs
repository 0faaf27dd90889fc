use std::fmt;

use crate::call::replay::{Cloned, ClonedBy, Replay as _};
pub use crate::policy::retry::Decision;
use crate::policy::retry::RetryRefused;

/// Decides what is tried again.
///
/// The error is the *grown* one (see [`WithRejection`](crate::WithRejection)). Results that are a rejection of a call that was never sent are not
/// shown: they are never retried. Nor is an error of the inner service's readiness: it is always retried.
///
/// Closures do for most: [`RetryBuilder::retry_if`](crate::RetryBuilder::retry_if) and [`RetryBuilder::decide`](crate::RetryBuilder::decide).
///
/// ```
/// use mainstay::{Decision, RetryLayer, RetryPolicy, RetryRefused};
///
/// struct Reads;
///
/// impl<Res, Err> RetryPolicy<String, Res, Err> for Reads {
///     type Kept = String;
///
///     fn keep(&self, query: &mut String, _: usize) -> Option<String> {
///         query.starts_with("SELECT").then(|| query.clone())
///     }
///
///     fn decide(&self, _: &String, result: Result<&Res, &Err>, _: u32) -> Decision {
///         if result.is_ok() { Decision::Return } else { Decision::Retry }
///     }
///
///     fn again(&self, query: &mut String, _: u32) -> Result<String, RetryRefused> { Ok(query.clone()) }
/// }
///
/// let layer = RetryLayer::builder().policy(Reads).build()?;
/// # Ok::<_, mainstay::ConfigError>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot retry a request of type `{Req}`",
    label = "this retry cannot send such a request again",
    note = "for HTTP begin with `mainstay::http::retry()`, for gRPC with `mainstay::grpc::retry()` (feature `http`): they also send again what is not `Clone`",
    note = "`RetryLayer::new()` is for requests that are `Clone`; for others, use `RetryBuilder::decide_cloning`"
)]
pub trait RetryPolicy<Req, Res, Err> {
    /// What is kept of a request while it is sent: a copy of it, mostly.
    type Kept;

    /// Keeps what it takes to send the request again, before it is sent; `None` where that cannot or must not be. It is then sent once, and
    /// the policy is not asked. Of a request that streams, no more than `limit` bytes may be kept
    /// ([`RetryBuilder::replay_limit`](crate::RetryBuilder::replay_limit)); to learn what streams by, the request may be changed.
    fn keep(&self, request: &mut Req, limit: usize) -> Option<Self::Kept>;

    /// What to do after an attempt: 1 is the first one.
    fn decide(&self, kept: &Self::Kept, result: Result<&Res, &Err>, attempt: u32) -> Decision;

    /// The request for the next attempt, `attempt`: 2 for the first retry. Asked for when everything else has been decided, before the response is given up
    /// and the back-off begins.
    ///
    /// # Errors
    ///
    /// Why the request cannot be sent again after all. The caller gets the result of the last attempt.
    fn again(&self, kept: &mut Self::Kept, attempt: u32) -> Result<Req, RetryRefused>;

    /// The caller's answer where the inner service was not ready with this error. `rejected` says the same as a rejection, for
    /// protocols in which the error would not be understood.
    #[doc(hidden)]
    fn unready(&self, error: Err, rejected: Err) -> Err {
        let _ = rejected;
        error
    }
}

/// Retries every error: for operations that may be repeated.
#[derive(Debug, Clone, Copy, Default)]
pub struct RetryErrors;

// Or else the compiler would ask for the `Clone` of a request that is somebody else's, and not show what the trait says.
#[diagnostic::do_not_recommend]
impl<Req: Clone, Res, Err> RetryPolicy<Req, Res, Err> for RetryErrors {
    type Kept = Req;

    #[inline]
    fn keep(&self, request: &mut Req, limit: usize) -> Option<Req> {
        Cloned.keep(request, limit)
    }

    fn again(&self, kept: &mut Req, _: u32) -> Result<Req, RetryRefused> {
        Cloned.again(kept)
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
    type Kept = Req;

    #[inline]
    fn keep(&self, request: &mut Req, limit: usize) -> Option<Req> {
        Cloned.keep(request, limit)
    }

    fn again(&self, kept: &mut Req, _: u32) -> Result<Req, RetryRefused> {
        Cloned.again(kept)
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
    type Kept = Req;

    #[inline]
    fn keep(&self, request: &mut Req, limit: usize) -> Option<Req> {
        Cloned.keep(request, limit)
    }

    fn again(&self, kept: &mut Req, _: u32) -> Result<Req, RetryRefused> {
        Cloned.again(kept)
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
    /// Empty when the copy itself was sent, because the closure gave no other one.
    type Kept = Option<Req>;

    fn keep(&self, request: &mut Req, limit: usize) -> Option<Self::Kept> {
        ClonedBy(&self.clone).keep(request, limit)
    }

    fn decide(&self, kept: &Option<Req>, result: Result<&Res, &Err>, attempt: u32) -> Decision {
        match kept {
            Some(request) => (self.decide)(request, result, attempt),
            None => Decision::Return,
        }
    }

    fn again(&self, kept: &mut Option<Req>, _: u32) -> Result<Req, RetryRefused> {
        ClonedBy(&self.clone).again(kept)
    }
}

impl<C, F> fmt::Debug for CloneWith<C, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CloneWith(..)")
    }
}
