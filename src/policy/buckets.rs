//! Things that are forgotten after a while, some at a time: a ring of equal spans of time, the oldest of
//! which is dropped when a new one begins.

use std::time::Duration;

use super::nanos;

#[derive(Debug, Clone)]
pub(super) struct Buckets<T> {
    /// Nanoseconds a bucket; not 0.
    width: u64,
    /// The number of the current bucket, counted from the origin of time.
    current: u64,
    buckets: u32,
    /// Empty until something is put into it.
    ring: Box<[T]>,
}

impl<T: Default> Buckets<T> {
    pub(super) fn new(span: Duration, buckets: u32, now: Duration) -> Self {
        let buckets = buckets.max(1);
        let width = (nanos(span) / u64::from(buckets)).max(1);
        Self {
            width,
            current: nanos(now) / width,
            buckets,
            ring: Box::default(),
        }
    }

    /// Makes the bucket of `now` the current one, and says what each bucket held that is too old then.
    pub(super) fn roll(&mut self, now: Duration, mut dropped: impl FnMut(T)) {
        let target = nanos(now) / self.width;
        // A clock that was read before another thread's reading: the bucket stays the newer one.
        let steps = target.saturating_sub(self.current);
        // After a long silence each bucket is dropped once; the steps between are not walked.
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

    /// A bucket by its number, unless it was dropped.
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

    /// How long a bucket lasts.
    pub(super) const fn width(&self) -> Duration {
        Duration::from_nanos(self.width)
    }

    pub(super) fn ends(&self) -> Duration {
        Duration::from_nanos(self.current.saturating_add(1).saturating_mul(self.width))
    }

    pub(super) fn clear(&mut self, now: Duration) {
        self.roll(now, drop);
        self.ring.fill_with(T::default);
    }
}

fn slot<T>(ring: &mut [T], number: u64) -> Option<&mut T> {
    let index = number.checked_rem(ring.len() as u64)?;
    ring.get_mut(usize::try_from(index).ok()?)
}
