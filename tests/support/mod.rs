//! What the behaviour tests have in common: a service that does what its request says, and a few shorthands.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "each test file uses a part of it"
)]

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::FutureExt as _;
use mainstay::{Error, Event, EventKind, Plain, Reason, Rejection};
use tower::{Service, ServiceExt as _};

/// What a [`Probe`] is to do with a call.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Act {
    Ok,
    Fail,
    OkAfter(Duration),
    FailAfter(Duration),
    Hang,
    /// Panics in its future.
    Panic,
    /// Panics in `call`, before there is a future.
    PanicInCall,
}

/// The probe's own error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Broken;

impl std::fmt::Display for Broken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("broken")
    }
}

impl std::error::Error for Broken {}
impl Plain for Broken {}

/// A service that does what its request says, and answers with the number of the call; and what is done with it.
pub type Probe = mainstay::testing::Probe<Acting>;

/// The service in a [`Probe`].
#[derive(Debug, Clone, Default)]
pub struct Acting {
    calls: Arc<AtomicU32>,
}

impl Service<Act> for Acting {
    type Response = u32;
    type Error = Broken;
    type Future = Pin<Box<dyn Future<Output = Result<u32, Broken>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Broken>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, act: Act) -> Self::Future {
        let number = self.calls.fetch_add(1, Ordering::SeqCst) + 1;
        assert_ne!(act, Act::PanicInCall, "told to panic");
        Box::pin(async move {
            match act {
                Act::Ok => Ok(number),
                Act::Fail => Err(Broken),
                Act::OkAfter(time) => {
                    tokio::time::sleep(time).await;
                    Ok(number)
                }
                Act::FailAfter(time) => {
                    tokio::time::sleep(time).await;
                    Err(Broken)
                }
                Act::Hang => std::future::pending().await,
                Act::Panic | Act::PanicInCall => panic!("told to panic"),
            }
        })
    }
}

pub const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// One call, once the service is ready for it.
pub async fn send<S, Req>(service: &mut S, request: Req) -> Result<S::Response, S::Error>
where
    S: Service<Req>,
{
    service.ready().await?.call(request).await
}

/// One call on a clone of its own, caught if it panics.
pub async fn send_caught<S, Req>(
    service: &S,
    request: Req,
) -> std::thread::Result<Result<S::Response, S::Error>>
where
    S: Service<Req> + Clone,
{
    let mut service = service.clone();
    AssertUnwindSafe(async move { send(&mut service, request).await })
        .catch_unwind()
        .await
}

/// A call on a clone of its own and in a task of its own, which has begun when this returns.
pub async fn start<S, Req>(
    service: &S,
    request: Req,
) -> tokio::task::JoinHandle<Result<S::Response, S::Error>>
where
    S: Service<Req> + Clone + Send + 'static,
    S::Response: Send,
    S::Error: Send,
    S::Future: Send,
    Req: Send + 'static,
{
    let mut service = service.clone();
    let task = tokio::spawn(async move { send(&mut service, request).await });
    settle().await;
    task
}

/// Lets all other tasks run until they wait, without letting time pass.
pub async fn settle() {
    for _ in 0..20 {
        tokio::task::yield_now().await;
    }
}

/// The rejection that a call ended in.
#[track_caller]
pub fn rejected<T: std::fmt::Debug, E: std::fmt::Debug>(result: Result<T, Error<E>>) -> Rejection {
    match result {
        Err(Error::Rejected(rejection)) => rejection,
        other => panic!("not rejected: {other:?}"),
    }
}

/// Why a call was rejected.
#[track_caller]
pub fn reason<T: std::fmt::Debug, E: std::fmt::Debug>(result: Result<T, Error<E>>) -> Reason {
    rejected(result).reason()
}

/// An observer that remembers what it was told, and the list.
pub fn recorder() -> (
    impl Fn(&Event) + Send + Sync + 'static,
    Arc<Mutex<Vec<EventKind>>>,
) {
    let list = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&list);
    let observer = move |event: &Event| told.lock().unwrap().push(event.kind().clone());
    (observer, list)
}
