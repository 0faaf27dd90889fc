//! A tonic server behind the layers, and a tonic client behind its own: which status a caller sees when either of them rejects a call,
//! and one correlation ID on both sides.
//!
//! Run it with `cargo run --example tonic_server_client`. Both are on loopback; it ends by itself. The code for
//! `examples/proto/users.proto` is generated without `protoc` and kept beside it.

use std::time::Duration;

use mainstay::{
    BoxError, BulkheadLayer, Context, CorrelationLayer, Limit, LoadShedLayer, RespondLayer,
    TimeoutLayer,
};
use tokio::net::TcpListener;
use tokio_stream::Stream;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status};
use tower::ServiceBuilder;

#[allow(missing_docs, unreachable_pub, reason = "generated")]
mod users {
    include!("proto/users.rs");
}
use users::users_client::UsersClient;
use users::users_server::{Users, UsersServer};
use users::{GetRequest, ListRequest, User};

/// Knows everyone. `slow` takes its time, and `sick` is not well.
struct Directory;

#[tonic::async_trait]
impl Users for Directory {
    async fn get(&self, request: Request<GetRequest>) -> Result<Response<User>, Status> {
        let name = request.into_inner().name;
        let id = Context::current().correlation_id().map(ToString::to_string);
        println!("  server: {name}, asked for by {}", id.unwrap_or_default());
        match &*name {
            "slow" => tokio::time::sleep(Duration::from_millis(300)).await,
            "sick" => return Err(Status::unavailable("the directory is not well")),
            _ => {}
        }
        let email = format!("{name}@example.com");
        Ok(Response::new(User { name, email }))
    }

    type ListStream = std::pin::Pin<Box<dyn Stream<Item = Result<User, Status>> + Send>>;

    async fn list(&self, _: Request<ListRequest>) -> Result<Response<Self::ListStream>, Status> {
        Ok(Response::new(Box::pin(tokio_stream::empty())))
    }
}

async fn serve(listener: TcpListener) -> Result<(), BoxError> {
    let layers = ServiceBuilder::new()
        .layer(CorrelationLayer::server())
        .layer(RespondLayer::new())
        .layer(LoadShedLayer::new(Limit::adaptive()))
        .layer(TimeoutLayer::new(Duration::from_millis(200)))
        .layer(
            BulkheadLayer::builder()
                .name("directory")
                .limit(1)
                .build()?,
        )
        .into_inner();
    Server::builder()
        .layer(layers)
        .add_service(UsersServer::new(Directory))
        .serve_with_incoming(TcpListenerStream::new(listener))
        .await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let channel =
        Endpoint::from_shared(format!("http://{}", listener.local_addr()?))?.connect_lazy();
    let server = tokio::spawn(serve(listener));

    let circuit = mainstay::grpc::circuit_breaker()
        .name("users")
        .consecutive_failures(2)
        .build()?;
    let handle = circuit.handle();
    let users = UsersClient::new(
        ServiceBuilder::new()
            .layer(CorrelationLayer::client())
            .layer(TimeoutLayer::new(Duration::from_secs(1)))
            .layer(circuit)
            .layer(BulkheadLayer::new(64))
            .service(channel),
    );
    let get = async |name: &str| {
        // A stub's methods take `&mut self`; a clone shares circuit and limit.
        let answer = users
            .clone()
            .get(GetRequest {
                name: name.to_owned(),
            })
            .await;
        match answer {
            Ok(user) => println!("  client: {}", user.into_inner().email),
            Err(status) => {
                let again = status.metadata().get("grpc-retry-pushback-ms");
                println!(
                    "  client: {:?}: {}, again in ms: {again:?}",
                    status.code(),
                    status.message()
                );
            }
        }
    };

    println!("a call, with the caller's ID:");
    let context = Context::current().with_correlation_id("order-4711".parse()?);
    context.scope(get("ada")).await;
    println!("two at once, where the server takes one:");
    tokio::join!(get("grace"), get("slow"));
    println!("failures open the client's circuit:");
    handle.reset();
    for _ in 0..3 {
        get("sick").await;
    }
    println!("the circuit is {}", handle.state());
    server.abort();
    Ok(())
}
