//! The trait for retry policies, and the policies of the core.

use std::fmt;

use crate::call::replay::{Cloned, ClonedBy, Replay as _};
pub use crate::policy::retry::Decision;
use crate::policy::retry::RetryRefused;

/// Decides which calls are retried.
///
/// The error is the *grown* one (see [`WithRejection`](crate::WithRejection)). Two kinds of results
/// never reach a policy: rejections of calls that were not sent, which are never retried, and
/// errors of the inner service's `poll_ready`, which always are.
///
/// Mostly a closure is enough: [`RetryBuilder::retry_if`](crate::RetryBuilder::retry_if) or
/// [`RetryBuilder::decide`](crate::RetryBuilder::decide).
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
    /// The copy of a request, kept while the request is sent.
    type Kept;

    /// Keeps a copy of a request before it is sent. After `None` the request is sent once, and
    /// [`decide`](Self::decide) is not called.
    ///
    /// Keep at most `limit` bytes of a streamed request
    /// ([`RetryBuilder::replay_limit`](crate::RetryBuilder::replay_limit)). The request may be
    /// changed, to record the stream.
    fn keep(&self, request: &mut Req, limit: usize) -> Option<Self::Kept>;

    /// The decision after an attempt. `attempt` is 1 for the first one.
    fn decide(&self, kept: &Self::Kept, result: Result<&Res, &Err>, attempt: u32) -> Decision;

    /// Makes the request for the next attempt. `attempt` is 2 for the first retry.
    ///
    /// Called last, right before the response is dropped and the back-off begins.
    ///
    /// # Errors
    ///
    /// The request cannot be sent again after all. The caller gets the result of the last attempt.
    fn again(&self, kept: &mut Self::Kept, attempt: u32) -> Result<Req, RetryRefused>;

    /// The caller's answer if the inner service failed to become ready with `error`. `rejected` is
    /// the same as a rejection, for protocols that cannot express the error.
    #[doc(hidden)]
    fn unready(&self, error: Err, rejected: Err) -> Err {
        let _ = rejected;
        error
    }
}

/// Retries after every error, for operations that may be repeated.
#[derive(Debug, Clone, Copy, Default)]
pub struct RetryErrors;

// Otherwise the compiler suggests `Clone` for a foreign request instead of the trait's notes.
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

/// A closure as a policy, made by [`RetryBuilder::decide`](crate::RetryBuilder::decide).
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

/// A closure that returns `bool` as a policy, made by
/// [`RetryBuilder::retry_if`](crate::RetryBuilder::retry_if).
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

/// Two closures as a policy, for requests that are not `Clone`, made by
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
    /// Empty once the copy itself was sent, because the closure returned `None`.
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
