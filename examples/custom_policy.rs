//! Policies of your own, on a protocol of your own: a job queue whose messages carry the context, a
//! retry policy that looks at the job, a circuit breaker that knows which failures are the
//! upstream's, and an observer that prints the decisions.
//!
//! Run it with `cargo run --example custom_policy`. It ends after a few calls.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mainstay::{
    Backoff, Carry, CircuitBreakerLayer, Context, CorrelationLayer, Decision, Error, Event,
    EventKind, Outcome, Plain, RetryLayer, RetryPolicy, RetryRefused, TimeoutLayer,
};
use tower::{BoxError, Service, ServiceBuilder, ServiceExt, service_fn};

/// A message from a queue. The layers work with any request type, not only with HTTP.
#[derive(Debug, Clone, Default)]
struct Job {
    name: &'static str,
    may_repeat: bool,
    headers: BTreeMap<String, String>,
}

impl Carry for Job {
    fn get(&self, field: &str) -> Option<&[u8]> {
        self.headers.get(field).map(String::as_bytes)
    }

    fn set(&mut self, field: &str, value: &str) {
        self.headers.insert(field.to_owned(), value.to_owned());
    }
}

/// What can go wrong with a job.
#[derive(Debug)]
enum JobError {
    /// The database is busy for this long.
    Busy(Duration),
    /// The job itself is wrong.
    Invalid,
}

// With this line, your error type can grow to carry a rejection.
impl Plain for JobError {}

impl std::fmt::Display for JobError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Busy(wait) => write!(f, "busy for another {wait:?}"),
            Self::Invalid => f.write_str("invalid"),
        }
    }
}

impl std::error::Error for JobError {}

/// Retries jobs that may be repeated, when the database asks for it.
struct Patient;

impl RetryPolicy<Job, (), Error<JobError>> for Patient {
    type Kept = Job;

    fn keep(&self, job: &mut Job, _: usize) -> Option<Job> {
        job.may_repeat.then(|| job.clone())
    }

    fn again(&self, job: &mut Job, _: u32) -> Result<Job, RetryRefused> {
        Ok(job.clone())
    }

    fn decide(&self, _: &Job, result: Result<&(), &Error<JobError>>, _: u32) -> Decision {
        match result {
            Err(Error::Inner(JobError::Busy(wait))) => Decision::RetryAfter(*wait),
            // A time-out is the only rejection that arrives here. Others are never retried.
            Err(Error::Rejected(_)) => Decision::Retry,
            Err(Error::Inner(JobError::Invalid)) | Ok(()) => Decision::Return,
        }
    }
}

fn print(event: &Event) {
    let who = format_args!("{} {}", event.layer(), event.name()).to_string();
    match event.kind() {
        EventKind::Rejected(rejection) => println!("    [{who}] rejected: {}", rejection.reason()),
        EventKind::Retrying { attempt, delay, .. } => {
            println!("    [{who}] attempt {attempt} follows in {delay:?}");
        }
        EventKind::RetryRefused(why) => println!("    [{who}] no retry: {why:?}"),
        EventKind::Transition(t) => println!("    [{who}] {} -> {}: {}", t.from, t.to, t.cause),
        _ => {}
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), BoxError> {
    let circuit = CircuitBreakerLayer::builder()
        .name("database")
        .consecutive_failures(3)
        .classify(|result: Result<&(), &Error<JobError>>| match result {
            // An invalid job says nothing about the database.
            Err(Error::Inner(JobError::Invalid)) => Outcome::Ignored,
            Err(_) => Outcome::Failure,
            Ok(()) => Outcome::Success,
        })
        .observer(print)
        .build()?;
    let handle = circuit.handle();

    let calls = &AtomicU32::new(0);
    let mut jobs = ServiceBuilder::new()
        .layer(CorrelationLayer::consumer())
        .layer(TimeoutLayer::new(Duration::from_secs(1)))
        .layer(
            RetryLayer::builder()
                .name("database")
                .attempts(3)
                .backoff(Backoff::exponential(Duration::from_millis(10)))
                .policy(Patient)
                .observer(print)
                .build()?,
        )
        .layer(circuit)
        .service(service_fn(|job: Job| async move {
            let context = Context::current();
            let id = context.correlation_id().map(ToString::to_string);
            println!(
                "  {} (attempt {}, {} ms left, id {})",
                job.name,
                context.attempt(),
                context.remaining().unwrap_or_default().as_millis(),
                id.unwrap_or_default(),
            );
            match (job.name, calls.fetch_add(1, Ordering::Relaxed)) {
                ("invoice", 0) => Err(JobError::Busy(Duration::from_millis(20))),
                ("nonsense", _) => Err(JobError::Invalid),
                ("report", _) => Err(JobError::Busy(Duration::from_millis(5))),
                _ => Ok(()),
            }
        }));

    for (name, may_repeat, id) in [
        ("invoice", true, "order-4711"),
        ("nonsense", true, "order-4712"),
        ("report", true, "order-4713"),
        ("invoice", false, "order-4714"),
    ] {
        println!("{name}:");
        let mut job = Job {
            name,
            may_repeat,
            ..Job::default()
        };
        job.set("x-correlation-id", id);
        match jobs.ready().await?.call(job).await {
            Ok(()) => println!("  done"),
            Err(Error::Inner(error)) => println!("  failed: {error}"),
            Err(Error::Rejected(rejection)) => println!("  rejected: {rejection}"),
        }
    }
    println!("the circuit is {}", handle.state());
    Ok(())
}
