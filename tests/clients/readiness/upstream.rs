//! A service whose readiness fails as often as it is told to.

use std::future::{Pending, Ready, pending, ready};
use std::marker::PhantomData;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};

use futures::future::Either;
use tower::Service;

/// What [`Upstream`] and its clones saw.
#[derive(Default)]
struct Seen {
    /// How often readiness still fails.
    fails: AtomicU32,
    failed: AtomicU32,
    calls: AtomicU32,
    hangs: AtomicBool,
}

pub(crate) struct Upstream<Req, E, Res> {
    seen: Arc<Seen>,
    error: Arc<dyn Fn() -> E + Send + Sync>,
    answer: Arc<Mutex<dyn FnMut() -> Res + Send>>,
    ready: bool,
    request: PhantomData<fn(Req)>,
}

impl<Req, E, Res> Upstream<Req, E, Res> {
    pub(crate) fn new(
        error: impl Fn() -> E + Send + Sync + 'static,
        answer: impl FnMut() -> Res + Send + 'static,
    ) -> Self {
        Self {
            seen: Arc::default(),
            error: Arc::new(error),
            answer: Arc::new(Mutex::new(answer)),
            ready: false,
            request: PhantomData,
        }
    }

    /// From now on readiness fails so often.
    pub(crate) fn fail(&self, times: u32) {
        self.seen.fails.store(times, Ordering::SeqCst);
    }

    /// Whether calls from now on are never answered.
    pub(crate) fn hang(&self, hangs: bool) {
        self.seen.hangs.store(hangs, Ordering::SeqCst);
    }

    pub(crate) fn calls(&self) -> u32 {
        self.seen.calls.load(Ordering::SeqCst)
    }

    /// How often readiness has failed.
    pub(crate) fn failed(&self) -> u32 {
        self.seen.failed.load(Ordering::SeqCst)
    }
}

impl<Req, E, Res> Clone for Upstream<Req, E, Res> {
    fn clone(&self) -> Self {
        Self {
            seen: Arc::clone(&self.seen),
            error: Arc::clone(&self.error),
            answer: Arc::clone(&self.answer),
            ready: false,
            request: PhantomData,
        }
    }
}

impl<Req, E, Res> Service<Req> for Upstream<Req, E, Res> {
    type Response = Res;
    type Error = E;
    type Future = Either<Ready<Result<Res, E>>, Pending<Result<Res, E>>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), E>> {
        let less = |left: u32| left.checked_sub(1);
        let fails = &self.seen.fails;
        self.ready = fails
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, less)
            .is_err();
        if self.ready {
            return Poll::Ready(Ok(()));
        }
        self.seen.failed.fetch_add(1, Ordering::SeqCst);
        Poll::Ready(Err((self.error)()))
    }

    fn call(&mut self, _: Req) -> Self::Future {
        assert!(std::mem::take(&mut self.ready), "it is ready");
        self.seen.calls.fetch_add(1, Ordering::SeqCst);
        if self.seen.hangs.load(Ordering::SeqCst) {
            return Either::Right(pending());
        }
        let mut answer = self.answer.lock().unwrap();
        Either::Left(ready(Ok(answer())))
    }
}
