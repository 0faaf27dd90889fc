//! Where metrics and log lines go.

use std::fmt;
use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

/// Upper bounds in seconds: from a call within a machine to one that nobody waits for any more.
const BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Installs the recorder. Must come before the first call, which is when a layer looks for one.
pub(crate) fn record() -> Result<PrometheusHandle, BuildError> {
    let prometheus = PrometheusBuilder::new()
        // Or else there are summaries, which cannot be added up over instances.
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), BUCKETS)?
        .install_recorder()?;
    // What nobody scrapes would grow.
    let upkeep = prometheus.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            upkeep.run_upkeep();
        }
    });
    Ok(prometheus)
}

/// Log lines on standard error, those that `RUST_LOG` asks for; by default from `info` on, which is what the layers tell of themselves.
pub(crate) fn log() {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_target(false)
        .with_timer(SinceStart(Instant::now()))
        .with_writer(stderr)
        .with_ansi(stderr().is_terminal())
        .init();
}

/// Seconds since the start: what matters is how long things take.
struct SinceStart(Instant);

impl FormatTime for SinceStart {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        write!(w, "{:7.3}", self.0.elapsed().as_secs_f64())
    }
}
