//! The gateway with a stand-in for `orders`.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};
use shop::config::Upstreams;
use shop::web;

use crate::support::{Door, Server, answer, nobody, problem};

/// What arrived: the headers of each request.
#[derive(Clone, Default)]
struct Arrived(Arc<Mutex<Vec<HeaderMap>>>);

impl Arrived {
    fn all(&self, header: &str) -> Vec<String> {
        let arrived = self.0.lock().unwrap();
        let text = |headers: &HeaderMap| headers[header].to_str().unwrap().to_owned();
        arrived.iter().map(text).collect()
    }
}

/// Does what the first product of the order says.
async fn place(
    State(arrived): State<Arrived>,
    headers: HeaderMap,
    Json(body): Json<Value>,
) -> Response {
    let key = headers["idempotency-key"].clone();
    let times = {
        let mut arrived = arrived.0.lock().unwrap();
        arrived.push(headers);
        arrived
            .iter()
            .filter(|one| one["idempotency-key"] == key)
            .count()
    };
    let confirmed = json!({"id": "1", "state": "confirmed", "total": 7_800});
    match body["items"][0]["product"].as_str() {
        Some("busy-once") if times == 1 => {
            (StatusCode::SERVICE_UNAVAILABLE, [("retry-after", "0")]).into_response()
        }
        Some("hang") => std::future::pending().await,
        Some("declined") => {
            let compensated = json!({"id": "1", "state": "compensated", "reason": "no money"});
            (StatusCode::CONFLICT, Json(compensated)).into_response()
        }
        Some("later") => {
            let later = json!({"id": "1", "state": "charging"});
            (
                StatusCode::ACCEPTED,
                [("location", "/orders/1")],
                Json(later),
            )
                .into_response()
        }
        _ => (StatusCode::CREATED, Json(confirmed)).into_response(),
    }
}

async fn show(State(arrived): State<Arrived>, headers: HeaderMap, path: Path<String>) -> String {
    arrived.0.lock().unwrap().push(headers);
    json!({"id": *path}).to_string()
}

async fn list(State(arrived): State<Arrived>, headers: HeaderMap) -> Json<Value> {
    arrived.0.lock().unwrap().push(headers);
    Json(json!([]))
}

struct Shop {
    arrived: Arrived,
    orders: Server,
    _users: Server,
    door: Door,
}

impl Shop {
    async fn open() -> Self {
        let arrived = Arrived::default();
        let routes = Router::new()
            .route("/orders", post(place).get(list))
            .route("/orders/{id}", get(show))
            .with_state(arrived.clone());
        let orders = Server::start(async move |listener, shutdown| {
            web::serve(listener, routes, &shutdown).await
        });
        let (orders, users) = (orders.await, Server::users().await);
        let upstreams = Upstreams {
            users: users.address.clone(),
            orders: orders.address.clone(),
            ..nobody()
        };
        let door = Door::open(&upstreams).await;
        Self {
            arrived,
            orders,
            _users: users,
            door,
        }
    }

    fn order(&self, product: &str) -> reqwest::RequestBuilder {
        let body = json!({"items": [{"product": product, "quantity": 2}]});
        self.door.post("/orders", "u001").json(&body)
    }
}

#[tokio::test]
async fn an_order_is_passed_on_with_its_user_and_its_key() {
    let shop = Shop::open().await;
    let request = shop.order("tea-pot");
    let request = request
        .header("idempotency-key", "mine")
        .header("x-user", "u002");
    let request = request.header("x-correlation-id", "story-1");
    let (status, headers, body) = answer(request).await;
    assert_eq!((status, &body["state"]), (201, &json!("confirmed")));
    assert_eq!(headers["idempotency-key"], "mine");
    assert_eq!(headers["x-correlation-id"], "story-1");
    assert_eq!(shop.arrived.all("x-user"), ["u001"]);
    assert_eq!(shop.arrived.all("idempotency-key"), ["mine"]);
    assert_eq!(shop.arrived.all("x-correlation-id"), ["story-1"]);
    // Less than the gateway itself has.
    let limit: u64 = shop.arrived.all("x-request-timeout-ms")[0].parse().unwrap();
    assert!((2_000..=2_300).contains(&limit), "{limit}");

    let (status, _, body) = answer(shop.order("declined")).await;
    assert_eq!((status, &body["reason"]), (409, &json!("no money")));
    let (status, headers, _) = answer(shop.order("later")).await;
    assert_eq!(
        (status, headers["location"].to_str().unwrap()),
        (202, "/orders/1")
    );
    // The gateway made a key, and tells it.
    assert_eq!(
        headers["idempotency-key"],
        *shop.arrived.all("idempotency-key")[2]
    );
}

#[tokio::test]
async fn an_order_is_repeated_with_the_same_key() {
    let shop = Shop::open().await;
    let (status, ..) = answer(shop.order("busy-once")).await;
    assert_eq!(status, 201);
    let keys = shop.arrived.all("idempotency-key");
    assert_eq!(keys.len(), 2);
    assert_eq!(keys[0], keys[1]);
}

#[tokio::test]
async fn orders_are_read_as_their_user() {
    let shop = Shop::open().await;
    let id = "01938a3c-0000-7000-8000-000000000001";
    let (status, _, body) = answer(shop.door.get(&format!("/orders/{id}"), "u001")).await;
    assert_eq!((status, &body["id"]), (200, &json!(id)));
    let (status, _, body) = answer(shop.door.get("/orders", "u003")).await;
    assert_eq!((status, body), (200, json!([])));
    assert_eq!(shop.arrived.all("x-user"), ["u001", "u003"]);
    // Whatever could leave the path is no ID.
    for id in ["7", "..%2Fadmin", "%3Fall=1"] {
        problem(
            answer(shop.door.get(&format!("/orders/{id}"), "u001")).await,
            404,
        );
    }
    assert_eq!(shop.arrived.all("x-user").len(), 2);
}

#[tokio::test]
async fn bad_input_is_refused_at_the_door() {
    let shop = Shop::open().await;
    let long = "k".repeat(65);
    for key in ["", "two words", &long] {
        let request = shop.order("tea-pot").header("idempotency-key", key);
        let detail = problem(answer(request).await, 400);
        let text = format!(
            "idempotency-key = {key:?} is refused: must have from 1 to 64 visible ASCII characters"
        );
        assert_eq!(detail, text);
    }
    let huge = shop
        .door
        .post("/orders", "u001")
        .body(vec![b' '; 65 * 1024]);
    problem(answer(huge).await, 413);
    assert!(shop.arrived.all("x-user").is_empty());
}

#[tokio::test]
async fn an_upstream_that_hangs_is_named_before_the_deadline() {
    let shop = Shop::open().await;
    let request = shop.order("hang").header("x-request-timeout-ms", "1000");
    let begin = Instant::now();
    let hung = answer(request).await;
    // An attempt without a deadline takes longer.
    assert!(begin.elapsed() < Duration::from_secs(2));
    assert!(hung.1.contains_key("retry-after"));
    // With it, the same order can be tried again.
    assert!(hung.1.contains_key("idempotency-key"));
    assert_eq!(hung.2["upstream"], "orders");
    assert_eq!(problem(hung, 504), "orders did not answer in time");
}

#[tokio::test]
async fn a_dead_upstream_is_named_and_then_not_called() {
    let Shop {
        orders,
        door,
        _users,
        ..
    } = Shop::open().await;
    orders.stop().await;
    let mut details = HashMap::new();
    for _ in 0..8 {
        let dead = answer(door.get("/orders", "u001")).await;
        let after = dead.1["retry-after"].to_str().unwrap();
        assert!((1..=5).contains(&after.parse::<u32>().unwrap()), "{after}");
        assert_eq!(dead.2["upstream"], "orders");
        *details.entry(problem(dead, 503)).or_insert(0) += 1;
    }
    let mut details: Vec<_> = details.into_keys().collect();
    details.sort();
    let expected = [
        "orders cannot be reached",
        "orders has failed too often, so it is not called for a while",
    ];
    assert_eq!(details, expected);
}
