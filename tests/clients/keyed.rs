//! One client stack for several hosts: each has its own retry budget.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Empty;
use mainstay::{Backoff, Jitter, Mode, RetryBudget, grpc, http as stacks};
use tower::{ServiceExt as _, service_fn};

/// The retries of ten seconds, by default.
const RESERVE: u64 = 100;

fn retry() -> mainstay::RetryBuilder<mainstay::http::HttpRetry> {
    stacks::retry().backoff(Backoff::constant(std::time::Duration::ZERO).jitter(Jitter::None))
}

/// Sends 200 calls to a host that is dead, and one to a host that fails once. Returns whether that
/// one succeeded.
async fn survives(stack: &stacks::ClientStack) -> bool {
    let failures = Arc::new(AtomicU32::new(1));
    let upstream = service_fn(move |request: Request<Empty<Bytes>>| {
        let fails = match request.uri().host() {
            Some("dead") => true,
            _ => failures.swap(0, Ordering::SeqCst) > 0,
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
    for _ in 0..200 {
        assert_eq!(get("dead").await.unwrap().status(), 503);
    }
    get("alive").await.unwrap().status() == 200
}

#[tokio::test(start_paused = true)]
async fn a_dead_host_does_not_use_the_retries_of_the_others() {
    let new = || stacks::client("upstreams").without_circuit_breaker();
    let stack = new().retry(retry()).build().unwrap();
    assert!(survives(&stack).await);
    let balance = |host: &str| {
        let retry = stack.retry().key(host).unwrap();
        retry.budget().unwrap().balance()
    };
    assert_eq!((balance("dead"), balance("alive")), (0, RESERVE - 1));
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
    assert_eq!(stack.bulkhead().keys().len(), 2);
}

#[tokio::test(start_paused = true)]
async fn the_settings_of_a_stack_are_those_of_the_budgets_of_all_hosts() {
    let stack = stacks::client("upstreams").without_circuit_breaker();
    let stack = stack.retry(retry()).build().unwrap();
    let few = |to: &mut mainstay::http::ClientSettings| {
        let budget = to.retry.budget.as_mut().unwrap();
        (budget.ratio, budget.min_per_second) = (0.0, 1);
    };
    let _ = stack.change(few).unwrap();
    assert!(survives(&stack).await);
    let alive = stack.retry().key("alive").unwrap();
    assert_eq!(alive.budget().unwrap().balance(), 9);
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
    assert_eq!(keyed(own.describe()), by_authority[1..]);
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
