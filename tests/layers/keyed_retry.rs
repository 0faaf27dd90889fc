//! Retries with a budget for each key.

use crate::keyed::{ByTenant, Inner, job, seen};
use crate::support::{Act, ms, send, settle, start};
use mainstay::keyed::PerKey;
use mainstay::retry::{Settings, ThrottleSettings, Unchanged};
use mainstay::{
    Backoff, EventKind, Jitter, RetryBudget, RetryBuilder, RetryCause, RetryLayer, RetryRefused,
};
use tower::Layer;

/// Two attempts, and ten retries in ten seconds.
fn settings() -> Settings {
    let mut settings = Settings::default();
    settings.attempts = 2;
    settings.backoff = Some(Backoff::constant(ms(1)).jitter(Jitter::None));
    let budget = settings.budget.as_mut().unwrap();
    (budget.ratio, budget.min_per_second) = (0.0, 1);
    settings
}

type Keyed = RetryBuilder<mainstay::retry::RetryErrors, Unchanged, PerKey<ByTenant>>;

fn retry(settings: Settings) -> Keyed {
    let builder = RetryLayer::builder().name("jobs").settings(settings);
    builder.keyed_by(ByTenant)
}

#[tokio::test(start_paused = true)]
async fn a_dead_key_does_not_use_the_budget_of_the_others() {
    let (observer, events) = seen();
    let mut settings = settings();
    settings.budget.as_mut().unwrap().ratio = 0.2;
    let layer = retry(settings).observer(observer).build().unwrap();
    let mut service = layer.layer(Inner::default());
    for _ in 0..30 {
        assert!(send(&mut service, job("dead", Act::Fail)).await.is_err());
    }
    for _ in 0..4 {
        assert!(send(&mut service, job("good", Act::Ok)).await.is_ok());
    }
    assert!(send(&mut service, job("good", Act::Fail)).await.is_err());

    let handle = layer.handle();
    let (dead, good) = (handle.key("dead").unwrap(), handle.key("good").unwrap());
    assert_eq!(dead.budget().unwrap().balance(), 0);
    assert_eq!(good.budget().unwrap().balance(), 0, "that of all keys");
    assert_eq!(dead.snapshot().retries, [(RetryCause::Error, 16)]);
    assert_eq!(
        dead.snapshot().refused,
        [(RetryRefused::Attempts, 16), (RetryRefused::Budget, 14)]
    );
    assert_eq!(good.snapshot().retries, [(RetryCause::Error, 1)]);
    assert_eq!(
        good.snapshot().to_string(),
        "retry jobs [good]: 1 retries (error 1), 1 refused (attempts 1); budget for 0 more"
    );
    assert!(handle.budget().is_none(), "each key has its own");
    assert_eq!(
        handle.snapshot().to_string(),
        "retry jobs: 2 of 10000 keys; 17 retries (error 17), 31 refused (attempts 17, budget 14); \
         lowest budget for 0 more"
    );
    let events = events.lock().unwrap();
    let of_dead = events
        .iter()
        .filter(|(key, _)| key.as_deref() == Some("dead"));
    assert_eq!((of_dead.count(), events.len()), (16 + 30, 46 + 2));
}

#[tokio::test(start_paused = true)]
async fn all_keys_together_have_the_retries_of_one_budget() {
    let layer = retry(settings()).build().unwrap();
    let mut service = layer.layer(Inner::default());
    for key in 0..200 {
        let key = format!("host {key}");
        assert!(send(&mut service, job(&key, Act::Fail)).await.is_err());
    }
    let all = layer.handle().snapshot();
    assert_eq!(all.retries, [(RetryCause::Error, 10)]);
    assert_eq!(
        all.refused,
        [(RetryRefused::Attempts, 10), (RetryRefused::Budget, 190)]
    );
    assert_eq!(all.balance, Some(0));
    tokio::time::advance(ms(10_000)).await;
    assert_eq!(layer.handle().snapshot().balance, Some(10));
}

#[tokio::test(start_paused = true)]
async fn a_key_without_the_budget_of_all_has_its_own() {
    let mut settings = settings();
    let budget = settings.budget.take();
    let layer = retry(settings).build().unwrap();
    let mut service = layer.layer(Inner::default());
    assert!(send(&mut service, job("a", Act::Fail)).await.is_err());
    let a = layer.handle().key("a").unwrap();
    let _ = a.change(|to| to.budget = budget).unwrap();
    for _ in 0..20 {
        assert!(send(&mut service, job("a", Act::Fail)).await.is_err());
        assert!(send(&mut service, job("b", Act::Fail)).await.is_err());
    }
    let retries = |key: &str| layer.handle().key(key).unwrap().snapshot().retries[0].1;
    assert_eq!((retries("a"), retries("b")), (1 + 10, 20));
}

#[tokio::test(start_paused = true)]
async fn each_key_has_a_throttle() {
    let mut settings = settings();
    let mut throttle = ThrottleSettings::default();
    throttle.max_tokens = 4;
    settings.budget.as_mut().unwrap().throttle = Some(throttle);
    let layer = retry(settings).build().unwrap();
    let mut service = layer.layer(Inner::default());
    for _ in 0..5 {
        assert!(send(&mut service, job("dead", Act::Fail)).await.is_err());
        assert!(send(&mut service, job("good", Act::Ok)).await.is_ok());
    }
    let balance = |key: &str| layer.handle().key(key).unwrap().budget().unwrap().balance();
    assert_eq!((balance("dead"), balance("good")), (0, 1));

    // Each failure before a retry takes a token from the throttle of all keys.
    for key in ["a", "b", "c"] {
        assert!(send(&mut service, job(key, Act::Fail)).await.is_err());
    }
    let retries = |key: &str| layer.handle().key(key).unwrap().snapshot().retries;
    assert!(retries("a").is_empty() || retries("c").is_empty());
    assert_eq!(balance("good"), 0);
    for _ in 0..20 {
        assert!(send(&mut service, job("good", Act::Ok)).await.is_ok());
    }
    assert_eq!((balance("dead"), balance("good")), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn an_update_applies_to_all_keys_and_one_of_a_key_to_it() {
    let layer = retry(settings()).build().unwrap();
    let (handle, mut service) = (layer.handle(), layer.layer(Inner::default()));
    assert!(send(&mut service, job("a", Act::Fail)).await.is_err());
    let a = handle.key("a").unwrap();
    let _ = a.change(|to| to.attempts = 4).unwrap();
    assert!(send(&mut service, job("a", Act::Fail)).await.is_err());
    assert!(send(&mut service, job("b", Act::Fail)).await.is_err());
    let retries = |key: &str| handle.key(key).unwrap().snapshot().retries[0].1;
    assert_eq!((retries("a"), retries("b")), (1 + 3, 1));

    let per_second = |to: &mut Settings| to.budget.as_mut().unwrap().min_per_second = 2;
    let changes = handle.change(per_second).unwrap();
    assert_eq!(changes.to_string(), "budget.min_per_second: 1 -> 2");
    assert_eq!(a.settings().attempts, 2, "that of all keys");
    let balance = |key: &str| handle.key(key).unwrap().budget().unwrap().balance();
    assert_eq!(balance("a"), 20 - 5, "withdrawals of all keys stay");
    assert!(send(&mut service, job("new", Act::Fail)).await.is_err());
    assert_eq!(balance("new"), 20 - 6);

    let per_second = |to: &mut Settings| to.budget.as_mut().unwrap().min_per_second = 1;
    let _ = a.change(per_second).unwrap();
    assert_eq!((balance("a"), balance("new")), (10 - 4, 20 - 6));
}

#[tokio::test(start_paused = true)]
async fn a_budget_that_is_used_up_leaves_last() {
    let layer = retry(settings()).max_keys(2).build().unwrap();
    let mut events = layer.handle().events();
    let mut service = layer.layer(Inner::default());
    for _ in 0..30 {
        assert!(send(&mut service, job("dead", Act::Fail)).await.is_err());
    }
    for key in 0..20 {
        let key = format!("new {key}");
        assert!(send(&mut service, job(&key, Act::Ok)).await.is_ok());
    }
    let dead = layer.handle().key("dead").expect("it has lost its budget");
    assert_eq!(dead.budget().unwrap().balance(), 0);
    let mut events = std::iter::from_fn(|| events.try_recv());
    assert!(!events.any(|event| matches!(event.kind(), EventKind::Evicted)));
}

#[tokio::test(start_paused = true)]
async fn a_key_whose_retry_waits_is_not_evicted_and_its_counts_stay() {
    let mut slow = settings();
    slow.backoff = Some(Backoff::constant(ms(1_000)).jitter(Jitter::None));
    let layer = retry(slow).max_keys(1).build().unwrap();
    let service = layer.layer(Inner::default());
    let waiting = start(&service, job("waits", Act::Fail)).await;
    let mut other = service.clone();
    for key in ["a", "b"] {
        assert!(send(&mut other, job(key, Act::Ok)).await.is_ok());
    }
    let keys = layer.handle().snapshot().keys.unwrap();
    assert_eq!((keys.keys, keys.temporary), (1, 2));
    waiting.abort();
    settle().await;
    let waits = layer.handle().key("waits").unwrap();
    assert_eq!(waits.snapshot().given_up, 1);
    assert_eq!(waits.budget().unwrap().balance(), 10, "refunded");
    drop((waits, service));
    assert!(send(&mut other, job("c", Act::Ok)).await.is_ok());
    let all = layer.handle().snapshot();
    assert_eq!(all.keys.unwrap().evicted, 1);
    assert_eq!(
        (all.retries, all.given_up),
        (vec![(RetryCause::Error, 1)], 1)
    );
}

#[tokio::test(start_paused = true)]
async fn all_keys_share_a_budget_of_the_users_own() {
    let budget = RetryBudget::builder().ratio(0.0).min_per_second(1);
    let budget = budget.build().unwrap();
    let layer = retry(settings()).budget(budget.clone()).max_keys(2);
    let layer = layer.build().unwrap();
    let other = RetryLayer::builder().budget(budget.clone()).build();
    let other = other.unwrap().handle();
    let (handle, mut service) = (layer.handle(), layer.layer(Inner::default()));
    assert_eq!(handle.snapshot().balance, Some(10));
    for _ in 0..7 {
        assert!(send(&mut service, job("a", Act::Fail)).await.is_err());
    }
    for _ in 0..5 {
        assert!(send(&mut service, job("b", Act::Fail)).await.is_err());
    }
    let retries = |key: &str| handle.key(key).unwrap().snapshot().retries[0].1;
    assert_eq!((retries("a"), retries("b")), (7, 3));
    assert_eq!(budget.balance(), 0);
    assert_eq!(handle.budget().unwrap().balance(), 0);
    assert_eq!(handle.key("a").unwrap().budget().unwrap().balance(), 0);
    assert_eq!(handle.snapshot().balance, Some(0));

    let per_second = |to: &mut Settings, retries| {
        to.budget.as_mut().unwrap().min_per_second = retries;
    };
    let _ = other.change(|to| per_second(to, 2)).unwrap();
    assert_eq!(handle.settings().budget.unwrap().min_per_second, 2);
    let changes = handle.change(|to| to.attempts = 3).unwrap();
    assert_eq!(changes.to_string(), "attempts: 2 -> 3");
    assert_eq!(budget.balance(), 20 - 10);
    let changes = handle.change(|to| per_second(to, 3)).unwrap();
    assert_eq!(changes.to_string(), "budget.min_per_second: 2 -> 3");
    assert_eq!(other.settings().budget.unwrap().min_per_second, 3);
    assert_eq!(budget.balance(), 30 - 10);

    // No state is lost with a key: the budget is not its own.
    let mut events = handle.events();
    for key in ["c", "d", "e"] {
        assert!(send(&mut service, job(key, Act::Ok)).await.is_ok());
    }
    assert!(handle.snapshot().keys.unwrap().evicted > 0);
    let mut events = std::iter::from_fn(|| events.try_recv());
    assert!(!events.any(|event| matches!(event.kind(), EventKind::Evicted)));

    let _ = handle.change(|to| to.budget = None).unwrap();
    assert!(handle.budget().is_none());
    assert_eq!(handle.snapshot().balance, None);
}
