//! Settings of single requests over real sockets: their key.

use std::pin::Pin;

use axum::Router;
use axum::extract::Request as AxumRequest;
use axum::middleware::{Next, from_fn};
use axum::routing::any;
use bytes::Bytes;
use futures::Stream;
use http_body_util::{Empty, Full};
use hyper_util::client::legacy::Client as Hyper;
use hyper_util::rt::TokioExecutor;
use mainstay::reqwest::SendThrough as _;
use mainstay::{Overrides, grpc, http, reqwest as resilient};
use tonic::transport::Endpoint;
use tonic::{Request, Response, Status};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::common::{Door, listener, serve, until};
use crate::users::users_client::UsersClient;
use crate::users::users_server::{Users, UsersServer};
use crate::users::{GetRequest, ListRequest, User};

fn key(key: &str) -> Overrides {
    Overrides::new().key("a", key)
}

fn request(uri: String, overrides: Option<Overrides>) -> ::http::Request<Full<Bytes>> {
    let mut request = ::http::Request::get(uri).body(Full::default()).unwrap();
    if let Some(overrides) = overrides {
        request.extensions_mut().insert(overrides);
    }
    request
}

struct Service;

#[tonic::async_trait]
impl Users for Service {
    async fn get(&self, request: Request<GetRequest>) -> Result<Response<User>, Status> {
        let (name, email) = (request.into_inner().name, String::new());
        Ok(Response::new(User { name, email }))
    }

    type ListStream = Pin<Box<dyn Stream<Item = Result<User, Status>> + Send>>;

    async fn list(&self, _: Request<ListRequest>) -> Result<Response<Self::ListStream>, Status> {
        Err(Status::unimplemented("not here"))
    }
}

#[tokio::test]
async fn a_request_of_reqwest_has_the_key_of_its_scope() {
    let address = serve(Router::new().route("/", any(async || "done"))).await;
    let bare = reqwest::Client::new();
    let stack = resilient::client("a").build().unwrap();
    let client = stack.wrap(bare.clone());
    let url = format!("http://{address}/");
    let call = || bare.get(&url).send_through(&client);
    key("tenant-7").scope(call()).await.unwrap();
    assert_eq!(stack.circuit_breaker().keys(), ["tenant-7"]);
    assert_eq!(stack.bulkhead().keys(), ["tenant-7"]);
    call().await.unwrap();
    let of_host = stack.circuit_breaker().key(&address.to_string());
    assert!(of_host.is_some(), "the next one has the key of its host");
}

#[tokio::test]
async fn a_request_of_hyper_has_the_key_of_its_extension() {
    let address = serve(Router::new().route("/", any(async || "done"))).await;
    let stack = http::client("a").build().unwrap();
    let client = stack.wrap(Hyper::builder(TokioExecutor::new()).build_http());
    let send = |key| {
        let request = request(format!("http://{address}/"), key);
        client.clone().oneshot(request)
    };
    send(Some(key("tenant-7"))).await.unwrap();
    // The extension comes before the scope.
    let scope = key("of scope");
    scope.scope(send(Some(key("tenant-7")))).await.unwrap();
    assert_eq!(stack.circuit_breaker().keys(), ["tenant-7"]);
    assert_eq!(stack.bulkhead().keys(), ["tenant-7"]);
    let other = Some(Overrides::new().no_retry());
    scope.scope(send(other)).await.unwrap();
    assert!(stack.circuit_breaker().key("of scope").is_some());
    send(None).await.unwrap();
    assert!(stack.bulkhead().key(&address.to_string()).is_some());
}

#[tokio::test]
async fn a_call_of_a_stub_has_the_key_of_its_extension() {
    let (listener, address) = listener().await;
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    let router = tonic::transport::Server::builder().add_service(UsersServer::new(Service));
    tokio::spawn(router.serve_with_incoming(incoming));
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let stack = grpc::client("a").keyed_by(grpc::by_method());
    let stack = stack.build().unwrap();
    let mut stub = UsersClient::new(stack.wrap(channel.connect_lazy()));
    let mut get = async |overrides: Option<Overrides>| {
        let name = "ann".to_owned();
        let mut request = Request::new(GetRequest { name });
        if let Some(overrides) = overrides {
            request.extensions_mut().insert(overrides);
        }
        stub.get(request).await.unwrap();
    };
    get(Some(key("tenant-7"))).await;
    assert_eq!(stack.circuit_breaker().keys(), ["tenant-7"]);
    get(None).await;
    assert!(stack.bulkhead().key("users.Users/Get").is_some());
}

#[tokio::test]
async fn an_axum_server_gives_a_tenant_its_own_bulkhead() {
    let door = Door::closed();
    let behind = door.clone();
    let handler = async move || {
        behind.pass().await;
        "done"
    };
    let stack = http::server("a")
        .bulkhead(1)
        .keyed(|_| "everybody".into())
        .build()
        .unwrap();
    // Whoever is outside of the stack knows the tenant.
    let decide = from_fn(async |mut request: AxumRequest, next: Next| {
        if let Some(tenant) = request.uri().query().map(str::to_owned) {
            request.extensions_mut().insert(key(&tenant));
        }
        next.run(request).await
    });
    let app = Router::new().route("/", any(handler));
    let address = serve(app.layer(stack.clone()).layer(decide)).await;
    let bare = reqwest::Client::new();
    let send = |tenant: &str| bare.get(format!("http://{address}/{tenant}")).send();
    let first = tokio::spawn(send("?a"));
    until("the first request", || door.entered() == 1).await;
    assert_eq!(send("?a").await.unwrap().status(), 503);
    let second = tokio::spawn(send("?b"));
    let third = tokio::spawn(send(""));
    until("those of other keys", || door.entered() == 3).await;
    door.open();
    for sent in [first, second, third] {
        assert_eq!(sent.await.unwrap().unwrap().status(), 200);
    }
    let mut keys = stack.bulkhead().keys();
    keys.sort();
    assert_eq!(keys, ["a", "b", "everybody"]);
}

/// A layer outside of a stack, with each of the keys that know HTTP.
#[tokio::test]
async fn the_keys_of_http_see_the_extension_outside_of_stacks() {
    let answer =
        service_fn(async |_| Ok::<_, std::io::Error>(::http::Response::new(Empty::<Bytes>::new())));
    macro_rules! keys {
        ($($by:expr),*) => {[$({
            let layer = http::bulkhead().name("a").limit(1);
            let layer = layer.keyed_by($by).build().unwrap();
            let service = layer.layer(answer.clone());
            let request = request("http://host/a.B/C".to_owned(), Some(key("tenant-7")));
            service.oneshot(request).await.unwrap();
            layer.handle().keys()
        }),*]};
    }
    let keys = keys![
        http::by_authority(),
        http::by_header("x-tenant"),
        grpc::by_method()
    ];
    assert_eq!(keys, [["tenant-7"], ["tenant-7"], ["tenant-7"]]);
}
