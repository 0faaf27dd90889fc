//! The TCP transport on real sockets.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use serde_json::{Value, json};
use shop::message::{Code, Failure, Kind, Message};
use shop::tcp::{Client, Limits, Reply, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, oneshot};
use tower::{Service, ServiceExt, service_fn};

const PATIENCE: Duration = Duration::from_secs(10);

struct Server {
    address: String,
    dropped: Arc<AtomicUsize>,
    opened: Arc<Notify>,
    close: Option<oneshot::Sender<()>>,
    task: tokio::task::JoinHandle<std::io::Result<()>>,
}

/// Counts calls that end early.
struct Dropped(Arc<AtomicUsize>);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl Server {
    async fn start() -> Self {
        Self::at("127.0.0.1:0", Limits::default()).await
    }

    async fn at(address: &str, limits: Limits) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (dropped, opened) = (Arc::<AtomicUsize>::default(), Arc::<Notify>::default());
        let (of_calls, door) = (Arc::clone(&dropped), Arc::clone(&opened));
        let service = service_fn(move |message: Message| {
            handle(message, Arc::clone(&of_calls), Arc::clone(&door))
        });
        let (close, closing) = oneshot::channel::<()>();
        let closing = async { drop(closing.await) };
        let task = tokio::spawn(serve(listener, service, limits, closing));
        Self {
            address,
            dropped,
            opened,
            close: Some(close),
            task,
        }
    }

    fn client(&self) -> Client {
        Client::new(self.address.clone(), Limits::default())
    }

    fn close(&mut self) {
        drop(self.close.take());
    }
}

async fn handle(
    message: Message,
    dropped: Arc<AtomicUsize>,
    door: Arc<Notify>,
) -> Result<Reply, Failure> {
    match &*message.pattern {
        "echo" => Ok(Reply::One(message.payload)),
        "wait" => {
            let _dropped = Dropped(dropped);
            door.notified().await;
            Ok(Reply::One(json!("waited")))
        }
        "count" => {
            let to = message.payload.as_u64().unwrap_or(0);
            let items = stream::iter(0..to).map(|n| Ok(json!(n)));
            Ok(Reply::Stream(Box::pin(items)))
        }
        "panic" => panic!("told to"),
        other => Err(Failure::new(
            Code::UnknownPattern,
            format!("{other}: unknown pattern"),
        )),
    }
}

async fn ask(client: &Client, pattern: &str, payload: Value) -> Result<Value, Failure> {
    let call = client.clone().oneshot(Message::request(pattern, payload));
    match tokio::time::timeout(PATIENCE, call)
        .await
        .expect("an answer")?
    {
        Reply::One(payload) => Ok(payload),
        Reply::Stream(_) => panic!("a stream"),
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, wait).await.is_ok(), "{what}");
}

#[tokio::test]
async fn many_calls_share_a_connection_and_none_waits_for_another() {
    let server = Server::start().await;
    let client = server.client();
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { ask(&client, "wait", Value::Null).await }
    });
    let echoes = (0..200).map(|n| {
        let client = client.clone();
        tokio::spawn(async move { ask(&client, "echo", json!(n)).await })
    });
    for (n, echo) in echoes.collect::<Vec<_>>().into_iter().enumerate() {
        assert_eq!(echo.await.unwrap().unwrap(), json!(n));
    }
    assert!(!waiting.is_finished());
    server.opened.notify_one();
    assert_eq!(waiting.await.unwrap().unwrap(), json!("waited"));
}

#[tokio::test]
async fn a_call_that_is_dropped_is_cancelled_at_the_server() {
    let server = Server::start().await;
    let client = server.client();
    let mut service = client.clone();
    let call = service.call(Message::request("wait", Value::Null));
    let call = tokio::spawn(call);
    // The connection answers others, so the call has arrived.
    ask(&client, "echo", Value::Null).await.unwrap();
    until("the handler has begun", || {
        Arc::strong_count(&server.dropped) > 2
    })
    .await;
    call.abort();
    until("the handler was dropped", || {
        server.dropped.load(Ordering::Relaxed) == 1
    })
    .await;
}

#[tokio::test]
async fn a_stream_ends_after_its_items() {
    let server = Server::start().await;
    let message = Message::new(Kind::Stream, "count", json!(3));
    let Reply::Stream(items) = server.client().oneshot(message).await.unwrap() else {
        panic!("no stream")
    };
    let items: Vec<_> = items.map(Result::unwrap).collect().await;
    assert_eq!(items, [json!(0), json!(1), json!(2)]);
    let empty = Message::new(Kind::Stream, "count", json!(0));
    let Reply::Stream(mut items) = server.client().oneshot(empty).await.unwrap() else {
        panic!("no stream")
    };
    assert!(items.next().await.is_none());
    let asked = ask(&server.client(), "count", json!(3)).await.unwrap_err();
    assert_eq!(asked.code, Code::Invalid);
}

#[tokio::test]
async fn failures_come_back_as_what_they_are() {
    let server = Server::start().await;
    let client = server.client();
    let unknown = ask(&client, "nobody", Value::Null).await.unwrap_err();
    assert_eq!(unknown.code, Code::UnknownPattern);
    let panicked = ask(&client, "panic", Value::Null).await.unwrap_err();
    assert_eq!(panicked.code, Code::Internal);
    let mut newer = Message::request("echo", Value::Null);
    newer.version = 99;
    let Err(refused) = client.clone().oneshot(newer).await else {
        panic!("accepted")
    };
    assert!(
        refused.message.contains("version = 99 is refused"),
        "{refused}"
    );
    // The connection has survived all of them.
    assert_eq!(ask(&client, "echo", json!(1)).await.unwrap(), json!(1));
}

#[tokio::test]
async fn a_frame_that_is_too_long_fails_its_call_alone() {
    let server = Server::start().await;
    let client = server.client();
    let long = "x".repeat(2 << 20);
    let refused = ask(&client, "echo", json!(long)).await.unwrap_err();
    assert_eq!(refused.code, Code::Invalid);
    assert_eq!(ask(&client, "echo", json!(1)).await.unwrap(), json!(1));
}

#[tokio::test]
async fn garbage_ends_only_its_connection() {
    let server = Server::start().await;
    let client = server.client();
    ask(&client, "echo", Value::Null).await.unwrap();
    for garbage in [
        &b"GET / HTTP/1.1\r\n\r\n"[..],
        b"\0\0\0\x05hello",
        b"\xff\xff\xff\xff",
        b"\0\0\0\x10{\"call\":",
        b"\0\0\0\x12{\"cancel\":\"nobody\"}",
    ] {
        let mut stream = TcpStream::connect(&server.address).await.unwrap();
        stream.write_all(garbage).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let read = tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await;
        assert!(read.is_ok(), "the server has closed it");
    }
    assert_eq!(ask(&client, "echo", json!(1)).await.unwrap(), json!(1));
}

#[tokio::test]
async fn an_id_that_is_in_flight_is_refused() {
    let server = Server::start().await;
    let client = server.client();
    let message = Message::request("wait", Value::Null);
    let first = tokio::spawn(client.clone().oneshot(message.clone()));
    until("the handler has begun", || {
        Arc::strong_count(&server.dropped) > 2
    })
    .await;
    let Err(twice) = client.oneshot(message).await else {
        panic!("accepted")
    };
    assert_eq!(twice.code, Code::Overloaded);
    server.opened.notify_one();
    assert!(first.await.unwrap().is_ok());
}

/// What a retry does: it gives up an attempt, and sends the same message again.
#[tokio::test]
async fn an_id_is_free_once_its_call_is_cancelled() {
    let server = Server::start().await;
    let client = server.client();
    let mut message = Message::request("wait", Value::Null);
    for _ in 0..20 {
        let attempt = client.clone().oneshot(message.clone());
        let cut = tokio::time::timeout(Duration::from_millis(5), attempt).await;
        assert!(cut.is_err(), "{cut:?}");
    }
    message.pattern = "echo".to_owned();
    message.payload = json!("once more");
    match client.oneshot(message).await.unwrap() {
        Reply::One(answer) => assert_eq!(answer, "once more"),
        Reply::Stream(_) => panic!("a stream"),
    }
}

#[tokio::test]
async fn a_server_that_ends_answers_what_it_has_begun_and_refuses_the_rest() {
    let mut server = Server::start().await;
    let client = server.client();
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { ask(&client, "wait", Value::Null).await }
    });
    until("the handler has begun", || {
        Arc::strong_count(&server.dropped) > 2
    })
    .await;
    server.close();
    // The connection is known to end, and a new one is not accepted.
    let refused = loop {
        match ask(&client, "echo", Value::Null).await {
            Ok(_) => tokio::task::yield_now().await,
            Err(refused) => break refused,
        }
    };
    assert!(refused.code.had_no_effect(), "{refused}");
    assert!(!server.task.is_finished());
    server.opened.notify_one();
    assert_eq!(waiting.await.unwrap().unwrap(), json!("waited"));
    server.task.await.unwrap().unwrap();
}

#[tokio::test]
async fn a_server_that_dies_fails_its_calls_and_its_successor_is_found() {
    let server = Server::start().await;
    let (client, address) = (server.client(), server.address.clone());
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { ask(&client, "wait", Value::Null).await }
    });
    until("the handler has begun", || {
        Arc::strong_count(&server.dropped) > 2
    })
    .await;
    server.task.abort();
    let lost = waiting.await.unwrap().unwrap_err();
    assert_eq!(lost.code, Code::Lost);
    let unreachable = ask(&client, "echo", Value::Null).await.unwrap_err();
    assert_eq!(unreachable.code, Code::NotSent);
    let _successor = Server::at(&address, Limits::default()).await;
    assert_eq!(ask(&client, "echo", json!(1)).await.unwrap(), json!(1));
}

#[tokio::test]
async fn calls_beyond_the_limit_are_refused_as_overload() {
    let limits = Limits {
        calls: 2,
        ..Limits::default()
    };
    let server = Server::at("127.0.0.1:0", limits).await;
    let client = server.client();
    let waiting = [(); 2].map(|()| {
        let client = client.clone();
        tokio::spawn(async move { ask(&client, "wait", Value::Null).await })
    });
    until("both handlers have begun", || {
        Arc::strong_count(&server.dropped) > 3
    })
    .await;
    let refused = ask(&client, "echo", Value::Null).await.unwrap_err();
    assert_eq!(refused.code, Code::Overloaded);
    server.opened.notify_one();
    server.opened.notify_one();
    server.opened.notify_waiters();
    for call in waiting {
        call.abort();
    }
}

/// As a host that is gone without a word: the connection is open, and nothing passes.
#[tokio::test]
async fn a_connection_that_is_silent_is_replaced() {
    let server = Server::start().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let behind = server.address.clone();
    tokio::spawn(async move {
        // The first connection is accepted and never read.
        let first = listener.accept().await.unwrap();
        loop {
            let (mut from, _) = listener.accept().await.unwrap();
            let mut to = TcpStream::connect(&behind).await.unwrap();
            let _first = &first;
            tokio::spawn(async move { tokio::io::copy_bidirectional(&mut from, &mut to).await });
        }
    });
    let client = Client::new(address, Limits::default());
    let lost = ask(&client, "echo", json!(1)).await.unwrap_err();
    assert_eq!(lost.code, Code::Lost);
    assert_eq!(ask(&client, "echo", json!(2)).await.unwrap(), json!(2));
    // A server that only takes its time is not lost.
    let waiting = tokio::spawn({
        let client = client.clone();
        async move { ask(&client, "wait", Value::Null).await }
    });
    tokio::time::sleep(Duration::from_secs(5)).await;
    server.opened.notify_one();
    assert_eq!(waiting.await.unwrap().unwrap(), "waited");
}

#[tokio::test]
async fn a_call_that_is_not_understood_fails_alone() {
    let server = Server::start().await;
    let client = server.client();
    let others = tokio::spawn({
        let client = client.clone();
        async move { ask(&client, "wait", Value::Null).await }
    });
    until("the handler has begun", || {
        Arc::strong_count(&server.dropped) > 2
    })
    .await;
    // JSON that no reader of limited depth accepts.
    let deep = (0..500).fold(json!(1), |inner, _| json!([inner]));
    let refused = ask(&client, "echo", deep).await.unwrap_err();
    assert_eq!(refused.code, Code::Invalid);
    assert!(refused.message.contains("not understood"), "{refused}");
    server.opened.notify_one();
    assert_eq!(others.await.unwrap().unwrap(), "waited");
}
