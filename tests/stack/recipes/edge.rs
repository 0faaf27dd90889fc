//! "Tracing and CORS" and "A readiness route": what is outside of a stack is answered while the server is full.

use axum::{Router, routing::get};
use mainstay::health::Health;
use mainstay::http;
use tower_http::cors::{Any, CorsLayer};
use tower_http::trace::TraceLayer;

use crate::common::{Door, serve, until, within};

#[tokio::test]
async fn a_browser_can_read_rejections_and_preflights() {
    let door = Door::closed();
    let cors = CorsLayer::new()
        .allow_origin(["https://shop.example".parse().unwrap()])
        .allow_headers(Any)
        .expose_headers(["retry-after".parse().unwrap()]);
    let handler = {
        let door = door.clone();
        async move || door.pass().await
    };
    let app = Router::new()
        .route("/orders", get(handler))
        .layer(http::server("orders").bulkhead(1).build().unwrap())
        .route_service("/readyz", Health::global().service())
        .layer(cors)
        .layer(TraceLayer::new_for_http());
    let url = format!("http://{}", serve(app).await);
    let client = reqwest::Client::new();
    let call = |method, path: &str| {
        let request = client.request(method, format!("{url}{path}"));
        let request = request
            .header("origin", "https://shop.example")
            .header("access-control-request-method", "GET");
        within("an answer", request.send())
    };
    let orders = tokio::spawn(call(reqwest::Method::GET, "/orders"));
    until("a call in the handler", || door.entered() == 1).await;

    let full = call(reqwest::Method::GET, "/orders").await.unwrap();
    assert_eq!(full.status(), 503);
    let headers = full.headers();
    assert_eq!(
        headers["access-control-allow-origin"],
        "https://shop.example"
    );
    assert_eq!(headers["access-control-expose-headers"], "retry-after");
    let body = full.text().await.unwrap();
    let rejected = |reason| body.contains(&format!("\"reason\":\"{reason}\""));
    assert!(rejected("full") || rejected("shed"), "{body}");

    let preflight = call(reqwest::Method::OPTIONS, "/orders").await.unwrap();
    assert_eq!(preflight.status(), 200);
    assert_eq!(preflight.headers()["access-control-allow-headers"], "*");

    let ready = call(reqwest::Method::GET, "/readyz").await.unwrap();
    assert_eq!(ready.status(), 200);

    door.open();
    assert_eq!(orders.await.unwrap().unwrap().status(), 200);
}
