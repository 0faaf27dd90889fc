//! Where layers for HTTP begin. All but the rate limit follow a response to the end of its body.

use std::sync::Arc;

use super::classify::{ClassifyHead, HeadVerdict, HttpClassifier, classify};
use super::head::ResponseHead;
use super::retry::HttpRetry;
use super::track::EndOfBody;
use crate::call::track::AtResponse;
use crate::layers::bulkhead::{BulkheadBuilder, Rejecting};
use crate::layers::circuit_breaker::CircuitBreakerBuilder;
use crate::layers::load_shed::LoadShedBuilder;
use crate::layers::rate_limit::{self, RateLimitBuilder};
use crate::layers::retry::{AsItComes, RetryBuilder};

const TRACKER: EndOfBody<HttpClassifier> = EndOfBody::new(HttpClassifier);

/// A circuit breaker that knows HTTP: 5xx are failures, and `Retry-After` keeps it open for as long. See
/// [`HttpClassifier`](super::HttpClassifier) for the whole table.
///
/// ```
/// let layer = mainstay::http::circuit_breaker().name("payments").build()?;
/// # Ok::<_, mainstay::ConfigError>(())
/// ```
pub fn circuit_breaker() -> CircuitBreakerBuilder<EndOfBody<HttpClassifier>> {
    CircuitBreakerBuilder::tracked_by(TRACKER)
}

/// A load shedder that knows HTTP. Its limit is [`Limit::scheduler_lag`](crate::Limit::scheduler_lag)
/// by default, which looks at no response.
///
/// A limit that adapts to latency gives way to a 503, and takes no fast 500 for a fast service. A call
/// that ends in a time limit of the program's own is taken for overload, also where it was the client that was slow to
/// send the request's body. If strangers send you bodies, read them outside of such a limit, or
/// within a time limit of their own.
///
/// ```
/// let layer = mainstay::http::load_shed().name("orders").build()?;
/// # Ok::<_, mainstay::ConfigError>(())
/// ```
pub fn load_shed() -> LoadShedBuilder<EndOfBody<HttpClassifier>> {
    LoadShedBuilder::tracked_by(TRACKER)
}

/// A bulkhead that knows HTTP: it holds its permit to the end of the response's body, and records
/// the outcome of each call.
///
/// ```
/// let layer = mainstay::http::bulkhead().name("orders").limit(64).build()?;
/// # Ok::<_, mainstay::ConfigError>(())
/// ```
pub fn bulkhead() -> BulkheadBuilder<Rejecting, EndOfBody<HttpClassifier>> {
    BulkheadBuilder::tracked_by(TRACKER)
}

/// A rate limit that knows HTTP: it counts a 5xx as a failure. It follows a response to its head
/// only, because a permit is for the start of a call.
///
/// ```
/// use http::{Request, Response, StatusCode};
/// use tower::{Layer, ServiceExt, service_fn};
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), mainstay::BoxError> {
/// let layer = mainstay::http::rate_limit().name("search").burst(20).build()?;
/// let service = layer.layer(service_fn(|_: Request<()>| async {
///     let mut response = Response::new(());
///     *response.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
///     Ok::<_, std::io::Error>(response)
/// }));
///
/// service.oneshot(Request::new(())).await?;
/// assert_eq!(layer.snapshot().outcomes.failure, 1);
/// assert_eq!(layer.available(), 19);
/// # Ok(())
/// # }
/// ```
pub fn rate_limit() -> RateLimitBuilder<rate_limit::Rejecting, AtResponse<HttpClassifier>> {
    RateLimitBuilder::tracked_by(AtResponse(HttpClassifier))
}

/// Retries that know HTTP: see [`HttpRetry`].
///
/// ```
/// let layer = mainstay::http::retry().name("payments").attempts(4).build()?;
/// # Ok::<_, mainstay::ConfigError>(())
/// ```
pub fn retry() -> RetryBuilder<HttpRetry> {
    RetryBuilder::by(HttpRetry::new(), AsItComes)
}

impl CircuitBreakerBuilder<EndOfBody<HttpClassifier>> {
    /// Judges responses by a closure over their head; an error is a failure. See [`classify`].
    ///
    /// ```
    /// use mainstay::{Outcome, http};
    ///
    /// let layer = http::circuit_breaker()
    ///     .classify_head(|head| match head.status().as_u16() {
    ///         401 => Outcome::Ignored,
    ///         500.. => Outcome::Failure,
    ///         _ => Outcome::Success,
    ///     })
    ///     .build()?;
    /// # Ok::<_, mainstay::ConfigError>(())
    /// ```
    pub fn classify_head<F, V>(
        self,
        judge: F,
    ) -> CircuitBreakerBuilder<EndOfBody<Arc<ClassifyHead<F>>>>
    where
        F: Fn(&ResponseHead<'_>) -> V,
        V: HeadVerdict,
    {
        self.tracker(EndOfBody::new(Arc::new(classify(judge))))
    }
}

impl LoadShedBuilder<EndOfBody<HttpClassifier>> {
    /// Judges responses by a closure over their head; an error is a failure. See [`classify`].
    pub fn classify_head<F, V>(self, judge: F) -> LoadShedBuilder<EndOfBody<Arc<ClassifyHead<F>>>>
    where
        F: Fn(&ResponseHead<'_>) -> V,
        V: HeadVerdict,
    {
        self.tracker(EndOfBody::new(Arc::new(classify(judge))))
    }
}

impl<M, C> BulkheadBuilder<M, EndOfBody<C>> {
    /// Releases the permit at the head of the response. By default it is released at the end of the
    /// body.
    ///
    /// For services whose responses are long and cheap: downloads, watches. Bodies are then not
    /// limited.
    pub fn until_head(self) -> BulkheadBuilder<M, AtResponse<C>> {
        self.retracked(|EndOfBody(classifier)| AtResponse(classifier))
    }
}

impl<C> LoadShedBuilder<EndOfBody<C>> {
    /// Counts a call as over when the head of the response is there, and judges it by that alone.
    pub fn until_head(self) -> LoadShedBuilder<AtResponse<C>> {
        self.retracked(|EndOfBody(classifier)| AtResponse(classifier))
    }
}
