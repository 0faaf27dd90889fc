//! What the layers cost: nanoseconds and allocations a call, next to what others offer for the same purpose.
//!
//! ```sh
//! cargo bench -p bench-overhead
//! cargo bench -p bench-overhead -- --json
//! ```
//!
//! What the features `metrics` and `tracing` cost where nothing is installed is measured with two more programs, which are built first (see `elsewhere`).
//!
//! Run by `cargo test --benches`, it makes a few calls of each case only, to see that they do what they should.

mod cases;
#[path = "../common/mod.rs"]
mod common;
mod elsewhere;
mod keyed;
mod measure;
mod peers;
mod recorded;
mod report;
mod sample;
mod seatbelt;
mod services;
mod six_layers;
mod stacks;
mod threads;

use clap::Parser;

use crate::report::Report;

/// Measures what a call through each layer costs.
#[derive(Parser)]
#[command(name = "overhead")]
struct Args {
    /// Print one JSON object instead of tables.
    #[arg(long)]
    json: bool,

    /// How many times all cases are measured.
    #[arg(long, value_name = "ROUNDS", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    rounds: u32,

    /// Measure only the cases whose name contains this, and their peers.
    filter: Option<String>,

    /// Given by `cargo bench`, and not by `cargo test`.
    #[arg(long, hide = true)]
    bench: bool,
}

fn main() {
    let args = Args::parse();
    let smoke = !args.bench;
    let rounds = if smoke { 2 } else { args.rounds as usize };

    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .expect("a runtime needs nothing that could be missing");
    // Entered, not run: the loops must not use up the cooperative budget of a task.
    let _entered = runtime.enter();

    let mut cases = cases::all(smoke);
    if let Some(filter) = &args.filter {
        retain(&mut cases, filter);
    }
    let scaled = if args.filter.is_none() {
        threads::run(rounds, smoke, runtime.handle())
    } else {
        Vec::new()
    };
    let report = Report {
        cases: measure::run(cases, rounds, smoke),
        scaled,
    };
    if args.json {
        println!("{}", report.json());
    } else if !smoke {
        report.print(rounds);
    }
    if smoke {
        eprintln!(
            "{} cases do what they should. A smoke run has no figures: cargo bench -p bench-overhead",
            report.cases.len()
        );
    }
}

fn retain(cases: &mut Vec<cases::Case>, filter: &str) {
    let mut wanted: Vec<_> = cases
        .iter()
        .map(|case| case.name)
        .filter(|name| name.contains(filter))
        .collect();
    if wanted.is_empty() {
        let message = format!("no case has a name that contains {filter:?}");
        clap::Error::raw(clap::error::ErrorKind::InvalidValue, message + "\n").exit();
    }
    // A peer may have one, too.
    let mut next = 0;
    while let Some(&name) = wanted.get(next) {
        let case = cases.iter().find(|case| case.name == name);
        wanted.extend(case.iter().flat_map(|case| &case.peers));
        next += 1;
    }
    cases.retain(|case| wanted.contains(&case.name));
}
