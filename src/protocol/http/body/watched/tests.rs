use std::convert::Infallible;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::runtime::{Builder, Runtime};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::protocol::http::TimedBody;
use crate::runtime::WAKES_WHILE_POLLED;
use crate::vocabulary::{reason::Reason, rejection::Rejection};

const IDLE: Duration = Duration::from_secs(60);

/// A silent body that drives its runtime when it is asked for its size or its end.
#[derive(Default)]
struct Silent {
    runtime: Option<Arc<Runtime>>,
    drives: Arc<AtomicBool>,
}

impl Silent {
    fn drive(&self) {
        if self.drives.swap(false, Ordering::Relaxed)
            && let Some(runtime) = &self.runtime
        {
            runtime.block_on(tokio::time::advance(2 * IDLE));
        }
    }
}

impl Body for Silent {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        Poll::Pending
    }

    fn size_hint(&self) -> SizeHint {
        self.drive();
        SizeHint::default()
    }

    fn is_end_stream(&self) -> bool {
        self.drive();
        false
    }
}

/// The body of a response behind a limit for idle bodies.
async fn watched(body: Silent, client: bool) -> TimedBody<Silent> {
    let mut limit = crate::protocol::http::timeout().body_idle(IDLE);
    if client {
        limit = limit.for_client();
    }
    let mut body = Some(body);
    let service = limit.build().unwrap().layer(service_fn(move |_| {
        let body = body.take().unwrap();
        async { Ok::<_, Infallible>(Response::new(body)) }
    }));
    service.oneshot(Request::new(())).await.unwrap().into_body()
}

async fn assert_timed_out(mut body: TimedBody<Silent>) {
    let error = body.frame().await.unwrap().unwrap_err();
    let rejection = Rejection::find(&*error).map(Rejection::reason);
    assert_eq!(rejection, Some(Reason::TimedOut));
}

fn paused() -> Runtime {
    Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap()
}

/// Fails if the test deadlocks.
fn ends(test: impl FnOnce() + Send + 'static) {
    let (done, ended) = mpsc::channel();
    thread::spawn(move || {
        test();
        let _ = done.send(());
    });
    let ended = ended.recv_timeout(Duration::from_secs(20));
    assert_eq!(ended, Ok(()), "it panicked or deadlocked");
}

#[test]
fn a_timer_that_fires_during_registration_does_not_deadlock() {
    for client in [false, true] {
        ends(move || {
            WAKES_WHILE_POLLED.set(true);
            paused().block_on(async {
                assert_timed_out(watched(Silent::default(), client).await).await;
            });
        });
    }
}

#[test]
fn a_timer_that_fires_during_an_inspection_does_not_deadlock() {
    type Ask = fn(&TimedBody<Silent>);
    let asks: [Ask; 2] = [
        |body| _ = body.size_hint(),
        |body| assert!(!body.is_end_stream()),
    ];
    for ask in asks {
        ends(move || {
            let runtime = Arc::new(paused());
            let silent = Silent {
                runtime: Some(Arc::clone(&runtime)),
                drives: Arc::default(),
            };
            let drives = Arc::clone(&silent.drives);
            let body = runtime.block_on(watched(silent, false));
            drives.store(true, Ordering::Relaxed);
            ask(&body);
            assert!(!drives.load(Ordering::Relaxed));
            runtime.block_on(assert_timed_out(body));
        });
    }
}
