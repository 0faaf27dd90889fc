//! Where layers for gRPC begin. A later release may follow a response to its trailers behind the same names.

use super::classify::GrpcClassifier;
use super::peek::EarlyTrailers;
use super::retry::GrpcRetry;
use crate::AtResponse;
use crate::bulkhead::{BulkheadBuilder, Rejecting};
use crate::circuit_breaker::CircuitBreakerBuilder;
use crate::load_shed::LoadShedBuilder;
use crate::retry::RetryBuilder;

const TRACKER: AtResponse<GrpcClassifier> = AtResponse::new(GrpcClassifier);

/// A circuit breaker that knows gRPC: see [`GrpcClassifier`].
///
/// ```
/// let layer = mainstay::grpc::circuit_breaker().name("users").build()?;
/// # Ok::<_, mainstay::ConfigError>(())
/// ```
pub fn circuit_breaker() -> CircuitBreakerBuilder<AtResponse<GrpcClassifier>> {
    CircuitBreakerBuilder::tracked_by(TRACKER)
}

/// A load shedder that knows gRPC: its limit gives way to `RESOURCE_EXHAUSTED`, `UNAVAILABLE` and `DEADLINE_EXCEEDED`.
///
/// ```
/// let layer = mainstay::grpc::load_shed().name("users").build()?;
/// # Ok::<_, mainstay::ConfigError>(())
/// ```
pub fn load_shed() -> LoadShedBuilder<AtResponse<GrpcClassifier>> {
    LoadShedBuilder::tracked_by(TRACKER)
}

/// A bulkhead that knows gRPC: what it tells of its calls is what became of them.
///
/// ```
/// let layer = mainstay::grpc::bulkhead().name("users").limit(64).build()?;
/// # Ok::<_, mainstay::ConfigError>(())
/// ```
pub fn bulkhead() -> BulkheadBuilder<Rejecting, AtResponse<GrpcClassifier>> {
    BulkheadBuilder::tracked_by(TRACKER)
}

/// Retries that know gRPC: see [`GrpcRetry`]. The body of a response becomes [`Peeked`](super::Peeked).
///
/// ```
/// let layer = mainstay::grpc::retry().name("users").build()?;
/// # Ok::<_, mainstay::ConfigError>(())
/// ```
pub fn retry() -> RetryBuilder<GrpcRetry, EarlyTrailers> {
    RetryBuilder::by(GrpcRetry::new(), EarlyTrailers)
}
