//! Settings of retries and load shedders that change while calls run.

use crate::support::{Act, Probe, ms, reason, secs, send, settle, start};
use mainstay::retry::Retry;
use mainstay::{
    Backoff, Jitter, Limit, LoadShedLayer, Mode, Reason, RetryBudget, RetryLayer, RetryRefused,
};
use tokio::time::advance;
use tower::Layer;

fn over_probe(layer: &RetryLayer) -> (Retry<Probe>, Probe) {
    let probe = Probe::default();
    (layer.layer(probe.clone()), probe)
}

fn at_once() -> Backoff {
    Backoff::constant(ms(0)).jitter(Jitter::None)
}

// --- Retry

#[tokio::test(start_paused = true)]
async fn the_attempts_and_the_back_off_change_for_calls_that_run() {
    let backoff = Backoff::constant(secs(1)).jitter(Jitter::None);
    let layer = RetryLayer::builder()
        .attempts(2)
        .backoff(backoff)
        .build()
        .unwrap();
    let retry = layer.handle();
    let (service, probe) = over_probe(&layer);
    let call = start(&service, Act::Fail).await;
    assert_eq!(probe.calls(), 1);
    let changes = retry
        .change(|settings| {
            settings.attempts = 4;
            settings.backoff = Some(at_once());
        })
        .unwrap();
    assert_eq!(
        changes.to_string(),
        "attempts: 2 -> 4, backoff: constant 1s, no jitter -> constant 0ns, no jitter"
    );
    advance(secs(1)).await;
    assert!(call.await.unwrap().is_err());
    assert_eq!(probe.calls(), 4);
    let _ = retry.change(|settings| settings.attempts = 1).unwrap();
    let mut service = service.clone();
    assert!(send(&mut service, Act::Fail).await.is_err());
    assert_eq!(probe.calls(), 5);
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_is_switched_off_ends_the_call_with_its_result() {
    let backoff = Backoff::constant(secs(1)).jitter(Jitter::None);
    let layer = RetryLayer::builder().backoff(backoff).build().unwrap();
    let retry = layer.handle();
    let (mut service, probe) = over_probe(&layer);
    let _ = retry.change(|settings| settings.mode = Mode::Off).unwrap();
    assert!(send(&mut service, Act::Fail).await.is_err());
    assert_eq!((probe.calls(), retry.budget().is_none()), (1, true));
    let _ = retry
        .change(|settings| settings.mode = Mode::Enforce)
        .unwrap();
    assert!(send(&mut service, Act::Fail).await.is_err());
    assert_eq!((probe.calls(), retry.budget().is_none()), (4, false));
}

#[tokio::test(start_paused = true)]
async fn a_retry_in_shadow_mode_retries_nothing_and_says_what_it_would_retry() {
    let layer = RetryLayer::builder()
        .backoff(at_once())
        .mode(Mode::Shadow)
        .build()
        .unwrap();
    let retry = layer.handle();
    let (mut service, probe) = over_probe(&layer);
    let before = retry.budget().unwrap().balance();
    for _ in 0..3 {
        assert!(send(&mut service, Act::Fail).await.is_err());
    }
    assert!(send(&mut service, Act::Ok).await.is_ok());
    let snapshot = retry.snapshot();
    assert_eq!(snapshot.refused, [(RetryRefused::Shadow, 3)]);
    assert_eq!((probe.calls(), snapshot.mode), (4, Mode::Shadow));
    assert!(snapshot.retries.is_empty());
    // It pays, so that the budget is what it would be.
    assert!(retry.budget().unwrap().balance() < before);
    assert_eq!(
        snapshot.to_string(),
        format!(
            "retry default: 0 retries (shadow), 3 refused (shadow 3); budget for {} more",
            retry.budget().unwrap().balance()
        )
    );
}

#[tokio::test(start_paused = true)]
async fn the_budget_keeps_its_entries_and_all_that_share_it_see_its_settings() {
    let budget = RetryBudget::builder()
        .ratio(1.0)
        .min_per_second(0)
        .ttl(secs(10))
        .build()
        .unwrap();
    let build = |budget: RetryBudget| RetryLayer::builder().budget(budget).build().unwrap();
    let (layer, other) = (build(budget.clone()), build(budget.clone()));
    let (mut service, _) = over_probe(&layer);
    for _ in 0..10 {
        let _ = send(&mut service, Act::Ok).await;
    }
    assert_eq!(budget.balance(), 10);
    let changes = layer
        .handle()
        .change(|settings| {
            if let Some(budget) = &mut settings.budget {
                (budget.ratio, budget.ttl) = (0.5, secs(60));
            }
        })
        .unwrap();
    assert_eq!(
        changes.to_string(),
        "budget.ratio: 1 -> 0.5, budget.ttl: 10s -> 60s"
    );
    assert_eq!(budget.balance(), 10, "what was paid in remains");
    for _ in 0..10 {
        let _ = send(&mut service, Act::Ok).await;
    }
    assert_eq!(budget.balance(), 15);
    advance(secs(30)).await;
    assert_eq!(budget.balance(), 15, "for the new time");
    let seen = other.handle().settings().budget.unwrap();
    assert_eq!((seen.ratio, seen.ttl), (0.5, secs(60)));
    // Without a budget for one of them, the other one keeps it.
    let _ = layer
        .handle()
        .change(|settings| settings.budget = None)
        .unwrap();
    assert!(layer.handle().budget().is_none() && other.handle().budget().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_refund_of_an_earlier_lifetime_of_the_budget_is_exact() {
    let budget = RetryBudget::builder()
        .ratio(1.0)
        .min_per_second(0)
        .ttl(secs(10))
        .build()
        .unwrap();
    let backoff = Backoff::constant(secs(3)).jitter(Jitter::None);
    let layer = RetryLayer::builder()
        .budget(budget.clone())
        .backoff(backoff)
        .build()
        .unwrap();
    let (service, _) = over_probe(&layer);
    let call = start(&service, Act::Fail).await;
    assert_eq!(budget.balance(), 0);
    let longer = |settings: &mut mainstay::retry::Settings| {
        settings.budget.as_mut().unwrap().ttl = secs(100);
    };
    let _ = layer.handle().change(longer).unwrap();
    call.abort();
    settle().await;
    assert_eq!(budget.balance(), 1, "the caller gave up");
}

#[test]
fn an_invalid_update_of_a_retry_changes_nothing() {
    let layer = RetryLayer::builder().name("stock").build().unwrap();
    let retry = layer.handle();
    let before = retry.settings();
    let refused = |change: &dyn Fn(&mut mainstay::retry::Settings)| {
        let error = retry.change(|settings| change(settings)).unwrap_err();
        assert_eq!(retry.settings(), before);
        error.to_string()
    };
    assert_eq!(
        refused(&|settings| settings.attempts = 0),
        "retry `stock`: attempts = 0 is refused: must be from 1 (no retry) to 100"
    );
    assert_eq!(
        refused(&|settings| settings.backoff = Some(Backoff::exponential(ms(0)))),
        "backoff `stock`: base = 0ns is refused: must be at most 24h, and more than 0 unless the \
         back-off is constant"
    );
    let ratio = |settings: &mut mainstay::retry::Settings| {
        settings.budget.as_mut().unwrap().ratio = -1.0;
    };
    assert!(refused(&ratio).starts_with("retry_budget `stock`: ratio = -1 is refused"));
}

// --- Load shed

#[tokio::test(start_paused = true)]
async fn a_limit_of_another_kind_applies_at_once() {
    let layer = LoadShedLayer::new(Limit::scheduler_lag());
    let load = layer.handle();
    let mut service = layer.layer(Probe::default());
    let mut calls = Vec::new();
    for _ in 0..5 {
        calls.push(start(&service, Act::OkAfter(secs(1))).await);
    }
    let changes = load
        .change(|settings| settings.limit = Limit::fixed(3))
        .unwrap();
    assert_eq!(changes.to_string(), "limit: scheduler_lag -> 3");
    assert_eq!((load.in_flight(), load.limit()), (5, Some(3)));
    assert_eq!(reason(send(&mut service, Act::Ok).await), Reason::Shed);
    let by_latency = Limit::gradient2().initial(20).build().unwrap();
    let _ = load.change(|settings| settings.limit = by_latency).unwrap();
    assert_eq!(load.limit(), Some(20));
    let _ = load
        .change(|settings| settings.limit = Limit::scheduler_lag())
        .unwrap();
    assert_eq!(load.limit(), None);
    for call in calls {
        assert!(call.await.unwrap().is_ok());
    }
    let snapshot = load.snapshot();
    assert_eq!(
        (snapshot.outcomes.success, snapshot.rejections.total()),
        (5, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn a_load_shedder_in_shadow_mode_sheds_nothing_and_says_what_it_would_shed() {
    let layer = LoadShedLayer::builder()
        .limit(Limit::fixed(1))
        .mode(Mode::Shadow)
        .build()
        .unwrap();
    let load = layer.handle();
    let mut service = layer.layer(Probe::default());
    let mut calls = Vec::new();
    for _ in 0..3 {
        calls.push(start(&service, Act::OkAfter(secs(1))).await);
    }
    let snapshot = load.snapshot();
    assert_eq!(
        (snapshot.in_flight, snapshot.would_reject.of(Reason::Shed)),
        (3, 2)
    );
    assert!(
        snapshot
            .to_string()
            .starts_with("load_shed default: 3 of 1 in flight (shadow)")
    );
    let _ = load
        .change(|settings| settings.mode = Mode::Enforce)
        .unwrap();
    assert_eq!(reason(send(&mut service, Act::Ok).await), Reason::Shed);
    let _ = load.change(|settings| settings.mode = Mode::Off).unwrap();
    assert!(send(&mut service, Act::Ok).await.is_ok());
    for call in calls {
        assert!(call.await.unwrap().is_ok());
    }
    assert_eq!(load.snapshot().outcomes.total(), 4);
}
