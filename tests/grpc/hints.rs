//! When to come back: an open circuit says it in every protocol, and nobody else pretends to know.
#![cfg(feature = "tonic")]

use std::convert::Infallible;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body_util::Full;
use mainstay::{
    BulkheadLayer, CircuitBreakerLayer, Context, Limit, LoadShedLayer, Reason, Rejection,
    RespondLayer, TimeoutLayer,
};
use tower::{Layer, Service, ServiceExt, service_fn};

type Body = Full<Bytes>;

/// Hangs, or answers with a failure at once.
async fn upstream(request: Request<Body>) -> Result<Response<Body>, Infallible> {
    if request.uri().path() == "/hangs" {
        std::future::pending::<()>().await;
    }
    let failed = Response::builder().status(500).header("grpc-status", "13");
    Ok(failed.body(Body::default()).unwrap())
}

fn request(path: &str, grpc: bool) -> Request<Body> {
    let content_type = if grpc {
        "application/grpc"
    } else {
        "text/plain"
    };
    let request = Request::post(path).header("content-type", content_type);
    request.body(Body::default()).unwrap()
}

/// The rejection of a call through this layer, and the headers of the answer over HTTP and over gRPC.
async fn answers<L>(layer: &L) -> (Rejection, HeaderMap, HeaderMap)
where
    L: Layer<tower::util::BoxCloneService<Request<Body>, Response<Body>, Infallible>>,
    L::Service: Service<Request<Body>, Error = Rejection> + Clone,
    <L::Service as Service<Request<Body>>>::Response: Into<Answer>,
{
    let inner = || tower::util::BoxCloneService::new(service_fn(upstream));
    let Err(rejection) = layer.layer(inner()).oneshot(request("/hangs", false)).await else {
        panic!("not rejected");
    };
    let responds = RespondLayer::new();
    let mut heads = Vec::new();
    for grpc in [false, true] {
        let rejection = rejection.clone();
        let rejects = responds.layer(service_fn(move |_: Request<Body>| {
            std::future::ready(Err::<Response<Body>, _>(rejection.clone()))
        }));
        let response = rejects.oneshot(request("/", grpc)).await.unwrap();
        heads.push(response.into_parts().0.headers);
    }
    let [http, grpc] = <[HeaderMap; 2]>::try_from(heads).unwrap();
    (rejection, http, grpc)
}

/// Any response: which body it has makes no difference.
struct Answer;

impl<B> From<Response<B>> for Answer {
    fn from(_: Response<B>) -> Self {
        Self
    }
}

#[track_caller]
fn same(
    reason: Reason,
    hint: Option<Duration>,
    (rejection, http, grpc): (Rejection, HeaderMap, HeaderMap),
) {
    assert_eq!(rejection.reason(), reason);
    assert_eq!(rejection.retry_after(), hint, "{reason}");
    let header = |headers: &HeaderMap, name: &str| {
        let value = headers.get(name)?.to_str().unwrap();
        Some(value.parse::<u64>().unwrap())
    };
    let seconds = hint.map(|hint| hint.as_millis().div_ceil(1000) as u64);
    let millis = hint.map(|hint| hint.as_millis() as u64);
    assert_eq!(header(&http, "retry-after"), seconds, "{reason}");
    assert_eq!(header(&grpc, "grpc-retry-pushback-ms"), millis, "{reason}");
    assert_eq!(header(&http, "grpc-retry-pushback-ms"), None, "{reason}");
    assert_eq!(header(&grpc, "retry-after"), None, "{reason}");
}

#[tokio::test(start_paused = true)]
async fn an_open_circuit_says_how_long_it_stays_open() {
    let layer = CircuitBreakerLayer::builder()
        .consecutive_failures(1)
        .classify(|_: Result<&Response<Body>, &Rejection>| mainstay::Outcome::Failure)
        .open_for(Duration::from_secs(5))
        .probes(1)
        .jitter(0.0)
        .build()
        .unwrap();
    let service = layer.layer(service_fn(upstream));
    service.clone().oneshot(request("/", false)).await.unwrap();
    let hint = Some(Duration::from_secs(5));
    same(Reason::CircuitOpen, hint, answers(&layer).await);
    tokio::time::advance(Duration::from_millis(1_900)).await;
    let hint = Some(Duration::from_millis(3_100));
    same(Reason::CircuitOpen, hint, answers(&layer).await);

    // How long a probe takes is not known, nor how long somebody keeps it open.
    tokio::time::advance(Duration::from_secs(4)).await;
    let probe = tokio::spawn(service.oneshot(request("/hangs", false)));
    tokio::task::yield_now().await;
    same(Reason::CircuitOpen, None, answers(&layer).await);
    probe.abort();
    layer.handle().force_open();
    same(Reason::CircuitOpen, None, answers(&layer).await);
}

#[tokio::test(start_paused = true)]
async fn nobody_else_pretends_to_know() {
    let full = BulkheadLayer::new(0);
    same(Reason::Full, None, answers(&full).await);
    let queue = BulkheadLayer::builder()
        .limit(1)
        .queue(1, Duration::from_secs(1))
        .build()
        .unwrap();
    let held = tokio::spawn(
        queue
            .layer(service_fn(upstream))
            .oneshot(request("/hangs", false)),
    );
    tokio::task::yield_now().await;
    same(Reason::QueueTimeout, None, answers(&queue).await);
    held.abort();

    let shed = LoadShedLayer::new(Limit::fixed(1));
    let held = tokio::spawn(
        shed.layer(service_fn(upstream))
            .oneshot(request("/hangs", false)),
    );
    tokio::task::yield_now().await;
    same(Reason::Shed, None, answers(&shed).await);
    held.abort();

    let limit = TimeoutLayer::new(Duration::from_secs(1));
    same(Reason::TimedOut, None, answers(&limit).await);
    let late = Context::current().with_timeout(Duration::ZERO);
    let late = late.scope(async { answers(&limit).await }).await;
    same(Reason::DeadlinePassed, None, late);
}
