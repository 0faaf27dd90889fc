//! tower-http: its layers outside of a server stack, within it, and between its layers.

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use axum::routing::get;
use axum::{Router, http::StatusCode};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use mainstay::http;
use tower::util::MapResponseLayer;
use tower::{Layer as _, ServiceBuilder, ServiceExt as _};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::cors::CorsLayer;
use tower_http::normalize_path::NormalizePathLayer;
use tower_http::request_id::PropagateRequestIdLayer;
use tower_http::trace::TraceLayer;

use super::routers::{router, stack, text};

async fn panics() -> &'static str {
    panic!("as the test wants it")
}

fn page() -> String {
    "hello ".repeat(1_000)
}

fn site() -> Router {
    router()
        .route("/panic", get(panics))
        .route("/page", get(|| async { page() }))
}

fn request(path: &str) -> Request {
    Request::get(path)
        .header("origin", "https://shop.example")
        .header("accept-encoding", "gzip")
        .body(Body::empty())
        .unwrap()
}

/// What every arrangement must do: all layers work, and the stack was passed.
async fn works(what: &str, router: Router) {
    let response = router.clone().oneshot(request("/")).await.unwrap();
    assert_eq!(
        response.headers()["access-control-allow-origin"],
        "*",
        "{what}"
    );
    assert_eq!(text(response).await, (true, "hello".to_owned()), "{what}");

    let response = router.clone().oneshot(request("/page")).await.unwrap();
    assert_eq!(response.headers()["content-encoding"], "gzip", "{what}");
    let body = axum::body::to_bytes(response.into_body(), 1 << 20)
        .await
        .unwrap();
    assert!(
        !body.is_empty() && body.len() < 500,
        "{what}: {}",
        body.len()
    );

    let response = router.oneshot(request("/panic")).await.unwrap();
    assert_eq!(
        response.status(),
        StatusCode::INTERNAL_SERVER_ERROR,
        "{what}"
    );
}

#[tokio::test]
async fn layer_by_layer_outside_and_inside() {
    let outside = site()
        .layer(stack())
        .layer(CompressionLayer::new())
        .layer(CorsLayer::permissive())
        .layer(TraceLayer::new_for_http())
        .layer(CatchPanicLayer::new());
    works("outside", outside).await;
    let inside = site()
        .layer(CompressionLayer::new())
        .layer(CorsLayer::permissive())
        .layer(TraceLayer::new_for_http())
        .layer(CatchPanicLayer::new())
        .layer(stack());
    works("inside", inside).await;
    let inside = || (stack(), CatchPanicLayer::new(), CompressionLayer::new());
    let outside = (CompressionLayer::new(), stack());
    let single = Router::new()
        .route("/", get(super::routers::hello).layer(inside()))
        .route("/panic", get(panics).layer(inside()))
        .route("/page", get(|| async { page() }).layer(outside))
        .layer(CorsLayer::permissive());
    works("on single routes", single).await;
}

#[tokio::test]
async fn in_one_service_builder_outside_and_inside() {
    let outside = ServiceBuilder::new()
        .layer(CatchPanicLayer::new())
        .layer(TraceLayer::new_for_http())
        .layer(CorsLayer::permissive())
        .layer(CompressionLayer::new())
        .layer(stack());
    works("outside", site().layer(outside)).await;
    let inside = ServiceBuilder::new()
        .layer(stack())
        .layer(CatchPanicLayer::new())
        .layer(TraceLayer::new_for_http())
        .layer(CorsLayer::permissive())
        .layer(CompressionLayer::new());
    works("inside", site().layer(inside)).await;
}

#[tokio::test]
async fn between_the_layers_of_a_stack() {
    let stack = http::server("site")
        .with_request_layer(MapResponseLayer::new(|response: Response<_>| {
            response.map(Body::new)
        }))
        .with_request_layer(CompressionLayer::new())
        .with_request_layer(CorsLayer::permissive())
        .with_request_layer(PropagateRequestIdLayer::x_request_id())
        .build()
        .unwrap();
    works("between", site().layer(CatchPanicLayer::new()).layer(stack)).await;
}

#[tokio::test]
async fn paths_are_normalized_around_a_whole_router() {
    let normalize = NormalizePathLayer::trim_trailing_slash();
    let path = || Request::get("/page/").body(Body::empty()).unwrap();
    // It must stand outside of the router, so that it is there before a route is chosen: outside of the stack, and inside.
    let outside = normalize.layer(site().layer(stack()));
    assert_eq!(
        text(outside.oneshot(path()).await.unwrap()).await,
        (true, page())
    );
    let around = normalize.layer(stack().wrap(site()));
    let response = around.oneshot(path()).await.unwrap().map(Body::new);
    assert_eq!(text(response).await, (true, page()));
    let inside = stack().wrap(normalize.layer(site()));
    let response = inside.oneshot(path()).await.unwrap().map(Body::new);
    assert_eq!(text(response).await, (true, page()));
}

#[tokio::test]
async fn a_rejection_fits_into_a_body_of_any_type() {
    let stack = http::server("site")
        .without_load_shed()
        .bulkhead(1)
        .build()
        .unwrap();
    let hangs = tower::service_fn(async |_: Request| {
        std::future::pending::<()>().await;
        Ok::<_, std::convert::Infallible>(Response::new(Body::empty()))
    });
    let service = stack.wrap(CompressionLayer::new().layer(CatchPanicLayer::new().layer(hangs)));
    let mut held = std::pin::pin!(service.clone().oneshot(request("/")));
    assert!(futures::poll!(&mut held).is_pending());

    let response = service.clone().oneshot(request("/")).await.unwrap();
    assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
    let exact = response.body().size_hint().exact();
    let body = response.into_body().collect().await.unwrap().to_bytes();
    assert_eq!(exact, Some(body.len() as u64));
    let details: serde_json::Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(details["reason"], "full");

    let mut head = request("/");
    *head.method_mut() = axum::http::Method::HEAD;
    let response = service.clone().oneshot(head).await.unwrap();
    assert!(response.body().is_end_stream());

    let mut rpc = request("/users.Users/Get");
    let grpc = "application/grpc".parse().unwrap();
    rpc.headers_mut().insert("content-type", grpc);
    let response = service.oneshot(rpc).await.unwrap();
    assert_eq!(response.headers()["grpc-status"], "14");
    assert!(response.body().is_end_stream());
}
