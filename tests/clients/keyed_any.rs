//! Stacks for any request type with keys.

use std::convert::Infallible;
use std::io;

use mainstay::{
    Backoff, Error, Jitter, Reason, RetryBudget, RetryLayer, State, WithRejection as _,
};
use tower::{Service, ServiceExt as _, service_fn};

#[derive(Clone)]
struct Query {
    shard: &'static str,
}

/// Fails for the shard `dead`.
async fn answer(query: Query) -> io::Result<&'static str> {
    match query.shard {
        "dead" => Err(io::Error::other("dead")),
        shard => Ok(shard),
    }
}

async fn ask<S: Service<Query> + Clone>(
    client: &S,
    shard: &'static str,
) -> Result<S::Response, S::Error> {
    client.clone().oneshot(Query { shard }).await
}

#[tokio::test(start_paused = true)]
async fn each_key_of_a_client_has_its_own_circuit_bulkhead_and_budget() {
    let retry = RetryLayer::builder().attempts(2);
    let retry = retry.backoff(Backoff::constant(std::time::Duration::ZERO).jitter(Jitter::None));
    let stack = mainstay::client("search")
        .keyed(|query: &Query| query.shard.into())
        .retry(retry)
        .bulkhead(8)
        .build()
        .unwrap();
    let client = stack.wrap(service_fn(answer));
    for _ in 0..10 {
        assert!(matches!(ask(&client, "dead").await, Err(Error::Inner(_))));
        assert_eq!(ask(&client, "good").await.unwrap(), "good");
    }
    let rejected = ask(&client, "dead").await.unwrap_err();
    let rejection = rejected.rejection().expect("a rejection");
    assert_eq!(
        (rejection.reason(), rejection.key()),
        (Reason::CircuitOpen, Some("dead"))
    );
    assert_eq!(ask(&client, "good").await.unwrap(), "good");
    let state = |key: &str| stack.circuit_breaker().key(key).unwrap().state();
    assert_eq!((state("dead"), state("good")), (State::Open, State::Closed));
    let retries = |key: &str| stack.retry().key(key).unwrap().snapshot().retries;
    assert_eq!((retries("dead")[0].1, retries("good").len()), (10, 0));
    assert_eq!(stack.bulkhead().keys().len(), 2);
    let text = stack.to_string();
    assert_eq!(
        text.matches("keyed = one for each key").count(),
        3,
        "{text}"
    );

    let one = mainstay::client("search").build().unwrap();
    assert!(!one.to_string().contains("keyed"));
    let client = one.wrap(service_fn(answer));
    for _ in 0..20 {
        let _ = ask(&client, "dead").await;
    }
    assert!(ask(&client, "good").await.is_err(), "one for all");
}

#[tokio::test(start_paused = true)]
async fn all_keys_of_a_client_share_a_budget_of_the_users_own() {
    let budget = RetryBudget::builder().ratio(0.0).min_per_second(1);
    let budget = budget.build().unwrap();
    let retry = RetryLayer::builder().budget(budget.clone()).attempts(2);
    let retry = retry.backoff(Backoff::constant(std::time::Duration::ZERO).jitter(Jitter::None));
    let stack = mainstay::client("search")
        .retry(retry)
        .keyed(|query: &Query| query.shard.into())
        .build()
        .unwrap();
    let client = stack.wrap(service_fn(answer));
    for _ in 0..4 {
        assert!(ask(&client, "dead").await.is_err());
        assert!(ask(&client, "good").await.is_ok());
    }
    assert_eq!(budget.balance(), 10 - 4);
    let retries = |key: &str| stack.retry().key(key).unwrap().snapshot().retries;
    assert_eq!((retries("dead")[0].1, retries("good").len()), (4, 0));
    assert_eq!(stack.retry().budget().unwrap().balance(), 10 - 4);
    let text = stack.to_string();
    assert!(
        text.contains("keyed = one for each key, with one budget for all"),
        "{text}"
    );
}

#[test]
fn the_number_of_keys_is_checked() {
    let stack = mainstay::client("search").keyed(|query: &Query| query.shard.into());
    let error = stack.max_keys(0).build().unwrap_err();
    assert!(error.to_string().contains("max_keys = 0"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn each_key_of_a_server_has_its_own_rate_and_bulkhead() {
    let stack = mainstay::server("jobs")
        .rate_limit(1)
        .keyed(|query: &Query| query.shard.into())
        .max_keys(100)
        .label_keys(1)
        .build()
        .unwrap();
    let server = stack.wrap(service_fn(async |_: Query| Ok::<_, Infallible>(())));
    assert!(ask(&server, "a").await.is_ok());
    let rejection = ask(&server, "a").await.unwrap_err();
    assert_eq!(
        (rejection.reason(), rejection.key()),
        (Reason::RateLimited, Some("a"))
    );
    assert!(ask(&server, "b").await.is_ok());
    let snapshot = stack.snapshot();
    assert_eq!(snapshot.rate_limit.unwrap().keys.unwrap().max_keys, 100);
    assert_eq!(snapshot.bulkhead.unwrap().keys.unwrap().keys, 2);
    assert!(stack.load_shed().keys().is_empty());
}
