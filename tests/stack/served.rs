//! That the order of a server's layers is the one that is drawn: seen from what happens.

use http_body_util::BodyExt as _;
use mainstay::http::ServerStack;
use mainstay::stack::ServerBuilder;
use mainstay::{CorrelationLayer, Limit, RespondLayer, grpc, http};
use tokio::time::Instant;

use crate::upstream::{Act, Upstream, call, get, infallible, ms, rpc, secs};

type Step = fn(ServerBuilder) -> ServerBuilder;

#[test]
fn the_order_is_the_stacks_whatever_order_the_methods_are_called_in() {
    let steps: [Step; 6] = [
        |s| s.timeout(secs(3)),
        |s| s.load_shed(Limit::fixed(5)),
        |s| s.bulkhead(http::bulkhead().limit(7).queue(3, ms(20))),
        |s| s.correlation(CorrelationLayer::server().ignore_inbound()),
        |s| s.respond(RespondLayer::new().show_names()),
        |s| s.observer(|_: &mainstay::Event| ()),
    ];
    let build = |order: &[usize]| -> ServerStack {
        let stack = order
            .iter()
            .fold(http::server("a"), |stack, n| steps[*n](stack));
        stack.build().unwrap()
    };
    let first = build(&[0, 1, 2, 3, 4, 5]);
    let described = first.describe();
    let layers: Vec<_> = described.layers().iter().map(|l| l.layer()).collect();
    assert_eq!(
        layers,
        [
            "correlation",
            "respond",
            "timeout",
            "rate_limit",
            "load_shed",
            "bulkhead"
        ]
    );
    for turn in 0..6 {
        let turned: Vec<_> = (0..6).map(|n| (n + turn) % 6).collect();
        let back: Vec<_> = turned.iter().rev().copied().collect();
        for other in [turned, back] {
            assert_eq!(build(&other).describe(), first.describe(), "{other:?}");
        }
    }
    assert_eq!(first.describe().kind(), "http server");
    assert_eq!(
        grpc::server("a").build().unwrap().describe().kind(),
        "grpc server"
    );
}

/// Answers in the protocol of the caller, with the ID, whatever it is that rejects.
#[tokio::test(start_paused = true)]
async fn every_rejection_is_an_answer_with_the_id() {
    let shed = |s: ServerBuilder| s.load_shed(Limit::fixed(1));
    let full = |s: ServerBuilder| s.without_load_shed().bulkhead(1);
    let queue = |s: ServerBuilder| {
        s.without_load_shed()
            .bulkhead(http::bulkhead().limit(1).queue(1, ms(400)))
    };
    let late = |s: ServerBuilder| s.timeout(ms(300));
    // Whether all places are taken before, how long it takes, and as what it is answered.
    type Case = (Step, bool, u64, u16, &'static str);
    let cases: [Case; 4] = [
        (shed, true, 0, 503, "14"),
        (full, true, 0, 503, "14"),
        (queue, true, 400, 503, "14"),
        (late, false, 300, 504, "4"),
    ];
    for (n, (set, taken, took, status, code)) in cases.into_iter().enumerate() {
        let stack = set(http::server("a").timeout(secs(1))).build().unwrap();
        let service = stack.wrap(infallible(Upstream::always(Act::Hang)));
        let mut held = Box::pin(call(&service, get()));
        if taken {
            assert!(futures::poll!(&mut held).is_pending());
        }
        for request in [get(), rpc()] {
            let is_rpc = request.method() == "POST";
            let mut request = request;
            request
                .headers_mut()
                .insert("x-correlation-id", "callers".parse().unwrap());
            let began = Instant::now();
            let response = call(&service, request).await.unwrap();
            assert_eq!(began.elapsed(), ms(took), "{n}");
            assert_eq!(response.headers()["x-correlation-id"], "callers");
            if is_rpc {
                assert_eq!(response.status(), 200);
                assert_eq!(response.headers()["grpc-status"], code, "{n}");
            } else {
                assert_eq!(response.status(), status, "{n}");
                assert_eq!(
                    response.headers()["content-type"],
                    "application/problem+json"
                );
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_time_limit_ends_gives_its_places_back() {
    // A handler that hangs.
    let stack = http::server("a").timeout(secs(2)).build().unwrap();
    let upstream = Upstream::always(Act::Hang);
    let service = stack.wrap(infallible(upstream.clone()));
    let response = call(&service, get()).await.unwrap();
    assert_eq!(response.status(), 504);
    assert_eq!(
        (
            upstream.in_flight(),
            stack.load_shed().in_flight(),
            stack.bulkhead().in_flight()
        ),
        (0, 0, 0)
    );

    // A body that nobody reads: nobody polls it, and still it ends.
    let upstream = Upstream::always(Act::Stall);
    let service = stack.wrap(infallible(upstream.clone()));
    let response = call(&service, get()).await.unwrap();
    assert_eq!(
        (
            upstream.in_flight(),
            stack.load_shed().snapshot().streaming,
            stack.bulkhead().in_flight()
        ),
        (1, 1, 1)
    );
    tokio::time::sleep(secs(119)).await;
    assert_eq!((upstream.in_flight(), stack.bulkhead().in_flight()), (1, 1));
    tokio::time::sleep(secs(2)).await;
    assert_eq!(
        (
            upstream.in_flight(),
            stack.load_shed().in_flight(),
            stack.bulkhead().in_flight()
        ),
        (0, 0, 0)
    );
    assert!(response.into_body().collect().await.is_err());

    // One that is to be there as a whole.
    let whole = http::timeout().timeout(secs(2)).whole_body();
    let stack = http::server("a").timeout(whole).build().unwrap();
    let service = stack.wrap(infallible(upstream.clone()));
    let response = call(&service, get()).await.unwrap();
    tokio::time::sleep(ms(2_001)).await;
    assert_eq!(
        (
            upstream.in_flight(),
            stack.load_shed().in_flight(),
            stack.bulkhead().in_flight()
        ),
        (0, 0, 0)
    );
    drop(response);
}

#[tokio::test(start_paused = true)]
async fn the_callers_limit_counts_where_it_is_shorter() {
    let stack = http::server("a").timeout(secs(2)).build().unwrap();
    let upstream = Upstream::always(Act::Hang);
    let service = stack.wrap(infallible(upstream.clone()));
    for (name, value, took, status) in [
        ("x-request-timeout-ms", "500", 500, 504),
        ("x-request-timeout-ms", "90000", 2_000, 504),
        ("x-request-timeout-ms", "nonsense", 2_000, 504),
        ("x-request-timeout-ms", "0", 0, 504),
    ] {
        let mut request = get();
        request.headers_mut().insert(name, value.parse().unwrap());
        let began = Instant::now();
        assert_eq!(call(&service, request).await.unwrap().status(), status);
        assert_eq!(began.elapsed(), ms(took), "{value}");
    }
    // It was too late already, and was not begun.
    assert_eq!(upstream.calls(), 3);
    let mut request = rpc();
    request
        .headers_mut()
        .insert("grpc-timeout", "100m".parse().unwrap());
    let began = Instant::now();
    assert_eq!(
        call(&service, request).await.unwrap().headers()["grpc-status"],
        "4"
    );
    assert_eq!(began.elapsed(), ms(95));
}

#[tokio::test(start_paused = true)]
async fn a_queue_lets_waiting_requests_in_in_turn() {
    // With the default shedder, and without: those who wait are in flight for it, too.
    let queue = || http::bulkhead().limit(1).queue(10, ms(450));
    let server = || http::server("a").timeout(secs(1)).bulkhead(queue());
    for stack in [server(), server().without_load_shed()] {
        let stack = stack.build().unwrap();
        assert!(stack.describe().warnings().is_empty());
        let service = stack.wrap(infallible(Upstream::always(Act::Later(ms(200), 200))));
        let began = Instant::now();
        let calls = (0..4).map(|_| async {
            let status = call(&service, get()).await.unwrap().status().as_u16();
            (status, began.elapsed())
        });
        let ended = futures::future::join_all(calls).await;
        assert_eq!(
            ended,
            [
                (200, ms(200)),
                (200, ms(400)),
                (200, ms(600)),
                (503, ms(450))
            ]
        );
    }
}

#[tokio::test(start_paused = true)]
async fn callers_are_believed_unless_the_stack_is_told_not_to() {
    let request = || {
        let mut request = get();
        let header = "x-request-timeout-ms";
        request.headers_mut().insert(header, "50".parse().unwrap());
        request
    };
    for (stack, status) in [
        (http::server("a"), 504),
        (http::server("a").ignore_inbound_deadline(), 200),
        (http::server("a").timeout(secs(9)), 504),
        (
            http::server("a").ignore_inbound_deadline().timeout(secs(9)),
            200,
        ),
        (
            http::server("a").timeout(http::timeout().ignore_inbound()),
            200,
        ),
    ] {
        let stack = stack.build().unwrap();
        let upstream = Upstream::always(Act::Later(secs(1), 200));
        let service = stack.wrap(infallible(upstream));
        let response = call(&service, request()).await.unwrap();
        assert_eq!(response.status(), status, "{stack}");
        let said = stack.to_string().contains("ignore_inbound = true");
        assert_eq!(said, status == 200, "{stack}");
    }
}
