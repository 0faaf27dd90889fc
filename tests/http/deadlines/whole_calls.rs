//! Limits of gRPC: one that somebody set is the whole call's, to its last trailer; a default ends only the wait for the head.

use std::convert::Infallible;
use std::pin::Pin;
use std::time::Duration;

use futures::Stream;
use http::HeaderMap;
use mainstay::{Context, grpc};
use tokio::time::{Instant, sleep};
use tonic::{Code, Request, Response, Status};
use tower::{Layer as _, ServiceExt as _, service_fn};

use crate::support::{ms, secs};
use crate::users::users_client::UsersClient;
use crate::users::users_server::{Users, UsersServer};
use crate::users::{GetRequest, ListRequest, User};

/// A message a second; and how many more than asked for never come, nor does an end.
#[derive(Clone)]
struct Ticks {
    hangs: bool,
}

#[tonic::async_trait]
impl Users for Ticks {
    async fn get(&self, request: Request<GetRequest>) -> Result<Response<User>, Status> {
        assert!(!request.metadata().contains_key("grpc-timeout"));
        assert_eq!(Context::current().remaining(), None);
        Ok(Response::new(User::default()))
    }

    type ListStream = Pin<Box<dyn Stream<Item = Result<User, Status>> + Send>>;

    async fn list(
        &self,
        request: Request<ListRequest>,
    ) -> Result<Response<Self::ListStream>, Status> {
        let told = request.metadata().get("grpc-timeout");
        let told = told.map(|value| value.to_str().unwrap().to_owned());
        let limit = request.into_inner().limit;
        let hangs = self.hangs;
        let users = futures::stream::unfold(0, move |number| {
            let told = told.clone();
            async move {
                if number == limit {
                    if hangs {
                        std::future::pending::<()>().await;
                    }
                    return None;
                }
                sleep(secs(1)).await;
                let name = format!("{told:?} {:?}", Context::current().remaining());
                let user = User {
                    name,
                    ..User::default()
                };
                Some((Ok(user), number + 1))
            }
        });
        Ok(Response::new(Box::pin(users)))
    }
}

/// How many messages came, how it ended, and when.
macro_rules! read {
    ($client:expr, $limit:expr) => {{
        let began = Instant::now();
        let request = ListRequest { limit: $limit };
        let mut users = $client.list(request).await.unwrap().into_inner();
        let (mut count, mut last) = (0, String::new());
        let end = loop {
            match users.message().await {
                Ok(Some(user)) => (count, last) = (count + 1, user.name),
                Ok(None) => break None,
                Err(status) => break Some(status),
            }
        };
        (count, end, began.elapsed(), last)
    }};
}

#[tokio::test(start_paused = true)]
async fn a_stream_between_two_default_stacks_comes_to_its_end() {
    let server = grpc::server("users").build().unwrap();
    let client = grpc::client("users").build().unwrap();
    let inner = server.layer(UsersServer::new(Ticks { hangs: false }));
    let mut users = UsersClient::new(client.layer(inner));
    users.get(GetRequest::default()).await.unwrap();
    let (count, end, took, last) = read!(users, 60);
    assert_eq!((count, took), (60, secs(60)));
    assert!(end.is_none(), "{end:?}");
    assert_eq!(last, "None None");
    // A stream that lives for hours, with a reader that works for ten minutes on each message.
    let inner = UsersServer::new(Ticks { hangs: false });
    let mut users = UsersClient::new(client.layer(inner));
    let mut stream = users
        .list(ListRequest { limit: 20 })
        .await
        .unwrap()
        .into_inner();
    for _ in 0..20 {
        stream.message().await.unwrap().unwrap();
        sleep(secs(600)).await;
    }
    assert!(stream.message().await.unwrap().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_was_set_is_the_whole_calls_on_a_client() {
    for hangs in [true, false] {
        let inner = UsersServer::new(Ticks { hangs });
        let client = grpc::client("users").timeout(ms(3_500)).build().unwrap();
        let mut users = UsersClient::new(client.layer(inner));
        let limit = if hangs { 2 } else { 60 };
        let (count, end, took, last) = read!(users, limit);
        let status = end.expect("a stream that is cut ends in an error");
        assert_eq!(status.code(), Code::DeadlineExceeded, "{status}");
        assert_eq!(
            status.message(),
            "the call took longer than the timeout of 3.5s"
        );
        assert_eq!((count, took), (limit.min(3), ms(3_500)));
        assert!(last.starts_with("Some(\"3500000u\")"), "{last}");
        assert_eq!(client.bulkhead().in_flight(), 0);
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_was_set_is_the_whole_calls_on_a_server() {
    let server = grpc::server("users").timeout(ms(3_500)).build().unwrap();
    let inner = server.layer(UsersServer::new(Ticks { hangs: true }));
    let client = grpc::client("users").without_timeout().build().unwrap();
    let mut users = UsersClient::new(client.layer(inner));
    let (count, end, took, last) = read!(users, 2);
    assert_eq!(end.unwrap().code(), Code::DeadlineExceeded);
    assert_eq!((count, took), (2, ms(3_500)));
    assert_eq!(last, "None Some(1.5s)");
    assert_eq!(server.bulkhead().in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_limit_for_attempts_is_a_whole_attempts() {
    let client = grpc::client("users")
        .attempt_timeout(ms(2_500))
        .build()
        .unwrap();
    let mut users = UsersClient::new(client.layer(UsersServer::new(Ticks { hangs: true })));
    let (count, end, took, last) = read!(users, 1);
    assert_eq!(end.unwrap().code(), Code::DeadlineExceeded);
    assert_eq!((count, took), (1, ms(2_500)));
    assert!(last.starts_with("Some(\"2500000u\")"), "{last}");
    assert_eq!(client.bulkhead().in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_limit_on_the_request_is_the_whole_calls() {
    let client = grpc::client("users").build().unwrap();
    let mut users = UsersClient::new(client.layer(UsersServer::new(Ticks { hangs: true })));
    let mut request = Request::new(ListRequest { limit: 2 });
    request.set_timeout(secs(5));
    let began = Instant::now();
    let mut stream = users.list(request).await.unwrap().into_inner();
    stream.message().await.unwrap().unwrap();
    stream.message().await.unwrap().unwrap();
    let status = stream.message().await.unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded);
    assert_eq!(began.elapsed(), ms(4_995), "a little before");
}

#[tokio::test(start_paused = true)]
async fn services_and_methods_have_limits_of_their_own() {
    let limits = || grpc::timeout().timeout(ms(1_500));
    // (limits, how many messages come of five)
    for (limits, count) in [
        (limits(), 1),
        (limits().timeout_for("users.Users", ms(2_500)).unwrap(), 2),
        (
            limits().timeout_for("users.Users/List", ms(3_500)).unwrap(),
            3,
        ),
        (
            limits()
                .timeout_for("users.Users", ms(2_500))
                .unwrap()
                .timeout_for("users.Users/List", ms(3_500))
                .unwrap(),
            3,
        ),
        (
            limits()
                .timeout_for("users.Users/List", ms(3_500))
                .unwrap()
                .without_timeout_for("users.Users")
                .unwrap(),
            3,
        ),
        (
            limits()
                .timeout_for("users.Users", ms(2_500))
                .unwrap()
                .without_timeout_for("users.Users/List")
                .unwrap(),
            5,
        ),
        (limits().without_timeout_for("users.Users").unwrap(), 5),
        (limits().without_timeout_for("users.Users/Get").unwrap(), 1),
        (limits().without_timeout_for("users.Other").unwrap(), 1),
    ] {
        let client = grpc::client("users").timeout(limits).build().unwrap();
        let mut users = UsersClient::new(client.layer(UsersServer::new(Ticks { hangs: false })));
        let (came, end, _, _) = read!(users, 5);
        assert_eq!(came, count, "{client}");
        assert_eq!(end.is_none(), count == 5, "{end:?}");
    }
    for name in ["", "users", "users.Users/", "/users.Users/List", "users.*"] {
        let refused = limits().without_timeout_for(name);
        assert_eq!(refused.is_err(), name != "users", "{name}");
    }
    let error = limits().timeout_for("/", secs(1)).unwrap_err();
    assert_eq!(
        (error.component(), error.field()),
        ("timeout", "timeout_for")
    );
    let zero = limits().timeout_for("users.Users", Duration::ZERO).unwrap();
    assert_eq!(zero.build().unwrap_err().field(), "timeout_for");
}

#[tokio::test(start_paused = true)]
async fn a_method_without_a_limit_still_has_the_callers() {
    let limit = grpc::timeout().without_timeout_for("users.Users").unwrap();
    let client = grpc::client("users").timeout(limit).build().unwrap();
    let mut users = UsersClient::new(client.layer(UsersServer::new(Ticks { hangs: true })));
    let context = Context::current().with_timeout(ms(2_500));
    let (count, end, took, _) = context.scope(async { read!(users, 2) }).await;
    assert_eq!(end.unwrap().code(), Code::DeadlineExceeded);
    assert_eq!((count, took), (2, ms(2_500)));
    // Without it, a call whose head never comes waits for ever.
    let hangs = service_fn(|_: http::Request<tonic::body::Body>| async {
        sleep(secs(3_600)).await;
        let mut response = http::Response::new(tonic::body::Body::empty());
        *response.headers_mut() = HeaderMap::from_iter([(
            http::HeaderName::from_static("grpc-status"),
            "0".parse().unwrap(),
        )]);
        Ok::<_, Infallible>(response)
    });
    let mut request = http::Request::new(tonic::body::Body::empty());
    *request.uri_mut() = "/users.Users/List".parse().unwrap();
    let headers = request.headers_mut();
    headers.insert("content-type", "application/grpc".parse().unwrap());
    assert!(client.layer(hangs).oneshot(request).await.is_ok());
}
