//! Without a framework: hyper's server behind a standard stack, and hyper-util's client behind
//! another one.
//!
//! Run it with `cargo run --example hyper_client_server`. Both run on loopback, and end by
//! themselves.

use std::convert::Infallible;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use ::http::{Request, Response, StatusCode};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::client::legacy::{Client, connect::HttpConnector};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use mainstay::{BoxError, Context, Error, http};
use tokio::net::TcpListener;
use tower::{ServiceExt, service_fn};

/// Fails every second time. `/slow` takes five seconds.
async fn handle(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    static CALLS: AtomicU32 = AtomicU32::new(0);
    let path = request.uri().path();
    let left = Context::current().remaining().unwrap_or_default();
    println!("  server: {path}, {} ms left", left.as_millis());
    if path == "/slow" {
        tokio::time::sleep(Duration::from_secs(5)).await;
    }
    let mut response = Response::new(Full::from("hello"));
    if CALLS.fetch_add(1, Ordering::Relaxed).is_multiple_of(2) {
        *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
    }
    Ok(response)
}

async fn serve(listener: TcpListener) -> Result<(), BoxError> {
    // One stack for all connections: build it before the loop.
    let stack = http::server("hello")
        .timeout(Duration::from_millis(500))
        .build()?;
    let service = stack.wrap(service_fn(handle));
    loop {
        let (socket, _) = listener.accept().await?;
        let service = TowerToHyperService::new(service.clone());
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .serve_connection(TokioIo::new(socket), service);
        tokio::spawn(connection);
    }
}

/// The type of the wrapped client has a name, so a struct can contain it.
struct Hello {
    url: String,
    client: http::Client<Client<HttpConnector, Full<Bytes>>>,
}

impl Hello {
    async fn get(&self, path: &str) -> Result<String, BoxError> {
        let request = Request::get(format!("{}{path}", self.url)).body(Full::default())?;
        let response = match self.client.clone().oneshot(request).await {
            Ok(response) => response,
            Err(Error::Rejected(rejection)) => return Ok(format!("rejected: {rejection}")),
            Err(Error::Inner(error)) => return Err(error.into()),
        };
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        Ok(format!("{status}: {}", String::from_utf8_lossy(&body)))
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let server = tokio::spawn(serve(listener));

    let stack = http::client("hello")
        .timeout(Duration::from_secs(1))
        .build()?;
    println!("{stack}");
    let client = Client::builder(TokioExecutor::new()).build_http();
    let hello = Hello {
        url,
        client: stack.wrap(client),
    };
    println!("a call whose first attempt fails:");
    println!("  client: {}", hello.get("/").await?);
    println!("a call that is too slow in every attempt:");
    println!("  client: {}", hello.get("/slow").await?);
    println!("the circuit is {}", stack.circuit_breaker().state());
    server.abort();
    Ok(())
}
