//! The stack of a server under axum, tonic and hyper.

use std::time::Duration;

use axum::Router;
use axum::routing::get;
use mainstay::http::{Server, ServerStack};
use mainstay::{Limit, http};
use tower::{Layer, ServiceExt};

use crate::common::{Door, serve, until, within};

/// A stack has a name, so that it can be kept.
#[derive(Clone)]
struct Shared {
    stack: ServerStack,
}

#[tokio::test]
async fn five_lines_around_axum() {
    let app = Router::new()
        .route("/orders", get(|| async { "none" }))
        .layer(
            http::server("orders")
                .timeout(Duration::from_secs(2))
                .load_shed(Limit::adaptive())
                .bulkhead(256)
                .build()
                .unwrap(),
        );
    let address = serve(app).await;
    let response = reqwest::get(format!("http://{address}/orders"))
        .await
        .unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.headers().contains_key("x-correlation-id"));
    assert_eq!(response.text().await.unwrap(), "none");
}

#[tokio::test]
async fn one_stack_is_one_limit_for_all_routes_and_routers() {
    let door = Door::closed();
    let shared = Shared {
        stack: http::server("orders").bulkhead(1).build().unwrap(),
    };
    let route = |path: &str| {
        let door = door.clone();
        let handler = move || async move { door.pass().await };
        Router::new()
            .route(path, get(handler))
            .layer(shared.stack.clone())
    };
    let first = serve(route("/a").merge(route("/b"))).await;
    let second = serve(route("/c")).await;
    let held = tokio::spawn(reqwest::get(format!("http://{first}/a")));
    until("one is in", || shared.stack.bulkhead().in_flight() == 1).await;
    for url in [format!("http://{first}/b"), format!("http://{second}/c")] {
        let response = within("a rejection", reqwest::get(url)).await.unwrap();
        assert_eq!(response.status(), 503);
        assert_eq!(
            response.headers()["content-type"],
            "application/problem+json"
        );
    }
    door.open();
    assert_eq!(held.await.unwrap().unwrap().status(), 200);
    until("none is in", || shared.stack.bulkhead().in_flight() == 0).await;
}

#[tokio::test]
async fn what_waits_in_the_queue_is_not_shed() {
    let door = Door::closed();
    let queue = http::bulkhead().limit(1).queue(1, Duration::from_secs(10));
    let stack = http::server("orders").bulkhead(queue).build().unwrap();
    let handler = {
        let door = door.clone();
        move || async move { door.pass().await }
    };
    let app = Router::new().route("/", get(handler)).layer(stack.clone());
    let url = format!("http://{}/", serve(app).await);
    let calls = [0, 1].map(|_| tokio::spawn(reqwest::get(url.clone())));
    until("one waits", || stack.bulkhead().waiting() == 1).await;
    assert_eq!(reqwest::get(&url).await.unwrap().status(), 503);
    door.open();
    for call in calls {
        assert_eq!(call.await.unwrap().unwrap().status(), 200);
    }
}

#[tokio::test]
async fn a_wrapped_router_can_be_called() {
    let stack = http::server("orders").build().unwrap();
    let app: Server<Router> = stack.wrap(Router::new().route("/", get(|| async { "hello" })));
    let request = axum::http::Request::new(axum::body::Body::empty());
    let response = app.oneshot(request).await.unwrap();
    assert_eq!(response.status(), 200);
    let _: Server<Router> = stack.layer(Router::new());
}
