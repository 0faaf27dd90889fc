//! A tonic server behind a standard stack, and a tonic client behind another one. It shows the
//! status that a caller receives when either of them rejects a call, and one correlation ID on both
//! sides.
//!
//! Run it with `cargo run --example tonic_server_client`. Both run on loopback, and end by
//! themselves. The code for `examples/proto/users.proto` is generated without `protoc`, and is next
//! to it.

use std::time::Duration;

use mainstay::{BoxError, Context, grpc};
use tokio::net::TcpListener;
use tokio_stream::Stream;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status};

#[allow(missing_docs, unreachable_pub, reason = "generated")]
mod users {
    include!("proto/users.rs");
}
use users::users_client::UsersClient;
use users::users_server::{Users, UsersServer};
use users::{GetRequest, ListRequest, User};

/// Knows everyone. `slow` takes 300 milliseconds, and `broken` fails.
struct Directory;

#[tonic::async_trait]
impl Users for Directory {
    async fn get(&self, request: Request<GetRequest>) -> Result<Response<User>, Status> {
        let name = request.into_inner().name;
        let id = Context::current().correlation_id().map(ToString::to_string);
        println!("  server: {name}, requested by {}", id.unwrap_or_default());
        match &*name {
            "slow" => tokio::time::sleep(Duration::from_millis(300)).await,
            "broken" => return Err(Status::unavailable("the directory is broken")),
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
    let stack = grpc::server("directory")
        .timeout(Duration::from_millis(200))
        .bulkhead(1)
        .build()?;
    Server::builder()
        .layer(stack)
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

    let stack = grpc::client("users")
        .timeout(Duration::from_secs(2))
        .circuit_breaker(grpc::circuit_breaker().consecutive_failures(3))
        .build()?;
    println!("{stack}");
    let circuit = stack.circuit_breaker();
    let users = UsersClient::new(stack.wrap(channel));
    let get = async |name: &str| {
        // A stub's methods take `&mut self`. A clone shares the circuit and the limit.
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
                    "  client: {:?}: {}, retry after (ms): {again:?}",
                    status.code(),
                    status.message()
                );
            }
        }
    };

    println!("a call, with the caller's ID:");
    let context = Context::current().with_correlation_id("order-4711".parse()?);
    context.scope(get("ada")).await;
    println!("two calls at once with a limit of one:");
    tokio::join!(get("slow"), get("slow"));
    println!("failures open the client's circuit:");
    circuit.reset();
    for _ in 0..2 {
        get("broken").await;
    }
    println!("the circuit is {}", circuit.state());
    server.abort();
    Ok(())
}
