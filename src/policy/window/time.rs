//! The outcomes of a span of time: the sums of equal buckets and their total.

use std::time::Duration;

use super::Counts;
use crate::policy::buckets::Buckets;

#[derive(Debug, Clone)]
pub(crate) struct TimeSamples {
    buckets: Buckets<Counts>,
    total: Counts,
}

impl TimeSamples {
    pub(super) fn new(span: Duration, buckets: u32, now: Duration) -> Self {
        Self {
            buckets: Buckets::new(span, buckets, now),
            total: Counts::default(),
        }
    }

    /// Takes the outcomes of another window, each with the latest time that it can have.
    pub(super) fn take_all(&mut self, from: &mut Self, now: Duration) {
        from.buckets.for_each(|latest, counts| {
            if let Some(bucket) = self.buckets.at(latest.min(now)) {
                bucket.add(counts);
                self.total.add(counts);
            }
        });
    }

    pub(super) fn record(&mut self, now: Duration, failed: bool, slow: bool) {
        self.roll(now);
        self.add(Counts::of(failed, slow));
    }

    pub(super) fn credit(&mut self, successes: u64) {
        self.add(Counts::successes(successes));
    }

    fn add(&mut self, counts: Counts) {
        if let Some(bucket) = self.buckets.get_mut(self.buckets.current()) {
            bucket.add(counts);
            self.total.add(counts);
        }
    }

    pub(super) fn roll(&mut self, now: Duration) {
        let Self { buckets, total } = self;
        buckets.roll(now, |dropped| total.subtract(dropped));
    }

    pub(super) const fn counts(&self) -> Counts {
        self.total
    }

    pub(super) fn clear(&mut self, now: Duration) {
        self.buckets.clear(now);
        self.total = Counts::default();
    }

    pub(super) fn ends(&self) -> Duration {
        self.buckets.ends()
    }
}
