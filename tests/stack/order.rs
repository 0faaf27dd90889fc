//! That the order of a client's layers is the one that is drawn, whatever order the methods are called in: seen from what happens.

use mainstay::circuit_breaker::CircuitBreakerBuilder;
use mainstay::http::{ClientStack, EndOfBody, HttpClassifier};
use mainstay::stack::{ClientBuilder, Http};
use mainstay::{Backoff, Context, CorrelationId, EventKind, Jitter, State, grpc, http};

use crate::upstream::{Act, Upstream, by, call, get, ms, post, rejected, rpc, secs, settle};

/// Without jitter, so that it can be said when an attempt is sent.
fn steady(attempts: u32, wait: u64) -> mainstay::RetryBuilder<http::HttpRetry> {
    let backoff = Backoff::constant(ms(wait)).jitter(Jitter::None);
    http::retry().attempts(attempts).backoff(backoff)
}

fn trips_after(failures: u32) -> CircuitBreakerBuilder<EndOfBody<HttpClassifier>> {
    http::circuit_breaker().consecutive_failures(failures)
}

type Step = fn(ClientBuilder<Http>) -> ClientBuilder<Http>;

#[test]
fn the_order_is_the_stacks_whatever_order_the_methods_are_called_in() {
    let steps: [Step; 8] = [
        |s| s.timeout(secs(3)),
        |s| s.retry(2),
        |s| s.circuit_breaker(http::circuit_breaker().consecutive_failures(3)),
        |s| s.bulkhead(http::bulkhead().limit(7).queue(3, ms(20))),
        |s| s.attempt_timeout(secs(1)),
        |s| s.without_correlation(),
        |s| s.deadline(http::DeadlineLayer::new().header("x-left").unwrap()),
        |s| s.observer(|_: &mainstay::Event| ()),
    ];
    let build = |order: &[usize]| -> ClientStack {
        let stack = order
            .iter()
            .fold(http::client("a"), |stack, n| steps[*n](stack));
        stack.build().unwrap()
    };
    let first = build(&[0, 1, 2, 3, 4, 5, 6, 7]);
    let described = first.describe();
    let layers: Vec<_> = described.layers().iter().map(|l| l.layer()).collect();
    let order = [
        "correlation",
        "timeout",
        "retry",
        "rate_limit",
        "circuit_breaker",
        "bulkhead",
        "attempt_timeout",
        "deadline",
    ];
    assert_eq!(layers, order);
    // Each with each other one in both orders.
    for turn in 0..8 {
        let turned: Vec<_> = (0..8).map(|n| (n + turn) % 8).collect();
        let back: Vec<_> = turned.iter().rev().copied().collect();
        for other in [turned, back] {
            assert_eq!(build(&other).describe(), first.describe(), "{other:?}");
        }
    }
}

#[test]
fn the_last_call_of_a_method_counts() {
    let stack = http::client("a")
        .without_retry()
        .retry(5)
        .timeout(secs(1))
        .without_timeout();
    let told = stack.build().unwrap().to_string();
    assert!(told.contains("attempts = 5"), "{told}");
    assert!(told.contains("timeout         off"), "{told}");
}

#[tokio::test(start_paused = true)]
async fn a_retry_sees_the_open_circuit_and_does_not_try_it_again() {
    let upstream = Upstream::always(Act::Status(503));
    let stack = http::client("a")
        .retry(steady(5, 100))
        .circuit_breaker(trips_after(2));
    let stack = stack.build().unwrap();
    let service = stack.wrap(upstream.clone());
    // The circuit sees every attempt. It opens after the second, and the third is the first to be rejected; and the last.
    let began = tokio::time::Instant::now();
    let result = call(&service, get()).await;
    assert_eq!(by(result), "circuit_breaker `a` CircuitOpen");
    assert_eq!(upstream.calls(), 2);
    assert_eq!(began.elapsed(), ms(200));
    assert_eq!(stack.circuit_breaker().state(), State::Open);
    let began = tokio::time::Instant::now();
    assert_eq!(
        by(call(&service, get()).await),
        "circuit_breaker `a` CircuitOpen"
    );
    assert_eq!((upstream.calls(), began.elapsed()), (2, ms(0)));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_hangs_is_a_failure_to_the_circuit_and_is_tried_again() {
    let upstream = Upstream::script([Act::Hang, Act::Hang], Act::Status(200));
    let (observer, told) = recorder();
    let stack = http::client("a")
        .attempt_timeout(ms(300))
        .retry(steady(3, 100))
        .circuit_breaker(http::circuit_breaker().observer(observer))
        .build()
        .unwrap();
    let response = call(&stack.wrap(upstream.clone()), get()).await.unwrap();
    assert_eq!(response.status(), 200);
    let sent: Vec<_> = upstream.seen().iter().map(|seen| seen.at).collect();
    assert_eq!(sent, [ms(0), ms(400), ms(800)]);
    drop(response);
    assert_eq!(*told.lock().unwrap(), ["failure", "failure", "success"]);
    assert_eq!(stack.circuit_breaker().snapshot().failures, 2);
}

fn recorder() -> (
    impl Fn(&mainstay::Event) + Send + Sync + 'static,
    std::sync::Arc<std::sync::Mutex<Vec<String>>>,
) {
    let list = std::sync::Arc::<std::sync::Mutex<Vec<String>>>::default();
    let told = std::sync::Arc::clone(&list);
    let observer = move |event: &mainstay::Event| {
        if let EventKind::Settled { outcome, .. } = event.kind() {
            told.lock().unwrap().push(outcome.to_string());
        }
    };
    (observer, list)
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_hangs_names_its_own_limit() {
    let stack = http::client("a").attempt_timeout(ms(300)).without_retry();
    let service = stack.build().unwrap().wrap(Upstream::always(Act::Hang));
    assert_eq!(
        by(call(&service, get()).await),
        "attempt_timeout `a` TimedOut"
    );
    // Without a limit of its own it has the time of the whole call, and is the only one.
    for request in [get, post] {
        let upstream = Upstream::always(Act::Hang);
        let service = http::client("b").build().unwrap().wrap(upstream.clone());
        let began = tokio::time::Instant::now();
        let rejection = rejected(call(&service, request()).await);
        assert_eq!((rejection.layer(), rejection.name()), ("timeout", "b"));
        let limit = rejection.time_limit();
        assert_eq!(limit, Some(mainstay::TimeLimit::Layer(secs(30))));
        assert_eq!((upstream.calls(), began.elapsed()), (1, secs(30)));
    }
}

#[tokio::test(start_paused = true)]
async fn the_whole_call_ends_in_time_whatever_it_is_doing_then() {
    // In an attempt.
    let stack = http::client("a")
        .timeout(secs(1))
        .without_attempt_timeout()
        .build()
        .unwrap();
    let upstream = Upstream::always(Act::Hang);
    let began = tokio::time::Instant::now();
    let result = call(&stack.wrap(upstream.clone()), get()).await;
    assert_eq!(by(result), "timeout `a` TimedOut");
    assert_eq!(began.elapsed(), secs(1));
    assert_eq!((upstream.calls(), upstream.in_flight()), (1, 0));
    assert_eq!(stack.bulkhead().in_flight(), 0);

    // In its second attempt, which has not all of its own time.
    let stack = http::client("a").timeout(secs(1)).retry(steady(3, 400));
    let stack = stack.attempt_timeout(ms(350)).build().unwrap();
    let upstream = Upstream::always(Act::Later(ms(340), 503));
    let began = tokio::time::Instant::now();
    let result = call(&stack.wrap(upstream.clone()), get()).await;
    assert_eq!(by(result), "attempt_timeout `a` TimedOut");
    assert_eq!((upstream.calls(), began.elapsed()), (2, secs(1)));

    // Before a wait that would last too long: nobody would be there any more, so what there is is the answer.
    let stack = http::client("a")
        .timeout(secs(1))
        .retry(steady(3, 700))
        .attempt_timeout(ms(350));
    let upstream = Upstream::always(Act::Later(ms(340), 503));
    let began = tokio::time::Instant::now();
    let response = call(&stack.build().unwrap().wrap(upstream.clone()), get()).await;
    assert_eq!(response.unwrap().status(), 503);
    assert_eq!((upstream.calls(), began.elapsed()), (1, ms(340)));

    // While a retry waits for the service to be ready.
    let stack = http::client("a").timeout(ms(500)).retry(steady(3, 100));
    let upstream = Upstream::always(Act::Status(503));
    let service = stack.build().unwrap().wrap(upstream.clone());
    let began = tokio::time::Instant::now();
    let waits = tokio::spawn(async move { by(call(&service, get()).await) });
    settle().await;
    upstream.clone().never_ready();
    assert_eq!(waits.await.unwrap(), "retry `a` NotReady");
    assert_eq!((upstream.calls(), began.elapsed()), (1, ms(500)));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_for_its_next_attempt_holds_no_place() {
    let upstream = Upstream::script([Act::Status(503)], Act::Status(200));
    let stack = http::client("a")
        .bulkhead(1)
        .retry(steady(2, 500))
        .build()
        .unwrap();
    let service = stack.wrap(upstream.clone());
    let (first, other) = (service.clone(), service);
    let waits = tokio::spawn(async move { call(&first, get()).await.unwrap().status() });
    settle().await;
    assert_eq!((upstream.calls(), stack.bulkhead().in_flight()), (1, 0));
    // The one place is free for others meanwhile.
    assert_eq!(call(&other, get()).await.unwrap().status(), 200);
    assert_eq!(waits.await.unwrap(), 200);
    assert_eq!(upstream.seen()[2].at, ms(500));
}

#[tokio::test(start_paused = true)]
async fn a_full_bulkhead_is_no_failure_of_the_other_side() {
    let stack = http::client("a").bulkhead(1).without_retry();
    let stack = stack.circuit_breaker(trips_after(1)).build().unwrap();
    let service = stack.wrap(Upstream::always(Act::Hang));
    let other = service.clone();
    let held = tokio::spawn(async move { call(&other, get()).await.map(drop) });
    settle().await;
    assert_eq!(by(call(&service, get()).await), "bulkhead `a` Full");
    assert_eq!(stack.circuit_breaker().state(), State::Closed);
    held.abort();
    assert!(held.await.unwrap_err().is_cancelled());
    assert_eq!(stack.bulkhead().in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_a_place_is_no_part_of_the_attempts_time() {
    let queue = http::bulkhead().limit(1).queue(5, ms(900));
    let stack = http::client("a")
        .timeout(secs(3))
        .attempt_timeout(ms(500))
        .bulkhead(queue)
        .without_retry();
    let upstream = Upstream::always(Act::Later(ms(400), 200));
    let service = stack.build().unwrap().wrap(upstream.clone());
    let began = tokio::time::Instant::now();
    let status = async || call(&service, get()).await.unwrap().status().as_u16();
    let (one, two, three) = tokio::join!(status(), status(), status());
    assert_eq!([one, two, three], [200, 200, 200]);
    assert_eq!(began.elapsed(), ms(1_200));
    // But of the whole call.
    let queue = http::bulkhead().limit(1).queue(5, ms(450));
    let stack = http::client("a")
        .timeout(ms(1_000))
        .bulkhead(queue)
        .without_retry();
    let service = stack.build().unwrap().wrap(Upstream::always(Act::Hang));
    let other = service.clone();
    let began = tokio::time::Instant::now();
    let held = tokio::spawn(async move { by(call(&other, get()).await) });
    settle().await;
    assert_eq!(by(call(&service, get()).await), "bulkhead `a` QueueTimeout");
    assert_eq!(began.elapsed(), ms(450));
    assert_eq!(held.await.unwrap(), "timeout `a` TimedOut");
    assert_eq!(began.elapsed(), ms(1_000));
}

#[tokio::test(start_paused = true)]
async fn each_attempt_tells_what_is_left_for_it() {
    let upstream = Upstream::script([Act::Later(ms(100), 503), Act::Hang], Act::Status(200));
    let stack = http::client("a")
        .timeout(secs(2))
        .attempt_timeout(ms(500))
        .retry(steady(3, 700));
    let stack = stack.build().unwrap();
    let result = call(&stack.wrap(upstream.clone()), get()).await;
    assert_eq!(by(result), "attempt_timeout `a` TimedOut");
    let left: Vec<_> = upstream
        .seen()
        .iter()
        .map(|seen| seen.header("x-request-timeout-ms").map(str::to_owned))
        .collect();
    // There is no third: 100 + 700 and 500 are gone, and 700 more would be all.
    assert_eq!(left[..2], [Some("500".to_owned()), Some("500".to_owned())]);
    assert_eq!(upstream.calls(), 2);

    let upstream = Upstream::script([Act::Later(ms(400), 503)], Act::Status(200));
    let stack = http::client("a")
        .timeout(secs(2))
        .without_attempt_timeout()
        .retry(steady(3, 100));
    call(&stack.build().unwrap().wrap(upstream.clone()), get())
        .await
        .unwrap();
    let seen = upstream.seen();
    assert_eq!(seen[0].header("x-request-timeout-ms"), Some("2000"));
    assert_eq!(seen[1].header("x-request-timeout-ms"), Some("1500"));
    assert_eq!(
        seen.iter().map(|s| s.context.attempt()).collect::<Vec<_>>(),
        [1, 2]
    );
}

#[tokio::test(start_paused = true)]
async fn all_attempts_have_one_correlation_id() {
    let upstream = Upstream::always(Act::Status(503));
    let service = http::client("a").build().unwrap().wrap(upstream.clone());
    call(&service, get()).await.unwrap();
    let ids: Vec<_> = upstream
        .seen()
        .iter()
        .map(|s| s.header("x-correlation-id").unwrap().to_owned())
        .collect();
    assert_eq!(ids.len(), 3);
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
    // It is that of the request that is being served, if there is one.
    let id: CorrelationId = "order-4711".parse().unwrap();
    let context = Context::current().with_correlation_id(id);
    context
        .scope(async { call(&service, get()).await.unwrap() })
        .await;
    assert_eq!(
        upstream.seen()[3].header("x-correlation-id"),
        Some("order-4711")
    );
}

#[tokio::test(start_paused = true)]
async fn a_rejection_is_the_answer_also_while_the_service_is_not_ready() {
    // With keys the circuit is known only once there is a request.
    let stack = http::client("a")
        .circuit_breaker(trips_after(1))
        .without_retry()
        .one_for_all()
        .build()
        .unwrap();
    stack.circuit_breaker().force_open();
    let service = stack.wrap(Upstream::always(Act::Hang).never_ready());
    assert_eq!(
        by(call(&service, get()).await),
        "circuit_breaker `a` CircuitOpen"
    );
}

#[tokio::test(start_paused = true)]
async fn a_panic_is_a_failure_and_leaves_nothing_behind() {
    use futures::FutureExt as _;
    let stack = http::client("a")
        .circuit_breaker(trips_after(1))
        .build()
        .unwrap();
    let service = stack.wrap(Upstream::always(Act::Panic));
    let result = std::panic::AssertUnwindSafe(call(&service, get()))
        .catch_unwind()
        .await;
    assert!(result.is_err());
    assert_eq!(stack.bulkhead().in_flight(), 0);
    assert_eq!(stack.circuit_breaker().state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn retries_are_paid_for_from_the_budget() {
    let budget = mainstay::RetryBudget::builder()
        .ratio(0.1)
        .min_per_second(1)
        .build()
        .unwrap();
    let stack = http::client("a")
        .retry(http::retry().budget(budget))
        .without_circuit_breaker();
    let stack = stack.build().unwrap();
    let upstream = Upstream::always(Act::Status(503));
    let service = stack.wrap(upstream.clone());
    let there = stack.retry().budget().unwrap().balance();
    assert!(there > 0);
    let calls = 5 + usize::try_from(there).unwrap();
    futures::future::join_all((0..calls).map(|_| call(&service, get()))).await;
    let retries = upstream.calls() - calls;
    assert!(
        retries >= usize::try_from(there).unwrap() && retries < 2 * calls,
        "{retries} of {calls}, {there}"
    );
    let rejection = rejected(
        call(
            &http::client("b")
                .bulkhead(1)
                .attempt_timeout(ms(5))
                .without_retry()
                .build()
                .unwrap()
                .wrap(Upstream::always(Act::Hang)),
            get(),
        )
        .await,
    );
    assert_eq!(rejection.name(), "b");
}

#[tokio::test(start_paused = true)]
async fn a_slow_answer_comes_and_is_asked_for_once() {
    // With nothing set, and under a limit for the whole call.
    for (stack, takes) in [
        (http::client("a"), secs(5)),
        (http::client("a"), ms(29_999)),
        (http::client("a").timeout(secs(2)), ms(900)),
        (http::client("a").timeout(secs(2)), ms(1_999)),
        (http::client("a").timeout(secs(90)), secs(80)),
    ] {
        let upstream = Upstream::always(Act::Later(takes, 200));
        let stack = stack.build().unwrap();
        let service = stack.wrap(upstream.clone());
        for _ in 0..30 {
            assert_eq!(call(&service, get()).await.unwrap().status(), 200);
        }
        assert_eq!(upstream.calls(), 30);
        assert_eq!(stack.circuit_breaker().state(), State::Closed);
    }
    let upstream = Upstream::always(Act::Later(secs(5), 200));
    let grpc = grpc::client("a").build().unwrap();
    let service = grpc.wrap(upstream.clone());
    for _ in 0..30 {
        assert_eq!(call(&service, rpc()).await.unwrap().status(), 200);
    }
    assert_eq!(upstream.calls(), 30);
}

#[tokio::test(start_paused = true)]
async fn what_a_call_says_itself_goes_before_a_default() {
    let slow = || Upstream::always(Act::Later(secs(80), 200));
    let service = http::client("a").build().unwrap().wrap(slow());
    // By its context, by its header.
    let context = Context::current().with_timeout(secs(90));
    let answer = context.scope(call(&service, get())).await;
    assert_eq!(answer.unwrap().status(), 200);
    let mut request = get();
    let header = "x-request-timeout-ms";
    request
        .headers_mut()
        .insert(header, "90000".parse().unwrap());
    assert_eq!(call(&service, request).await.unwrap().status(), 200);
    let mut request = rpc();
    let headers = request.headers_mut();
    headers.insert("grpc-timeout", "90S".parse().unwrap());
    let service = grpc::client("a").build().unwrap().wrap(slow());
    assert_eq!(call(&service, request).await.unwrap().status(), 200);
    // But not before what was set.
    let limited = http::client("a").timeout(secs(30)).build().unwrap();
    let context = Context::current().with_timeout(secs(90));
    let result = context.scope(call(&limited.wrap(slow()), get())).await;
    assert_eq!(by(result), "timeout `a` TimedOut");
}

#[tokio::test(start_paused = true)]
async fn a_limit_for_attempts_holds_for_all_of_them() {
    let upstream = Upstream::always(Act::Later(secs(8), 200));
    let stack = http::client("a").timeout(secs(10)).attempt_timeout(secs(2));
    let service = stack.build().unwrap().wrap(upstream.clone());
    for (request, attempts) in [(post as fn() -> _, 1), (get, 3)] {
        let before = upstream.calls();
        assert_eq!(
            by(call(&service, request()).await),
            "attempt_timeout `a` TimedOut"
        );
        assert_eq!(upstream.calls() - before, attempts);
    }
}
