//! How the load shedder behaves, each test named after what it keeps from happening.

use std::time::Duration;

use crate::support::{
    Act, Broken, Probe, ms, reason, recorder, rejected, secs, send, send_caught, settle, start,
};
use mainstay::load_shed::{Limited, LoadShed};
use mainstay::{
    Error, EventKind, Limit, LoadShedLayer, OnCancel, Outcome, Reason, TimeoutLayer, Verdict,
};
use tokio::time::{Instant, advance, timeout};
use tower::{Layer, Service, ServiceExt};

/// Keeps `callers` busy with calls of this kind for so long. How many calls were let through.
async fn drive<S>(service: &S, callers: u32, act: Act, time: Duration) -> u32
where
    S: Service<Act, Response = u32, Error = Error<Broken>> + Clone,
{
    let until = Instant::now() + time;
    let callers = (0..callers).map(|_| {
        let mut service = service.clone();
        async move {
            let mut passed = 0;
            while Instant::now() < until {
                match send(&mut service, act).await {
                    Err(Error::Rejected(rejection)) if rejection.not_sent() => {
                        tokio::time::sleep(ms(50)).await;
                    }
                    _ => passed += 1,
                }
            }
            passed
        }
    });
    futures::future::join_all(callers).await.into_iter().sum()
}

fn over_probe(limit: Limit) -> (LoadShedLayer, LoadShed<Probe>, Probe) {
    let layer = LoadShedLayer::new(limit);
    let probe = Probe::default();
    let service = layer.layer(probe.clone());
    (layer, service, probe)
}

/// Both adaptive limits, from `initial` between `min` and 1000.
fn adaptive(initial: u32, min: u32) -> [Limit; 2] {
    [
        Limit::aimd()
            .initial(initial)
            .min(min)
            .max(1_000)
            .timeout(ms(200))
            .build()
            .unwrap(),
        Limit::gradient2()
            .initial(initial)
            .min(min)
            .max(1_000)
            .build()
            .unwrap(),
    ]
}

// --- Shedding

#[tokio::test(start_paused = true)]
async fn a_fixed_limit_sheds_what_is_over_it() {
    let layer = LoadShedLayer::builder()
        .name("orders")
        .limit(Limit::fixed(3))
        .build()
        .unwrap();
    let probe = Probe::default();
    let mut service = layer.layer(probe.clone());
    let mut calls = Vec::new();
    for _ in 0..3 {
        calls.push(start(&service, Act::OkAfter(secs(1))).await);
    }
    assert_eq!(
        (layer.handle().in_flight(), layer.handle().limit().unwrap()),
        (3, 3)
    );
    let rejection = rejected(send(&mut service, Act::Ok).await);
    assert_eq!(
        (rejection.layer(), rejection.name()),
        ("load_shed", "orders")
    );
    assert_eq!(rejection.reason(), Reason::Shed);
    for call in calls {
        call.await.unwrap().unwrap();
    }
    assert_eq!(layer.handle().in_flight(), 0);
    assert!(send(&mut service, Act::Ok).await.is_ok());
    // A fixed one stays where it is.
    drive(&service, 10, Act::OkAfter(ms(10)), secs(5)).await;
    assert_eq!(
        (layer.handle().limit().unwrap(), probe.max_in_flight()),
        (3, 3)
    );
}

#[tokio::test(start_paused = true)]
async fn the_limit_is_one_for_all_services_of_a_layer() {
    let layer = LoadShedLayer::new(Limit::fixed(1));
    let _hung = start(&layer.clone().layer(Probe::default()), Act::Hang).await;
    for _ in 0..5 {
        let mut service = layer.clone().layer(Probe::default());
        assert_eq!(reason(send(&mut service, Act::Ok).await), Reason::Shed);
    }
}

#[tokio::test(start_paused = true)]
async fn idle_ready_clones_hold_nothing() {
    let (layer, service, _) = over_probe(Limit::fixed(1));
    let mut idle: Vec<_> = (0..10).map(|_| service.clone()).collect();
    for service in &mut idle {
        service.ready().await.unwrap();
    }
    assert_eq!(layer.handle().in_flight(), 0);
    for service in &mut idle {
        assert!(service.call(Act::Ok).await.is_ok());
    }
}

#[tokio::test(start_paused = true)]
async fn what_comes_when_the_inner_service_is_not_ready_is_shed_at_once() {
    let (_, mut service, probe) = over_probe(Limit::adaptive());
    let mut on_readiness = LoadShedLayer::on_readiness()
        .named("edge")
        .unwrap()
        .layer(probe.clone());
    probe.set_ready(false);
    assert_eq!(reason(send(&mut service, Act::Ok).await), Reason::NotReady);
    let rejection = rejected(send(&mut on_readiness, Act::Ok).await);
    assert_eq!(
        (rejection.reason(), rejection.name()),
        (Reason::NotReady, "edge")
    );
    // It was ready to reject, and does, also when the inner service is ready meanwhile.
    on_readiness.ready().await.unwrap();
    probe.set_ready(true);
    assert_eq!(reason(on_readiness.call(Act::Ok).await), Reason::NotReady);
    assert_eq!(probe.calls(), 0);
    assert!(send(&mut service, Act::Ok).await.is_ok());
    assert!(send(&mut on_readiness, Act::Ok).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn at_the_limit_it_is_ready_whatever_is_behind_it() {
    let (_, mut service, probe) = over_probe(Limit::fixed(1));
    let hung = start(&service, Act::Hang).await;
    probe.set_ready(false);
    let polled = probe.readiness_polls();
    assert!(futures::poll!(service.ready()).is_ready());
    assert_eq!(probe.readiness_polls(), polled);
    hung.abort();
    settle().await;
    assert_eq!(reason(service.call(Act::Ok).await), Reason::Shed);
}

#[tokio::test(start_paused = true)]
async fn a_call_is_in_flight_until_it_is_over_however_it_ends() {
    for limit in [Limit::fixed(1), Limit::adaptive()] {
        let (layer, mut service, _) = over_probe(limit);
        let call = start(&service, Act::OkAfter(secs(3_600))).await;
        advance(secs(3_599)).await;
        assert_eq!(layer.handle().in_flight(), 1);
        call.await.unwrap().unwrap();
        assert!(send(&mut service, Act::Fail).await.is_err());
        assert!(timeout(ms(1), send(&mut service, Act::Hang)).await.is_err());
        for act in [Act::Panic, Act::PanicInCall] {
            assert!(send_caught(&service, act).await.is_err());
        }
        drop(service.ready().await.unwrap().call(Act::Ok));
        assert_eq!(layer.handle().in_flight(), 0);
    }
}

// --- Limits that adapt

#[tokio::test(start_paused = true)]
async fn a_limit_that_is_not_used_does_not_grow() {
    for limit in adaptive(10, 1) {
        let (layer, service, _) = over_probe(limit);
        drive(&service, 1, Act::OkAfter(ms(50)), secs(600)).await;
        assert_eq!(
            layer.handle().limit().unwrap(),
            10,
            "{limit:?}: one call at a time for ten minutes"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_is_used_grows_while_latency_stays() {
    for limit in adaptive(10, 1) {
        let (layer, service, _) = over_probe(limit);
        drive(&service, 40, Act::OkAfter(ms(100)), secs(60)).await;
        // It stops where it is used by half: nothing is learnt beyond.
        assert!(
            (40..=84).contains(&layer.handle().limit().unwrap()),
            "{limit:?}: {}",
            layer.handle().limit().unwrap()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_healthy_service_with_many_callers_is_soon_at_their_service() {
    for limit in adaptive(20, 20) {
        let (layer, service, probe) = over_probe(limit);
        drive(&service, 150, Act::OkAfter(ms(50)), secs(2)).await;
        assert!(
            layer.handle().limit().unwrap() >= 150,
            "{limit:?}: {}",
            layer.handle().limit().unwrap()
        );
        assert_eq!(probe.max_in_flight(), 150, "{limit:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_went_wrong_once_ends_the_slow_start_for_good() {
    for limit in adaptive(20, 1) {
        let layer = LoadShedLayer::new(limit);
        let service = layer.layer(TimeoutLayer::new(ms(100)).layer(Probe::default()));
        drive(&service, 150, Act::Hang, ms(200)).await;
        assert!(
            layer.handle().limit().unwrap() < 20,
            "{limit:?}: {}",
            layer.handle().limit().unwrap()
        );
        drive(&service, 150, Act::OkAfter(ms(50)), secs(3)).await;
        assert!(
            layer.handle().limit().unwrap() < 50,
            "{limit:?}: {}",
            layer.handle().limit().unwrap()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn max_and_min_bound_a_limit() {
    let limits = [
        Limit::aimd()
            .initial(10)
            .min(7)
            .max(13)
            .timeout(ms(200))
            .build()
            .unwrap(),
        Limit::gradient2()
            .initial(10)
            .min(7)
            .max(13)
            .build()
            .unwrap(),
    ];
    for limit in limits {
        let layer = LoadShedLayer::new(limit);
        let mut service = layer.layer(TimeoutLayer::new(ms(500)).layer(Probe::default()));
        drive(&service, 40, Act::OkAfter(ms(100)), secs(60)).await;
        assert_eq!(layer.handle().limit().unwrap(), 13, "{limit:?}");
        drive(&service, 40, Act::Hang, secs(120)).await;
        assert_eq!(layer.handle().limit().unwrap(), 7, "{limit:?}");
        assert!(send(&mut service, Act::Ok).await.is_ok(), "it never hangs");
    }
}

#[tokio::test(start_paused = true)]
async fn drops_are_heard_however_little_of_a_limit_is_used() {
    for limit in adaptive(200, 10) {
        let layer = LoadShedLayer::new(limit);
        let service = layer.layer(TimeoutLayer::new(ms(500)).layer(Probe::default()));
        drive(&service, 60, Act::Hang, secs(60)).await;
        assert!(
            layer.handle().limit().unwrap() < 60,
            "{limit:?}: {}",
            layer.handle().limit().unwrap()
        );
        // And the slow start is over: the limit does not double.
        let before = layer.handle().limit().unwrap();
        drive(&service, 60, Act::OkAfter(ms(50)), ms(500)).await;
        assert!(layer.handle().limit().unwrap() < before + 25, "{limit:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_limit_whose_calls_say_nothing_for_hours_grows() {
    for limit in adaptive(20, 20) {
        let (layer, service, probe) = over_probe(limit);
        let mut hung = Vec::new();
        for _ in 0..20 {
            hung.push(start(&service, Act::Hang).await);
        }
        settle().await;
        assert_eq!(probe.max_in_flight(), 20);
        let mut service = service.clone();
        let shed = send(&mut service, Act::Ok).await;
        assert_eq!(reason(shed), Reason::Shed);
        let began = Instant::now();
        while send(&mut service, Act::Ok).await.is_err() {
            tokio::time::sleep(ms(100)).await;
        }
        assert!(began.elapsed() < secs(3), "{:?}", began.elapsed());
        assert!(layer.handle().limit().unwrap() > 20);
    }
}

#[tokio::test(start_paused = true)]
async fn a_queue_that_grows_slowly_is_seen() {
    // Ten workers of 50 ms, and one more caller every two seconds.
    let workers = std::sync::Arc::new(tokio::sync::Semaphore::new(10));
    let work = tower::service_fn(move |()| {
        let workers = workers.clone();
        async move {
            let _permit = workers.acquire_owned().await;
            tokio::time::sleep(ms(50)).await;
            Ok::<_, Broken>(())
        }
    });
    let layer = LoadShedLayer::new(Limit::adaptive());
    let service = layer.layer(work);
    let worst = std::sync::Arc::new(std::sync::Mutex::new(Duration::ZERO));
    let mut callers = tokio::task::JoinSet::new();
    for _ in 0..120 {
        let (service, worst) = (service.clone(), worst.clone());
        callers.spawn(async move {
            loop {
                let began = Instant::now();
                if service.clone().oneshot(()).await.is_err() {
                    tokio::time::sleep(ms(50)).await;
                    continue;
                }
                let mut worst = worst.lock().unwrap();
                *worst = (*worst).max(began.elapsed());
            }
        });
        tokio::time::sleep(secs(2)).await;
    }
    let worst = *worst.lock().unwrap();
    assert!(
        worst < ms(300),
        "{worst:?}, limit {:?}",
        layer.handle().limit()
    );
}

#[tokio::test(start_paused = true)]
async fn a_burst_of_eight_drops_does_not_collapse_a_limit() {
    for limit in adaptive(100, 1) {
        let layer = LoadShedLayer::new(limit);
        let service = layer.layer(TimeoutLayer::new(ms(100)).layer(Probe::default()));
        let good = drive(&service, 60, Act::OkAfter(ms(20)), secs(3));
        let burst = async {
            tokio::time::sleep(secs(2)).await;
            let before = layer.handle().limit().unwrap();
            let hung = (0..8).map(|_| {
                let mut service = service.clone();
                async move { reason(send(&mut service, Act::Hang).await) }
            });
            for reason in futures::future::join_all(hung).await {
                assert_eq!(reason, Reason::TimedOut);
            }
            // The window in which they fell ends.
            tokio::time::sleep(ms(200)).await;
            (before, layer.handle().limit().unwrap())
        };
        let (_, (before, after)) = tokio::join!(good, burst);
        assert!(
            after * 10 >= before * 8,
            "{limit:?}: from {before} to {after}"
        );
    }
}

#[tokio::test(start_paused = true)]
async fn drops_lower_a_limit_and_it_recovers_after_the_incident() {
    for limit in adaptive(100, 5) {
        let layer = LoadShedLayer::new(limit);
        let service = layer.layer(TimeoutLayer::new(ms(500)).layer(Probe::default()));
        drive(&service, 60, Act::OkAfter(ms(100)), secs(10)).await;
        let before = layer.handle().limit().unwrap();
        drive(&service, 100, Act::Hang, secs(60)).await;
        assert!(
            layer.handle().limit().unwrap() < before / 4,
            "{limit:?}: {} of {before}",
            layer.handle().limit().unwrap()
        );
        drive(&service, 100, Act::OkAfter(ms(100)), secs(60)).await;
        assert!(
            layer.handle().limit().unwrap() >= 90,
            "{limit:?}: {} a minute later",
            layer.handle().limit().unwrap()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_long_incident_does_not_drag_the_usual_latency_along() {
    let limit = Limit::gradient2()
        .initial(50)
        .min(5)
        .max(50)
        .build()
        .unwrap();
    let (layer, service, _) = over_probe(limit);
    drive(&service, 60, Act::OkAfter(ms(50)), secs(30)).await;
    assert_eq!(layer.handle().limit().unwrap(), 50);
    // Ten minutes at forty times the latency, after which that has become the usual one.
    drive(&service, 60, Act::OkAfter(secs(2)), secs(600)).await;
    drive(&service, 60, Act::OkAfter(ms(50)), secs(30)).await;
    assert_eq!(layer.handle().limit().unwrap(), 50, "half a minute later");
    // And it is not blind to a smaller one, which the latency of the last one would hide.
    drive(&service, 60, Act::OkAfter(ms(400)), secs(10)).await;
    assert!(
        layer.handle().limit().unwrap() < 25,
        "{}",
        layer.handle().limit().unwrap()
    );
}

#[tokio::test(start_paused = true)]
async fn a_latency_that_has_changed_for_good_is_learnt() {
    let limit = Limit::gradient2()
        .initial(50)
        .min(5)
        .max(50)
        .long_window(50)
        .build()
        .unwrap();
    let (layer, service, _) = over_probe(limit);
    drive(&service, 60, Act::OkAfter(ms(50)), secs(30)).await;
    drive(&service, 60, Act::OkAfter(ms(400)), secs(5)).await;
    assert!(
        layer.handle().limit().unwrap() < 45,
        "{}",
        layer.handle().limit().unwrap()
    );
    drive(&service, 60, Act::OkAfter(ms(400)), secs(300)).await;
    assert_eq!(
        layer.handle().limit().unwrap(),
        50,
        "the shortest latency ever is not held against it for ever"
    );
}

#[tokio::test(start_paused = true)]
async fn gradient2_follows_its_settings() {
    async fn after_slowdown(tolerance: f64, smoothing: f64) -> u32 {
        let limit = Limit::gradient2()
            .initial(100)
            .min(1)
            .max(100)
            .tolerance(tolerance)
            .smoothing(smoothing)
            .build()
            .unwrap();
        let (layer, service, _) = over_probe(limit);
        drive(&service, 100, Act::OkAfter(ms(100)), secs(10)).await;
        drive(&service, 100, Act::OkAfter(ms(500)), secs(5)).await;
        layer.handle().limit().unwrap()
    }
    let usual = after_slowdown(1.5, 0.2).await;
    assert!(usual < 90, "{usual}");
    assert_eq!(
        after_slowdown(10.0, 0.2).await,
        100,
        "five times the latency is tolerated"
    );
    assert!(
        after_slowdown(1.5, 1.0).await < usual,
        "without smoothing it falls faster"
    );

    let mut limits = Vec::new();
    for queue in [1, 40] {
        let limit = Limit::gradient2()
            .initial(20)
            .min(1)
            .max(1_000)
            .queue(queue)
            .build()
            .unwrap();
        let layer = LoadShedLayer::new(limit);
        let service = layer.layer(TimeoutLayer::new(ms(100)).layer(Probe::default()));
        // Or it would double.
        drive(&service, 300, Act::Hang, ms(200)).await;
        drive(&service, 300, Act::OkAfter(ms(50)), secs(2)).await;
        limits.push(layer.handle().limit().unwrap());
    }
    assert!(limits[0] < 30 && limits[1] > 100, "{limits:?}");
}

#[tokio::test(start_paused = true)]
async fn aimd_falls_by_its_backoff_when_calls_take_longer_than_its_timeout() {
    let limit = Limit::aimd()
        .initial(100)
        .min(1)
        .max(100)
        .backoff(0.5)
        .timeout(ms(50));
    let (observer, told) = recorder();
    let layer = LoadShedLayer::builder()
        .limit(limit.build().unwrap())
        .observer(observer)
        .build()
        .unwrap();
    let service = layer.layer(Probe::default());
    drive(&service, 80, Act::OkAfter(ms(51)), ms(500)).await;
    let told: Vec<_> = told
        .lock()
        .unwrap()
        .iter()
        .filter_map(|event| match *event {
            EventKind::LimitChanged { from, to, .. } => from.zip(to),
            _ => None,
        })
        .collect();
    assert_eq!(told[..3], [(100, 50), (50, 25), (25, 12)], "each step");
    assert_eq!(layer.handle().limit().unwrap(), told.last().unwrap().1);

    let (layer, service, _) = over_probe(limit.build().unwrap());
    drive(&service, 80, Act::OkAfter(ms(50)), secs(10)).await;
    assert_eq!(
        layer.handle().limit().unwrap(),
        100,
        "as long as the time-out is not longer"
    );
}

#[tokio::test(start_paused = true)]
async fn a_few_slow_calls_of_a_quiet_hour_do_not_move_a_limit() {
    let limit = Limit::aimd().initial(100).min(1).timeout(ms(50));
    let (layer, mut service, _) = over_probe(limit.build().unwrap());
    for _ in 0..9 {
        send(&mut service, Act::OkAfter(ms(200))).await.unwrap();
        advance(secs(300)).await;
    }
    assert_eq!(layer.handle().limit().unwrap(), 100);
    send(&mut service, Act::OkAfter(ms(200))).await.unwrap();
    assert_eq!(layer.handle().limit().unwrap(), 90, "ten are enough");
}

#[tokio::test(start_paused = true)]
async fn failures_say_nothing_about_load() {
    // Fast errors are no reason to grow, and no reason to shrink.
    for limit in adaptive(30, 1) {
        let (layer, service, _) = over_probe(limit);
        drive(&service, 30, Act::FailAfter(ms(1)), secs(2)).await;
        drive(&service, 30, Act::FailAfter(ms(900)), secs(30)).await;
        assert_eq!(layer.handle().limit().unwrap(), 30, "{limit:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn fast_errors_do_not_become_the_usual_latency() {
    let limit = Limit::gradient2()
        .initial(50)
        .min(5)
        .max(50)
        .build()
        .unwrap();
    let (layer, service, _) = over_probe(limit);
    drive(&service, 60, Act::OkAfter(ms(100)), secs(60)).await;
    drive(&service, 60, Act::FailAfter(ms(10)), secs(60)).await;
    drive(&service, 60, Act::OkAfter(ms(100)), secs(10)).await;
    assert_eq!(layer.handle().limit().unwrap(), 50);
}

#[tokio::test(start_paused = true)]
async fn a_verdict_of_overload_lowers_the_limit() {
    let limit = Limit::aimd().initial(30).min(1).max(30).build().unwrap();
    for overload in [true, false] {
        let layer = LoadShedLayer::builder()
            .limit(limit)
            .classify(move |result: Result<&u32, &Error<Broken>>| match result {
                Ok(_) => Verdict::new(Outcome::Success),
                Err(_) => Verdict::new(Outcome::Failure).with_overload(overload),
            })
            .build()
            .unwrap();
        let service = layer.layer(Probe::default());
        drive(&service, 30, Act::FailAfter(ms(20)), secs(10)).await;
        assert_eq!(
            layer.handle().limit().unwrap() < 10,
            overload,
            "{}",
            layer.handle().limit().unwrap()
        );
    }
}

#[tokio::test(start_paused = true)]
async fn a_rejection_from_further_in_says_nothing_about_load() {
    for limit in adaptive(30, 1) {
        let layer = LoadShedLayer::new(limit);
        let service = layer.layer(mainstay::BulkheadLayer::new(0).layer(Probe::default()));
        drive(&service, 30, Act::Ok, secs(3)).await;
        assert_eq!(layer.handle().limit().unwrap(), 30, "{limit:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_cancelled_after_long_counts_as_dropped() {
    async fn cancel(on_cancel: Option<OnCancel>, after: Duration) -> u32 {
        let mut builder = LoadShedLayer::builder()
            .limit(Limit::aimd().initial(100).min(1).max(100).build().unwrap());
        if let Some(on_cancel) = on_cancel {
            builder = builder.on_cancel(on_cancel);
        }
        let layer: LoadShedLayer<Limited> = builder.build().unwrap();
        let service = layer.layer(Probe::default());
        for _ in 0..10 {
            let hung = (0..20).map(|_| {
                let mut service = service.clone();
                async move { timeout(after, send(&mut service, Act::Hang)).await.is_err() }
            });
            assert!(
                futures::future::join_all(hung)
                    .await
                    .into_iter()
                    .all(|cut_off| cut_off)
            );
            tokio::time::sleep(secs(1)).await;
        }
        layer.handle().limit().unwrap()
    }
    assert_eq!(cancel(None, ms(999)).await, 100, "a second by default");
    assert!(cancel(None, secs(1)).await < 50);
    assert_eq!(cancel(Some(OnCancel::Ignore), secs(60)).await, 100);
    assert_eq!(
        cancel(Some(OnCancel::FailureAfter(ms(30))), ms(29)).await,
        100
    );
    assert!(cancel(Some(OnCancel::FailureAfter(ms(30))), ms(30)).await < 50);
    assert!(cancel(Some(OnCancel::FailureAfter(Duration::ZERO)), ms(1)).await < 50);
}

#[tokio::test(start_paused = true)]
async fn calls_cut_off_at_a_high_rate_are_seen_although_few_calls_are_samples() {
    let limit = Limit::aimd().initial(200).min(1).max(200).build().unwrap();
    let (layer, service, _) = over_probe(limit);
    // Busy enough that most calls are no samples.
    drive(&service, 150, Act::OkAfter(ms(5)), secs(3)).await;
    assert_eq!(layer.handle().limit().unwrap(), 200);
    for _ in 0..5 {
        let hung = (0..100).map(|_| {
            let mut service = service.clone();
            async move {
                timeout(secs(2), send(&mut service, Act::Hang))
                    .await
                    .is_err()
            }
        });
        futures::future::join_all(hung).await;
    }
    assert!(
        layer.handle().limit().unwrap() < 150,
        "{}",
        layer.handle().limit().unwrap()
    );
}

#[tokio::test(start_paused = true)]
async fn the_default_has_no_limit_and_adaptive_is_from_twenty_to_two_hundred() {
    let layer = LoadShedLayer::builder().build().unwrap();
    assert_eq!(layer.handle().limit(), None);
    let service = layer.layer(Probe::default());
    drive(&service, 300, Act::OkAfter(ms(100)), secs(60)).await;
    assert_eq!(layer.handle().limit(), None);
    assert_eq!(layer.handle().snapshot().rejections.total(), 0);
    let layer = LoadShedLayer::new(Limit::adaptive());
    assert_eq!(layer.handle().limit().unwrap(), 20);
    let service = layer.layer(Probe::default());
    drive(&service, 300, Act::OkAfter(ms(100)), secs(60)).await;
    assert_eq!(layer.handle().limit().unwrap(), 200);
}

// --- What it tells

#[tokio::test(start_paused = true)]
async fn it_tells_of_every_rejection_and_of_how_calls_went() {
    let (observer, told) = recorder();
    let layer = LoadShedLayer::builder()
        .limit(Limit::fixed(1))
        .observer(observer)
        .build()
        .unwrap();
    let probe = Probe::default();
    let mut service = layer.layer(probe.clone());
    let hung = start(&service, Act::Hang).await;
    assert_eq!(reason(send(&mut service, Act::Ok).await), Reason::Shed);
    hung.abort();
    settle().await;
    send(&mut service, Act::Ok).await.unwrap();
    drop(service.ready().await.unwrap().call(Act::Ok));
    assert!(send(&mut service, Act::Fail).await.is_err());
    assert!(send_caught(&service, Act::Panic).await.is_err());
    probe.set_ready(false);
    assert_eq!(reason(send(&mut service, Act::Ok).await), Reason::NotReady);
    let words: Vec<_> = told
        .lock()
        .unwrap()
        .iter()
        .map(|kind| match kind {
            EventKind::Rejected(rejection) => rejection.reason().as_str(),
            EventKind::Settled { outcome, .. } => outcome.as_str(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(
        words,
        [
            "shed",
            "cancelled",
            "success",
            "cancelled",
            "failure",
            "failure",
            "not_ready"
        ]
    );
}
