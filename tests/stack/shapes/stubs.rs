//! tonic: stubs around client stacks, services within server stacks, over real sockets.

use std::net::SocketAddr;

use mainstay::{BulkheadLayer, CorrelationLayer, RespondLayer, TimeoutLayer, grpc};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::body::Body;
use tonic::server::NamedService;
use tonic::service::interceptor::{InterceptedService, InterceptorLayer};
use tonic::service::{LayerExt as _, Routes};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status};
use tower::util::{BoxCloneService, BoxCloneSyncService};
use tower::{Layer, ServiceBuilder, ServiceExt as _};

use crate::common::{listener, within};
use crate::users::users_client::UsersClient;
use crate::users::users_server::{Users, UsersServer};
use crate::users::{GetRequest, ListRequest, User};

/// Answers with the token that interceptors put into the request.
#[derive(Clone)]
struct Directory;

#[tonic::async_trait]
impl Users for Directory {
    async fn get(&self, request: Request<GetRequest>) -> Result<Response<User>, Status> {
        let tokens = request.metadata().get_all("token").iter();
        let email = tokens.map(|token| token.to_str().unwrap()).collect();
        let name = request.into_inner().name;
        Ok(Response::new(User { name, email }))
    }

    type ListStream = tokio_stream::Iter<std::vec::IntoIter<Result<User, Status>>>;

    async fn list(
        &self,
        request: Request<ListRequest>,
    ) -> Result<Response<Self::ListStream>, Status> {
        let one = Ok(User::default());
        let users = vec![one; request.into_inner().limit as usize];
        Ok(Response::new(tokio_stream::iter(users)))
    }
}

fn with_token(mut request: Request<()>) -> Result<Request<()>, Status> {
    request.metadata_mut().append("token", "t".parse().unwrap());
    Ok(request)
}

fn nobody(_: Request<()>) -> Result<Request<()>, Status> {
    Err(Status::unauthenticated("no token"))
}

fn get() -> GetRequest {
    GetRequest {
        name: "ada".to_owned(),
    }
}

/// Serves these routes until the test ends.
async fn serve_routes(routes: Routes) -> SocketAddr {
    let (listener, address) = listener().await;
    let server = Server::builder().add_routes(routes);
    let server = server.serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(async move { server.await.unwrap() });
    address
}

fn channel(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect_lazy()
}

async fn directory() -> Channel {
    channel(serve_routes(Routes::new(UsersServer::new(Directory))).await)
}

/// What the server saw, after a unary call and a stream of three through this stub. A macro, because nobody wants to write the bounds.
macro_rules! tokens {
    ($stub:expr) => {{
        let mut stub = $stub;
        let user = within("an answer", stub.get(get())).await.unwrap();
        let stream = within("a stream", stub.list(ListRequest { limit: 3 })).await;
        let mut stream = stream.unwrap().into_inner();
        for _ in 0..3 {
            assert!(
                within("a message", stream.message())
                    .await
                    .unwrap()
                    .is_some()
            );
        }
        assert!(within("the end", stream.message()).await.unwrap().is_none());
        user.into_inner().email
    }};
}

fn client() -> grpc::ClientStack {
    grpc::client("users").build().unwrap()
}

fn server() -> grpc::ServerStack {
    grpc::server("users").build().unwrap()
}

#[tokio::test]
async fn an_interceptor_around_a_client_stack() {
    let channel = directory().await;
    let stack = client();
    let stub = UsersClient::with_interceptor(stack.wrap(channel.clone()), with_token);
    assert_eq!(tokens!(stub), "t");
    let intercepted = InterceptedService::new(stack.wrap(channel.clone()), with_token);
    assert_eq!(tokens!(UsersClient::new(intercepted)), "t");

    let mut stub = UsersClient::with_interceptor(stack.wrap(channel.clone()), nobody);
    assert_eq!(
        stub.get(get()).await.unwrap_err().code(),
        Code::Unauthenticated
    );
    // A rejection passes through it.
    stack.circuit_breaker().force_open();
    let mut stub = UsersClient::with_interceptor(stack.wrap(channel), with_token);
    assert_eq!(stub.get(get()).await.unwrap_err().code(), Code::Unavailable);
}

#[tokio::test]
async fn an_interceptor_around_single_layers() {
    let channel = directory().await;
    let service = ServiceBuilder::new()
        .layer(CorrelationLayer::client())
        .layer(grpc::timeout().build().unwrap())
        .layer(grpc::retry().build().unwrap())
        .layer(grpc::circuit_breaker().build().unwrap())
        .layer(grpc::load_shed().build().unwrap())
        .layer(grpc::bulkhead().build().unwrap())
        .layer(TimeoutLayer::new(std::time::Duration::from_secs(5)))
        .service(channel);
    assert_eq!(
        tokens!(UsersClient::with_interceptor(service, with_token)),
        "t"
    );
}

#[tokio::test]
async fn an_interceptor_within_a_client_stack() {
    let channel = directory().await;
    let within = client().wrap(InterceptedService::new(channel.clone(), with_token));
    assert_eq!(tokens!(UsersClient::new(within.clone())), "t");
    let both = UsersClient::with_interceptor(within, with_token);
    assert_eq!(tokens!(both), "tt");
    let stack = grpc::client("users").with_attempt_layer(InterceptorLayer::new(with_token));
    let service = stack.build().unwrap().wrap(channel);
    assert_eq!(tokens!(UsersClient::new(service.clone())), "t");
    let both = UsersClient::with_interceptor(service, with_token);
    assert_eq!(tokens!(both), "tt");
}

#[tokio::test]
async fn a_stub_by_its_other_settings() {
    let channel = directory().await;
    let stub = UsersClient::with_origin(
        client().wrap(channel.clone()),
        "http://users".parse().unwrap(),
    )
    .max_decoding_message_size(1024)
    .max_encoding_message_size(1024);
    assert_eq!(tokens!(stub), "");
    let (boxed, sync) = (boxed(channel.clone()), boxed_sync(channel));
    assert_eq!(tokens!(UsersClient::new(boxed)), "");
    assert_eq!(
        tokens!(UsersClient::with_interceptor(sync, with_token)),
        "t"
    );
}

/// As a struct keeps it that does not want to name the stack.
fn boxed(channel: Channel) -> BoxCloneService<http::Request<Body>, http::Response<Body>, Status> {
    ServiceBuilder::new()
        .map_response(|response: http::Response<_>| response.map(Body::new))
        .layer(client())
        .service(channel)
        .boxed_clone()
}

fn boxed_sync(
    channel: Channel,
) -> BoxCloneSyncService<http::Request<Body>, http::Response<Body>, Status> {
    let stack = ServiceBuilder::new()
        .map_response(|response: http::Response<_>| response.map(Body::new))
        .layer(client());
    BoxCloneSyncService::new(stack.service(channel))
}

#[tokio::test]
async fn a_client_stack_around_a_boxed_client() {
    let boxed = BoxCloneService::new(directory().await);
    let stub = UsersClient::with_interceptor(client().layer(boxed), with_token);
    assert_eq!(tokens!(stub), "t");
}

#[tokio::test]
async fn one_service_within_a_server_stack_keeps_its_name() {
    const fn name<S: NamedService>(_: &S) -> &'static str {
        S::NAME
    }
    let stack = server();
    let wrapped = stack.wrap(UsersServer::new(Directory));
    assert_eq!(name(&wrapped), "users.Users");
    let named = stack.named_layer(UsersServer::new(Directory));
    assert_eq!(name(&named), "users.Users");
    let intercepted = stack.wrap(UsersServer::with_interceptor(Directory, with_token));
    let around = InterceptedService::new(stack.wrap(UsersServer::new(Directory)), with_token);
    let layers = ServiceBuilder::new()
        .layer(CorrelationLayer::server())
        .layer(RespondLayer::new())
        .layer(grpc::timeout().build().unwrap())
        .layer(grpc::load_shed().build().unwrap())
        .layer(BulkheadLayer::new(8))
        .service(UsersServer::new(Directory));
    assert_eq!(name(&layers), "users.Users");

    for (routes, tokens) in [
        (Routes::new(wrapped), ""),
        (Routes::new(named), ""),
        (Routes::new(intercepted), "t"),
        (Routes::new(around), "t"),
        (Routes::new(layers), ""),
    ] {
        let channel = channel(serve_routes(routes).await);
        assert_eq!(tokens!(UsersClient::new(channel)), tokens);
    }
}

#[tokio::test]
async fn a_server_of_one_wrapped_service() {
    let (listener, address) = listener().await;
    let mut routes = Routes::builder();
    routes.add_service(server().wrap(UsersServer::new(Directory)));
    let server = Server::builder()
        .add_service(server().wrap(UsersServer::new(Directory)))
        .add_optional_service(Some(server().wrap(Other)))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(async move { server.await.unwrap() });
    assert_eq!(tokens!(UsersClient::new(channel(address))), "");
    let address = serve_routes(routes.routes()).await;
    assert_eq!(tokens!(UsersClient::new(channel(address))), "");
}

/// A service of another name.
#[derive(Clone)]
struct Other;

impl NamedService for Other {
    const NAME: &'static str = "other.Other";
}

impl tower::Service<http::Request<Body>> for Other {
    type Response = http::Response<Body>;
    type Error = std::convert::Infallible;
    type Future = std::future::Ready<Result<Self::Response, Self::Error>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Self::Error>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, _: http::Request<Body>) -> Self::Future {
        std::future::ready(Ok(Status::unimplemented("other").into_http()))
    }
}

#[tokio::test]
async fn interceptors_on_both_sides_of_a_whole_servers_stack() {
    let (listener, address) = listener().await;
    let layers = ServiceBuilder::new()
        .layer(InterceptorLayer::new(with_token))
        .layer(server())
        .layer(InterceptorLayer::new(with_token));
    let server = Server::builder()
        .layer(layers)
        .add_service(UsersServer::new(Directory))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(async move { server.await.unwrap() });
    assert_eq!(tokens!(UsersClient::new(channel(address))), "tt");
}

#[tokio::test]
async fn a_stack_within_an_axum_router_of_tonics_routes() {
    let router = Routes::new(UsersServer::new(Directory))
        .prepare()
        .into_axum_router()
        .layer(server());
    let address = crate::common::serve(router).await;
    assert_eq!(tokens!(UsersClient::new(channel(address))), "");

    let mut routes = Routes::new(server().wrap(UsersServer::new(Directory)));
    let router = std::mem::take(routes.axum_router_mut()).layer(server());
    *routes.axum_router_mut() = router;
    let address = serve_routes(routes).await;
    assert_eq!(tokens!(UsersClient::new(channel(address))), "");
}
