//! What standard stacks with nothing set do to real traffic: honest callers beside hostile ones, and a server that is asked for three times what
//! its processor can do.
//!
//! ```sh
//! cargo bench -p bench-traffic
//! cargo bench -p bench-traffic -- --json
//! ```
//!
//! The mix runs for forty seconds, with stacks and without side by side. In overload, what counts is what a server gives from the fourth second on. Run by `cargo test --benches`, it lasts a second, to see that everything starts.

#[path = "../common/mod.rs"]
#[allow(dead_code, reason = "what this benchmark shares with the others")]
mod common;
mod gateway;
mod honest;
mod hostile;
mod machine;
mod overload;
mod report;
mod tally;
mod upstream;
mod users;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use mainstay::BoxError;
use tokio::runtime::Runtime;
use tokio::time::{Instant, sleep_until};

use crate::gateway::Site;
use crate::machine::Watch;
use crate::report::{Mixed, Report};
use crate::tally::Tally;

/// How long the mix runs. An upload has to outlive the default time limit of a server, which is thirty seconds.
const MIXED: Duration = Duration::from_secs(40);
const OVERLOAD: Duration = Duration::from_secs(10);
const SMOKE: Duration = Duration::from_secs(1);

/// Runs honest, hostile and excessive traffic against stacks with nothing set.
#[derive(Parser)]
#[command(name = "traffic")]
struct Args {
    /// Print one JSON object instead of tables.
    #[arg(long)]
    json: bool,

    /// Run one part only: `mixed` or `overload`.
    #[arg(long, value_name = "PART", value_parser = ["mixed", "overload"])]
    only: Option<String>,

    /// Given by `cargo bench`, and not by `cargo test`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<(), BoxError> {
    let (mixed_for, overload_for) = if args.bench {
        (MIXED, OVERLOAD)
    } else {
        (SMOKE, SMOKE)
    };
    let runs = |part| args.only.as_deref().is_none_or(|only| only == part);
    let mut report = Report::default();
    if runs("mixed") {
        report.mixed = Some(mixed(mixed_for)?);
    }
    if runs("overload") {
        report.overload = overload::run(overload_for)?;
    }
    if args.json {
        println!("{}", report.json());
    } else {
        report.print();
    }
    if !args.bench {
        eprintln!("A smoke run has no figures: cargo bench -p bench-traffic");
    }
    Ok(())
}

/// The same traffic through a site without stacks and one with, at the same time. The sites have threads of their own, as callers are
/// other programs.
fn mixed(run_for: Duration) -> Result<Mixed, BoxError> {
    let (servers, callers) = (Runtime::new()?, Runtime::new()?);
    let without = servers.block_on(Site::start(false))?;
    let with = servers.block_on(Site::start(true))?;
    let watch = Watch::start();
    let until = Instant::now() + run_for;
    let (bare, stacked) =
        callers.block_on(async { tokio::join!(traffic(&without, until), traffic(&with, until)) });
    let others = watch.others();
    callers.shutdown_timeout(Duration::from_secs(1));
    servers.shutdown_timeout(Duration::from_secs(1));
    Ok(Mixed {
        without: bare?,
        with: stacked?,
        others,
    })
}

async fn traffic(site: &Site, until: Instant) -> Result<Tally, BoxError> {
    let tally = Tally::default();
    let hostile = hostile::start(site, until);
    let honest = honest::start(site, until, &tally);
    sleep_until(until).await;
    // Calls that are under way have their time; callers make no new ones.
    for caller in honest {
        caller.await?;
    }
    for caller in hostile {
        caller.abort();
    }
    Ok(tally)
}
