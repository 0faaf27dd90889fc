//! Builders of layers for gRPC. Their calls last until the trailers of the response.

use super::classify::GrpcClassifier;
use super::code::Code;
use super::peek::EarlyTrailers;
use super::retry::GrpcRetry;
use crate::layers::bulkhead::{BulkheadBuilder, Rejecting};
use crate::layers::circuit_breaker::CircuitBreakerBuilder;
use crate::layers::load_shed::LoadShedBuilder;
use crate::layers::rate_limit::{self, RateLimitBuilder};
use crate::layers::retry::RetryBuilder;
use crate::protocol::http::EndOfBody;

const TRACKER: EndOfBody<GrpcClassifier> = EndOfBody::new(GrpcClassifier::new());

/// A circuit breaker for gRPC: see [`GrpcClassifier`].
///
/// ```
/// let layer = mainstay::grpc::circuit_breaker().name("users").build()?;
/// # Ok::<_, mainstay::ConfigError>(())
/// ```
pub fn circuit_breaker() -> CircuitBreakerBuilder<EndOfBody<GrpcClassifier>> {
    CircuitBreakerBuilder::tracked_by(TRACKER)
}

/// A load shedder for gRPC. Default limit [`Limit::scheduler_lag`](crate::Limit::scheduler_lag),
/// which reads no response; a limit by latency falls at `UNAVAILABLE` and `DEADLINE_EXCEEDED`.
///
/// ```
/// let layer = mainstay::grpc::load_shed().name("users").build()?;
/// # Ok::<_, mainstay::ConfigError>(())
/// ```
pub fn load_shed() -> LoadShedBuilder<EndOfBody<GrpcClassifier>> {
    LoadShedBuilder::tracked_by(TRACKER)
}

/// A bulkhead for gRPC: a call holds its permit until the trailers, which decide its outcome.
///
/// ```
/// let layer = mainstay::grpc::bulkhead().name("users").limit(64).build()?;
/// # Ok::<_, mainstay::ConfigError>(())
/// ```
pub fn bulkhead() -> BulkheadBuilder<Rejecting, EndOfBody<GrpcClassifier>> {
    BulkheadBuilder::tracked_by(TRACKER)
}

/// A rate limit for gRPC: it records the outcome of each call from its trailers.
///
/// ```
/// let layer = mainstay::grpc::rate_limit().name("users").burst(20).build()?;
/// # Ok::<_, mainstay::ConfigError>(())
/// ```
pub fn rate_limit() -> RateLimitBuilder<rate_limit::Rejecting, EndOfBody<GrpcClassifier>> {
    RateLimitBuilder::tracked_by(TRACKER)
}

/// Retries for gRPC: see [`GrpcRetry`]. The response body becomes [`Peeked`](super::Peeked).
///
/// ```
/// let layer = mainstay::grpc::retry().name("users").build()?;
/// # Ok::<_, mainstay::ConfigError>(())
/// ```
pub fn retry() -> RetryBuilder<GrpcRetry, EarlyTrailers> {
    RetryBuilder::by(GrpcRetry::new(), EarlyTrailers)
}

impl CircuitBreakerBuilder<EndOfBody<GrpcClassifier>> {
    /// Counts exactly these codes as failures. Default: see [`GrpcClassifier`].
    ///
    /// ```
    /// use mainstay::grpc::{self, Code};
    ///
    /// let layer = grpc::circuit_breaker().failures([Code::Unavailable, Code::Internal]).build()?;
    /// # Ok::<_, mainstay::ConfigError>(())
    /// ```
    pub fn failures<C: Into<Code>>(self, codes: impl IntoIterator<Item = C>) -> Self {
        let classifier = GrpcClassifier::new().failures(codes);
        self.tracker(EndOfBody::new(classifier))
    }
}
