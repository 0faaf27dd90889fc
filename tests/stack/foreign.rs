//! Layers of other kinds within a stack.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context as TaskContext, Poll};

use axum::body::Body;
use axum::response::IntoResponse as _;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use mainstay::{Context, Limit, Reason, Rejection, State, grpc, http};
use tower::util::MapRequestLayer;
use tower::{Layer, Service};
use tower_http::request_id::{
    MakeRequestId, PropagateRequestIdLayer, RequestId, SetRequestIdLayer,
};

use crate::upstream::{Act, Req, Upstream, by, call, get, infallible, ms, rpc, secs};

type Log = Arc<Mutex<Vec<String>>>;

/// Writes down each call that comes through.
#[derive(Clone)]
struct Note {
    name: &'static str,
    log: Log,
}

#[derive(Clone)]
struct Noted<S> {
    inner: S,
    note: Note,
}

impl<S> Layer<S> for Note {
    type Service = Noted<S>;

    fn layer(&self, inner: S) -> Noted<S> {
        let note = self.clone();
        Noted { inner, note }
    }
}

impl<S: Service<R>, R> Service<R> for Noted<S> {
    type Response = S::Response;
    type Error = S::Error;
    type Future = S::Future;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: R) -> S::Future {
        let attempt = Context::current().attempt();
        self.note
            .log
            .lock()
            .unwrap()
            .push(format!("{} {attempt}", self.note.name));
        self.inner.call(request)
    }
}

fn note(name: &'static str, log: &Log) -> Note {
    Note {
        name,
        log: Arc::clone(log),
    }
}

#[tokio::test(start_paused = true)]
async fn a_layer_around_attempts_sees_each_of_them_once() {
    let log = Log::default();
    let upstream = Upstream::always(Act::Status(503));
    let breaker = http::circuit_breaker().consecutive_failures(2);
    let stack = http::client("a")
        .with_attempt_layer(note("first", &log))
        .with_attempt_layer(note("second", &log));
    let stack = stack.circuit_breaker(breaker).build().unwrap();
    let service =
        note("around", &log).layer(stack.wrap(note("inside", &log).layer(upstream.clone())));
    // Two attempts open the circuit. The third does not get through it, but through what is further out.
    assert_eq!(
        by(call(&service, get()).await),
        "circuit_breaker `a` CircuitOpen"
    );
    assert_eq!(upstream.calls(), 2);
    let expected = [
        "around 0", "first 1", "second 1", "inside 1", "first 2", "second 2", "inside 2",
        "first 3", "second 3",
    ];
    assert_eq!(*log.lock().unwrap(), expected);
}

#[tokio::test(start_paused = true)]
async fn each_attempt_can_have_a_signature_of_its_own() {
    let upstream = Upstream::always(Act::Status(503));
    let made = Arc::new(AtomicU32::new(0));
    let sign = MapRequestLayer::new(move |mut request: Req| {
        let number = made.fetch_add(1, Ordering::SeqCst);
        assert!(
            !request.headers().contains_key("x-signature"),
            "the kept request has none"
        );
        request.headers_mut().insert("x-signature", number.into());
        request
    });
    let stack = http::client("a").with_attempt_layer(sign).build().unwrap();
    call(&stack.wrap(upstream.clone()), get()).await.unwrap();
    let signatures: Vec<_> = upstream
        .seen()
        .iter()
        .map(|seen| seen.header("x-signature").unwrap().to_owned())
        .collect();
    assert_eq!(signatures, ["0", "1", "2"]);
}

#[tokio::test(start_paused = true)]
async fn towers_own_timeout_around_attempts() {
    // It makes a boxed error of all others.
    let upstream = Upstream::script([Act::Hang], Act::Status(200));
    let stack = http::client("a").with_attempt_layer(tower::timeout::TimeoutLayer::new(ms(100)));
    let stack = stack.build().unwrap();
    let service = stack.wrap(upstream.clone());
    assert_eq!(call(&service, get()).await.unwrap().status(), 200);
    assert_eq!(upstream.calls(), 2);

    let service = stack.wrap(Upstream::always(Act::Hang));
    let error = call(&service, get()).await.unwrap_err();
    assert!(error.is::<tower::timeout::error::Elapsed>(), "{error}");
    let service = stack.wrap(Upstream::always(Act::Fail));
    let error = call(&service, get()).await.unwrap_err();
    let mut chain = std::iter::successors(Some(&*error as &dyn std::error::Error), |e| e.source());
    assert!(chain.any(|e| e.is::<std::io::Error>()), "{error:?}");
    // A rejection from within is found in the box, and is not tried again.
    stack.circuit_breaker().force_open();
    let error = call(&service, get()).await.unwrap_err();
    assert_eq!(
        Rejection::find(&*error).unwrap().reason(),
        Reason::CircuitOpen
    );
}

#[tokio::test(start_paused = true)]
async fn a_layer_may_change_the_types_of_requests_and_responses() {
    // As those of tower-http do: the body of the request is made of another one, that of the response is boxed.
    let upstream = Upstream::script([Act::Status(503)], Act::Status(200));
    let stack = http::client("a")
        .with_attempt_layer(tower::layer::layer_fn(Other))
        .build()
        .unwrap();
    let service = stack.layer(upstream.clone());
    let request = ::http::Request::get("/").body(Body::from("given")).unwrap();
    let response = call(&service, request).await.unwrap();
    assert_eq!(
        response.into_body().collect().await.unwrap().to_bytes(),
        "200"
    );
    assert_eq!(upstream.calls(), 2);
    assert_eq!(stack.bulkhead().in_flight(), 0);
}

/// Takes and gives bodies of other types.
#[derive(Clone)]
struct Other<S>(S);

impl<S, B> Service<::http::Request<Body>> for Other<S>
where
    S: Service<Req, Response = ::http::Response<B>, Future: Send + 'static>,
    B: http_body::Body<Data = Bytes, Error: Into<mainstay::BoxError>> + Send + 'static,
{
    type Response = ::http::Response<Body>;
    type Error = S::Error;
    type Future = futures::future::BoxFuture<'static, Result<Self::Response, S::Error>>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), S::Error>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: ::http::Request<Body>) -> Self::Future {
        let call = self.0.call(request.map(|_| Full::from("made")));
        Box::pin(async move { Ok(call.await?.map(Body::new)) })
    }
}

#[tokio::test(start_paused = true)]
async fn a_layer_of_a_server_comes_before_a_place_is_taken_and_after_the_id() {
    let log = Log::default();
    let stack = http::server("a")
        .with_request_layer(note("first", &log))
        .with_request_layer(note("second", &log));
    let stack = stack
        .with_request_layer(tower::layer::layer_fn(Gate))
        .load_shed(Limit::fixed(1))
        .build()
        .unwrap();
    let upstream = Upstream::always(Act::Hang);
    let service = stack.wrap(infallible(upstream.clone()));
    let mut held = Box::pin(call(&service, get()));
    assert!(futures::poll!(&mut held).is_pending());
    // All places are taken, and still it answers: with the ID, and in the protocol of the caller.
    let mut request = get();
    request
        .headers_mut()
        .insert("x-stranger", "yes".parse().unwrap());
    request
        .headers_mut()
        .insert("x-correlation-id", "callers".parse().unwrap());
    let response = call(&service, request).await.unwrap();
    assert_eq!(
        (
            response.status().as_u16(),
            &response.headers()["x-correlation-id"]
        ),
        (401, &"callers".parse().unwrap())
    );
    let mut request = rpc();
    request
        .headers_mut()
        .insert("x-hurried", "yes".parse().unwrap());
    let response = call(&service, request).await.unwrap();
    assert_eq!(
        (
            response.status().as_u16(),
            &response.headers()["grpc-status"]
        ),
        (200, &"4".parse().unwrap())
    );
    assert_eq!(upstream.calls(), 1);
    assert_eq!(*log.lock().unwrap(), ["first 0", "second 0"].repeat(3));
}

/// Turns strangers away itself, and rejects those in a hurry.
#[derive(Clone)]
struct Gate<S>(S);

impl<S, B> Service<Req> for Gate<S>
where
    S: Service<Req, Response = ::http::Response<B>, Error = Rejection, Future: Send + 'static>,
    B: http_body::Body<Data = Bytes, Error: Into<mainstay::BoxError>> + Send + 'static,
{
    type Response = ::http::Response<Body>;
    type Error = Rejection;
    type Future = futures::future::BoxFuture<'static, Result<Self::Response, Rejection>>;

    fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), Rejection>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: Req) -> Self::Future {
        if request.headers().contains_key("x-stranger") {
            return Box::pin(async { Ok(::http::StatusCode::UNAUTHORIZED.into_response()) });
        }
        if request.headers().contains_key("x-hurried") {
            return Box::pin(async { Err(Rejection::new("gate", "a", Reason::TimedOut)) });
        }
        let call = self.0.call(request);
        Box::pin(async move { Ok(call.await?.map(Body::new)) })
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_of_a_layer_around_attempts_is_tried_again_and_tells_the_circuit_nothing() {
    #[derive(Clone)]
    struct Flaky<S>(S, Arc<AtomicU32>);
    impl<S> Service<Req> for Flaky<S>
    where
        S: Service<Req, Error = mainstay::Error<std::io::Error>, Future: Send + 'static>,
    {
        type Response = S::Response;
        type Error = S::Error;
        type Future = futures::future::BoxFuture<'static, Result<S::Response, S::Error>>;

        fn poll_ready(&mut self, cx: &mut TaskContext<'_>) -> Poll<Result<(), S::Error>> {
            self.0.poll_ready(cx)
        }

        fn call(&mut self, request: Req) -> Self::Future {
            if self.1.fetch_add(1, Ordering::SeqCst) < 2 {
                let error = std::io::Error::other("no token");
                return Box::pin(async { Err(mainstay::Error::Inner(error)) });
            }
            Box::pin(self.0.call(request))
        }
    }
    let count = Arc::<AtomicU32>::default();
    let tries = Arc::clone(&count);
    let flaky = tower::layer::layer_fn(move |inner| Flaky(inner, Arc::clone(&tries)));
    let upstream = Upstream::always(Act::Status(200));
    let breaker = http::circuit_breaker().consecutive_failures(1);
    let stack = http::client("a")
        .circuit_breaker(breaker)
        .with_attempt_layer(flaky)
        .timeout(secs(5));
    let stack = stack.build().unwrap();
    assert_eq!(
        call(&stack.wrap(upstream.clone()), get())
            .await
            .unwrap()
            .status(),
        200
    );
    assert_eq!((count.load(Ordering::SeqCst), upstream.calls()), (3, 1));
    assert_eq!(stack.circuit_breaker().state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_layer_around_attempts_of_grpc() {
    let log = Log::default();
    let upstream = Upstream::script([Act::Grpc("14")], Act::Grpc("0"));
    let stack = grpc::client("a")
        .with_attempt_layer(note("each", &log))
        .build()
        .unwrap();
    call(&stack.wrap(upstream.clone()), rpc()).await.unwrap();
    assert_eq!(*log.lock().unwrap(), ["each 1", "each 2"]);
    assert_eq!(upstream.calls(), 2);
}

#[tokio::test]
async fn a_layer_of_tower_https_in_either_stack() {
    #[derive(Clone, Default)]
    struct Count(Arc<AtomicU32>);
    impl MakeRequestId for Count {
        fn make_request_id<B>(&mut self, _: &::http::Request<B>) -> Option<RequestId> {
            let number = self.0.fetch_add(1, Ordering::SeqCst);
            Some(RequestId::new(number.into()))
        }
    }
    let seen = Log::default();
    let handler = {
        let seen = Arc::clone(&seen);
        move |headers: ::http::HeaderMap| async move {
            seen.lock()
                .unwrap()
                .push(headers["x-request-id"].to_str().unwrap().to_owned());
            ::http::StatusCode::SERVICE_UNAVAILABLE
        }
    };
    let server = http::server("a").with_request_layer(PropagateRequestIdLayer::x_request_id());
    let app = axum::Router::new()
        .route("/", axum::routing::get(handler))
        .layer(server.without_correlation().build().unwrap());
    let address = crate::common::serve(app).await;
    let client = http::client("a")
        .without_correlation()
        .with_attempt_layer(SetRequestIdLayer::x_request_id(Count::default()));
    let hyper = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .build_http();
    let service = client.build().unwrap().wrap(hyper);
    let request = ::http::Request::get(format!("http://{address}/"))
        .body(Full::<Bytes>::default())
        .unwrap();
    let response = call(&service, request).await.unwrap();
    assert_eq!(
        (
            response.status().as_u16(),
            &response.headers()["x-request-id"]
        ),
        (503, &"2".parse().unwrap())
    );
    assert_eq!(*seen.lock().unwrap(), ["0", "1", "2"]);
}
