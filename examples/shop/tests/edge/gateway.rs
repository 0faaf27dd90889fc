//! The gateway with the real `users` and `catalog`.

use std::time::{Duration, Instant};

use axum::routing::get;
use axum::{Json, Router};
use reqwest::StatusCode;
use serde_json::{Value, json};
use shop::config::Upstreams;
use shop::web;

use crate::support::{Door, Server, answer, nobody, problem};

async fn with_users() -> (Server, Upstreams) {
    let server = Server::users().await;
    let upstreams = Upstreams {
        users: server.address.clone(),
        ..nobody()
    };
    (server, upstreams)
}

/// Lets time pass in a moment.
async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

#[tokio::test]
async fn only_users_pass() {
    let (_users, upstreams) = with_users().await;
    let door = Door::open(&upstreams).await;
    let none = door.http.get(door.url("/products"));
    let detail = problem(answer(none).await, 401);
    assert_eq!(detail, "x-api-key is missing: it must be the key of a user");
    for key in ["key-u100", "", &"k".repeat(1_000)] {
        let unknown = door
            .http
            .get(door.url("/products"))
            .header("x-api-key", key);
        let detail = problem(answer(unknown).await, 401);
        assert_eq!(detail, "x-api-key is refused: no user has this key");
    }
    // A user passes, to a route that does not exist.
    problem(answer(door.get("/nothing", "u001")).await, 404);
    let known = door
        .get("/nothing", "u001")
        .header("x-correlation-id", "mine-1");
    assert_eq!(answer(known).await.1["x-correlation-id"], "mine-1");
    let made = answer(
        door.get("/nothing", "u001")
            .header("x-correlation-id", "b@d id"),
    )
    .await;
    let made = made.1["x-correlation-id"].to_str().unwrap();
    assert!(!made.is_empty() && made != "b@d id", "{made}");
}

#[tokio::test]
async fn known_users_pass_while_users_is_down() {
    let (users, upstreams) = with_users().await;
    let door = Door::open(&upstreams).await;
    problem(answer(door.get("/nothing", "u001")).await, 404);
    let unknown = || {
        let request = door.http.get(door.url("/nothing"));
        request.header("x-api-key", "key-none")
    };
    problem(answer(unknown()).await, 401);
    users.stop().await;
    // It is refused without asking, and then nobody knows.
    problem(answer(unknown()).await, 401);
    pass(Duration::from_secs(6)).await;
    problem(answer(unknown()).await, 503);
    // The answer is fresh, then it is stale, then it is too old.
    for (age, status) in [(1, 404), (15, 404), (500, 404), (600, 503)] {
        pass(Duration::from_secs(age)).await;
        problem(answer(door.get("/nothing", "u001")).await, status);
    }
    let stranger = answer(door.get("/nothing", "u002")).await;
    assert!(stranger.1.contains_key("retry-after"));
    assert_eq!(stranger.2["upstream"], "users");
    let detail = problem(stranger, 503);
    assert!(detail.starts_with("users "), "{detail}");
}

#[tokio::test]
async fn each_tenant_has_a_rate() {
    let (_users, upstreams) = with_users().await;
    let door = Door::with_rate(&upstreams, 4).await;
    let status = async |user: &str| answer(door.get("/nothing", user)).await.0;
    // It runs, and all permits are available.
    assert_eq!(answer(door.http.get(door.url("/health"))).await.0, 200);
    pass(Duration::from_secs(2)).await;
    let begin = Instant::now();
    for (user, admitted) in [("u000", 2), ("u001", 4)] {
        for _ in 0..admitted {
            assert_eq!(status(user).await, 404);
        }
        let limited = answer(door.get("/nothing", user)).await;
        if begin.elapsed() < Duration::from_millis(240) {
            assert_eq!(limited.1["retry-after"], "1");
            assert_eq!(limited.2["reason"], "rate_limited");
            problem(limited, 429);
        }
    }
    // The users of a tenant share it.
    pass(Duration::from_secs(2)).await;
    let begin = Instant::now();
    let statuses = [
        status("u000").await,
        status("u004").await,
        status("u008").await,
    ];
    if begin.elapsed() < Duration::from_millis(480) {
        assert_eq!(statuses, [404, 404, 429]);
    }
    pass(Duration::from_secs(1)).await;
    assert_eq!(status("u008").await, 404);
}

async fn with_catalog() -> (
    Server,
    Server,
    tokio::sync::watch::Sender<shop::process::Faults>,
    Door,
) {
    let (users, upstreams) = with_users().await;
    let (catalog, faults) = Server::catalog().await;
    let upstreams = Upstreams {
        catalog: catalog.address.clone(),
        ..upstreams
    };
    let door = Door::open(&upstreams).await;
    (users, catalog, faults, door)
}

#[tokio::test]
async fn products_come_as_an_array_or_as_lines() {
    let (_users, _catalog, _faults, door) = with_catalog().await;
    let (status, _, all) = answer(door.get("/products", "u001")).await;
    assert_eq!(status, 200);
    let kettle = json!({"id": "kettle", "name": "Kettle", "price": 5_900});
    assert_eq!(all[2], kettle);
    let lines = door
        .get("/products", "u001")
        .header("accept", "application/x-ndjson");
    let lines = lines.send().await.unwrap();
    assert_eq!(lines.headers()["content-type"], "application/x-ndjson");
    let lines = lines.text().await.unwrap();
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert_eq!(json!(lines), all);
    let one = answer(door.get("/products/kettle", "u001")).await;
    assert_eq!((one.0, one.2), (200, kettle));
    let unknown = answer(door.get("/products/samovar", "u001")).await;
    assert_eq!(problem(unknown, 404), "the product samovar is unknown");
}

#[tokio::test]
async fn a_known_product_is_shown_while_the_catalogue_is_slow_or_dead() {
    let (_users, catalog, faults, door) = with_catalog().await;
    assert_eq!(answer(door.get("/products/kettle", "u001")).await.0, 200);
    faults.send_modify(|faults| faults.delay_ms = 60_000);
    let stale = json!({"id": "kettle", "name": "Kettle", "price": 5_900, "stale": true});
    // The caller's limit is shorter than the catalogue's, and is kept.
    let hurry = door
        .get("/products/kettle", "u001")
        .header("x-request-timeout-ms", "300");
    let begin = Instant::now();
    let slow = answer(hurry).await;
    assert_eq!((slow.0, &slow.2), (200, &stale));
    assert!(begin.elapsed() < Duration::from_millis(1_000));
    let slow = answer(door.get("/products/tea-pot", "u001")).await;
    assert_eq!(slow.2["upstream"], "catalog");
    assert_eq!(problem(slow, 504), "catalog did not answer in time");

    faults.send_modify(|faults| faults.delay_ms = 0);
    catalog.stop().await;
    let dead = answer(door.get("/products/kettle", "u001")).await;
    assert_eq!((dead.0, &dead.2), (200, &stale));
    for path in ["/products/tea-pot", "/products"] {
        let dead = answer(door.get(path, "u001")).await;
        assert!(dead.1.contains_key("retry-after"));
        let detail = problem(dead, 503);
        assert!(detail.starts_with("catalog "), "{detail}");
    }
    pass(Duration::from_secs(301)).await;
    problem(answer(door.get("/products/kettle", "u001")).await, 503);
}

#[tokio::test]
async fn health_names_the_service_that_is_down() {
    let readyz = async |status: StatusCode, body: Value| {
        let answer = async move || (status, Json(body));
        let routes = Router::new().route("/readyz", get(answer));
        Server::start(async move |listener, shutdown| web::serve(listener, routes, &shutdown).await)
            .await
    };
    let ready = readyz(StatusCode::OK, json!({"ready": true, "reasons": []})).await;
    let why = "broker: no answer for 1s";
    let body = json!({"ready": false, "reasons": [why], "checks": {"broker": "no answer for 1s"}});
    let busy = readyz(StatusCode::SERVICE_UNAVAILABLE, body).await;
    let upstreams = Upstreams {
        admins: vec![
            format!("users={}", ready.address),
            format!("orders={}", busy.address),
            "payments=127.0.0.1:1".to_owned(),
        ],
        ..nobody()
    };
    let door = Door::open(&upstreams).await;
    // It needs no key.
    let (status, _, body) = answer(door.http.get(door.url("/health"))).await;
    assert_eq!(status, 200);
    assert_eq!(body["all_ready"], false);
    assert_eq!(body["gateway"]["ready"], true);
    let services = json!({
        "users": {"ready": true},
        "orders": {"ready": false, "why": why},
        "payments": {"ready": false, "why": "it cannot be reached"},
    });
    assert_eq!(body["services"], services);
    // They are not asked for each caller.
    ready.stop().await;
    let again = answer(door.http.get(door.url("/health"))).await;
    assert_eq!(again.2["services"], services);
    pass(Duration::from_secs(1)).await;
    let later = answer(door.http.get(door.url("/health"))).await;
    assert_eq!(later.2["services"]["users"]["ready"], false);
}

#[tokio::test]
async fn addresses_that_are_none_are_refused() {
    let refused = |change: &dyn Fn(&mut Upstreams)| {
        let mut upstreams = nobody();
        change(&mut upstreams);
        let shutdown = mainstay::shutdown::Shutdown::builder().manual();
        let routes = shop::services::gateway::routes(&upstreams, 1, &shutdown);
        routes.err().map(|error| error.to_string())
    };
    assert_eq!(refused(&|_| {}), None);
    let text = refused(&|upstreams| upstreams.orders = "no where".to_owned()).unwrap();
    assert_eq!(text, "orders = no where is refused: must be HOST:PORT");
    let text = refused(&|upstreams| upstreams.catalog = "no where".to_owned()).unwrap();
    assert!(text.starts_with("catalog = no where is refused"), "{text}");
    let text = refused(&|upstreams| upstreams.admins = vec!["users".to_owned()]).unwrap();
    assert_eq!(text, "admins = users is refused: must be NAME=HOST:PORT");
}
