//! What the layers log (feature `tracing`). Without the feature, and where no subscriber wants the level, nothing is formatted or counted.
//!
//! The target of a line is the crate and the layer (`mainstay::circuit_breaker`), so that a filter is written by the names that users see.

use crate::observe::emitter::Emitter;
use crate::observe::event::EventKind;
use crate::vocabulary::rejection::Rejection;

/// What an instance does so often in an outage that it is summed up.
#[derive(Debug)]
pub(crate) struct Sums {
    #[cfg(feature = "tracing")]
    rejections: on::Untold,
    #[cfg(feature = "tracing")]
    would_reject: on::Untold,
    #[cfg(feature = "tracing")]
    retries: on::Untold,
}

#[cfg(feature = "tracing")]
mod on {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use tracing::{Level, debug, info, level_enabled, warn};

    use super::{Emitter, EventKind, Rejection, Sums};
    use crate::observe::snapshot::ShownLimit;
    use crate::policy::breaker::{State, Transition};
    use crate::runtime::Moment;
    use crate::vocabulary::kind::Id;
    use crate::vocabulary::{reason::Reason, rejection::TimeLimit};

    /// An outage is no reason for a storm of log lines: one a second is enough to see it.
    const PAUSE: Duration = Duration::from_secs(1);
    /// Never.
    const NEVER: u64 = u64::MAX;

    impl Sums {
        pub(crate) const fn new() -> Self {
            Self {
                rejections: Untold::new(),
                would_reject: Untold::new(),
                retries: Untold::new(),
            }
        }
    }

    /// How many times something has happened that was not told of, and when it was told of last.
    #[derive(Debug)]
    pub(super) struct Untold {
        told: AtomicU64,
        times: AtomicU64,
    }

    impl Untold {
        const fn new() -> Self {
            Self {
                told: AtomicU64::new(NEVER),
                times: AtomicU64::new(0),
            }
        }

        /// How many there are, with this one, if it is time to tell of them.
        fn take(&self) -> Option<u64> {
            self.times.fetch_add(1, Ordering::Relaxed);
            let now = Moment::now().to_bits();
            let told = self.told.load(Ordering::Relaxed);
            // Time goes back where another clock is used: in the next test, say.
            let pause = PAUSE.as_nanos() as u64;
            if told != NEVER && told <= now && now - told < pause {
                return None;
            }
            self.told
                .compare_exchange(told, now, Ordering::Relaxed, Ordering::Relaxed)
                .ok()?;
            Some(self.times.swap(0, Ordering::Relaxed)).filter(|times| *times > 0)
        }
    }

    /// A line whose target is that of the layer. `tracing` asks for a literal, so there is one event for each layer.
    macro_rules! of_layer {
        ($event:ident, $layer:expr, $($line:tt)*) => {
            match $layer {
                Id::AttemptTimeout => $event!(target: "mainstay::attempt_timeout", $($line)*),
                Id::Bulkhead => $event!(target: "mainstay::bulkhead", $($line)*),
                Id::CircuitBreaker => $event!(target: "mainstay::circuit_breaker", $($line)*),
                Id::Deadline => $event!(target: "mainstay::deadline", $($line)*),
                Id::LoadShed => $event!(target: "mainstay::load_shed", $($line)*),
                Id::RateLimit => $event!(target: "mainstay::rate_limit", $($line)*),
                Id::Retry => $event!(target: "mainstay::retry", $($line)*),
                Id::Timeout => $event!(target: "mainstay::timeout", $($line)*),
                Id::Admission | Id::Correlation | Id::Unknown => {
                    $event!(target: "mainstay", $($line)*)
                }
            }
        };
    }

    #[inline]
    pub(crate) fn rejected(emitter: &Emitter, rejection: &Rejection) {
        if level_enabled!(Level::INFO) {
            log_rejected(emitter, rejection);
        }
    }

    #[cold]
    fn log_rejected(emitter: &Emitter, rejection: &Rejection) {
        if let Some(rejections) = emitter.sums().rejections.take() {
            let reason = rejection.reason();
            // It had begun.
            let what = match reason {
                Reason::TimedOut => "call ended",
                _ => "call rejected",
            };
            of_layer!(
                info,
                emitter.instance().id(),
                layer = emitter.layer(),
                name = emitter.name(),
                reason = reason.as_str(),
                retry_after_ms = rejection.retry_after().map(millis),
                limit = rejection.time_limit().map(TimeLimit::as_str),
                limit_ms = rejection.time_limit().map(|limit| millis(limit.duration())),
                rejections,
                "{what}"
            );
        }
    }

    #[cold]
    pub(crate) fn would_reject(emitter: &Emitter, rejection: &Rejection) {
        if level_enabled!(Level::INFO)
            && let Some(would_reject) = emitter.sums().would_reject.take()
        {
            of_layer!(
                info,
                emitter.instance().id(),
                layer = emitter.layer(),
                name = emitter.name(),
                reason = rejection.reason().as_str(),
                retry_after_ms = rejection.retry_after().map(millis),
                would_reject,
                "call would be rejected"
            );
        }
    }

    /// Whether any subscriber wants what is logged at the highest level.
    pub(crate) fn is_on() -> bool {
        level_enabled!(Level::WARN)
    }

    #[cold]
    pub(crate) fn event(emitter: &Emitter, kind: impl FnOnce() -> EventKind) {
        let (layer, name) = (emitter.layer(), emitter.name());
        match &kind() {
            EventKind::Transition(transition) => changed(name, transition),
            EventKind::Retrying {
                attempt,
                delay,
                cause,
            } => {
                if level_enabled!(Level::INFO)
                    && let Some(retries) = emitter.sums().retries.take()
                {
                    info!(
                        target: "mainstay::retry",
                        layer,
                        name,
                        attempt,
                        delay_ms = millis(*delay),
                        cause = cause.as_str(),
                        retries,
                        "call is retried"
                    );
                }
            }
            EventKind::RetryRefused(why) => {
                debug!(target: "mainstay::retry", layer, name, reason = why.as_str(), "call is not retried");
            }
            EventKind::LimitChanged { from, to } => {
                let is_new = from.is_none() || to.is_none();
                let (from, to) = (ShownLimit(*from), ShownLimit(*to));
                if is_new {
                    // The overload begins or is over.
                    info!(target: "mainstay::load_shed", layer, name, %from, %to, "limit changed");
                } else {
                    debug!(target: "mainstay::load_shed", layer, name, %from, %to, "limit changed");
                }
            }
            // What a call came to is for metrics; rejections are summed up.
            EventKind::Settled { .. }
            | EventKind::Rejected(_)
            | EventKind::WouldReject(_)
            | EventKind::GivenUp { .. } => {}
        }
    }

    /// An open circuit is a reason to look. That probes are sent is a routine step, of which the next change says what came of it.
    fn changed(name: &str, transition: &Transition) {
        let Transition {
            from,
            to,
            cause,
            calls,
            failures,
            slow_calls,
            open_for,
        } = transition;
        macro_rules! line {
            ($event:ident) => {
                $event!(
                    target: "mainstay::circuit_breaker",
                    layer = "circuit_breaker",
                    name,
                    from = from.as_str(),
                    to = to.as_str(),
                    cause = cause.as_str(),
                    calls,
                    failures,
                    slow_calls,
                    open_for_ms = open_for.map(millis),
                    "circuit changed"
                )
            };
        }
        match to {
            State::Open | State::ForcedOpen => line!(warn),
            State::HalfOpen => line!(debug),
            State::Closed | State::Recovering | State::ForcedClosed => line!(info),
        }
    }

    fn millis(duration: Duration) -> u64 {
        u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
    }
}

#[cfg(feature = "tracing")]
pub(crate) use on::{event, is_on, rejected, would_reject};

#[cfg(not(feature = "tracing"))]
impl Sums {
    pub(crate) const fn new() -> Self {
        Self {}
    }
}

#[cfg(not(feature = "tracing"))]
#[inline]
pub(crate) fn rejected(_: &Emitter, _: &Rejection) {}

#[cfg(not(feature = "tracing"))]
#[inline]
pub(crate) fn would_reject(_: &Emitter, _: &Rejection) {}

#[cfg(not(feature = "tracing"))]
#[inline]
pub(crate) fn event(_: &Emitter, _: impl FnOnce() -> EventKind) {}

#[cfg(not(feature = "tracing"))]
#[inline]
pub(crate) const fn is_on() -> bool {
    false
}
