//! What the next service is told.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Request, Response};
use mainstay::http::{DeadlineLayer, HttpRequest};
use mainstay::{Backoff, Context, Error, Reason, TimeoutLayer, http as resilient};
use tokio::time::{advance, sleep};
use tower::{Layer, ServiceBuilder, service_fn};

use crate::support::{Broken, ms, reason, secs, send};

/// What a request says, and what a service with this deadline makes of it.
async fn told(deadline: Option<Duration>, request: Request<()>) -> Result<Request<()>, Reason> {
    let mut service = DeadlineLayer::new().layer(service_fn(|request: Request<()>| async {
        Ok::<_, Infallible>(request)
    }));
    let mut context = Context::current();
    if let Some(deadline) = deadline {
        context = context.with_timeout(deadline);
    }
    let sent = context.scope(send(&mut service, request)).await;
    sent.map_err(|rejection| rejection.reason())
}

fn grpc() -> Request<()> {
    let request = Request::builder().header("content-type", "application/grpc+proto");
    request.body(()).unwrap()
}

#[track_caller]
fn header<'a>(request: &'a Request<()>, name: &str) -> Option<&'a str> {
    let values: Vec<_> = request.headers().get_all(name).iter().collect();
    assert!(values.len() <= 1, "{values:?}");
    values.first().map(|value| value.to_str().unwrap())
}

#[tokio::test(start_paused = true)]
async fn what_is_left_is_written_in_the_protocols_own_header() {
    let request = told(Some(ms(1_500)), Request::new(())).await.unwrap();
    assert_eq!(header(&request, "x-request-timeout-ms"), Some("1500"));
    assert_eq!(header(&request, "grpc-timeout"), None);
    let request = told(Some(ms(1_500)), grpc()).await.unwrap();
    assert_eq!(header(&request, "grpc-timeout"), Some("1500000u"));
    assert_eq!(header(&request, "x-request-timeout-ms"), None);
}

#[tokio::test(start_paused = true)]
async fn without_a_deadline_nothing_is_written_and_what_is_there_is_left() {
    let request = told(None, Request::new(())).await.unwrap();
    assert!(request.headers().is_empty());
    let mut asked = grpc();
    asked
        .headers_mut()
        .insert("grpc-timeout", "7H".parse().unwrap());
    let request = told(None, asked).await.unwrap();
    assert_eq!(header(&request, "grpc-timeout"), Some("7H"));
}

#[tokio::test(start_paused = true)]
async fn what_the_user_asked_for_is_kept_where_it_is_shorter() {
    for (own, sent) in [
        ("1S", "1S"),
        ("2000m", "2000m"),
        ("3S", "2000000u"),
        ("soon", "2000000u"),
    ] {
        let mut request = grpc();
        request
            .headers_mut()
            .insert("grpc-timeout", own.parse().unwrap());
        let request = told(Some(secs(2)), request).await.unwrap();
        assert_eq!(header(&request, "grpc-timeout"), Some(sent), "{own}");
    }
    let mut request = grpc();
    for _ in 0..2 {
        request
            .headers_mut()
            .append("grpc-timeout", "1S".parse().unwrap());
    }
    let request = told(Some(secs(2)), request).await.unwrap();
    assert_eq!(header(&request, "grpc-timeout"), Some("2000000u"), "twice");
}

#[tokio::test(start_paused = true)]
async fn less_than_the_header_can_say_is_not_nothing() {
    let request = told(Some(Duration::from_micros(300)), Request::new(()))
        .await
        .unwrap();
    assert_eq!(header(&request, "x-request-timeout-ms"), Some("1"));
    let request = told(Some(Duration::from_micros(2_999)), Request::new(()))
        .await
        .unwrap();
    assert_eq!(header(&request, "x-request-timeout-ms"), Some("2"));
}

#[tokio::test(start_paused = true)]
async fn what_is_late_is_not_sent() {
    for request in [Request::new(()), grpc()] {
        let refused = told(Some(Duration::ZERO), request).await.unwrap_err();
        assert_eq!(refused, Reason::DeadlinePassed);
    }
    let mut service = DeadlineLayer::new().layer(service_fn(
        |_: Request<()>| -> std::future::Ready<Result<Response<()>, Broken>> { panic!("sent") },
    ));
    let context = Context::current().with_timeout(ms(10));
    advance(ms(10)).await;
    let refused = context.scope(send(&mut service, Request::new(()))).await;
    let Err(Error::Rejected(rejection)) = refused else {
        panic!("{refused:?}")
    };
    assert_eq!(
        (rejection.layer(), rejection.name()),
        ("deadline", "default")
    );
    assert!(rejection.not_sent());
}

#[tokio::test(start_paused = true)]
async fn each_attempt_says_what_is_left_for_it() {
    let said = Arc::new(Mutex::new(Vec::new()));
    let list = Arc::clone(&said);
    let backoff = Backoff::constant(ms(500));
    let mut service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(secs(5)))
        .layer(
            resilient::retry()
                .attempts(3)
                .backoff(backoff)
                .build()
                .unwrap(),
        )
        .layer(DeadlineLayer::new())
        .service(service_fn(move |request: Request<()>| {
            let value = request.headers()["x-request-timeout-ms"].clone();
            list.lock()
                .unwrap()
                .push(value.to_str().unwrap().parse::<u64>().unwrap());
            async {
                sleep(secs(1)).await;
                Err::<Response<()>, _>(Broken)
            }
        }));
    assert!(matches!(
        send(&mut service, Request::new(())).await,
        Err(Error::Inner(Broken))
    ));
    let said = said.lock().unwrap();
    assert_eq!((said.len(), said[0]), (3, 5_000));
    for (attempt, left) in said.iter().enumerate() {
        // A second for each attempt, and a pause with its jitter.
        let most = 5_000 - 1_000 * attempt as u64;
        assert!(
            (most - 500 * attempt as u64..=most).contains(left),
            "{said:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_chosen_header_is_written() {
    let layer = DeadlineLayer::new().header("X-Budget").unwrap();
    let mut service = layer.layer(service_fn(|request: Request<()>| async {
        Ok::<_, Infallible>(request)
    }));
    let context = Context::current().with_timeout(secs(1));
    let request = context
        .scope(send(&mut service, Request::new(())))
        .await
        .unwrap();
    assert_eq!(header(&request, "x-budget"), Some("1000"));
    assert_eq!(header(&request, "x-request-timeout-ms"), None);
}

#[tokio::test(start_paused = true)]
async fn it_writes_into_reqwests_requests() {
    let mut service = DeadlineLayer::new().layer(service_fn(|request: reqwest::Request| async {
        Ok::<_, Infallible>(request)
    }));
    let request = reqwest::Request::new(http::Method::GET, "http://a.example/".parse().unwrap());
    let context = Context::current().with_timeout(secs(1));
    let sent = context.scope(send(&mut service, request)).await.unwrap();
    assert_eq!(HttpRequest::headers(&sent)["x-request-timeout-ms"], "1000");
}

#[tokio::test(start_paused = true)]
async fn a_call_that_waits_is_ended_by_the_limit_outside() {
    let mut service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(ms(50)))
        .layer(DeadlineLayer::new())
        .service(service_fn(|_: Request<()>| {
            std::future::pending::<Result<Response<()>, Broken>>()
        }));
    let ended = send(&mut service, Request::new(())).await;
    assert_eq!(reason(ended), Reason::TimedOut);
}
