//! The same outage twice: without mainstay, and with it.
//!
//! ```text
//! cargo run --release --example outage
//! ```
//!
//! An upstream service is healthy, turns slow, then fails fast, then refuses connections, then
//! recovers. A gateway calls it. Users call the gateway, at a steady rate and whatever became of
//! the calls before. All of it is real: three parties that speak HTTP over loopback, on ports of
//! the system's choice. Nothing is staged either: upstream, load and measurement are the same code
//! in both runs, and all that differs is in `stack.rs`.
//!
//! What the stack cannot do is make an unwell upstream answer. It gives up, early and on purpose:
//! in the slow phase callers get a 503 in a millisecond, with the time to come back at, in place of
//! an answer after seconds, and so the success rate of that phase is *lower* with the stack. What it
//! saves is everything else: the gateway does not fill up with waiting calls, and the upstream is
//! not kept down by calls that it cannot serve.
//!
//! - `upstream.rs`, `server.rs`: the upstream, and how it is killed and brought back;
//! - `gateway.rs`, `stack.rs`: the gateway, measured, and what protects it;
//! - `load.rs`: the users;
//! - `run.rs`, `phase.rs`, `progress.rs`: one run from beginning to end;
//! - `stats.rs`, `report.rs`, `plot.rs`: what came of it.

mod args;
mod gateway;
mod load;
mod phase;
mod plot;
mod progress;
mod report;
mod run;
mod server;
mod stack;
mod stats;
mod upstream;

use std::process::ExitCode;

use args::Args;
use stack::Stack;
use tower::BoxError;

#[tokio::main]
async fn main() -> ExitCode {
    let args = Args::from_command_line();
    match outage(&args).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn outage(args: &Args) -> Result<(), BoxError> {
    allow_sockets(args)?;
    let without = run::run(Stack::Without, args).await?;
    let with = run::run(Stack::With, args).await?;
    if args.json {
        println!("{}", report::json(&without, &with)?);
    } else {
        println!("{}", report::text(&without, &with));
    }
    if let Some(path) = args.svg() {
        plot::write(path, args.phase(), &without, &with)?;
        eprintln!("wrote {}", path.display());
    }
    Ok(())
}

/// Makes sure that this process may open as many sockets as calls can pile up, and says so now if
/// it may not: later it would look like an outage of its own.
///
/// A call in flight is two connections, and both ends of each are in this process. Without a stack
/// all calls of `--slow-seconds` are in flight at once.
fn allow_sockets(args: &Args) -> Result<(), BoxError> {
    const SPARE: u64 = 200;
    let in_flight = (args.rate * args.slow().as_secs_f64()).ceil() as u64;
    let need = 4 * in_flight + SPARE;
    let may = rlimit::increase_nofile_limit(need)?;
    if may < need {
        return Err(format!(
            "this run opens up to {need} sockets and the system allows {may} (`ulimit -n`); \
             try a lower --rate",
        )
        .into());
    }
    Ok(())
}
