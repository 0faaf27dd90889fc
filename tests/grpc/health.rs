//! tonic's health service, and the graceful shutdown of a tonic server, on real sockets.

use std::time::Duration;

use mainstay::health::Health;
use mainstay::registry::Registry;
use mainstay::shutdown::Shutdown;
use mainstay::{CircuitBreakerLayer, grpc};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use crate::common::{Door, listener, until, within};
use crate::users::users_client::UsersClient;
use crate::users::users_server::{Users, UsersServer};
use crate::users::{GetRequest, ListRequest, User};

struct Directory(Door);

#[tonic::async_trait]
impl Users for Directory {
    async fn get(&self, request: Request<GetRequest>) -> Result<Response<User>, Status> {
        self.0.pass().await;
        let name = request.into_inner().name;
        let email = String::new();
        Ok(Response::new(User { name, email }))
    }

    type ListStream = tokio_stream::Empty<Result<User, Status>>;

    async fn list(&self, _: Request<ListRequest>) -> Result<Response<Self::ListStream>, Status> {
        Ok(Response::new(tokio_stream::empty()))
    }
}

fn named(service: &str) -> HealthCheckRequest {
    HealthCheckRequest {
        service: service.to_owned(),
    }
}

async fn status(client: &HealthClient<Channel>, service: &str) -> Result<ServingStatus, Code> {
    let check = client.clone().check(named(service)).await;
    check
        .map(|reply| reply.into_inner().status())
        .map_err(|status| status.code())
}

type Statuses = tonic::Streaming<HealthCheckResponse>;

async fn next(watch: &mut Statuses) -> Option<ServingStatus> {
    let reply = within("a status", watch.message()).await.unwrap();
    reply.map(|reply| reply.status())
}

#[tokio::test]
async fn a_tonic_server_reports_its_health_and_shuts_down() {
    let registry = Registry::new();
    let payments = CircuitBreakerLayer::builder()
        .name("payments")
        .build()
        .unwrap();
    registry.add(payments.handle());
    let shutdown = Shutdown::builder()
        .registry(&registry)
        .drain(Duration::from_millis(100))
        .manual();
    let health = Health::new(&registry).shutdown(&shutdown);
    let users = health.clone().essential("payments");
    // It has no shutdown of its own.
    let orders = Health::new(&registry).essential("payments");
    let stack = grpc::server("users")
        .registry(&registry)
        .bulkhead(8)
        .build()
        .unwrap();
    let door = Door::closed();
    let (listener, address) = listener().await;
    let server = Server::builder()
        .add_service(
            health
                .grpc()
                .service("users.Users", &users)
                .service("users.Orders", &orders),
        )
        .add_service(stack.wrap(UsersServer::new(Directory(door.clone()))))
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), shutdown.closing());
    let running = shutdown.clone();
    let server = tokio::spawn(async move { running.run(server).await });
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let channel = within("a connection", endpoint.connect()).await.unwrap();
    let client = HealthClient::new(channel.clone());

    assert_eq!(status(&client, "").await, Ok(ServingStatus::Serving));
    assert_eq!(
        status(&client, "users.Users").await,
        Ok(ServingStatus::Serving)
    );
    assert_eq!(status(&client, "shop.Orders").await, Err(Code::NotFound));
    let watch = async |service: &str| {
        client
            .clone()
            .watch(named(service))
            .await
            .unwrap()
            .into_inner()
    };
    let mut of_server = watch("").await;
    let mut of_users = watch("users.Users").await;
    let mut of_orders = watch("users.Orders").await;
    let mut of_unknown = watch("shop.Orders").await;
    assert_eq!(next(&mut of_server).await, Some(ServingStatus::Serving));
    assert_eq!(next(&mut of_users).await, Some(ServingStatus::Serving));
    assert_eq!(next(&mut of_orders).await, Some(ServingStatus::Serving));
    assert_eq!(
        next(&mut of_unknown).await,
        Some(ServingStatus::ServiceUnknown)
    );

    payments.handle().force_open();
    assert_eq!(status(&client, "").await, Ok(ServingStatus::Serving));
    assert_eq!(
        status(&client, "users.Users").await,
        Ok(ServingStatus::NotServing)
    );
    // Each watch looks once a second, and must have seen it before it is over.
    assert_eq!(next(&mut of_users).await, Some(ServingStatus::NotServing));
    assert_eq!(next(&mut of_orders).await, Some(ServingStatus::NotServing));
    payments.handle().reset();
    assert_eq!(next(&mut of_users).await, Some(ServingStatus::Serving));
    assert_eq!(next(&mut of_orders).await, Some(ServingStatus::Serving));

    let mut stub = UsersClient::new(channel.clone());
    let call = tokio::spawn(async move {
        stub.get(GetRequest {
            name: "ada".to_owned(),
        })
        .await
    });
    until("a call in the handler", || door.entered() == 1).await;
    shutdown.begin();
    // At once, and not at the next second.
    assert_eq!(next(&mut of_server).await, Some(ServingStatus::NotServing));
    assert_eq!(next(&mut of_users).await, Some(ServingStatus::NotServing));
    assert_eq!(next(&mut of_orders).await, Some(ServingStatus::NotServing));
    assert_eq!(next(&mut of_server).await, None);
    assert_eq!(next(&mut of_users).await, None);
    assert_eq!(next(&mut of_orders).await, None);
    assert_eq!(next(&mut of_unknown).await, None);
    assert!(!server.is_finished(), "a call is in flight");
    door.open();
    let user = within("an answer", call).await.unwrap().unwrap();
    assert_eq!(user.into_inner().name, "ada");
    within("the server", server)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}

/// Calls are sent all the time, by a client that reconnects as tonic's does, until health fails.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn under_load_no_call_fails() {
    let registry = Registry::new();
    let shutdown = Shutdown::builder()
        .registry(&registry)
        .drain(Duration::from_millis(150))
        .manual();
    let health = Health::new(&registry).shutdown(&shutdown);
    let stack = grpc::server("users").registry(&registry).build().unwrap();
    let door = Door::closed();
    door.open();
    let (listener, address) = listener().await;
    let server = Server::builder()
        .add_service(health.grpc())
        .add_service(stack.wrap(UsersServer::new(Directory(door.clone()))))
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), shutdown.closing());
    let running = shutdown.clone();
    let server = tokio::spawn(async move { running.run(server).await });
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..4 {
        let channel = Endpoint::from_shared(format!("http://{address}"))
            .unwrap()
            .connect_lazy();
        let health = HealthClient::new(channel.clone());
        callers.spawn(async move {
            let mut stub = UsersClient::new(channel);
            while status(&health, "").await == Ok(ServingStatus::Serving) {
                stub.get(GetRequest::default()).await.unwrap();
            }
        });
    }
    until("a hundred calls", || door.entered() >= 100).await;
    shutdown.begin();
    while let Some(caller) = within("the callers", callers.join_next()).await {
        caller.unwrap();
    }
    within("the server", server)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}
