//! What metrics cost where they are recorded: stacks that found a Prometheus recorder at their first call.

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mainstay::ConfigError;
use metrics::{
    Counter, Gauge, Histogram, HistogramFn, Key, KeyName, Level, Metadata, Recorder, SharedString,
    Unit,
};
use metrics_exporter_prometheus::{
    Matcher, PrometheusBuilder, PrometheusHandle, PrometheusRecorder,
};

use crate::cases::Case;
use crate::sample::Sampled;
use crate::services::Work;

/// Work that is recorded.
struct Recorded {
    timed: Work,
    /// The same with a recorder that allocates nothing, so that what is counted is not the recorder's.
    counted: Work,
    prometheus: PrometheusHandle,
}

/// The case of this work, next to the same unrecorded.
pub(crate) fn case(
    name: &'static str,
    unrecorded: &'static str,
    work: impl Fn() -> Result<Work, ConfigError>,
) -> Result<Case, ConfigError> {
    let (prometheus, tally) = (prometheus(), Tally::default());
    let recorded = Recorded {
        timed: found(work()?, &prometheus),
        counted: found(work()?, &tally),
        prometheus: prometheus.handle(),
    };
    let scraped = recorded.prometheus.render();
    assert!(scraped.contains("_total{"), "nothing in\n{scraped}");
    assert_ne!(tally.0.load(Ordering::Relaxed), 0, "nothing was counted");
    Ok(Case::new(name, recorded).next_to(unrecorded))
}

/// What it is told of one call of the six layers, and nothing else: three of them count, and the circuit breaker takes the time. (The load shedder does so for
/// a few calls only.) The exporter reads a clock of its own for a sample, and allocates for every 64 of them.
pub(crate) fn alone(name: &'static str) -> Case {
    static METADATA: Metadata<'static> = Metadata::new("overhead", Level::INFO, None);
    let prometheus = prometheus();
    let counters = ["circuit_breaker_total", "bulkhead_total", "load_shed_total"]
        .map(|name| prometheus.register_counter(&Key::from_static_name(name), &METADATA));
    let seconds = Key::from_static_name("circuit_breaker_seconds");
    let seconds = prometheus.register_histogram(&seconds, &METADATA);
    let again = || -> Work {
        let (counters, seconds) = (counters.clone(), seconds.clone());
        Box::new(move |calls| {
            for _ in 0..calls {
                counters.iter().for_each(|counter| counter.increment(1));
                seconds.record(black_box(0.000_1));
            }
        })
    };
    let recorded = Recorded {
        timed: again(),
        counted: again(),
        prometheus: prometheus.handle(),
    };
    Case::new(name, recorded)
}

/// Set for this thread and the first call only: all other cases have none.
fn found(mut work: Work, recorder: &impl Recorder) -> Work {
    metrics::with_local_recorder(recorder, || work(1));
    work
}

fn prometheus() -> PrometheusRecorder {
    let seconds = Matcher::Suffix("_seconds".to_owned());
    PrometheusBuilder::new()
        .set_buckets_for_metric(seconds, &[0.001, 0.01, 0.1, 1.0, 10.0])
        .expect("there are buckets")
        .build_recorder()
}

impl Sampled for Recorded {
    fn time(&mut self, calls: u64) -> Duration {
        let took = self.timed.time(calls);
        // Or the exporter would keep all samples: between scrapes, programs do this every few seconds.
        self.prometheus.run_upkeep();
        took
    }

    fn count(&mut self, calls: u64) -> u64 {
        self.counted.count(calls)
    }
}

/// Everything in one number.
#[derive(Default)]
struct Tally(Arc<AtomicU64>);

impl Recorder for Tally {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, _: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(Arc::clone(&self.0))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(Arc::new(Self(Arc::clone(&self.0))))
    }
}

impl HistogramFn for Tally {
    fn record(&self, _: f64) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}
