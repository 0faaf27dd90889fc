//! The priority of single requests over real sockets.

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
use mainstay::{
    Context, Limit, LoadShedLayer, Overrides, Priority, Reason, Rejection, grpc, http,
    reqwest as resilient,
};
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status};
use tower::{Layer as _, ServiceBuilder, ServiceExt as _, service_fn};

use crate::common::{Door, listener, serve, until};
use crate::users::users_client::UsersClient;
use crate::users::users_server::{Users, UsersServer};
use crate::users::{GetRequest, ListRequest, User};

fn of(priority: Priority) -> Overrides {
    Overrides::new().priority(priority)
}

/// Waits for the door, and answers with the priority of the context in another task.
async fn answer(door: Door) -> String {
    let before = Context::current().priority();
    door.pass().await;
    assert_eq!(Context::current().priority(), before);
    let task = mainstay::spawn(async { Context::current().priority() });
    task.await.unwrap().to_string()
}

/// A router whose handlers wait for the door. Outside of the stack, a header sets the priority.
fn router(door: &Door, stack: &http::ServerStack) -> Router {
    let decide = from_fn(async |mut request: AxumRequest, next: Next| {
        if let Some(priority) = priority_of(request.headers()) {
            request.extensions_mut().insert(of(priority));
        }
        next.run(request).await
    });
    let door = door.clone();
    let handler = async move || answer(door).await;
    Router::new()
        .route("/", any(handler))
        .layer(stack.clone())
        .layer(decide)
}

fn priority_of(headers: &::http::HeaderMap) -> Option<Priority> {
    headers.get("x-priority")?.to_str().ok()?.parse().ok()
}

fn request(uri: &str, priority: Option<Priority>) -> ::http::Request<Full<Bytes>> {
    let mut request = ::http::Request::get(uri).body(Full::default()).unwrap();
    if let Some(priority) = priority {
        request.extensions_mut().insert(of(priority));
    }
    request
}

struct Service(Door);

#[tonic::async_trait]
impl Users for Service {
    async fn get(&self, request: Request<GetRequest>) -> Result<Response<User>, Status> {
        let name = request.into_inner().name;
        let email = answer(self.0.clone()).await;
        Ok(Response::new(User { name, email }))
    }

    type ListStream = Pin<Box<dyn Stream<Item = Result<User, Status>> + Send>>;

    async fn list(&self, _: Request<ListRequest>) -> Result<Response<Self::ListStream>, Status> {
        Err(Status::unimplemented("not here"))
    }
}

/// A gRPC server in a stack. Outside of the stack, a header sets the priority.
async fn users(door: &Door, stack: http::ServerStack) -> Channel {
    let (listener, address) = listener().await;
    let incoming = tokio_stream::wrappers::TcpListenerStream::new(listener);
    let decide = ServiceBuilder::new().map_request(|mut request: ::http::Request<_>| {
        if let Some(priority) = priority_of(request.headers()) {
            request.extensions_mut().insert(of(priority));
        }
        request
    });
    let mut server = Server::builder().layer(decide.into_inner()).layer(stack);
    let router = server.add_service(UsersServer::new(Service(door.clone())));
    tokio::spawn(router.serve_with_incoming(incoming));
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap();
    channel.connect_lazy()
}

fn get_request() -> Request<GetRequest> {
    let name = "ann".to_owned();
    Request::new(GetRequest { name })
}

#[tokio::test]
async fn an_axum_server_sheds_the_lower_class_first() {
    for has_timeout in [true, false] {
        let door = Door::closed();
        let mut stack = http::server("api").load_shed(Limit::fixed(2));
        if !has_timeout {
            stack = stack.without_timeout();
        }
        let stack = stack.build().unwrap();
        let address = serve(router(&door, &stack)).await;
        let bare = reqwest::Client::new();
        let send = |priority: &str| {
            let request = bare.get(format!("http://{address}/"));
            request.header("x-priority", priority).send()
        };
        let high = tokio::spawn(send("high"));
        until("the first request", || door.entered() == 1).await;
        // Of two permits, a high call leaves one to its own class.
        assert_eq!(send("normal").await.unwrap().status(), 503);
        assert_eq!(send("").await.unwrap().status(), 503, "the default");
        let second = tokio::spawn(send("high"));
        until("the second request", || door.entered() == 2).await;
        door.open();
        for sent in [high, second] {
            let response = sent.await.unwrap().unwrap();
            assert_eq!(response.text().await.unwrap(), "high");
        }
        let shed = stack.load_shed().snapshot().rejections;
        assert_eq!((shed.total(), stack.load_shed().in_flight()), (2, 0));
    }
}

#[tokio::test]
async fn a_tonic_server_does_so_too() {
    let door = Door::closed();
    let stack = grpc::server("users").load_shed(Limit::fixed(2));
    let channel = users(&door, stack.build().unwrap()).await;
    let get = |priority: &'static str| {
        let mut stub = UsersClient::new(channel.clone());
        async move {
            let mut request = get_request();
            let value = priority.parse().unwrap();
            request.metadata_mut().insert("x-priority", value);
            stub.get(request).await
        }
    };
    let normal = tokio::spawn(get("normal"));
    until("the first call", || door.entered() == 1).await;
    let status = get("low").await.unwrap_err();
    assert_eq!(status.code(), Code::Unavailable);
    let second = tokio::spawn(get("normal"));
    until("the second call", || door.entered() == 2).await;
    door.open();
    normal.await.unwrap().unwrap();
    second.await.unwrap().unwrap();
    let user = get("critical").await.unwrap().into_inner();
    assert_eq!(user.email, "critical");
}

#[tokio::test]
async fn a_stub_has_the_priority_of_its_extension() {
    let door = Door::closed();
    let channel = users(&door, grpc::server("users").build().unwrap()).await;
    let stack = grpc::client("users").bulkhead(1).build().unwrap();
    let stub = UsersClient::new(stack.wrap(channel));
    let get = |priority| {
        let mut stub = stub.clone();
        let mut request = get_request();
        request.extensions_mut().insert(of(priority));
        async move { stub.get(request).await }
    };
    let first = tokio::spawn(get(Priority::High));
    until("the first call", || door.entered() == 1).await;
    let status = get(Priority::Low).await.unwrap_err();
    let rejection = Rejection::find(&status).unwrap();
    assert_eq!(
        (rejection.reason(), rejection.priority()),
        (Reason::Full, Priority::Low)
    );
    door.open();
    let user = first.await.unwrap().unwrap().into_inner();
    assert_eq!(user.email, "normal", "the server has no header");
}

#[tokio::test]
async fn a_request_of_hyper_has_the_priority_of_its_extension() {
    let door = Door::closed();
    let open = http::server("api").build().unwrap();
    let url = format!("http://{}/", serve(router(&door, &open)).await);
    let hyper = || Hyper::builder(TokioExecutor::new()).build_http::<Full<Bytes>>();
    // Layers without a stack: the time limit sets the context.
    let client = ServiceBuilder::new()
        .layer(http::timeout().build().unwrap())
        .layer(http::load_shed().limit(Limit::fixed(2)).build().unwrap())
        .service(hyper());
    let send = |priority| client.clone().oneshot(request(&url, priority));
    let first = tokio::spawn(send(None));
    until("the first request", || door.entered() == 1).await;
    let error = send(Some(Priority::Sheddable)).await.unwrap_err();
    let rejection = Rejection::find(&error).unwrap();
    assert_eq!(
        (rejection.reason(), rejection.priority()),
        (Reason::Shed, Priority::Sheddable)
    );
    // The extension comes before the context.
    let high = of(Priority::High);
    let error = high.scope(send(Some(Priority::Low))).await.unwrap_err();
    let rejection = Rejection::find(&error).unwrap();
    assert_eq!(rejection.priority(), Priority::Low);
    let second = tokio::spawn(send(None));
    until("the second request", || door.entered() == 2).await;
    door.open();
    for sent in [first, second] {
        assert_eq!(sent.await.unwrap().unwrap().status(), 200);
    }
}

#[tokio::test]
async fn a_request_of_reqwest_has_the_priority_of_its_scope() {
    let door = Door::closed();
    let open = http::server("api").build().unwrap();
    let url = format!("http://{}/", serve(router(&door, &open)).await);
    let bare = reqwest::Client::new();
    let shed = LoadShedLayer::new(Limit::fixed(2)).layer(bare.clone());
    let stack = resilient::client("a").build().unwrap();
    let client = stack.wrap(shed);
    let send = || bare.get(&url).send_through(&client);
    let first = tokio::spawn(send());
    until("the first request", || door.entered() == 1).await;
    let low = of(Priority::Low).no_retry();
    let error = low.scope(send()).await.unwrap_err();
    let rejection = error.as_rejection().unwrap();
    assert_eq!(
        (rejection.reason(), rejection.priority()),
        (Reason::Shed, Priority::Low)
    );
    let second = tokio::spawn(send());
    until("the second request", || door.entered() == 2).await;
    door.open();
    for sent in [first, second] {
        assert_eq!(sent.await.unwrap().unwrap().status(), 200);
    }
}

/// The retries of a stack, and the layers inside of it, run within the priority.
#[tokio::test(start_paused = true)]
async fn every_attempt_has_the_priority() {
    let seen = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let list = seen.clone();
    let upstream = service_fn(move |_| {
        list.lock().unwrap().push(Context::current().priority());
        async {
            tokio::task::yield_now().await;
            assert_eq!(Context::current().priority(), Priority::Low);
            let mut response = ::http::Response::new(Empty::<Bytes>::new());
            *response.status_mut() = ::http::StatusCode::SERVICE_UNAVAILABLE;
            Ok::<_, std::io::Error>(response)
        }
    });
    let client = http::client("a").build().unwrap().wrap(upstream);
    let sent = client.oneshot(request("http://host/", Some(Priority::Low)));
    assert_eq!(sent.await.unwrap().status(), 503);
    assert_eq!(*seen.lock().unwrap(), [Priority::Low; 3]);
    assert_eq!(Context::current().priority(), Priority::Normal);
}

#[tokio::test(start_paused = true)]
async fn the_rejection_of_a_time_limit_names_the_class() {
    let hangs = service_fn(|_| {
        std::future::pending::<Result<::http::Response<Empty<Bytes>>, std::io::Error>>()
    });
    let client = http::client("a").build().unwrap().wrap(hangs);
    let sent = client.oneshot(request("http://host/", Some(Priority::High)));
    let error = sent.await.unwrap_err();
    let rejection = error.as_rejection().unwrap();
    assert_eq!(
        (rejection.reason(), rejection.priority()),
        (Reason::TimedOut, Priority::High)
    );
}
