//! "Different limits for each route, and one bulkhead for all".

use std::time::Duration;

use axum::{Router, routing::get};
use mainstay::http::{self, ServerStack};

use crate::common::{Door, serve, until, within};

fn limits(name: &str, timeout: Duration, calls: u32) -> ServerStack {
    let stack = http::server(name).timeout(timeout).bulkhead(calls);
    stack
        .without_correlation()
        .without_load_shed()
        .build()
        .unwrap()
}

#[tokio::test]
async fn each_route_has_its_limits_and_all_share_a_bulkhead() {
    let door = Door::closed();
    let wait = {
        let door = door.clone();
        async move || door.pass().await
    };
    const LONG: Duration = Duration::from_secs(60);
    let shop = http::server("shop")
        .without_timeout()
        .bulkhead(3)
        .build()
        .unwrap();
    let app = Router::new()
        .route(
            "/search",
            get(wait.clone()).layer(limits("search", LONG, 2)),
        )
        .route("/report", get(wait).layer(limits("report", LONG, 2)))
        .route(
            "/quick",
            get(std::future::pending::<()>).layer(limits("quick", Duration::from_millis(20), 2)),
        )
        .layer(shop.clone());
    let url = format!("http://{}", serve(app).await);
    let client = reqwest::Client::new();
    let call = |path: &str| {
        let request = client.get(format!("{url}{path}"));
        async move {
            let response = within("an answer", request.send()).await.unwrap();
            (response.status().as_u16(), response.text().await.unwrap())
        }
    };
    let rejected = |(status, body): (u16, String), reasons: &[&str]| {
        assert!(status >= 500, "{status}");
        let named = |reason| body.contains(&format!("\"reason\":\"{reason}\""));
        assert!(reasons.iter().any(named), "{body}");
    };
    // The load shedder is in front of the shared bulkhead.
    let shared = ["full", "shed"];

    // A route's own time limit holds, and it gives back its permit of the shared bulkhead.
    rejected(call("/quick").await, &["timed_out"]);
    until("a free bulkhead", || shop.bulkhead().in_flight() == 0).await;

    // Two calls fill the route's own bulkhead; another route has room in the shared one.
    let mut calls = vec![tokio::spawn(call("/search")), tokio::spawn(call("/search"))];
    until("two searches", || door.entered() == 2).await;
    rejected(call("/search").await, &["full"]);
    until("two permits", || shop.bulkhead().in_flight() == 2).await;
    calls.push(tokio::spawn(call("/report")));
    until("a report", || door.entered() == 3).await;

    // Three calls fill the shared one, for all routes.
    rejected(call("/report").await, &shared);
    rejected(call("/quick").await, &shared);

    door.open();
    for call in calls {
        assert_eq!(call.await.unwrap().0, 200);
    }
    until("a free bulkhead", || shop.bulkhead().in_flight() == 0).await;
}
