//! The only module that reads the clock, draws random numbers and creates timers.
//!
//! The clock is tokio's, so that a paused test clock drives the whole crate.

#![expect(
    clippy::disallowed_methods,
    reason = "clocks and random numbers are allowed only here"
)]

pub(crate) mod deferred;
pub(crate) mod isolate;
pub(crate) mod keys;
pub(crate) mod opaque;
pub(crate) mod scoped;
pub(crate) mod shared;
pub(crate) mod striped;
pub(crate) mod sync;
#[cfg(not(mainstay_loom))]
mod thread_number;
mod ticker;

#[cfg(test)]
use std::cell::Cell;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::OnceLock;
use std::task::{Context, Poll};
use std::time::Duration;

use pin_project_lite::pin_project;
use rand::RngExt as _;
use tokio::task::coop::unconstrained;
use tokio::time::{Instant, Sleep, sleep_until};

pub(crate) use self::ticker::{Lag, LagSubscriber, Need, Subscribed, subscribe_to_lag};

/// A point in time, in nanoseconds since the origin. It has half the size of an [`Instant`], and a
/// comparison is a single instruction. Any time more than 584 years ahead is never.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment(u64);

impl Moment {
    /// Later than any other: for no deadline.
    pub(crate) const NEVER: Self = Self(u64::MAX);

    #[inline]
    pub(crate) fn now() -> Self {
        if cfg!(mainstay_loom) {
            // Each execution of a model must take the same path.
            return Self(1 << 40);
        }
        Self(nanos(Instant::now().saturating_duration_since(origin())))
    }

    #[inline]
    pub(crate) fn after(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(nanos(duration)))
    }

    #[inline]
    pub(crate) const fn after_nanos(self, nanos: u64) -> Self {
        Self(self.0.saturating_add(nanos))
    }

    /// The time since an earlier moment; zero for a later one.
    #[inline]
    pub(crate) const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }

    #[inline]
    pub(crate) fn elapsed(self) -> Duration {
        Self::now().since(self)
    }

    /// The time until this moment, zero if it has passed; `None` for never.
    #[inline]
    pub(crate) fn remaining(self) -> Option<Duration> {
        (self != Self::NEVER).then(|| self.since(Self::now()))
    }

    /// For a policy, whose time counts from the origin.
    #[inline]
    pub(crate) const fn since_origin(self) -> Duration {
        Duration::from_nanos(self.0)
    }

    fn instant(self) -> Instant {
        let origin = origin();
        origin.checked_add(self.since_origin()).unwrap_or(origin)
    }

    #[inline]
    pub(crate) const fn from_bits(bits: u64) -> Self {
        Self(bits)
    }

    /// For an atomic.
    #[inline]
    pub(crate) const fn to_bits(self) -> u64 {
        self.0
    }
}

/// The origin of all moments, a day before its first use: a test clock that was paused earlier must
/// not be before it.
#[inline]
fn origin() -> Instant {
    static ORIGIN: OnceLock<Instant> = OnceLock::new();
    #[cold]
    fn first() -> Instant {
        // The system's clock, because the test clock of the current runtime may be ahead of others.
        let now = std::time::Instant::now();
        // Some systems have no times before their start.
        let earlier = [86_400, 3_600, 60, 1]
            .into_iter()
            .find_map(|seconds| now.checked_sub(Duration::from_secs(seconds)));
        earlier.unwrap_or(now).into()
    }
    *ORIGIN.get_or_init(first)
}

/// The time of one instance: it follows the clock, but never goes back.
///
/// Every paused test clock begins at the system's time. An instance in a `static` may have seen a
/// later time in an earlier test. Without a timeline, a circuit that opened one hour ahead would
/// stay open for an hour of the new clock. With it, the instance's time continues from its latest
/// value.
///
/// It is stored under the lock of its instance.
#[derive(Debug)]
pub(crate) struct Timeline {
    /// The latest time, in nanoseconds.
    latest: u64,
    /// Its lead over the clock, in nanoseconds.
    ahead: u64,
}

impl Timeline {
    pub(crate) const fn new(now: Moment) -> Self {
        Self {
            latest: now.0,
            ahead: 0,
        }
    }

    /// The time of the instance at a reading of the clock.
    #[inline]
    pub(crate) fn at(&mut self, read: Moment) -> Duration {
        let now = read.0.saturating_add(self.ahead);
        if now > self.latest {
            self.latest = now;
        } else if now < self.latest {
            self.went_back(Moment::now());
        }
        Duration::from_nanos(self.latest)
    }

    /// Handles a reading earlier than the latest one. If it only waited for the lock while other
    /// threads read the clock, the clock itself did not go back.
    #[cold]
    fn went_back(&mut self, now: Moment) {
        let now = now.0.saturating_add(self.ahead);
        let behind = self.latest.saturating_sub(now);
        self.ahead = self.ahead.saturating_add(behind);
    }

    /// The reading of the clock at this time of the instance.
    pub(crate) fn moment(&self, time: Duration) -> Moment {
        match nanos(time) {
            u64::MAX => Moment::NEVER,
            time => Moment(time.saturating_sub(self.ahead)),
        }
    }
}

/// Whole nanoseconds, saturating after 584 years.
#[inline]
pub(crate) fn nanos(duration: Duration) -> u64 {
    // `as_nanos` has a 128-bit product, which costs more than the rest of this path.
    duration
        .as_secs()
        .saturating_mul(1_000_000_000)
        .saturating_add(u64::from(duration.subsec_nanos()))
}

/// A random number in `[0, 1)`.
pub(crate) fn random() -> f64 {
    rand::rng().random()
}

/// Milliseconds of the wall clock and random bytes, for an identifier.
pub(crate) fn id_parts() -> (u64, [u8; 10]) {
    let millis = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| {
            u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
        });
    (millis, rand::rng().random())
}

/// The wall clock, to compare with a date in a header.
#[cfg(feature = "http")]
pub(crate) fn wall_clock() -> std::time::SystemTime {
    std::time::SystemTime::now()
}

pin_project! {
    /// A timer that fires even if the task has used up its cooperative budget, so that a busy inner
    /// future cannot starve its own time limit.
    pub(crate) struct Timer {
        #[pin]
        sleep: Sleep,
    }
}

impl Timer {
    pub(crate) fn at(moment: Moment) -> Self {
        Self {
            sleep: sleep_until(moment.instant()),
        }
    }

    /// Changes the time to fire. A task that waits for the timer must poll it again.
    #[cfg(feature = "http")]
    pub(crate) fn move_to(self: Pin<&mut Self>, moment: Moment) {
        let (sleep, at) = (self.project().sleep, moment.instant());
        if sleep.deadline() != at {
            sleep.reset(at);
        }
    }
}

impl Future for Timer {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        #[cfg(test)]
        if WAKES_WHILE_POLLED.get() {
            cx.waker().wake_by_ref();
        }
        pin!(unconstrained(self.project().sleep)).poll(cx)
    }
}

#[cfg(test)]
thread_local! {
    /// Whether timers of this thread wake their task while polled, as if they fired meanwhile.
    pub(crate) static WAKES_WHILE_POLLED: Cell<bool> = const { Cell::new(false) };
}

impl std::fmt::Debug for Timer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Timer")
    }
}

#[cfg(test)]
mod tests;
