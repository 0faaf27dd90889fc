//! How many instructions, allocations and clock readings a call takes in each layer and stack.
//!
//! ```sh
//! python3 .ci/instructions.py
//! ```
//!
//! The script runs this program under callgrind, one case per process, and compares the counts with
//! `baseline.txt`. Run alone, the program calls each case a few times and shows that it works.
//!
//! The program counts nothing itself. The script takes what callgrind collects inside
//! [`counted_by_callgrind`]. Each figure is the difference to the bare service below the layers, so
//! loop and requests cancel out. Requests are driven by a waker that does nothing in an entered
//! `current_thread` runtime: there are no other threads, no sockets and no scheduler.

#![allow(dead_code, reason = "other benchmarks use more of these files")]

mod cases;
mod http;
mod layers;
#[path = "../http/routers.rs"]
mod routers;
#[path = "../overhead/services.rs"]
mod services;
#[path = "../overhead/six_layers.rs"]
mod six_layers;
#[path = "../http/stacks.rs"]
mod stacks;

use std::env;
use std::hint::black_box;
use std::process::ExitCode;

use mainstay::BoxError;

use crate::cases::Case;
use crate::services::Work;

/// Calls before the counted ones: a service allocates some things once, at its first calls.
const FIRST: u64 = 50;
/// The calls in a smoke run.
const SMOKE: u64 = 3;

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), BoxError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    // Entered, not run: the loops must not use up the cooperative budget of a task.
    let _entered = runtime.enter();
    let mut args = env::args().skip(1).filter(|arg| arg != "--bench");
    match (args.next().as_deref(), args.next(), args.next()) {
        (Some("list"), None, None) => {
            for Case { name, over, .. } in cases::all() {
                println!("{name} {}", over.unwrap_or("-"));
            }
        }
        (Some("count"), Some(name), Some(calls)) => {
            let mut work = cases::find(&name)?;
            work(FIRST);
            counted_by_callgrind(&mut work, calls.parse()?);
            end_of_count();
        }
        (None, None, None) => {
            let cases = cases::all();
            for case in &cases {
                (case.work)()?(SMOKE);
            }
            let cases = cases.len();
            eprintln!("{cases} cases work. For their counts: python3 .ci/instructions.py");
        }
        _ => return Err("usage: instructions [list | count CASE CALLS]".into()),
    }
    Ok(())
}

/// Callgrind writes its counters to a file and resets them at the entry of this function and at the
/// entry of [`end_of_count`].
#[inline(never)]
fn counted_by_callgrind(work: &mut Work, calls: u64) {
    work(calls);
}

#[inline(never)]
fn end_of_count() {
    black_box(());
}
