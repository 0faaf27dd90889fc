use super::limiter::Limiter;
use super::settings::Settings;
use crate::layers::handle::keyed_handle;
use crate::layers::keyed::Target;

keyed_handle! {
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
    ///
    /// With a rate for each [key](crate::keyed), the handle of the layer is about all of them, and
    /// [`key`](Self::key) returns the handle of one.
    pub struct RateLimitHandle of Limiter;
    /// The available permits, the outcomes and the rejections.
    snapshot
    ///
    /// The permits in use remain in use: with 10 of 10 permits used, a rate limit that is raised to
    /// 100 has 90. Waiting calls keep their order and are admitted at the new rate.
    ///
    /// ```
    /// use mainstay::RateLimitLayer;
    ///
    /// let limit = RateLimitLayer::per_second(10)?.handle();
    /// let changes = limit.change(|settings| settings.permits = 100)?;
    /// assert_eq!(changes.to_string(), "permits: 10 -> 100, burst: 10 -> 100");
    /// # Ok::<_, mainstay::ConfigError>(())
    /// ```
    update Settings
}

impl RateLimitHandle {
    /// The number of calls that would be admitted now. With keys: of a new key.
    #[must_use]
    pub fn available(&self) -> u32 {
        match &self.target {
            Target::One(limiter) => limiter.available(),
            Target::Group(group) => group.settings().rate().burst(),
        }
    }

    /// The number of calls in the queue. With keys: the sum of all keys.
    #[must_use]
    pub fn waiting(&self) -> u32 {
        self.target.sum(|limiter| limiter.queue.len())
    }
}
