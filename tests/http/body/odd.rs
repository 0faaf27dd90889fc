//! Bodies that break the rules of bodies, and responses that end up where nobody thought of.

use std::future::pending;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Response};
use http_body::{Body, Frame, SizeHint};
use mainstay::{
    ErasedPermit, Head, Limit, Outcome, Settle, Track, grpc as resilient_grpc, http as resilient,
};
use tower::{Layer as _, Service, ServiceExt as _};

use super::script::{
    Break, Data, Script, Told, answer, grpc, next, read, script, status, through, trailers,
};

/// What it says of its end, whatever comes of it.
#[derive(Clone, Copy)]
enum Says {
    Ended,
    NotEnded,
    /// Panics when it is asked after a frame.
    Panics,
}

/// A script that lies about its end.
struct Liar {
    script: Script,
    says: Says,
    polled: bool,
}

impl Body for Liar {
    type Data = Bytes;
    type Error = super::script::BrokenOff;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        self.polled = true;
        Pin::new(&mut self.script).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        match self.says {
            Says::Ended => true,
            Says::NotEnded => false,
            Says::Panics if self.polled => panic!("asked for its end"),
            Says::Panics => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(7)
    }
}

fn liar(says: Says, of: Response<Script>) -> Response<Liar> {
    of.map(|script| Liar {
        script,
        says,
        polled: false,
    })
}

/// A bulkhead and a circuit breaker around a service that gives this response, what they were told, and what they hold.
macro_rules! around {
    ($protocol:ident, $response:expr) => {{
        let told = Told::default();
        let breaker = $protocol::circuit_breaker()
            .observer(told.observer())
            .build()
            .unwrap();
        let bulkhead = $protocol::bulkhead().limit(8).build().unwrap();
        let response = $response;
        let service = tower::service_fn(|response| async { Ok::<_, std::io::Error>(response) });
        let layers = (bulkhead, breaker);
        let response = layers.layer(service).oneshot(response).await.unwrap();
        let held = move || {
            // Keeps both of them, or nobody would be told.
            let all = &layers;
            all.0.handle().in_flight()
        };
        (response, told, held)
    }};
}

#[tokio::test]
async fn a_body_that_says_too_early_that_it_ends_is_over_then() {
    let body = || script([Data("a"), Data("b"), status("0")]);
    let (response, told, held) = around!(resilient, liar(Says::Ended, answer(200, body())));
    assert_eq!((told.outcomes(), held()), (vec!["success".to_owned()], 0));
    assert_eq!(read(response.into_body()).await.0, "ab");
    assert_eq!((told.outcomes().len(), held()), (1, 0));

    // Where it says so at its head, there are no trailers to come.
    let (response, told, held) = around!(resilient_grpc, liar(Says::Ended, grpc(body())));
    assert_eq!((told.outcomes(), held()), (vec!["failure".to_owned()], 0));
    assert_eq!(read(response.into_body()).await.0, "ab");
    assert_eq!((told.outcomes().len(), held()), (1, 0));
}

#[tokio::test]
async fn a_body_that_never_says_that_it_ends_is_over_when_it_does() {
    let body = script([Data("a"), status("0")]);
    let (response, told, held) = around!(resilient_grpc, liar(Says::NotEnded, grpc(body)));
    let mut body = pin!(response.into_body());
    assert!(next(body.as_mut()).await.is_some());
    assert_eq!((told.outcomes().len(), held()), (0, 1));
    assert!(next(body.as_mut()).await.is_some());
    assert_eq!((told.outcomes(), held()), (vec!["success".to_owned()], 0));
    for _ in 0..3 {
        assert!(next(body.as_mut()).await.is_none());
    }
    assert_eq!((told.outcomes().len(), held()), (1, 0));
}

#[tokio::test]
async fn a_body_that_panics_over_its_end_is_a_failure() {
    let body = script([Data("a"), Data("b")]);
    let (response, told, held) = around!(resilient, liar(Says::Panics, answer(200, body)));
    let mut body = Box::pin(response.into_body());
    let polled = catch_unwind(AssertUnwindSafe(|| {
        body.as_mut()
            .poll_frame(&mut Context::from_waker(Waker::noop()))
            .is_ready()
    }));
    assert!(polled.is_err());
    drop(body);
    assert_eq!((told.outcomes(), held()), (vec!["failure".to_owned()], 0));
}

#[tokio::test]
async fn frames_after_the_end_are_passed_on_and_mean_nothing() {
    let more = || [Data("b"), Break, status("14"), trailers(&[]), Data("c")];
    for (first, expected) in [(status("0"), "success"), (Break, "failure")] {
        let steps = [Data("a"), first].into_iter().chain(more());
        let (response, told, held) = around!(resilient_grpc, grpc(script(steps)));
        let mut body = pin!(response.into_body());
        next(body.as_mut()).await.unwrap().unwrap();
        assert_eq!((told.outcomes().len(), held()), (0, 1));
        let _ = next(body.as_mut()).await.unwrap();
        assert_eq!((told.outcomes(), held()), (vec![expected.to_owned()], 0));
        let mut left = 0;
        while next(body.as_mut()).await.is_some() {
            left += 1;
        }
        assert!(next(body.as_mut()).await.is_none());
        assert_eq!((left, told.outcomes().len(), held()), (5, 1, 0));
    }
}

#[tokio::test]
async fn empty_frames_are_no_end() {
    let steps = (0..1_000).map(|_| Data("")).chain([status("0")]);
    let (response, told, held) = around!(resilient_grpc, grpc(script(steps)));
    let mut body = pin!(response.into_body());
    for _ in 0..1_000 {
        next(body.as_mut()).await.unwrap().unwrap();
        assert_eq!((told.outcomes().len(), held()), (0, 1));
    }
    next(body.as_mut()).await.unwrap().unwrap();
    assert_eq!((told.outcomes(), held()), (vec!["success".to_owned()], 0));
}

#[tokio::test]
async fn a_status_in_the_head_is_the_status() {
    for (head, end, expected) in [
        ("14", "0", "failure"),
        ("0", "14", "success"),
        ("1", "0", "cancelled"),
        ("x", "0", "failure"),
    ] {
        let mut response = grpc(script([Data("a"), status(end)]));
        let value = head.parse().unwrap();
        response.headers_mut().insert("grpc-status", value);
        let (response, told, held) = around!(resilient_grpc, response);
        assert_eq!((told.outcomes(), held()), (vec![expected.to_owned()], 1));
        read(response.into_body()).await;
        assert_eq!((told.outcomes().len(), held()), (1, 0));
    }
}

#[tokio::test]
async fn bombs_are_passed_on_and_not_kept() {
    let mut bomb = HeaderMap::new();
    let value = "x".repeat(10_000);
    for number in 0..20_000 {
        let name = http::HeaderName::from_bytes(format!("x-{number}").as_bytes()).unwrap();
        bomb.append(name, http::HeaderValue::from_static("x"));
    }
    for _ in 0..5_000 {
        bomb.append("grpc-status", http::HeaderValue::from_str(&value).unwrap());
    }
    let mut bomb = Some(bomb);
    // Not the first one: threads get their counters with that.
    let (warm, _told, _held) = around!(resilient_grpc, grpc(script([status("0")])));
    read(warm.into_body()).await;

    let body = http_body_util::StreamBody::new(futures::stream::poll_fn(move |_| {
        Poll::Ready(
            bomb.take()
                .map(|bomb| Ok::<_, std::io::Error>(Frame::<Bytes>::trailers(bomb))),
        )
    }));
    let response = grpc(script([])).map(|_| body);
    let (response, told, held) = around!(resilient_grpc, response);
    let mut body = pin!(response.into_body());
    let mut got = None;
    let counted = allocation_counter::measure(|| {
        got = Some(
            body.as_mut()
                .poll_frame(&mut Context::from_waker(Waker::noop())),
        );
    });
    // The list of outcomes, and nothing of the bomb.
    assert!(counted.bytes_total < 1_000, "{counted:?}");
    assert_eq!(held(), 0);
    let Some(Poll::Ready(Some(Ok(frame)))) = got else {
        panic!("no trailers");
    };
    assert_eq!(frame.trailers_ref().unwrap().len(), 25_000);
    drop(frame);
    assert_eq!(told.outcomes(), ["failure"]);
}

#[test]
fn a_response_may_end_in_another_runtime_or_in_none() {
    let runtime = |paused| {
        tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(paused)
            .build()
            .unwrap()
    };
    let told = Told::default();
    let breaker = resilient_grpc::circuit_breaker()
        .slow_calls(Duration::from_secs(1), 0.5)
        .observer(told.observer())
        .build()
        .unwrap();
    let shedder = resilient_grpc::load_shed().build().unwrap();
    let bulkhead = resilient_grpc::bulkhead()
        .limit(2)
        .queue(8, Duration::from_secs(60))
        .build()
        .unwrap();
    let layers = (shedder.clone(), breaker.clone(), bulkhead.clone());
    // A call that streams has left the shedder's count, and is known to it until its end.
    let held = || {
        assert_eq!(shedder.handle().in_flight(), 0);
        (
            shedder.handle().snapshot().streaming,
            bulkhead.handle().in_flight(),
        )
    };
    let ask = || through(&layers, grpc(script([Data("a"), status("0")])));
    let (first, second) = runtime(true).block_on(async {
        // A clock far ahead of all others.
        tokio::time::sleep(Duration::from_secs(1_000_000)).await;
        (ask().await, ask().await)
    });
    assert_eq!(held(), (2, 2));
    // One waits in a runtime of its own for a place that is given back in none.
    let waiting = std::thread::spawn({
        let layers = layers.clone();
        move || {
            runtime(false).block_on(async {
                through(&layers, grpc(script([Data("b"), status("0")])))
                    .await
                    .into_body()
            })
        }
    });
    while bulkhead.handle().waiting() == 0 {
        std::thread::yield_now();
    }
    std::thread::spawn(move || drop(first)).join().unwrap();
    let third = waiting.join().unwrap();
    assert_eq!(held(), (2, 2));
    let texts =
        runtime(false).block_on(async { (read(second.into_body()).await.0, read(third).await.0) });
    assert_eq!(texts, ("a".to_owned(), "b".to_owned()));
    assert_eq!(held(), (0, 0));
    assert_eq!(told.outcomes(), ["cancelled", "success", "success"]);
    runtime(true).block_on(async { read(ask().await.into_body()).await });
    assert_eq!(held(), (0, 0));
}

#[tokio::test]
async fn a_response_outlives_its_layers_and_does_no_harm_to_those_that_follow() {
    for _ in 0..50 {
        let old = {
            let layers = (
                resilient::load_shed().build().unwrap(),
                resilient::circuit_breaker().build().unwrap(),
                resilient::bulkhead().limit(1).build().unwrap(),
            );
            through(&layers, answer(200, script([Data("a"), Break]))).await
        };
        // In the places that the others have left.
        let told = Told::default();
        let shedder = resilient::load_shed().build().unwrap();
        let breaker = resilient::circuit_breaker()
            .consecutive_failures(1)
            .observer(told.observer())
            .build()
            .unwrap();
        let bulkhead = resilient::bulkhead().limit(1).build().unwrap();
        let layers = (shedder.clone(), breaker.clone(), bulkhead.clone());
        // A call that streams has left the shedder's count, and is known to it until its end.
        let held = || {
            assert_eq!(shedder.handle().in_flight(), 0);
            (
                shedder.handle().snapshot().streaming,
                bulkhead.handle().in_flight(),
            )
        };
        let new = through(&layers, answer(200, script([Data("b")]))).await;
        read(old.into_body()).await;
        assert_eq!(held(), (1, 1));
        assert_eq!(told.outcomes().len(), 0);
        assert_eq!(breaker.handle().state(), mainstay::State::Closed);
        read(new.into_body()).await;
        assert_eq!(held(), (0, 0));
        assert_eq!(told.outcomes(), ["success"]);
    }
}

#[tokio::test]
async fn a_response_that_is_taken_apart_gives_back_what_it_held() {
    let whole = || answer(200, script([Data("a"), Data("b")]));
    // The body alone is what counts.
    let (response, told, held) = around!(resilient, whole());
    let (parts, body) = response.into_parts();
    drop(parts);
    assert_eq!((told.outcomes().len(), held()), (0, 1));
    drop(body);
    assert_eq!((told.outcomes(), held()), (vec!["success".to_owned()], 0));

    let (response, told, held) = around!(resilient, whole());
    let rebuilt = response.map(|body| {
        drop(body);
        "another"
    });
    assert_eq!((told.outcomes(), held()), (vec!["success".to_owned()], 0));
    drop(rebuilt);

    // A call that is dropped before its head, with a response inside.
    let bulkhead = resilient::bulkhead().limit(1).build().unwrap();
    let service = bulkhead.layer(tower::service_fn(|response: Response<Script>| async {
        let _response = response;
        pending::<Result<Response<Script>, std::io::Error>>().await
    }));
    let mut call = Box::pin(service.oneshot(whole()));
    let cx = &mut Context::from_waker(Waker::noop());
    assert!(Future::poll(call.as_mut(), cx).is_pending());
    assert_eq!(bulkhead.handle().in_flight(), 1);
    drop(call);
    assert_eq!(bulkhead.handle().in_flight(), 0);
}

/// Says, when it is dropped, what is held then.
struct Last<F: Fn() -> u32>(F, std::sync::mpsc::Sender<u32>);

impl<F: Fn() -> u32> Drop for Last<F> {
    fn drop(&mut self) {
        self.1.send(self.0()).unwrap();
    }
}

#[tokio::test]
async fn the_work_ends_before_its_place_is_given_back() {
    let bulkhead = resilient::bulkhead().limit(1).build().unwrap();
    let (sender, dropped) = std::sync::mpsc::channel();
    let seen = bulkhead.clone();
    let service = bulkhead.layer(tower::service_fn(move |()| {
        let seen = seen.clone();
        let last = Last(move || seen.handle().in_flight(), sender.clone());
        let frames = futures::stream::poll_fn(move |_| {
            let _last = &last;
            Poll::Ready(Some(Ok::<_, std::io::Error>(Frame::data(Bytes::new()))))
        });
        async { Ok::<_, std::io::Error>(Response::new(http_body_util::StreamBody::new(frames))) }
    }));
    let mut body = Box::pin(service.oneshot(()).await.unwrap().into_body());
    next(body.as_mut()).await.unwrap().unwrap();
    assert_eq!(bulkhead.handle().in_flight(), 1);
    drop(body);
    assert_eq!(dropped.recv().unwrap(), 1);
    assert_eq!(bulkhead.handle().in_flight(), 0);
}

/// A user's own protocol, whose replies carry what is held for their call.
#[derive(Clone)]
struct ByHand;

impl<E> Track<&'static str, E> for ByHand {
    type Pending = ();
    type Response = (&'static str, Option<ErasedPermit>);

    fn head(&self, _: Result<&&'static str, &E>) -> Head<()> {
        Head::Pending(())
    }

    fn attach<G: Settle>(
        reply: &'static str,
        pending: Option<()>,
        guard: &mut Option<G>,
    ) -> Self::Response {
        assert!(pending.is_some());
        (reply, guard.take().map(Settle::erase))
    }
}

#[tokio::test]
async fn what_a_tracker_of_a_users_own_is_given_counts_once_and_holds_until_it_is_dropped() {
    let told = Told::default();
    let breaker = mainstay::CircuitBreakerLayer::builder()
        .tracker(ByHand)
        .observer(told.observer())
        .build()
        .unwrap();
    let bulkhead = mainstay::BulkheadLayer::builder()
        .limit(8)
        .tracker(ByHand)
        .build()
        .unwrap();
    let echo = || tower::service_fn(|reply| async move { Ok::<_, std::io::Error>(reply) });
    let ask = async || {
        breaker
            .layer(echo())
            .oneshot("reply")
            .await
            .unwrap()
            .1
            .unwrap()
    };

    let mut held = ask().await;
    held.settle(Outcome::Failure.into());
    held.settle(Outcome::Success.into());
    drop(held);
    drop(ask().await);
    let mut held = ask().await;
    held.enter();
    drop(held);
    let mut held = ask().await;
    held.enter();
    held.leave();
    drop(held);
    let told = told.outcomes();
    assert_eq!(told, ["failure", "cancelled", "failure", "cancelled"]);

    let (_, held) = bulkhead.layer(echo()).oneshot("reply").await.unwrap();
    let mut held = held.unwrap();
    held.settle(Outcome::Success.into());
    assert_eq!(bulkhead.handle().in_flight(), 1);
    drop(held);
    assert_eq!(bulkhead.handle().in_flight(), 0);

    // An error has nothing to be attached to: it is final, whatever the tracker says.
    let broken = breaker.layer(tower::service_fn(|()| async {
        Err::<&'static str, _>(std::io::Error::other("broken"))
    }));
    assert!(broken.oneshot(()).await.is_err());
    assert_eq!(breaker.handle().snapshot().failures, 3);
}

#[tokio::test]
async fn an_error_of_http_is_one_of_http_whatever_it_says_of_its_body() {
    // To gRPC a 400 is `INTERNAL`, but of a proxy that refused this one request; to HTTP it is the caller's mistake.
    let refused = || {
        let mut response = grpc(script([Data("a")]));
        *response.status_mut() = http::StatusCode::BAD_REQUEST;
        response
    };
    let (response, told, _held) = around!(resilient, refused());
    read(response.into_body()).await;
    assert_eq!(told.outcomes(), ["success"]);
    let (response, told, _held) = around!(resilient_grpc, refused());
    read(response.into_body()).await;
    assert_eq!(told.outcomes(), ["ignored"]);
}

#[tokio::test(start_paused = true)]
async fn who_lets_go_of_a_stream_did_not_wait_for_its_head_in_vain() {
    let slow = Duration::from_secs(5);
    let breaker = resilient_grpc::circuit_breaker()
        .consecutive_failures(1)
        .build()
        .unwrap();
    let limit = Limit::aimd().initial(100).build().unwrap();
    let shedder = resilient_grpc::load_shed().limit(limit).build().unwrap();
    let layers = (shedder.clone(), breaker.clone());
    let service = layers.layer(tower::service_fn(move |()| async move {
        tokio::time::sleep(slow).await;
        Ok::<_, std::io::Error>(grpc(script([Data("a"), status("0")])))
    }));
    let calls = || futures::future::join_all((0..80).map(|_| service.clone().oneshot(())));
    drop(calls().await);
    assert_eq!(breaker.handle().snapshot().failures, 0);
    assert_eq!(breaker.handle().state(), mainstay::State::Closed);
    assert_eq!(shedder.handle().limit().unwrap(), 100);

    // Who lets go before the head does.
    let waited = tokio::time::timeout(slow / 2, calls()).await;
    assert!(waited.is_err());
    assert_eq!(breaker.handle().state(), mainstay::State::Open);
    assert!(shedder.handle().limit().unwrap() < 100);
}

#[tokio::test]
async fn an_error_is_judged_by_its_code_too() {
    for (error, expected) in [
        (tonic::Status::not_found(""), "success"),
        (tonic::Status::cancelled(""), "cancelled"),
        (tonic::Status::internal(""), "failure"),
    ] {
        let told = Told::default();
        let breaker = resilient_grpc::circuit_breaker()
            .observer(told.observer())
            .build()
            .unwrap();
        let service = breaker.layer(tower::service_fn(|error| async {
            Err::<Response<Script>, tonic::Status>(error)
        }));
        assert!(service.oneshot(error).await.is_err());
        assert_eq!(told.outcomes(), [expected]);
    }
}

#[tokio::test]
async fn what_is_over_at_its_head_is_over_then_and_not_when_its_future_is_dropped() {
    let bulkhead = resilient::bulkhead().limit(1).build().unwrap();
    let breaker = resilient::circuit_breaker().build().unwrap();
    let layers = (bulkhead.clone(), breaker.clone());
    let mut service = layers.layer(super::script::echo());
    let service = service.ready().await.unwrap();
    let mut call = pin!(Service::call(service, answer(200, script([]))));
    let response = std::future::poll_fn(|cx| call.as_mut().poll(cx)).await;
    assert_eq!(bulkhead.handle().in_flight(), 0);
    assert_eq!(breaker.handle().snapshot().calls, 1);
    drop(response);
}

#[tokio::test]
async fn what_has_no_body_is_known_at_its_head() {
    for (content_type, expected) in [
        ("application/grpc", "failure"),
        ("application/grpc-web", "success"),
    ] {
        let empty = || super::script::typed(content_type, script([]));
        let (_response, told, held) = around!(resilient_grpc, empty());
        assert_eq!((told.outcomes(), held()), (vec![expected.to_owned()], 0));
        let (_response, told, held) = around!(resilient, empty());
        assert_eq!((told.outcomes(), held()), (vec![expected.to_owned()], 0));
    }
}
