//! The command line.

use std::time::Duration;

use clap::Parser;

/// An axum gateway in front of an HTTP and a gRPC service, all in one process: break one of them, and watch what mainstay makes of it.
#[derive(Clone, Debug, Parser)]
#[command(name = "gateway")]
pub(crate) struct Args {
    /// The port of the gateway on 127.0.0.1; 0 takes any free one
    #[arg(long, value_name = "PORT", default_value_t = 3000)]
    pub(crate) port: u16,

    /// Requests a second that come by themselves, so that there is something to see; 0 for none
    #[arg(long, value_name = "RATE", default_value_t = 30, value_parser = clap::value_parser!(u32).range(0..=500))]
    pub(crate) load: u32,

    /// Ends after so many seconds; without it on Ctrl-C
    #[arg(long = "for", value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: Option<u64>,
}

impl Args {
    pub(crate) fn ends_after(&self) -> Option<Duration> {
        self.seconds.map(Duration::from_secs)
    }
}
