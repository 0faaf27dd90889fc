//! Settings of single calls: as an extension of the request, and by a scope.

use std::borrow::Borrow;
use std::pin::Pin;
use std::time::Duration;

use axum::Router;
use axum::extract::Request as AxumRequest;
use axum::middleware::{Next, from_fn};
use axum::routing::any;
use bytes::Bytes;
use futures::Stream;
use http_body_util::Full;
use hyper_util::client::legacy::Client as Hyper;
use hyper_util::rt::TokioExecutor;
use mainstay::reqwest::SendThrough as _;
use mainstay::{
    Context, Overrides, Reason, Rejection, RetryLayer, State, TimeLimit, TimeoutLayer, grpc, http,
    reqwest as resilient,
};
use tokio::time::Instant;
use tonic::transport::Endpoint;
use tonic::{Code, Request, Response, Status};
use tower::{ServiceBuilder, service_fn};

use crate::common::{listener, serve};
use crate::upstream::{
    Act, Req, Upstream, by, call, get, infallible, ms, post, rejected, rpc, secs,
};
use crate::users::users_client::UsersClient;
use crate::users::users_server::{Users, UsersServer};
use crate::users::{GetRequest, ListRequest, User};

fn with(mut request: Req, overrides: impl Borrow<Overrides>) -> Req {
    let overrides: &Overrides = overrides.borrow();
    request.extensions_mut().insert(overrides.clone());
    request
}

#[tokio::test(start_paused = true)]
async fn a_longer_limit_replaces_that_of_a_stack() {
    let upstream = Upstream::always(Act::Later(secs(60), 200));
    let stack = http::client("reports").timeout(secs(2)).build().unwrap();
    let client = stack.wrap(upstream.clone());
    let patient = Overrides::new().timeout(secs(120));

    assert!(call(&client, with(post(), &patient)).await.is_ok());
    assert!(patient.scope(call(&client, post())).await.is_ok());
    let unlimited = Overrides::new().no_timeout();
    assert!(call(&client, with(post(), unlimited)).await.is_ok());
    // The next one has none any more.
    let rejection = rejected(call(&client, post()).await);
    assert_eq!(rejection.time_limit(), Some(TimeLimit::Layer(secs(2))));
}

#[tokio::test(start_paused = true)]
async fn a_shorter_limit_replaces_the_default_and_is_propagated() {
    let upstream = Upstream::always(Act::Hang);
    let client = http::client("a").build().unwrap().wrap(upstream.clone());
    let hasty = Overrides::new().timeout(ms(300));
    let began = Instant::now();
    let rejection = rejected(call(&client, with(post(), hasty)).await);
    // A shorter limit is the caller's choice, as a deadline is.
    assert_eq!(rejection.time_limit(), Some(TimeLimit::Deadline(ms(300))));
    assert_eq!(began.elapsed(), ms(300));
    let seen = &upstream.seen()[0];
    assert_eq!(seen.header("x-request-timeout-ms"), Some("300"));
}

#[tokio::test(start_paused = true)]
async fn an_earlier_deadline_still_ends_the_call() {
    let client = http::client("a").build().unwrap();
    let client = client.wrap(Upstream::always(Act::Hang));
    let patient = Overrides::new().timeout(secs(120));
    let began = Instant::now();
    let context = Context::current().with_timeout(secs(1));
    let rejection = rejected(context.scope(call(&client, with(post(), patient))).await);
    assert_eq!(rejection.reason(), Reason::TimedOut);
    assert_eq!(began.elapsed(), secs(1));
}

#[tokio::test(start_paused = true)]
async fn the_extension_comes_before_the_scope_setting_by_setting() {
    let upstream = Upstream::always(Act::Hang);
    let client = http::client("a").build().unwrap().wrap(upstream.clone());
    let request = with(get(), Overrides::new().timeout(secs(1)));
    let began = Instant::now();
    let scope = Overrides::new().timeout(secs(9)).attempt_timeout(ms(400));
    let outer = Overrides::new().no_retry().attempt_timeout(secs(7));
    let result = outer.scope(scope.scope(call(&client, request))).await;
    // The innermost scope sets the attempt's limit, the outer one that there is only one attempt.
    assert_eq!(by(result), "attempt_timeout `a` TimedOut");
    assert_eq!(began.elapsed(), ms(400));
    let request = with(get(), Overrides::new().timeout(ms(300)));
    let began = Instant::now();
    let result = outer.scope(scope.scope(call(&client, request))).await;
    assert!(result.is_err());
    assert_eq!(began.elapsed(), ms(300));
}

#[tokio::test(start_paused = true)]
async fn an_attempts_limit_also_applies_where_it_is_off() {
    for set in [None, Some(ms(50))] {
        let upstream = Upstream::script([Act::Hang, Act::Later(ms(200), 200)], Act::Hang);
        let mut stack = http::client("a");
        if let Some(set) = set {
            stack = stack.attempt_timeout(set);
        }
        let client = stack.build().unwrap().wrap(upstream.clone());
        let overrides = Overrides::new().attempt_timeout(ms(300));
        let response = call(&client, with(get(), overrides)).await.unwrap();
        assert_eq!(
            (response.status(), upstream.calls()),
            (200.try_into().unwrap(), 2)
        );
    }
    // And none where it is on.
    let upstream = Upstream::always(Act::Later(secs(5), 200));
    let stack = http::client("a").attempt_timeout(secs(1)).build().unwrap();
    let overrides = Overrides::new().no_attempt_timeout();
    let result = call(&stack.wrap(upstream.clone()), with(get(), overrides)).await;
    assert!(result.is_ok());
    assert_eq!(upstream.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_grpc_call_is_limited_to_its_end_also_where_the_limit_is_off() {
    let upstream = Upstream::always(Act::Stall);
    let stack = grpc::client("a").without_timeout().build().unwrap();
    let client = stack.wrap(service_fn(move |request| {
        let upstream = upstream.clone();
        async move {
            let mut response = call(&upstream, request).await?;
            let kind = "application/grpc".parse().unwrap();
            response.headers_mut().insert("content-type", kind);
            Ok::<_, std::io::Error>(response)
        }
    }));
    let began = Instant::now();
    let response = call(&client, with(rpc(), Overrides::new().timeout(secs(3)))).await;
    let body = response.unwrap().into_body();
    let end = http_body_util::BodyExt::collect(body).await.unwrap();
    let status = end.trailers().unwrap()["grpc-status"].clone();
    assert_eq!((status.to_str().unwrap(), began.elapsed()), ("4", secs(3)));
}

/// A client inside of an attempt of somebody else's retry is a whole call of its own.
#[tokio::test(start_paused = true)]
async fn the_limit_of_a_client_within_an_attempt_is_that_of_its_calls() {
    let upstream = Upstream::always(Act::Later(secs(60), 200));
    let stack = http::client("inner").timeout(secs(2)).build().unwrap();
    let client = stack.wrap(upstream);
    let outer = ServiceBuilder::new()
        .layer(RetryLayer::new())
        .service(service_fn(move |overrides: Overrides| {
            let client = client.clone();
            async move { call(&client, with(post(), overrides)).await.map(drop) }
        }));
    let patient = Overrides::new().timeout(secs(120));
    assert!(call(&outer, patient.clone()).await.is_ok());
    let hasty = patient.attempt_timeout(ms(300));
    let began = Instant::now();
    assert!(call(&outer, hasty.no_retry()).await.is_err());
    assert!(began.elapsed() < secs(2));
}

#[tokio::test(start_paused = true)]
async fn short_limits_of_single_calls_open_no_circuit() {
    let upstream = Upstream::always(Act::Later(ms(20), 200));
    let stack = http::client("a").build().unwrap();
    let client = stack.wrap(upstream);
    for _ in 0..100 {
        assert!(call(&client, post()).await.is_ok());
    }
    let hasty = Overrides::new().timeout(ms(5));
    for _ in 0..200 {
        assert!(call(&client, with(post(), &hasty)).await.is_err());
    }
    assert!(call(&client, post()).await.is_ok());
    let snapshot = stack.circuit_breaker().snapshot();
    assert_eq!(
        (snapshot.state, snapshot.outcomes.failure),
        (State::Closed, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_limit_brings_no_other_limit_back() {
    // Nor the idle limit of bodies,
    let upstream = Upstream::always(Act::Stall);
    let stack = http::client("a").without_timeout().build().unwrap();
    let patient = Overrides::new().timeout(secs(3_600));
    let response = call(&stack.wrap(upstream), with(get(), patient)).await;
    let body = http_body_util::BodyExt::collect(response.unwrap().into_body());
    let stalled = tokio::time::timeout(secs(600), body).await;
    assert!(stalled.is_err(), "the body was ended");
    // but what it ended is in the snapshot.
    let stack = http::client("b").build().unwrap();
    assert_eq!(stack.snapshot().attempt_timeout, None);
    let hasty = Overrides::new().attempt_timeout(ms(300)).no_retry();
    let hangs = stack.wrap(Upstream::always(Act::Hang));
    assert!(call(&hangs, with(get(), hasty)).await.is_err());
    let snapshot = stack.snapshot().attempt_timeout.unwrap();
    assert_eq!(snapshot.rejections.total(), 1);
}

#[tokio::test(start_paused = true)]
async fn one_setting_does_not_undo_the_other() {
    let never = Overrides::new().no_retry();
    let idempotent = Overrides::new().idempotent();
    let upstream = Upstream::always(Act::Status(503));
    let client = http::client("a").build().unwrap().wrap(upstream.clone());
    let _ = never.scope(idempotent.scope(call(&client, post()))).await;
    let _ = never.scope(call(&client, with(post(), idempotent))).await;
    let _ = call(&client, with(post(), never.idempotent())).await;
    assert_eq!(upstream.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn retries_by_request() {
    let never = Overrides::new().no_retry();
    let idempotent = Overrides::new().idempotent();
    let attempts = async |request: Req, act: Act| {
        let upstream = Upstream::always(act);
        let client = http::client("a").build().unwrap().wrap(upstream.clone());
        let _ = call(&client, request).await;
        upstream.calls()
    };
    let busy = || Act::Status(503);
    assert_eq!(attempts(get(), busy()).await, 3);
    assert_eq!(attempts(with(get(), &never), busy()).await, 1);
    assert_eq!(never.scope(attempts(get(), Act::Fail)).await, 1);
    assert_eq!(attempts(post(), busy()).await, 1);
    assert_eq!(attempts(with(post(), &idempotent), busy()).await, 3);
    assert_eq!(idempotent.scope(attempts(post(), Act::Fail)).await, 3);
    // Not what no policy retries.
    assert_eq!(
        attempts(with(post(), idempotent), Act::Status(500)).await,
        1
    );
}

#[tokio::test(start_paused = true)]
async fn retries_by_rpc() {
    let never = Overrides::new().no_retry();
    let idempotent = Overrides::new().idempotent();
    let attempts = async |request: Req, act: Act, policy: grpc::GrpcRetry| {
        let upstream = Upstream::always(act);
        let stack = grpc::client("a").attempt_timeout(secs(1));
        let stack = stack.retry(grpc::retry().policy(policy)).build().unwrap();
        let _ = call(&stack.wrap(upstream.clone()), request).await;
        upstream.calls()
    };
    let plain = grpc::GrpcRetry::new;
    let never_get = || plain().never("users.Users/Get").unwrap();
    let unavailable = || Act::Grpc("14");
    assert_eq!(attempts(rpc(), unavailable(), plain()).await, 3);
    assert_eq!(
        attempts(with(rpc(), never), unavailable(), plain()).await,
        1
    );
    assert_eq!(attempts(rpc(), unavailable(), never_get()).await, 1);
    assert_eq!(
        attempts(with(rpc(), &idempotent), unavailable(), never_get()).await,
        3
    );
    // A server that ends a call at its limit says so itself.
    for code in ["1", "4"] {
        let ended = || Act::Grpc(code);
        assert_eq!(attempts(rpc(), ended(), plain()).await, 1);
        assert_eq!(
            attempts(with(rpc(), &idempotent), ended(), plain()).await,
            3
        );
    }
    let hinted = || Act::Hinted("8", "10");
    assert_eq!(attempts(rpc(), hinted(), plain()).await, 3);
    assert_eq!(
        attempts(with(rpc(), &idempotent), hinted(), never_get()).await,
        3
    );
    // Nobody knows what became of an attempt that timed out.
    assert_eq!(attempts(rpc(), Act::Hang, plain()).await, 1);
    assert_eq!(
        attempts(with(rpc(), &idempotent), Act::Hang, plain()).await,
        3
    );
    assert_eq!(
        attempts(with(rpc(), &idempotent), Act::Grpc("13"), plain()).await,
        1
    );
}

#[tokio::test(start_paused = true)]
async fn layers_for_any_request_follow_a_scope() {
    let service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(secs(2)))
        .layer(RetryLayer::new())
        .layer(TimeoutLayer::new(ms(500)))
        .service(service_fn(|time: Duration| async move {
            tokio::time::sleep(time).await;
            Ok::<_, std::io::Error>(())
        }));
    assert!(call(&service, secs(1)).await.is_err());
    let patient = Overrides::new().attempt_timeout(secs(1));
    assert!(patient.scope(call(&service, ms(900))).await.is_ok());
    let once = Overrides::new().no_retry();
    let rejection = rejected(once.scope(call(&service, secs(1))).await);
    assert_eq!(rejection.time_limit(), Some(TimeLimit::Layer(ms(500))));
    let both = patient.timeout(secs(60)).attempt_timeout(secs(30));
    assert!(both.scope(call(&service, secs(20))).await.is_ok());
    // A task of its own is not in the scope.
    let spawned = both.scope(async { tokio::spawn(call_owned(service, secs(20))).await });
    assert!(spawned.await.unwrap().is_err());
}

async fn call_owned<S>(service: S, time: Duration) -> Result<(), S::Error>
where
    S: tower::Service<Duration, Response = ()> + Clone,
{
    call(&service, time).await
}

#[tokio::test(start_paused = true)]
async fn a_server_gives_a_route_more_time() {
    let upstream = infallible(Upstream::always(Act::Later(secs(60), 200)));
    let stack = http::server("api").timeout(secs(1)).build().unwrap();
    let server = stack.wrap(upstream);
    let patient = Overrides::new().timeout(secs(120));
    assert_eq!(
        call(&server, with(get(), patient)).await.unwrap().status(),
        200
    );
    assert_eq!(call(&server, get()).await.unwrap().status(), 504);
}

/// Answers after as long as the path says.
async fn slow(path: axum::extract::Path<u64>) -> &'static str {
    tokio::time::sleep(ms(path.0)).await;
    "done"
}

#[tokio::test]
async fn over_sockets_through_axum_hyper_and_reqwest() {
    let stack = http::server("api").timeout(ms(100)).build().unwrap();
    // Whoever is outside of the stack may decide.
    let decide = from_fn(async |mut request: AxumRequest, next: Next| {
        if request.headers().contains_key("x-patient") {
            let patient = Overrides::new().timeout(secs(30));
            request.extensions_mut().insert(patient);
        }
        next.run(request).await
    });
    let app = Router::new().route("/{millis}", any(slow));
    let address = serve(app.layer(stack).layer(decide)).await;
    let url = format!("http://{address}/400");

    let hyper = Hyper::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    let stack = http::client("a").timeout(ms(50)).build().unwrap();
    let client = stack.wrap(hyper);
    let request = || {
        let request = ::http::Request::get(&url).header("x-patient", "1");
        request.body(Full::default()).unwrap()
    };
    let patient = Overrides::new().timeout(secs(30));
    let response = call(&client, with(request(), &patient)).await.unwrap();
    assert_eq!(response.status(), 200);
    // The server knows the client's limit, and either may be first.
    let is_late = match call(&client, request()).await {
        Ok(response) => response.status() == 504,
        Err(error) => Rejection::find(&error).is_some(),
    };
    assert!(is_late);

    let reqwest = reqwest::Client::new();
    let stack = resilient::client("b").timeout(ms(50)).build().unwrap();
    let client = stack.wrap(reqwest.clone());
    let request = || reqwest.get(&url).header("x-patient", "1");
    let response = patient.scope(request().send_through(&client)).await;
    assert_eq!(response.unwrap().status(), 200);
    let response = request().send_through(&client).await;
    assert!(!response.is_ok_and(|response| response.status() == 200));
    // The server's own limit, without the header.
    let impatient = reqwest.get(&url).send_through(&client);
    let response = patient.no_retry().scope(impatient).await.unwrap();
    assert_eq!(response.status(), 504);
}

/// Answers after 400 ms, once it has failed.
#[derive(Clone, Default)]
struct Slow(std::sync::Arc<std::sync::atomic::AtomicU32>);

#[tonic::async_trait]
impl Users for Slow {
    async fn get(&self, request: Request<GetRequest>) -> Result<Response<User>, Status> {
        if self.0.fetch_add(1, std::sync::atomic::Ordering::SeqCst) == 0 {
            return Err(Status::unavailable("told to"));
        }
        tokio::time::sleep(ms(400)).await;
        let (name, email) = (request.into_inner().name, String::new());
        Ok(Response::new(User { name, email }))
    }

    type ListStream = Pin<Box<dyn Stream<Item = Result<User, Status>> + Send>>;

    async fn list(&self, _: Request<ListRequest>) -> Result<Response<Self::ListStream>, Status> {
        Err(Status::unimplemented("not here"))
    }
}

#[tokio::test]
async fn over_sockets_through_a_stub() {
    let (listener, address) = listener().await;
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    let router = tonic::transport::Server::builder().add_service(UsersServer::new(Slow::default()));
    tokio::spawn(router.serve_with_incoming(incoming));
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let stack = grpc::client("users").timeout(ms(100)).build().unwrap();
    let mut stub = UsersClient::new(stack.wrap(channel.connect_lazy()));
    let mut get = async |overrides: Option<Overrides>| {
        let name = "ann".to_owned();
        let mut request = Request::new(GetRequest { name });
        if let Some(overrides) = overrides {
            request.extensions_mut().insert(overrides);
        }
        stub.get(request).await
    };
    let patient = Overrides::new().timeout(secs(30));
    let status = get(Some(patient.clone().no_retry())).await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    assert_eq!(
        get(Some(patient.clone())).await.unwrap().into_inner().name,
        "ann"
    );
    assert_eq!(get(None).await.unwrap_err().code(), Code::DeadlineExceeded);
    assert!(patient.scope(get(None)).await.is_ok());
}
