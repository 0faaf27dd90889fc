//! Pure policies: what to decide, never when it is or how to wait.
//!
//! Nothing here knows async code, a protocol, a clock or a random source. `now` is the time since an
//! origin that was fixed when a layer was built, and random numbers are arguments, so that a property
//! test or a simulator can drive every state machine without a runtime. Two threads may read the clock
//! in one order and take a lock in the other: a `now` that goes back is treated as no time passed.

pub(crate) mod backoff;
pub(crate) mod breaker;
mod buckets;
pub(crate) mod budget;
pub(crate) mod evidence;
pub(crate) mod limit;
pub(crate) mod rate_limit;
pub(crate) mod retry;
pub(crate) mod sampling;
pub(crate) mod throttle;
pub(crate) mod window;

use std::time::Duration;

/// The longest duration that a setting may have. Longer ones are a mistake, and refusing them keeps
/// every sum of durations far from overflow.
pub(crate) const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The shortest duration that a setting may have, where zero makes no sense either.
pub(crate) const SHORTEST: Duration = Duration::from_millis(1);

/// Nanoseconds since the origin, saturating after 584 years.
pub(crate) fn nanos(now: Duration) -> u64 {
    u64::try_from(now.as_nanos()).unwrap_or(u64::MAX)
}

/// A random number as it should have been: in `[0, 1]`, and 0.5 where it is not a number at all.
pub(crate) fn unit(random: f64) -> f64 {
    if random.is_nan() {
        0.5
    } else {
        random.clamp(0.0, 1.0)
    }
}

/// `duration * factor`, at most `cap`, whatever the factor is.
pub(crate) fn scale(duration: Duration, factor: f64, cap: Duration) -> Duration {
    Duration::try_from_secs_f64(duration.as_secs_f64() * factor).map_or(cap, |d| d.min(cap))
}
