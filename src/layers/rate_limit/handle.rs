use super::limiter::Limiter;
use crate::layers::handle::handle;

handle! {
    /// Inspects a rate limit, for example from an admin endpoint or a test.
    ///
    /// A handle keeps the state of the rate limit alive, but not its services. Clones share the
    /// rate limit.
    ///
    /// ```
    /// use mainstay::RateLimitLayer;
    ///
    /// let layer = RateLimitLayer::builder().per(100, std::time::Duration::from_secs(60)).burst(20);
    /// let limit = layer.build()?.handle();
    /// assert_eq!((limit.available(), limit.waiting()), (20, 0));
    /// println!("{}", limit.snapshot());
    /// # Ok::<_, mainstay::ConfigError>(())
    /// ```
    pub struct RateLimitHandle of Limiter;
    /// The available permits, the outcomes and the rejections.
    snapshot
}

impl RateLimitHandle {
    /// The number of calls that would be admitted now.
    #[must_use]
    pub fn available(&self) -> u32 {
        self.state.available()
    }

    /// The number of calls in the queue.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.state.queue.len()
    }
}
