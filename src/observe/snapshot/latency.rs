//! The latencies of the last minute.

use std::fmt;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};
use std::time::Duration;

use hdrhistogram::Histogram;

#[cfg(feature = "serde")]
use super::seconds;
use super::{InWords, KEPT};
use crate::runtime::{Moment, nanos};

/// The last minute is so many pieces of so many seconds.
const PIECES: usize = 4;
const PIECE_SECONDS: u64 = 15;
const PIECE: u64 = PIECE_SECONDS * 1_000_000_000;

/// Microseconds.
const SHORTEST: u64 = 1;
const LONGEST: u64 = 60_000_000;
const FIGURES: u8 = 1;

/// One significant figure needs 20 steps: a power of two has 32 of them up to where steps double for the first time, and half as many
/// from there on, so that a step is at most a sixteenth of the latency. More would cost more than the rest of an instance.
const HALF: usize = 16;
const HALF_BITS: u32 = HALF.ilog2();
const BUCKETS: usize = bucket(LONGEST) + 1;

/// How long calls took, up to the head of their response, in the last minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Latency {
    /// How many calls that were: all that had to wait. Of more than some 640 a second a load shedder takes one in so many, which stands for the others.
    pub calls: u64,
    /// Half of them took no longer.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "p50_seconds", serialize_with = "seconds")
    )]
    pub p50: Duration,
    /// 90 of 100 took no longer.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "p90_seconds", serialize_with = "seconds")
    )]
    pub p90: Duration,
    /// 99 of 100 took no longer.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "p99_seconds", serialize_with = "seconds")
    )]
    pub p99: Duration,
    /// None took longer; a minute stands for all that is longer, too.
    #[cfg_attr(
        feature = "serde",
        serde(rename = "max_seconds", serialize_with = "seconds")
    )]
    pub max: Duration,
}

impl fmt::Display for Latency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "p50 {}, p90 {}, p99 {}, max {} of {}",
            InWords(self.p50),
            InWords(self.p90),
            InWords(self.p99),
            InWords(self.max),
            self.calls
        )
    }
}

/// Takes latencies from any thread, without a lock.
#[derive(Default)]
pub(crate) struct Latencies(OnceLock<Box<Minute>>);

struct Minute {
    pieces: [Piece; PIECES],
    /// Whoever begins a piece again.
    turning: Mutex<()>,
}

struct Piece {
    /// Which fifteen seconds these are; 0 for none.
    number: AtomicU64,
    counts: Box<[AtomicU32]>,
}

impl Piece {
    fn new() -> Self {
        Self {
            number: AtomicU64::new(0),
            counts: (0..BUCKETS).map(|_| AtomicU32::new(0)).collect(),
        }
    }
}

/// The number of the fifteen seconds in which a moment is.
const fn piece(now: Moment) -> u64 {
    now.to_bits() / PIECE + 1
}

impl Latencies {
    pub(crate) const fn new() -> Self {
        Self(OnceLock::new())
    }

    /// Takes a latency, which stands for so many.
    pub(crate) fn record(&self, now: Moment, latency: Duration, weight: u32) {
        if !KEPT {
            return;
        }
        let minute = self.0.get_or_init(Minute::new);
        let number = piece(now);
        let Some(piece) = minute.pieces.get(number as usize % PIECES) else {
            return;
        };
        // Also where it is of a later time: the clock went back, by a minute or more.
        if piece.number.load(Ordering::Acquire) != number {
            minute.turn(piece, number);
        }
        let micros = (nanos(latency) / 1_000).clamp(SHORTEST, LONGEST);
        if let Some(count) = piece.counts.get(bucket(micros)) {
            count.fetch_add(weight, Ordering::Relaxed);
        }
    }

    /// What there was in the last minute, if anything.
    pub(crate) fn last_minute(&self, now: Moment) -> Option<Latency> {
        let minute = self.0.get()?;
        let now = piece(now);
        let mut histogram = Histogram::<u64>::new_with_bounds(SHORTEST, LONGEST, FIGURES).ok()?;
        for piece in &minute.pieces {
            let number = piece.number.load(Ordering::Acquire);
            if number > now || number + PIECES as u64 <= now {
                continue;
            }
            for (bucket, count) in piece.counts.iter().enumerate() {
                let count = count.load(Ordering::Relaxed).into();
                if count > 0 {
                    // It cannot fail: each bucket begins within the bounds.
                    let _ = histogram.record_n(beginning(bucket).max(SHORTEST), count);
                }
            }
        }
        let quantile = |of| Duration::from_micros(histogram.value_at_quantile(of).min(LONGEST));
        (!histogram.is_empty()).then(|| Latency {
            calls: histogram.len(),
            p50: quantile(0.5),
            p90: quantile(0.9),
            p99: quantile(0.99),
            max: Duration::from_micros(histogram.max().min(LONGEST)),
        })
    }
}

impl Minute {
    #[cold]
    fn new() -> Box<Self> {
        Box::new(Self {
            pieces: std::array::from_fn(|_| Piece::new()),
            turning: Mutex::new(()),
        })
    }

    /// The piece was that of a minute ago: once in fifteen seconds.
    #[cold]
    fn turn(&self, piece: &Piece, number: u64) {
        let _turning = self.turning.lock().unwrap_or_else(PoisonError::into_inner);
        if piece.number.load(Ordering::Relaxed) != number {
            for count in &piece.counts {
                count.store(0, Ordering::Relaxed);
            }
            piece.number.store(number, Ordering::Release);
        }
    }
}

/// Where so many microseconds are counted: as exactly as that up to 31, and from there on with 16 steps until each doubling.
const fn bucket(micros: u64) -> usize {
    let shift = (micros | HALF as u64).ilog2() - HALF_BITS;
    shift as usize * HALF + (micros >> shift) as usize
}

/// The shortest time that is counted there.
const fn beginning(bucket: usize) -> u64 {
    let shift = (bucket / HALF).saturating_sub(1);
    ((bucket - shift * HALF) as u64) << shift
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn at(seconds: u64) -> Moment {
        Moment::from_bits(seconds * 1_000_000_000)
    }

    proptest! {
        /// HdrHistogram itself, told of every latency one by one.
        #[test]
        fn quantiles_are_those_of_the_whole_histogram(micros in prop::collection::vec(0..70_000_000_u64, 1..300)) {
            let latencies = Latencies::new();
            let mut model = Histogram::<u64>::new_with_bounds(SHORTEST, LONGEST, FIGURES).unwrap();
            for &micros in &micros {
                latencies.record(at(1_000), Duration::from_micros(micros), 1);
                model.record(micros.clamp(SHORTEST, LONGEST)).unwrap();
            }
            let latency = latencies.last_minute(at(1_000)).unwrap();
            let of = |quantile| Duration::from_micros(model.value_at_quantile(quantile).min(LONGEST));
            let max = Duration::from_micros(model.max().min(LONGEST));
            prop_assert_eq!(latency, Latency { calls: micros.len() as u64, p50: of(0.5), p90: of(0.9), p99: of(0.99), max });
        }

        #[test]
        fn only_the_last_minute_counts(calls in prop::collection::vec((0..90_u64, 1..1_000_u64), 1..50)) {
            let latencies = Latencies::new();
            let (mut now, mut all) = (1_000, Vec::new());
            for (pause, millis) in calls {
                now += pause;
                latencies.record(at(now), Duration::from_millis(millis), 1);
                all.push((now / PIECE_SECONDS, millis));
                let recent: Vec<_> = all.iter().filter(|(piece, _)| piece + PIECES as u64 > now / PIECE_SECONDS).collect();
                let latency = latencies.last_minute(at(now)).unwrap();
                prop_assert_eq!(latency.calls, recent.len() as u64);
                let max = recent.iter().map(|(_, millis)| *millis).max().unwrap();
                let max = Duration::from_millis(max);
                prop_assert!(latency.max >= max && latency.max <= max + max / 16, "{:?} {:?}", latency.max, max);
            }
            prop_assert_eq!(latencies.last_minute(at(now + 70)), None);
        }
    }

    #[test]
    fn what_is_a_minute_old_or_yet_to_come_does_not_count() {
        let latencies = Latencies::new();
        latencies.record(at(1_200), Duration::from_millis(1), 1);
        assert!(latencies.last_minute(at(1_259)).is_some());
        assert_eq!(latencies.last_minute(at(1_260)), None);
        // By the clock of another runtime, which is behind.
        assert_eq!(latencies.last_minute(at(1_190)), None);
    }

    #[test]
    fn what_is_recorded_after_the_clock_went_back_counts() {
        let latencies = Latencies::new();
        let begun = 20 * 60;
        for second in begun + 3_600..begun + 3_660 {
            latencies.record(at(second), Duration::from_millis(1), 1);
        }
        for second in begun..begun + 60 {
            latencies.record(at(second), Duration::from_millis(7), 1);
        }
        let latency = latencies.last_minute(at(begun + 59)).unwrap();
        assert_eq!(latency.calls, 60);
        assert!(latency.p50 > Duration::from_millis(6), "{latency}");
    }

    #[test]
    fn nothing_is_lost_where_many_threads_turn_a_piece_at_once() {
        let (latencies, together) = (Latencies::new(), std::sync::Barrier::new(4));
        let turns = |each: &dyn Fn(u64)| {
            for turn in 0..500 {
                together.wait();
                latencies.record(
                    at(1_200 + PIECE_SECONDS * turn),
                    Duration::from_millis(1),
                    1,
                );
                together.wait();
                each(turn);
            }
        };
        // Nobody asserts in there: the others would wait for a thread that panicked.
        let seen = Mutex::new(Vec::new());
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| turns(&|_| {}));
            }
            turns(&|turn| {
                let latency = latencies.last_minute(at(1_200 + PIECE_SECONDS * turn));
                seen.lock()
                    .unwrap()
                    .push(latency.map(|latency| latency.calls));
            });
        });
        for (turn, calls) in seen.into_inner().unwrap().into_iter().enumerate() {
            assert_eq!(
                calls,
                Some(4 * (turn + 1).min(PIECES) as u64),
                "turn {turn}"
            );
        }
    }
}
