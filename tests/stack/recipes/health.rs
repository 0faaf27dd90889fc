//! "gRPC health checks".

use std::pin::Pin;

use mainstay::grpc;
use mainstay::health::Health;
use tokio_stream::Stream;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Endpoint, Server};
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;

use crate::common::{Door, listener, until, within};
use crate::users::users_client::UsersClient;
use crate::users::users_server::{Users, UsersServer};
use crate::users::{GetRequest, ListRequest, User};

struct Directory(Door);

#[tonic::async_trait]
impl Users for Directory {
    async fn get(&self, _: Request<GetRequest>) -> Result<Response<User>, Status> {
        self.0.pass().await;
        Ok(Response::new(User::default()))
    }

    type ListStream = Pin<Box<dyn Stream<Item = Result<User, Status>> + Send>>;

    async fn list(&self, _: Request<ListRequest>) -> Result<Response<Self::ListStream>, Status> {
        Ok(Response::new(Box::pin(tokio_stream::empty())))
    }
}

#[tokio::test]
async fn health_checks_are_answered_while_the_server_is_full() {
    let door = Door::closed();
    let stack = grpc::server("users").bulkhead(1).build().unwrap();
    let health = Health::global();
    let server = Server::builder()
        .add_service(health.grpc().service("users.Users", &health))
        .add_service(stack.wrap(UsersServer::new(Directory(door.clone()))));
    let (listener, address) = listener().await;
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));

    let channel = Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect_lazy();
    let get = || {
        let mut users = UsersClient::new(channel.clone());
        async move { within("an answer", users.get(GetRequest::default())).await }
    };
    let first = tokio::spawn(get());
    until("a call in the handler", || door.entered() == 1).await;
    let status = get().await.unwrap_err();
    let rejected = [Code::Unavailable, Code::ResourceExhausted];
    assert!(rejected.contains(&status.code()), "{status}");

    let request = HealthCheckRequest {
        service: "users.Users".to_owned(),
    };
    let mut health = HealthClient::new(channel.clone());
    let answer = within("an answer", health.check(request)).await.unwrap();
    assert_eq!(answer.into_inner().status().as_str_name(), "SERVING");
    door.open();
    first.await.unwrap().unwrap();
}
