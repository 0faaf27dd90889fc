//! Log lines (feature `tracing`). Without the feature, or a subscriber for the level, nothing is
//! formatted or counted.
//!
//! The target is the public path of the layer, such as `mainstay::circuit_breaker`.

use crate::observe::emitter::Emitter;
use crate::observe::event::EventKind;
use crate::vocabulary::rejection::Rejection;

/// Counts of frequent events. One log line a second summarises them.
#[derive(Debug)]
pub(crate) struct Summaries {
    #[cfg(feature = "tracing")]
    rejections: on::Summary,
    #[cfg(feature = "tracing")]
    would_reject: on::Summary,
    #[cfg(feature = "tracing")]
    retries: on::Summary,
    #[cfg(feature = "tracing")]
    evicted: on::Summary,
}

#[cfg(feature = "tracing")]
mod on {
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::Duration;

    use tracing::{Level, debug, info, level_enabled, warn};

    use super::{Emitter, EventKind, Rejection, Summaries};
    use crate::observe::snapshot::ShownLimit;
    use crate::policy::breaker::{State, Transition};
    use crate::runtime::Moment;
    use crate::vocabulary::kind::Id;
    use crate::vocabulary::{reason::Reason, rejection::TimeLimit};

    /// One line a second is enough to see an outage.
    const PAUSE: Duration = Duration::from_secs(1);
    /// Nothing was logged yet.
    const NEVER: u64 = u64::MAX;

    impl Summaries {
        pub(crate) const fn new() -> Self {
            Self {
                rejections: Summary::new(),
                would_reject: Summary::new(),
                retries: Summary::new(),
                evicted: Summary::new(),
            }
        }
    }

    /// The number of events since the last log line, and the time of that line.
    #[derive(Debug)]
    pub(super) struct Summary {
        logged: AtomicU64,
        count: AtomicU64,
    }

    impl Summary {
        const fn new() -> Self {
            Self {
                logged: AtomicU64::new(NEVER),
                count: AtomicU64::new(0),
            }
        }

        /// Counts an event. Returns the number of events if a line is due.
        fn add(&self) -> Option<u64> {
            self.count.fetch_add(1, Ordering::Relaxed);
            let now = Moment::now().to_bits();
            let logged = self.logged.load(Ordering::Relaxed);
            // The time can go back: the next test has another clock.
            let pause = PAUSE.as_nanos() as u64;
            if logged != NEVER && logged <= now && now - logged < pause {
                return None;
            }
            self.logged
                .compare_exchange(logged, now, Ordering::Relaxed, Ordering::Relaxed)
                .ok()?;
            Some(self.count.swap(0, Ordering::Relaxed)).filter(|count| *count > 0)
        }
    }

    /// A line with the target of the layer. `tracing` needs a literal for each target.
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
        if let Some(rejections) = emitter.summaries().rejections.add() {
            let reason = rejection.reason();
            // The call had begun.
            let message = match reason {
                Reason::TimedOut => "call ended",
                _ => "call rejected",
            };
            of_layer!(
                info,
                emitter.instance().id(),
                layer = emitter.layer(),
                name = emitter.name(),
                key = emitter.key(),
                reason = reason.as_str(),
                priority = rejection.priority().if_set(),
                retry_after_ms = rejection.retry_after().map(millis),
                limit = rejection.time_limit().map(TimeLimit::as_str),
                limit_ms = rejection.time_limit().map(|limit| millis(limit.duration())),
                rejections,
                "{message}"
            );
        }
    }

    #[cold]
    pub(crate) fn would_reject(emitter: &Emitter, rejection: &Rejection) {
        if level_enabled!(Level::INFO)
            && let Some(would_reject) = emitter.summaries().would_reject.add()
        {
            of_layer!(
                info,
                emitter.instance().id(),
                layer = emitter.layer(),
                name = emitter.name(),
                key = emitter.key(),
                reason = rejection.reason().as_str(),
                priority = rejection.priority().if_set(),
                retry_after_ms = rejection.retry_after().map(millis),
                limit = rejection.time_limit().map(TimeLimit::as_str),
                limit_ms = rejection.time_limit().map(|limit| millis(limit.duration())),
                would_reject,
                "call would be rejected"
            );
        }
    }

    /// Whether there is a subscriber for warnings.
    pub(crate) fn is_on() -> bool {
        level_enabled!(Level::WARN)
    }

    #[cold]
    pub(crate) fn event(emitter: &Emitter, kind: impl FnOnce() -> EventKind) {
        let (layer, name, key) = (emitter.layer(), emitter.name(), emitter.key());
        match &kind() {
            EventKind::Transition(transition) => changed(name, key, transition),
            EventKind::Retrying {
                attempt,
                delay,
                cause,
            } => {
                if level_enabled!(Level::INFO)
                    && let Some(retries) = emitter.summaries().retries.add()
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
                    // Overload begins or ends.
                    info!(target: "mainstay::load_shed", layer, name, key, %from, %to, "limit changed");
                } else {
                    debug!(target: "mainstay::load_shed", layer, name, key, %from, %to, "limit changed");
                }
            }
            EventKind::Evicted => {
                if let Some(evicted) = emitter.summaries().evicted.add() {
                    of_layer!(
                        warn,
                        emitter.instance().id(),
                        layer,
                        name,
                        key,
                        evicted,
                        "state of a key dropped"
                    );
                }
            }
            EventKind::SettingsChanged(changes) => {
                of_layer!(info, emitter.instance().id(), layer, name, %changes, "settings changed");
            }
            // Outcomes are for metrics; rejections are summarised.
            EventKind::Settled { .. }
            | EventKind::Rejected(_)
            | EventKind::WouldReject(_)
            | EventKind::GivenUp { .. } => {}
        }
    }

    /// An open circuit is a warning. Half-open is routine: the next change shows its result.
    fn changed(name: &str, key: Option<&str>, transition: &Transition) {
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
                    key,
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
impl Summaries {
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
