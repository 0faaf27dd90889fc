//! What the methods of a standard stack's builder take: a number, or a layer's own builder.

/// What refines a layer of a standard stack: the one number that matters most, with the stack's own settings for the rest; or a
/// builder of the layer, which replaces all of them.
///
/// | layer | the number | the builders |
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
/// A builder without a name gets that of the stack. Over HTTP and gRPC the builder of a load shedder or of a circuit breaker also says how the stack
/// [classifies](super#how-a-stack-classifies). That of a bulkhead does not: those of `http`, of `grpc` and the plain one do the same.
#[diagnostic::on_unimplemented(
    message = "`{Self}` does not refine this layer of a standard stack",
    note = "it takes the number that matters most (a `Duration`, a `Limit`, a count as `u32`) or a builder of the layer, before `build()`: `mainstay::http::bulkhead().limit(64)`, say",
    note = "a builder of `mainstay::grpc::retry()` is for `mainstay::grpc::client`, one of `mainstay::http::retry()` for the other clients; a stack of HTTP or gRPC has no type parameter for a retry policy of your own, nor does its bulkhead classify: for these, put the layers together by hand"
)]
pub trait Refine<L> {
    /// The refined layer; `standard` is what the stack has by itself.
    #[doc(hidden)]
    fn refine(self, standard: L) -> L;
}
