//! The clone of the inner service that a retry makes is foreign code: no lock is held meanwhile.

use std::future::Future as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::task::{self, Poll, Waker};
use std::time::Duration;

use crate::support::{Act, Broken, Probe, ms};
use mainstay::{Backoff, Jitter, RetryLayer};
use tower::{Layer, Service, ServiceExt as _};

type Armed = Arc<Mutex<Option<Box<dyn FnOnce() + Send>>>>;

/// Its next clone runs the closure.
struct RunsInClone {
    probe: Probe,
    armed: Armed,
}

impl Clone for RunsInClone {
    fn clone(&self) -> Self {
        let run = self.armed.lock().unwrap().take();
        if let Some(run) = run {
            run();
        }
        Self {
            probe: self.probe.clone(),
            armed: Arc::clone(&self.armed),
        }
    }
}

impl Service<Act> for RunsInClone {
    type Response = u32;
    type Error = Broken;
    type Future = <Probe as Service<Act>>::Future;

    fn poll_ready(&mut self, cx: &mut task::Context<'_>) -> Poll<Result<(), Broken>> {
        self.probe.poll_ready(cx)
    }

    fn call(&mut self, act: Act) -> Self::Future {
        self.probe.call(act)
    }
}

#[tokio::main(flavor = "current_thread", start_paused = true)]
async fn retries_whose_clones_poll_and_panic() {
    let probe = Probe::default();
    let armed = Armed::default();
    let inner = RunsInClone {
        probe: probe.clone(),
        armed: Arc::clone(&armed),
    };
    let backoff = Backoff::constant(ms(10)).jitter(Jitter::None);
    let retry = RetryLayer::builder().attempts(2).backoff(backoff);
    let mut service = retry.build().unwrap().layer(inner);
    let mut calls = Vec::new();
    for _ in 0..3 {
        calls.push(Box::pin(service.ready().await.unwrap().call(Act::Fail)));
    }
    let [mut first, mut second, mut third] = calls.try_into().ok().unwrap();
    let cx = &mut task::Context::from_waker(Waker::noop());
    for call in [&mut first, &mut second, &mut third] {
        assert!(call.as_mut().poll(cx).is_pending());
    }
    tokio::time::advance(ms(20)).await;

    let (polled, result) = channel();
    *armed.lock().unwrap() = Some(Box::new(move || {
        let cx = &mut task::Context::from_waker(Waker::noop());
        let is_pending = second.as_mut().poll(cx).is_pending();
        polled.send((is_pending, second)).unwrap();
    }));
    assert!(first.await.is_err());
    let (was_pending, second) = result.recv().unwrap();
    assert!(was_pending, "it waits for the other clone");
    assert!(second.await.is_err());

    *armed.lock().unwrap() = Some(Box::new(|| panic!("told to panic")));
    let panicked = catch_unwind(AssertUnwindSafe(|| third.as_mut().poll(cx).is_ready()));
    assert!(panicked.is_err());
    // The next retry still finds a service to clone.
    assert!(
        service
            .ready()
            .await
            .unwrap()
            .call(Act::Fail)
            .await
            .is_err()
    );
    assert_eq!(probe.calls(), 3 + 2 + 2);
}

#[test]
fn another_retry_goes_on_while_a_clone_is_made() {
    // A deadlock would hang the thread.
    let (done, ended) = channel();
    let thread = std::thread::spawn(move || {
        retries_whose_clones_poll_and_panic();
        done.send(()).unwrap();
    });
    let ended = ended.recv_timeout(Duration::from_secs(20));
    assert!(
        ended.is_ok(),
        "{:?}",
        thread.is_finished().then(|| thread.join())
    );
}
