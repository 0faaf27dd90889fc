//! The command line.

use std::time::Duration;

use clap::Parser;

/// An axum gateway with an HTTP and a gRPC upstream, all in one process. Break an upstream, and
/// watch how mainstay reacts.
#[derive(Clone, Debug, Parser)]
#[command(name = "gateway")]
pub(crate) struct Args {
    /// The port of the gateway on 127.0.0.1; 0 chooses a free one
    #[arg(long, value_name = "PORT", default_value_t = 3000)]
    pub(crate) port: u16,

    /// Requests per second that the gateway sends to itself; 0 for none
    #[arg(long, value_name = "RATE", default_value_t = 30, value_parser = clap::value_parser!(u32).range(0..=500))]
    pub(crate) load: u32,

    /// How long the gateway still serves new requests after SIGTERM or Ctrl-C, while it is not ready
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(0..=3_600))]
    drain: u64,

    /// Stops after this many seconds; by default it runs until Ctrl-C
    #[arg(long = "for", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: Option<u64>,
}

impl Args {
    pub(crate) fn drain(&self) -> Duration {
        Duration::from_secs(self.drain)
    }

    pub(crate) fn ends_after(&self) -> Option<Duration> {
        self.seconds.map(Duration::from_secs)
    }
}
