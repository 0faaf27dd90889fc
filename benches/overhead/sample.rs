//! How a case is measured: the same here, and in the programs of `child`.

use std::io;
use std::time::{Duration, Instant};

use crate::services::Work;

/// A case runs so many times in a round, and the fastest counts.
const SAMPLES: usize = 2;

/// What can be measured.
pub(crate) trait Sampled {
    /// What has to be done before the first call, and may fail.
    fn prepare(&mut self) -> io::Result<()> {
        Ok(())
    }

    /// How long so many calls take.
    fn time(&mut self, calls: u64) -> Duration;

    /// How often so many calls allocate.
    fn count(&mut self, calls: u64) -> u64;
}

impl Sampled for Work {
    fn time(&mut self, calls: u64) -> Duration {
        let times = (0..SAMPLES).map(|_| time(self, calls));
        times.min().unwrap_or_default()
    }

    fn count(&mut self, calls: u64) -> u64 {
        allocation_counter::measure(|| self(calls)).count_total
    }
}

/// The counter of allocations looks away, so that it costs those who allocate as little as can be. It cannot be left out of
/// a program that also counts.
fn time(work: &mut Work, calls: u64) -> Duration {
    let mut took = Duration::ZERO;
    allocation_counter::opt_out(|| {
        let began = Instant::now();
        work(calls);
        took = began.elapsed();
    });
    took
}
