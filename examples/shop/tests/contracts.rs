//! The contracts between services: messages as they are on the wire. A change of these files breaks
//! services that are not updated at the same moment.

use mainstay::Carry;
use serde_json::{Value, json};
use shop::message::{Code, Failure, Kind, Message};
use shop::saga::State;
use shop::services::orders::order::Order;
use shop::services::payments::{Charge, Refund};
use shop::services::stock::{Item, OfOrder, Reserve};

/// Fails unless a value is written as in the file `golden/NAME.json`, and read from it.
fn is_golden<T>(name: &str, value: &T)
where
    T: serde::Serialize + for<'de> serde::Deserialize<'de>,
{
    let file = format!("{}/tests/golden/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let golden = std::fs::read_to_string(&file).unwrap();
    let golden: Value = serde_json::from_str(&golden).unwrap();
    let written = serde_json::to_value(value).unwrap();
    assert_eq!(written, golden, "{name} is written differently");
    let read: T = serde_json::from_value(golden.clone()).unwrap();
    let again = serde_json::to_value(read).unwrap();
    assert_eq!(again, golden, "{name} is read differently");
}

fn order(state: State) -> Order {
    let compensated = state == State::Compensated;
    Order {
        id: "order-1".to_owned(),
        user: "u001".to_owned(),
        key: "key-1".to_owned(),
        state,
        total: 7_800,
        items: vec![Item {
            product: "tea-pot".to_owned(),
            quantity: 2,
        }],
        reason: compensated.then(|| "there is not enough of tea-pot".to_owned()),
        correlation_id: "c-1".to_owned(),
        placed_at: 0,
    }
}

fn with_id(mut message: Message) -> Message {
    message.id = "message-1".to_owned();
    message
}

#[test]
fn requests_between_services() {
    let order = || "order-1".to_owned();
    let items = vec![Item {
        product: "tea-pot".to_owned(),
        quantity: 2,
    }];
    let reserve = Reserve {
        order: order(),
        items,
    };
    is_golden("stock.reserve", &reserve);
    is_golden("stock.confirm", &OfOrder { order: order() });
    let user = "u001".to_owned();
    let charge = Charge {
        order: order(),
        user,
        amount: 7_800,
    };
    is_golden("payments.charge", &charge);
    is_golden("payments.refund", &Refund { order: order() });
}

#[test]
fn events_about_orders() {
    for (name, state) in [
        ("order.placed", State::FIRST),
        ("order.confirmed", State::Confirmed),
        ("order.compensated", State::Compensated),
    ] {
        let event = with_id(order(state).event().unwrap());
        assert_eq!(event.pattern, name);
        is_golden(name, &event);
    }
    let others = State::ALL.into_iter().filter(|state| !state.is_end());
    for state in others.filter(|state| *state != State::FIRST) {
        assert_eq!(order(state).event(), None, "{state:?}");
    }
}

#[test]
fn envelopes() {
    let mut request = with_id(Message::request(
        "stock.confirm",
        json!({ "order": "order-1" }),
    ));
    request.set("x-correlation-id", "c-1");
    request.set("x-request-timeout-ms", "800");
    is_golden("request", &request);
    is_golden(
        "stream",
        &with_id(Message::new(Kind::Stream, "catalog.list", Value::Null)),
    );
    let mut failure = Failure::new(
        Code::Overloaded,
        "circuit_breaker payments rejected the call",
    );
    failure.retry_after_ms = Some(800);
    is_golden("failure", &failure);
    is_golden(
        "failure-without-hint",
        &Failure::new(Code::Declined, "no money"),
    );
}

#[test]
fn a_later_version_may_add_what_this_one_passes_on() {
    let later = json!({
        "id": "1", "pattern": "order.placed", "kind": "event", "payload": { "order": "1", "gift": true },
        "trace": { "flags": 1 },
    });
    let message: Message = serde_json::from_value(later.clone()).unwrap();
    assert!(message.check().is_ok());
    assert_eq!(serde_json::to_value(message).unwrap(), later);
    let later = json!({ "code": "out_of_tea", "message": "no tea" });
    let failure: Failure = serde_json::from_value(later).unwrap();
    assert_eq!(failure.code, Code::Unknown);
    assert!(failure.code.is_transient(), "it is not known to be final");
}

/// Each block of the guide begins with its file, and its lines follow each other there.
#[test]
fn the_guide_shows_lines_of_this_program() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR"));
    let guide = std::fs::read_to_string(root.join("README.md")).unwrap();
    let mut blocks = 0;
    for block in guide.split("```rust\n").skip(1) {
        let block = block.split("```").next().unwrap();
        let (file, shown) = block.split_once('\n').unwrap();
        let file = file.strip_prefix("// ").unwrap();
        let program = std::fs::read_to_string(root.join(file)).unwrap();
        assert!(
            program.contains(shown.trim_end()),
            "not in {file}:\n{shown}"
        );
        blocks += 1;
    }
    assert!(blocks >= 10, "{blocks}");
}
