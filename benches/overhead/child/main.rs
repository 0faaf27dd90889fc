//! The six layers in a process of their own, for a build of mainstay with other features than those of the benchmark `overhead`.
//!
//! Its argument is the service: `ready`, or `yields`. It reads lines, `time CALLS` or `count CALLS`, and answers each with a number: nanoseconds, or allocations.

#![allow(dead_code, reason = "the benchmark has more cases")]

#[path = "../sample.rs"]
mod sample;
#[path = "../services.rs"]
mod services;
#[path = "../six_layers.rs"]
mod six_layers;

use std::env;
use std::io::{self, BufRead, Write};

use crate::sample::Sampled;

fn main() -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()?;
    let _entered = runtime.enter();

    let mut case = match env::args().nth(1).as_deref() {
        Some("yields") => six_layers::yields(),
        _ => six_layers::ready(),
    };
    for line in io::stdin().lock().lines() {
        let line = line?;
        let (what, calls) = line.split_once(' ').ok_or(io::ErrorKind::InvalidInput)?;
        let calls = calls.parse().map_err(io::Error::other)?;
        let answer = match what {
            "time" => case.time(calls).as_nanos(),
            _ => case.count(calls).into(),
        };
        writeln!(io::stdout(), "{answer}")?;
    }
    Ok(())
}
