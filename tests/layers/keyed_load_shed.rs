//! A load shedder with a limit for each key.

use crate::keyed::{ByTenant, Inner, job, seen};
use crate::support::{Act, ms, rejected, send, start};
use futures::FutureExt as _;
use mainstay::keyed::PerKey;
use mainstay::load_shed::LoadShedBuilder;
use mainstay::{AtResponse, EventKind, Limit, LoadShedLayer, Mode, Reason};
use tower::{Layer, ServiceExt as _};

fn shed(limit: Limit) -> LoadShedBuilder<AtResponse, PerKey<ByTenant>> {
    let builder = LoadShedLayer::builder().name("jobs").limit(limit);
    builder.keyed_by(ByTenant)
}

/// It begins with 2 calls and learns from single ones.
fn by_latency() -> Limit {
    Limit::aimd().initial(2).min(1).max(100).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_key_at_its_limit_leaves_room_for_the_others() {
    let (observer, events) = seen();
    let layer = shed(Limit::fixed(1)).observer(observer).build().unwrap();
    let service = layer.layer(Inner::default());
    let _first = start(&service, job("a", Act::Hang)).await;
    let rejection = rejected(send(&mut service.clone(), job("a", Act::Ok)).await);
    assert_eq!(
        (rejection.reason(), rejection.key()),
        (Reason::Shed, Some("a"))
    );
    assert!(send(&mut service.clone(), job("b", Act::Ok)).await.is_ok());

    let handle = layer.handle();
    let mut keys = handle.keys();
    keys.sort();
    assert_eq!(keys, ["a", "b"]);
    assert_eq!((handle.in_flight(), handle.limit()), (1, Some(1)));
    assert_eq!(
        handle.snapshot().to_string(),
        "load_shed jobs: 2 of 10000 keys; 1 in flight, 0 streaming; \
         1 ok, 0 failed, 0 ignored, 0 cancelled; 1 rejected (shed 1)"
    );
    let one = handle.key("a").unwrap();
    assert_eq!(
        one.snapshot().to_string(),
        "load_shed jobs [a]: 1 of 1 in flight, 0 streaming; \
         0 ok, 0 failed, 0 ignored, 0 cancelled; 1 rejected (shed 1)"
    );
    let events = events.lock().unwrap();
    assert!(
        events
            .iter()
            .any(|(key, text)| key.as_deref() == Some("a") && text.contains("rejected")),
        "{events:?}"
    );
}

#[tokio::test(start_paused = true)]
async fn each_limit_learns_from_the_calls_of_its_key() {
    let layer = shed(by_latency()).build().unwrap();
    let service = layer.layer(Inner::default());
    for _ in 0..40 {
        let one = start(&service, job("fast", Act::OkAfter(ms(20)))).await;
        let two = start(&service, job("fast", Act::OkAfter(ms(20)))).await;
        one.await.unwrap().unwrap();
        two.await.unwrap().unwrap();
    }
    assert!(
        send(&mut service.clone(), job("new", Act::Ok))
            .await
            .is_ok()
    );
    let handle = layer.handle();
    let limit = |key: &str| handle.key(key).unwrap().limit().unwrap();
    assert!(limit("fast") > 2, "{}", limit("fast"));
    assert_eq!(limit("new"), 2);
    assert_eq!(handle.limit(), Some(2), "that of a new key");
    assert!(handle.snapshot().latency.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_has_learned_leaves_last_and_says_so() {
    let layer = shed(by_latency()).max_keys(2).build().unwrap();
    let mut events = layer.handle().events();
    let service = layer.layer(Inner::default());
    for _ in 0..40 {
        let one = start(&service, job("learned", Act::OkAfter(ms(20)))).await;
        let two = start(&service, job("learned", Act::OkAfter(ms(20)))).await;
        one.await.unwrap().unwrap();
        two.await.unwrap().unwrap();
    }
    for key in 0..20 {
        let key = format!("new {key}");
        assert!(send(&mut service.clone(), job(&key, Act::Ok)).await.is_ok());
    }
    assert!(layer.handle().key("learned").is_some());
    let mut evicted = std::iter::from_fn(|| events.try_recv());
    assert!(!evicted.any(|event| matches!(event.kind(), EventKind::Evicted)));
    let snapshot = layer.handle().snapshot();
    assert_eq!(snapshot.outcomes.success, 100);
    assert_eq!(snapshot.keys.unwrap().evicted, 19);
}

#[test]
fn a_limit_for_each_key_is_not_by_scheduler_lag() {
    let error = shed(Limit::scheduler_lag()).build().unwrap_err();
    assert_eq!(
        error.to_string(),
        "load_shed `jobs`: limit = adaptive (scheduler lag) is refused: must be `fixed`, `aimd` or `gradient2` with keys: \
         the scheduler's lag is that of the whole process"
    );
    let off = shed(Limit::scheduler_lag()).mode(Mode::Off);
    let handle = off.build().unwrap().handle();
    assert!(handle.change(|to| to.mode = Mode::Shadow).is_err());
    assert_eq!(handle.settings().mode, Mode::Off);
}

#[tokio::test(start_paused = true)]
async fn an_update_applies_to_all_keys_and_one_of_a_key_to_it() {
    let layer = shed(Limit::fixed(1)).build().unwrap();
    let handle = layer.handle();
    let service = layer.layer(Inner::default());
    assert!(send(&mut service.clone(), job("a", Act::Ok)).await.is_ok());
    let one = handle.key("a").unwrap();
    let lag = |to: &mut mainstay::load_shed::Settings| to.limit = Limit::scheduler_lag();
    assert!(one.change(lag).is_err(), "a key has no limit by lag");
    let _ = one.change(|to| to.limit = Limit::fixed(7)).unwrap();
    assert_eq!((one.limit(), handle.limit()), (Some(7), Some(1)));
    let _ = handle.change(|to| to.limit = Limit::fixed(3)).unwrap();
    assert_eq!((one.limit(), handle.limit()), (Some(3), Some(3)));
    assert!(send(&mut service.clone(), job("b", Act::Ok)).await.is_ok());
    assert_eq!(handle.key("b").unwrap().limit(), Some(3));
}

#[tokio::test(start_paused = true)]
async fn in_shadow_mode_it_waits_for_the_inner_service() {
    let layer = shed(Limit::fixed(1)).build().unwrap();
    let inner = Inner::default();
    inner.0.set_ready(false);
    let mut service = layer.layer(inner);
    assert!(service.ready().now_or_never().is_some(), "always ready");
    let _ = layer.handle().change(|to| to.mode = Mode::Shadow).unwrap();
    assert!(service.ready().now_or_never().is_none());
}
