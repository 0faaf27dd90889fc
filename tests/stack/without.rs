//! What is left out does nothing, and the type stays the same.

use futures::FutureExt as _;
use mainstay::http::{ClientStack, DeadlineLayer, ServerStack};
use mainstay::stack::{ClientBuilder, Http, ServerBuilder};
use mainstay::{Context, EventKind, OnCancel, Outcome, State, grpc, http};
use tower::Layer as _;

use crate::upstream::{Act, Upstream, by, call, get, infallible, ms, rpc, secs};

#[test]
fn the_type_is_the_same_whatever_is_left_out() {
    let client: [fn(ClientBuilder<Http>) -> ClientBuilder<Http>; 8] = [
        |s| s,
        ClientBuilder::without_correlation,
        ClientBuilder::without_timeout,
        ClientBuilder::without_retry,
        ClientBuilder::without_circuit_breaker,
        ClientBuilder::without_bulkhead,
        ClientBuilder::without_attempt_timeout,
        ClientBuilder::without_deadline,
    ];
    let mut stacks: Vec<ClientStack> = Vec::new();
    for (n, without) in client.iter().enumerate() {
        let whole = http::client("a").attempt_timeout(secs(5));
        stacks.push(without(whole).build().unwrap());
        let told = stacks[n].describe();
        let off: Vec<_> = told
            .layers()
            .iter()
            .filter(|l| !l.is_on() && l.layer() != "rate_limit")
            .map(|l| l.layer())
            .collect();
        assert_eq!(off.len(), usize::from(n > 0), "{off:?}");
    }
    let described: Vec<_> = stacks.iter().map(|stack| stack.describe()).collect();
    let mut off: Vec<_> = described
        .iter()
        .flat_map(|description| description.layers())
        .filter(|l| !l.is_on() && l.layer() != "rate_limit")
        .map(|l| l.layer())
        .collect();
    off.sort_unstable();
    let all = [
        "attempt_timeout",
        "bulkhead",
        "circuit_breaker",
        "correlation",
        "deadline",
        "retry",
        "timeout",
    ];
    assert_eq!(off, all);

    let server: [fn(ServerBuilder) -> ServerBuilder; 5] = [
        |s| s,
        ServerBuilder::without_correlation,
        ServerBuilder::without_timeout,
        ServerBuilder::without_load_shed,
        ServerBuilder::without_bulkhead,
    ];
    let stacks: Vec<ServerStack> = server
        .iter()
        .map(|without| without(http::server("a")).build().unwrap())
        .collect();
    let mut services = stacks
        .iter()
        .map(|stack| stack.wrap(infallible(Upstream::always(Act::Hang))));
    let mut one = services.next().unwrap();
    for other in services {
        one = other;
    }
    drop(one);
}

/// A stack without anything, whose builder's methods are all called.
fn nothing() -> ClientStack {
    let stack = http::client("a")
        .without_correlation()
        .without_timeout()
        .without_retry();
    let stack = stack
        .without_circuit_breaker()
        .without_bulkhead()
        .without_attempt_timeout();
    stack.without_deadline().build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_client_without_anything_is_only_the_service() {
    let upstream = Upstream::script(
        [Act::Status(503), Act::Fail],
        Act::Later(secs(100_000), 200),
    );
    let service = nothing().wrap(upstream.clone());
    assert_eq!(call(&service, get()).await.unwrap().status(), 503);
    let error = call(&service, get()).await.unwrap_err();
    assert_eq!(
        error.into_inner().unwrap().kind(),
        std::io::ErrorKind::ConnectionReset
    );
    assert_eq!(call(&service, get()).await.unwrap().status(), 200);
    assert_eq!(upstream.calls(), 3);
    assert!(upstream.seen().iter().all(|seen| seen.headers.is_empty()));
    assert!(
        upstream
            .seen()
            .iter()
            .all(|seen| seen.context.correlation_id().is_none())
    );
    assert!(
        upstream
            .seen()
            .iter()
            .all(|seen| seen.context.remaining().is_none())
    );
}

#[tokio::test(start_paused = true)]
async fn without_a_retry_each_call_is_one_attempt() {
    let upstream = Upstream::always(Act::Status(503));
    let service = http::client("a")
        .without_retry()
        .build()
        .unwrap()
        .wrap(upstream.clone());
    assert_eq!(call(&service, get()).await.unwrap().status(), 503);
    assert_eq!(upstream.calls(), 1);
    let upstream = Upstream::always(Act::Grpc("14"));
    let service = grpc::client("a")
        .without_retry()
        .build()
        .unwrap()
        .wrap(upstream.clone());
    assert!(call(&service, rpc()).await.is_ok());
    assert_eq!(upstream.calls(), 1);
    // Its number is that of a retry around the stack.
    let upstream = Upstream::always(Act::Status(503));
    let stack = http::client("a").without_retry().build().unwrap();
    let service = http::retry()
        .build()
        .unwrap()
        .layer(stack.wrap(upstream.clone()));
    call(&service, get()).await.unwrap();
    let numbers: Vec<_> = upstream
        .seen()
        .iter()
        .map(|s| s.context.attempt())
        .collect();
    assert_eq!(numbers, [1, 2, 3]);
    assert!(
        http::client("a")
            .without_retry()
            .build()
            .unwrap()
            .snapshot()
            .retry
            .is_none()
    );
}

#[tokio::test(start_paused = true)]
async fn without_a_circuit_breaker_it_goes_on_calling() {
    let upstream = Upstream::always(Act::Status(500));
    let stack = http::client("a").without_circuit_breaker().build().unwrap();
    let service = stack.wrap(upstream.clone());
    for _ in 0..100 {
        assert_eq!(call(&service, get()).await.unwrap().status(), 500);
    }
    assert_eq!(
        (upstream.calls(), stack.circuit_breaker().state()),
        (100, State::Closed)
    );
    // Nor can it be opened by hand.
    stack.circuit_breaker().force_open();
    assert_eq!(call(&service, get()).await.unwrap().status(), 500);
    // With one, it does not.
    let upstream = Upstream::always(Act::Status(500));
    let service = http::client("a").build().unwrap().wrap(upstream.clone());
    for _ in 0..100 {
        drop(call(&service, get()).await);
    }
    assert_eq!(upstream.calls(), 20);
}

#[tokio::test(start_paused = true)]
async fn without_a_bulkhead_there_is_no_limit() {
    let upstream = Upstream::always(Act::Hang);
    let stack = http::client("a").without_bulkhead().build().unwrap();
    let service = stack.wrap(upstream.clone());
    let calls: Vec<_> = (0..3_000)
        .map(|_| Box::pin(call(&service, get())))
        .collect();
    let all = futures::future::join_all(calls);
    assert!(all.now_or_never().is_none());
    assert_eq!(upstream.calls(), 3_000);
    // By default they are counted, and none is rejected: 3 000 long polls are healthy.
    let upstream = Upstream::always(Act::Hang);
    let stack = http::client("a").without_retry().build().unwrap();
    let service = stack.wrap(upstream.clone());
    let mut all = Box::pin(futures::future::join_all(
        (0..3_000).map(|_| call(&service, get())),
    ));
    assert!(futures::poll!(&mut all).is_pending());
    assert_eq!(upstream.calls(), 3_000);
    let bulkhead = stack.bulkhead().snapshot();
    assert_eq!((bulkhead.in_flight, bulkhead.limit), (3_000, None));
    assert_eq!(bulkhead.rejections.total(), 0);
    assert!(bulkhead.to_string().contains("3000 in flight, 0 waiting"));
    let described = stack.to_string();
    assert!(
        described.contains("bulkhead        limit = none, queue = none"),
        "{described}"
    );
    // With a limit, there is one.
    let upstream = Upstream::always(Act::Hang);
    let stack = http::client("a").without_retry().bulkhead(1_024);
    let service = stack.build().unwrap().wrap(upstream.clone());
    let all = futures::future::join_all((0..3_000).map(|_| call(&service, get())));
    assert!(all.now_or_never().is_none());
    assert_eq!(upstream.calls(), 1_024);
}

#[tokio::test(start_paused = true)]
async fn without_a_limit_for_attempts_the_one_that_hangs_is_a_cancelled_call() {
    for (on_cancel, state) in [
        (OnCancel::Ignore, State::Closed),
        (OnCancel::FailureAfter(ms(50)), State::Open),
    ] {
        let breaker = http::circuit_breaker()
            .consecutive_failures(1)
            .on_cancel(on_cancel);
        let stack = http::client("a").timeout(ms(800)).without_attempt_timeout();
        let stack = stack.circuit_breaker(breaker).build().unwrap();
        let mut events = stack.circuit_breaker().events();
        let upstream = Upstream::always(Act::Hang);
        let began = tokio::time::Instant::now();
        let result = call(&stack.wrap(upstream.clone()), get()).await;
        // It is the limit of the call that says so, and not one that is not there.
        assert_eq!(by(result), "timeout `a` TimedOut");
        assert_eq!((upstream.calls(), began.elapsed()), (1, ms(800)));
        assert_eq!(stack.circuit_breaker().state(), state);
        let told = std::iter::from_fn(|| events.try_recv());
        let outcomes: Vec<_> = told
            .filter_map(|event| match event.kind() {
                EventKind::Settled { outcome, .. } => Some(*outcome),
                _ => None,
            })
            .collect();
        assert_eq!(outcomes, [Outcome::Cancelled]);
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_timeout_a_call_may_take_as_long_as_it_likes() {
    let stack = http::client("a")
        .without_timeout()
        .without_attempt_timeout()
        .build()
        .unwrap();
    let service = stack.wrap(Upstream::always(Act::Later(secs(1_000_000), 200)));
    assert_eq!(call(&service, get()).await.unwrap().status(), 200);
    // The limit of attempts is another one.
    let stack = http::client("a")
        .without_timeout()
        .without_retry()
        .attempt_timeout(secs(5))
        .build()
        .unwrap();
    let service = stack.wrap(Upstream::always(Act::Hang));
    assert_eq!(
        by(call(&service, get()).await),
        "attempt_timeout `a` TimedOut"
    );
    // A deadline of the context holds.
    let stack = http::client("a")
        .without_timeout()
        .without_attempt_timeout()
        .build()
        .unwrap();
    let service = stack.wrap(Upstream::always(Act::Hang));
    let began = tokio::time::Instant::now();
    let context = Context::current().with_timeout(secs(2));
    assert_eq!(
        by(context.scope(call(&service, get())).await),
        "timeout `a` TimedOut"
    );
    assert_eq!(began.elapsed(), secs(2));
    // What a request says of itself does not.
    let stack = http::client("a")
        .without_timeout()
        .without_attempt_timeout()
        .build()
        .unwrap();
    let service = stack.wrap(Upstream::always(Act::Later(secs(50), 200)));
    let mut request = get();
    request
        .headers_mut()
        .insert("x-request-timeout-ms", "10".parse().unwrap());
    assert_eq!(call(&service, request).await.unwrap().status(), 200);
}

#[tokio::test(start_paused = true)]
async fn without_a_timeout_nothing_ends_bodies() {
    for (stack, is_ended) in [
        (http::client("a"), true),
        (http::client("a").without_timeout(), false),
    ] {
        let stack = stack.build().unwrap();
        let upstream = Upstream::always(Act::Stall);
        let response = call(&stack.wrap(upstream.clone()), get()).await.unwrap();
        let read = http_body_util::BodyExt::collect(response.into_body());
        let read = tokio::time::timeout(secs(3_600), read).await;
        assert_eq!(read.is_ok(), is_ended);
        assert_eq!((upstream.in_flight(), stack.bulkhead().in_flight()), (0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_deadline_nothing_is_told_and_what_is_told_is_left() {
    let upstream = Upstream::always(Act::Status(200));
    let service = http::client("a")
        .timeout(secs(5))
        .without_deadline()
        .build()
        .unwrap()
        .wrap(upstream.clone());
    call(&service, get()).await.unwrap();
    let mut request = get();
    request
        .headers_mut()
        .insert("x-request-timeout-ms", "60000".parse().unwrap());
    call(&service, request).await.unwrap();
    let service = grpc::client("a")
        .timeout(secs(5))
        .without_deadline()
        .build()
        .unwrap()
        .wrap(upstream.clone());
    call(&service, rpc()).await.unwrap();
    let service = http::client("a")
        .timeout(secs(5))
        .build()
        .unwrap()
        .wrap(upstream.clone());
    call(&service, get()).await.unwrap();
    let seen = upstream.seen();
    assert_eq!(seen[0].header("x-request-timeout-ms"), None);
    assert_eq!(seen[1].header("x-request-timeout-ms"), Some("60000"));
    assert_eq!(
        (
            seen[2].header("grpc-timeout"),
            seen[2].header("x-request-timeout-ms")
        ),
        (None, None)
    );
    assert_eq!(seen[3].header("x-request-timeout-ms"), Some("5000"));
    // But inside it is known all the same.
    assert_eq!(seen[0].context.remaining(), seen[3].context.remaining());

    let told = DeadlineLayer::new().header("x-left").unwrap();
    let service = http::client("a")
        .timeout(secs(5))
        .deadline(told)
        .build()
        .unwrap()
        .wrap(upstream.clone());
    call(&service, get()).await.unwrap();
    assert_eq!(upstream.seen()[4].header("x-left"), Some("5000"));

    // A default that nobody set is propagated to nobody, and not shown inside either.
    let service = http::client("a").build().unwrap().wrap(upstream.clone());
    call(&service, get()).await.unwrap();
    let service = grpc::client("a").build().unwrap().wrap(upstream.clone());
    call(&service, rpc()).await.unwrap();
    for seen in &upstream.seen()[5..] {
        assert_eq!(seen.header("x-request-timeout-ms"), None);
        assert_eq!(seen.header("grpc-timeout"), None);
        assert_eq!(seen.context.remaining(), None);
    }
}

#[cfg(feature = "metrics")]
#[tokio::test(start_paused = true)]
async fn what_is_left_out_has_no_metrics() {
    use metrics_exporter_prometheus::PrometheusBuilder;

    let layers = |scraped: &str| {
        let labels = scraped.lines().filter_map(|line| {
            let (_, rest) = line.split_once("layer=\"")?;
            Some(rest.split_once('"')?.0.to_owned())
        });
        labels.collect::<std::collections::BTreeSet<_>>()
    };
    let scrape = async |client: ClientBuilder<Http>, server: ServerBuilder| {
        let recorder = PrometheusBuilder::new().build_recorder();
        let _recording = ::metrics::set_default_local_recorder(&recorder);
        let upstream = Upstream::always(Act::Status(200));
        let client = client.build().unwrap().layer(upstream.clone());
        let _ = call(&client, get()).await.unwrap();
        let server = server.build().unwrap().layer(infallible(upstream));
        let _ = call(&server, get()).await.unwrap();
        layers(&recorder.handle().render())
    };
    let all = scrape(
        http::client("seen").attempt_timeout(secs(5)),
        http::server("seen"),
    )
    .await;
    let names = [
        "attempt_timeout",
        "bulkhead",
        "circuit_breaker",
        "deadline",
        "load_shed",
        "retry",
        "timeout",
    ];
    assert!(all.iter().eq(names), "{all:?}");
    let client = http::client("unseen")
        .without_timeout()
        .without_retry()
        .without_circuit_breaker()
        .without_bulkhead()
        .without_attempt_timeout();
    let server = http::server("unseen")
        .without_timeout()
        .without_load_shed()
        .without_bulkhead();
    // A client without a time limit of its own keeps to that of the context.
    let none = scrape(client, server).await;
    assert!(none.iter().eq(["deadline", "timeout"]), "{none:?}");
}
