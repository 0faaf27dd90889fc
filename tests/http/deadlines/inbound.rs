//! What a caller says of its time.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use http::{HeaderValue, Request, Response};
use http_body_util::Full;
use mainstay::{Context, Reason, Rejection, RespondLayer, grpc, http as resilient};
use tokio::time::Instant;
use tower::{Layer, ServiceBuilder, service_fn};

use super::script::HttpTimeout;
use crate::support::{ms, recorder, secs, send};

type Body = Full<bytes::Bytes>;

fn request(headers: &[(&'static str, &[u8])]) -> Request<()> {
    let mut request = Request::new(());
    for (name, value) in headers {
        let value = HeaderValue::from_bytes(value).unwrap();
        request.headers_mut().append(*name, value);
    }
    request
}

/// How long a request with these headers may take, and why it was ended.
async fn given(layer: &HttpTimeout, headers: &[(&'static str, &[u8])]) -> (Duration, Reason) {
    let mut service = layer.layer(service_fn(|_: Request<()>| {
        std::future::pending::<Result<Response<Body>, Infallible>>()
    }));
    let began = Instant::now();
    let rejection: Rejection = send(&mut service, request(headers)).await.unwrap_err();
    (began.elapsed(), rejection.reason())
}

#[tokio::test(start_paused = true)]
async fn the_shortest_limit_counts() {
    let layer = resilient::timeout().timeout(secs(10)).build().unwrap();
    for (headers, expected) in [
        (&[][..], secs(10)),
        (&[("x-request-timeout-ms", &b"1500"[..])], ms(1_500)),
        (&[("x-request-timeout-ms", b"60000")], secs(10)),
        (&[("grpc-timeout", b"2S")], ms(1_995)),
        (&[("grpc-timeout", b"20m")], ms(18)),
        (&[("grpc-timeout", b"99999999H")], secs(10)),
        (
            &[("grpc-timeout", b"2S"), ("x-request-timeout-ms", b"1500")],
            ms(1_500),
        ),
        (
            &[("grpc-timeout", b"1S"), ("x-request-timeout-ms", b"1500")],
            ms(995),
        ),
    ] {
        assert_eq!(given(&layer, headers).await, (expected, Reason::TimedOut));
        let context = Context::current().with_timeout(secs(1));
        let within = context.scope(given(&layer, headers)).await;
        assert_eq!(within, (expected.min(secs(1)), Reason::TimedOut));
    }
}

#[tokio::test(start_paused = true)]
async fn what_makes_no_sense_is_no_limit() {
    let layer = grpc::timeout().timeout(secs(10)).build().unwrap();
    for value in [
        &b""[..],
        b"-1",
        b"+1",
        b"1.5",
        b"1s",
        b"soon",
        b"\xff",
        b"1\xff",
        b"18446744073709551616",
        b"123456789012345678901234567890",
        b"1, 2",
        b"123456789S",
        b"-1S",
    ] {
        for name in ["x-request-timeout-ms", "grpc-timeout"] {
            let headers = &[(name, value)];
            assert_eq!(given(&layer, headers).await.0, secs(10), "{value:?}");
        }
    }
    for (name, value) in [("x-request-timeout-ms", &b"5"[..]), ("grpc-timeout", b"5S")] {
        let twice = &[(name, value), (name, value)];
        assert_eq!(given(&layer, twice).await.0, secs(10), "{name}");
    }
    // The other header counts all the same.
    let headers = &[
        ("grpc-timeout", &b"soon"[..]),
        ("x-request-timeout-ms", b"70"),
    ];
    assert_eq!(given(&layer, headers).await.0, ms(70));
}

#[tokio::test(start_paused = true)]
async fn nothing_left_is_late_already() {
    let calls = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&calls);
    let (observer, told) = recorder();
    let layer = resilient::timeout().name("orders").observer(observer);
    let mut service = layer
        .build()
        .unwrap()
        .layer(service_fn(move |_: Request<()>| {
            count.fetch_add(1, Ordering::SeqCst);
            async { Ok::<_, Infallible>(Response::new(Body::default())) }
        }));
    for headers in [
        &[("x-request-timeout-ms", &b"0"[..])][..],
        &[("grpc-timeout", b"0S")],
        &[("grpc-timeout", b"00000000n")],
        &[("grpc-timeout", b"1S"), ("x-request-timeout-ms", b"0")],
    ] {
        let rejection = send(&mut service, request(headers)).await.unwrap_err();
        assert_eq!(rejection.reason(), Reason::DeadlinePassed);
        assert_eq!(rejection.name(), "orders");
        assert!(rejection.not_sent());
    }
    assert_eq!(calls.load(Ordering::SeqCst), 0);
    assert_eq!(told.lock().unwrap().len(), 4);
    send(&mut service, request(&[])).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn everything_inside_knows_what_the_caller_asked_for() {
    let layer = resilient::timeout().build().unwrap();
    let mut service = layer.layer(service_fn(|_: Request<()>| async {
        let left = Context::current().remaining();
        let body = left.map_or_else(|| "none".to_owned(), |left| left.as_millis().to_string());
        Ok::<_, Infallible>(Response::new(Body::from(body)))
    }));
    for (headers, left) in [
        // The default of 30 seconds, which nobody set, is shown to nobody.
        (&[][..], "none"),
        (&[("x-request-timeout-ms", &b"1500"[..])], "1500"),
        (&[("grpc-timeout", b"60S")], "59995"),
    ] {
        let response = send(&mut service, request(headers)).await.unwrap();
        let body = http_body_util::BodyExt::collect(response.into_body());
        assert_eq!(body.await.unwrap().to_bytes(), left);
    }
}

#[tokio::test(start_paused = true)]
async fn a_caller_cannot_ask_for_less_than_the_floor() {
    let own = || resilient::timeout().timeout(secs(10));
    let layer = own().build().unwrap();
    for headers in [
        &[("x-request-timeout-ms", &b"1"[..])][..],
        &[("x-request-timeout-ms", b"9")],
        &[("x-request-timeout-ms", b"10")],
    ] {
        assert_eq!(given(&layer, headers).await.0, ms(10), "{headers:?}");
    }
    // In gRPC a call is ended a little before its caller's time is over.
    for value in [&b"1n"[..], b"3m", b"9m", b"10m"] {
        let headers = &[("grpc-timeout", value)];
        assert_eq!(given(&layer, headers).await.0, ms(9), "{value:?}");
    }
    // Nothing left is late all the same.
    let late = given(&layer, &[("x-request-timeout-ms", b"0")]).await;
    assert_eq!(late, (Duration::ZERO, Reason::DeadlinePassed));
    let other = own().inbound_floor(secs(1)).build().unwrap();
    let headers = &[("x-request-timeout-ms", &b"30"[..])];
    assert_eq!(given(&other, headers).await.0, secs(1));
    let none = own().inbound_floor(Duration::ZERO).build().unwrap();
    let headers = &[("x-request-timeout-ms", &b"3"[..])];
    assert_eq!(given(&none, headers).await.0, ms(3));
}

#[tokio::test(start_paused = true)]
async fn strangers_have_no_say() {
    let layer = resilient::timeout().ignore_inbound().build().unwrap();
    let headers = &[("grpc-timeout", &b"1S"[..]), ("x-request-timeout-ms", b"0")];
    assert_eq!(given(&layer, headers).await, (secs(30), Reason::TimedOut));
}

#[tokio::test(start_paused = true)]
async fn the_header_may_have_another_name() {
    let layer = resilient::timeout().header("X-Budget").build().unwrap();
    let headers = &[("x-budget", &b"70"[..]), ("x-request-timeout-ms", b"5")];
    assert_eq!(given(&layer, headers).await.0, ms(70));
}

#[tokio::test(start_paused = true)]
async fn the_caller_is_answered_in_its_own_protocol() {
    let mut service = ServiceBuilder::new()
        .layer(RespondLayer::new())
        .layer(resilient::timeout().build().unwrap())
        .service(service_fn(|_: Request<()>| {
            std::future::pending::<Result<Response<Body>, Infallible>>()
        }));
    for millis in [&b"0"[..], b"20"] {
        let http = request(&[("x-request-timeout-ms", millis)]);
        let response = send(&mut service, http).await.unwrap();
        assert_eq!(response.status(), 504);
        let grpc = request(&[
            ("x-request-timeout-ms", millis),
            ("content-type", b"application/grpc"),
        ]);
        let response = send(&mut service, grpc).await.unwrap();
        assert_eq!(
            (
                response.status().as_u16(),
                response.headers()["grpc-status"].as_bytes()
            ),
            (200, &b"4"[..])
        );
    }
}

#[test]
fn the_builder_refuses_what_cannot_be() {
    for (builder, field) in [
        (resilient::timeout().timeout(Duration::ZERO), "timeout"),
        (resilient::timeout().timeout(Duration::MAX), "timeout"),
        (resilient::timeout().body_idle(Duration::ZERO), "body_idle"),
        (resilient::timeout().body_idle(Duration::MAX), "body_idle"),
        (resilient::timeout().header(""), "header"),
        (resilient::timeout().header("two words"), "header"),
        (resilient::timeout().header("Grpc-Timeout"), "header"),
        (resilient::timeout().header("x".repeat(65)), "header"),
        (resilient::timeout().name(""), "name"),
    ] {
        assert_eq!(builder.build().unwrap_err().field(), field);
    }
    let error = resilient::DeadlineLayer::new().header("a\nb").unwrap_err();
    assert_eq!((error.component(), error.field()), ("deadline", "header"));
    assert!(
        resilient::DeadlineLayer::new()
            .header("grpc-timeout")
            .is_err()
    );
}
