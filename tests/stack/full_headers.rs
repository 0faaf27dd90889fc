//! A message whose header map is full: the map panics at one more. It goes through every stack, without the headers that a layer would add.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body_util::Full;
use mainstay::{grpc, http as resilient};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::upstream::secs;

type Res = Response<Full<Bytes>>;

/// A map with this header and as many others as there is room for.
fn full(name: &'static str, value: &'static str) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(name, HeaderValue::from_static(value));
    let mut names = (0..).map(|n| HeaderName::from_bytes(format!("x-{n}").as_bytes()).unwrap());
    while headers
        .try_append(names.next().unwrap(), HeaderValue::from_static(""))
        .is_ok()
    {}
    headers
}

fn request(name: &'static str, value: &'static str) -> Request<Full<Bytes>> {
    let mut request = Request::new(Full::default());
    *request.headers_mut() = full(name, value);
    request
}

const ADDED: [&str; 4] = [
    "x-correlation-id",
    "x-request-timeout-ms",
    "grpc-timeout",
    "grpc-previous-rpc-attempts",
];

/// Fails twice with this header, and counts its calls; no request has more headers than it began with.
fn upstream(
    count: &Arc<AtomicU32>,
    name: &'static str,
    value: &'static str,
) -> impl tower::Service<Request<Full<Bytes>>, Response = Res, Error = Infallible, Future: Send>
+ Clone
+ use<> {
    let count = Arc::clone(count);
    service_fn(move |request: Request<Full<Bytes>>| {
        for added in ADDED {
            assert!(!request.headers().contains_key(added), "{added}");
        }
        let mut response = Response::new(Full::default());
        if count.fetch_add(1, Ordering::Relaxed) < 2 {
            *response.headers_mut() = full(name, value);
            if name == "retry-after" {
                *response.status_mut() = http::StatusCode::SERVICE_UNAVAILABLE;
            }
        }
        async { Ok(response) }
    })
}

#[tokio::test(start_paused = true)]
async fn a_client_sends_and_repeats_a_full_request() {
    let count = Arc::<AtomicU32>::default();
    let stack = resilient::client("a").timeout(secs(60)).retry(3);
    let stack = stack.build().unwrap();
    let client = stack.wrap(upstream(&count, "retry-after", "1"));
    let response = client.oneshot(request("accept", "*/*")).await.unwrap();
    assert_eq!(
        (response.status().as_u16(), count.load(Ordering::Relaxed)),
        (200, 3)
    );

    let count = Arc::<AtomicU32>::default();
    let stack = grpc::client("b").timeout(secs(60)).retry(3);
    let stack = stack.build().unwrap();
    let client = stack.wrap(upstream(&count, "grpc-status", "14"));
    let call = request("content-type", "application/grpc");
    client.oneshot(call).await.unwrap();
    assert_eq!(count.load(Ordering::Relaxed), 3);
}

#[tokio::test(start_paused = true)]
async fn a_server_answers_a_full_request_with_a_full_response() {
    let stack = resilient::server("c").timeout(secs(60)).build().unwrap();
    let all = full("accept", "*/*").len();
    let service = stack.layer(service_fn(async |request: Request<Full<Bytes>>| {
        let mut response = Response::new(Full::<Bytes>::default());
        *response.headers_mut() = request.headers().clone();
        Ok::<_, Infallible>(response)
    }));
    let response = service.oneshot(request("accept", "*/*")).await.unwrap();
    assert_eq!(response.headers().len(), all);
    assert!(!response.headers().contains_key("x-correlation-id"));
}
