//! Everything that refines a layer takes effect.

use ::http::StatusCode;
use mainstay::grpc::GrpcRetry;
use mainstay::http::HttpRetry;
use mainstay::{
    BulkheadLayer, CorrelationLayer, Limit, LoadShedLayer, Reason, RespondLayer, TimeoutLayer,
    grpc, http,
};
use tokio::time::Instant;

use crate::upstream::{
    Act, Upstream, call, get, infallible, ms, post, rejected, rpc, secs, settle,
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
        (began.elapsed(), rejection.name().to_owned())
    };
    let client = || http::client("a");
    assert_eq!(took(client()).await, (secs(30), "a".to_owned()));
    assert_eq!(
        took(client().timeout(secs(2))).await,
        (secs(2), "a".to_owned())
    );
    assert_eq!(
        took(client().timeout(http::timeout().timeout(secs(3)))).await,
        (secs(3), "a".to_owned())
    );
    assert_eq!(
        took(client().timeout(http::timeout())).await,
        (secs(30), "a".to_owned())
    );
    let plain = TimeoutLayer::builder().timeout(secs(4)).name("plain");
    assert_eq!(
        took(client().timeout(plain)).await,
        (secs(4), "plain".to_owned())
    );
}

#[tokio::test(start_paused = true)]
async fn a_plain_timeout_keeps_what_the_stack_does_with_bodies() {
    let plain = TimeoutLayer::builder().timeout(secs(4));
    for (stack, idle) in [
        (http::client("a"), 120),
        (http::client("a").timeout(plain), 120),
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
        http::client("a").bulkhead(BulkheadLayer::builder().limit(9).queue(5, ms(10))),
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
async fn a_load_shedder() {
    macro_rules! let_in {
        ($stack:expr) => {{
            let upstream = Upstream::always(Act::Hang);
            let service = $stack.build().unwrap().wrap(infallible(upstream.clone()));
            let calls = (0..300).map(|_| tokio::time::timeout(ms(1), call(&service, get())));
            let ended = futures::future::join_all(calls)
                .await
                .into_iter()
                .filter_map(Result::ok);
            for response in ended {
                assert_eq!(response.unwrap().status(), 503);
            }
            upstream.calls()
        }};
    }
    let server = || http::server("a");
    assert_eq!(let_in!(server()), 300);
    assert_eq!(let_in!(server().load_shed(Limit::adaptive())), 20);
    assert_eq!(let_in!(server().load_shed(Limit::fixed(7))), 7);
    assert_eq!(
        let_in!(server().load_shed(http::load_shed().limit(Limit::fixed(8)))),
        8
    );
    assert_eq!(
        let_in!(server().load_shed(grpc::load_shed().limit(Limit::fixed(9)))),
        9
    );
    assert_eq!(
        let_in!(server().load_shed(LoadShedLayer::builder().limit(Limit::fixed(10)))),
        10
    );
    assert_eq!(let_in!(server().bulkhead(11)), 11);
    assert_eq!(
        let_in!(grpc::server("a").bulkhead(BulkheadLayer::builder().limit(12))),
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

#[tokio::test(start_paused = true)]
async fn what_the_server_says_of_when_to_come_back_counts_within_the_time_there_is() {
    let busy = || Upstream::script([Act::Says(503, "retry-after", "2")], Act::Status(200));
    let upstream = busy();
    let stack = http::client("a").build().unwrap();
    let response = call(&stack.wrap(upstream.clone()), get()).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), upstream.seen()[1].at),
        (200, secs(2))
    );
    // Nobody waits for what comes too late.
    let upstream = busy();
    let stack = http::client("a").timeout(secs(1)).build().unwrap();
    let response = call(&stack.wrap(upstream.clone()), get()).await.unwrap();
    assert_eq!((response.status().as_u16(), upstream.calls()), (503, 1));
}
