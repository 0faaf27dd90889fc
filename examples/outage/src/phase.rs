//! The five phases of the outage, and when each begins.

use std::time::Duration;

use tokio::time::Instant;

/// The behaviour of the upstream at a given time, in the order of the run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Answers 200 in two or three milliseconds.
    Healthy,
    /// Answers 200, but takes seconds, as with a full queue, a bad query plan or a long garbage
    /// collection.
    Slow,
    /// Answers 500 or 503 at once.
    Broken,
    /// The process is dead: new connections are refused, and open connections are closed.
    Refused,
    /// As healthy as at the beginning.
    Recovery,
}

impl Phase {
    pub(crate) const COUNT: usize = 5;
    pub(crate) const ALL: [Self; Self::COUNT] = [
        Self::Healthy,
        Self::Slow,
        Self::Broken,
        Self::Refused,
        Self::Recovery,
    ];
    /// The phases in which calls to the upstream are a waste.
    pub(crate) const BAD: [Self; 3] = [Self::Slow, Self::Broken, Self::Refused];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Slow => "slow",
            Self::Broken => "broken",
            Self::Refused => "refused",
            Self::Recovery => "recovery",
        }
    }

    /// The index of this phase in an array of all phases.
    pub(crate) fn index(self) -> usize {
        self as usize
    }
}

/// When the run began and how long each phase lasts.
///
/// One task breaks the upstream and another one calls it. They share only this, so neither can
/// delay the other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timeline {
    start: Instant,
    phase: Duration,
}

impl Timeline {
    pub(crate) fn new(start: Instant, phase: Duration) -> Self {
        Self { start, phase }
    }

    pub(crate) fn start(&self) -> Instant {
        self.start
    }

    pub(crate) fn phase_length(&self) -> Duration {
        self.phase
    }

    pub(crate) fn begin(&self, phase: Phase) -> Instant {
        self.start + self.phase * u32::try_from(phase.index()).expect("there are five phases")
    }

    pub(crate) fn end(&self, phase: Phase) -> Instant {
        self.begin(phase) + self.phase
    }
}
