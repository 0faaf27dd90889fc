//! A rejection by the deadline layer of a stack has the stack's name.

use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt as _};
use mainstay::http::DeadlineLayer;
use mainstay::{Event, EventKind, grpc, http};
use tower::{Layer, Service, ServiceExt as _};

use crate::upstream::{Act, Req, Upstream, by, call, get, ms, rpc};

/// So much time passes in a call before the layers inside are called.
#[derive(Clone)]
struct Late<S = ()>(Duration, S);

fn late(by: Duration) -> Late {
    Late(by, ())
}

impl<S> Layer<S> for Late {
    type Service = Late<S>;

    fn layer(&self, inner: S) -> Late<S> {
        Late(self.0, inner)
    }
}

impl<S> Service<Req> for Late<S>
where
    S: Service<Req, Error: Send, Future: Send> + Clone + Send + 'static,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = BoxFuture<'static, Result<S::Response, S::Error>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Req) -> Self::Future {
        let Self(by, inner) = self.clone();
        async move {
            tokio::time::advance(by).await;
            inner.oneshot(request).await
        }
        .boxed()
    }
}

#[tokio::test(start_paused = true)]
async fn it_is_named_after_the_stack_over_http_and_grpc() {
    let upstream = Upstream::always(Act::Status(200));
    let stack = http::client("payments").timeout(ms(50)).without_retry();
    let stack = stack.with_attempt_layer(late(ms(50))).build().unwrap();
    let service = stack.layer(upstream.clone());
    assert_eq!(
        by(call(&service, get()).await),
        "deadline `payments` DeadlinePassed"
    );

    let stack = grpc::client("users").timeout(ms(50)).without_retry();
    let stack = stack.with_attempt_layer(late(ms(50))).build().unwrap();
    let service = stack.layer(upstream.clone());
    assert_eq!(
        by(call(&service, rpc()).await),
        "deadline `users` DeadlinePassed"
    );
    assert_eq!(upstream.calls(), 0);
}

#[tokio::test(start_paused = true)]
async fn it_tells_the_stacks_observer_and_its_own_name_and_observer_win() {
    let told: Arc<Mutex<Vec<String>>> = Arc::default();
    let observer = |who: &'static str| {
        let told = Arc::clone(&told);
        move |event: &Event| {
            if let EventKind::Rejected(rejection) = event.kind()
                && event.layer() == "deadline"
            {
                let text = format!("{who}: {} {}", event.name(), rejection.reason());
                told.lock().unwrap().push(text);
            }
        }
    };
    let own = || DeadlineLayer::new().observer(observer("own"));
    for deadline in [
        DeadlineLayer::new(),
        own(),
        own().named("d").unwrap(),
        DeadlineLayer::new()
            .named("d")
            .unwrap()
            .observer(observer("own")),
    ] {
        let stack = http::client("payments")
            .observer(observer("stack"))
            .deadline(deadline)
            .timeout(ms(50))
            .without_retry()
            .with_attempt_layer(late(ms(50)))
            .build()
            .unwrap();
        let service = stack.layer(Upstream::always(Act::Status(200)));
        drop(call(&service, get()).await);
    }
    assert_eq!(
        *told.lock().unwrap(),
        [
            "stack: payments deadline_passed",
            "own: payments deadline_passed",
            "own: d deadline_passed",
            "own: d deadline_passed"
        ]
    );
}
