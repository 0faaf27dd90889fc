//! Everything that refines a layer takes effect.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::http::StatusCode;
use mainstay::grpc::GrpcRetry;
use mainstay::http::HttpRetry;
use mainstay::{
    BulkheadLayer, CircuitBreakerLayer, CorrelationLayer, Event, Limit, LoadShedLayer, Outcome,
    Reason, RespondLayer, State, TimeoutLayer, grpc, http,
};
use tokio::time::Instant;

use crate::upstream::{
    Act, Upstream, by, call, get, infallible, ms, post, rejected, rpc, secs, settle,
};

#[tokio::test(start_paused = true)]
async fn a_timeout() {
    let took = async |stack: mainstay::stack::ClientBuilder<mainstay::stack::Http>| {
        let stack = stack.without_attempt_timeout().build().unwrap();
        let began = Instant::now();
        let rejection = rejected(call(&stack.wrap(Upstream::always(Act::Hang)), get()).await);
        assert_eq!(
            (rejection.layer(), rejection.reason()),
            ("timeout", Reason::TimedOut)
        );
        (began.elapsed(), rejection.name())
    };
    let client = || http::client("a");
    assert_eq!(took(client()).await, (secs(10), "a"));
    assert_eq!(took(client().timeout(secs(2))).await, (secs(2), "a"));
    assert_eq!(
        took(client().timeout(http::timeout().timeout(secs(3)))).await,
        (secs(3), "a")
    );
    assert_eq!(
        took(client().timeout(http::timeout())).await,
        (secs(30), "a")
    );
    let plain = TimeoutLayer::builder().timeout(secs(4)).name("plain");
    assert_eq!(took(client().timeout(plain)).await, (secs(4), "plain"));
}

#[tokio::test(start_paused = true)]
async fn a_plain_timeout_keeps_what_the_stack_does_with_bodies() {
    let plain = TimeoutLayer::builder().timeout(secs(4));
    for (stack, idle) in [
        (http::client("a"), 60),
        (http::client("a").timeout(plain), 60),
        (
            http::client("a").timeout(http::timeout().body_idle(secs(7))),
            7,
        ),
    ] {
        let upstream = Upstream::always(Act::Stall);
        let stack = stack.build().unwrap();
        let response = call(&stack.wrap(upstream.clone()), get()).await.unwrap();
        let began = Instant::now();
        let error = http_body_util::BodyExt::collect(response.into_body())
            .await
            .unwrap_err();
        let rejection = mainstay::Rejection::find(&*error).unwrap();
        assert_eq!(
            (rejection.layer(), rejection.name(), rejection.reason()),
            ("timeout", "a", Reason::TimedOut)
        );
        assert_eq!(
            (began.elapsed(), stack.bulkhead().in_flight()),
            (secs(idle), 0)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_bulkhead() {
    let in_flight = async |stack: mainstay::stack::ClientBuilder<mainstay::stack::Http>| {
        let stack = stack.without_retry().build().unwrap();
        let upstream = Upstream::always(Act::Hang);
        let service = stack.wrap(upstream.clone());
        let tasks: Vec<_> = (0..10)
            .map(|_| {
                let service = service.clone();
                tokio::spawn(async move { call(&service, get()).await.map(drop) })
            })
            .collect();
        settle().await;
        let seen = (upstream.calls(), stack.bulkhead().waiting());
        assert_eq!(stack.bulkhead().in_flight() as usize, upstream.calls());
        tasks.iter().for_each(|task| task.abort());
        settle().await;
        seen
    };
    let client = || http::client("a");
    assert_eq!(in_flight(client()).await, (10, 0));
    assert_eq!(in_flight(client().bulkhead(3)).await, (3, 0));
    assert_eq!(
        in_flight(client().bulkhead(http::bulkhead().limit(4))).await,
        (4, 0)
    );
    assert_eq!(
        in_flight(client().bulkhead(BulkheadLayer::builder().limit(5))).await,
        (5, 0)
    );
    let queue = http::bulkhead().limit(4).queue(3, ms(20));
    assert_eq!(in_flight(client().bulkhead(queue)).await, (4, 3));
    let queue = grpc::bulkhead().limit(4).queue(2, ms(20));
    assert_eq!(in_flight(client().bulkhead(queue)).await, (4, 2));
    let queue = BulkheadLayer::builder().limit(2).queue(8, ms(20));
    assert_eq!(in_flight(client().bulkhead(queue)).await, (2, 8));
}

#[tokio::test(start_paused = true)]
async fn a_bulkhead_whose_builder_knows_nothing_of_bodies_lasts_until_their_end_all_the_same() {
    for stack in [
        http::client("a").bulkhead(BulkheadLayer::builder()),
        http::client("a").bulkhead(BulkheadLayer::builder().queue(5, ms(10))),
    ] {
        let stack = stack.build().unwrap();
        let response = call(&stack.wrap(Upstream::always(Act::Stall)), get())
            .await
            .unwrap();
        assert_eq!(stack.bulkhead().in_flight(), 1);
        drop(response);
        assert_eq!(stack.bulkhead().in_flight(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_retry() {
    let calls =
        async |stack: mainstay::stack::ClientBuilder<mainstay::stack::Http>, status, request| {
            let upstream = Upstream::always(Act::Status(status));
            let service = stack.build().unwrap().wrap(upstream.clone());
            call(&service, request).await.unwrap();
            upstream.calls()
        };
    let client = || http::client("a");
    assert_eq!(calls(client(), 503, get()).await, 3);
    assert_eq!(calls(client(), 503, post()).await, 1);
    assert_eq!(calls(client().retry(5), 503, get()).await, 5);
    assert_eq!(
        calls(client().retry(http::retry().attempts(4)), 503, get()).await,
        4
    );
    let also = HttpRetry::new()
        .also_status(StatusCode::INTERNAL_SERVER_ERROR)
        .also_method(http_method());
    assert_eq!(calls(client(), 500, get()).await, 1);
    assert_eq!(calls(client().retry(also.clone()), 500, get()).await, 3);
    assert_eq!(calls(client().retry(also.clone()), 500, post()).await, 3);
    assert_eq!(
        calls(
            client().retry(http::retry().policy(also).attempts(2)),
            500,
            get()
        )
        .await,
        2
    );

    let rpcs = async |stack: mainstay::stack::ClientBuilder<mainstay::stack::Grpc>, code| {
        let upstream = Upstream::always(Act::Grpc(code));
        let service = stack.build().unwrap().wrap(upstream.clone());
        call(&service, rpc()).await.unwrap();
        upstream.calls()
    };
    let client = || grpc::client("a");
    assert_eq!(rpcs(client(), "14").await, 3);
    assert_eq!(rpcs(client(), "13").await, 1);
    assert_eq!(rpcs(client().retry(4), "14").await, 4);
    assert_eq!(
        rpcs(client().retry(grpc::retry().attempts(2)), "14").await,
        2
    );
    let internal = GrpcRetry::new().codes([grpc::Code::Internal]);
    assert_eq!(rpcs(client().retry(internal.clone()), "13").await, 3);
    assert_eq!(rpcs(client().retry(internal), "14").await, 1);
}

fn http_method() -> ::http::Method {
    ::http::Method::POST
}

#[tokio::test(start_paused = true)]
async fn a_circuit_breaker() {
    // How many calls it takes until the circuit is open, at most 50.
    macro_rules! opens_after {
        ($stack:expr, $request:ident, $act:expr) => {{
            let stack = $stack.without_retry().build().unwrap();
            let service = stack.wrap(Upstream::always($act));
            let mut calls = 0;
            while calls < 50 && stack.circuit_breaker().state() == State::Closed {
                drop(call(&service, $request()).await);
                calls += 1;
            }
            calls
        }};
    }
    let http = || http::client("a");
    let failing = || Act::Status(500);
    assert_eq!(opens_after!(http(), get, failing()), 20);
    let three = http::circuit_breaker().consecutive_failures(3);
    assert_eq!(
        opens_after!(http().circuit_breaker(three), get, failing()),
        3
    );
    // One that says nothing of responses takes over the stack's judgement.
    let four = || CircuitBreakerLayer::builder().consecutive_failures(4);
    assert_eq!(
        opens_after!(http().circuit_breaker(four()), get, failing()),
        4
    );
    assert_eq!(
        opens_after!(http().circuit_breaker(four()), get, Act::Grpc("14")),
        4
    );
    let teapot = http::circuit_breaker()
        .consecutive_failures(2)
        .classify_head(|head| {
            if head.status().as_u16() == 418 {
                Outcome::Failure
            } else {
                Outcome::Success
            }
        });
    assert_eq!(
        opens_after!(http().circuit_breaker(teapot), get, Act::Status(418)),
        2
    );
    let teapot = http::circuit_breaker()
        .consecutive_failures(2)
        .classify_head(|_| Outcome::Success);
    assert_eq!(
        opens_after!(http().circuit_breaker(teapot), get, failing()),
        50
    );
    let teapot = http::circuit_breaker()
        .consecutive_failures(2)
        .classify_head(|_| Outcome::Success);
    assert_eq!(
        opens_after!(http().circuit_breaker(teapot), get, Act::Fail),
        2
    );

    let grpc = || grpc::client("a");
    assert_eq!(opens_after!(grpc(), rpc, Act::Grpc("14")), 20);
    assert_eq!(opens_after!(grpc(), rpc, Act::Grpc("5")), 50);
    assert_eq!(
        opens_after!(grpc().circuit_breaker(four()), rpc, Act::Grpc("14")),
        4
    );
    let missing = grpc::circuit_breaker()
        .consecutive_failures(3)
        .failures([grpc::Code::NotFound]);
    assert_eq!(
        opens_after!(grpc().circuit_breaker(missing), rpc, Act::Grpc("5")),
        3
    );
    let missing = grpc::circuit_breaker()
        .consecutive_failures(3)
        .failures([grpc::Code::NotFound]);
    assert_eq!(
        opens_after!(grpc().circuit_breaker(missing), rpc, Act::Grpc("14")),
        50
    );
    let by_http = http::circuit_breaker().consecutive_failures(3);
    assert_eq!(
        opens_after!(grpc().circuit_breaker(by_http), rpc, Act::Grpc("14")),
        3
    );
}

#[tokio::test(start_paused = true)]
async fn a_load_shedder() {
    let let_in = async |stack: mainstay::stack::ServerBuilder| {
        let stack = stack.build().unwrap();
        let upstream = Upstream::always(Act::Hang);
        let service = stack.wrap(infallible(upstream.clone()));
        let calls = (0..300).map(|_| tokio::time::timeout(ms(1), call(&service, get())));
        let ended = futures::future::join_all(calls)
            .await
            .into_iter()
            .filter_map(Result::ok);
        for response in ended {
            assert_eq!(response.unwrap().status(), 503);
        }
        upstream.calls()
    };
    let server = || http::server("a");
    assert_eq!(let_in(server()).await, 20);
    assert_eq!(let_in(server().load_shed(Limit::fixed(7))).await, 7);
    assert_eq!(
        let_in(server().load_shed(http::load_shed().limit(Limit::fixed(8)))).await,
        8
    );
    assert_eq!(
        let_in(server().load_shed(grpc::load_shed().limit(Limit::fixed(9)))).await,
        9
    );
    assert_eq!(
        let_in(server().load_shed(LoadShedLayer::builder().limit(Limit::fixed(10)))).await,
        10
    );
    assert_eq!(let_in(server().bulkhead(11)).await, 11);
    assert_eq!(
        let_in(grpc::server("a").bulkhead(BulkheadLayer::builder().limit(12))).await,
        12
    );
}

#[tokio::test(start_paused = true)]
async fn how_a_server_answers_and_whose_id_counts() {
    let respond = RespondLayer::new()
        .full_as(StatusCode::TOO_MANY_REQUESTS)
        .unwrap()
        .show_names();
    let stack = http::server("orders")
        .respond(respond)
        .without_load_shed()
        .bulkhead(1);
    let stack = stack
        .correlation(CorrelationLayer::server().ignore_inbound())
        .build()
        .unwrap();
    let service = stack.wrap(infallible(Upstream::always(Act::Hang)));
    let mut held = Box::pin(call(&service, get()));
    assert!(futures::poll!(&mut held).is_pending());
    let mut request = get();
    request
        .headers_mut()
        .insert("x-correlation-id", "callers".parse().unwrap());
    let response = call(&service, request).await.unwrap();
    assert_eq!(response.status(), 429);
    assert_ne!(response.headers()["x-correlation-id"], "callers");
    let body = http_body_util::BodyExt::collect(response.into_body())
        .await
        .unwrap()
        .to_bytes();
    let body = String::from_utf8(body.to_vec()).unwrap();
    assert!(
        body.contains("bulkhead") && body.contains("orders"),
        "{body}"
    );
}

type Told = Arc<Mutex<Vec<String>>>;

fn observer(told: &Told, who: &'static str) -> impl Fn(&Event) + Send + Sync + 'static {
    let told = Arc::clone(told);
    move |event| {
        let text = format!("{who}: {} `{}`", event.layer(), event.name());
        let mut told = told.lock().unwrap();
        if !told.contains(&text) {
            told.push(text);
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_name_and_the_observer_of_a_builder_win_over_the_stacks() {
    let told = Told::default();
    let own = || observer(&told, "own");
    let stack = http::client("a")
        .observer(observer(&told, "stack"))
        .timeout(http::timeout().timeout(secs(1)).name("t").observer(own()))
        .retry(http::retry().name("r").observer(own()).attempts(2))
        .circuit_breaker(
            http::circuit_breaker()
                .name("c")
                .observer(own())
                .consecutive_failures(2),
        )
        .bulkhead(http::bulkhead().name("b").observer(own()).limit(1))
        .build()
        .unwrap();
    let service = stack.wrap(Upstream::always(Act::Hang));
    assert_eq!(
        by(call(&service, get()).await),
        "attempt_timeout `a` TimedOut"
    );
    assert_eq!(
        by(call(&service, get()).await),
        "circuit_breaker `c` CircuitOpen"
    );
    let mut told_of = std::mem::take(&mut *told.lock().unwrap());
    told_of.sort();
    // What has none of its own speaks to the stack's.
    assert_eq!(
        told_of,
        [
            "own: bulkhead `b`",
            "own: circuit_breaker `c`",
            "own: retry `r`",
            "stack: attempt_timeout `a`"
        ]
    );

    let stack = http::client("a")
        .observer(observer(&told, "stack"))
        .circuit_breaker(http::circuit_breaker().consecutive_failures(2));
    let stack = stack
        .timeout(secs(1))
        .without_attempt_timeout()
        .without_retry()
        .build()
        .unwrap();
    let service = stack.wrap(Upstream::always(Act::Hang));
    let rejection = rejected(call(&service, get()).await);
    assert_eq!((rejection.layer(), rejection.name()), ("timeout", "a"));
    let mut told_of = std::mem::take(&mut *told.lock().unwrap());
    told_of.sort();
    assert_eq!(
        told_of,
        [
            "stack: bulkhead `a`",
            "stack: circuit_breaker `a`",
            "stack: timeout `a`"
        ]
    );

    let stack = http::server("s")
        .observer(observer(&told, "stack"))
        .timeout(secs(1));
    let stack = stack
        .load_shed(
            http::load_shed()
                .observer(own())
                .name("l")
                .limit(Limit::fixed(1)),
        )
        .build()
        .unwrap();
    let service = stack.wrap(infallible(Upstream::always(Act::Hang)));
    let (one, two) = tokio::join!(call(&service, get()), call(&service, get()));
    assert_eq!(
        (
            one.unwrap().status().as_u16(),
            two.unwrap().status().as_u16()
        ),
        (504, 503)
    );
    let mut told_of = std::mem::take(&mut *told.lock().unwrap());
    told_of.sort();
    assert_eq!(
        told_of,
        [
            "own: load_shed `l`",
            "stack: bulkhead `s`",
            "stack: timeout `s`"
        ]
    );
}

#[test]
fn a_probe_may_take_as_long_as_an_attempt() {
    let life = |stack: mainstay::stack::ClientBuilder<mainstay::stack::Http>| -> String {
        let stack = stack.build().unwrap();
        let breaker = &stack.describe().layers()[3];
        let (_, life) = breaker
            .settings()
            .find(|(name, _)| *name == "probe_life")
            .unwrap();
        life.to_owned()
    };
    let long = || http::client("a").timeout(Duration::from_secs(300));
    assert_eq!(life(http::client("a")), "10s");
    assert_eq!(life(long()), "99.9s");
    assert_eq!(life(long().attempt_timeout(secs(20))), "20s");
    assert_eq!(life(long().without_attempt_timeout()), "300s");
    let set = http::circuit_breaker().probe_life(secs(4));
    assert_eq!(life(http::client("a").circuit_breaker(set)), "4s");
    let slow = http::circuit_breaker().slow_calls(secs(40), 0.5);
    assert_eq!(
        life(
            long()
                .without_timeout()
                .without_attempt_timeout()
                .circuit_breaker(slow)
        ),
        "40s"
    );
}
