//! What the methods of a standard stack's builder take: a number, or a layer's own builder.

use std::time::Duration;

use super::protocol::{Grpc, Http, Protocol};
use crate::AtResponse;
use crate::bulkhead::{BulkheadBuilder, Queued, Rejecting};
use crate::circuit_breaker::CircuitBreakerBuilder;
use crate::grpc::{EarlyTrailers, GrpcClassifier, GrpcRetry};
use crate::http::{BodyLimits, EndOfBody, HttpClassifier, HttpLimit, HttpRetry};
use crate::load_shed::LoadShedBuilder;
use crate::retry::{AsItComes, RetryBuilder};
use crate::timeout::{Fixed, TimeoutBuilder};

/// The builder of a stack's time limit.
pub(super) type StackTimeout = TimeoutBuilder<HttpLimit<String>, BodyLimits>;
/// The builder of a stack's bulkhead. Like the next two it says nothing of responses: a stack judges them in one way, whatever the layer.
pub(super) type StackBulkhead = BulkheadBuilder<Queued, ()>;
/// The builder of a stack's load shedder.
pub(super) type StackLoadShed = LoadShedBuilder<()>;
/// The builder of a stack's circuit breaker.
pub(super) type StackBreaker = CircuitBreakerBuilder<()>;
/// The builder of a stack's retry.
pub(super) type StackRetry<P> = RetryBuilder<<P as Protocol>::Policy, <P as Protocol>::Receive>;

/// What refines a layer of a standard stack: the one number that matters most, with the stack's own settings for the rest; or a
/// builder of the layer, which replaces all of them.
///
/// | layer | the number | the builders |
/// |---|---|---|
/// | timeout | a `Duration` | [`http::timeout()`](crate::http::timeout()), [`TimeoutLayer::builder()`](crate::TimeoutLayer::builder) |
/// | load shed | a [`Limit`](crate::Limit) | [`http::load_shed()`](crate::http::load_shed), [`grpc::load_shed()`](crate::grpc::load_shed), [`LoadShedLayer::builder()`](crate::LoadShedLayer::builder) |
/// | bulkhead | calls in flight, a `u32` | [`http::bulkhead()`](crate::http::bulkhead), [`grpc::bulkhead()`](crate::grpc::bulkhead), [`BulkheadLayer::builder()`](crate::BulkheadLayer::builder), with a queue or without |
/// | retry | attempts in all, a `u32`; or a policy, [`HttpRetry`] or [`GrpcRetry`] | [`http::retry()`](crate::http::retry), [`grpc::retry()`](crate::grpc::retry) |
/// | circuit breaker | | [`http::circuit_breaker()`](crate::http::circuit_breaker), [`grpc::circuit_breaker()`](crate::grpc::circuit_breaker), [`CircuitBreakerLayer::builder()`](crate::CircuitBreakerLayer::builder) |
///
/// A builder without a name gets that of the stack. Load shedder and circuit breaker are refined by what is [`RefineJudging`](super::RefineJudging): what their
/// builder judges responses by, the stack judges by. How a bulkhead judges is therefore nobody's choice: those of `http`, of `grpc` and the plain one do the same.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not refine this layer of a standard stack",
    note = "it takes the number that matters most (a `Duration`, a `Limit`, a count as `u32`) or a builder of the layer, before `build()`: `mainstay::http::bulkhead().limit(64)`, say",
    note = "a builder of `mainstay::grpc::retry()` is for `mainstay::grpc::client`, one of `mainstay::http::retry()` for the other clients; a stack has no type parameter for a retry policy of your own, nor one for how a bulkhead judges: for these, put the layers together by hand"
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
        default.policy.own = Some(self.policy.0.length);
        default.policy.source = self.policy.0.source;
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

macro_rules! bulkheads {
    ($($tracker:ty;)*) => {$(
        impl Refine<StackBulkhead> for BulkheadBuilder<Rejecting, $tracker> {
            fn refine(self, _: StackBulkhead) -> StackBulkhead {
                self.maybe_queued().retracked(drop)
            }
        }

        impl Refine<StackBulkhead> for BulkheadBuilder<Queued, $tracker> {
            fn refine(self, _: StackBulkhead) -> StackBulkhead {
                self.retracked(drop)
            }
        }
    )*};
}

// Those that the builders begin with, and no others: the stack judges in their place.
bulkheads! {
    AtResponse;
    EndOfBody<HttpClassifier>;
    EndOfBody<GrpcClassifier>;
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
