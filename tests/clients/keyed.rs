//! One client stack for several hosts or methods: each has its own retry budget, circuit and bulkhead.
#![cfg(feature = "tonic")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use mainstay::{
    Backoff, Jitter, Mode, Reason, Rejection, RetryBudget, State, grpc, http as stacks,
};
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::{Endpoint, Server};
use tonic::{Code, Status};
use tower::{ServiceExt as _, service_fn};

use crate::common::{listener, within};
use crate::users::users_client::UsersClient;
use crate::users::users_server::{Users, UsersServer};
use crate::users::{GetRequest, ListRequest, User};

/// The retries of ten seconds, by default.
const RESERVE: u64 = 100;

fn retry() -> mainstay::RetryBuilder<mainstay::http::HttpRetry> {
    stacks::retry().backoff(Backoff::constant(std::time::Duration::ZERO).jitter(Jitter::None))
}

/// Sends 221 calls to a host that is dead, and 5 to a host that fails once, at the last of them.
/// Returns whether that one succeeded.
async fn survives(stack: &stacks::ClientStack) -> bool {
    let calls = Arc::new(AtomicU32::new(0));
    let upstream = service_fn(move |request: Request<Empty<Bytes>>| {
        let fails = match request.uri().host() {
            Some("dead") => true,
            _ => calls.fetch_add(1, Ordering::SeqCst) == 4,
        };
        let status = if fails { 503 } else { 200 };
        let response = Response::builder()
            .status(status)
            .body(Empty::<Bytes>::new());
        std::future::ready(response.map_err(std::io::Error::other))
    });
    let client = stack.wrap(upstream);
    let get = |host: &str| {
        let request = Request::get(format!("http://{host}/")).body(Empty::new());
        client.clone().oneshot(request.unwrap())
    };
    let dead = async |calls: u32| {
        for _ in 0..calls {
            assert_eq!(get("dead").await.unwrap().status(), 503);
        }
    };
    dead(201).await;
    for _ in 0..4 {
        dead(4).await;
        assert_eq!(get("alive").await.unwrap().status(), 200);
    }
    dead(4).await;
    get("alive").await.unwrap().status() == 200
}

#[tokio::test(start_paused = true)]
async fn a_dead_host_does_not_use_the_retries_of_the_others() {
    let new = || stacks::client("upstreams").without_circuit_breaker();
    let stack = new().retry(retry()).build().unwrap();
    assert!(survives(&stack).await);
    let retries = |host: &str| stack.retry().key(host).unwrap().snapshot().retries[0].1;
    assert_eq!((retries("dead"), retries("alive")), (RESERVE + 221 / 5, 1));
    assert!(stack.retry().budget().is_none());
    let snapshot = stack.snapshot().retry.unwrap();
    assert_eq!(
        (snapshot.balance, snapshot.keys.unwrap().keys),
        (Some(0), 2)
    );

    let stack = new().retry(retry()).one_for_all().build().unwrap();
    assert!(!survives(&stack).await, "one budget for all");
    assert!(stack.retry().keys().is_empty());

    let budget = RetryBudget::new();
    let stack = new().retry(retry().budget(budget.clone())).build().unwrap();
    assert!(!survives(&stack).await, "the user's budget is one for all");
    assert_eq!(budget.balance(), 0);
    assert_eq!(stack.retry().budget().unwrap().balance(), 0);
    assert_eq!(stack.retry().keys().len(), 2, "for the counts");
}

#[tokio::test(start_paused = true)]
async fn the_settings_of_a_stack_are_those_of_the_budgets_of_all_hosts() {
    let stack = stacks::client("upstreams").without_circuit_breaker();
    let stack = stack.retry(retry()).build().unwrap();
    let few = |to: &mut mainstay::http::ClientSettings| {
        let budget = to.retry.budget.as_mut().unwrap();
        budget.min_per_second = 1;
    };
    let _ = stack.change(few).unwrap();
    assert!(survives(&stack).await);
    let retry = |host: &str| stack.retry().key(host).unwrap();
    let dead = retry("dead").snapshot();
    assert_eq!(dead.retries[0].1, 10 + 221 / 5);
    let alive = retry("alive");
    let off = |to: &mut mainstay::http::ClientSettings| to.retry.mode = Mode::Off;
    let _ = stack.change(off).unwrap();
    assert!(alive.budget().is_none());
    assert!(stack.snapshot().retry.is_none());
}

#[test]
fn a_description_says_which_keys_there_are() {
    let keyed = |description: mainstay::stack::Description| {
        let layers = description.layers().iter();
        let keys = layers.filter_map(|layer| {
            let (_, keys) = layer.settings().find(|(name, _)| *name == "keyed")?;
            Some(format!("{} {keys}", layer.layer()))
        });
        keys.collect::<Vec<_>>()
    };
    let stack = stacks::client("upstreams").build().unwrap();
    let by_authority = [
        "retry one for each authority",
        "circuit_breaker one for each authority",
        "bulkhead one for each authority",
    ];
    assert_eq!(keyed(stack.describe()), by_authority);
    let _ = stack.change(|to| to.retry.attempts = 7).unwrap();
    assert_eq!(keyed(stack.describe()), by_authority, "after an update");
    let own = stacks::client("a").retry(retry().budget(RetryBudget::new()));
    let own = own.build().unwrap();
    let mut expected = by_authority.map(str::to_owned);
    expected[0].push_str(", with one budget for all");
    assert_eq!(keyed(own.describe()), expected);
    let none = stacks::client("a").one_for_all().build().unwrap();
    assert!(keyed(none.describe()).is_empty());

    let by_method = grpc::client("a").keyed_by(grpc::by_method());
    let by_method = by_method.without_retry().build();
    let by_method = keyed(by_method.unwrap().describe());
    assert!(
        by_method.contains(&"circuit_breaker one for each gRPC method".to_owned()),
        "{by_method:?}"
    );
    let by_header = stacks::server("a").keyed_by(stacks::by_header("X-Tenant"));
    let by_header = keyed(by_header.build().unwrap().describe());
    assert_eq!(by_header, ["bulkhead one for each header x-tenant"]);
    let closure = stacks::server("a").keyed(|request| request.path().into());
    let closure = keyed(closure.build().unwrap().describe());
    assert_eq!(closure, ["bulkhead one for each key"]);
}

/// Its method `List` can die.
#[derive(Clone, Default)]
struct Directory {
    list_is_dead: Arc<AtomicBool>,
    lists: Arc<AtomicU32>,
}

#[tonic::async_trait]
impl Users for Directory {
    async fn get(
        &self,
        request: tonic::Request<GetRequest>,
    ) -> Result<tonic::Response<User>, Status> {
        let name = request.into_inner().name;
        Ok(tonic::Response::new(User {
            name,
            ..User::default()
        }))
    }

    type ListStream = tokio_stream::Iter<std::vec::IntoIter<Result<User, Status>>>;

    async fn list(
        &self,
        _: tonic::Request<ListRequest>,
    ) -> Result<tonic::Response<Self::ListStream>, Status> {
        self.lists.fetch_add(1, Ordering::SeqCst);
        if self.list_is_dead.load(Ordering::SeqCst) {
            return Err(Status::internal("broken"));
        }
        Ok(tonic::Response::new(tokio_stream::iter(Vec::new())))
    }
}

#[tokio::test]
async fn only_the_circuit_of_the_grpc_method_that_dies_opens() {
    let directory = Directory::default();
    let (listener, address) = listener().await;
    let users = UsersServer::new(directory.clone());
    let server = Server::builder().add_service(users);
    tokio::spawn(server.serve_with_incoming(TcpListenerStream::new(listener)));

    let stack = grpc::client("users").keyed_by(grpc::by_method()).build();
    let stack = stack.unwrap();
    let channel = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let mut stub = UsersClient::new(stack.wrap(channel.connect_lazy()));
    let circuits = stack.circuit_breaker();
    let state = |method: &str| circuits.key(method).unwrap().state();
    let calls = within("the calls", async {
        assert!(stub.list(ListRequest::default()).await.is_ok());
        directory.list_is_dead.store(true, Ordering::SeqCst);
        let mut calls = 0;
        while state("users.Users/List") == State::Closed {
            assert!(stub.get(GetRequest::default()).await.is_ok());
            let failed = stub.list(ListRequest::default()).await.unwrap_err();
            assert_eq!(failed.code(), Code::Internal);
            calls += 1;
        }
        calls
    });
    assert_eq!(calls.await, 19, "twenty calls in all");

    let before = directory.lists.load(Ordering::SeqCst);
    let rejected = stub.list(ListRequest::default()).await.unwrap_err();
    let rejection = Rejection::find(&rejected).expect("a rejection");
    assert_eq!(
        (rejection.reason(), rejection.key()),
        (Reason::CircuitOpen, Some("users.Users/List"))
    );
    assert_eq!(directory.lists.load(Ordering::SeqCst), before);
    assert!(stub.get(GetRequest::default()).await.is_ok());
    assert_eq!(state("users.Users/Get"), State::Closed);
    assert_eq!(stack.retry().keys().len(), 2);
}
