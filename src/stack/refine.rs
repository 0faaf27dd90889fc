//! The arguments of a stack builder's setters.

use crate::vocabulary::sealed::Sealed;

/// The argument of a standard stack's setter: the most important number of the layer, or a builder
/// of the layer.
///
/// A setting that the builder does not set keeps the default of the stack, which can differ from
/// that of the layer alone: see the docs of the stack's setter.
///
/// | layer | number | builders |
/// |---|---|---|
#[cfg_attr(
    feature = "http",
    doc = "| timeout | a `Duration` | [`TimeoutLayer::builder()`](crate::TimeoutLayer::builder), over HTTP and gRPC [`http::timeout()`](crate::http::timeout()) |
| load shed | a [`Limit`](crate::Limit) | [`LoadShedLayer::builder()`](crate::LoadShedLayer::builder), [`http::load_shed()`](crate::http::load_shed), [`grpc::load_shed()`](crate::grpc::load_shed) |
| bulkhead | calls in flight, a `u32` | [`BulkheadLayer::builder()`](crate::BulkheadLayer::builder), [`http::bulkhead()`](crate::http::bulkhead), [`grpc::bulkhead()`](crate::grpc::bulkhead), with a queue or without |
| rate limit | calls per second, a `u32` | [`RateLimitLayer::builder()`](crate::RateLimitLayer::builder), [`http::rate_limit()`](crate::http::rate_limit), [`grpc::rate_limit()`](crate::grpc::rate_limit), with a wait or without |
| retry | attempts in all, a `u32`; or a policy, [`HttpRetry`](crate::http::HttpRetry) or [`GrpcRetry`](crate::grpc::GrpcRetry) | [`http::retry()`](crate::http::retry), [`grpc::retry()`](crate::grpc::retry) |
| circuit breaker | | [`CircuitBreakerLayer::builder()`](crate::CircuitBreakerLayer::builder), [`http::circuit_breaker()`](crate::http::circuit_breaker), [`grpc::circuit_breaker()`](crate::grpc::circuit_breaker) |"
)]
#[cfg_attr(
    not(feature = "http"),
    doc = "| timeout | a `Duration` | [`TimeoutLayer::builder()`](crate::TimeoutLayer::builder) |
| load shed | a [`Limit`](crate::Limit) | [`LoadShedLayer::builder()`](crate::LoadShedLayer::builder) |
| bulkhead | calls in flight, a `u32` | [`BulkheadLayer::builder()`](crate::BulkheadLayer::builder), with a queue or without |
| rate limit | calls per second, a `u32` | [`RateLimitLayer::builder()`](crate::RateLimitLayer::builder), with a wait or without |"
)]
///
/// A builder without a name gets the name of the stack. Over HTTP and gRPC the builder of a load
/// shedder or a circuit breaker also sets how the stack [classifies](super#how-a-stack-classifies).
/// The builder of a bulkhead does not.
///
/// This trait is sealed: only mainstay implements it.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not refine this layer of a standard stack",
    note = "the setter accepts the most important number (a `Duration`, a `Limit`, a count as `u32`) or a builder of the layer, before `build()`: `mainstay::http::bulkhead().limit(64)`, say",
    note = "a builder of `mainstay::grpc::retry()` is for `mainstay::grpc::client`, one of `mainstay::http::retry()` for the other clients; a stack of HTTP or gRPC accepts neither a custom retry policy nor a bulkhead with a classifier: for these, combine the layers yourself"
)]
pub trait Refine<L>: Sealed {
    /// The new settings; `standard` are the stack's.
    #[doc(hidden)]
    fn refine(self, standard: L) -> L;
}
