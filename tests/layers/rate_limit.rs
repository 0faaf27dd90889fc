//! The behaviour of a rate limit. Each test is named after what it ensures.

use std::future::{Future as _, ready};
use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::task;
use std::time::Duration;

use crate::support::{
    Act, Broken, Probe, ms, reason, recorder, rejected, secs, send, send_caught, start,
};
use mainstay::rate_limit::Queued;
use mainstay::{Context, Error, EventKind, Outcome, RateLimitLayer, Reason};
use tokio::time::{Instant, advance, timeout};
use tower::{Layer, Service, ServiceExt, service_fn};

fn limit(permits: u32, per: Duration, burst: u32) -> RateLimitLayer {
    let builder = RateLimitLayer::builder().per(permits, per).burst(burst);
    builder.build().unwrap()
}

// --- The rate

#[tokio::test(start_paused = true)]
async fn a_burst_is_admitted_at_once_and_then_one_call_for_each_interval() {
    let mut service = limit(10, secs(1), 3).layer(Probe::default());
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
    let mut service = layer.layer(Probe::default());
    for pause in [Duration::ZERO, ms(300), secs(3_600)] {
        advance(pause).await;
        assert_eq!(layer.handle().available(), 3);
        for left in [2, 1, 0] {
            assert!(send(&mut service, Act::Ok).await.is_ok());
            assert_eq!(layer.handle().available(), left);
        }
        assert!(send(&mut service, Act::Ok).await.is_err());
    }
}

#[tokio::test(start_paused = true)]
async fn the_burst_is_a_period_by_default() {
    let mut service = RateLimitLayer::per_second(5)
        .unwrap()
        .layer(Probe::default());
    for _ in 0..5 {
        assert!(send(&mut service, Act::Ok).await.is_ok());
    }
    let rejection = rejected(send(&mut service, Act::Ok).await);
    assert_eq!(rejection.retry_after(), Some(ms(200)));
}

#[tokio::test(start_paused = true)]
async fn a_caller_below_the_rate_is_never_rejected() {
    let mut service = limit(7, secs(1), 1).layer(Probe::default());
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
            let mut service = layer.layer(Probe::default());
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
    let probe = Probe::default();
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
    let mut service = limit(1, secs(1), 1).layer(Probe::default());
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
    let probe = Probe::default();
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
    let mut idle: Vec<_> = (0..10).map(|_| layer.layer(Probe::default())).collect();
    for service in &mut idle {
        service.ready().await.unwrap();
    }
    assert_eq!(layer.handle().available(), 1);
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
    let mut service = layer.layer(Probe::default());
    assert!(send(&mut service, Act::Fail).await.is_err());
    assert!(send_caught(&service, Act::Panic).await.is_err());
    assert!(send_caught(&service, Act::PanicInCall).await.is_err());
    drop(service.ready().await.unwrap().call(Act::Ok));
    assert_eq!(layer.handle().available(), 1);
}

// --- The line

fn waiting(permits: u32, burst: u32, max_wait: Duration) -> RateLimitLayer<Queued> {
    let builder = RateLimitLayer::builder().per(permits, secs(1)).burst(burst);
    builder.max_wait(max_wait).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn waiting_calls_are_admitted_one_for_each_interval_in_their_order() {
    let order = Arc::new(Mutex::new(Vec::new()));
    let seen = Arc::clone(&order);
    let began = Instant::now();
    let inner = service_fn(move |number: u32| {
        seen.lock().unwrap().push((number, began.elapsed()));
        async { Ok::<_, Broken>(()) }
    });
    let layer = waiting(10, 2, secs(10));
    let service = layer.layer(inner);
    let mut calls = Vec::new();
    for number in 0..20 {
        calls.push(start(&service, number).await);
    }
    assert_eq!(
        (layer.handle().waiting(), layer.handle().available()),
        (18, 0)
    );
    for call in calls {
        call.await.unwrap().unwrap();
    }
    let at = |number: u32| ms(100) * number.saturating_sub(1);
    let expected: Vec<_> = (0..20).map(|number| (number, at(number))).collect();
    assert_eq!(*order.lock().unwrap(), expected);
    assert_eq!(layer.handle().waiting(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_permit_comes_too_late_is_rejected_at_once_with_the_exact_time() {
    let layer = waiting(10, 1, ms(250));
    let mut service = layer.layer(Probe::default());
    let calls = [
        start(&service, Act::Ok).await,
        start(&service, Act::Ok).await,
        start(&service, Act::Ok).await,
    ];
    assert_eq!(layer.handle().waiting(), 2);
    let began = Instant::now();
    let rejection = rejected(send(&mut service, Act::Ok).await);
    assert_eq!(rejection.reason(), Reason::RateLimited);
    assert_eq!(rejection.retry_after(), Some(ms(300)));
    assert_eq!(began.elapsed(), Duration::ZERO);
    for call in calls {
        assert!(call.await.unwrap().is_ok());
    }
    assert_eq!(began.elapsed(), ms(200));
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_does_not_end_before_the_deadline_is_not_begun() {
    let layer = waiting(10, 1, secs(10));
    let mut service = layer.layer(Probe::default());
    assert!(send(&mut service, Act::Ok).await.is_ok());
    for (left, expected) in [
        (Duration::ZERO, Some(Reason::DeadlinePassed)),
        (ms(99), Some(Reason::RateLimited)),
        (ms(101), None),
    ] {
        let began = Instant::now();
        let mut service = service.clone();
        let call = async move { send(&mut service, Act::Ok).await };
        let result = Context::current().with_timeout(left).scope(call).await;
        match expected {
            Some(expected) => {
                assert_eq!(reason(result), expected);
                assert_eq!(began.elapsed(), Duration::ZERO);
            }
            None => assert_eq!((result.is_ok(), began.elapsed()), (true, ms(100))),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_waiting_call_that_goes_away_leaves_its_turn_to_those_behind_it() {
    let layer = waiting(10, 1, secs(10));
    let mut service = layer.layer(Probe::default());
    assert!(send(&mut service, Act::Ok).await.is_ok());
    let mut calls = Vec::new();
    for _ in 0..4 {
        calls.push(start(&service, Act::Ok).await);
    }
    let began = Instant::now();
    // The first of the line, and one in its middle.
    for gone in [calls.remove(0), calls.remove(1)] {
        gone.abort();
        assert!(gone.await.unwrap_err().is_cancelled());
    }
    assert_eq!(layer.handle().waiting(), 2);
    for (call, expected) in calls.into_iter().zip([ms(100), ms(200)]) {
        assert!(call.await.unwrap().is_ok());
        assert_eq!(began.elapsed(), expected);
    }
    let snapshot = layer.handle().snapshot();
    assert_eq!((snapshot.given_up, snapshot.waiting), (2, 0));
    assert_eq!(snapshot.outcomes.success, 3);
}

#[tokio::test(start_paused = true)]
async fn callers_that_leave_the_line_use_up_no_permit() {
    let layer = waiting(10, 1, secs(10));
    let service = layer.layer(Probe::default());
    let calls = (0..100_u32).map(|number| {
        let mut service = service.clone();
        async move {
            tokio::time::sleep(ms(50) * number).await;
            timeout(ms(300), send(&mut service, Act::Ok)).await.is_ok()
        }
    });
    let admitted = futures::future::join_all(calls).await;
    let admitted = admitted.iter().filter(|admitted| **admitted).count();
    // There are calls for five seconds, and ten permits a second.
    assert!((48..=54).contains(&admitted), "{admitted}");
}

#[tokio::test(start_paused = true)]
async fn a_newcomer_does_not_overtake_a_waiting_call() {
    let layer = waiting(10, 1, secs(10));
    let mut service = layer.layer(Probe::default());
    // One that was made ready when there was a permit, and one that is made ready later.
    let mut early = service.clone();
    early.ready().await.unwrap();
    assert!(send(&mut service, Act::Ok).await.is_ok());
    let call = service.ready().await.unwrap().call(Act::Ok);
    let mut first = tokio_test::task::spawn(call);
    assert!(first.poll().is_pending());
    advance(ms(100)).await;
    assert!(first.is_woken());
    // There is a permit, but the call that waits for it has not run yet.
    let mut newcomer = tokio_test::task::spawn(early.call(Act::Ok));
    assert!(newcomer.poll().is_pending());
    let call = service.ready().await.unwrap().call(Act::Ok);
    let mut last = tokio_test::task::spawn(call);
    assert!(last.poll().is_pending());
    assert!(first.poll().is_ready());
    assert!(newcomer.is_woken());
    assert!(newcomer.poll().is_pending());
    advance(ms(100)).await;
    assert!(newcomer.is_woken() && !last.is_woken());
    assert!(newcomer.poll().is_ready());
}

#[tokio::test(start_paused = true)]
async fn a_waiting_call_is_woken_for_its_turn_only() {
    let layer = waiting(10, 1, secs(100));
    let mut service = layer.layer(Probe::default());
    assert!(send(&mut service, Act::Ok).await.is_ok());
    let mut calls = Vec::new();
    for _ in 0..5 {
        let call = service.ready().await.unwrap().call(Act::Ok);
        let mut call = tokio_test::task::spawn(call);
        assert!(call.poll().is_pending());
        calls.push(call);
    }
    while !calls.is_empty() {
        assert!(calls.iter().all(|call| !call.is_woken()));
        advance(ms(100)).await;
        assert!(calls[0].is_woken());
        assert!(calls[1..].iter().all(|call| !call.is_woken()));
        assert!(calls.remove(0).poll().is_ready());
        if let Some(next) = calls.first_mut() {
            assert!(next.is_woken(), "it is the first now, and sets its timer");
            assert!(next.poll().is_pending());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn max_wait_includes_an_inner_service_that_is_not_ready() {
    let layer = waiting(10, 1, ms(250));
    let probe = Probe::default();
    let mut service = layer.layer(probe.clone());
    assert!(send(&mut service, Act::Ok).await.is_ok());
    let began = Instant::now();
    let call = start(&service, Act::Ok).await;
    probe.set_ready(false);
    assert_eq!(reason(call.await.unwrap()), Reason::NotReady);
    assert_eq!((began.elapsed(), probe.calls()), (ms(250), 1));
    let snapshot = layer.handle().snapshot();
    assert_eq!((snapshot.rejections.total(), snapshot.given_up), (1, 0));
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
    let mut service = layer.layer(Probe::default());
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
    let snapshot = layer.handle().snapshot();
    let outcomes = snapshot.outcomes;
    assert_eq!(
        (outcomes.success, outcomes.failure, outcomes.cancelled),
        (1, 2, 1)
    );
    assert_eq!(snapshot.rejections.total(), 3);
    assert_eq!(
        snapshot.to_string(),
        "rate_limit search: 60 per 60s, 0 of 4 available, 0 waiting; 1 ok, 2 failed, \
         0 ignored, 1 cancelled; 3 rejected (rate_limited 3)"
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
    for max_wait in [Duration::ZERO, secs(3_601), Duration::MAX] {
        let error = builder().max_wait(max_wait).build().unwrap_err();
        assert_eq!(error.field(), "max_wait");
    }
}

#[tokio::test(start_paused = true)]
async fn errors_stay_flat_and_what_is_not_send_or_clone_passes() {
    let layer = limit(10, secs(1), 10);
    let inner =
        service_fn(|request: std::rc::Rc<u32>| async move { Ok::<_, Error<Broken>>(request) });
    let mut service = layer.layer(layer.layer(inner));
    let answer: Result<_, Error<Broken>> = send(&mut service, std::rc::Rc::new(7)).await;
    assert_eq!(*answer.unwrap(), 7);
    assert_eq!(layer.handle().available(), 8);
}

#[tokio::test(start_paused = true)]
async fn an_admitted_call_allocates_nothing() {
    fn measure<S: Service<(), Error = Error<Broken>>>(mut service: S) {
        let mut cx = task::Context::from_waker(task::Waker::noop());
        let mut call = || {
            assert!(service.poll_ready(&mut cx).is_ready());
            let call = pin!(service.call(()));
            assert!(call.poll(&mut cx).is_ready());
        };
        // The second call of a service makes what all its further calls share.
        for _ in 0..3 {
            call();
        }
        let counted = allocation_counter::measure(|| {
            for _ in 0..10 {
                call();
            }
        });
        assert_eq!(counted.count_total, 0);
    }
    let inner = service_fn(|()| ready(Ok::<_, Broken>(())));
    measure(limit(100, secs(1), 100).layer(inner));
    measure(waiting(100, 100, secs(1)).layer(inner));
}

// --- Waiters that are not polled, and services that are not ready

/// A waiter whose task does not poll it any more holds up the others until its own time is over, and
/// no longer.
#[tokio::test(start_paused = true)]
async fn a_waiter_that_nobody_polls_blocks_nobody_for_good() {
    let layer = waiting(1, 1, secs(2));
    let probe = Probe::default();
    let mut service = layer.layer(probe.clone());
    assert!(send(&mut service, Act::Ok).await.is_ok());
    let abandoned = service.ready().await.unwrap().call(Act::Ok);
    let mut abandoned = pin!(abandoned);
    assert!(futures::poll!(abandoned.as_mut()).is_pending());
    // Behind it, and still there when its time is over.
    advance(ms(1_500)).await;
    let began = Instant::now();
    assert!(send(&mut service, Act::Ok).await.is_ok());
    assert_eq!(began.elapsed(), ms(600));
    advance(secs(60)).await;
    assert!(send(&mut service, Act::Ok).await.is_ok());
    assert_eq!(reason(abandoned.await), Reason::RateLimited);
    assert_eq!(layer.handle().waiting(), 0);
}

/// A permit is for a call that starts now. Were permits handed out while the inner service is not
/// ready, all their calls would start together.
#[tokio::test(start_paused = true)]
async fn permits_are_not_collected_while_the_inner_service_is_not_ready() {
    let layer = waiting(10, 1, secs(30));
    let probe = Probe::default();
    let mut service = layer.layer(probe.clone());
    assert!(send(&mut service, Act::Ok).await.is_ok());
    let before = probe.calls();
    let mut calls = Vec::new();
    for _ in 0..50 {
        calls.push(start(&service, Act::Ok).await);
    }
    probe.set_ready(false);
    advance(secs(5)).await;
    assert_eq!(probe.calls(), before);
    probe.set_ready(true);
    tokio::time::sleep(ms(50)).await;
    assert!(probe.calls() - before <= 2, "{}", probe.calls() - before);
    for call in calls {
        assert!(call.await.unwrap().is_ok());
    }
}

/// Behind `tower::buffer`, a call is made outside of the context in which it is polled.
#[tokio::test(start_paused = true)]
async fn a_deadline_that_is_set_where_the_call_is_polled_holds_for_the_wait() {
    let layer = waiting(1, 1, secs(30));
    let mut service = layer.layer(Probe::default());
    assert!(send(&mut service, Act::Ok).await.is_ok());
    let call = service.ready().await.unwrap().call(Act::Ok);
    let began = Instant::now();
    // Its permit would come after a second.
    let result = Context::current().with_timeout(ms(100)).scope(call).await;
    assert_eq!(reason(result), Reason::RateLimited);
    assert_eq!(began.elapsed(), Duration::ZERO);
}
