//! Settings of a time limit that change while calls run.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::{Act, Probe, ms, reason, recorder, rejected, secs, send, settle, start};
use mainstay::timeout::{OwnLimit, PerRequest, Settings, Timeout, TimeoutBuilder};
use mainstay::{Context, EventKind, Mode, Overrides, Reason, TimeLimit, TimeoutLayer};
use tokio::time::{Instant, advance};
use tower::{Layer, Service, ServiceExt as _, service_fn};

fn set(timeout: Duration) -> TimeoutLayer {
    TimeoutLayer::builder().timeout(timeout).build().unwrap()
}

/// A call that takes a minute: the time left for the inner service, and when the call was over.
async fn minute<P>(layer: &TimeoutLayer<P>) -> (Option<Duration>, Duration)
where
    P: PerRequest<()> + Clone,
{
    let seen = Arc::new(Mutex::new(None));
    let inner = Arc::clone(&seen);
    let mut service: Timeout<_, P> = layer.layer(service_fn(move |()| {
        *inner.lock().unwrap() = Context::current().remaining();
        async {
            tokio::time::sleep(secs(60)).await;
            Ok::<_, crate::support::Broken>(())
        }
    }));
    let begun = Instant::now();
    let _ = service.ready().await.unwrap().call(()).await;
    let left = *seen.lock().unwrap();
    (left, begun.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_new_limit_applies_to_new_calls_and_not_to_those_in_flight() {
    let layer = set(secs(2));
    let timeout = layer.handle();
    let mut service = layer.layer(Probe::default());
    let begun = Instant::now();
    let before = start(&service, Act::Hang).await;
    let changes = timeout
        .change(|settings| settings.timeout = secs(1).into())
        .unwrap();
    assert_eq!(changes.to_string(), "timeout: 2s -> 1s");
    let rejection = rejected(send(&mut service, Act::Hang).await);
    assert_eq!(rejection.time_limit(), Some(TimeLimit::Layer(secs(1))));
    assert_eq!(begun.elapsed(), secs(1));
    let rejection = rejected(before.await.unwrap());
    assert_eq!(rejection.time_limit(), Some(TimeLimit::Layer(secs(2))));
    assert_eq!(begun.elapsed(), secs(2));
}

#[tokio::test(start_paused = true)]
async fn only_another_length_makes_a_default_limit_one_that_is_set() {
    let layer = TimeoutLayer::builder().build().unwrap();
    let timeout = layer.handle();
    assert_eq!(timeout.settings().timeout, OwnLimit::Of(secs(30)));
    assert_eq!(minute(&layer).await, (None, secs(30)));
    // The settings in force put back change nothing.
    assert!(timeout.update(&timeout.settings()).unwrap().is_empty());
    assert_eq!(minute(&layer).await, (None, secs(30)));
    let _ = timeout
        .change(|settings| {
            assert_eq!(settings.timeout, OwnLimit::Auto);
            settings.timeout = secs(20).into();
        })
        .unwrap();
    assert_eq!(minute(&layer).await, (Some(secs(20)), secs(20)));
    let changes = timeout
        .change(|settings| settings.timeout = OwnLimit::Off)
        .unwrap();
    assert_eq!(changes.to_string(), "timeout: 20s -> off");
    assert_eq!(minute(&layer).await, (None, secs(60)));
    let _ = timeout.update(&Settings::default()).unwrap();
    assert_eq!(minute(&layer).await, (None, secs(30)));
    // In a builder, the same length is a limit that is set.
    let mut settings = Settings::default();
    settings.timeout = secs(30).into();
    let layer = TimeoutLayer::builder().settings(settings).build().unwrap();
    assert_eq!(minute(&layer).await, (Some(secs(30)), secs(30)));
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_is_off_ends_nothing_until_it_is_on_again() {
    let layer = set(secs(2));
    let timeout = layer.handle();
    let _ = timeout
        .change(|settings| settings.mode = Mode::Off)
        .unwrap();
    assert_eq!(minute(&layer).await, (None, secs(60)));
    let deadline = Context::current().with_timeout(secs(1));
    let (left, took) = deadline.scope(minute(&layer)).await;
    assert_eq!((left, took), (Some(secs(1)), secs(60)));
    let _ = timeout
        .change(|settings| settings.mode = Mode::Enforce)
        .unwrap();
    assert_eq!(minute(&layer).await, (Some(secs(2)), secs(2)));
    assert_eq!(timeout.snapshot().rejections.of(Reason::TimedOut), 1);
    assert_eq!(timeout.snapshot().would_reject.total(), 0);
}

#[tokio::test(start_paused = true)]
async fn in_shadow_mode_no_call_is_ended_and_each_late_one_is_reported_once() {
    let (observer, events) = recorder();
    let layer = TimeoutLayer::builder()
        .name("disk")
        .timeout(secs(2))
        .mode(Mode::Shadow)
        .observer(observer)
        .build()
        .unwrap();
    let timeout = layer.handle();
    let mut service = layer.layer(Probe::default());
    assert!(send(&mut service, Act::OkAfter(secs(2))).await.is_ok());
    assert_eq!(timeout.snapshot().would_reject.total(), 0);
    assert!(send(&mut service, Act::OkAfter(secs(3))).await.is_ok());
    assert!(send(&mut service, Act::FailAfter(secs(3))).await.is_err());
    let limits: Vec<_> = events
        .lock()
        .unwrap()
        .iter()
        .filter_map(|event| match event {
            EventKind::WouldReject(rejection) => rejection.time_limit(),
            _ => None,
        })
        .collect();
    assert_eq!(limits, [TimeLimit::Layer(secs(2)); 2]);
    let snapshot = timeout.snapshot();
    assert_eq!(snapshot.mode, Mode::Shadow);
    assert_eq!(snapshot.rejections.total(), 0);
    assert_eq!(snapshot.would_reject.of(Reason::TimedOut), 2);
    assert_eq!(
        snapshot.to_string(),
        "timeout disk: none rejected (shadow), 2 would be rejected"
    );
}

#[tokio::test(start_paused = true)]
async fn in_shadow_mode_a_call_is_reported_when_it_is_over_or_given_up() {
    let layer = TimeoutLayer::builder()
        .timeout(secs(2))
        .mode(Mode::Shadow)
        .build()
        .unwrap();
    let timeout = layer.handle();
    let late = || timeout.snapshot().would_reject.of(Reason::TimedOut);
    let mut service = layer.layer(Probe::default());
    // A future that is kept after its completion.
    let mut call = tokio_test::task::spawn(service.ready().await.unwrap().call(Act::Ok));
    assert!(call.poll().is_ready());
    advance(secs(3)).await;
    drop(call);
    assert_eq!(late(), 0);
    for (after, expected) in [(secs(1), 0), (secs(3), 1)] {
        let call = start(&service, Act::Hang).await;
        advance(after).await;
        assert_eq!(late(), 0);
        call.abort();
        settle().await;
        assert_eq!(late(), expected, "given up after {after:?}");
    }
    let call = start(&service, Act::OkAfter(secs(4))).await;
    // A call keeps the mode with which it began.
    let _ = timeout
        .change(|settings| settings.mode = Mode::Enforce)
        .unwrap();
    assert!(call.await.unwrap().is_ok());
    assert_eq!(late(), 2);
}

#[tokio::test(start_paused = true)]
async fn in_shadow_mode_inner_services_see_the_callers_deadline_alone() {
    let layer = TimeoutLayer::builder()
        .timeout(secs(2))
        .mode(Mode::Shadow)
        .build()
        .unwrap();
    let timeout = layer.handle();
    assert_eq!(minute(&layer).await, (None, secs(60)));
    let deadline = Context::current().with_timeout(secs(1));
    assert_eq!(
        deadline.scope(minute(&layer)).await,
        (Some(secs(1)), secs(60))
    );
    let passed = Context::current().with_timeout(Duration::ZERO);
    assert_eq!(
        passed.scope(minute(&layer)).await,
        (Some(Duration::ZERO), secs(60))
    );
    let would_reject = timeout.snapshot().would_reject;
    assert_eq!(would_reject.of(Reason::TimedOut), 2);
    assert_eq!(would_reject.of(Reason::DeadlinePassed), 1);
}

#[tokio::test(start_paused = true)]
async fn an_override_applies_in_every_mode() {
    for mode in [Mode::Enforce, Mode::Shadow, Mode::Off] {
        let layer = TimeoutLayer::builder()
            .timeout(secs(2))
            .mode(mode)
            .build()
            .unwrap();
        for length in [ms(500), secs(5)] {
            let of = Overrides::new().timeout(length);
            let (left, took) = of.scope(minute(&layer)).await;
            assert_eq!((left, took), (Some(length), length), "{mode}");
        }
        let none = Overrides::new().no_timeout();
        assert_eq!(none.scope(minute(&layer)).await, (None, secs(60)), "{mode}");
        let snapshot = layer.handle().snapshot();
        assert_eq!(
            (snapshot.rejections.total(), snapshot.would_reject.total()),
            (2, 0),
            "{mode}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_layer_with_a_closure_has_only_a_mode() {
    let layer = TimeoutLayer::per_request(|_: &Act| Some(secs(2)));
    let timeout = layer.handle();
    assert_eq!(timeout.settings().timeout, OwnLimit::Off);
    assert!(timeout.update(&Settings::default()).unwrap().is_empty());
    let error = timeout
        .change(|settings| settings.timeout = secs(1).into())
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "timeout `default`: timeout = 1s is refused: must be left out: the closure of \
         `per_request` returns the limits"
    );
    let changes = timeout
        .change(|settings| settings.mode = Mode::Shadow)
        .unwrap();
    assert_eq!(changes.to_string(), "mode: enforce -> shadow");
    let mut service = layer.layer(Probe::default());
    assert!(send(&mut service, Act::OkAfter(secs(3))).await.is_ok());
    assert_eq!(timeout.snapshot().would_reject.of(Reason::TimedOut), 1);
    let mut settings = Settings::default();
    settings.timeout = secs(1).into();
    let builder: TimeoutBuilder<_> = TimeoutLayer::builder().per_request(|_: &Act| None);
    let error = builder.settings(settings).build().unwrap_err();
    assert_eq!(error.field(), "timeout");
}

#[test]
fn an_invalid_update_changes_nothing_and_names_the_field() {
    let layer = set(secs(2));
    let timeout = layer.handle();
    let before = timeout.settings();
    for length in [Duration::ZERO, secs(24 * 3600 + 1)] {
        let error = timeout
            .change(|settings| {
                settings.mode = Mode::Off;
                settings.timeout = length.into();
            })
            .unwrap_err();
        assert_eq!(error.field(), "timeout");
    }
    assert_eq!(timeout.settings(), before);
    let mut events = timeout.events();
    let _ = timeout
        .change(|settings| settings.mode = Mode::Off)
        .unwrap();
    assert_eq!(
        events.try_recv().unwrap().to_string(),
        "timeout default: settings changed (mode: enforce -> off)"
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_that_was_shadowed_is_ended_when_the_limit_is_enforced() {
    let layer = TimeoutLayer::new(ms(100));
    let timeout = layer.handle();
    let mut service = layer.layer(Probe::default());
    for (mode, ends) in [(Mode::Shadow, false), (Mode::Enforce, true)] {
        let _ = timeout.change(|settings| settings.mode = mode).unwrap();
        let sent = send(&mut service, Act::OkAfter(secs(1))).await;
        assert_eq!(sent.is_err(), ends, "{mode}");
        if ends {
            assert_eq!(reason(sent), Reason::TimedOut);
        }
    }
}
