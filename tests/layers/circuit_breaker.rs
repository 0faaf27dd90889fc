//! How the circuit breaker behaves, each test named after what it keeps from happening.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant as WallClock};

use crate::support::{
    Act, Broken, Probe, ms, reason, recorder, rejected, secs, send, send_caught, start,
};
use mainstay::circuit_breaker::{CircuitBreaker, CircuitBreakerBuilder};
use mainstay::{
    BulkheadLayer, Cause, CircuitBreakerHandle, CircuitBreakerLayer, Error, Event, EventKind,
    Limit, LoadShedLayer, Mode, OnCancel, Outcome, Reason, Recovery, State, TimeoutLayer,
    Transition, Verdict, Window,
};
use tokio::time::{advance, timeout};
use tower::{Layer, Service, ServiceExt};

/// Judges every ten calls, with no chance in it.
fn builder() -> CircuitBreakerBuilder {
    CircuitBreakerLayer::builder()
        .window(Window::count(10))
        .min_calls(10)
        .jitter(0.0)
}

fn over_probe(
    builder: CircuitBreakerBuilder,
) -> (CircuitBreaker<Probe>, CircuitBreakerHandle, Probe) {
    let layer = builder.build().unwrap();
    let probe = Probe::default();
    (layer.layer(probe.clone()), layer.handle(), probe)
}

async fn repeat(service: &mut CircuitBreaker<Probe>, times: u32, act: Act) {
    for _ in 0..times {
        let _ = send(service, act).await;
    }
}

/// Trips a circuit of `builder()` and lets its five seconds pass.
async fn trip_and_wait(service: &mut CircuitBreaker<Probe>, circuit: &CircuitBreakerHandle) {
    repeat(service, 10, Act::Fail).await;
    assert_eq!(circuit.state(), State::Open);
    advance(secs(5)).await;
}

// --- Windows and rules

#[tokio::test(start_paused = true)]
async fn a_count_window_slides_also_after_ten_thousand_successes() {
    let (mut service, circuit, _) = over_probe(builder());
    repeat(&mut service, 10_000, Act::Ok).await;
    repeat(&mut service, 4, Act::Fail).await;
    assert_eq!(circuit.state(), State::Closed);
    repeat(&mut service, 1, Act::Fail).await;
    assert_eq!(circuit.state(), State::Open, "5 of the last 10 failed");
}

#[tokio::test(start_paused = true)]
async fn a_count_window_forgets_failures_too() {
    let (mut service, circuit, _) = over_probe(builder());
    for _ in 0..100 {
        repeat(&mut service, 4, Act::Fail).await;
        repeat(&mut service, 6, Act::Ok).await;
        assert_eq!(circuit.snapshot().failures, 4);
        repeat(&mut service, 4, Act::Ok).await;
        assert_eq!(
            circuit.snapshot().failures,
            0,
            "they were more than ten calls ago"
        );
    }
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_tight_burst_of_failures_does_not_hide_in_an_average() {
    let (mut service, circuit, _) =
        over_probe(builder().window(Window::time(secs(10))).min_calls(20));
    repeat(&mut service, 100, Act::Ok).await;
    repeat(&mut service, 99, Act::Fail).await;
    assert_eq!(circuit.state(), State::Closed);
    repeat(&mut service, 1, Act::Fail).await;
    assert_eq!(
        circuit.state(),
        State::Open,
        "100 of 200 failed within one moment"
    );
}

#[tokio::test(start_paused = true)]
async fn a_time_window_forgets_what_is_older_however_long_the_silence_was() {
    for silence in [secs(10), secs(3_600), secs(40 * 24 * 3_600)] {
        let (mut service, circuit, _) =
            over_probe(builder().window(Window::time(secs(10))).min_calls(2));
        repeat(&mut service, 10, Act::Ok).await;
        repeat(&mut service, 9, Act::Fail).await;
        assert_eq!(circuit.snapshot().calls, 19);
        advance(silence).await;
        assert_eq!(circuit.snapshot().calls, 0, "{silence:?}");
        repeat(&mut service, 2, Act::Ok).await;
        repeat(&mut service, 1, Act::Fail).await;
        assert_eq!(
            circuit.state(),
            State::Closed,
            "1 of 3, the rest is forgotten"
        );
        assert_eq!(
            (circuit.snapshot().calls, circuit.snapshot().failures),
            (3, 1)
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_time_window_moves_on_by_buckets() {
    let window = Window::time(secs(4)).buckets(4);
    let (mut service, circuit, _) = over_probe(builder().window(window).min_calls(100));
    for n in 1..=4 {
        repeat(&mut service, 3, Act::Ok).await;
        assert_eq!(circuit.snapshot().calls, 3 * n);
        advance(secs(1)).await;
    }
    // One bucket is dropped each second, not all at once.
    for left in [9, 6, 3, 0] {
        assert_eq!(circuit.snapshot().calls, left);
        advance(secs(1)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn min_calls_keeps_the_first_failures_of_a_quiet_hour_from_deciding() {
    let (mut service, circuit, _) = over_probe(builder().window(Window::count(100)).min_calls(20));
    repeat(&mut service, 19, Act::Fail).await;
    assert_eq!(circuit.state(), State::Closed);
    repeat(&mut service, 1, Act::Ok).await;
    assert_eq!(
        circuit.state(),
        State::Open,
        "the twentieth call has them judged, even a good one"
    );
}

#[tokio::test(start_paused = true)]
async fn the_failure_rate_is_met_exactly() {
    let (mut service, circuit, _) = over_probe(
        builder()
            .window(Window::count(100))
            .min_calls(100)
            .failure_rate(0.07),
    );
    repeat(&mut service, 94, Act::Ok).await;
    repeat(&mut service, 6, Act::Fail).await;
    assert_eq!(circuit.state(), State::Closed);
    repeat(&mut service, 1, Act::Fail).await;
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn consecutive_failures_open_it_however_few_calls_there_are() {
    let (mut service, circuit, _) = over_probe(builder().consecutive_failures(3));
    repeat(&mut service, 2, Act::Fail).await;
    repeat(&mut service, 1, Act::Ok).await;
    repeat(&mut service, 2, Act::Fail).await;
    assert_eq!(
        circuit.state(),
        State::Closed,
        "a success in between begins the count anew"
    );
    assert_eq!(circuit.snapshot().consecutive_failures, 2);
    repeat(&mut service, 1, Act::Fail).await;
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn slow_calls_open_it_although_they_succeed() {
    let (mut service, circuit, _) = over_probe(builder().slow_calls(ms(500), 0.4));
    repeat(&mut service, 6, Act::OkAfter(ms(500))).await;
    assert_eq!(
        circuit.snapshot().slow_calls,
        0,
        "as long as the threshold is not longer"
    );
    repeat(&mut service, 3, Act::OkAfter(ms(501))).await;
    assert_eq!(
        (circuit.state(), circuit.snapshot().slow_calls),
        (State::Closed, 3)
    );
    repeat(&mut service, 1, Act::OkAfter(ms(501))).await;
    assert_eq!(circuit.state(), State::Open, "4 of 10 were slow");
}

#[tokio::test(start_paused = true)]
async fn each_of_several_rules_opens_it_and_says_which_it_was() {
    let cases = [
        (Act::Fail, 4, Cause::ConsecutiveFailures),
        (Act::OkAfter(secs(2)), 10, Cause::SlowCallRate),
    ];
    for (act, times, cause) in cases {
        let (observer, told) = recorder();
        let rules = builder().slow_calls(secs(1), 0.9).consecutive_failures(4);
        let (mut service, circuit, _) = over_probe(rules.observer(observer));
        repeat(&mut service, times - 1, act).await;
        assert_eq!(circuit.state(), State::Closed, "{cause}");
        repeat(&mut service, 1, act).await;
        assert_eq!(circuit.state(), State::Open, "{cause}");
        assert_eq!(transitions(&told.lock().unwrap())[0].cause, cause);
    }
    let (observer, told) = recorder();
    let rules = builder().slow_calls(secs(1), 0.9).consecutive_failures(4);
    let (mut service, circuit, _) = over_probe(rules.observer(observer));
    for _ in 0..5 {
        repeat(&mut service, 1, Act::Ok).await;
        repeat(&mut service, 1, Act::Fail).await;
    }
    assert_eq!(circuit.state(), State::Open);
    let opened = &transitions(&told.lock().unwrap())[0];
    assert_eq!(
        (opened.cause, opened.calls, opened.failures),
        (Cause::FailureRate, 10, 5)
    );
}

#[tokio::test(start_paused = true)]
async fn without_a_failure_rate_only_the_other_rules_count() {
    let (mut service, circuit, _) =
        over_probe(builder().without_failure_rate().consecutive_failures(30));
    repeat(&mut service, 29, Act::Fail).await;
    assert_eq!(circuit.state(), State::Closed);
    repeat(&mut service, 1, Act::Fail).await;
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn the_default_opens_at_half_of_twenty_calls_for_about_five_seconds() {
    let layer = CircuitBreakerLayer::new();
    let (mut service, circuit) = (layer.layer(Probe::default()), layer.handle());
    repeat(&mut service, 10, Act::Ok).await;
    repeat(&mut service, 9, Act::Fail).await;
    assert_eq!(circuit.state(), State::Closed);
    repeat(&mut service, 1, Act::Fail).await;
    let rejection = rejected(send(&mut service, Act::Ok).await);
    assert_eq!(
        (rejection.layer(), rejection.name()),
        ("circuit_breaker", "default")
    );
    let left = rejection.retry_after().unwrap();
    assert!((ms(4_500)..=ms(5_500)).contains(&left), "{left:?}");
}

// --- What counts as what

#[tokio::test(start_paused = true)]
async fn two_hundred_hung_calls_cut_off_by_an_outer_timeout_open_it() {
    let (mut service, circuit, probe) = over_probe(builder());
    let mut spared = 0;
    for _ in 0..200 {
        if let Ok(result) = timeout(secs(2), send(&mut service, Act::Hang)).await {
            assert_eq!(reason(result), Reason::CircuitOpen);
            spared += 1;
        }
    }
    assert_eq!((probe.calls(), spared), (10, 190));
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn hung_calls_that_are_cut_off_all_at_once_open_it() {
    let layer = CircuitBreakerLayer::new();
    let (service, circuit) = (layer.layer(Probe::default()), layer.handle());
    let calls = (0..200).map(|_| {
        let mut service = service.clone();
        async move {
            timeout(secs(2), send(&mut service, Act::Hang))
                .await
                .is_err()
        }
    });
    let cut_off = futures::future::join_all(calls).await;
    assert!(cut_off.into_iter().all(|cut_off| cut_off));
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn fifty_panics_open_it() {
    for act in [Act::Panic, Act::PanicInCall] {
        let layer = CircuitBreakerLayer::new();
        let (service, circuit) = (layer.layer(Probe::default()), layer.handle());
        let mut panics = 0;
        for _ in 0..50 {
            panics += u32::from(send_caught(&service, act).await.is_err());
        }
        assert_eq!(panics, 20, "{act:?}: the twentieth opens it");
        assert_eq!(circuit.state(), State::Open, "{act:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_classifier_that_panics_has_seen_a_failure() {
    let layer = builder()
        .on_cancel(OnCancel::Ignore)
        .classify(|_: Result<&u32, &Error<Broken>>| -> Outcome { panic!("a bad classifier") })
        .build()
        .unwrap();
    let (service, circuit) = (layer.layer(Probe::default()), layer.handle());
    for _ in 0..10 {
        assert_eq!(circuit.state(), State::Closed);
        assert!(send_caught(&service, Act::Ok).await.is_err());
    }
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_before_its_first_poll_is_no_failure() {
    let (observer, told) = recorder();
    let (mut service, circuit, _) =
        over_probe(builder().on_cancel(OnCancel::Ignore).observer(observer));
    for _ in 0..100 {
        drop(service.ready().await.unwrap().call(Act::Ok));
    }
    assert_eq!(circuit.state(), State::Closed);
    assert_eq!(circuit.snapshot().failures, 0);
    for event in told.lock().unwrap().iter() {
        assert!(
            matches!(
                event,
                EventKind::Settled {
                    outcome: Outcome::Cancelled,
                    ..
                }
            ),
            "{event:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_dropped_before_its_first_poll_gives_its_probe_place_back() {
    let (mut service, circuit, _) = over_probe(builder().probes(1));
    trip_and_wait(&mut service, &circuit).await;
    drop(service.ready().await.unwrap().call(Act::Ok));
    assert_eq!(circuit.state(), State::HalfOpen, "nothing is known yet");
    assert!(send(&mut service, Act::Ok).await.is_ok());
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_call_counts_as_on_cancel_says() {
    async fn cancel_ten(builder: CircuitBreakerBuilder, after: Duration) -> u64 {
        let (mut service, circuit, _) =
            over_probe(builder.window(Window::count(100)).min_calls(100));
        for _ in 0..10 {
            assert!(timeout(after, send(&mut service, Act::Hang)).await.is_err());
        }
        circuit.snapshot().failures
    }
    let after = OnCancel::FailureAfter;
    assert_eq!(
        cancel_ten(builder(), ms(999)).await,
        0,
        "a second by default"
    );
    assert_eq!(cancel_ten(builder(), secs(1)).await, 10);
    let slow = || builder().slow_calls(secs(3), 1.0);
    assert_eq!(
        cancel_ten(slow(), ms(2_999)).await,
        0,
        "or the slow-call threshold"
    );
    assert_eq!(cancel_ten(slow(), ms(3_001)).await, 10);
    assert_eq!(
        cancel_ten(builder().on_cancel(OnCancel::Ignore), secs(3_600)).await,
        0
    );
    assert_eq!(
        cancel_ten(builder().on_cancel(after(ms(50))), ms(49)).await,
        0
    );
    assert_eq!(
        cancel_ten(builder().on_cancel(after(ms(50))), ms(50)).await,
        10
    );
    assert_eq!(
        cancel_ten(builder().on_cancel(after(Duration::ZERO)), ms(1)).await,
        10
    );
}

#[tokio::test(start_paused = true)]
async fn a_rejection_from_further_in_is_not_counted() {
    let layer = builder().build().unwrap();
    let bulkhead = BulkheadLayer::new(1);
    let mut service = layer.layer(bulkhead.layer(Probe::default()));
    let hung = start(&service, Act::Hang).await;
    for _ in 0..100 {
        assert_eq!(reason(send(&mut service, Act::Ok).await), Reason::Full);
    }
    assert_eq!(
        (layer.handle().state(), layer.handle().snapshot().calls),
        (State::Closed, 0)
    );
    hung.abort();

    let probe = Probe::default();
    probe.set_ready(false);
    let mut service = layer.layer(LoadShedLayer::new(Limit::fixed(10)).layer(probe));
    for _ in 0..100 {
        assert_eq!(reason(send(&mut service, Act::Ok).await), Reason::NotReady);
    }
    assert_eq!(
        (layer.handle().state(), layer.handle().snapshot().calls),
        (State::Closed, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_time_out_further_in_is_counted() {
    let layer = builder().build().unwrap();
    let mut service = layer.layer(TimeoutLayer::new(ms(10)).layer(Probe::default()));
    for _ in 0..10 {
        assert_eq!(
            reason(send(&mut service, Act::Hang).await),
            Reason::TimedOut
        );
    }
    assert_eq!(layer.handle().state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_classifier_makes_failures_of_responses_and_ignores_errors() {
    let layer = builder()
        .classify(|result: Result<&u32, &Error<Broken>>| match result {
            Ok(500) => Outcome::Failure,
            Ok(_) => Outcome::Success,
            Err(_) => Outcome::Ignored,
        })
        .build()
        .unwrap();
    let mut service = layer.layer(tower::service_fn(|answer: Option<u32>| async move {
        answer.ok_or(Broken)
    }));
    for _ in 0..100 {
        assert!(send(&mut service, None).await.is_err());
    }
    assert_eq!(
        (layer.handle().state(), layer.handle().snapshot().calls),
        (State::Closed, 0)
    );
    for _ in 0..10 {
        assert_eq!(send(&mut service, Some(500)).await.unwrap(), 500);
    }
    assert_eq!(layer.handle().state(), State::Open);
}

// --- Open

#[tokio::test(start_paused = true)]
async fn a_rejection_carries_the_time_that_is_left() {
    let (mut service, circuit, probe) = over_probe(builder().name("payments"));
    repeat(&mut service, 10, Act::Fail).await;
    for left in [5_000, 4_999, 3_000, 1] {
        advance(ms(5_000 - left) - (secs(5) - circuit.snapshot().retry_after.unwrap())).await;
        let rejection = rejected(send(&mut service, Act::Ok).await);
        assert_eq!(rejection.reason(), Reason::CircuitOpen);
        assert_eq!(rejection.name(), "payments");
        assert_eq!(rejection.retry_after(), Some(ms(left)));
        assert!(rejection.not_sent());
    }
    assert_eq!(probe.calls(), 10, "the inner service was left alone");
    advance(ms(1)).await;
    assert!(send(&mut service, Act::Ok).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn while_open_it_is_ready_whatever_is_behind_it_and_rejects_in_call() {
    let (mut service, _, probe) = over_probe(builder());
    repeat(&mut service, 10, Act::Fail).await;
    probe.set_ready(false);
    let polled = probe.readiness_polls();
    assert!(futures::poll!(service.ready()).is_ready(), "ready at once");
    assert_eq!(probe.readiness_polls(), polled, "and without asking");
    assert_eq!(reason(service.call(Act::Ok).await), Reason::CircuitOpen);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_was_ready_to_reject_does_so_even_when_the_time_is_over_meanwhile() {
    let (mut service, _, probe) = over_probe(builder());
    repeat(&mut service, 10, Act::Fail).await;
    service.ready().await.unwrap();
    advance(secs(5)).await;
    assert_eq!(reason(service.call(Act::Ok).await), Reason::CircuitOpen);
    assert_eq!(
        probe.calls(),
        10,
        "the inner service was not called unasked"
    );
    assert!(send(&mut service, Act::Ok).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_open_time_grows_with_each_failed_recovery_and_is_capped() {
    let (mut service, circuit, _) = over_probe(
        builder()
            .open_for(secs(2))
            .open_factor(3.0)
            .open_max(secs(50))
            .probes(1),
    );
    repeat(&mut service, 10, Act::Fail).await;
    for (failed, open) in [2, 6, 18, 50, 50].into_iter().enumerate() {
        let snapshot = circuit.snapshot();
        assert_eq!(snapshot.retry_after, Some(secs(open)));
        assert_eq!(u64::from(snapshot.failed_recoveries), failed as u64);
        advance(secs(open) - ms(1)).await;
        assert_eq!(
            reason(send(&mut service, Act::Ok).await),
            Reason::CircuitOpen
        );
        advance(ms(1)).await;
        assert!(matches!(
            send(&mut service, Act::Fail).await,
            Err(Error::Inner(Broken))
        ));
        assert_eq!(circuit.state(), State::Open);
    }
    // A recovery that succeeds begins anew.
    advance(secs(50)).await;
    assert!(send(&mut service, Act::Ok).await.is_ok());
    assert_eq!(circuit.state(), State::Closed);
    repeat(&mut service, 10, Act::Fail).await;
    assert_eq!(circuit.snapshot().retry_after, Some(secs(2)));
}

#[tokio::test(start_paused = true)]
async fn the_open_time_is_jittered_within_its_fraction_and_the_cap() {
    let mut times = std::collections::BTreeSet::new();
    for _ in 0..200 {
        let (mut service, circuit, _) =
            over_probe(builder().jitter(0.2).open_for(secs(10)).open_max(secs(11)));
        repeat(&mut service, 10, Act::Fail).await;
        let open = circuit.snapshot().retry_after.unwrap();
        assert!((secs(8)..=secs(11)).contains(&open), "{open:?}");
        times.insert(open);
    }
    assert!(times.len() > 50, "{} different times", times.len());
    assert!(times.first().unwrap() < &secs(9) && times.last().unwrap() > &secs(10));
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_hint_lengthens_the_open_time_up_to_the_cap() {
    for (asked, open) in [(1, 5), (30, 30), (86_400, 60)] {
        let layer = builder()
            .classify(move |_: Result<&u32, &Error<Broken>>| {
                Verdict::new(Outcome::Failure).with_retry_after(Some(secs(asked)))
            })
            .build()
            .unwrap();
        let mut service = layer.layer(Probe::default());
        for _ in 0..10 {
            let _ = send(&mut service, Act::Fail).await;
        }
        let rejection = rejected(send(&mut service, Act::Ok).await);
        assert_eq!(rejection.retry_after(), Some(secs(open)), "{asked} s asked");
    }
    let forever = builder()
        .classify(|_: Result<&u32, &Error<Broken>>| {
            Verdict::new(Outcome::Failure).with_retry_after(Some(Duration::MAX))
        })
        .build()
        .unwrap();
    let mut service = forever.layer(Probe::default());
    for _ in 0..10 {
        let _ = send(&mut service, Act::Fail).await;
    }
    assert_eq!(forever.handle().snapshot().retry_after, Some(secs(60)));
}

#[tokio::test(start_paused = true)]
async fn a_retry_after_hint_of_a_probe_lengthens_the_open_time_too() {
    let layer = builder()
        .probes(1)
        .classify(|result: Result<&u32, &Error<Broken>>| match result {
            Ok(answer) => {
                Verdict::new(Outcome::Failure).with_retry_after(Some(secs(u64::from(*answer))))
            }
            Err(_) => Verdict::new(Outcome::Failure),
        })
        .build()
        .unwrap();
    let circuit = layer.handle();
    let mut service = layer.layer(tower::service_fn(|answer: Option<u32>| async move {
        answer.ok_or(Broken)
    }));
    for _ in 0..10 {
        assert!(send(&mut service, None).await.is_err());
    }
    advance(secs(5)).await;
    assert!(send(&mut service, Some(42)).await.is_ok());
    assert_eq!(circuit.snapshot().retry_after, Some(secs(42)));
    advance(secs(42)).await;
    assert!(send(&mut service, Some(1)).await.is_ok());
    assert_eq!(
        circuit.snapshot().retry_after,
        Some(secs(20)),
        "shorter than its own"
    );
}

// --- Half-open

#[tokio::test(start_paused = true)]
async fn the_results_of_probes_do_not_age_out_of_the_window() {
    let (mut service, circuit, _) = over_probe(
        builder()
            .window(Window::time(secs(1)))
            .failure_rate(1.0)
            .probes(3),
    );
    trip_and_wait(&mut service, &circuit).await;
    // One probe a minute, in a window of a second. All three must be well with this rule but for one.
    let mut calls = 0;
    while circuit.state() != State::Closed {
        assert!(send(&mut service, Act::Ok).await.is_ok());
        advance(secs(60)).await;
        calls += 1;
        assert!(calls <= 3, "it does not close");
    }
}

#[tokio::test(start_paused = true)]
async fn a_hung_probe_does_not_block_it_for_ever() {
    let (mut service, circuit, _) = over_probe(builder().probes(1).probe_life(secs(7)));
    trip_and_wait(&mut service, &circuit).await;
    let _hung = start(&service, Act::Hang).await;
    assert_eq!(circuit.snapshot().probes_in_flight, 1);
    advance(ms(6_999)).await;
    assert_eq!(
        reason(send(&mut service, Act::Ok).await),
        Reason::CircuitOpen
    );
    assert_eq!(circuit.state(), State::HalfOpen);
    advance(ms(1)).await;
    // Its time is over: that is a failed recovery, and open time begins anew.
    let rejection = rejected(send(&mut service, Act::Ok).await);
    assert_eq!(circuit.state(), State::Open);
    assert_eq!(rejection.retry_after(), Some(secs(10)));
    advance(secs(10)).await;
    assert!(send(&mut service, Act::Ok).await.is_ok());
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_cancelled_probe_gives_its_place_back() {
    let (mut service, circuit, _) = over_probe(builder().probes(1));
    trip_and_wait(&mut service, &circuit).await;
    for _ in 0..50 {
        assert!(timeout(ms(5), send(&mut service, Act::Hang)).await.is_err());
        assert_eq!(circuit.snapshot().probes_in_flight, 0);
        assert_eq!(circuit.state(), State::HalfOpen);
    }
    assert!(send(&mut service, Act::Ok).await.is_ok());
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_cancelled_after_long_is_a_failure() {
    let (mut service, circuit, _) = over_probe(builder().probes(1));
    trip_and_wait(&mut service, &circuit).await;
    assert!(
        timeout(secs(2), send(&mut service, Act::Hang))
            .await
            .is_err()
    );
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_panics_is_a_failure() {
    for act in [Act::Panic, Act::PanicInCall] {
        let (mut service, circuit, _) = over_probe(builder().probes(1));
        trip_and_wait(&mut service, &circuit).await;
        assert!(send_caught(&service, act).await.is_err());
        assert_eq!(circuit.state(), State::Open, "{act:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_ignored_probe_gives_its_place_back() {
    let layer = builder()
        .probes(1)
        .classify(|result: Result<&u32, &Error<Broken>>| match result {
            Ok(0) => Outcome::Ignored,
            Ok(_) => Outcome::Success,
            Err(_) => Outcome::Failure,
        })
        .build()
        .unwrap();
    let mut service = layer.layer(tower::service_fn(|answer: Option<u32>| async move {
        answer.ok_or(Broken)
    }));
    for _ in 0..10 {
        let _ = send(&mut service, None).await;
    }
    advance(secs(5)).await;
    for _ in 0..50 {
        assert_eq!(send(&mut service, Some(0)).await.unwrap(), 0);
        assert_eq!(layer.handle().state(), State::HalfOpen);
    }
    assert_eq!(send(&mut service, Some(1)).await.unwrap(), 1);
    assert_eq!(layer.handle().state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_rejected_further_in_gives_its_place_back() {
    let layer = builder().probes(1).build().unwrap();
    let bulkhead = BulkheadLayer::new(1);
    let probe = Probe::default();
    let mut service = layer.layer(bulkhead.layer(probe.clone()));
    for _ in 0..10 {
        let _ = send(&mut service, Act::Fail).await;
    }
    let mut direct = bulkhead.layer(probe);
    let elsewhere = direct.ready().await.unwrap().call(Act::OkAfter(secs(100)));
    advance(secs(5)).await;
    for _ in 0..50 {
        assert_eq!(reason(send(&mut service, Act::Ok).await), Reason::Full);
        assert_eq!(layer.handle().state(), State::HalfOpen);
    }
    elsewhere.await.unwrap();
    assert!(send(&mut service, Act::Ok).await.is_ok());
    assert_eq!(layer.handle().state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_call_admitted_before_the_trip_does_not_close_it() {
    let (mut service, circuit, _) = over_probe(builder().probes(1));
    let early: Vec<_> = [ms(5_100), ms(5_200)].map(Act::OkAfter).to_vec();
    let mut tasks = Vec::new();
    for act in early {
        tasks.push(start(&service, act).await);
    }
    trip_and_wait(&mut service, &circuit).await;
    let probe = start(&service, Act::OkAfter(secs(5))).await;
    assert_eq!(circuit.state(), State::HalfOpen);
    for task in tasks {
        assert!(task.await.unwrap().is_ok());
        assert_eq!(circuit.state(), State::HalfOpen, "only the probe decides");
        assert_eq!(circuit.snapshot().calls, 0);
    }
    assert!(probe.await.unwrap().is_ok());
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_failure_admitted_before_the_trip_neither_fails_a_recovery_nor_opens_it_again() {
    let (mut service, circuit, _) = over_probe(builder().probes(1).consecutive_failures(1));
    let half_open = start(&service, Act::FailAfter(ms(5_100))).await;
    let closed = start(&service, Act::FailAfter(secs(20))).await;
    repeat(&mut service, 1, Act::Fail).await;
    advance(secs(5)).await;
    let probe = start(&service, Act::OkAfter(secs(1))).await;
    assert!(half_open.await.unwrap().is_err());
    assert_eq!(circuit.state(), State::HalfOpen);
    assert!(probe.await.unwrap().is_ok());
    assert_eq!(circuit.state(), State::Closed);
    assert!(closed.await.unwrap().is_err());
    assert_eq!(
        (circuit.state(), circuit.snapshot().calls),
        (State::Closed, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_probe_of_an_earlier_half_open_state_does_not_decide() {
    for act in [Act::OkAfter(secs(18)), Act::FailAfter(secs(18))] {
        let (mut service, circuit, _) =
            over_probe(builder().probes(2).probe_life(secs(60)).failure_rate(0.5));
        trip_and_wait(&mut service, &circuit).await;
        let late = start(&service, act).await;
        repeat(&mut service, 1, Act::Fail).await;
        assert_eq!(circuit.state(), State::Open, "one of two failed");
        advance(secs(10)).await;
        let next = start(&service, Act::OkAfter(secs(30))).await;
        assert_eq!(circuit.state(), State::HalfOpen);
        let _ = late.await.unwrap();
        assert_eq!(circuit.state(), State::HalfOpen, "{act:?}");
        let snapshot = circuit.snapshot();
        assert_eq!(
            (snapshot.calls, snapshot.probes_in_flight),
            (0, 1),
            "{act:?}"
        );
        next.abort();
    }
}

#[tokio::test(start_paused = true)]
async fn exactly_as_many_probes_as_set_pass_a_thousand_concurrent_callers() {
    let (mut service, circuit, probe) = over_probe(builder().probes(7));
    trip_and_wait(&mut service, &circuit).await;
    let calls = (0..1_000).map(|_| {
        let mut service = service.clone();
        async move { send(&mut service, Act::OkAfter(secs(1))).await }
    });
    let results = futures::future::join_all(calls).await;
    assert_eq!(probe.calls(), 10 + 7);
    let rejected = results
        .into_iter()
        .filter(|r| matches!(r, Err(Error::Rejected(_))));
    assert_eq!(rejected.count(), 993);
    assert_eq!(circuit.state(), State::Closed);
}

#[test]
fn exactly_as_many_probes_as_set_pass_many_threads() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(async {
        let (mut service, circuit, probe) = over_probe(builder().probes(5).open_for(ms(20)));
        repeat(&mut service, 10, Act::Fail).await;
        tokio::time::sleep(ms(30)).await;
        let calls: Vec<_> = (0..1_000)
            .map(|_| {
                let mut service = service.clone();
                tokio::spawn(
                    async move { send(&mut service, Act::OkAfter(ms(1_000))).await.is_ok() },
                )
            })
            .collect();
        let mut passed = 0;
        for call in calls {
            passed += u32::from(call.await.unwrap());
        }
        assert_eq!((passed, probe.calls()), (5, 15));
        assert_eq!(circuit.state(), State::Closed);
    });
}

#[tokio::test(start_paused = true)]
async fn the_rules_that_opened_it_judge_the_probes() {
    let rules = || builder().probes(4).slow_calls(secs(1), 0.5);
    // Two of four failed, or were slow, is half of them.
    for bad in [Act::Fail, Act::OkAfter(secs(2))] {
        let (mut service, circuit, _) = over_probe(rules());
        trip_and_wait(&mut service, &circuit).await;
        repeat(&mut service, 1, bad).await;
        assert_eq!(circuit.state(), State::HalfOpen);
        repeat(&mut service, 1, Act::Ok).await;
        repeat(&mut service, 1, bad).await;
        assert_eq!(circuit.state(), State::Open, "{bad:?}");
    }
    let (mut service, circuit, _) = over_probe(rules());
    trip_and_wait(&mut service, &circuit).await;
    repeat(&mut service, 1, Act::Fail).await;
    repeat(&mut service, 3, Act::Ok).await;
    assert_eq!(circuit.state(), State::Closed, "one of four is well enough");
}

#[tokio::test(start_paused = true)]
async fn a_recovery_in_steps_lets_growing_shares_through() {
    let recovery = Recovery::Stepwise {
        steps: 3,
        over: secs(30),
    };
    let (mut service, circuit, _) = over_probe(builder().probes(1).recovery(recovery));
    trip_and_wait(&mut service, &circuit).await;
    repeat(&mut service, 1, Act::Ok).await;
    assert_eq!(circuit.state(), State::Recovering);
    let shares = [
        [true, false, false, false],
        [true, false, true, false],
        [true, true, true, false],
    ];
    for share in shares {
        for turn in 0..40 {
            let passed = send(&mut service, Act::Ok).await.is_ok();
            assert_eq!(
                passed,
                share[turn % 4],
                "call {turn} of {share:?}, without chance"
            );
        }
        assert_eq!(circuit.state(), State::Recovering);
        advance(secs(10)).await;
    }
    assert!(send(&mut service, Act::Ok).await.is_ok());
    assert_eq!(circuit.state(), State::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_recovery_in_steps_fails_by_the_rules() {
    let recovery = Recovery::Stepwise {
        steps: 1,
        over: secs(30),
    };
    let (mut service, circuit, _) = over_probe(builder().probes(1).recovery(recovery));
    trip_and_wait(&mut service, &circuit).await;
    repeat(&mut service, 1, Act::Ok).await;
    assert_eq!(circuit.state(), State::Recovering);
    repeat(&mut service, 18, Act::Fail).await;
    assert_eq!(
        circuit.state(),
        State::Recovering,
        "9 of 18 were let through"
    );
    repeat(&mut service, 2, Act::Fail).await;
    assert_eq!(circuit.state(), State::Open);
    assert_eq!(
        circuit.snapshot().retry_after,
        Some(secs(10)),
        "longer: the recovery failed"
    );
}

// --- Modes and the handle

#[tokio::test(start_paused = true)]
async fn shadow_mode_rejects_nothing_but_tells_what_it_would_do() {
    let (observer, told) = recorder();
    let (mut service, circuit, probe) =
        over_probe(builder().mode(Mode::Shadow).probes(1).observer(observer));
    repeat(&mut service, 10, Act::Fail).await;
    assert_eq!(
        (circuit.state(), circuit.snapshot().mode),
        (State::Open, Mode::Shadow)
    );
    for _ in 0..100 {
        assert!(matches!(
            send(&mut service, Act::Fail).await,
            Err(Error::Inner(Broken))
        ));
    }
    assert_eq!(probe.calls(), 110);
    advance(secs(5)).await;
    assert!(send(&mut service, Act::Ok).await.is_ok());
    assert_eq!(circuit.state(), State::Closed);
    let states: Vec<_> = transitions(&told.lock().unwrap())
        .iter()
        .map(|t| t.to)
        .collect();
    assert_eq!(states, [State::Open, State::HalfOpen, State::Closed]);
    circuit.force_open();
    assert!(
        send(&mut service, Act::Ok).await.is_ok(),
        "not even by hand"
    );
}

#[tokio::test(start_paused = true)]
async fn off_lets_everything_through_and_counts_nothing() {
    let (mut service, circuit, probe) = over_probe(builder().mode(Mode::Off));
    repeat(&mut service, 100, Act::Fail).await;
    repeat(&mut service, 100, Act::Ok).await;
    assert_eq!(probe.calls(), 200);
    assert_eq!(
        (circuit.state(), circuit.snapshot().calls),
        (State::Closed, 0)
    );
    circuit.force_open();
    assert!(send(&mut service, Act::Ok).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn forced_states_hold_until_reset() {
    let (mut service, circuit, probe) = over_probe(builder());
    circuit.force_open();
    for _ in 0..3 {
        let rejection = rejected(send(&mut service, Act::Ok).await);
        assert_eq!(
            (rejection.reason(), rejection.retry_after()),
            (Reason::CircuitOpen, None)
        );
        advance(secs(86_400)).await;
    }
    assert_eq!((circuit.state(), probe.calls()), (State::ForcedOpen, 0));

    circuit.force_closed();
    repeat(&mut service, 100, Act::Fail).await;
    assert_eq!((circuit.state(), probe.calls()), (State::ForcedClosed, 100));
    assert_eq!(
        circuit.snapshot().failures,
        10,
        "it counts, and no rule trips"
    );

    let before = start(&service, Act::FailAfter(secs(1))).await;
    circuit.reset();
    assert!(before.await.unwrap().is_err());
    assert_eq!(
        (circuit.state(), circuit.snapshot().calls),
        (State::Closed, 0)
    );
    repeat(&mut service, 10, Act::Fail).await;
    assert_eq!(circuit.state(), State::Open);
    circuit.reset();
    assert!(send(&mut service, Act::Ok).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn the_circuit_is_one_for_all_services_of_a_layer() {
    let layer = builder().build().unwrap();
    let mut services: Vec<_> = (0..5)
        .map(|_| layer.clone().layer(Probe::default()))
        .collect();
    for service in &mut services {
        repeat(service, 2, Act::Fail).await;
    }
    assert_eq!(layer.handle().state(), State::Open);
    for service in &services {
        assert_eq!(
            reason(send(&mut service.clone(), Act::Ok).await),
            Reason::CircuitOpen
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_watch_sees_the_newest_state_and_the_end() {
    let (mut service, circuit, _) = over_probe(builder().probes(1));
    let mut watch = circuit.watch();
    assert_eq!(watch.state(), State::Closed);
    repeat(&mut service, 10, Act::Fail).await;
    assert_eq!(watch.changed().await, Some(State::Open));
    assert!(timeout(secs(1), watch.changed()).await.is_err(), "once");
    advance(secs(4)).await;
    let probe = start(&service, Act::OkAfter(ms(1))).await;
    assert_eq!(watch.changed().await, Some(State::HalfOpen));
    assert!(probe.await.unwrap().is_ok());
    assert_eq!(watch.changed().await, Some(State::Closed));
    circuit.force_open();
    circuit.force_closed();
    circuit.force_open();
    assert_eq!(watch.changed().await, Some(State::ForcedOpen));
    drop((service, circuit));
    assert_eq!(watch.changed().await, None);
}

#[tokio::test(start_paused = true)]
async fn a_watch_waits_for_another_state_than_at_the_last_look() {
    let (_service, circuit, _) = over_probe(builder());
    let mut watch = circuit.watch();
    circuit.force_open();
    circuit.reset();
    assert_eq!(watch.state(), State::Closed);
    assert!(
        timeout(secs(1), watch.changed()).await.is_err(),
        "closed, and closed again: not another state"
    );
    circuit.force_open();
    assert_eq!(watch.changed().await, Some(State::ForcedOpen));
}

#[tokio::test(start_paused = true)]
async fn events_tell_every_decision_in_order() {
    let (mut service, circuit, _) =
        over_probe(builder().name("payments").consecutive_failures(2).probes(1));
    let mut events = circuit.events();
    repeat(&mut service, 3, Act::Fail).await;
    advance(secs(5)).await;
    repeat(&mut service, 1, Act::OkAfter(ms(20))).await;
    drop((service, circuit));
    let mut told = Vec::new();
    while let Some(event) = events.recv().await {
        assert_eq!(
            (event.layer(), event.name()),
            ("circuit_breaker", "payments")
        );
        told.push(match event.kind() {
            EventKind::Rejected(rejection) => rejection.reason().as_str(),
            EventKind::Settled { outcome, .. } => outcome.as_str(),
            EventKind::Transition(transition) => transition.cause.as_str(),
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(
        told,
        [
            "failure",
            "consecutive_failures",
            "failure",
            "circuit_open",
            "open_time_over",
            "probes_succeeded",
            "success"
        ]
    );
}

// --- Listeners

#[test]
fn a_listener_that_blocks_does_not_make_calls_wait_for_each_other() {
    let slow = |_: &Event| std::thread::sleep(ms(50));
    // Each call fails, which takes the lock; and each is told of.
    let (service, _, _) = over_probe(
        builder()
            .window(Window::count(1_000))
            .min_calls(1_000)
            .observer(slow),
    );
    let began = WallClock::now();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            let mut service = service.clone();
            scope.spawn(move || futures::executor::block_on(send(&mut service, Act::Fail)));
        }
    });
    let took = began.elapsed();
    assert!(
        took >= ms(50) && took < ms(200),
        "{took:?} for 8 calls at once"
    );
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_reads_the_state_and_steers_does_not_deadlock() {
    let handle = Arc::new(std::sync::OnceLock::<CircuitBreakerHandle>::new());
    let reads = Arc::new(AtomicU32::new(0));
    let (circuit, count) = (Arc::clone(&handle), Arc::clone(&reads));
    let observer = move |event: &Event| {
        let circuit = circuit.get().unwrap();
        let _ = (
            circuit.state(),
            circuit.snapshot(),
            circuit.watch().state(),
            circuit.events(),
        );
        count.fetch_add(1, Ordering::SeqCst);
        if let EventKind::Transition(Transition {
            to: State::Open, ..
        }) = event.kind()
        {
            circuit.force_open();
        }
    };
    let (mut service, circuit, _) = over_probe(builder().observer(observer));
    handle.set(circuit.clone()).unwrap();
    repeat(&mut service, 11, Act::Fail).await;
    assert_eq!(
        circuit.state(),
        State::ForcedOpen,
        "the listener's own doing"
    );
    assert_eq!(reads.load(Ordering::SeqCst), 10 + 2 + 1);
}

#[tokio::test(start_paused = true)]
async fn a_listener_that_panics_harms_nothing() {
    let (mut service, circuit, probe) = over_probe(
        builder()
            .probes(1)
            .observer(|_: &Event| panic!("a bad listener")),
    );
    for _ in 0..10 {
        assert!(matches!(
            send(&mut service, Act::Fail).await,
            Err(Error::Inner(Broken))
        ));
    }
    assert_eq!(circuit.state(), State::Open);
    assert_eq!(
        reason(send(&mut service, Act::Ok).await),
        Reason::CircuitOpen
    );
    advance(secs(5)).await;
    assert!(send(&mut service, Act::Ok).await.is_ok());
    assert_eq!((circuit.state(), probe.calls()), (State::Closed, 11));
}

// --- Concurrency and the clock

#[test]
fn totals_add_up_over_many_threads() {
    const CALLS: u64 = 5_000;
    for window in [Window::count(1_000_000), Window::time(secs(3_600))] {
        let (service, circuit, _) = over_probe(
            builder()
                .window(window)
                .failure_rate(1.0)
                .min_calls(1_000_000),
        );
        std::thread::scope(|scope| {
            for thread in 0..8 {
                let mut service = service.clone();
                scope.spawn(move || {
                    for call in 0..CALLS {
                        let act = if (call + thread) % 4 == 0 {
                            Act::Fail
                        } else {
                            Act::Ok
                        };
                        let _ = futures::executor::block_on(send(&mut service, act));
                    }
                });
            }
        });
        let snapshot = circuit.snapshot();
        assert_eq!((snapshot.calls, snapshot.failures), (8 * CALLS, 2 * CALLS));
        assert_eq!(snapshot.failure_rate, Some(0.25));
        assert_eq!(circuit.state(), State::Closed);
    }
}

#[tokio::test(start_paused = true)]
async fn the_paused_clock_drives_it_from_end_to_end() {
    let began = WallClock::now();
    let recovery = Recovery::Stepwise {
        steps: 2,
        over: secs(7_200),
    };
    let (mut service, circuit, _) = over_probe(
        builder()
            .window(Window::time(secs(3_600)))
            .open_for(secs(3_600))
            .open_max(secs(7_200))
            .probes(2)
            .probe_life(secs(3_600))
            .recovery(recovery),
    );
    repeat(&mut service, 10, Act::FailAfter(secs(60))).await;
    assert_eq!(circuit.state(), State::Open);
    advance(secs(3_600)).await;
    repeat(&mut service, 2, Act::OkAfter(secs(1_800))).await;
    assert_eq!(circuit.state(), State::Recovering);
    advance(secs(7_200)).await;
    repeat(&mut service, 1, Act::Ok).await;
    assert_eq!(circuit.state(), State::Closed);
    assert!(began.elapsed() < secs(10));
}

fn transitions(told: &[EventKind]) -> Vec<Transition> {
    told.iter()
        .filter_map(|event| match event {
            EventKind::Transition(transition) => Some(transition.clone()),
            _ => None,
        })
        .collect()
}
