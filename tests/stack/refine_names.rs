//! What refines a circuit breaker, and whose names and observers count.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use mainstay::{CircuitBreakerLayer, Event, Limit, Outcome, State, grpc, http};

use crate::upstream::{Act, Upstream, by, call, get, infallible, rejected, rpc, secs};

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
    // A proxy that knows nothing of gRPC: it refuses one request, or is broken.
    assert_eq!(opens_after!(grpc(), rpc, Act::Status(400)), 50);
    let proxy = || Act::Status(500);
    assert_eq!(opens_after!(grpc(), rpc, proxy()), 20);
    assert_eq!(
        opens_after!(grpc().circuit_breaker(four()), rpc, proxy()),
        4
    );
    assert_eq!(
        opens_after!(http().circuit_breaker(four()), get, Act::Status(400)),
        50
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
        .attempt_timeout(Duration::from_millis(300))
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
        let described = stack.describe();
        let breaker = &described.layers()[4];
        let (_, life) = breaker
            .settings()
            .find(|(name, _)| *name == "probe_life")
            .unwrap();
        life.to_owned()
    };
    let long = || http::client("a").timeout(Duration::from_secs(300));
    assert_eq!(life(http::client("a")), "30s");
    assert_eq!(life(http::client("a").timeout(secs(2))), "10s");
    assert_eq!(life(long()), "300s");
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
