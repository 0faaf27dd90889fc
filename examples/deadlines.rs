//! One budget of time through three hops: an axum gateway calls a tonic service, which calls another. Each is told what is left, and none
//! works for a caller who has given up.
//!
//! Run it with `cargo run --example deadlines`. All of it is on loopback, in one process; it ends by itself. What a hop writes to its log
//! carries the caller's correlation ID.

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

/// So long every hop works before it asks the next one.
const WORK: Duration = Duration::from_millis(100);

/// A client of the next hop.
type Next = UsersClient<grpc::Client<Channel>>;

fn next(address: SocketAddr) -> Result<Next, BoxError> {
    let channel = Endpoint::from_shared(format!("http://{address}"))?.connect_lazy();
    Ok(UsersClient::new(
        grpc::client("next").build()?.wrap(channel),
    ))
}

/// Says what is left, works, and asks the next hop, if there is one.
async fn hop(hop: &str, name: String, next: Option<Next>) -> Result<String, Status> {
    let left = || {
        let left = Context::current().remaining();
        left.map_or_else(
            || "no end".to_owned(),
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

/// The two tonic services: `profiles`, which asks `directory`, which asks nobody.
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

/// Serves one of them, and says where.
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
    for (id, budget, what) in [
        ("enough", Some("1000"), "a budget that is enough"),
        (
            "too-little",
            Some("250"),
            "one that runs out in the last hop",
        ),
        (
            "greedy",
            Some("3600000"),
            "more than the gateway gives anyone",
        ),
        (
            "late",
            Some("0"),
            "nothing left: the gateway does not begin",
        ),
        ("unlimited", None, "a caller who says nothing"),
    ] {
        println!("{what}:");
        let mut request = client.get(&url).header("x-correlation-id", id);
        if let Some(budget) = budget {
            request = request.header("x-request-timeout-ms", budget);
        }
        let response = request.send().await?;
        println!("  => {}: {}", response.status(), response.text().await?);
    }
    Ok(())
}
