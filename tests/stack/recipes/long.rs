//! "Calls that take longer than the default", on a paused clock.

use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use mainstay::{Context, Error, Reason};
use tower::{ServiceExt, service_fn};

const MINUTES: Duration = Duration::from_secs(300);

/// Answers after a minute.
async fn slow(_: Request<Empty<Bytes>>) -> Result<Response<Empty<Bytes>>, std::io::Error> {
    tokio::time::sleep(Duration::from_secs(60)).await;
    Ok(Response::default())
}

#[tokio::test(start_paused = true)]
async fn a_request_or_a_context_can_have_longer_than_the_default() {
    let reports = mainstay::http::client("reports").build().unwrap();
    let reports = reports.wrap(service_fn(slow));
    let call = |request| reports.clone().oneshot(request);

    let rejected = call(Request::default()).await.unwrap_err();
    let Error::Rejected(rejection) = rejected else {
        panic!("{rejected}")
    };
    assert_eq!(rejection.reason(), Reason::TimedOut);

    let context = Context::current().with_timeout(MINUTES);
    context.scope(call(Request::default())).await.unwrap();

    let request = Request::builder().header("x-request-timeout-ms", MINUTES.as_millis() as u64);
    call(request.body(Empty::new()).unwrap()).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_is_set_can_only_be_shortened() {
    let reports = mainstay::http::client("reports").timeout(Duration::from_secs(30));
    let reports = reports.build().unwrap().wrap(service_fn(slow));
    let context = Context::current().with_timeout(MINUTES);
    let call = reports.oneshot(Request::default());
    assert!(matches!(context.scope(call).await, Err(Error::Rejected(_))));
}
