//! A span is closed when its request is over, also where the connection that carried it goes on in a pool.
#![cfg(all(feature = "hyper", feature = "tonic", feature = "tracing"))]

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex};

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use mainstay::{grpc, http};
use tonic::transport::Endpoint;
use tower::{ServiceExt as _, service_fn};
use tracing::span::{Attributes, Id};
use tracing::subscriber::{DefaultGuard, NoSubscriber};
use tracing::{Dispatch, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::{Context, SubscriberExt as _};

const OURS: [&str; 3] = ["server", "client", "attempt"];

/// How many spans there were, and the names of ours that are open.
#[derive(Clone, Default)]
struct Spans {
    all: Arc<AtomicU32>,
    open: Arc<Mutex<HashMap<u64, &'static str>>>,
}

impl Spans {
    fn ours(&self) -> Vec<&'static str> {
        self.open.lock().unwrap().values().copied().collect()
    }
}

impl<S: Subscriber> Layer<S> for Spans {
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, _: Context<'_, S>) {
        self.all.fetch_add(1, Ordering::Relaxed);
        let name = attributes.metadata().name();
        if OURS.contains(&name) {
            self.open.lock().unwrap().insert(id.into_u64(), name);
        }
    }

    fn on_close(&self, id: Id, _: Context<'_, S>) {
        self.open.lock().unwrap().remove(&id.into_u64());
    }
}

/// It wants all spans there are, as one does that looks for a fault.
fn traced() -> (Spans, DefaultGuard) {
    // As `common::keep_second_subscriber` does; this file has to stand alone, too.
    static SECOND: LazyLock<Dispatch> = LazyLock::new(|| Dispatch::new(NoSubscriber::default()));
    LazyLock::force(&SECOND);
    let spans = Spans::default();
    let subscriber = tracing_subscriber::registry().with(spans.clone());
    (spans, tracing::subscriber::set_default(subscriber))
}

/// Answers every request, over whatever version of HTTP and on as many connections as there come.
async fn serve() -> SocketAddr {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let stack = http::server("site").build().unwrap();
    let service = stack.wrap(service_fn(async |request: ::http::Request<Incoming>| {
        let response = ::http::Response::builder();
        let response = match request.headers().get("content-type") {
            Some(grpc) => response
                .header("content-type", grpc)
                .header("grpc-status", "0"),
            None => response,
        };
        Ok::<_, std::convert::Infallible>(response.body(Full::<Bytes>::from("hello")).unwrap())
    }));
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let service = TowerToHyperService::new(service.clone());
            tokio::spawn(async move {
                let server = auto::Builder::new(TokioExecutor::new());
                let _ = server.serve_connection(TokioIo::new(stream), service).await;
            });
        }
    });
    address
}

/// All spans of requests are closed within a moment, while the connection is still there.
async fn all_are_closed(spans: &Spans) {
    for _ in 0..500 {
        if spans.ours().is_empty() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    panic!("left open: {:?}", spans.ours());
}

async fn read<B>(response: ::http::Response<B>)
where
    B: http_body::Body<Error: std::fmt::Debug>,
{
    response.into_body().collect().await.unwrap();
}

#[tokio::test]
async fn by_hypers_client_over_http_1_and_http_2() {
    for http2 in [false, true] {
        let (spans, _traced) = traced();
        let address = serve().await;
        let client = Client::builder(TokioExecutor::new())
            .http2_only(http2)
            .build_http::<Full<Bytes>>();
        let stack = http::client("site").build().unwrap();
        let service = stack.wrap(client.clone());
        for _ in 0..2 {
            let request = ::http::Request::get(format!("http://{address}/"));
            let request = request.body(Full::default()).unwrap();
            read(service.clone().oneshot(request).await.unwrap()).await;
        }
        assert!(spans.all.load(Ordering::Relaxed) >= 6, "were there any?");
        all_are_closed(&spans).await;
        drop(client);
    }
}

#[tokio::test]
async fn by_tonics_channel() {
    let (spans, _traced) = traced();
    let address = serve().await;
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let channel = endpoint.connect_lazy();
    let service = grpc::client("users").build().unwrap().wrap(channel.clone());
    for _ in 0..2 {
        let request = ::http::Request::post(format!("http://{address}/users.Users/Get"))
            .header("content-type", "application/grpc")
            .body(tonic::body::Body::empty());
        let response = service.clone().oneshot(request.unwrap()).await.unwrap();
        read(response).await;
    }
    assert!(spans.all.load(Ordering::Relaxed) >= 6, "were there any?");
    all_are_closed(&spans).await;
    drop(channel);
}
