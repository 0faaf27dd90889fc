//! `notifications` with a real broker, behind the gateway.

use std::sync::OnceLock;
use std::time::Duration;

use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};
use serde_json::{Value, json};
use shop::broker::{Broker, Redelivery, dead_letters};
use shop::config::Upstreams;
use shop::message::{Kind, Message};
use shop::services::notifications::{self, Notifications};
use tower::ServiceExt;

use crate::common;
use crate::support::{Door, LONG, Server, answer, nobody, problem, until};

const REDELIVERY: Redelivery = Redelivery {
    patience: Duration::from_millis(300),
    delay: Duration::from_millis(10),
    most_tries: 3,
};

fn event(pattern: &str, user: &str, reason: &str) -> Message {
    let payload = json!({
        "order": "o-1", "user": user, "state": "any", "total": 7_805, "reason": reason,
    });
    Message::new(Kind::Event, pattern, payload)
}

/// A broker, `users`, `notifications` and the gateway.
struct Shop {
    broker: common::Server,
    client: Broker,
    notifications: Notifications,
    served: Server,
    _users: Server,
    door: Door,
}

impl Shop {
    async fn open() -> Self {
        let broker = common::Server::start(false).await.unwrap();
        let client = broker.client().await;
        Self::with(broker, client, Notifications::in_memory().unwrap()).await
    }

    async fn with(broker: common::Server, client: Broker, notifications: Notifications) -> Self {
        let of_service = (client.clone(), REDELIVERY);
        let kept = notifications.clone();
        let served = Server::start(async move |listener, shutdown| {
            notifications::serve(listener, kept, of_service, &shutdown).await
        });
        let (served, users) = (served.await, Server::users().await);
        let upstreams = Upstreams {
            users: users.address.clone(),
            notifications: served.address.clone(),
            ..nobody()
        };
        let door = Door::open(&upstreams).await;
        Self {
            broker,
            client,
            notifications,
            served,
            _users: users,
            door,
        }
    }

    async fn publish(&self, event: &Message) {
        assert!(self.client.publish("orders", event).await.unwrap());
    }

    /// Waits until so many are kept for a user.
    async fn kept(&self, user: &str, count: usize) {
        let enough = async || {
            let kept = self.notifications.after(user, 0).await.unwrap();
            (kept.len() >= count).then_some(())
        };
        until("the events are kept", enough).await;
        assert_eq!(
            self.notifications.after(user, 0).await.unwrap().len(),
            count
        );
    }

    async fn listen(&self, user: &str, last: Option<&str>) -> Listener {
        let mut request = self.door.get("/notifications", user);
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), 200);
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Listener {
            response,
            read: String::new(),
        }
    }
}

/// A browser.
struct Listener {
    response: reqwest::Response,
    read: String,
}

impl Listener {
    /// The ID, the event and the data of the next event, or `None` at the end of the stream.
    async fn next(&mut self) -> Option<(String, String, Value)> {
        loop {
            while let Some((event, rest)) = self.read.split_once("\n\n") {
                let field = |name: &str| {
                    let value = event.lines().find_map(|line| line.strip_prefix(name));
                    value.map(|value| value.trim_start().to_owned())
                };
                let found = (field("id:"), field("event:"), field("data:"));
                self.read = rest.to_owned();
                if let (Some(id), Some(event), Some(data)) = found {
                    return Some((id, event, serde_json::from_str(&data).unwrap()));
                }
            }
            let chunk = tokio::time::timeout(LONG, self.response.chunk()).await;
            let chunk = chunk.expect("an event, or the end").unwrap()?;
            self.read += std::str::from_utf8(&chunk).unwrap();
        }
    }

    async fn id(&mut self) -> String {
        self.next().await.expect("an event").0
    }
}

#[tokio::test]
async fn a_browser_gets_events_as_they_come_and_resumes() {
    let shop = Shop::open().await;
    shop.publish(&event("order.placed", "u001", "")).await;
    shop.kept("u001", 1).await;
    let mut browser = shop.listen("u001", None).await;
    let (id, name, data) = browser.next().await.unwrap();
    assert_eq!((&*id, &*name), ("1", "order.placed"));
    assert_eq!(data["order"], "o-1");
    assert_eq!(data["text"], "Your order o-1 over 78.05 is placed.");
    // While it listens: only its own.
    shop.publish(&event("order.confirmed", "u002", "")).await;
    shop.publish(&event("order.compensated", "u001", "no money"))
        .await;
    let (id, _, data) = browser.next().await.unwrap();
    assert_eq!(id, "3");
    assert_eq!(
        data["text"],
        "Your order o-1 over 78.05 is cancelled: no money."
    );
    drop(browser);

    shop.publish(&event("order.placed", "u001", "")).await;
    shop.kept("u001", 3).await;
    let mut browser = shop.listen("u001", Some("3")).await;
    assert_eq!(browser.id().await, "4");
    let mut from_start = shop.listen("u001", Some("0")).await;
    for id in ["1", "3", "4"] {
        assert_eq!(from_start.id().await, id);
    }
    // Of another database: it gets what is there.
    let mut stranger = shop.listen("u001", Some("900")).await;
    assert_eq!(stranger.id().await, "1");
    for last in ["-1", "x"] {
        let refused = shop
            .door
            .get("/notifications", "u001")
            .header("last-event-id", last);
        let detail = problem(answer(refused).await, 400);
        let text = format!("last-event-id = {last:?} is refused: must be the id of an event");
        assert_eq!(detail, text);
    }
}

#[tokio::test]
async fn a_new_browser_begins_with_the_newest() {
    let shop = Shop::open().await;
    for _ in 0..25 {
        shop.publish(&event("order.placed", "u001", "")).await;
    }
    shop.kept("u001", 25).await;
    assert_eq!(shop.listen("u001", None).await.id().await, "6");
}

#[tokio::test]
async fn streams_end_at_the_shutdown() {
    let shop = Shop::open().await;
    let mut browser = shop.listen("u001", None).await;
    shop.served.stop().await;
    assert_eq!(browser.next().await, None);
    // The gateway ends its own part, too.
    let shop = Shop::open().await;
    let mut browser = shop.listen("u001", None).await;
    shop.door.server.stop().await;
    assert_eq!(browser.next().await, None);
}

#[tokio::test]
async fn an_event_that_comes_twice_is_kept_once() {
    recorder();
    let broker = common::Server::start(false).await.unwrap();
    let client = broker.client().await;
    let twice = event("order.placed", "u001", "");
    client.publish("orders", &twice).await.unwrap();
    // A consumer that dies after its work and before the acknowledgement.
    let notifications = Notifications::in_memory().unwrap();
    let group = "notifications";
    let dying = client.consumer("orders", group, "dying", REDELIVERY).await;
    let taken = dying.unwrap().take(1, LONG).await.unwrap();
    assert_eq!(taken[0].message, twice);
    drop(notifications.clone().oneshot(twice).await.unwrap());
    let shop = Shop::with(broker, client, notifications).await;
    shop.publish(&event("order.confirmed", "u001", "")).await;
    // It is delivered again, and then it is done.
    let again = async || (count("shop_events_total{result=\"known\"}") >= 1).then_some(());
    until("the event is delivered again", again).await;
    shop.kept("u001", 2).await;
}

#[tokio::test]
async fn poison_becomes_a_dead_letter_and_holds_up_nobody() {
    recorder();
    let shop = Shop::open().await;
    let poison = [
        Message::new(Kind::Event, "order.placed", json!({"order": 1})),
        Message::new(Kind::Event, "order.placed", json!("no order")),
        event("order.eaten", "u001", ""),
    ];
    for poison in &poison {
        shop.publish(poison).await;
    }
    shop.publish(&event("order.placed", "u001", "")).await;
    shop.kept("u001", 1).await;
    let stream = dead_letters("orders");
    let dead = shop
        .client
        .consumer(&stream, "operator", "me", REDELIVERY)
        .await;
    let (mut dead, mut reasons) = (dead.unwrap(), Vec::new());
    while reasons.len() < poison.len() {
        for letter in dead.take(9, LONG).await.unwrap() {
            assert_eq!(letter.message.context["dead-in"], "notifications");
            reasons.push(letter.message.context["dead-because"].clone());
            dead.ack(&letter).await.unwrap();
        }
    }
    reasons.sort();
    assert_eq!(reasons[0], "order.eaten: notifications knows no such event");
    assert!(reasons[1].starts_with("order.placed: "), "{reasons:?}");
    assert_eq!(count("shop_dead_letters_total{group=\"notifications\"}"), 3);
    shop.kept("u001", 1).await;
}

#[tokio::test]
async fn a_user_has_a_limited_number_of_streams() {
    let shop = Shop::open().await;
    let mut open = Vec::new();
    for _ in 0..8 {
        open.push(shop.listen("u001", None).await);
    }
    let ninth = answer(shop.door.get("/notifications", "u001")).await;
    assert_eq!(
        problem(ninth, 429),
        "u001 has 8 streams open, which is the limit: close one first"
    );
    let _other = shop.listen("u002", None).await;
    open.pop();
    let freed = async || {
        let again = shop.door.get("/notifications", "u001").send().await;
        (again.unwrap().status() == 200).then_some(())
    };
    until("the stream that is closed is counted no more", freed).await;
}

#[tokio::test]
async fn events_wait_while_the_disk_is_full() {
    let shop = Shop::open().await;
    shop.notifications
        .store()
        .limit_growth(Some(0))
        .await
        .unwrap();
    let long = "x".repeat(2_000);
    for _ in 0..20 {
        shop.publish(&event("order.compensated", "u001", &long))
            .await;
    }
    // Longer than all tries of a poison message take.
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(shop.notifications.after("u001", 0).await.unwrap().len() < 20);
    shop.notifications.store().limit_growth(None).await.unwrap();
    shop.kept("u001", 20).await;
}

#[tokio::test]
async fn a_broker_that_comes_back_is_used_again() {
    let mut shop = Shop::open().await;
    shop.publish(&event("order.placed", "u001", "")).await;
    shop.kept("u001", 1).await;
    shop.broker.kill().await;
    shop.broker.run().await;
    let next = event("order.confirmed", "u001", "");
    let publish = async || shop.client.publish("orders", &next).await.ok();
    until("the event is published", publish).await;
    shop.kept("u001", 2).await;
}

fn recorder() -> &'static PrometheusHandle {
    static RECORDER: OnceLock<PrometheusHandle> = OnceLock::new();
    RECORDER.get_or_init(|| PrometheusBuilder::new().install_recorder().unwrap())
}

/// The value of a counter.
fn count(series: &str) -> u32 {
    let metrics = recorder().render();
    let found = metrics.lines().find_map(|line| line.strip_prefix(series));
    found.map_or(0, |value| value.trim().parse().unwrap())
}
