//! Polling by hand, with wakers that count.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context as Task, Poll, Wake, Waker};

use mainstay::{Error, Rejection, WithRejection};

use crate::exchange::{Answer, Fault};

/// A waker that counts how often it is woken.
#[derive(Default)]
pub(crate) struct Bell(AtomicU32);

impl Bell {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    pub(crate) fn rung(&self) -> u32 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// Polls once, and gives the waker away that it was polled with.
pub(crate) fn poll_with<T>(poll: impl FnOnce(&mut Task<'_>) -> Poll<T>) -> (Poll<T>, Arc<Bell>) {
    let bell = Bell::new();
    let waker = Waker::from(Arc::clone(&bell));
    (poll(&mut Task::from_waker(&waker)), bell)
}

pub(crate) fn poll<F: Future>(future: Pin<&mut F>) -> Poll<F::Output> {
    poll_with(|task| future.poll(task)).0
}

/// Runs code that may panic, and comes back with `None` if it did. The unwinding ends here, so that whatever is dropped
/// afterwards is dropped by a thread that is not panicking.
pub(crate) fn catch<T>(run: impl FnOnce() -> T) -> Option<T> {
    let caught = catch_unwind(AssertUnwindSafe(run)).ok();
    assert!(!std::thread::panicking());
    caught
}

/// How a call ended.
#[derive(Debug, PartialEq)]
pub(crate) enum Outcome {
    Answer(u32),
    Fault(u32),
    Rejected(Rejection),
    Panicked,
}

impl<E> From<Result<Answer, E>> for Outcome
where
    E: WithRejection<Error = Error<Fault>>,
{
    fn from(result: Result<Answer, E>) -> Self {
        match result.map_err(WithRejection::grow) {
            Ok(answer) => Self::Answer(answer.id),
            Err(Error::Inner(fault)) => Self::Fault(fault.id),
            Err(Error::Rejected(rejection)) => Self::Rejected(rejection),
        }
    }
}
