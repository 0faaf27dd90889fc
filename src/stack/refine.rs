//! What the methods of a standard stack's builder take: a number, or a layer's own builder.

use std::time::Duration;

use super::judge::{Judgement, Tracker};
use super::protocol::{Grpc, Http, Protocol};
use crate::Limit;
use crate::bulkhead::{BulkheadBuilder, Queued, Rejecting};
use crate::circuit_breaker::CircuitBreakerBuilder;
use crate::grpc::{EarlyTrailers, GrpcRetry};
use crate::http::{BodyLimits, HttpLimit, HttpRetry};
use crate::load_shed::LoadShedBuilder;
use crate::retry::{AsItComes, RetryBuilder};
use crate::timeout::{Fixed, TimeoutBuilder};

/// The builder of a stack's time limit.
pub(super) type StackTimeout = TimeoutBuilder<HttpLimit<String>, BodyLimits>;
/// The builder of a stack's bulkhead.
pub(super) type StackBulkhead = BulkheadBuilder<Queued, Tracker>;
/// The builder of a stack's load shedder.
pub(super) type StackLoadShed = LoadShedBuilder<Tracker>;
/// The builder of a stack's circuit breaker.
pub(super) type StackBreaker = CircuitBreakerBuilder<Tracker>;
/// The builder of a stack's retry.
pub(super) type StackRetry<P> = RetryBuilder<<P as Protocol>::Policy, <P as Protocol>::Receive>;

/// What refines a layer of a standard stack: the one number that matters most, with the stack's own settings for the rest; or a
/// builder of the layer, which replaces all of them.
///
/// | layer | the number | the builders |
/// |---|---|---|
/// | timeout | a `Duration` | [`http::timeout()`](crate::http::timeout()), [`TimeoutLayer::builder()`](crate::TimeoutLayer::builder) |
/// | load shed | a [`Limit`] | [`http::load_shed()`](crate::http::load_shed), [`grpc::load_shed()`](crate::grpc::load_shed), [`LoadShedLayer::builder()`](crate::LoadShedLayer::builder) |
/// | bulkhead | calls in flight, a `u32` | [`http::bulkhead()`](crate::http::bulkhead), [`grpc::bulkhead()`](crate::grpc::bulkhead), [`BulkheadLayer::builder()`](crate::BulkheadLayer::builder), with a queue or without |
/// | retry | attempts in all, a `u32`; or a policy, [`HttpRetry`] or [`GrpcRetry`] | [`http::retry()`](crate::http::retry), [`grpc::retry()`](crate::grpc::retry) |
/// | circuit breaker | | [`http::circuit_breaker()`](crate::http::circuit_breaker), [`grpc::circuit_breaker()`](crate::grpc::circuit_breaker), [`CircuitBreakerLayer::builder()`](crate::CircuitBreakerLayer::builder) |
///
/// A builder without a name gets that of the stack.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not refine this layer of a standard stack",
    note = "it takes the number that matters most (a `Duration`, a `Limit`, a count as `u32`) or a builder of the layer, before `build()`: `mainstay::http::bulkhead().limit(64)`, say",
    note = "a builder of `mainstay::grpc::retry()` is for `mainstay::grpc::client`, one of `mainstay::http::retry()` for the other clients; a stack has no type parameter for a policy or a tracker of your own: for one, put the layers together by hand"
)]
pub trait Refine<L> {
    /// The refined layer; `default` is what the stack has by itself.
    #[doc(hidden)]
    fn refine(self, default: L) -> L;
}

impl Refine<Self> for StackTimeout {
    fn refine(self, _: Self) -> Self {
        self
    }
}

impl Refine<StackTimeout> for TimeoutBuilder<Fixed> {
    fn refine(self, mut default: StackTimeout) -> StackTimeout {
        default.policy.own = Some(self.policy.0);
        default.name = self.name;
        default.observer = self.observer;
        default
    }
}

impl Refine<StackTimeout> for Duration {
    fn refine(self, default: StackTimeout) -> StackTimeout {
        default.timeout(self)
    }
}

impl Refine<StackBulkhead> for u32 {
    fn refine(self, default: StackBulkhead) -> StackBulkhead {
        default.limit(self)
    }
}

impl<T: Judgement> Refine<StackBulkhead> for BulkheadBuilder<Rejecting, T> {
    fn refine(self, default: StackBulkhead) -> StackBulkhead {
        self.maybe_queued()
            .retracked(|tracker| tracker.judge(default.tracker))
    }
}

impl<T: Judgement> Refine<StackBulkhead> for BulkheadBuilder<Queued, T> {
    fn refine(self, default: StackBulkhead) -> StackBulkhead {
        self.retracked(|tracker| tracker.judge(default.tracker))
    }
}

impl Refine<StackLoadShed> for Limit {
    fn refine(self, default: StackLoadShed) -> StackLoadShed {
        default.limit(self)
    }
}

impl<T: Judgement> Refine<StackLoadShed> for LoadShedBuilder<T> {
    fn refine(self, default: StackLoadShed) -> StackLoadShed {
        self.retracked(|tracker| tracker.judge(default.tracker))
    }
}

impl<T: Judgement> Refine<StackBreaker> for CircuitBreakerBuilder<T> {
    fn refine(self, default: StackBreaker) -> StackBreaker {
        self.retracked(|tracker| tracker.judge(default.tracker))
    }
}

impl Refine<Self> for StackRetry<Http> {
    fn refine(self, _: Self) -> Self {
        self
    }
}

impl Refine<Self> for StackRetry<Grpc> {
    fn refine(self, _: Self) -> Self {
        self
    }
}

impl<P, R> Refine<RetryBuilder<P, R>> for u32 {
    fn refine(self, default: RetryBuilder<P, R>) -> RetryBuilder<P, R> {
        default.attempts(self)
    }
}

impl Refine<RetryBuilder<Self, AsItComes>> for HttpRetry {
    fn refine(self, default: RetryBuilder<Self, AsItComes>) -> RetryBuilder<Self, AsItComes> {
        default.policy(self)
    }
}

impl Refine<RetryBuilder<Self, EarlyTrailers>> for GrpcRetry {
    fn refine(
        self,
        default: RetryBuilder<Self, EarlyTrailers>,
    ) -> RetryBuilder<Self, EarlyTrailers> {
        default.policy(self)
    }
}
