//! A gRPC stream that breaks off: the call began with a 200 and several messages, and failed. The
//! client's circuit breaker reads the status in the trailers, and opens.
//!
//! Run it with `cargo run --example streaming`. Both sides run on loopback, and end by themselves.

use std::pin::Pin;

use mainstay::{BoxError, Context, State, grpc};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, StreamExt};
use tonic::transport::{Endpoint, Server};
use tonic::{Request, Response, Status};

#[allow(missing_docs, unreachable_pub, reason = "generated")]
mod users {
    include!("proto/users.rs");
}
use users::users_client::UsersClient;
use users::users_server::{Users, UsersServer};
use users::{GetRequest, ListRequest, User};

const NAMES: [&str; 3] = ["ada", "grace", "barbara"];

/// Knows three users. If it is asked for more, its database fails during the stream.
struct Directory;

#[tonic::async_trait]
impl Users for Directory {
    async fn get(&self, request: Request<GetRequest>) -> Result<Response<User>, Status> {
        Ok(Response::new(user(&request.into_inner().name)))
    }

    type ListStream = Pin<Box<dyn Stream<Item = Result<User, Status>> + Send>>;

    async fn list(
        &self,
        request: Request<ListRequest>,
    ) -> Result<Response<Self::ListStream>, Status> {
        let limit = request.into_inner().limit as usize;
        let known = tokio_stream::iter(NAMES).map(|name| {
            // This runs after the method has returned, but still in the context of its request.
            let id = Context::current().correlation_id().map(ToString::to_string);
            println!("  server: {name}, requested by {}", id.unwrap_or_default());
            Ok(user(name))
        });
        let lost = Status::unavailable("the database has failed");
        let end = (limit > NAMES.len()).then_some(Err(lost));
        let all = known.take(limit).chain(tokio_stream::iter(end));
        Ok(Response::new(Box::pin(all)))
    }
}

fn user(name: &str) -> User {
    User {
        name: name.to_owned(),
        email: format!("{name}@example.com"),
    }
}

async fn serve(listener: TcpListener) -> Result<(), BoxError> {
    Server::builder()
        .layer(grpc::server("directory").build()?)
        .add_service(UsersServer::new(Directory))
        .serve_with_incoming(TcpListenerStream::new(listener))
        .await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), BoxError> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("http://{}", listener.local_addr()?);
    let channel = Endpoint::from_shared(address)?.connect_lazy();
    let server = tokio::spawn(serve(listener));

    let stack = grpc::client("users")
        .circuit_breaker(grpc::circuit_breaker().consecutive_failures(2))
        .build()?;
    let circuit = stack.circuit_breaker();
    let users = UsersClient::new(stack.wrap(channel));
    let list = async |limit| -> Result<usize, Status> {
        // A clone shares the circuit.
        let mut list = users
            .clone()
            .list(ListRequest { limit })
            .await?
            .into_inner();
        let mut count = 0;
        loop {
            match list.message().await {
                Ok(Some(_)) => count += 1,
                Ok(None) => return Ok(count),
                Err(status) => {
                    println!("  client: the stream broke off after {count} users");
                    return Err(status);
                }
            }
        }
    };

    for (call, limit) in [3, 10, 10, 3].into_iter().enumerate() {
        println!("up to {limit} users:");
        let id = format!("order-{call}").parse()?;
        let context = Context::current().with_correlation_id(id);
        match context.scope(list(limit)).await {
            Ok(count) => println!("  client: {count} users"),
            Err(status) => println!("  client: {:?}: {}", status.code(), status.message()),
        }
        println!("  the circuit is {}", circuit.state());
    }
    assert_eq!(circuit.state(), State::Open, "two streams broke off");
    server.abort();
    Ok(())
}
