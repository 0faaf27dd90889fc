//! What the layers log.
#![cfg(feature = "tracing")]

use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mainstay::{BulkheadLayer, CircuitBreakerLayer, RetryBudget, RetryLayer, TimeoutLayer};
use tower::{Layer, Service, ServiceExt, service_fn};
use tracing::Level;
use tracing::subscriber::DefaultGuard;
use tracing_subscriber::fmt::MakeWriter;

/// Lines as they are logged.
#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl Lines {
    /// Those that were logged since this was asked last.
    fn take(&self) -> Vec<String> {
        let text = std::mem::take(&mut *self.0.lock().unwrap());
        let text = String::from_utf8(text).unwrap();
        text.lines().map(|line| line.trim().to_owned()).collect()
    }
}

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// What is logged in this thread from now on.
fn logged(level: Level) -> (Lines, DefaultGuard) {
    let lines = Lines::default();
    let subscriber = tracing_subscriber::fmt()
        .with_max_level(level)
        .with_ansi(false)
        .with_target(false)
        .without_time()
        .with_writer(lines.clone())
        .finish();
    (lines, tracing::subscriber::set_default(subscriber))
}

fn fails(failures: u32) -> impl FnMut(u32) -> std::future::Ready<io::Result<u32>> + Clone {
    move |call| {
        std::future::ready(if call < failures {
            Err(io::Error::other("broken"))
        } else {
            Ok(call)
        })
    }
}

#[tokio::test(start_paused = true)]
async fn a_circuit_says_what_has_changed_and_why() {
    let (lines, _logged) = logged(Level::INFO);
    let layer = CircuitBreakerLayer::builder()
        .name("circuit-log")
        .consecutive_failures(2)
        .jitter(0.0);
    let mut service = layer.build().unwrap().layer(service_fn(fails(9)));
    for call in 0..2 {
        let _ = service.ready().await.unwrap().call(call).await;
    }
    assert_eq!(
        lines.take(),
        [
            "INFO circuit changed layer=\"circuit_breaker\" name=\"circuit-log\" from=\"closed\" to=\"open\" \
             cause=\"consecutive_failures\" calls=2 failures=2 slow_calls=0 open_for_ms=5000"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn rejections_are_summed_up() {
    let (lines, _logged) = logged(Level::INFO);
    let layer = BulkheadLayer::builder()
        .name("storm")
        .limit(1)
        .build()
        .unwrap();
    let held = tokio::spawn(
        layer
            .layer(service_fn(|()| std::future::pending::<io::Result<()>>()))
            .oneshot(()),
    );
    tokio::task::yield_now().await;
    let rejected = async |calls: u32| {
        for _ in 0..calls {
            let _ = layer
                .layer(service_fn(|()| async { Ok::<_, io::Error>(()) }))
                .oneshot(())
                .await;
        }
    };
    let line = |rejections: u32| {
        format!(
            "INFO call rejected layer=\"bulkhead\" name=\"storm\" reason=\"full\" rejections={rejections}"
        )
    };
    rejected(100).await;
    assert_eq!(lines.take(), [line(1)]);
    tokio::time::advance(Duration::from_secs(1)).await;
    rejected(50).await;
    assert_eq!(lines.take(), [line(100)]);
    tokio::time::advance(Duration::from_millis(999)).await;
    rejected(1).await;
    assert!(lines.take().is_empty());
    held.abort();
}

#[tokio::test(start_paused = true)]
async fn retries_are_summed_up() {
    let (lines, _logged) = logged(Level::INFO);
    let layer = RetryLayer::builder()
        .name("flood")
        .attempts(3)
        .without_budget()
        .backoff(
            mainstay::Backoff::exponential(Duration::from_millis(100))
                .jitter(mainstay::Jitter::None),
        );
    let layer = layer.build().unwrap();
    let mut service = layer.layer(service_fn(fails(9)));
    let line = |attempt: u32, delay: u32, retries: u32| {
        format!(
            "INFO call is retried layer=\"retry\" name=\"flood\" attempt={attempt} delay_ms={delay} \
             cause=\"error\" retries={retries}"
        )
    };
    // Each takes 300 ms, and retries at its beginning and 100 ms later.
    for told in [vec![line(2, 100, 1)], vec![], vec![], vec![line(3, 200, 7)]] {
        let _ = service.ready().await.unwrap().call(1).await;
        assert_eq!(lines.take(), told);
    }
}

#[tokio::test(start_paused = true)]
async fn each_retry_and_what_was_refused() {
    let (lines, _logged) = logged(Level::DEBUG);
    let budget = RetryBudget::builder().build().unwrap();
    let layer = RetryLayer::builder()
        .name("retry-log")
        .attempts(2)
        .budget(budget)
        .backoff(
            mainstay::Backoff::constant(Duration::from_millis(20)).jitter(mainstay::Jitter::None),
        );
    let mut service = layer.build().unwrap().layer(service_fn(fails(9)));
    let _ = service.ready().await.unwrap().call(1).await;
    assert_eq!(
        lines.take(),
        [
            "INFO call is retried layer=\"retry\" name=\"retry-log\" attempt=2 delay_ms=20 cause=\"error\" retries=1",
            "DEBUG call is not retried layer=\"retry\" name=\"retry-log\" reason=\"attempts\"",
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_layer_without_state_says_it_too() {
    let (lines, _logged) = logged(Level::INFO);
    let layer = TimeoutLayer::builder()
        .name("slow-log")
        .timeout(Duration::from_millis(5));
    let service = layer
        .build()
        .unwrap()
        .layer(service_fn(|()| std::future::pending::<io::Result<()>>()));
    let _ = service.oneshot(()).await;
    assert_eq!(
        lines.take(),
        ["INFO call ended layer=\"timeout\" name=\"slow-log\" reason=\"timed_out\" rejections=1"]
    );
}

#[tokio::test(start_paused = true)]
async fn nothing_is_said_below_the_level() {
    let (lines, _logged) = logged(Level::WARN);
    let layer = TimeoutLayer::builder()
        .name("quiet")
        .timeout(Duration::from_millis(5));
    let service = layer
        .build()
        .unwrap()
        .layer(service_fn(|()| std::future::pending::<io::Result<()>>()));
    let _ = service.oneshot(()).await;
    assert!(lines.take().is_empty());
}

#[test]
fn what_is_unwise_about_a_stack_is_logged_once() {
    let (lines, _logged) = logged(Level::WARN);
    let retry = mainstay::http::retry().without_budget();
    let stack = mainstay::http::client("payments")
        .retry(retry)
        .build()
        .unwrap();
    let _clones = (stack.clone(), stack.clone());
    let [line] = &lines.take()[..] else { panic!() };
    assert!(
        line.starts_with(
            "WARN retry.without_budget: when everything fails, the load is multiplied by 3"
        ),
        "{line}"
    );
    assert!(
        line.contains("stack=\"payments\" kind=\"http client\""),
        "{line}"
    );
}
