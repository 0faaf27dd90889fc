//! How correlation IDs travel, each test named after what it keeps from happening.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use crate::support::{Broken, ms, send};
use mainstay::correlation::{Client, Consumer, Correlation, Server};
use mainstay::{Carry, Context, CorrelationId, CorrelationLayer};
use tower::{Layer, Service, service_fn};

const FIRST: &str = "x-correlation-id";
const SECOND: &str = "x-request-id";

/// A message from a queue; the answer is one, too.
#[derive(Debug, Clone, Default, PartialEq)]
struct Message(BTreeMap<String, Vec<u8>>);

impl Message {
    fn with(mut self, field: &str, value: impl AsRef<[u8]>) -> Self {
        self.0.insert(field.to_owned(), value.as_ref().to_owned());
        self
    }

    fn text(&self, field: &str) -> Option<&str> {
        self.0
            .get(field)
            .map(|value| std::str::from_utf8(value).unwrap())
    }
}

impl Carry for Message {
    fn get(&self, field: &str) -> Option<&[u8]> {
        self.0.get(field).map(Vec::as_slice)
    }

    fn set(&mut self, field: &str, value: &str) {
        assert!(value.len() <= 128 && value.bytes().all(|byte| byte.is_ascii_graphic()));
        self.0.insert(field.to_owned(), value.into());
    }
}

impl mainstay::WholeReply for Message {}

/// What the inner service was given, and the ID that its context had.
type Seen = Arc<Mutex<Vec<(Message, Option<String>)>>>;

fn current() -> Option<String> {
    Context::current().correlation_id().map(ToString::to_string)
}

/// Notes what it is given; answers with an empty message.
fn inner() -> (
    impl Service<Message, Response = Message, Error = Broken, Future: Send> + Clone + Send + 'static,
    Seen,
) {
    let seen = Seen::default();
    let told = Arc::clone(&seen);
    let service = service_fn(move |message: Message| {
        let called = current();
        let told = Arc::clone(&told);
        async move {
            tokio::time::sleep(ms(1)).await;
            assert_eq!(called, current(), "in the call and in its future");
            told.lock().unwrap().push((message, called));
            Ok::<_, Broken>(Message::default())
        }
    });
    (service, seen)
}

/// One message through a server: what was seen inside, its ID there, and the answer.
async fn serve(layer: CorrelationLayer<Server>, message: Message) -> (Message, String, Message) {
    let (service, seen) = inner();
    let mut service: Correlation<_, Server> = layer.layer(service);
    let answer = send(&mut service, message).await.unwrap();
    let (inside, id) = seen.lock().unwrap().remove(0);
    (inside, id.expect("there is always one"), answer)
}

#[track_caller]
fn assert_new(id: &str) {
    // A UUID of version 7.
    assert_eq!((id.len(), id.as_bytes()[14]), (36, b'7'), "{id}");
}

// --- Servers

#[tokio::test(start_paused = true)]
async fn a_valid_id_is_taken_over_and_given_back() {
    for id in [
        "order-4711",
        "0190163d-8694-739b-aea5-966c26f8ad91",
        "0190163D-8694-739B-AEA5-966C26F8AD91",
        "Root=1-67891233-abcdef012345678912345678",
        "a",
        &"x".repeat(128),
    ] {
        let message = Message::default().with(FIRST, id);
        let (inside, inner, answer) = serve(CorrelationLayer::server(), message.clone()).await;
        assert_eq!(inner, id);
        assert_eq!(inside, message, "the request stays as it is");
        assert_eq!(answer.text(FIRST), Some(id));
    }
}

#[tokio::test(start_paused = true)]
async fn a_hostile_value_is_replaced_and_never_echoed() {
    let values: [&[u8]; 12] = [
        b"",
        &[b'x'; 129],
        &[b'x'; 100_000],
        b"two words",
        b"tab\tin it",
        b"two\r\nlines: of headers",
        b"\x00",
        b"\x1b[31mred",
        b"\xff\xfe\xfd",
        "n\u{f6}n-ascii".as_bytes(),
        b"quote\"",
        b"<script>",
    ];
    for value in values {
        let shown = String::from_utf8_lossy(&value[..value.len().min(20)]);
        let message = Message::default().with(FIRST, value);
        let (inside, inner, answer) = serve(CorrelationLayer::server(), message).await;
        assert_new(&inner);
        assert_eq!(answer, Message::default().with(FIRST, &inner), "{shown:?}");
        assert_eq!(
            inside,
            Message::default().with(FIRST, &inner),
            "{shown:?}: not seen inside"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_is_not_seen_inside_when_another_field_has_a_valid_one() {
    let message = Message::default()
        .with(FIRST, "two\nlines")
        .with(SECOND, "order-4711");
    let (inside, inner, answer) = serve(CorrelationLayer::server(), message).await;
    assert_eq!(inner, "order-4711", "the first valid one");
    assert_eq!(answer.text(FIRST), Some("order-4711"));
    assert_ne!(
        inside.get(FIRST),
        Some(&b"two\nlines"[..]),
        "what was refused is still there"
    );
}

#[tokio::test(start_paused = true)]
async fn what_was_refused_is_not_seen_inside_in_a_later_field_either() {
    let message = Message::default().with(SECOND, "two\nlines");
    let (inside, inner, _) = serve(CorrelationLayer::server(), message).await;
    assert_new(&inner);
    assert_eq!(inside.text(FIRST), Some(&*inner));
    assert_ne!(
        inside.get(SECOND),
        Some(&b"two\nlines"[..]),
        "what was refused is still there"
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_without_one_gets_a_new_one_each() {
    let mut ids = std::collections::BTreeSet::new();
    for _ in 0..100 {
        let (inside, inner, answer) = serve(CorrelationLayer::server(), Message::default()).await;
        assert_new(&inner);
        assert_eq!(
            (inside.text(FIRST), answer.text(FIRST)),
            (Some(&*inner), Some(&*inner))
        );
        ids.insert(inner);
    }
    assert_eq!(ids.len(), 100);
}

#[tokio::test(start_paused = true)]
async fn fields_are_read_in_order_and_the_first_is_written() {
    let message = Message::default().with(FIRST, "one").with(SECOND, "two");
    let (received, inner, answer) = serve(CorrelationLayer::server(), message).await;
    assert_eq!(
        (&*inner, answer.text(FIRST), answer.text(SECOND)),
        ("one", Some("one"), None)
    );
    assert_eq!(
        (received.text(FIRST), received.text(SECOND)),
        (Some("one"), Some("one")),
        "there is but one inside"
    );

    let message = Message::default().with(SECOND, "two");
    let (_, inner, answer) = serve(CorrelationLayer::server(), message.clone()).await;
    assert_eq!((&*inner, answer.text(FIRST)), ("two", Some("two")));

    let own = CorrelationLayer::server()
        .fields(["trace", SECOND])
        .unwrap();
    let (_, inner, answer) = serve(own.clone(), message.clone().with("trace", "three")).await;
    assert_eq!(
        (&*inner, answer.text("trace"), answer.text(FIRST)),
        ("three", Some("three"), None)
    );
    let (_, inner, _) = serve(own, message.with(FIRST, "one")).await;
    assert_eq!(inner, "two", "a field that is not named is not read");
}

#[test]
fn fields_that_cannot_be_are_refused() {
    let many = ["x"; 9];
    let long = "x".repeat(65);
    let cases: [&[&str]; 8] = [
        &[],
        &many,
        &[""],
        &[&long],
        &["X-Request-Id"],
        &["ok", "two words"],
        &["new\nline"],
        &["n\u{f6}"],
    ];
    for fields in cases {
        let error = CorrelationLayer::server()
            .fields(fields.iter().copied())
            .unwrap_err();
        assert_eq!(
            (error.component(), error.field()),
            ("correlation", "fields")
        );
        assert!(!error.value().is_empty() && !error.rule().is_empty());
        assert!(
            !error.to_string().contains('\n') && error.to_string().len() < 300,
            "{error}"
        );
    }
    let longest = "x".repeat(64);
    for fields in [&["x"; 8][..], &[&longest], &["a-b_c.9"]] {
        assert!(
            CorrelationLayer::client()
                .fields(fields.iter().copied())
                .is_ok(),
            "{fields:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn at_the_edge_of_a_system_nothing_is_taken_over() {
    for field in [FIRST, SECOND] {
        let message = Message::default().with(field, "order-4711");
        let layer = CorrelationLayer::server().ignore_inbound();
        let (inside, inner, answer) = serve(layer, message).await;
        assert_new(&inner);
        assert_eq!(inside.text(FIRST), Some(&*inner));
        assert_eq!(answer.text(FIRST), Some(&*inner));
    }
}

#[tokio::test(start_paused = true)]
async fn at_the_edge_of_a_system_a_strangers_id_is_not_seen_inside_in_a_later_field_either() {
    let message = Message::default().with(SECOND, "order-4711");
    let layer = CorrelationLayer::server().ignore_inbound();
    let (inside, _, _) = serve(layer, message).await;
    assert_ne!(inside.text(SECOND), Some("order-4711"));
}

#[tokio::test(start_paused = true)]
async fn an_answer_of_its_own_making_does_not_stand_beside_it() {
    let echo = service_fn(|_: Message| async {
        Ok::<_, Broken>(Message::default().with(FIRST, "of my own making"))
    });
    let mut service = CorrelationLayer::server().layer(echo);
    let answer = send(&mut service, Message::default().with(FIRST, "order-4711"))
        .await
        .unwrap();
    assert_eq!(answer.text(FIRST), Some("order-4711"));
}

#[tokio::test(start_paused = true)]
async fn errors_pass_through_as_they_are() {
    let mut service = CorrelationLayer::server()
        .layer(service_fn(|_: Message| async { Err::<Message, _>(Broken) }));
    assert_eq!(send(&mut service, Message::default()).await, Err(Broken));
}

#[tokio::test(start_paused = true)]
async fn a_consumer_needs_no_response_that_carries_it() {
    let mut service: Correlation<_, Consumer> =
        CorrelationLayer::consumer().layer(service_fn(|_: Message| async {
            Ok::<_, Broken>(current().unwrap())
        }));
    let message = Message::default().with(FIRST, "order-4711");
    assert_eq!(send(&mut service, message).await.unwrap(), "order-4711");
    assert_new(&send(&mut service, Message::default()).await.unwrap());
}

// --- Clients

/// One message through a client: what was sent, and the ID of the context inside.
async fn request(layer: CorrelationLayer<Client>, message: Message) -> (Message, Option<String>) {
    let (service, seen) = inner();
    send(&mut layer.layer(service), message).await.unwrap();
    seen.lock().unwrap().remove(0)
}

fn context(id: &str) -> Context {
    Context::current().with_correlation_id(id.parse().unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_client_sends_the_id_of_the_request_it_works_for_and_no_fresh_one() {
    for carried in [
        Message::default(),
        Message::default().with(FIRST, "another"),
    ] {
        let sent = context("order-4711")
            .scope(request(CorrelationLayer::client(), carried))
            .await;
        let expected = Message::default().with(FIRST, "order-4711");
        assert_eq!(sent, (expected, Some("order-4711".to_owned())));
    }
    let own = CorrelationLayer::client().fields(["trace", FIRST]).unwrap();
    let (sent, _) = context("order-4711")
        .scope(request(own, Message::default()))
        .await;
    assert_eq!(sent, Message::default().with("trace", "order-4711"));
}

#[tokio::test(start_paused = true)]
async fn outside_of_a_request_a_client_keeps_the_valid_one_or_makes_one() {
    let carried = Message::default().with(FIRST, "job-1");
    let (sent, id) = request(CorrelationLayer::client(), carried.clone()).await;
    assert_eq!((sent, id.as_deref()), (carried, Some("job-1")));
    for carried in [
        Message::default(),
        Message::default().with(FIRST, "two\nlines"),
    ] {
        let (sent, id) = request(CorrelationLayer::client(), carried).await;
        assert_new(id.as_deref().unwrap());
        assert_eq!(sent.text(FIRST), id.as_deref());
    }
}

#[tokio::test(start_paused = true)]
async fn from_server_to_client_it_is_one_id() {
    let (downstream, seen) = inner();
    let client = CorrelationLayer::client().layer(downstream);
    let handler = service_fn(move |_: Message| {
        let mut client = client.clone();
        async move { send(&mut client, Message::default()).await }
    });
    let mut server = CorrelationLayer::server().layer(handler);
    send(&mut server, Message::default().with(SECOND, "order-4711"))
        .await
        .unwrap();
    assert_eq!(seen.lock().unwrap()[0].0.text(FIRST), Some("order-4711"));
    assert_eq!(current(), None, "it does not leak out");
}

// --- Tasks

#[tokio::test(start_paused = true)]
async fn it_is_not_lost_in_a_task_of_its_own() {
    let handler = service_fn(|_: Message| async {
        let carried = mainstay::spawn(async {
            tokio::time::sleep(ms(1)).await;
            current()
        });
        let closure = mainstay::spawn_blocking(current);
        let plain = tokio::spawn(async { current() });
        assert_eq!(carried.await.unwrap().as_deref(), Some("order-4711"));
        assert_eq!(closure.await.unwrap().as_deref(), Some("order-4711"));
        assert_eq!(
            plain.await.unwrap(),
            None,
            "a plain task starts without one"
        );
        Ok::<_, Broken>(Message::default())
    });
    let message = Message::default().with(FIRST, "order-4711");
    send(&mut CorrelationLayer::server().layer(handler), message)
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn requests_that_are_worked_on_at_once_do_not_mix() {
    let handler = service_fn(|message: Message| async move {
        for _ in 0..10 {
            tokio::time::sleep(ms(1)).await;
            assert_eq!(current().as_deref(), message.text(FIRST));
        }
        Ok::<_, Broken>(Message::default())
    });
    let service = CorrelationLayer::server().layer(handler);
    let calls = (0..50).map(|n| {
        let mut service = service.clone();
        async move {
            send(
                &mut service,
                Message::default().with(FIRST, format!("order-{n}")),
            )
            .await
        }
    });
    assert!(
        futures::future::join_all(calls)
            .await
            .iter()
            .all(Result::is_ok)
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_dropped_is_dropped_within_it() {
    struct Last(Arc<Mutex<Option<String>>>);
    impl Drop for Last {
        fn drop(&mut self) {
            *self.0.lock().unwrap() = current();
        }
    }
    let seen = Arc::new(Mutex::new(None));
    let told = Arc::clone(&seen);
    let handler = service_fn(move |_: Message| {
        let last = Last(Arc::clone(&told));
        async move {
            let _last = last;
            std::future::pending::<Result<Message, Broken>>().await
        }
    });
    let mut service = CorrelationLayer::server().layer(handler);
    let call = send(&mut service, Message::default().with(FIRST, "order-4711"));
    assert!(tokio::time::timeout(ms(1), call).await.is_err());
    assert_eq!(seen.lock().unwrap().as_deref(), Some("order-4711"));
}

#[test]
fn a_context_can_be_entered_without_a_runtime() {
    assert_eq!(
        context("order-4711").sync_scope(current).as_deref(),
        Some("order-4711")
    );
    assert_eq!(current(), None);
    // Also when what ran in it panicked.
    let caught = std::panic::catch_unwind(|| context("a").sync_scope(|| panic!("inside")));
    assert!(caught.is_err());
    assert_eq!(current(), None);
}

#[test]
fn an_error_about_an_id_does_not_repeat_it() {
    for text in ["", "secret\n", &"secret".repeat(100)] {
        let error = text.parse::<CorrelationId>().unwrap_err();
        assert!(!error.to_string().contains("secret"), "{error}");
    }
}
