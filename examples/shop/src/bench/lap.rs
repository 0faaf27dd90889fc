//! Callers that call one after the other, and what they see.

use std::future::Future;
use std::time::Duration;

use hdrhistogram::Histogram;
use mainstay::BoxError;
use serde::Serialize;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// The median of what all pairs of laps have shown, and the spread.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Ratio {
    pub(super) median: f64,
    pub(super) least: f64,
    pub(super) most: f64,
}

/// What callers have seen in all laps of a case.
#[derive(Debug)]
pub(super) struct Seen {
    /// Calls a second, of each lap.
    rates: Vec<f64>,
    /// In microseconds.
    latencies: Histogram<u64>,
}

impl Seen {
    pub(super) fn new() -> Result<Self, BoxError> {
        Ok(Self {
            rates: Vec::new(),
            latencies: Histogram::new_with_bounds(1, 60_000_000, 3)?,
        })
    }

    /// A lap: each of the callers calls for as long.
    pub(super) async fn lap<C, F>(&mut self, callers: &[C], time: Duration) -> Result<(), BoxError>
    where
        C: Fn() -> F + Clone + Send + 'static,
        F: Future<Output = Result<(), BoxError>> + Send,
    {
        let began = Instant::now();
        let mut tasks = JoinSet::new();
        for call in callers {
            let call = call.clone();
            tasks.spawn(async move {
                let mut took = Vec::new();
                while began.elapsed() < time {
                    let at = Instant::now();
                    call().await?;
                    took.push(at.elapsed());
                }
                Ok::<_, BoxError>(took)
            });
        }
        let mut calls = 0_u32;
        while let Some(done) = tasks.join_next().await {
            for took in done?? {
                let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
                self.latencies.saturating_record(micros.max(1));
                calls += 1;
            }
        }
        self.rates
            .push(f64::from(calls) / began.elapsed().as_secs_f64());
        Ok(())
    }

    /// Calls a second: the median of the laps.
    pub(super) fn rate(&self) -> f64 {
        median(self.rates.clone())
    }

    /// In milliseconds.
    pub(super) fn percentile(&self, percentile: f64) -> f64 {
        let micros = self.latencies.value_at_percentile(percentile);
        Duration::from_micros(micros).as_secs_f64() * 1_000.0
    }

    /// The throughput over another's, of each pair of laps, which ran one after the other.
    pub(super) fn over(&self, other: &Self) -> Ratio {
        let pairs = self.rates.iter().zip(&other.rates);
        let ratios: Vec<_> = pairs.map(|(this, other)| this / other).collect();
        Ratio {
            least: ratios.iter().copied().fold(f64::NAN, f64::min),
            most: ratios.iter().copied().fold(f64::NAN, f64::max),
            median: median(ratios),
        }
    }
}

fn median(mut numbers: Vec<f64>) -> f64 {
    numbers.sort_by(f64::total_cmp);
    let (low, high) = (numbers.len().saturating_sub(1) / 2, numbers.len() / 2);
    match (numbers.get(low), numbers.get(high)) {
        (Some(low), Some(high)) => f64::midpoint(*low, *high),
        _ => f64::NAN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn laps_are_counted_and_compared() {
        let call = |pause: u64| {
            move || async move {
                tokio::time::sleep(Duration::from_millis(pause)).await;
                Ok(())
            }
        };
        let (mut slow, mut fast) = (Seen::new().unwrap(), Seen::new().unwrap());
        let lap = Duration::from_secs(1);
        for _ in 0..3 {
            slow.lap(&[call(10), call(10)], lap).await.unwrap();
            fast.lap(&[call(5), call(5)], lap).await.unwrap();
        }
        assert!((199.0..=201.0).contains(&slow.rate()), "{slow:?}");
        slow.lap(&[call(10)], lap).await.unwrap();
        fast.lap(&[call(2), call(2)], lap).await.unwrap();
        let ratio = fast.over(&slow);
        assert!((1.98..=2.02).contains(&ratio.median), "{fast:?}");
        assert!((1.98..=2.02).contains(&ratio.least), "{fast:?}");
        assert!((9.9..=10.1).contains(&ratio.most), "{fast:?}");
        assert!((9.9..=11.1).contains(&slow.percentile(99.0)), "{slow:?}");
        let failing = || async { Err("broken".into()) };
        let failed = slow.lap(&[failing], lap).await.unwrap_err();
        assert_eq!(failed.to_string(), "broken");
    }
}
