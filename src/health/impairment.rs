//! What is wrong with an instance now.

use std::fmt;
use std::time::Duration;

use crate::layers::circuit_breaker::State;
use crate::registry::Instance;
use crate::vocabulary::mode::Mode;

/// Why an instance rejects calls now, or soon may.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize),
    serde(rename_all = "snake_case")
)]
#[non_exhaustive]
pub enum Impairment {
    /// The circuit is open, and rejects calls.
    Open,
    /// The circuit was opened by its handle, and rejects calls.
    ForcedOpen,
    /// The circuit is half-open, or its open time is over: it admits probes, and needs calls to close.
    HalfOpen,
    /// The circuit recovers stepwise, and admits a growing share of the calls.
    Recovering,
    /// The load shedder is at its limit, and rejects calls.
    Shedding,
    /// The bulkhead is at its limit: calls wait, or are rejected.
    Full,
}

impl Impairment {
    /// The word, as in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::ForcedOpen => "forced_open",
            Self::HalfOpen => "half_open",
            Self::Recovering => "recovering",
            Self::Shedding => "shedding",
            Self::Full => "full",
        }
    }

    /// Whether it fails the readiness of an essential instance.
    ///
    /// A half-open or recovering circuit does not: without calls it would never close, and calls come only to
    /// programs that are ready.
    pub(super) const fn is_failure(self) -> bool {
        !matches!(self, Self::HalfOpen | Self::Recovering)
    }
}

impl fmt::Display for Impairment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The impairment of an instance, and how long it lasts at least.
pub(super) fn find(instance: &Instance) -> Option<(Impairment, Option<Duration>)> {
    match instance {
        Instance::CircuitBreaker(circuit) => {
            let snapshot = circuit.snapshot();
            if snapshot.mode != Mode::Enforce {
                return None;
            }
            match snapshot.state {
                State::Closed | State::ForcedClosed => None,
                State::ForcedOpen => Some((Impairment::ForcedOpen, None)),
                State::Open => match snapshot.retry_after {
                    Some(left) if !left.is_zero() => Some((Impairment::Open, Some(left))),
                    _ => Some((Impairment::HalfOpen, None)),
                },
                State::HalfOpen => Some((Impairment::HalfOpen, None)),
                State::Recovering => Some((Impairment::Recovering, None)),
            }
        }
        Instance::LoadShed(load) => {
            let is_full = load.settings().mode == Mode::Enforce
                && load.limit().is_some_and(|limit| load.in_flight() >= limit);
            is_full.then_some((Impairment::Shedding, None))
        }
        Instance::Bulkhead(bulkhead) => {
            let is_full = bulkhead.settings().mode == Mode::Enforce
                && bulkhead
                    .limit()
                    .is_some_and(|limit| bulkhead.in_flight() >= limit);
            is_full.then_some((Impairment::Full, None))
        }
        _ => None,
    }
}
