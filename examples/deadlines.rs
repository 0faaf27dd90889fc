//! One deadline for three hops: an axum gateway calls a tonic service, which calls another one.
//! Each hop receives the remaining time, and none works for a caller that has given up.
//!
//! Run it with `cargo run --example deadlines`. Everything runs on loopback in one process, and
//! ends by itself. The log lines of every hop contain the caller's correlation ID.

use std::net::SocketAddr;
use std::pin::Pin;
use std::time::Duration;

use axum::Router;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::routing::get;
use mainstay::{BoxError, Context, grpc, http};
use tokio::net::TcpListener;
use tokio_stream::Stream;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status};
use tracing::info;

#[allow(missing_docs, unreachable_pub, reason = "generated")]
mod users {
    include!("proto/users.rs");
}
use users::users_client::UsersClient;
use users::users_server::{Users, UsersServer};
use users::{GetRequest, ListRequest, User};

/// Every hop works for this long before it calls the next one.
const WORK: Duration = Duration::from_millis(100);

/// A client of the next hop.
type Next = UsersClient<grpc::Client<Channel>>;

fn next(address: SocketAddr) -> Result<Next, BoxError> {
    let channel = Endpoint::from_shared(format!("http://{address}"))?.connect_lazy();
    Ok(UsersClient::new(
        grpc::client("next").build()?.wrap(channel),
    ))
}

/// Logs the remaining time, works, and calls the next hop, if there is one.
async fn hop(hop: &str, name: String, next: Option<Next>) -> Result<String, Status> {
    let left = || {
        let left = Context::current().remaining();
        left.map_or_else(
            || "no limit".to_owned(),
            |left| format!("{} ms", left.as_millis()),
        )
    };
    info!("{hop} begins with {} left", left());
    tokio::time::sleep(WORK).await;
    info!("{hop} has worked, {} left", left());
    match next {
        Some(mut next) => {
            let user = next.get(GetRequest { name }).await?.into_inner();
            Ok(user.email)
        }
        None => Ok(format!("{name}@example.com")),
    }
}

/// The two tonic services: `profiles`, which calls `directory`, and `directory`, which calls
/// nobody.
struct Service {
    called: &'static str,
    next: Option<Next>,
}

#[tonic::async_trait]
impl Users for Service {
    async fn get(&self, request: Request<GetRequest>) -> Result<Response<User>, Status> {
        let name = request.into_inner().name;
        let email = hop(self.called, name.clone(), self.next.clone()).await?;
        Ok(Response::new(User { name, email }))
    }

    type ListStream = Pin<Box<dyn Stream<Item = Result<User, Status>> + Send>>;

    async fn list(&self, _: Request<ListRequest>) -> Result<Response<Self::ListStream>, Status> {
        Ok(Response::new(Box::pin(tokio_stream::empty())))
    }
}

/// Serves one of them, and returns its address.
async fn serve(service: Service) -> Result<SocketAddr, BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    let server = Server::builder()
        .layer(grpc::server(service.called).build()?)
        .add_service(UsersServer::new(service))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(server);
    Ok(address)
}

async fn gateway(State(next): State<Next>, Path(name): Path<String>) -> (StatusCode, String) {
    match hop("gateway", name, Some(next)).await {
        Ok(email) => (StatusCode::OK, email),
        Err(status) if status.code() == Code::DeadlineExceeded => {
            (StatusCode::GATEWAY_TIMEOUT, status.message().to_owned())
        }
        Err(status) => (StatusCode::BAD_GATEWAY, status.to_string()),
    }
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    tracing_subscriber::fmt()
        .with_target(false)
        .with_ansi(false)
        .without_time()
        .init();

    let directory = Service {
        called: "directory",
        next: None,
    };
    let profiles = Service {
        called: "profiles",
        next: Some(next(serve(directory).await?)?),
    };
    let stack = http::server("gateway")
        .timeout(Duration::from_secs(2))
        .build()?;
    let app = Router::new()
        .route("/users/{name}", get(gateway))
        .layer(stack)
        .with_state(next(serve(profiles).await?)?);
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/users/ada", listener.local_addr()?);
    tokio::spawn(async move { axum::serve(listener, app).await });

    let client = reqwest::Client::new();
    for (id, millis, what) in [
        ("enough", Some("1000"), "a deadline that is long enough"),
        (
            "too-little",
            Some("250"),
            "a deadline that passes in the last hop",
        ),
        (
            "greedy",
            Some("3600000"),
            "a deadline beyond the limit of the gateway",
        ),
        (
            "late",
            Some("0"),
            "no time left: the gateway rejects the call",
        ),
        ("unlimited", None, "a caller without a deadline"),
    ] {
        println!("{what}:");
        let mut request = client.get(&url).header("x-correlation-id", id);
        if let Some(millis) = millis {
            request = request.header("x-request-timeout-ms", millis);
        }
        let response = request.send().await?;
        println!("  => {}: {}", response.status(), response.text().await?);
    }
    Ok(())
}
