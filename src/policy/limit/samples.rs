//! Groups calls into windows, each of which gives one sample. If each call moved the limit, a burst
//! of eight failures would lower it eight times.

use std::time::Duration;

const SHORTEST_WINDOW: Duration = Duration::from_millis(100);
const LONGEST_WINDOW: Duration = Duration::from_secs(1);
const ENOUGH_CALLS: u64 = 10;

/// The result of a window.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Sample {
    /// The mean latency of the calls that were not dropped; `None` if all were.
    pub(super) rtt: Option<Duration>,
    /// The number of calls that were not dropped.
    pub(super) timed: u64,
    /// The most calls in flight at once.
    pub(super) in_flight: u32,
    /// Whether any call was dropped.
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

    /// Adds a call, with its latency unless it was dropped. Returns the sample if the window ends.
    ///
    /// A window lasts for twice its shortest latency, from 100 ms to a second, so that it contains
    /// whole calls; and until it has ten calls.
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
        Some(Sample {
            rtt: mean(seen.sum, seen.timed),
            timed: seen.timed,
            in_flight: seen.in_flight,
            dropped: seen.dropped,
        })
    }
}

/// The mean of `count` latencies with this sum in nanoseconds.
pub(super) fn mean(sum: u128, count: u64) -> Option<Duration> {
    let mean = sum.checked_div(u128::from(count))?;
    Some(u64::try_from(mean).map_or(Duration::MAX, Duration::from_nanos))
}
