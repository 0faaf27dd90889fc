//! The behaviour of a rate limit. Each test is named after what it ensures.

mod support;

use std::time::Duration;

use mainstay::{Error, EventKind, Outcome, RateLimitLayer, Reason};
use support::{Act, Broken, Probe, ms, reason, recorder, rejected, secs, send, send_caught};
use tokio::time::{Instant, advance};
use tower::{Layer, Service, ServiceExt};

fn limit(permits: u32, per: Duration, burst: u32) -> RateLimitLayer {
    let builder = RateLimitLayer::builder().per(permits, per).burst(burst);
    builder.build().unwrap()
}

// --- The rate

#[tokio::test(start_paused = true)]
async fn a_burst_is_admitted_at_once_and_then_one_call_for_each_interval() {
    let mut service = limit(10, secs(1), 3).layer(Probe::new());
    for call in 0..3 {
        assert!(send(&mut service, Act::Ok).await.is_ok(), "{call}");
    }
    for _ in 0..20 {
        let rejection = rejected(send(&mut service, Act::Ok).await);
        assert_eq!(rejection.reason(), Reason::RateLimited);
        assert_eq!(rejection.retry_after(), Some(ms(100)));
        advance(ms(40)).await;
        let rejection = rejected(send(&mut service, Act::Ok).await);
        assert_eq!(rejection.retry_after(), Some(ms(60)));
        advance(ms(60)).await;
        assert!(send(&mut service, Act::Ok).await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn a_pause_brings_the_burst_back_and_no_more() {
    let layer = limit(10, secs(1), 3);
    let mut service = layer.layer(Probe::new());
    for pause in [Duration::ZERO, ms(300), secs(3_600)] {
        advance(pause).await;
        assert_eq!(layer.available(), 3);
        for left in [2, 1, 0] {
            assert!(send(&mut service, Act::Ok).await.is_ok());
            assert_eq!(layer.available(), left);
        }
        assert!(send(&mut service, Act::Ok).await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn the_burst_is_a_period_by_default() {
    let mut service = RateLimitLayer::per_second(5).unwrap().layer(Probe::new());
    for _ in 0..5 {
        assert!(send(&mut service, Act::Ok).await.is_ok());
    }
    let rejection = rejected(send(&mut service, Act::Ok).await);
    assert_eq!(rejection.retry_after(), Some(ms(200)));
}

#[tokio::test(start_paused = true)]
async fn a_caller_below_the_rate_is_never_rejected() {
    let mut service = limit(7, secs(1), 1).layer(Probe::new());
    for _ in 0..100 {
        assert!(send(&mut service, Act::Ok).await.is_ok());
        advance(ms(143)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_rate_is_one_for_all_routes_and_connections() {
    let layer = limit(1, secs(60), 2);
    let mut admitted = 0;
    for _route in 0..3 {
        let layer = layer.clone();
        for _connection in 0..3 {
            let mut service = layer.layer(Probe::new());
            let mut clone = service.clone();
            admitted += u32::from(send(&mut service, Act::Ok).await.is_ok());
            admitted += u32::from(send(&mut clone, Act::Ok).await.is_ok());
        }
    }
    assert_eq!(admitted, 2);
}

// --- Rejections

#[tokio::test(start_paused = true)]
async fn a_rejection_says_by_which_instance_and_the_inner_service_is_not_called() {
    let layer = RateLimitLayer::builder().name("search").burst(1);
    let probe = Probe::new();
    let mut service = layer.build().unwrap().layer(probe.clone());
    assert!(send(&mut service, Act::Ok).await.is_ok());
    let began = Instant::now();
    let rejection = rejected(send(&mut service, Act::Ok).await);
    assert_eq!(
        (rejection.layer(), rejection.name()),
        ("rate_limit", "search")
    );
    assert!(rejection.not_sent());
    assert_eq!(rejection.reason().as_str(), "rate_limited");
    assert_eq!((began.elapsed(), probe.calls()), (Duration::ZERO, 1));
}

#[tokio::test(start_paused = true)]
async fn a_rejected_call_uses_up_nothing() {
    let mut service = limit(1, secs(1), 1).layer(Probe::new());
    assert!(send(&mut service, Act::Ok).await.is_ok());
    for _ in 0..1_000 {
        let rejection = rejected(send(&mut service, Act::Ok).await);
        assert_eq!(rejection.retry_after(), Some(secs(1)));
    }
    advance(secs(1)).await;
    assert!(send(&mut service, Act::Ok).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn while_calls_are_rejected_it_is_ready_whatever_the_inner_service_is() {
    let probe = Probe::new();
    let mut service = limit(1, secs(1), 1).layer(probe.clone());
    assert!(send(&mut service, Act::Ok).await.is_ok());
    assert!(send(&mut service, Act::Ok).await.is_err());
    probe.set_ready(false);
    assert!(futures::poll!(service.ready()).is_ready());
    // Whatever has changed since: the inner service was not asked.
    advance(secs(1)).await;
    let result = service.call(Act::Ok).await;
    assert_eq!(reason(result), Reason::RateLimited);
    assert!(futures::poll!(service.ready()).is_pending());
    probe.set_ready(true);
    assert!(send(&mut service, Act::Ok).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn readiness_takes_no_permit() {
    let layer = limit(1, secs(60), 1);
    let mut idle: Vec<_> = (0..10).map(|_| layer.layer(Probe::new())).collect();
    for service in &mut idle {
        service.ready().await.unwrap();
    }
    assert_eq!(layer.available(), 1);
    assert!(idle[7].call(Act::Ok).await.is_ok());
    assert_eq!(
        reason(idle[3].call(Act::Ok).await),
        Reason::RateLimited,
        "the permit is taken in the call"
    );
}

#[tokio::test(start_paused = true)]
async fn a_permit_is_used_up_however_the_call_ends() {
    let layer = limit(1, secs(60), 5);
    let mut service = layer.layer(Probe::new());
    assert!(send(&mut service, Act::Fail).await.is_err());
    assert!(send_caught(&service, Act::Panic).await.is_err());
    assert!(send_caught(&service, Act::PanicInCall).await.is_err());
    drop(service.ready().await.unwrap().call(Act::Ok));
    assert_eq!(layer.available(), 1);
}

// --- What is seen of it

#[tokio::test(start_paused = true)]
async fn every_call_is_counted_once() {
    let (observer, events) = recorder();
    let layer = RateLimitLayer::builder()
        .name("search")
        .per(60, secs(60))
        .burst(4)
        .observer(observer)
        .build()
        .unwrap();
    let mut service = layer.layer(Probe::new());
    assert!(send(&mut service, Act::Ok).await.is_ok());
    assert!(send(&mut service, Act::Fail).await.is_err());
    assert!(send_caught(&service, Act::Panic).await.is_err());
    drop(service.ready().await.unwrap().call(Act::Ok));
    for _ in 0..3 {
        assert_eq!(
            reason(send(&mut service, Act::Ok).await),
            Reason::RateLimited
        );
    }
    let snapshot = layer.snapshot();
    let outcomes = snapshot.outcomes;
    assert_eq!(
        (outcomes.success, outcomes.failure, outcomes.cancelled),
        (1, 2, 1)
    );
    assert_eq!(snapshot.rejections.total(), 3);
    assert_eq!(
        snapshot.to_string(),
        "rate_limit search: 60 per 60s, 0 of 4 available; 1 ok, 2 failed, 0 ignored, \
         1 cancelled; 3 rejected (rate_limited 3)"
    );
    let events = events.lock().unwrap();
    let settled = |outcome: Outcome| {
        let settled = events.iter().filter(
            |event| matches!(event, EventKind::Settled { outcome: of, .. } if *of == outcome),
        );
        settled.count()
    };
    assert_eq!(settled(Outcome::Success), 1);
    assert_eq!(settled(Outcome::Failure), 2);
    assert_eq!(settled(Outcome::Cancelled), 1);
    let rejected = events
        .iter()
        .filter(|event| matches!(event, EventKind::Rejected(_)));
    assert_eq!(rejected.count(), 3);
}

#[test]
fn settings_that_are_refused_are_named() {
    let field = |builder: mainstay::rate_limit::RateLimitBuilder| {
        let error = builder.name("search").build().unwrap_err();
        assert_eq!(error.name(), Some("search"));
        error.field().to_owned()
    };
    let builder = RateLimitLayer::builder;
    assert_eq!(field(builder().per(0, secs(1))), "permits");
    assert_eq!(field(builder().per(u32::MAX, secs(1))), "permits");
    assert_eq!(field(builder().per(1, Duration::ZERO)), "per");
    assert_eq!(field(builder().per(1, Duration::MAX)), "per");
    assert_eq!(field(builder().burst(0)), "burst");
    assert_eq!(
        field(builder().per(1, secs(86_400)).burst(u32::MAX)),
        "burst"
    );
    assert_eq!(
        RateLimitLayer::per_second(0).unwrap_err().field(),
        "permits"
    );
    assert!(RateLimitLayer::per_second(1_000_000).is_ok());
}

#[tokio::test(start_paused = true)]
async fn errors_stay_flat_and_what_is_not_send_or_clone_passes() {
    let layer = limit(10, secs(1), 10);
    let inner =
        tower::service_fn(
            |request: std::rc::Rc<u32>| async move { Ok::<_, Error<Broken>>(request) },
        );
    let mut service = layer.layer(layer.layer(inner));
    let answer: Result<_, Error<Broken>> = send(&mut service, std::rc::Rc::new(7)).await;
    assert_eq!(*answer.unwrap(), 7);
    assert_eq!(layer.available(), 8);
}
