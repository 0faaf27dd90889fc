//! Pure policies: state machines without async code, protocols, clocks or random sources.
//!
//! `now`, the time since a fixed origin, and random numbers are arguments. So a property test or a
//! simulator drives every policy without a runtime. Two threads may read the clock in one order and
//! take a lock in the other: a policy treats a `now` that goes back as if no time had passed.

pub(crate) mod backoff;
pub(crate) mod breaker;
mod buckets;
pub(crate) mod budget;
mod check;
pub(crate) mod evidence;
pub(crate) mod limit;
pub(crate) mod priority;
pub(crate) mod rate_limit;
pub(crate) mod retry;
pub(crate) mod sampling;
pub(crate) mod throttle;
pub(crate) mod window;

use std::time::Duration;

use crate::runtime::nanos;

/// The longest duration of a setting. It keeps every sum of durations far from overflow.
pub(crate) const LONGEST: Duration = Duration::from_secs(24 * 60 * 60);

/// The shortest duration of a setting that must not be zero.
pub(crate) const SHORTEST: Duration = Duration::from_millis(1);

/// Clamps a random number to `[0, 1]`; NaN becomes 0.5.
pub(crate) fn unit(random: f64) -> f64 {
    if random.is_nan() {
        0.5
    } else {
        random.clamp(0.0, 1.0)
    }
}

/// `duration * factor`, at most `cap`; `cap` for a negative or infinite product.
pub(crate) fn scale(duration: Duration, factor: f64, cap: Duration) -> Duration {
    Duration::try_from_secs_f64(duration.as_secs_f64() * factor).map_or(cap, |d| d.min(cap))
}
