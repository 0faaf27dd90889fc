//! What the whole stack costs on a real server: calls a second, processor time and allocations a call, with the layers and without.
//!
//! ```sh
//! cargo bench -p bench-http
//! cargo bench -p bench-http -- --json
//! ```
//!
//! Run by `cargo test --benches`, it makes a few calls of each case only, to see that they do what they should.

mod allocs;
mod by_hand;
mod callers;
mod cases;
#[path = "../common/mod.rs"]
mod common;
mod lane;
mod measure;
mod report;
mod routers;
mod servers;
mod stacks;
mod users;

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use mainstay::BoxError;

use crate::lane::Lane;
use crate::report::Report;

/// How long a case has callers at a time.
const LAP: Duration = Duration::from_millis(50);
const SMOKE_LAP: Duration = Duration::from_millis(2);

/// Measures what the layers cost on real servers and clients.
#[derive(Parser)]
#[command(name = "http")]
struct Args {
    /// Print one JSON object instead of tables.
    #[arg(long)]
    json: bool,

    /// About how long to measure.
    #[arg(long, value_name = "N", default_value_t = 60, value_parser = clap::value_parser!(u32).range(2..=3_600))]
    seconds: u32,

    /// Measure only the pairs whose name contains this.
    filter: Option<String>,

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
    let smoke = !args.bench;
    let (servers, callers, apart) = Lane::pair()?;
    let allocs = allocs::all()?;
    let mut pairs = cases::all(&servers, &callers)?;
    if let Some(filter) = &args.filter {
        pairs.retain(|pair| pair.name.contains(filter.as_str()));
        if pairs.is_empty() {
            return Err(format!("no pair has a name that contains {filter:?}").into());
        }
    }
    let laps = 2 * pairs.len() as u32;
    let (rounds, lap) = if smoke {
        (1, SMOKE_LAP)
    } else {
        // The round that does not count is one of them.
        let all = Duration::from_secs(args.seconds.into()).div_duration_f64(LAP * laps);
        (all as usize - 1, LAP)
    };
    let report = Report {
        pairs: measure::run(pairs, rounds, lap)?,
        allocs,
        apart,
    };
    if args.json {
        println!("{}", report.json());
    } else if !smoke {
        report.print(rounds);
    }
    if smoke {
        eprintln!(
            "{} pairs do what they should. A smoke run has no figures: cargo bench -p bench-http",
            report.pairs.len()
        );
    }
    Ok(())
}
