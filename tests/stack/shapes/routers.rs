//! axum: everything that takes a layer or a service takes a server stack.

use std::net::SocketAddr;

use axum::Router;
use axum::body::Body;
use axum::extract::{ConnectInfo, Request};
use axum::handler::Handler as _;
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::Response;
use axum::routing::{MethodRouter, any, get};
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use mainstay::{RespondLayer, http};
use tower::util::{BoxCloneService, BoxCloneSyncService, option_layer};
use tower::{Service as _, ServiceBuilder, ServiceExt as _};

use crate::common::{listener, serve, within};

pub(crate) fn stack() -> http::ServerStack {
    http::server("site").build().unwrap()
}

pub(crate) async fn hello() -> &'static str {
    "hello"
}

pub(crate) fn router() -> Router {
    Router::new().route("/", get(hello))
}

/// What a service answers to a GET of this path.
pub(crate) async fn answer(router: Router, path: &str) -> Response {
    let request = Request::get(path).body(Body::empty()).unwrap();
    router.oneshot(request).await.unwrap()
}

/// Whether a stack was passed on the way, and the text that came.
pub(crate) async fn text(response: Response) -> (bool, String) {
    let passed = response.headers().contains_key("x-correlation-id");
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await;
    (passed, String::from_utf8(body.unwrap().into()).unwrap())
}

/// With or without, the body must be the same.
macro_rules! optional {
    ($stack:expr) => {
        option_layer($stack.map(|stack: http::ServerStack| {
            ServiceBuilder::new()
                .map_response(|response: Response<_>| response.map(Body::new))
                .layer(stack)
        }))
    };
}

#[tokio::test]
async fn every_place_that_takes_a_layer() {
    let named = |name| move || async move { name };
    let ways: Vec<(&str, Router)> = vec![
        ("Router::layer", router().layer(stack())),
        ("Router::route_layer", router().route_layer(stack())),
        (
            "MethodRouter::layer",
            Router::new().route("/", get(hello).layer(stack())),
        ),
        (
            "MethodRouter::route_layer",
            Router::new().route("/", get(hello).route_layer(stack())),
        ),
        (
            "Handler::layer",
            Router::new().route("/", get(hello.layer(stack()))),
        ),
        (
            "fallback_service",
            Router::new().fallback_service(stack().wrap(any(hello))),
        ),
        (
            "fallback_service of a router",
            Router::new().fallback_service(stack().wrap(router())),
        ),
        (
            "a layered method router as a fallback",
            Router::new().fallback_service::<MethodRouter>(any(hello).layer(stack())),
        ),
        (
            "route_service",
            Router::new().route_service("/", stack().wrap(any(hello))),
        ),
        (
            "MethodRouter::get_service",
            Router::new().route("/", axum::routing::get_service(stack().wrap(any(hello)))),
        ),
        (
            "merge",
            Router::new()
                .route("/other", get(named("other")))
                .merge(router().layer(stack())),
        ),
        ("option_layer", router().layer(optional!(Some(stack())))),
        (
            "option_layer of none",
            router().layer((stack(), optional!(None))),
        ),
        (
            "within a ServiceBuilder",
            router().layer(ServiceBuilder::new().layer(stack())),
        ),
        ("one in another", router().layer((stack(), stack()))),
        (
            "with state",
            Router::new()
                .route("/", get(hello))
                .layer(stack())
                .with_state(()),
        ),
    ];
    for (what, router) in ways {
        let got = text(answer(router, "/").await).await;
        assert_eq!(got, (true, "hello".to_owned()), "{what}");
    }
    let nested = Router::new().nest("/in", router().layer(stack()));
    let got = text(answer(nested, "/in").await).await;
    assert_eq!(got, (true, "hello".to_owned()));
    let nested = Router::new().nest_service("/in", stack().wrap(router()));
    let got = text(answer(nested, "/in").await).await;
    assert_eq!(got, (true, "hello".to_owned()));
    // The routes of a router that is nested later see only their own stack.
    let outside = router().layer(stack()).nest("/in", router());
    let got = text(answer(outside, "/in").await).await;
    assert_eq!(got, (false, "hello".to_owned()));
}

#[tokio::test]
async fn functions_as_middleware_on_both_sides() {
    async fn outside(request: Request, next: Next) -> Response {
        let mut response = next.run(request).await;
        assert!(response.headers().contains_key("x-correlation-id"));
        response.headers_mut().insert("x-outside", 1.into());
        response
    }
    async fn inside(request: Request, next: Next) -> Response {
        assert!(mainstay::Context::current().correlation_id().is_some());
        next.run(request).await
    }
    async fn stateful(_: axum::extract::State<u32>, request: Request, next: Next) -> Response {
        next.run(request).await
    }
    let at_once = ServiceBuilder::new()
        .layer(from_fn(outside))
        .layer(from_fn_with_state(1, stateful))
        .layer(stack())
        .layer(from_fn_with_state(1, stateful))
        .layer(from_fn(inside));
    // It takes no service that can fail: rejections from further inside are answered there.
    let by_request = http::server("site")
        .with_request_layer(from_fn(inside))
        .with_request_layer(RespondLayer::new());
    for router in [
        router().layer(at_once),
        router()
            .layer(from_fn(inside))
            .layer(stack())
            .layer(from_fn(outside)),
        router()
            .layer(by_request.build().unwrap())
            .layer(from_fn(outside)),
    ] {
        let response = answer(router, "/").await;
        assert!(response.headers().contains_key("x-outside"));
        assert_eq!(text(response).await, (true, "hello".to_owned()));
    }
}

#[tokio::test]
async fn boxed_services_of_a_stack() {
    let boxed: BoxCloneService<Request, Response, std::convert::Infallible> = ServiceBuilder::new()
        .map_response(|response: Response<_>| response.map(Body::new))
        .layer(stack())
        .service(router())
        .boxed_clone();
    let sync: BoxCloneSyncService<Request, _, _> = BoxCloneSyncService::new(stack().wrap(router()));
    let around = stack().wrap(BoxCloneSyncService::new(router()));
    for router in [
        Router::new().fallback_service(BoxCloneSyncService::new(stack().wrap(router()))),
        Router::new().fallback_service(sync),
        Router::new().fallback_service(around),
    ] {
        let got = text(answer(router, "/").await).await;
        assert_eq!(got, (true, "hello".to_owned()));
    }
    let request = Request::get("/").body(Body::empty()).unwrap();
    let got = text(boxed.oneshot(request).await.unwrap()).await;
    assert_eq!(got, (true, "hello".to_owned()));
}

async fn fetched(address: SocketAddr) -> (bool, String) {
    let url = format!("http://{address}/");
    let response = within("an answer", reqwest::get(url)).await.unwrap();
    let passed = response.headers().contains_key("x-correlation-id");
    (passed, response.text().await.unwrap())
}

#[tokio::test]
async fn every_way_to_serve_a_router() {
    async fn peer(ConnectInfo(peer): ConnectInfo<SocketAddr>) -> String {
        peer.ip().to_string()
    }
    let got = fetched(serve(router().layer(stack())).await).await;
    assert_eq!(got, (true, "hello".to_owned()));

    let (tcp, address) = listener().await;
    let app = router().layer(stack()).into_make_service();
    tokio::spawn(async move { axum::serve(tcp, app).await.unwrap() });
    assert_eq!(fetched(address).await, (true, "hello".to_owned()));

    let (tcp, address) = listener().await;
    let app = Router::new().route("/", get(peer)).layer(stack());
    let app = app.into_make_service_with_connect_info::<SocketAddr>();
    tokio::spawn(async move { axum::serve(tcp, app).await.unwrap() });
    assert_eq!(fetched(address).await, (true, "127.0.0.1".to_owned()));

    // Around a whole router: `axum::serve` takes no body but its own.
    let whole = ServiceBuilder::new()
        .map_response(|response: Response<_>| response.map(Body::new))
        .layer(stack())
        .service(Router::new().route("/", get(peer)));
    let (tcp, address) = listener().await;
    let app = axum::ServiceExt::<Request>::into_make_service_with_connect_info::<SocketAddr>(whole);
    tokio::spawn(async move { axum::serve(tcp, app).await.unwrap() });
    assert_eq!(fetched(address).await, (true, "127.0.0.1".to_owned()));

    let (tcp, address) = listener().await;
    let app = ServiceBuilder::new()
        .map_response(|response: Response<_>| response.map(Body::new))
        .service(stack().wrap(router()));
    let app = axum::ServiceExt::<Request>::into_make_service(app);
    tokio::spawn(async move { axum::serve(tcp, app).await.unwrap() });
    assert_eq!(fetched(address).await, (true, "hello".to_owned()));
}

#[tokio::test]
async fn a_router_in_a_stack_served_by_hyper() {
    let (tcp, address) = listener().await;
    let service = TowerToHyperService::new(stack().wrap(router()));
    tokio::spawn(async move {
        let (stream, _) = tcp.accept().await.unwrap();
        let server = auto::Builder::new(TokioExecutor::new());
        server
            .serve_connection_with_upgrades(TokioIo::new(stream), service)
            .await
            .unwrap();
    });
    assert_eq!(fetched(address).await, (true, "hello".to_owned()));

    // By a make service, as hand-written accept loops do.
    let mut make = router().layer(stack()).into_make_service();
    let service = make.call(()).await.unwrap();
    let got = text(answer(service, "/").await).await;
    assert_eq!(got, (true, "hello".to_owned()));
}
