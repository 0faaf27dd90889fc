//! How the retry layer behaves, each test named after what it keeps from happening.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::support::{
    Act, Broken, Probe, ms, reason, recorder, rejected, secs, send, settle, start,
};
use mainstay::retry::{Retry, RetryErrors};
use mainstay::{
    Backoff, BoxError, BulkheadLayer, CircuitBreakerLayer, Context, Decision, Error, EventKind,
    Jitter, Limit, LoadShedLayer, Reason, Rejection, RetryBudget, RetryBuilder, RetryCause,
    RetryLayer, RetryRefused, TimeoutLayer,
};
use tokio::time::{Instant, advance, timeout};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

/// Three attempts, 100 ms apart, as many as it takes.
fn builder() -> RetryBuilder<RetryErrors> {
    RetryLayer::builder()
        .backoff(Backoff::constant(ms(100)).jitter(Jitter::None))
        .without_budget()
}

fn over_probe(builder: RetryBuilder<RetryErrors>) -> (Retry<Probe>, Probe) {
    let probe = Probe::default();
    (builder.build().unwrap().layer(probe.clone()), probe)
}

/// When a service was called.
type Times = Arc<Mutex<Vec<Instant>>>;

/// A service that fails for the first `failures` calls, and remembers when it was called.
fn failing(
    failures: u32,
) -> (
    impl Service<(), Response = u32, Error = Broken, Future: Send> + Clone + Send + 'static,
    Times,
) {
    let times = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&times);
    let service = service_fn(move |()| {
        let mut seen = seen.lock().unwrap();
        seen.push(Instant::now());
        let number = u32::try_from(seen.len()).unwrap();
        std::future::ready(if number > failures {
            Ok(number)
        } else {
            Err(Broken)
        })
    });
    (service, times)
}

fn gaps(times: &Mutex<Vec<Instant>>) -> Vec<Duration> {
    let times = times.lock().unwrap();
    times.windows(2).map(|pair| pair[1] - pair[0]).collect()
}

// --- The budget

/// How many retries `requests` requests get that each need one, all in one moment.
async fn retries_of(budget: RetryBudget, requests: u32) -> u32 {
    let layer = RetryLayer::builder()
        .attempts(2)
        .backoff(Backoff::constant(Duration::ZERO))
        .budget(budget)
        .build()
        .unwrap();
    let mut service = layer.layer(Probe::default());
    for _ in 0..requests {
        assert!(send(&mut service, Act::Fail).await.is_err());
    }
    service.get_ref().calls() - requests
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_requests_that_each_need_a_retry_get_the_ratio_and_the_reserve_and_no_more() {
    // 20 % of them, and 10 a second for 10 seconds.
    assert_eq!(retries_of(RetryBudget::new(), 10_000).await, 2_000 + 100);
}

#[tokio::test(start_paused = true)]
async fn a_ratio_is_not_rounded() {
    for (ratio, retries) in [
        (0.6, 6_000),
        (0.01, 100),
        (0.333, 3_330),
        (1.0, 10_000),
        (0.000_1, 1),
    ] {
        let budget = RetryBudget::builder()
            .ratio(ratio)
            .min_per_second(0)
            .build()
            .unwrap();
        assert_eq!(retries_of(budget, 10_000).await, retries, "{ratio}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_reserve_is_there_however_few_requests_there_are() {
    let budget = RetryBudget::builder()
        .ratio(0.0)
        .min_per_second(3)
        .ttl(secs(2))
        .build()
        .unwrap();
    assert_eq!(budget.balance(), 6);
    assert_eq!(retries_of(budget.clone(), 100).await, 6);
    advance(secs(1)).await;
    assert_eq!(budget.balance(), 0);
    advance(secs(1)).await;
    assert_eq!(
        budget.balance(),
        6,
        "what was spent is forgotten after the ttl"
    );
}

#[tokio::test(start_paused = true)]
async fn requests_are_forgotten_after_the_ttl() {
    let budget = RetryBudget::builder()
        .ratio(0.5)
        .min_per_second(0)
        .ttl(secs(10))
        .build()
        .unwrap();
    let layer = RetryLayer::builder()
        .budget(budget.clone())
        .build()
        .unwrap();
    let mut service = layer.layer(Probe::default());
    for _ in 0..100 {
        send(&mut service, Act::Ok).await.unwrap();
    }
    assert_eq!(layer.handle().budget().unwrap().balance(), 50);
    advance(secs(8)).await;
    assert_eq!(budget.balance(), 50);
    advance(secs(2)).await;
    assert_eq!(budget.balance(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_spent_budget_gives_the_result_back_at_once_and_says_so() {
    let (observer, told) = recorder();
    let budget = RetryBudget::builder()
        .ratio(0.1)
        .min_per_second(0)
        .build()
        .unwrap();
    let (mut service, probe) = over_probe(builder().budget(budget).observer(observer));
    let began = Instant::now();
    assert!(matches!(
        send(&mut service, Act::Fail).await,
        Err(Error::Inner(Broken))
    ));
    assert_eq!(
        (probe.calls(), began.elapsed()),
        (1, Duration::ZERO),
        "it is asked before the sleep"
    );
    assert!(matches!(
        told.lock().unwrap()[..],
        [EventKind::RetryRefused(RetryRefused::Budget)]
    ));
}

#[test]
fn concurrent_withdrawals_never_overspend() {
    let budget = RetryBudget::builder()
        .ratio(0.0)
        .min_per_second(2)
        .ttl(secs(3_600))
        .build()
        .unwrap();
    let reserve = budget.balance();
    assert_eq!(reserve, 7_200);
    let layer = RetryLayer::builder()
        .attempts(100)
        .backoff(Backoff::constant(Duration::ZERO))
        .budget(budget.clone())
        .build()
        .unwrap();
    let service = layer.layer(Probe::default());
    let probe = service.get_ref().clone();
    std::thread::scope(|scope| {
        for _ in 0..8 {
            let mut service = service.clone();
            scope.spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_time()
                    .build();
                runtime.unwrap().block_on(async {
                    for _ in 0..50 {
                        assert!(send(&mut service, Act::Fail).await.is_err());
                    }
                });
            });
        }
    });
    assert_eq!(u64::from(probe.calls()), 8 * 50 + reserve);
    assert_eq!(budget.balance(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_retry_is_paid_for_before_its_sleep_and_paid_back_when_it_is_cancelled() {
    let budget = RetryBudget::builder()
        .ratio(0.0)
        .min_per_second(1)
        .ttl(secs(100))
        .build()
        .unwrap();
    let (service, probe) = over_probe(builder().budget(budget.clone()));
    let before = budget.balance();
    let call = start(&service, Act::Fail).await;
    assert_eq!(
        (probe.calls(), budget.balance()),
        (1, before - 1),
        "while it sleeps"
    );
    call.abort();
    settle().await;
    assert_eq!(budget.balance(), before);
    assert!(call.await.unwrap_err().is_cancelled());
    // One that is sent is spent.
    let mut service = service;
    assert!(send(&mut service, Act::Fail).await.is_err());
    assert_eq!((probe.calls(), budget.balance()), (4, before - 2));
}

#[tokio::test(start_paused = true)]
async fn a_retry_is_paid_back_when_it_is_cancelled_while_it_waits_for_readiness() {
    let budget = RetryBudget::builder()
        .ratio(0.0)
        .min_per_second(1)
        .ttl(secs(100))
        .build()
        .unwrap();
    let before = budget.balance();
    let (service, probe) = over_probe(builder().max_ready_wait(secs(9)).budget(budget.clone()));
    let call = start(&service, Act::Fail).await;
    probe.set_ready(false);
    advance(secs(3)).await;
    settle().await;
    assert_eq!(budget.balance(), before - 1);
    call.abort();
    settle().await;
    assert_eq!((budget.balance(), probe.calls()), (before, 1));
}

#[tokio::test(start_paused = true)]
async fn a_retry_that_is_cancelled_long_after_is_paid_back_once() {
    let budget = RetryBudget::builder()
        .ratio(0.0)
        .min_per_second(1)
        .ttl(secs(10))
        .build()
        .unwrap();
    let backoff = Backoff::constant(secs(60)).jitter(Jitter::None);
    let (service, _) = over_probe(builder().backoff(backoff).budget(budget.clone()));
    let call = start(&service, Act::Fail).await;
    assert_eq!(budget.balance(), 9);
    advance(secs(30)).await;
    assert_eq!(budget.balance(), 10, "the payment is forgotten");
    call.abort();
    settle().await;
    assert_eq!(budget.balance(), 10, "and so there is nothing to pay back");
}

#[tokio::test(start_paused = true)]
async fn a_budget_is_shared_by_the_layers_it_is_given_to() {
    let budget = RetryBudget::builder()
        .ratio(0.0)
        .min_per_second(1)
        .ttl(secs(4))
        .build()
        .unwrap();
    let mut total = 0;
    for _ in 0..4 {
        let (mut service, probe) = over_probe(
            builder()
                .backoff(Backoff::constant(ms(1)))
                .budget(budget.clone()),
        );
        assert!(send(&mut service, Act::Fail).await.is_err());
        total += probe.calls() - 1;
    }
    assert_eq!(total, 4, "not 4 for each of them");
}

#[tokio::test(start_paused = true)]
async fn the_budget_is_one_for_all_services_of_a_layer() {
    let budget = RetryBudget::builder()
        .ratio(0.0)
        .min_per_second(1)
        .ttl(secs(4))
        .build()
        .unwrap();
    let layer = builder()
        .backoff(Backoff::constant(ms(1)))
        .budget(budget)
        .build()
        .unwrap();
    let probe = Probe::default();
    for _ in 0..10 {
        assert!(
            send(&mut layer.clone().layer(probe.clone()), Act::Fail)
                .await
                .is_err()
        );
    }
    assert_eq!(probe.calls(), 10 + 4);
}

#[tokio::test(start_paused = true)]
async fn the_throttle_of_grpc_retries_only_while_it_is_more_than_half_full() {
    // 10 tokens: the fifth failure leaves 5, which is not more than half.
    let throttle = RetryBudget::throttle(10, 0.5).unwrap();
    let layer = builder()
        .attempts(2)
        .backoff(Backoff::constant(ms(1)))
        .budget(throttle.clone());
    let (mut service, probe) = over_probe(layer);
    let mut attempts = Vec::new();
    for _ in 0..4 {
        let before = probe.calls();
        assert!(send(&mut service, Act::Fail).await.is_err());
        attempts.push(probe.calls() - before);
    }
    assert_eq!(attempts, [2, 2, 1, 1], "two failures each, then one");
    assert_eq!(throttle.balance(), 0);
    // 6 failures: 4 tokens are left. Three successes bring one and a half.
    for _ in 0..2 {
        send(&mut service, Act::Ok).await.unwrap();
        assert_eq!(throttle.balance(), 0);
    }
    send(&mut service, Act::Ok).await.unwrap();
    assert_eq!(throttle.balance(), 1);
    // The next failure takes it below again.
    let before = probe.calls();
    assert!(send(&mut service, Act::Fail).await.is_err());
    assert_eq!(probe.calls() - before, 1);
}

#[tokio::test(start_paused = true)]
async fn a_failure_that_must_not_be_repeated_counts_as_one() {
    let throttle = RetryBudget::throttle(4, 1.0).unwrap();
    let decide = |_: &Act, result: Result<&u32, &Error<Broken>>, _| match result {
        Ok(_) => Decision::Return,
        Err(_) => Decision::Fail,
    };
    let layer = builder().budget(throttle.clone()).decide(decide);
    let probe = Probe::default();
    let mut service = layer.build().unwrap().layer(probe.clone());
    for balance in [1, 0] {
        assert!(send(&mut service, Act::Fail).await.is_err());
        assert_eq!(throttle.balance(), balance);
    }
    send(&mut service, Act::Ok).await.unwrap();
    assert_eq!((throttle.balance(), probe.calls()), (1, 3));
}

// --- How long it waits

#[tokio::test(start_paused = true)]
async fn the_cap_holds_after_the_jitter_at_every_attempt() {
    let cap = ms(700);
    for jitter in [
        Jitter::None,
        Jitter::Full,
        Jitter::Equal,
        Jitter::Decorrelated,
    ] {
        let backoff = Backoff::exponential(ms(100)).cap(cap).jitter(jitter);
        let (service, times) = failing(99);
        let mut service = builder()
            .attempts(100)
            .backoff(backoff)
            .build()
            .unwrap()
            .layer(service);
        assert_eq!(send(&mut service, ()).await.unwrap(), 100);
        let gaps = gaps(&times);
        // A timer of tokio's has a grain of one millisecond, and is never early.
        assert!(
            gaps.iter().all(|gap| *gap <= cap + ms(1)),
            "{jitter:?}: {gaps:?}"
        );
        assert!(
            gaps.iter().any(|gap| *gap > ms(200)),
            "{jitter:?}: {gaps:?}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn waits_grow_as_the_backoff_says() {
    let exact = |backoff: Backoff| backoff.jitter(Jitter::None);
    for (backoff, expected) in [
        (Backoff::constant(ms(30)), [30, 30, 30, 30]),
        (Backoff::linear(ms(30)), [30, 60, 90, 120]),
        (Backoff::exponential(ms(30)), [30, 60, 120, 240]),
        (Backoff::exponential(ms(30)).factor(3.0), [30, 90, 270, 810]),
        (
            Backoff::exponential(ms(30)).factor(3.0).cap(ms(100)),
            [30, 90, 100, 100],
        ),
    ] {
        let (service, times) = failing(4);
        let mut service = builder()
            .attempts(5)
            .backoff(exact(backoff))
            .build()
            .unwrap()
            .layer(service);
        assert_eq!(send(&mut service, ()).await.unwrap(), 5);
        assert_eq!(gaps(&times), expected.map(ms), "{backoff:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_backoff_without_a_cap_still_has_one_at_every_attempt() {
    for backoff in [
        Backoff::exponential(ms(50)),
        Backoff::linear(ms(50)),
        Backoff::default(),
    ] {
        for attempt in [1, 2, 20, 64, 1_000, u32::MAX] {
            assert!(
                backoff.delay(attempt, Some(Duration::MAX), 1.0) <= secs(2),
                "{attempt}"
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_default_waits_are_jittered() {
    let mut waits = std::collections::BTreeSet::new();
    for _ in 0..50 {
        let (service, times) = failing(1);
        let mut service = RetryLayer::new().layer(service);
        send(&mut service, ()).await.unwrap();
        let wait = gaps(&times)[0];
        assert!(wait <= ms(51), "{wait:?}");
        waits.insert(wait);
    }
    assert!(waits.len() > 10, "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn the_default_is_three_attempts_of_every_error() {
    let probe = Probe::default();
    let mut service = RetryLayer::default().layer(probe.clone());
    assert!(matches!(
        send(&mut service, Act::Fail).await,
        Err(Error::Inner(Broken))
    ));
    assert_eq!(probe.calls(), 3);
    send(&mut service, Act::Ok).await.unwrap();
    assert_eq!(probe.calls(), 4);
}

// --- What the server asks for

/// Repeats errors after a hint.
fn hinted(
    builder: RetryBuilder<RetryErrors>,
    hint: Duration,
) -> RetryBuilder<impl mainstay::RetryPolicy<(), u32, Error<Broken>> + Clone> {
    builder.decide(move |(): &(), result: Result<&u32, &Error<Broken>>, _| {
        if result.is_err() {
            Decision::RetryAfter(hint)
        } else {
            Decision::Return
        }
    })
}

#[tokio::test(start_paused = true)]
async fn a_hint_is_met_exactly_and_never_early() {
    for hint in [Duration::ZERO, ms(1), ms(11), ms(1_234), secs(30)] {
        let (service, times) = failing(2);
        let backoff = Backoff::exponential(ms(500)).jitter(Jitter::Full);
        let mut service = hinted(builder().backoff(backoff), hint)
            .build()
            .unwrap()
            .layer(service);
        send(&mut service, ()).await.unwrap();
        assert_eq!(gaps(&times), [hint, hint]);
    }
    // What is finer than a timer is rounded up, not down.
    let hint = Duration::from_micros(10_500);
    let (service, times) = failing(1);
    let mut service = hinted(builder(), hint).build().unwrap().layer(service);
    send(&mut service, ()).await.unwrap();
    assert!((hint..hint + ms(1)).contains(&gaps(&times)[0]));
}

#[tokio::test(start_paused = true)]
async fn a_hint_over_its_cap_gives_the_result_back_now() {
    for (cap, hint, calls) in [
        (None, secs(30), 3),
        (None, secs(31), 1),
        (Some(secs(2)), secs(2), 3),
        (Some(secs(2)), ms(2_001), 1),
        (None, Duration::MAX, 1),
    ] {
        let (observer, told) = recorder();
        let mut builder = builder().observer(observer);
        if let Some(cap) = cap {
            builder = builder.max_retry_after(cap);
        }
        let (service, times) = failing(9);
        let mut service = hinted(builder, hint).build().unwrap().layer(service);
        assert!(send(&mut service, ()).await.is_err());
        assert_eq!(times.lock().unwrap().len(), calls, "{hint:?}");
        let refused = told
            .lock()
            .unwrap()
            .iter()
            .any(|event| matches!(event, EventKind::RetryRefused(RetryRefused::HintTooLong)));
        assert_eq!(refused, calls == 1, "{hint:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_hint_the_backoff_starts_anew() {
    let policy = |(): &(), result: Result<&u32, &Error<Broken>>, attempt| match (result, attempt) {
        (Ok(_), _) => Decision::Return,
        (Err(_), 3) => Decision::RetryAfter(ms(7)),
        (Err(_), _) => Decision::Retry,
    };
    let backoff = Backoff::exponential(ms(10))
        .cap(secs(60))
        .jitter(Jitter::None);
    let (service, times) = failing(5);
    let layer = builder()
        .attempts(6)
        .backoff(backoff)
        .decide(policy)
        .build()
        .unwrap();
    send(&mut layer.layer(service), ()).await.unwrap();
    assert_eq!(
        gaps(&times),
        [10, 20, 7, 10, 20].map(ms),
        "gRPC's pushback restarts it"
    );
}

#[tokio::test(start_paused = true)]
async fn a_hint_past_the_deadline_gives_the_result_back_now() {
    for (hint, calls) in [(ms(999), 2), (secs(1), 1), (secs(20), 1)] {
        let (service, times) = failing(9);
        let retry = hinted(builder().attempts(2), hint).build().unwrap();
        let mut service = TimeoutLayer::new(secs(1)).layer(retry.layer(service));
        let began = Instant::now();
        assert!(
            matches!(send(&mut service, ()).await, Err(Error::Inner(Broken))),
            "{hint:?}"
        );
        assert_eq!(times.lock().unwrap().len(), calls, "{hint:?}");
        if calls == 1 {
            assert_eq!(began.elapsed(), Duration::ZERO);
        }
    }
}

// --- What is never retried

#[tokio::test(start_paused = true)]
async fn what_a_policy_further_in_refused_is_never_retried_and_no_policy_is_asked() {
    let asked = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&asked);
    let retry = builder()
        .retry_if(move |_: &Act, result: Result<&u32, &Error<Broken>>| {
            count.fetch_add(1, Ordering::SeqCst);
            result.is_err()
        })
        .build()
        .unwrap();
    let began = Instant::now();

    let circuit = CircuitBreakerLayer::new();
    circuit.handle().force_open();
    let mut service = retry.layer(circuit.layer(Probe::default()));
    assert_eq!(
        reason(send(&mut service, Act::Ok).await),
        Reason::CircuitOpen
    );

    let mut service = retry.layer(BulkheadLayer::new(0).layer(Probe::default()));
    assert_eq!(reason(send(&mut service, Act::Ok).await), Reason::Full);

    let load_shed = LoadShedLayer::new(Limit::fixed(1));
    let mut service = retry.layer(load_shed.layer(Probe::default()));
    let hung = start(&load_shed.layer(Probe::default()), Act::Hang).await;
    assert_eq!(reason(send(&mut service, Act::Ok).await), Reason::Shed);
    hung.abort();

    let never_ready = Probe::default();
    never_ready.set_ready(false);
    let mut service = retry.layer(LoadShedLayer::on_readiness().layer(never_ready));
    assert_eq!(reason(send(&mut service, Act::Ok).await), Reason::NotReady);

    let mut service = retry.layer(TimeoutLayer::new(secs(1)).layer(Probe::default()));
    let late = Context::current().with_timeout(Duration::ZERO);
    assert_eq!(
        reason(late.scope(send(&mut service, Act::Ok)).await),
        Reason::DeadlinePassed
    );

    assert_eq!(asked.load(Ordering::SeqCst), 0);
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn a_rejection_is_not_retried_behind_a_boxed_error_either() {
    let calls = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&calls);
    let inner = service_fn(move |()| {
        count.fetch_add(1, Ordering::SeqCst);
        let rejection = Rejection::new("bulkhead", "elsewhere", Reason::Full);
        std::future::ready(Err::<(), BoxError>(
            std::io::Error::other(Error::<Broken>::Rejected(rejection)).into(),
        ))
    });
    let mut service = RetryLayer::new().layer(inner);
    let error = send(&mut service, ()).await.unwrap_err();
    assert_eq!(Rejection::find(&*error).unwrap().name(), "elsewhere");
    assert_eq!(calls.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_timed_out_is_retried() {
    let probe = Probe::default();
    let mut service = ServiceBuilder::new()
        .layer(builder().build().unwrap())
        .layer(TimeoutLayer::new(ms(50)))
        .service(probe.clone());
    assert_eq!(
        reason(send(&mut service, Act::Hang).await),
        Reason::TimedOut
    );
    assert_eq!(
        (probe.calls(), probe.dropped(), probe.in_flight()),
        (3, 3, 0)
    );
}

#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_be_cloned_is_sent_once() {
    #[derive(Debug)]
    struct Upload(bool);
    let calls = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&calls);
    let inner = service_fn(move |_: Upload| {
        count.fetch_add(1, Ordering::SeqCst);
        std::future::ready(Err::<(), _>(Broken))
    });
    let retry = builder()
        .decide_cloning(
            |upload: &Upload| upload.0.then_some(Upload(true)),
            |_: &Upload, _: Result<&(), &Error<Broken>>, _| Decision::Retry,
        )
        .build()
        .unwrap();
    let mut service = retry.layer(inner);
    assert!(matches!(
        send(&mut service, Upload(false)).await,
        Err(Error::Inner(Broken))
    ));
    assert_eq!(
        calls.load(Ordering::SeqCst),
        1,
        "sent, and not given up before"
    );
    assert!(send(&mut service, Upload(true)).await.is_err());
    assert_eq!(calls.load(Ordering::SeqCst), 1 + 3);
}

#[tokio::test(start_paused = true)]
async fn one_attempt_is_no_retry() {
    let (observer, told) = recorder();
    let (mut service, probe) = over_probe(builder().attempts(1).observer(observer));
    assert!(send(&mut service, Act::Fail).await.is_err());
    assert_eq!(probe.calls(), 1);
    assert!(
        !told
            .lock()
            .unwrap()
            .iter()
            .any(|event| matches!(event, EventKind::Retrying { .. }))
    );
}

#[tokio::test(start_paused = true)]
async fn a_policy_sees_the_request_the_result_and_the_number_of_the_attempt() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&seen);
    let retry = builder()
        .attempts(9)
        .decide(
            move |request: &Act, result: Result<&u32, &Error<Broken>>, attempt| {
                told.lock()
                    .unwrap()
                    .push((*request, result.copied().ok(), attempt));
                if attempt < 3 {
                    Decision::Retry
                } else {
                    Decision::Return
                }
            },
        )
        .build()
        .unwrap();
    let mut service = retry.layer(Probe::default());
    assert_eq!(
        send(&mut service, Act::Ok).await.unwrap(),
        3,
        "responses are repeated, too"
    );
    let expected = [1, 2, 3].map(|n| (Act::Ok, Some(n), n));
    assert_eq!(*seen.lock().unwrap(), expected);
}

// --- What it holds, and what it gives up

#[tokio::test(start_paused = true)]
async fn a_failed_attempt_holds_no_permit_while_it_sleeps() {
    let bulkhead = BulkheadLayer::new(1);
    let probe = Probe::default();
    let retry = builder()
        .retry_if(
            |_: &Act, result: Result<&u32, &Error<Broken>>| !matches!(result, Ok(n) if *n > 1),
        )
        .build()
        .unwrap();
    let service = retry.layer(bulkhead.layer(probe.clone()));
    let call = start(&service, Act::OkAfter(ms(10))).await;
    assert_eq!(bulkhead.handle().in_flight(), 1);
    advance(ms(10)).await;
    settle().await;
    assert_eq!(
        (probe.calls(), bulkhead.handle().in_flight()),
        (1, 0),
        "asleep"
    );
    assert!(
        send(&mut bulkhead.layer(probe.clone()), Act::Ok)
            .await
            .is_ok()
    );
    assert_eq!(call.await.unwrap().unwrap(), 3);
}

#[tokio::test(start_paused = true)]
async fn a_response_is_dropped_before_the_sleep() {
    #[derive(Debug)]
    struct Response(Arc<AtomicU32>);
    impl Drop for Response {
        fn drop(&mut self) {
            self.0.fetch_sub(1, Ordering::SeqCst);
        }
    }
    let alive = Arc::new(AtomicU32::new(0));
    let made = Arc::clone(&alive);
    let inner = service_fn(move |()| {
        made.fetch_add(1, Ordering::SeqCst);
        std::future::ready(Ok::<_, Broken>(Response(Arc::clone(&made))))
    });
    let (observer, told) = recorder();
    let retry = builder()
        .observer(observer)
        .decide(|(): &(), _: Result<&Response, &Error<Broken>>, attempt| {
            if attempt == 1 {
                Decision::Retry
            } else {
                Decision::Return
            }
        })
        .build()
        .unwrap();
    let call = start(&retry.layer(inner), ()).await;
    assert_eq!(told.lock().unwrap().len(), 1, "it sleeps now");
    assert_eq!(alive.load(Ordering::SeqCst), 0);
    let response = call.await.unwrap().unwrap();
    assert_eq!(alive.load(Ordering::SeqCst), 1);
    drop(response);
}

#[tokio::test(start_paused = true)]
async fn the_error_is_the_answer_when_the_inner_service_is_not_ready_again() {
    let (service, probe) = over_probe(builder().max_ready_wait(secs(3)));
    let began = Instant::now();
    let call = start(&service, Act::Fail).await;
    probe.set_ready(false);
    let error = call.await.unwrap().unwrap_err();
    assert!(
        matches!(error, Error::Inner(Broken)),
        "the error that was kept: {error:?}"
    );
    assert_eq!(
        began.elapsed(),
        ms(100) + secs(3),
        "it does not wait without bound"
    );
    assert_eq!(probe.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_response_that_was_given_up_becomes_not_ready_when_the_inner_service_is_not_ready_again()
{
    let retry = builder()
        .name("payments")
        .retry_if(|_: &Act, _: Result<&u32, &Error<Broken>>| true)
        .build()
        .unwrap();
    let probe = Probe::default();
    let service = retry.layer(probe.clone());
    let began = Instant::now();
    let call = start(&service, Act::Ok).await;
    probe.set_ready(false);
    let rejection = rejected(call.await.unwrap());
    assert_eq!((rejection.layer(), rejection.name()), ("retry", "payments"));
    assert_eq!(rejection.reason(), Reason::NotReady);
    assert_eq!(began.elapsed(), ms(100) + secs(1), "a second by default");
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_readiness_ends_at_the_deadline_and_is_paid_back() {
    let budget = RetryBudget::builder()
        .ratio(0.0)
        .min_per_second(1)
        .ttl(secs(100))
        .build()
        .unwrap();
    let before = budget.balance();
    let (service, probe) = over_probe(builder().max_ready_wait(secs(3_600)).budget(budget.clone()));
    let began = Instant::now();
    let call = start_within(service, secs(1)).await;
    probe.set_ready(false);
    assert!(matches!(call.await.unwrap(), Err(Error::Inner(Broken))));
    assert_eq!(began.elapsed(), secs(1));
    assert_eq!(
        budget.balance(),
        before,
        "a retry that was not sent is not paid for"
    );
}

#[tokio::test(start_paused = true)]
async fn the_wait_for_readiness_ends_at_the_deadline_of_whoever_made_the_call() {
    let (mut service, probe) = over_probe(builder().max_ready_wait(secs(3_600)));
    let context = Context::current().with_timeout(secs(1));
    let began = Instant::now();
    let service = service.ready().await.unwrap();
    // Polled by somebody who has no deadline.
    let call = tokio::spawn(context.sync_scope(|| service.call(Act::Fail)));
    settle().await;
    probe.set_ready(false);
    assert!(matches!(call.await.unwrap(), Err(Error::Inner(Broken))));
    assert_eq!(began.elapsed(), secs(1));
}

/// A call that fails, within a deadline, in a task of its own.
async fn start_within(
    mut service: Retry<Probe>,
    deadline: Duration,
) -> tokio::task::JoinHandle<Result<u32, Error<Broken>>> {
    let context = Context::current().with_timeout(deadline);
    let call = tokio::spawn(context.scope(async move { send(&mut service, Act::Fail).await }));
    settle().await;
    call
}

#[tokio::test(start_paused = true)]
async fn a_retry_goes_on_as_soon_as_the_inner_service_is_ready_again() {
    let (service, probe) = over_probe(builder().max_ready_wait(secs(3_600)));
    let call = start(&service, Act::Fail).await;
    probe.set_ready(false);
    tokio::time::sleep(secs(60)).await;
    assert_eq!(probe.calls(), 1);
    probe.set_ready(true);
    assert!(call.await.unwrap().is_err());
    assert_eq!(probe.calls(), 3);
}

// --- The deadline and the context

#[tokio::test(start_paused = true)]
async fn it_never_sleeps_past_the_deadline() {
    let (observer, told) = recorder();
    let retry = builder().attempts(100).observer(observer).build().unwrap();
    let probe = Probe::default();
    let mut service = TimeoutLayer::new(ms(350)).layer(retry.layer(probe.clone()));
    let began = Instant::now();
    let error = send(&mut service, Act::Fail).await.unwrap_err();
    assert!(
        matches!(error, Error::Inner(Broken)),
        "its own error, not a time-out: {error:?}"
    );
    assert_eq!((probe.calls(), began.elapsed()), (4, ms(300)));
    assert!(matches!(
        told.lock().unwrap().last(),
        Some(EventKind::RetryRefused(RetryRefused::Deadline))
    ));

    let (service, probe) = over_probe(builder().attempts(100));
    let began = Instant::now();
    let call = start_within(service, ms(150)).await;
    assert!(matches!(call.await.unwrap(), Err(Error::Inner(Broken))));
    assert_eq!((probe.calls(), began.elapsed()), (2, ms(100)));
}

#[tokio::test(start_paused = true)]
async fn an_attempt_knows_what_is_left_and_its_number() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&seen);
    let inner = service_fn(move |()| {
        // In the call and in its future.
        let called = Context::current();
        let told = Arc::clone(&told);
        async move {
            tokio::time::sleep(ms(10)).await;
            let polled = Context::current();
            told.lock().unwrap().push((
                called.attempt(),
                polled.attempt(),
                polled.remaining().unwrap(),
            ));
            Err::<(), _>(Broken)
        }
    });
    let mut service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(secs(1)))
        .layer(builder().build().unwrap())
        .service(inner);
    assert!(send(&mut service, ()).await.is_err());
    assert_eq!(
        *seen.lock().unwrap(),
        [(1, 1, ms(990)), (2, 2, ms(880)), (3, 3, ms(770))]
    );
    assert_eq!(Context::current().attempt(), 0, "and nobody else does");
}

#[tokio::test(start_paused = true)]
async fn behind_a_buffer_the_deadline_of_the_caller_counts() {
    let probe = Probe::default();
    let retry = builder().attempts(100).build().unwrap();
    let buffer = tower::buffer::Buffer::new(retry.layer(probe.clone()), 8);
    let mut service = TimeoutLayer::new(ms(350)).layer(buffer);
    let began = Instant::now();
    let error = send(&mut service, Act::Fail).await.unwrap_err();
    assert!(error.downcast_ref::<Error<Broken>>().is_some(), "{error:?}");
    assert!(
        Rejection::find(&*error).is_none(),
        "not a time-out: {error:?}"
    );
    assert_eq!((probe.calls(), began.elapsed()), (4, ms(300)));
}

// --- The rest

#[tokio::test(start_paused = true)]
async fn a_cancelled_call_sends_nothing_more() {
    let (mut service, probe) = over_probe(builder());
    assert!(
        timeout(ms(150), send(&mut service, Act::Fail))
            .await
            .is_err()
    );
    assert_eq!(probe.calls(), 2);
    advance(secs(60)).await;
    settle().await;
    assert_eq!(probe.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_readiness_error_is_an_attempt_that_was_not_sent() {
    #[derive(Clone)]
    struct Closed;
    impl Service<()> for Closed {
        type Response = ();
        type Error = Broken;
        type Future = std::future::Ready<Result<(), Broken>>;
        fn poll_ready(
            &mut self,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Result<(), Broken>> {
            std::task::Poll::Ready(Err(Broken))
        }
        fn call(&mut self, (): ()) -> Self::Future {
            panic!("called although it is not ready")
        }
    }
    let layer = builder().retry_if(|_, _: Result<&(), &Error<Broken>>| false);
    let layer = layer.build().unwrap();
    let mut service = layer.layer(Closed);
    let call = service.ready().await.unwrap().call(());
    assert!(matches!(call.await, Err(Error::Inner(Broken))));
    assert_eq!(
        layer.handle().snapshot().retries,
        [(RetryCause::NotSent, 2)]
    );
    assert_eq!(
        layer.handle().snapshot().refused,
        [(RetryRefused::Attempts, 1)]
    );
}

#[tokio::test(start_paused = true)]
async fn events_tell_each_retry_and_why_there_is_none() {
    let layer = builder().name("payments").build().unwrap();
    let mut events = layer.handle().events();
    let mut service = layer.layer(Probe::default());
    assert!(send(&mut service, Act::Fail).await.is_err());
    let mut told = Vec::new();
    while let Some(event) = events.try_recv() {
        assert_eq!((event.layer(), event.name()), ("retry", "payments"));
        told.push(match event.kind() {
            EventKind::Retrying { attempt, delay, .. } => (*attempt, Some(*delay)),
            EventKind::RetryRefused(RetryRefused::Attempts) => (0, None),
            other => panic!("{other:?}"),
        });
    }
    assert_eq!(told, [(2, Some(ms(100))), (3, Some(ms(100))), (0, None)]);
}

#[tokio::test(start_paused = true)]
async fn what_was_not_sent_costs_nothing_and_is_an_attempt() {
    for (decision, calls) in [
        (Decision::RetryUnsent, 3),
        (Decision::RetryTransparently, 33),
    ] {
        let budget = RetryBudget::builder().ratio(0.0).min_per_second(1);
        let budget = budget.ttl(secs(2)).build().unwrap();
        let layer = builder().attempts(3).budget(budget.clone());
        let layer = layer.decide(move |_: &Act, result: Result<&u32, &Error<Broken>>, _| {
            if result.is_ok() {
                Decision::Return
            } else {
                decision
            }
        });
        let layer = layer.build().unwrap();
        let probe = Probe::default();
        let mut service = layer.layer(probe.clone());
        assert!(send(&mut service, Act::Fail).await.is_err());
        assert_eq!(probe.calls(), calls, "{decision:?}");
        // What goes on after 30 of them is paid for.
        let paid = u64::from(decision == Decision::RetryTransparently) * 2;
        let retries = layer.handle().snapshot().retries;
        let for_nothing = match decision {
            Decision::RetryUnsent => (RetryCause::NotSent, 2),
            _ => (RetryCause::Refused, 30),
        };
        assert!(retries.contains(&for_nothing), "{retries:?}");
        let others: u64 = retries.iter().map(|(_, count)| count).sum();
        assert_eq!(others - for_nothing.1, paid);
    }
}
