//! One sample made of many. A limit that is moved by each call is moved most by whatever comes in bursts:
//! eight failures of one moment would shrink it eight times.

use std::time::Duration;

const SHORTEST_WINDOW: Duration = Duration::from_millis(100);
const LONGEST_WINDOW: Duration = Duration::from_secs(1);
const ENOUGH_CALLS: u64 = 10;

/// What a window of calls came to.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample {
    /// The mean latency of the calls that were not dropped; none if all were.
    pub(super) rtt: Option<Duration>,
    /// How many those were.
    pub(super) timed: u64,
    /// The most calls that were under way at once.
    pub(super) in_flight: u32,
    /// Whether any call was dropped. How many does not matter.
    pub(super) dropped: bool,
}

#[derive(Debug, Clone)]
pub(super) struct Samples {
    since: Duration,
    gathered: Gathered,
}

#[derive(Debug, Clone, Default)]
struct Gathered {
    calls: u64,
    timed: u64,
    /// Nanoseconds.
    sum: u128,
    shortest: Option<Duration>,
    in_flight: u32,
    dropped: bool,
}

impl Samples {
    pub(super) fn new(now: Duration) -> Self {
        Self {
            since: now,
            gathered: Gathered::default(),
        }
    }

    /// Adds a call, with its latency unless it was dropped, and says what the window came to if it ended.
    ///
    /// A window lasts twice as long as its quickest call took, within 100 ms and a second, so that slow
    /// calls are seen from their beginning to their end; and for as long as it takes to see ten calls.
    pub(super) fn add(
        &mut self,
        now: Duration,
        rtt: Option<Duration>,
        in_flight: u32,
        weight: u32,
    ) -> Option<Sample> {
        let weight = weight.max(1);
        let seen = &mut self.gathered;
        seen.calls = seen.calls.saturating_add(u64::from(weight));
        seen.in_flight = seen.in_flight.max(in_flight);
        if let Some(rtt) = rtt {
            seen.timed = seen.timed.saturating_add(u64::from(weight));
            let time = rtt.as_nanos().saturating_mul(u128::from(weight));
            seen.sum = seen.sum.saturating_add(time);
            seen.shortest = Some(seen.shortest.map_or(rtt, |shortest| shortest.min(rtt)));
        } else {
            seen.dropped = true;
        }
        let lasts = seen
            .shortest
            .map_or(SHORTEST_WINDOW, |rtt| rtt.saturating_mul(2))
            .clamp(SHORTEST_WINDOW, LONGEST_WINDOW);
        if now.saturating_sub(self.since) < lasts || seen.calls < ENOUGH_CALLS {
            return None;
        }
        self.since = now;
        let seen = std::mem::take(&mut self.gathered);
        let mean = seen.sum.checked_div(u128::from(seen.timed));
        Some(Sample {
            rtt: mean.map(|nanos| u64::try_from(nanos).map_or(Duration::MAX, Duration::from_nanos)),
            timed: seen.timed,
            in_flight: seen.in_flight,
            dropped: seen.dropped,
        })
    }
}
