//! The same outage twice: without mainstay, and with it.
//!
//! ```text
//! cargo run --release -p outage
//! ```
//!
//! A gateway has two routes, each with its own upstream. The upstream of `/catalog` is healthy,
//! then becomes slow, then returns errors, then refuses connections, then recovers. The upstream of
//! `/pricing` is always healthy. Users call both routes at a steady rate, whether or not earlier
//! calls have finished, and give up after one second: that is a failed call. All parties speak HTTP
//! over loopback. Upstreams, load, handlers and measurement are the same code in both runs. The
//! only difference is `Stack::gateway` in `stack.rs`.
//!
//! In both runs the gateway serves at most 100 calls at a time (`--room`), a hundred times as many
//! as this load needs while both upstreams are healthy. Without the stack, calls that wait for the
//! slow upstream reach that limit, and `/pricing` fails with them. With the stack they do not.
//!
//! The stack cannot make a failing upstream answer. In the bad phases `/catalog` fails in both
//! runs: at once with the stack, and after a second without it. The stack also has a price: after
//! the upstream has recovered, its circuit stays open until the next probe, for up to `open_max`.
//!
//! - `upstream.rs`, `server.rs`: the upstreams, and how one is killed and restarted
//! - `gateway.rs`, `stack.rs`: the gateway, its counters and its protection
//! - `load.rs`, `route.rs`: the users, and the two routes that they call
//! - `run.rs`, `phase.rs`, `progress.rs`: one run from beginning to end
//! - `stats.rs`, `report.rs`, `plot.rs`: the result

mod args;
mod gateway;
mod load;
mod phase;
mod plot;
mod progress;
mod report;
mod route;
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

/// Checks that this process may open enough sockets. Too few would look like an outage of its own.
///
/// A call in flight has two connections, and both ends of each are in this process. At most all
/// calls that users wait for are in flight at once.
fn allow_sockets(args: &Args) -> Result<(), BoxError> {
    const SPARE: u64 = 200;
    let in_flight = (args.rate * load::PATIENCE.as_secs_f64()).ceil() as u64 * 2;
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
