//! Orders with their stock and payments on real sockets, killed and started again.

mod common;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::{LONG, Postgres, Server, free_port};
use mainstay::shutdown::Shutdown;
use rusqlite::Connection;
use serde_json::{Value, json};
use shop::broker::Redelivery;
use shop::demo;
use shop::message::{Code, Failure};
use shop::services::orders::prices::{Catalog, Prices};
use shop::services::orders::store::Orders;
use shop::services::orders::{self, Services, outbox};
use shop::services::payments::Payments;
use shop::services::stock::Stock;
use shop::stacks;
use shop::tcp::{Limits, serve};
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;
use tower::service_fn;

/// A shop in this process, without gateway and catalogue.
struct Shop {
    folder: PathBuf,
    broker: Server,
    payments: (u16, Option<JoinHandle<()>>),
    stock: (u16, JoinHandle<()>),
    orders: (u16, Option<Runtime>),
    postgres: Option<Postgres>,
    http: reqwest::Client,
}

impl Shop {
    async fn open(postgres: Option<Postgres>) -> Self {
        let broker = Server::start(false).await.unwrap();
        let folder = std::env::temp_dir().join(format!("shop-orders-{}", uuid::Uuid::now_v7()));
        let stock = Stock::open(&folder).unwrap();
        stock.seed().await.unwrap();
        let stock = spawn(
            "stock",
            free_port(),
            stacks::server("stock", stock).unwrap(),
        )
        .await;
        let mut shop = Self {
            broker,
            payments: (free_port(), None),
            stock,
            orders: (free_port(), None),
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            folder,
            postgres,
        };
        shop.start_payments().await;
        shop.start_orders().await;
        shop
    }

    async fn start_payments(&mut self) {
        let payments = Payments::open(&self.folder).unwrap();
        payments.seed().await.unwrap();
        let service = stacks::server("payments", payments).unwrap();
        let (port, task) = spawn("payments", self.payments.0, service).await;
        self.payments = (port, Some(task));
    }

    async fn start_orders(&mut self) {
        let url = self.postgres.as_ref().map(Postgres::url);
        let orders = Orders::open(&self.folder, url.as_deref()).await.unwrap();
        self.start_orders_over(orders).await;
    }

    async fn start_orders_over(&mut self, orders: Orders) {
        let broker = self.broker.client().await;
        let prices = |ids: Vec<String>| async move {
            let price = |id: String| {
                let product = demo::PRODUCTS.iter().find(|product| product.id == id);
                let unknown = || Failure::new(Code::NotFound, format!("{id} is unknown"));
                product
                    .map(|found| (id.clone(), found.price))
                    .ok_or_else(unknown)
            };
            ids.into_iter()
                .map(price)
                .collect::<Result<HashMap<_, _>, _>>()
        };
        let services = Services {
            prices: Prices::new(Catalog::new(service_fn(prices))),
            stock: orders::stock(&address(self.stock.0), &broker).unwrap(),
            payments: orders::payments(&address(self.payments.0)).unwrap(),
        };
        // A runtime of its own, which can be killed with all its tasks.
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let listener = std::net::TcpListener::bind(address(self.orders.0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        runtime.spawn(async move {
            let listener = TcpListener::from_std(listener).unwrap();
            let shutdown = Shutdown::builder().manual();
            orders::serve(listener, orders, broker, services, &shutdown)
                .await
                .unwrap();
        });
        self.orders.1 = Some(runtime);
    }

    /// Nothing of it goes on, and its port is free.
    async fn kill_orders(&mut self) {
        let runtime = self.orders.1.take().unwrap();
        let end = move || runtime.shutdown_timeout(LONG);
        tokio::task::spawn_blocking(end).await.unwrap();
    }

    async fn place(&self, user: &str, key: &str, product: &str, quantity: u32) -> (u16, Value) {
        let body = json!({ "items": [{ "product": product, "quantity": quantity }] });
        self.post(user, key, &body, LONG).await
    }

    async fn post(&self, user: &str, key: &str, body: &Value, limit: Duration) -> (u16, Value) {
        let request = self
            .http
            .post(format!("http://{}/orders", address(self.orders.0)));
        let limit = limit.as_millis().to_string();
        let response = request
            .header("x-user", user)
            .header("idempotency-key", key)
            .header("x-request-timeout-ms", limit)
            .header("x-correlation-id", format!("c-{key}"))
            .json(body)
            .send()
            .await
            .unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    async fn get(&self, user: &str, id: &str) -> (u16, Value) {
        let request = self
            .http
            .get(format!("http://{}/orders/{id}", address(self.orders.0)));
        let response = request.header("x-user", user).send().await.unwrap();
        (response.status().as_u16(), response.json().await.unwrap())
    }

    async fn ends_as(&self, user: &str, id: &str, state: &str) {
        let began = Instant::now();
        loop {
            let (_, order) = self.get(user, id).await;
            if order["state"] == state {
                return;
            }
            assert!(began.elapsed() < LONG, "{order}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn number(&self, service: &str, query: &str) -> i64 {
        let database = Connection::open(self.folder.join(format!("{service}.db"))).unwrap();
        database.query_row(query, [], |row| row.get(0)).unwrap()
    }

    /// Patterns and orders of all events that were published.
    async fn events(&self, count: usize) -> Vec<(String, String)> {
        let broker = self.broker.client().await;
        let redelivery = Redelivery::default();
        let mut consumer = broker
            .consumer(outbox::STREAM, "test", "test", redelivery)
            .await
            .unwrap();
        let mut found = Vec::new();
        let began = Instant::now();
        while found.len() < count {
            assert!(began.elapsed() < LONG, "{found:?}");
            let taken = consumer.take(100, Duration::from_millis(100)).await;
            for one in taken.unwrap_or_default() {
                consumer.ack(&one).await.unwrap();
                assert!(one.message.context["x-correlation-id"].starts_with("c-"));
                let order = one.message.payload["order"].as_str().unwrap().to_owned();
                found.push((one.message.pattern, order));
            }
        }
        found
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        if let Some(runtime) = self.orders.1.take() {
            runtime.shutdown_background();
        }
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

fn address(port: u16) -> String {
    format!("127.0.0.1:{port}")
}

async fn spawn(name: &'static str, port: u16, service: stacks::Messages) -> (u16, JoinHandle<()>) {
    let listener = TcpListener::bind(address(port)).await.unwrap();
    let serving = serve(listener, service, Limits::default(), std::future::pending());
    (
        port,
        tokio::spawn(async move { serving.await.expect(name) }),
    )
}

/// As a killed process: nothing of it goes on.
async fn kill(task: &mut Option<JoinHandle<()>>) {
    let task = task.take().unwrap();
    task.abort();
    let _ = task.await;
}

async fn an_order_is_confirmed_once(postgres: Option<Postgres>) {
    let shop = Shop::open(postgres).await;
    let (status, order) = shop.place("u001", "a", "tea-pot", 2).await;
    assert_eq!(
        (status, &order["state"]),
        (201, &json!("confirmed")),
        "{order}"
    );
    assert_eq!(order["total"], 7_800);
    let (again, same) = shop.place("u001", "a", "tea-pot", 2).await;
    assert_eq!((again, &same), (201, &order));
    let (status, text) = shop.place("u001", "a", "tea-pot", 3).await;
    assert_eq!(status, 422, "{text}");
    let (status, other) = shop.place("u002", "a", "tea-pot", 3).await;
    assert_eq!(status, 201, "the key of another user");
    assert_ne!(other["id"], order["id"]);
    let id = order["id"].as_str().unwrap();
    assert_eq!(shop.get("u001", id).await, (200, order.clone()));
    assert_eq!(shop.get("u002", id).await.0, 404, "another's");
    let sold = "select sold from products where id = 'tea-pot'";
    assert_eq!(shop.number("stock", sold), 5);
    let balance = "select balance from accounts where user = 'u001'";
    assert_eq!(shop.number("payments", balance), 100_000_000 - 7_800);
    let events = shop.events(4).await;
    let of_order = events.iter().filter(|(_, of)| of == id);
    let of_order: Vec<_> = of_order.map(|(pattern, _)| pattern.as_str()).collect();
    assert_eq!(of_order, ["order.placed", "order.confirmed"]);
}

async fn an_order_that_cannot_be_is_compensated(postgres: Option<Postgres>) {
    let shop = Shop::open(postgres).await;
    let (status, order) = shop.place("u099", "poor", "tea-pot", 1).await;
    assert_eq!(
        (status, &order["state"]),
        (409, &json!("compensated")),
        "{order}"
    );
    assert_eq!(order["reason"], "the account does not cover it");
    let (status, order) = shop.place("u001", "none", "signed-poster", 1).await;
    assert_eq!(
        (status, &order["state"]),
        (409, &json!("compensated")),
        "{order}"
    );
    assert_eq!(order["reason"], "there is not enough of signed-poster");
    let available = "select sum(available) from products where id in ('tea-pot', 'signed-poster')";
    assert_eq!(shop.number("stock", available), 1_000_000);
    assert_eq!(
        shop.number(
            "payments",
            "select count(*) from charges where state = 'charged'"
        ),
        0
    );
}

#[tokio::test]
async fn bad_input_is_refused_with_its_field_and_rule() {
    let shop = Shop::open(None).await;
    let cases = [
        (
            json!({ "items": [] }),
            400,
            "items has 0 products: must be from 1 to 50",
        ),
        (
            json!({ "items": [{ "product": "tea-pot", "quantity": 0 }] }),
            400,
            "items[0].quantity = 0 is refused: must be from 1 to 1000",
        ),
        (
            json!({ "items": [{ "product": "kettle", "quantity": 1 }, { "product": "kettle", "quantity": 1 }] }),
            400,
            "items[1].product = \"kettle\" is refused: each product must be there once",
        ),
        (
            json!({ "items": [{ "product": "ufo", "quantity": 1 }] }),
            404,
            "ufo",
        ),
        (json!({ "things": 1 }), 400, "unknown field `things`"),
        (
            json!({ "items": [{ "product": "kettle", "quantity": 1, "colour": "red" }] }),
            400,
            "unknown field `colour`",
        ),
        (json!([1]), 400, "the body"),
    ];
    for (number, (body, expected, text)) in cases.into_iter().enumerate() {
        let (status, answer) = shop.post("u001", &number.to_string(), &body, LONG).await;
        assert_eq!(status, expected, "{answer}");
        assert!(
            answer["detail"].as_str().unwrap().contains(text),
            "{answer}"
        );
    }
    let body = json!({ "items": [{ "product": "kettle", "quantity": 1 }] });
    let (status, answer) = shop.post("u001", "two words", &body, LONG).await;
    assert_eq!(status, 400);
    let rule = "idempotency-key = \"two words\" is refused: must have from 1 to 64 visible";
    assert!(
        answer["detail"].as_str().unwrap().starts_with(rule),
        "{answer}"
    );
    assert_eq!(shop.number("orders", "select count(*) from orders"), 0);
}

#[tokio::test]
async fn a_user_cannot_keep_others_from_ordering() {
    let mut shop = Shop::open(None).await;
    kill(&mut shop.payments.1).await;
    let body = json!({ "items": [{ "product": "filter-papers", "quantity": 1 }] });
    let limit = Duration::from_millis(500);
    let (mut accepted, mut refused) = (0, None);
    for batch in 0..100 {
        let keys: Vec<_> = (0..25).map(|number| format!("{batch}-{number}")).collect();
        let posted = keys.iter().map(|key| shop.post("u001", key, &body, limit));
        for (status, answer) in futures_util::future::join_all(posted).await {
            match status {
                202 => accepted += 1,
                429 => refused = Some(answer),
                // A slow machine.
                503 | 504 => {}
                other => panic!("{other}: {answer}"),
            }
        }
        if refused.is_some() {
            break;
        }
    }
    let refused = refused.expect("a refusal");
    let detail = refused["detail"].as_str().unwrap();
    assert!(
        detail.contains("open orders, which is the limit"),
        "{detail}"
    );
    // A batch is looked at before any of it is stored.
    assert!(accepted < 500 + 25, "{accepted}");
    let (status, _) = shop.post("u002", "a", &body, LONG).await;
    assert_eq!(status, 202);
    // What is stored is answered.
    let (status, _) = shop.post("u001", "0-0", &body, LONG).await;
    assert_eq!(status, 202);
}

#[tokio::test]
async fn an_order_waits_for_payments_that_are_dead() {
    let mut shop = Shop::open(None).await;
    kill(&mut shop.payments.1).await;
    let body = json!({ "items": [{ "product": "kettle", "quantity": 1 }] });
    let began = Instant::now();
    let limit = Duration::from_millis(1_500);
    let (status, order) = shop.post("u001", "a", &body, limit).await;
    assert!(began.elapsed() < limit, "answered in time");
    assert_eq!(
        (status, &order["state"]),
        (202, &json!("charging")),
        "{order}"
    );
    let why = order["waiting_for"].as_str().unwrap();
    assert!(why.contains("payments"), "{why}");
    assert!(!why.contains(&address(shop.payments.0)), "{why}");
    shop.start_payments().await;
    shop.ends_as("u001", order["id"].as_str().unwrap(), "confirmed")
        .await;
}

async fn an_order_goes_on_after_a_crash(postgres: Option<Postgres>) {
    let mut shop = Shop::open(postgres).await;
    kill(&mut shop.payments.1).await;
    let body = json!({ "items": [{ "product": "kettle", "quantity": 1 }] });
    let (status, order) = shop
        .post("u001", "a", &body, Duration::from_millis(500))
        .await;
    assert_eq!(status, 202, "{order}");
    shop.kill_orders().await;
    shop.start_payments().await;
    shop.start_orders().await;
    shop.ends_as("u001", order["id"].as_str().unwrap(), "confirmed")
        .await;
    assert_eq!(
        shop.number(
            "payments",
            "select count(*) from charges where state = 'charged'"
        ),
        1
    );
    assert_eq!(
        shop.number("stock", "select sold from products where id = 'kettle'"),
        1
    );
}

async fn events_wait_for_a_broker_that_is_dead(postgres: Option<Postgres>) {
    let mut shop = Shop::open(postgres).await;
    shop.broker.kill().await;
    let (status, order) = shop.place("u001", "a", "kettle", 1).await;
    assert_eq!(status, 201, "{order}");
    shop.broker.run().await;
    let patterns: Vec<_> = shop
        .events(2)
        .await
        .into_iter()
        .map(|(pattern, _)| pattern)
        .collect();
    assert_eq!(patterns, ["order.placed", "order.confirmed"]);
}

/// Its request was dropped between the commit and the start of its saga, or not.
#[tokio::test]
async fn an_order_whose_caller_is_gone_comes_to_its_end() {
    let shop = Shop::open(None).await;
    let body = json!({ "items": [{ "product": "kettle", "quantity": 1 }] });
    for number in 0..200 {
        let limit = Duration::from_micros(500 + number * 100);
        let key = format!("k{number}");
        let _ = tokio::time::timeout(limit, shop.post("u001", &key, &body, LONG)).await;
    }
    let began = Instant::now();
    let open = "select count(*) from orders where state not in ('confirmed', 'compensated')";
    while shop.number("orders", open) > 0 {
        assert!(began.elapsed() < LONG, "{}", shop.number("orders", open));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(
        shop.number("orders", "select count(*) from orders") > 0,
        "none was stored"
    );
}

#[tokio::test]
async fn a_full_disk_is_said_and_loses_nothing() {
    let mut shop = Shop::open(None).await;
    shop.kill_orders().await;
    let orders = Orders::open(&shop.folder, None).await.unwrap();
    let Orders::Sqlite(store) = orders.clone() else {
        panic!("a file")
    };
    shop.start_orders_over(orders).await;
    store.limit_growth(Some(0)).await.unwrap();
    let (mut number, mut stored) = (0, Vec::new());
    let refused = loop {
        let key = format!("k{number}");
        let body = json!({ "items": [{ "product": "kettle", "quantity": 1 }] });
        let (status, order) = shop
            .post("u001", &key, &body, Duration::from_millis(400))
            .await;
        number += 1;
        match status {
            201 | 202 => stored.push(order["id"].as_str().unwrap().to_owned()),
            503 => break order,
            other => panic!("{other}: {order}"),
        }
        assert!(number < 1_000, "the disk is not full");
    };
    assert!(
        refused["detail"].as_str().unwrap().contains("disk is full"),
        "{refused}"
    );
    store.limit_growth(None).await.unwrap();
    for id in stored {
        shop.ends_as("u001", &id, "confirmed").await;
    }
    let (status, _) = shop.place("u001", "after", "kettle", 1).await;
    assert_eq!(status, 201);
}

macro_rules! with_both {
    ($($test:ident)*) => {
        mod sqlite {$(
            #[tokio::test]
            async fn $test() {
                super::$test(None).await;
            }
        )*}

        mod postgres {$(
            #[tokio::test]
            async fn $test() {
                if let Some(postgres) = super::Postgres::start().await {
                    super::$test(Some(postgres)).await;
                }
            }
        )*}
    };
}

with_both! {
    an_order_is_confirmed_once
    an_order_that_cannot_be_is_compensated
    an_order_goes_on_after_a_crash
    events_wait_for_a_broker_that_is_dead
}
