//! The impairment of an instance.

use std::fmt;
use std::time::Duration;

use crate::layers::bulkhead::BulkheadHandle;
use crate::layers::circuit_breaker::{CircuitBreakerHandle, State};
use crate::layers::load_shed::LoadShedHandle;
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
    const fn is_failure(self) -> bool {
        !matches!(self, Self::HalfOpen | Self::Recovering)
    }
}

impl fmt::Display for Impairment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The impairment of an instance.
pub(super) struct Found {
    pub(super) impairment: Impairment,
    /// How long it lasts at least.
    pub(super) retry_after: Option<Duration>,
    /// The number of keys that are open or full, of an instance with keys.
    pub(super) keys: Option<u64>,
    /// Whether it fails the readiness if it is essential.
    pub(super) fails: bool,
}

impl Found {
    const fn new(impairment: Impairment, retry_after: Option<Duration>) -> Self {
        Self {
            impairment,
            retry_after,
            keys: None,
            fails: impairment.is_failure(),
        }
    }
}

pub(super) fn find(instance: &Instance) -> Option<Found> {
    match instance {
        Instance::CircuitBreaker(circuit) => of_circuit(circuit),
        Instance::Bulkhead(bulkhead) => of_bulkhead(bulkhead),
        Instance::LoadShed(load) => of_load_shed(load),
        _ => None,
    }
}

fn of_circuit(circuit: &CircuitBreakerHandle) -> Option<Found> {
    let snapshot = circuit.snapshot();
    if snapshot.mode != Mode::Enforce {
        return None;
    }
    let mut found = match snapshot.state {
        State::Closed | State::ForcedClosed => return None,
        State::ForcedOpen => Found::new(Impairment::ForcedOpen, None),
        State::Open => match snapshot.retry_after {
            Some(left) if !left.is_zero() => Found::new(Impairment::Open, Some(left)),
            _ => Found::new(Impairment::HalfOpen, None),
        },
        State::HalfOpen => Found::new(Impairment::HalfOpen, None),
        State::Recovering => Found::new(Impairment::Recovering, None),
    };
    if snapshot.keys.is_some() {
        let is_open = |state: &State| matches!(state, State::Open | State::ForcedOpen);
        let (open, other): (Vec<_>, Vec<_>) = snapshot
            .states
            .iter()
            .partition(|(state, _)| is_open(state));
        found.keys = Some(open.iter().map(|(_, keys)| keys).sum());
        // The program stays ready while the circuit of one key admits calls.
        found.fails = found.fails
            && other.is_empty()
            && circuit.keys().iter().all(|key| {
                let circuit = circuit.key(key);
                circuit
                    .and_then(|circuit| of_circuit(&circuit))
                    .is_some_and(|found| found.fails)
            });
    }
    Some(found)
}

fn of_bulkhead(bulkhead: &BulkheadHandle) -> Option<Found> {
    let is_full = |bulkhead: &BulkheadHandle| {
        let limit = bulkhead.limit();
        limit.is_some_and(|limit| bulkhead.in_flight() >= limit)
            && bulkhead.settings().mode == Mode::Enforce
    };
    let keys = bulkhead.keys();
    if keys.is_empty() {
        return is_full(bulkhead).then_some(Found::new(Impairment::Full, None));
    }
    let full = keys.iter().filter_map(|key| bulkhead.key(key));
    of_keys(Impairment::Full, full.filter(is_full).count(), keys.len())
}

fn of_load_shed(load: &LoadShedHandle) -> Option<Found> {
    let is_full = |load: &LoadShedHandle| load.is_full() && load.settings().mode == Mode::Enforce;
    let keys = load.keys();
    if keys.is_empty() {
        return is_full(load).then_some(Found::new(Impairment::Shedding, None));
    }
    let full = keys.iter().filter_map(|key| load.key(key));
    let full = full.filter(is_full).count();
    of_keys(Impairment::Shedding, full, keys.len())
}

/// So many of all keys are impaired. Each has a limit, and may have settings of its own.
fn of_keys(impairment: Impairment, impaired: usize, keys: usize) -> Option<Found> {
    let mut found = Found::new(impairment, None);
    found.keys = u64::try_from(impaired).ok();
    found.fails &= impaired == keys;
    (impaired > 0).then_some(found)
}
