//! tonic, over real sockets: on the server, and around a client's channel.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::Stream;
use mainstay::http::DeadlineLayer;
use mainstay::{Context, RespondLayer, TimeoutLayer, grpc};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::service::Routes;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Code, Request, Response, Status};
use tower::ServiceBuilder;

use super::script::HttpTimeout;
use crate::common::{listener, serve, within};
use crate::support::{ms, secs};
use crate::users::users_client::UsersClient;
use crate::users::users_server::{Users, UsersServer};
use crate::users::{GetRequest, ListRequest, User};

/// Answers with what is left for it; `never` does not.
#[derive(Clone, Default)]
struct Hurry {
    names: Arc<Mutex<Vec<String>>>,
}

fn user(number: u32) -> User {
    User {
        name: number.to_string(),
        ..User::default()
    }
}

#[tonic::async_trait]
impl Users for Hurry {
    async fn get(&self, request: Request<GetRequest>) -> Result<Response<User>, Status> {
        let name = request.into_inner().name;
        self.names.lock().unwrap().push(name.clone());
        if name == "never" {
            std::future::pending::<()>().await;
        }
        let left = Context::current().remaining();
        let email = left.map_or_else(|| "none".to_owned(), |left| left.as_millis().to_string());
        Ok(Response::new(User { name, email }))
    }

    type ListStream = Pin<Box<dyn Stream<Item = Result<User, Status>> + Send>>;

    async fn list(&self, _: Request<ListRequest>) -> Result<Response<Self::ListStream>, Status> {
        let users = futures::stream::unfold(0, |number| async move {
            tokio::time::sleep(ms(20)).await;
            Some((Ok(user(number)), number + 1))
        });
        Ok(Response::new(Box::pin(users)))
    }
}

/// Under tonic's own transport server, and under axum.
async fn servers(layer: HttpTimeout, hurry: Hurry) -> [(&'static str, SocketAddr); 2] {
    let layers = (RespondLayer::new(), layer);
    let (listener, tonics) = listener().await;
    let server = Server::builder()
        .layer(layers.clone())
        .add_service(UsersServer::new(hurry.clone()))
        .serve_with_incoming(TcpListenerStream::new(listener));
    tokio::spawn(async move { server.await.unwrap() });
    let routes = Routes::new(UsersServer::new(hurry)).into_axum_router();
    let axums = serve(routes.layer(layers)).await;
    [("tonic", tonics), ("axum", axums)]
}

fn channel(address: SocketAddr) -> Channel {
    Endpoint::from_shared(format!("http://{address}"))
        .unwrap()
        .connect_lazy()
}

/// A request with a value of `grpc-timeout` that tonic's client does not enforce, because it stands between the two.
fn get(name: &str, timeout: &'static str) -> Request<GetRequest> {
    let name = name.to_owned();
    let mut request = Request::new(GetRequest { name });
    if !timeout.is_empty() {
        request
            .metadata_mut()
            .insert("grpc-timeout", timeout.parse().unwrap());
    }
    request
}

/// hyper's bare client, which has no time limit of its own: what is seen is the server's answer.
async fn bare(
    address: SocketAddr,
    name: &str,
    timeout: &'static str,
) -> (Result<String, Code>, Duration) {
    let client = hyper_util::client::legacy::Client::builder(hyper_util::rt::TokioExecutor::new())
        .http2_only(true)
        .build_http();
    let mut client = UsersClient::with_origin(client, format!("http://{address}").parse().unwrap());
    let began = std::time::Instant::now();
    let answer = within("an answer", client.get(get(name, timeout))).await;
    let answer = answer.map(|user| user.into_inner().email);
    (answer.map_err(|status| status.code()), began.elapsed())
}

#[tokio::test]
async fn a_callers_grpc_timeout_gives_deadline_exceeded() {
    let layer = grpc::timeout().build().unwrap();
    for (server, address) in servers(layer, Hurry::default()).await {
        // Not less than the floor of 10 milliseconds: tonic's transport server ends a shorter one.
        for timeout in ["10m", "50m", "20000u", "30000000n"] {
            for _ in 0..8 {
                let (answer, took) = bare(address, "never", timeout).await;
                // tonic's own limit would say that it was cancelled.
                assert_eq!(answer, Err(Code::DeadlineExceeded), "{server}: {timeout}");
                assert!(took < secs(5), "{server}: {timeout}");
            }
        }
        assert_eq!(
            bare(address, "ann", "0S").await.0,
            Err(Code::DeadlineExceeded),
            "{server}"
        );
        for timeout in ["", "soon"] {
            let (answer, _) = bare(address, "ann", timeout).await;
            assert_eq!(answer.unwrap(), "none", "{server}: {timeout}");
        }
        for (timeout, most) in [("20S", 20_000), ("90S", 90_000)] {
            let (answer, _) = bare(address, "ann", timeout).await;
            let left: u64 = answer.unwrap().parse().unwrap();
            assert!(
                (most - 5_000..=most).contains(&left),
                "{server}: {timeout}: {left}"
            );
        }
    }
}

#[tokio::test]
async fn a_late_request_is_not_handled() {
    let hurry = Hurry::default();
    let [_, (_, address)] = servers(grpc::timeout().build().unwrap(), hurry.clone()).await;
    assert_eq!(
        bare(address, "ann", "0n").await.0,
        Err(Code::DeadlineExceeded)
    );
    assert!(hurry.names.lock().unwrap().is_empty());
}

#[tokio::test]
async fn tonics_own_client_sees_it_too() {
    let layer = grpc::timeout().build().unwrap();
    for (server, address) in servers(layer, Hurry::default()).await {
        // Its channel ends the call at the same time, and says that it was cancelled. The server's answer was sent a little before: on a machine
        // whose timers are late, it loses that race now and then, but not always.
        let mut client = UsersClient::new(channel(address));
        client.get(get("ann", "")).await.unwrap();
        let mut first = false;
        for _ in 0..30 {
            let mut request = get("never", "");
            request.set_timeout(ms(100));
            let status = within("a status", client.get(request)).await.unwrap_err();
            first = status.code() == Code::DeadlineExceeded;
            assert!(
                first || status.code() == Code::Cancelled,
                "{server}: {status}"
            );
            if first {
                break;
            }
        }
        assert!(
            first,
            "{server}: none of 30 answers came before the end of the caller's own limit"
        );

        // With a time limit of its own around the channel it always does.
        let channel = ServiceBuilder::new()
            .layer(TimeoutLayer::new(ms(100)))
            .layer(DeadlineLayer::new())
            .service(channel(address));
        let mut client = UsersClient::new(channel);
        for _ in 0..10 {
            let status = within("a status", client.get(get("never", "")))
                .await
                .unwrap_err();
            assert_eq!(status.code(), Code::DeadlineExceeded, "{server}: {status}");
        }
    }
}

#[tokio::test]
async fn a_deadline_reaches_the_next_service() {
    let layer = grpc::timeout().build().unwrap();
    for (server, address) in servers(layer, Hurry::default()).await {
        let mut client = UsersClient::new(
            ServiceBuilder::new()
                .layer(DeadlineLayer::new())
                .service(channel(address)),
        );
        let context = Context::current().with_timeout(secs(4));
        let user = context.scope(client.get(get("ann", ""))).await.unwrap();
        let left: u64 = user.into_inner().email.parse().unwrap();
        assert!((2_000..=4_000).contains(&left), "{server}: {left}");
    }
}

#[tokio::test]
async fn a_stream_that_takes_too_long_ends_in_a_status() {
    let limit = || {
        grpc::timeout()
            .timeout(ms(200))
            .whole_body()
            .build()
            .unwrap()
    };
    // The server's limit, and that of a client of a server that has none.
    for (server, address) in servers(limit(), Hurry::default()).await {
        let mut client = UsersClient::new(channel(address));
        let mut users = client
            .list(ListRequest { limit: 0 })
            .await
            .unwrap()
            .into_inner();
        let (count, status) = read(&mut users).await;
        assert_eq!(status.code(), Code::DeadlineExceeded, "{server}: {status}");
        assert!((1..20).contains(&count), "{server}: {count}");
    }
    let unlimited = grpc::timeout().build().unwrap();
    for (server, address) in servers(unlimited, Hurry::default()).await {
        let channel = ServiceBuilder::new()
            .layer(limit())
            .service(channel(address));
        let mut client = UsersClient::new(channel);
        let mut users = client
            .list(ListRequest { limit: 0 })
            .await
            .unwrap()
            .into_inner();
        let (count, status) = read(&mut users).await;
        assert_eq!(status.code(), Code::DeadlineExceeded, "{server}: {status}");
        assert!((1..20).contains(&count), "{server}: {count}");
    }
}

async fn read(users: &mut tonic::Streaming<User>) -> (u32, Status) {
    let mut count = 0;
    within("the end", async {
        loop {
            match users.message().await {
                Ok(Some(_)) => count += 1,
                Ok(None) => panic!("looks complete"),
                Err(status) => break (count, status),
            }
        }
    })
    .await
}
