//! A ring of buckets, each for an equal span of time. A new bucket replaces the oldest one.

use std::time::Duration;

use super::nanos;

#[derive(Debug, Clone)]
pub(super) struct Buckets<T> {
    /// Nanoseconds in a bucket; not 0.
    width: u64,
    /// The number of the current bucket since the origin.
    current: u64,
    buckets: u32,
    /// Allocated at the first write.
    ring: Box<[T]>,
}

impl<T: Default> Buckets<T> {
    pub(super) fn new(span: Duration, buckets: u32, now: Duration) -> Self {
        let buckets = buckets.max(1);
        let width = width(span, buckets);
        Self {
            width,
            current: nanos(now) / width,
            buckets,
            ring: Box::default(),
        }
    }

    /// Makes the bucket of `now` the current one and passes expired contents to `dropped`.
    pub(super) fn roll(&mut self, now: Duration, mut dropped: impl FnMut(T)) {
        let target = nanos(now) / self.width;
        // An older reading of the clock keeps the newer bucket.
        let steps = target.saturating_sub(self.current);
        // After a long silence, each bucket is dropped once; the steps between are skipped.
        for number in
            (1..=steps.min(self.ring.len() as u64)).map(|n| self.current.saturating_add(n))
        {
            if let Some(bucket) = slot(&mut self.ring, number) {
                dropped(std::mem::take(bucket));
            }
        }
        self.current = self.current.max(target);
    }

    pub(super) const fn current(&self) -> u64 {
        self.current
    }

    /// The bucket with this number, unless it expired.
    pub(super) fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        let age = self.current.checked_sub(number)?;
        if age >= self.buckets.into() {
            return None;
        }
        if self.ring.is_empty() {
            self.ring = (0..self.buckets).map(|_| T::default()).collect();
        }
        slot(&mut self.ring, number)
    }

    /// Passes each bucket that has not expired to `each`, with the latest time in it.
    pub(super) fn for_each(&mut self, mut each: impl FnMut(Duration, T))
    where
        T: Copy,
    {
        for age in (0..u64::from(self.buckets)).rev() {
            if let Some(number) = self.current.checked_sub(age)
                && let Some(bucket) = slot(&mut self.ring, number)
            {
                let end = number.saturating_add(1).saturating_mul(self.width);
                each(Duration::from_nanos(end - 1), *bucket);
            }
        }
    }

    /// The number of the bucket of this time.
    pub(super) fn number(&self, time: Duration) -> u64 {
        nanos(time) / self.width
    }

    /// The bucket of this time, unless it expired.
    pub(super) fn at(&mut self, time: Duration) -> Option<&mut T> {
        self.get_mut(self.number(time))
    }

    pub(super) const fn width(&self) -> Duration {
        Duration::from_nanos(self.width)
    }

    /// The beginning of the current bucket.
    pub(super) fn begins(&self) -> Duration {
        Duration::from_nanos(self.current.saturating_mul(self.width))
    }

    /// The end of the current bucket.
    pub(super) fn ends(&self) -> Duration {
        Duration::from_nanos(self.current.saturating_add(1).saturating_mul(self.width))
    }

    pub(super) fn clear(&mut self, now: Duration) {
        self.roll(now, drop);
        self.ring.fill_with(T::default);
    }
}

/// Nanoseconds in each of this many buckets; not 0.
pub(super) fn width(span: Duration, buckets: u32) -> u64 {
    (nanos(span) / u64::from(buckets.max(1))).max(1)
}

fn slot<T>(ring: &mut [T], number: u64) -> Option<&mut T> {
    let index = number.checked_rem(ring.len() as u64)?;
    ring.get_mut(usize::try_from(index).ok()?)
}
