//! Metrics and log lines.

use std::fmt;
use std::io::{IsTerminal, stderr};
use std::time::{Duration, Instant};

use metrics_exporter_prometheus::{BuildError, Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;

/// Upper bounds of the buckets in seconds.
const BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// Installs the recorder. Call it before the first request: an instance looks for a recorder at its
/// first call.
pub(crate) fn record() -> Result<PrometheusHandle, BuildError> {
    let prometheus = PrometheusBuilder::new()
        // Without buckets the exporter makes summaries, which cannot be aggregated over instances.
        .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), BUCKETS)?
        .install_recorder()?;
    // Otherwise the histograms grow while nobody scrapes them.
    let upkeep = prometheus.clone();
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(Duration::from_secs(5)).await;
            upkeep.run_upkeep();
        }
    });
    Ok(prometheus)
}

/// Writes log lines to standard error, filtered by `RUST_LOG`. The default is `info`, which
/// includes the log lines of the layers.
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

/// Log lines begin with the seconds since the start.
struct SinceStart(Instant);

impl FormatTime for SinceStart {
    fn format_time(&self, w: &mut Writer<'_>) -> fmt::Result {
        write!(w, "{:7.3}", self.0.elapsed().as_secs_f64())
    }
}
