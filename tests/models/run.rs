//! Runs the models, two at a time.
//!
//! ```text
//! cargo test -p models              all
//! cargo test -p models -- waiter    those whose names contain a word
//! ```
//!
//! loom's own variables are described in its documentation: `LOOM_MAX_PREEMPTIONS` for how thorough
//! it is, `LOOM_LOG=trace LOOM_LOCATION=1` for the steps of an execution that fails.

use std::process::ExitCode;
use std::sync::Mutex;
use std::thread;
use std::time::Instant;

fn main() -> ExitCode {
    let word = std::env::args().nth(1).unwrap_or_default();
    let models = mainstay_models::models::all().filter(|(name, _)| name.contains(&word));
    let (models, failed) = (&Mutex::new(models), &Mutex::new(false));
    let run = || {
        loop {
            let next = models.lock().expect("nothing panics under it").next();
            let Some((name, model)) = next else {
                return;
            };
            let begun = Instant::now();
            // It has the model's name, which is in the message where a panic ends the program.
            let thread = thread::Builder::new().name(name.to_owned()).spawn(model);
            let result = thread.expect("a thread").join();
            let took = begun.elapsed().as_secs_f64();
            match result {
                Ok(executions) => println!("{name}: {executions} executions in {took:.1} s"),
                Err(_) => {
                    println!("{name}: FAILED after {took:.1} s");
                    *failed.lock().expect("nothing panics under it") = true;
                }
            }
        }
    };
    thread::scope(|scope| {
        scope.spawn(run);
        scope.spawn(run);
    });
    ExitCode::from(u8::from(*failed.lock().expect("nothing panicked")))
}
