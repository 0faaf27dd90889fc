//! Calls of HTTP and gRPC last until the end of their responses: what the layers learn there, and what they hold until then.

mod odd;
mod script;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::Response;
use http_body::Body;
use mainstay::grpc::{self, Code};
use mainstay::{Limit, Outcome, RespondLayer, State, http as resilient};
use script::{
    Break, Data, Next, Panic, Script, Told, Wait, answer, grpc, next, read, script, status,
    through, trailers, typed,
};
use tokio::time::sleep;
use tower::{Layer, ServiceBuilder};

const MS: Duration = Duration::from_millis(1);

/// What a circuit breaker for HTTP learns from a response that is read to its end.
async fn http_outcome(response: Response<Script>) -> Vec<String> {
    let told = Told::default();
    let layer = resilient::circuit_breaker()
        .observer(told.observer())
        .build()
        .unwrap();
    read(through(&layer, response).await.into_body()).await;
    told.outcomes()
}

/// The same for gRPC.
async fn grpc_outcome(response: Response<Script>) -> Vec<String> {
    let told = Told::default();
    let layer = grpc::circuit_breaker()
        .observer(told.observer())
        .build()
        .unwrap();
    read(through(&layer, response).await.into_body()).await;
    told.outcomes()
}

// --- Outcomes

#[tokio::test]
async fn http_is_judged_by_the_head_and_then_by_the_end() {
    let whole = || script([Data("a"), Data("b")]);
    let broken = || script([Data("a"), Break]);
    for (code, body, expected) in [
        (200, whole(), "success"),
        (204, script([]), "success"),
        (404, whole(), "success"),
        (200, broken(), "failure"),
        (404, broken(), "failure"),
        (500, whole(), "failure"),
        (501, whole(), "success"),
        (429, whole(), "ignored"),
        (429, broken(), "ignored"),
    ] {
        assert_eq!(http_outcome(answer(code, body)).await, [expected], "{code}");
    }
    let mut silent = whole();
    silent.says_so = false;
    assert_eq!(http_outcome(answer(200, silent)).await, ["success"]);
    let ends_in_trailers = script([Data("a"), trailers(&[("checksum", "1")])]);
    assert_eq!(
        http_outcome(answer(200, ends_in_trailers)).await,
        ["success"]
    );
}

#[tokio::test]
async fn a_head_that_decides_is_not_waited_for() {
    let told = Told::default();
    let layer = resilient::circuit_breaker()
        .observer(told.observer())
        .build()
        .unwrap();
    let bad = through(&layer, answer(503, script([Data("a")]))).await;
    assert_eq!(told.outcomes(), ["failure"]);
    let good = through(&layer, answer(200, script([Data("a")]))).await;
    assert_eq!(told.outcomes().len(), 1);
    drop(bad);
    drop(good);
    // Whoever does not read bodies opens no circuit.
    assert_eq!(told.outcomes(), ["failure", "success"]);
}

#[tokio::test]
async fn an_outcome_is_known_with_the_last_frame() {
    let told = Told::default();
    let layer = resilient::circuit_breaker()
        .observer(told.observer())
        .build()
        .unwrap();
    let response = through(&layer, answer(200, script([Data("a"), Data("b")]))).await;
    let mut body = pin!(response.into_body());
    assert!(next(body.as_mut()).await.is_some());
    assert!(told.outcomes().is_empty());
    assert!(next(body.as_mut()).await.is_some());
    assert_eq!(told.outcomes(), ["success"]);
    assert!(next(body.as_mut()).await.is_none());
    assert_eq!(told.outcomes(), ["success"]);
}

#[tokio::test]
async fn grpc_is_judged_by_its_trailers() {
    for (code, expected) in [
        ("0", "success"),
        ("1", "cancelled"),
        ("2", "failure"),
        ("5", "success"),
        ("8", "ignored"),
        ("11", "success"),
        ("14", "failure"),
        ("", "failure"),
        ("99", "failure"),
        ("0 ", "failure"),
        ("zero", "failure"),
    ] {
        let body = script([Data("message"), status(code)]);
        assert_eq!(grpc_outcome(grpc(body)).await, [expected], "{code:?}");
    }
}

#[tokio::test]
async fn a_grpc_status_that_never_comes_is_a_failure() {
    assert_eq!(
        grpc_outcome(grpc(script([Data("message")]))).await,
        ["failure"]
    );
    assert_eq!(grpc_outcome(grpc(script([]))).await, ["failure"]);
    let mut silent = script([Data("message")]);
    silent.says_so = false;
    assert_eq!(grpc_outcome(grpc(silent)).await, ["failure"]);
    let broken = script([Data("message"), Break]);
    assert_eq!(grpc_outcome(grpc(broken)).await, ["failure"]);
    let nothing_in_them = script([Data("message"), trailers(&[])]);
    assert_eq!(grpc_outcome(grpc(nothing_in_them)).await, ["failure"]);
}

#[tokio::test]
async fn a_grpc_response_that_is_dropped_was_cancelled() {
    let told = Told::default();
    let layer = grpc::circuit_breaker()
        .observer(told.observer())
        .build()
        .unwrap();
    let response = through(&layer, grpc(script([Data("message"), status("0")]))).await;
    let mut body = Box::pin(response.into_body());
    assert!(next(body.as_mut()).await.is_some());
    drop(body);
    assert_eq!(told.outcomes(), ["cancelled"]);
}

#[tokio::test]
async fn the_head_of_a_grpc_response_decides_where_it_says_something() {
    let with = |fields: &[(&'static str, &'static str)], code: u16| {
        let mut response = answer(code, script([Data("never read")]));
        for (name, value) in fields {
            response.headers_mut().insert(*name, value.parse().unwrap());
        }
        response
    };
    let grpc = ("content-type", "application/grpc");
    for (response, expected) in [
        (with(&[grpc, ("grpc-status", "14")], 200), "failure"),
        (with(&[grpc, ("grpc-status", "5")], 200), "success"),
        (with(&[grpc], 503), "failure"),
        (with(&[grpc], 404), "success"),
        (with(&[("content-type", "text/html")], 200), "failure"),
    ] {
        let told = Told::default();
        let layer = grpc::circuit_breaker()
            .observer(told.observer())
            .build()
            .unwrap();
        let _response = through(&layer, response).await;
        assert_eq!(told.outcomes(), [expected]);
    }
}

#[tokio::test]
async fn grpc_web_has_its_trailers_where_nobody_looks() {
    for content_type in ["application/grpc-web+proto", "application/grpc-web-text"] {
        let whole = typed(content_type, script([Data("message"), Data("trailers")]));
        assert_eq!(grpc_outcome(whole).await, ["success"]);
        let broken = typed(content_type, script([Data("message"), Break]));
        assert_eq!(grpc_outcome(broken).await, ["failure"]);
    }
}

#[tokio::test]
async fn the_layers_of_http_know_grpc_when_they_see_it() {
    let failed = script([Data("message"), status("14")]);
    assert_eq!(http_outcome(grpc(failed)).await, ["failure"]);
    let fine = script([Data("message"), status("0")]);
    assert_eq!(http_outcome(grpc(fine)).await, ["success"]);
}

#[tokio::test]
async fn which_codes_are_failures_can_be_chosen() {
    let told = Told::default();
    let layer = grpc::circuit_breaker()
        .failures([Code::NotFound])
        .observer(told.observer())
        .build()
        .unwrap();
    for code in ["5", "14", "2"] {
        let response = through(&layer, grpc(script([Data("message"), status(code)]))).await;
        read(response.into_body()).await;
    }
    assert_eq!(told.outcomes(), ["failure", "success", "success"]);
}

#[tokio::test]
async fn a_closure_over_the_head_is_followed_to_the_end_too() {
    let told = Told::default();
    let layer = resilient::circuit_breaker()
        .classify_head(|head| match head.status().as_u16() {
            404 => Outcome::Failure,
            _ => Outcome::Success,
        })
        .observer(told.observer())
        .build()
        .unwrap();
    for (code, body) in [
        (404, script([Data("a")])),
        (500, script([Data("a")])),
        (200, script([Data("a"), Break])),
    ] {
        read(through(&layer, answer(code, body)).await.into_body()).await;
    }
    assert_eq!(told.outcomes(), ["failure", "success", "failure"]);
}

#[tokio::test]
async fn a_stream_that_fails_half_way_opens_the_circuit_with_the_servers_own_hint() {
    let layer = grpc::circuit_breaker()
        .consecutive_failures(3)
        .open_for(Duration::from_secs(1))
        .open_max(Duration::from_secs(60))
        .jitter(0.0)
        .build()
        .unwrap();
    let circuit = layer.handle();
    for _ in 0..3 {
        let end = trailers(&[("grpc-status", "14"), ("grpc-retry-pushback-ms", "30000")]);
        let body = script([Data("one"), Data("two"), end]);
        read(through(&layer, grpc(body)).await.into_body()).await;
    }
    assert_eq!(circuit.state(), State::Open);
    let left = circuit.snapshot().retry_after.unwrap();
    assert!(left > Duration::from_secs(25), "{left:?}");
}

#[tokio::test]
async fn a_panic_of_the_body_is_a_failure_and_frees_what_was_held() {
    let told = Told::default();
    let breaker = resilient::circuit_breaker()
        .observer(told.observer())
        .build()
        .unwrap();
    let bulkhead = resilient::bulkhead().limit(1).build().unwrap();
    let response = through(
        &(breaker.clone(), bulkhead.clone()),
        answer(200, script([Data("a"), Panic])),
    )
    .await;
    let mut body = Box::pin(response.into_body());
    assert!(next(body.as_mut()).await.is_some());
    let polled = catch_unwind(AssertUnwindSafe(|| poll(body.as_mut()).is_ready()));
    assert!(polled.is_err());
    assert_eq!(bulkhead.handle().in_flight(), 1);
    drop(body);
    assert_eq!(told.outcomes(), ["failure"]);
    assert_eq!(bulkhead.handle().in_flight(), 0);
}

fn poll<B: Body>(body: Pin<&mut B>) -> Poll<Next<B>> {
    body.poll_frame(&mut Context::from_waker(Waker::noop()))
}

// --- Time

#[tokio::test(start_paused = true)]
async fn a_long_stream_is_not_a_slow_call() {
    let told = Told::default();
    let layer = resilient::circuit_breaker()
        .slow_calls(100 * MS, 0.1)
        .observer(told.observer())
        .build()
        .unwrap();
    let service = layer.layer(tower::service_fn(|()| async {
        sleep(20 * MS).await;
        let body = script([Wait(Duration::from_secs(5)), Data("a"), Wait(MS), Data("b")]);
        Ok::<_, std::io::Error>(answer(200, body))
    }));
    let response = tower::ServiceExt::oneshot(service, ()).await.unwrap();
    read(response.into_body()).await;
    assert_eq!(told.outcomes(), ["success"]);
    assert_eq!(told.latencies(), [Some(20 * MS)]);
    assert_eq!(layer.handle().snapshot().slow_calls, 0);
}

#[tokio::test(start_paused = true)]
async fn probes_whose_streams_go_on_close_the_circuit_all_the_same() {
    let layer = grpc::circuit_breaker()
        .consecutive_failures(1)
        .probes(2)
        .probe_life(Duration::from_secs(10))
        .build()
        .unwrap();
    let circuit = layer.handle();
    let failed = script([Data("message"), status("14")]);
    read(through(&layer, grpc(failed)).await.into_body()).await;
    assert_eq!(circuit.state(), State::Open);
    sleep(Duration::from_secs(20)).await;

    let hour = Duration::from_secs(3600);
    let watch = || grpc(script([Data("message"), Wait(hour), status("0")]));
    let first = through(&layer, watch()).await;
    let second = through(&layer, watch()).await;
    assert_eq!(circuit.state(), State::HalfOpen);
    sleep(Duration::from_secs(11)).await;
    // The next call looks, and finds both well.
    let third = through(&layer, watch()).await;
    assert_eq!(circuit.state(), State::Closed);
    drop((first, second, third));
    assert_eq!(circuit.state(), State::Closed);
}

// --- What is held

#[tokio::test]
async fn a_place_lasts_as_long_as_the_body() {
    let bulkhead = resilient::bulkhead().limit(8).build().unwrap();
    let shedder = resilient::load_shed()
        .limit(Limit::fixed(8))
        .build()
        .unwrap();
    let layers = (shedder.clone(), bulkhead.clone());
    let held = || (shedder.handle().in_flight(), bulkhead.handle().in_flight());

    // A head that decides settles the outcome and frees nothing.
    for code in [200, 500] {
        let read_to_its_end = through(&layers, answer(code, script([Data("a"), Data("b")]))).await;
        let dropped = through(&layers, answer(code, script([Data("a")]))).await;
        let broken = through(&layers, answer(code, script([Break]))).await;
        assert_eq!(held(), (3, 3));
        drop(dropped);
        assert_eq!(held(), (2, 2));
        read(broken.into_body()).await;
        assert_eq!(held(), (1, 1));
        let mut body = pin!(read_to_its_end.into_body());
        next(body.as_mut()).await;
        assert_eq!(held(), (1, 1));
        next(body.as_mut()).await;
        assert_eq!(held(), (0, 0));
    }
    let _nothing_in_it = through(&layers, answer(200, script([]))).await;
    assert_eq!(held(), (0, 0));
}

#[tokio::test]
async fn upgrades_and_event_streams_give_their_place_back_at_the_head() {
    let layer = resilient::bulkhead().limit(8).build().unwrap();
    let told = Told::default();
    let breaker = resilient::circuit_breaker()
        .observer(told.observer())
        .build()
        .unwrap();
    let layers = (breaker, layer.clone());
    let endless = || script([Data("a"), Wait(Duration::MAX)]);
    let upgraded = through(&layers, answer(101, endless())).await;
    let events = through(
        &layers,
        typed("text/event-stream; charset=utf-8", endless()),
    )
    .await;
    assert_eq!(layer.handle().in_flight(), 0);
    assert_eq!(told.outcomes(), ["success", "success"]);
    drop((upgraded, events));
    let _text = through(&layers, typed("text/event", endless())).await;
    assert_eq!(layer.handle().in_flight(), 1);
}

#[tokio::test]
async fn until_the_head_if_that_is_asked_for() {
    let bulkhead = grpc::bulkhead().limit(8).until_head().build().unwrap();
    let shedder = grpc::load_shed()
        .limit(Limit::fixed(8))
        .until_head()
        .build()
        .unwrap();
    let layers = (shedder.clone(), bulkhead.clone());
    let _stream = through(&layers, grpc(script([Data("a"), status("0")]))).await;
    assert_eq!(
        (shedder.handle().in_flight(), bulkhead.handle().in_flight()),
        (0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_waiting_call_gets_the_place_when_a_body_ends() {
    let layer = resilient::bulkhead()
        .limit(1)
        .queue(1, Duration::from_secs(60))
        .build()
        .unwrap();
    let first = through(&layer, answer(200, script([Data("a"), Data("b")]))).await;
    let other = layer.clone();
    let second = tokio::spawn(async move {
        through(&other, answer(200, script([Data("c")])))
            .await
            .into_body()
    });
    sleep(MS).await;
    assert_eq!(
        (layer.handle().in_flight(), layer.handle().waiting()),
        (1, 1)
    );
    assert_eq!(read(first.into_body()).await.0, "ab");
    assert_eq!(read(second.await.unwrap()).await.0, "c");
    assert_eq!(
        (layer.handle().in_flight(), layer.handle().waiting()),
        (0, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_limit_gives_way_to_overload_that_the_trailers_tell_of() {
    let limit = Limit::aimd().initial(100).build().unwrap();
    let layer = grpc::load_shed().limit(limit).build().unwrap();
    let mut bodies = Vec::new();
    for _ in 0..80 {
        let full = script([Data("message"), status("14")]);
        bodies.push(through(&layer, grpc(full)).await.into_body());
        sleep(10 * MS).await;
    }
    assert_eq!(layer.handle().limit().unwrap(), 100);
    for body in bodies {
        read(body).await;
        sleep(10 * MS).await;
    }
    assert!(
        layer.handle().limit().unwrap() < 100,
        "{}",
        layer.handle().limit().unwrap()
    );
}

// --- The body itself

#[tokio::test]
async fn everything_passes_as_it_is() {
    let layers = (
        resilient::circuit_breaker().build().unwrap(),
        resilient::bulkhead().build().unwrap(),
    );
    let end = trailers(&[("checksum", "1"), ("checksum", "2")]);
    let response = through(&layers, answer(200, script([Data("a"), Data("b"), end]))).await;
    let mut body = pin!(response.into_body());
    let hint = body.size_hint();
    assert_eq!((hint.lower(), hint.upper()), (7, Some(70)));
    assert!(!body.is_end_stream());
    for expected in ["a", "b"] {
        let frame = next(body.as_mut()).await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), expected);
    }
    let frame = next(body.as_mut()).await.unwrap().unwrap();
    let values = frame.trailers_ref().unwrap().get_all("checksum");
    assert_eq!(values.iter().collect::<Vec<_>>(), ["1", "2"]);
    assert!(body.is_end_stream());

    let response = through(&layers, answer(200, script([Data("a"), Break]))).await;
    let (text, error) = read(response.into_body()).await;
    assert_eq!((text.as_str(), error), ("a", Some(script::BrokenOff)));
}

#[tokio::test]
async fn hostile_trailers_are_read_no_further_than_the_code() {
    let long = "x".repeat(100_000);
    let many: Vec<(&'static str, &str)> = (0..5_000).map(|_| ("x-bomb", "x")).collect();
    for mut fields in [
        vec![("grpc-status-details-bin", "%%%"), ("grpc-message", "%FF%")],
        vec![("grpc-status-details-bin", long.as_str())],
        vec![("grpc-retry-pushback-ms", long.as_str())],
        many,
    ] {
        fields.push(("grpc-status", "14"));
        let body = script([Data("message"), trailers(&fields)]);
        assert_eq!(grpc_outcome(grpc(body)).await, ["failure"]);
    }
    let twice = trailers(&[("grpc-status", "14"), ("grpc-status", "0")]);
    let body = script([Data("message"), twice]);
    assert_eq!(grpc_outcome(grpc(body)).await, ["failure"]);
}

#[tokio::test]
async fn nothing_is_allocated_for_a_response() {
    let layers = (
        resilient::load_shed()
            .limit(Limit::fixed(8))
            .build()
            .unwrap(),
        resilient::circuit_breaker().build().unwrap(),
        resilient::bulkhead().build().unwrap(),
    );
    let mut service = layers.layer(script::echo());
    let mut call = |response| {
        let cx = &mut Context::from_waker(Waker::noop());
        let ready = tower::Service::<Response<Script>>::poll_ready(&mut service, cx);
        assert!(ready.is_ready());
        let mut call = pin!(tower::Service::call(&mut service, response));
        let Poll::Ready(Ok(response)) = std::future::Future::poll(call.as_mut(), cx) else {
            panic!("not ready");
        };
        let mut body = pin!(response.into_body());
        while let Poll::Ready(Some(Ok(_))) = poll(body.as_mut()) {}
    };
    // Not the first one: threads get their counters with that.
    for measured in [false, true] {
        for response in [
            answer(200, script([Data("a"), Data("b")])),
            answer(500, script([Data("a"), Data("b")])),
            grpc(script([Data("a"), status("0")])),
        ] {
            let counted = allocation_counter::measure(|| call(response));
            if measured {
                assert_eq!(counted.count_total, 0);
            }
        }
    }
}

#[tokio::test]
async fn a_rejection_has_a_body_too() {
    let layer = resilient::bulkhead().limit(1).build().unwrap();
    let service = ServiceBuilder::new()
        .layer(RespondLayer::new())
        .layer(layer)
        .service(tower::service_fn(|_: http::Request<()>| async {
            Ok::<_, std::convert::Infallible>(Response::new(String::from("hello")))
        }));
    let ask = || tower::ServiceExt::oneshot(service.clone(), http::Request::new(()));
    let held = ask().await.unwrap();
    let refused = ask().await.unwrap();
    assert_eq!(refused.status(), 503);
    assert!(read(refused.into_body()).await.0.contains("full"));
    assert_eq!(read(held.into_body()).await.0, "hello");
    assert_eq!(ask().await.unwrap().status(), 200);
}

// --- The throttling of gRPC

/// How many tokens of ten a throttle has lost (it may go on while it has more than five), after so many calls that end like this.
async fn may_retry_after(calls: usize, end: impl Fn() -> script::Step) -> bool {
    let throttle = mainstay::RetryBudget::throttle(10, 1.0).unwrap();
    let layer = grpc::retry().budget(throttle.clone()).build().unwrap();
    for _ in 0..calls {
        let body = std::sync::Arc::new(script([Data("message"), Wait(MS), end()]));
        let service = layer.layer(tower::service_fn(move |_: http::Request<bytes::Bytes>| {
            std::future::ready(Ok::<_, std::io::Error>(grpc(body.again())))
        }));
        let call = tower::ServiceExt::oneshot(service, http::Request::default());
        read(call.await.unwrap().into_body()).await;
    }
    throttle.balance() == 1
}

#[tokio::test(start_paused = true)]
async fn the_throttle_of_grpc_hears_how_streams_end() {
    assert!(may_retry_after(4, || status("14")).await);
    assert!(!may_retry_after(5, || status("14")).await);
    assert!(!may_retry_after(5, || Break).await);
    // What no retry is for counts neither way.
    assert!(may_retry_after(20, || status("5")).await);
    assert!(may_retry_after(20, || status("0")).await);
    let number = std::cell::Cell::new(0);
    let mixed = || {
        number.set(number.get() + 1);
        status(if number.get() < 6 { "14" } else { "0" })
    };
    assert!(may_retry_after(7, mixed).await);
}
