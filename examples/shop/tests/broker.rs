//! The brokers on real sockets: the embedded one, and Redis where a server is installed.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use common::{LONG, Server, until_done};
use serde_json::json;
use shop::broker::requests::{self, Requests};
use shop::broker::{Broker, Consumer, Redelivery, dead_letters};
use shop::message::{Code, Failure, Kind, Message};
use shop::stacks::Messages;
use shop::tcp::Reply;
use tower::{ServiceExt, service_fn};

const REDELIVERY: Redelivery = Redelivery {
    patience: Duration::from_millis(300),
    delay: Duration::ZERO,
    most_tries: 3,
};

fn event(id: &str) -> Message {
    let mut event = Message::new(Kind::Event, "order.confirmed", json!({ "order": id }));
    event.id = id.to_owned();
    event
}

async fn consumer(broker: &Broker, group: &str, name: &str) -> Consumer {
    broker
        .consumer("orders", group, name, REDELIVERY)
        .await
        .unwrap()
}

/// Waits for one message, whatever the broker returns in between.
async fn one(consumer: &mut Consumer) -> shop::broker::Delivery {
    let began = Instant::now();
    loop {
        if let Some(one) = consumer.take(1, LONG).await.unwrap().pop() {
            return one;
        }
        assert!(began.elapsed() < LONG, "no message");
    }
}

async fn a_consumer_that_waits_gets_a_message_at_once(server: Server) {
    let broker = server.client().await;
    let mut mail = consumer(&broker, "mail", "a").await;
    let waiting = tokio::spawn(async move { (one(&mut mail).await, mail) });
    tokio::task::yield_now().await;
    assert!(broker.publish("orders", &event("1")).await.unwrap());
    assert!(
        !broker.publish("orders", &event("1")).await.unwrap(),
        "repeated"
    );
    let (found, mut mail) = waiting.await.unwrap();
    assert_eq!(found.message, event("1"));
    assert_eq!(found.tries, 1);
    assert!(found.age < LONG);
    assert!(mail.ack(&found).await.unwrap());
    assert!(!mail.ack(&found).await.unwrap(), "once");
    let none = mail.take(9, Duration::from_millis(1)).await.unwrap();
    assert!(none.is_empty());
    // A group that comes later has it, too: it begins with the oldest, if that is still there.
    broker.publish("orders", &event("2")).await.unwrap();
    let mut stock = consumer(&broker, "stock", "b").await;
    while one(&mut stock).await.message.id != "2" {}
}

async fn a_consumer_that_is_gone_is_replaced(server: Server) {
    let broker = server.client().await;
    let mut gone = consumer(&broker, "mail", "gone").await;
    broker.publish("orders", &event("1")).await.unwrap();
    assert_eq!(one(&mut gone).await.tries, 1);
    let mut other = consumer(&broker, "mail", "other").await;
    let again = one(&mut other).await;
    assert_eq!((&*again.message.id, again.tries), ("1", 2));
    assert!(other.ack(&again).await.unwrap());
}

async fn a_message_that_always_fails_becomes_a_dead_letter(server: Server) {
    let broker = server.client().await;
    let mut mail = consumer(&broker, "mail", "a").await;
    broker.publish("orders", &event("poison")).await.unwrap();
    broker.publish("orders", &event("good")).await.unwrap();
    let (mut tries, mut others) = (Vec::new(), 0);
    loop {
        let found = one(&mut mail).await;
        if found.message.id == "good" {
            assert!(mail.ack(&found).await.unwrap());
            others += 1;
            continue;
        }
        tries.push(found.tries);
        if mail.fail(&found, "no address").await.unwrap() {
            break;
        }
    }
    assert_eq!(tries, [1, 2, 3]);
    let dead = dead_letters("orders");
    let mut people = broker
        .consumer(&dead, "people", "me", REDELIVERY)
        .await
        .unwrap();
    let letter = one(&mut people).await.message;
    assert_eq!(letter.id, "poison@mail");
    assert_eq!(letter.context["dead-because"], "no address");
    assert_eq!(letter.payload, json!({ "order": "poison" }));
    // It held up nobody, and does not come again.
    if others == 0 {
        let found = one(&mut mail).await;
        assert_eq!(found.message.id, "good");
        assert!(mail.ack(&found).await.unwrap());
    }
    let rest = mail.take(9, Duration::from_millis(400)).await.unwrap();
    assert!(rest.is_empty());
}

async fn a_broker_that_is_killed_loses_nothing(mut server: Server) {
    let broker = server.client().await;
    let mut mail = consumer(&broker, "mail", "a").await;
    for id in 0..50 {
        broker
            .publish("orders", &event(&id.to_string()))
            .await
            .unwrap();
    }
    let in_hand = one(&mut mail).await;
    assert_eq!(in_hand.message.id, "0");
    server.kill().await;
    let lost = broker.publish("orders", &event("50")).await.unwrap_err();
    assert!(lost.code.is_transient(), "{lost}");
    server.run().await;
    // Nobody knows whether it was stored, so it is sent again.
    until_done(async || broker.publish("orders", &event("50")).await).await;
    let mut found = Vec::new();
    while found.len() < 51 {
        for one in until_done(async || mail.take(9, Duration::from_millis(200)).await).await {
            if until_done(async || mail.ack(&one).await).await {
                found.push(one.message.id);
            }
        }
    }
    let mut expected: Vec<_> = (0..51).map(|id| id.to_string()).collect();
    expected.sort();
    found.sort();
    assert_eq!(found, expected);
}

async fn what_cannot_be_understood_is_refused(server: Server) {
    let broker = server.client().await;
    let mut newer = event("1");
    newer.version = 99;
    let refused = broker.publish("orders", &newer).await.unwrap_err();
    assert_eq!(refused.code, Code::Invalid);
    let refused = broker.publish("orders", &event("")).await.unwrap_err();
    assert!(
        refused.message.contains("id of 0 bytes is refused"),
        "{refused}"
    );
}

/// A connection past the broker's own client.
async fn raw(server: &Server) -> ::redis::aio::MultiplexedConnection {
    let client = ::redis::Client::open(server.url()).unwrap();
    client.get_multiplexed_async_connection().await.unwrap()
}

#[tokio::test]
async fn redis_forgets_what_all_groups_have_done() {
    let Some(server) = Server::start(true).await else {
        return;
    };
    let broker = server.client().await;
    let mut mail = consumer(&broker, "mail", "a").await;
    let mut stock = consumer(&broker, "stock", "a").await;
    for number in 0..600 {
        let event = event(&number.to_string());
        broker.publish("orders", &event).await.unwrap();
    }
    let length = async || -> u64 {
        let mut query = ::redis::cmd("XLEN");
        query
            .arg("orders")
            .query_async(&mut raw(&server).await)
            .await
            .unwrap()
    };
    let done = async |consumer: &mut Consumer, count: usize| {
        for _ in 0..count {
            let found = one(consumer).await;
            assert!(consumer.ack(&found).await.unwrap());
        }
    };
    done(&mut mail, 600).await;
    assert_eq!(length().await, 600, "stock has not seen them");
    done(&mut stock, 300).await;
    let left = length().await;
    assert!((300..600).contains(&left), "{left}");
    done(&mut stock, 300).await;
    assert!(length().await < 300);
}

#[tokio::test]
async fn what_others_write_to_redis_becomes_a_dead_letter() {
    let Some(server) = Server::start(true).await else {
        return;
    };
    let broker = server.client().await;
    let mut mail = consumer(&broker, "mail", "a").await;
    let newer = r#"{"version":99,"id":"1","pattern":"order.placed","kind":"event"}"#;
    for (field, value) in [("message", "{}"), ("text", "hello"), ("message", newer)] {
        let mut add = ::redis::cmd("XADD");
        let add = add.arg("orders").arg("*").arg(field).arg(value);
        let _: String = add.query_async(&mut raw(&server).await).await.unwrap();
    }
    broker.publish("orders", &event("good")).await.unwrap();
    assert_eq!(one(&mut mail).await.message.id, "good");
    let dead = dead_letters("orders");
    let people = broker.consumer(&dead, "people", "me", REDELIVERY).await;
    let mut people = people.unwrap();
    let mut reasons = Vec::new();
    for _ in 0..3 {
        let letter = one(&mut people).await;
        people.ack(&letter).await.unwrap();
        reasons.push(letter.message.context["dead-because"].clone());
    }
    assert!(reasons[0].contains("missing field"), "{reasons:?}");
    assert!(reasons[1].contains("no message"), "{reasons:?}");
    assert!(
        reasons[2].contains("version = 99 is refused"),
        "{reasons:?}"
    );
}

/// Counts its calls, and shouts.
fn shouting(calls: &Arc<AtomicU32>) -> Messages {
    let calls = Arc::clone(calls);
    Messages::new(service_fn(move |request: Message| {
        calls.fetch_add(1, Ordering::SeqCst);
        async move {
            let text: String = request.read()?;
            if text.is_empty() {
                return Err(Failure::new(Code::Declined, "nothing to shout"));
            }
            Ok(Reply::One(json!(text.to_uppercase())))
        }
    }))
}

/// A request with a time limit.
async fn ask(requests: &Requests, text: &str, limit: Duration) -> Result<String, Failure> {
    let request = Message::request("voice.shout", json!(text));
    let call = requests.clone().oneshot(request);
    let context = mainstay::Context::default().with_timeout(limit);
    match context.scope(call).await? {
        Reply::One(answer) => Ok(answer.as_str().unwrap().to_owned()),
        Reply::Stream(_) => panic!("a stream"),
    }
}

async fn a_request_is_answered_or_its_time_ends(server: Server) {
    let broker = server.client().await;
    let calls = Arc::new(AtomicU32::new(0));
    let requests = Requests::new(broker.clone(), "test", "voice");
    let nobody = ask(&requests, "a", Duration::from_millis(300)).await;
    assert_eq!(nobody.unwrap_err().code, Code::DeadlineExceeded);
    // It was published later than it began to wait.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let serving = requests::serve(broker, "voice", shouting(&calls), std::future::pending());
    let serving = tokio::spawn(serving);
    assert_eq!(ask(&requests, "b", LONG).await.unwrap(), "B");
    let declined = ask(&requests, "", LONG).await.unwrap_err();
    assert_eq!(declined, Failure::new(Code::Declined, "nothing to shout"));
    // The time of the first was over when the server came.
    assert_eq!(calls.load(Ordering::SeqCst), 2);
    serving.abort();
}

async fn a_broker_that_is_killed_delays_requests(mut server: Server) {
    let broker = server.client().await;
    let calls = Arc::new(AtomicU32::new(0));
    let requests = Requests::new(broker.clone(), "test", "voice");
    let serving = requests::serve(broker, "voice", shouting(&calls), std::future::pending());
    let serving = tokio::spawn(serving);
    assert_eq!(ask(&requests, "a", LONG).await.unwrap(), "A");
    server.kill().await;
    let failed = ask(&requests, "b", Duration::from_millis(200)).await;
    assert!(failed.unwrap_err().code.is_transient());
    server.run().await;
    let short = Duration::from_secs(2);
    let answer = until_done(async || ask(&requests, "c", short).await).await;
    assert_eq!(answer, "C");
    serving.abort();
}

async fn a_message_that_is_done_is_not_appended_again(server: Server) {
    let broker = server.client().await;
    let mut mail = consumer(&broker, "mail", "a").await;
    assert!(broker.publish("orders", &event("1")).await.unwrap());
    let found = one(&mut mail).await;
    assert!(mail.ack(&found).await.unwrap());
    assert!(!broker.publish("orders", &event("1")).await.unwrap());
    let none = mail.take(9, Duration::from_millis(1)).await.unwrap();
    assert!(none.is_empty(), "{none:?}");
}

async fn long_messages_come_in_parts(server: Server) {
    let broker = server.client().await;
    let mut mail = consumer(&broker, "mail", "a").await;
    for id in 0..20 {
        let mut long = event(&id.to_string());
        long.payload = json!("x".repeat(100_000));
        broker.publish("orders", &long).await.unwrap();
    }
    let (mut count, began) = (0, Instant::now());
    while count < 20 {
        let taken = mail.take(100, Duration::from_millis(100)).await.unwrap();
        for found in taken {
            assert_eq!(found.tries, 1);
            mail.ack(&found).await.unwrap();
            count += 1;
        }
        assert!(began.elapsed() < LONG, "{count}");
    }
    let mut longest = event("longest");
    longest.payload = json!("x".repeat(300_000));
    let refused = broker.publish("orders", &longest).await.unwrap_err();
    assert!(
        refused.message.contains("must be at most 262144 bytes"),
        "{refused}"
    );
}

#[tokio::test]
async fn requests_go_on_after_redis_has_lost_its_data() {
    let Some(server) = Server::start(true).await else {
        return;
    };
    let broker = server.client().await;
    let calls = Arc::new(AtomicU32::new(0));
    let requests = Requests::new(broker.clone(), "test", "voice");
    let serving = requests::serve(broker, "voice", shouting(&calls), std::future::pending());
    let serving = tokio::spawn(serving);
    assert_eq!(ask(&requests, "a", LONG).await.unwrap(), "A");
    let flush = ::redis::cmd("FLUSHALL");
    let _: () = flush.query_async(&mut raw(&server).await).await.unwrap();
    let short = Duration::from_secs(2);
    let answer = until_done(async || ask(&requests, "b", short).await).await;
    assert_eq!(answer, "B");
    serving.abort();
}

/// A script that fails in the middle is not undone.
#[tokio::test]
async fn an_event_that_redis_could_not_append_is_not_taken_for_known() {
    let Some(server) = Server::start(true).await else {
        return;
    };
    let broker = server.client().await;
    let mut connection = raw(&server).await;
    let mut set = ::redis::cmd("SET");
    let set = set.arg("orders").arg("no stream");
    let _: () = set.query_async(&mut connection).await.unwrap();
    let failed = broker.publish("orders", &event("1")).await.unwrap_err();
    assert!(failed.code.is_transient(), "{failed}");
    let mut del = ::redis::cmd("DEL");
    let _: () = del
        .arg("orders")
        .query_async(&mut connection)
        .await
        .unwrap();
    assert!(broker.publish("orders", &event("1")).await.unwrap());
}

macro_rules! with_both {
    ($($test:ident)*) => {
        mod embedded {$(
            #[tokio::test]
            async fn $test() {
                super::$test(super::Server::start(false).await.unwrap()).await;
            }
        )*}

        mod redis {$(
            #[tokio::test]
            async fn $test() {
                if let Some(server) = super::Server::start(true).await {
                    super::$test(server).await;
                }
            }
        )*}
    };
}

with_both! {
    a_consumer_that_waits_gets_a_message_at_once
    a_consumer_that_is_gone_is_replaced
    a_message_that_always_fails_becomes_a_dead_letter
    a_broker_that_is_killed_loses_nothing
    what_cannot_be_understood_is_refused
    a_request_is_answered_or_its_time_ends
    a_broker_that_is_killed_delays_requests
    a_message_that_is_done_is_not_appended_again
    long_messages_come_in_parts
}
