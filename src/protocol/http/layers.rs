//! Builders of layers for HTTP. All but the rate limit follow a response to the end of its body.

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
use crate::layers::retry::{RetryBuilder, Unchanged};

const TRACKER: EndOfBody<HttpClassifier> = EndOfBody::new(HttpClassifier);

/// Builds a circuit breaker for HTTP: a 5xx is a failure, and a `Retry-After` sets how long the
/// circuit stays open.
///
/// See [`HttpClassifier`](super::HttpClassifier) for the whole table.
///
/// ```
/// let layer = mainstay::http::circuit_breaker().name("payments").build()?;
/// # Ok::<_, mainstay::ConfigError>(())
/// ```
pub fn circuit_breaker() -> CircuitBreakerBuilder<EndOfBody<HttpClassifier>> {
    CircuitBreakerBuilder::tracked_by(TRACKER)
}

/// Builds a load shedder for HTTP. The default limit,
/// [`Limit::scheduler_lag`](crate::Limit::scheduler_lag), ignores responses.
///
/// A limit that adapts to latency decreases on a 503, and does not count a fast 500 as a fast
/// response. It counts a call that this program's own time limit ends as overload, even if the
/// client was slow to send the body of its request. If you receive bodies from untrusted clients,
/// read them outside of such a limit, or within a time limit of their own.
///
/// ```
/// let layer = mainstay::http::load_shed().name("orders").build()?;
/// # Ok::<_, mainstay::ConfigError>(())
/// ```
pub fn load_shed() -> LoadShedBuilder<EndOfBody<HttpClassifier>> {
    LoadShedBuilder::tracked_by(TRACKER)
}

/// Builds a bulkhead for HTTP: it holds its permit to the end of the response body, and records the
/// outcome of each call.
///
/// ```
/// let layer = mainstay::http::bulkhead().name("orders").limit(64).build()?;
/// # Ok::<_, mainstay::ConfigError>(())
/// ```
pub fn bulkhead() -> BulkheadBuilder<Rejecting, EndOfBody<HttpClassifier>> {
    BulkheadBuilder::tracked_by(TRACKER)
}

/// Builds a rate limit for HTTP: it records a 5xx as a failure.
///
/// It follows a response to its head only, because it limits the start of a call.
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
/// assert_eq!(layer.handle().snapshot().outcomes.failure, 1);
/// assert_eq!(layer.handle().available(), 19);
/// # Ok(())
/// # }
/// ```
pub fn rate_limit() -> RateLimitBuilder<rate_limit::Rejecting, AtResponse<HttpClassifier>> {
    RateLimitBuilder::tracked_by(AtResponse(HttpClassifier))
}

/// Builds a retry layer for HTTP: see [`HttpRetry`].
///
/// ```
/// let layer = mainstay::http::retry().name("payments").attempts(4).build()?;
/// # Ok::<_, mainstay::ConfigError>(())
/// ```
pub fn retry() -> RetryBuilder<HttpRetry> {
    RetryBuilder::by(HttpRetry::new(), Unchanged)
}

impl<K> CircuitBreakerBuilder<EndOfBody<HttpClassifier>, K> {
    /// Classifies responses with a closure over their head. An error is a failure. See
    /// [`classify`].
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
        classifier: F,
    ) -> CircuitBreakerBuilder<EndOfBody<Arc<ClassifyHead<F>>>, K>
    where
        F: Fn(&ResponseHead<'_>) -> V,
        V: HeadVerdict,
    {
        self.tracker(EndOfBody::new(Arc::new(classify(classifier))))
    }
}

impl LoadShedBuilder<EndOfBody<HttpClassifier>> {
    /// Classifies responses with a closure over their head. An error is a failure. See
    /// [`classify`].
    pub fn classify_head<F, V>(
        self,
        classifier: F,
    ) -> LoadShedBuilder<EndOfBody<Arc<ClassifyHead<F>>>>
    where
        F: Fn(&ResponseHead<'_>) -> V,
        V: HeadVerdict,
    {
        self.tracker(EndOfBody::new(Arc::new(classify(classifier))))
    }
}

impl<M, C> BulkheadBuilder<M, EndOfBody<C>> {
    /// Releases the permit at the head of the response. By default the end of the body releases it.
    ///
    /// Use it for long, cheap responses such as downloads and watches. The bulkhead then does not
    /// limit bodies.
    pub fn until_head(self) -> BulkheadBuilder<M, AtResponse<C>> {
        self.retracked(|EndOfBody(classifier)| AtResponse(classifier))
    }
}

impl<C> LoadShedBuilder<EndOfBody<C>> {
    /// Ends a call at the head of its response, and classifies it by the head alone. By default a
    /// call ends with the body of its response.
    pub fn until_head(self) -> LoadShedBuilder<AtResponse<C>> {
        self.retracked(|EndOfBody(classifier)| AtResponse(classifier))
    }
}
