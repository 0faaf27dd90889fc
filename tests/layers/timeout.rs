//! How the timeout behaves, each test named after what it keeps from happening.

use std::future::poll_fn;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::task::Poll;
use std::time::Duration;

use crate::support::{
    Act, Broken, Probe, ms, reason, recorder, rejected, secs, send, send_caught, settle, start,
};
use mainstay::{BoxError, Context, Error, EventKind, Reason, Rejection, TimeLimit, TimeoutLayer};
use tokio::time::{Instant, advance};
use tower::{Layer, Service, ServiceBuilder, ServiceExt, service_fn};

#[tokio::test(start_paused = true)]
async fn it_ends_a_call_exactly_when_its_time_is_over() {
    let layer = TimeoutLayer::builder()
        .name("payments")
        .timeout(ms(800))
        .build()
        .unwrap();
    let probe = Probe::default();
    let mut service = layer.layer(probe.clone());
    let began = Instant::now();
    assert!(send(&mut service, Act::OkAfter(ms(799))).await.is_ok());
    assert_eq!(began.elapsed(), ms(799));
    let began = Instant::now();
    let rejection = rejected(send(&mut service, Act::OkAfter(ms(801))).await);
    assert_eq!(began.elapsed(), ms(800));
    assert_eq!(
        (rejection.layer(), rejection.name()),
        ("timeout", "payments")
    );
    assert_eq!(rejection.reason(), Reason::TimedOut);
    assert!(!rejection.not_sent(), "the call had been started");
    assert!(matches!(
        send(&mut service, Act::Fail).await,
        Err(Error::Inner(Broken))
    ));
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_there_when_the_time_is_over_is_given() {
    let mut service = TimeoutLayer::new(ms(100)).layer(Probe::default());
    assert!(send(&mut service, Act::OkAfter(ms(100))).await.is_ok());
    let call = service.ready().await.unwrap().call(Act::Ok);
    advance(secs(60)).await;
    assert!(call.await.is_ok(), "and when nobody polled it for long");
}

#[tokio::test(start_paused = true)]
async fn the_time_runs_from_the_call_and_not_from_its_first_poll() {
    let mut service = TimeoutLayer::new(ms(100)).layer(Probe::default());
    let began = Instant::now();
    let call = service.ready().await.unwrap().call(Act::Hang);
    advance(ms(60)).await;
    assert_eq!(reason(call.await), Reason::TimedOut);
    assert_eq!(began.elapsed(), ms(100));
    let late = service.ready().await.unwrap().call(Act::Hang);
    advance(secs(60)).await;
    let began = Instant::now();
    assert_eq!(reason(late.await), Reason::TimedOut);
    assert_eq!(began.elapsed(), Duration::ZERO);
}

#[test]
fn a_call_that_is_ready_at_once_makes_no_timer() {
    // A timer panics in a runtime that has none.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let mut service = TimeoutLayer::new(secs(1)).layer(Probe::default());
        assert_eq!(send(&mut service, Act::Ok).await.unwrap(), 1);
        assert!(send(&mut service, Act::Fail).await.is_err());
        let waiting = TimeoutLayer::new(secs(1)).layer(Probe::default());
        assert!(
            send_caught(&waiting, Act::Hang).await.is_err(),
            "this one needs it"
        );
    });
}

#[tokio::test(start_paused = true)]
async fn a_busy_inner_future_that_eats_the_coop_budget_cannot_starve_the_timer() {
    let polls = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&polls);
    let busy = service_fn(move |()| {
        let count = Arc::clone(&count);
        poll_fn(move |cx| {
            count.fetch_add(1, Ordering::SeqCst);
            // All of the budget, and then again.
            while tokio::task::coop::poll_proceed(cx)
                .map(|proceed| proceed.made_progress())
                .is_ready()
            {}
            cx.waker().wake_by_ref();
            Poll::<Result<(), Broken>>::Pending
        })
    });
    let call = start(&TimeoutLayer::new(ms(100)).layer(busy), ()).await;
    assert!(!call.is_finished());
    advance(ms(100)).await;
    settle().await;
    assert!(
        call.is_finished(),
        "polled {} times",
        polls.load(Ordering::SeqCst)
    );
    assert_eq!(reason(call.await.unwrap()), Reason::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn the_inner_call_is_dropped_at_the_time_out() {
    let probe = Probe::default();
    let mut service = TimeoutLayer::new(ms(10)).layer(probe.clone());
    let mut call = tokio_test::task::spawn(service.ready().await.unwrap().call(Act::Hang));
    assert!(call.poll().is_pending());
    advance(ms(10)).await;
    assert!(call.is_woken());
    let Poll::Ready(result) = call.poll() else {
        panic!("not over")
    };
    assert_eq!(reason(result), Reason::TimedOut);
    assert_eq!(
        (probe.in_flight(), probe.dropped()),
        (0, 1),
        "now, and not with the future"
    );
    drop(call);
}

#[tokio::test(start_paused = true)]
async fn a_waiting_call_is_not_polled_busily() {
    let polls = Arc::new(AtomicU32::new(0));
    let count = Arc::clone(&polls);
    let mut service = TimeoutLayer::new(secs(60)).layer(service_fn(move |()| {
        let count = Arc::clone(&count);
        poll_fn(move |_| {
            count.fetch_add(1, Ordering::SeqCst);
            Poll::<Result<(), Broken>>::Pending
        })
    }));
    assert_eq!(reason(send(&mut service, ()).await), Reason::TimedOut);
    assert!(polls.load(Ordering::SeqCst) <= 2, "{polls:?}");
}

#[tokio::test(start_paused = true)]
async fn a_limit_may_depend_on_the_request() {
    let limit = |act: &Act| match act {
        Act::OkAfter(time) => Some(*time / 2),
        _ => None,
    };
    for layer in [
        TimeoutLayer::per_request(limit),
        TimeoutLayer::builder().per_request(limit).build().unwrap(),
    ] {
        let mut service = layer.layer(Probe::default());
        for time in [ms(10), secs(10)] {
            let began = Instant::now();
            assert_eq!(
                reason(send(&mut service, Act::OkAfter(time)).await),
                Reason::TimedOut
            );
            assert_eq!(began.elapsed(), time / 2);
        }
        let call = start(&service, Act::Hang).await;
        advance(secs(40 * 24 * 3_600)).await;
        settle().await;
        assert!(!call.is_finished(), "no limit at all");
        call.abort();
    }
}

// --- The deadline

#[tokio::test(start_paused = true)]
async fn the_earlier_of_the_limit_and_the_deadline_counts() {
    for (limit, deadline) in [
        (secs(5), secs(2)),
        (secs(2), secs(5)),
        (Duration::MAX, secs(2)),
    ] {
        let mut service = TimeoutLayer::new(limit).layer(Probe::default());
        let began = Instant::now();
        let context = Context::current().with_timeout(deadline);
        assert_eq!(
            reason(context.scope(send(&mut service, Act::Hang)).await),
            Reason::TimedOut
        );
        assert_eq!(began.elapsed(), secs(2));
    }
    let mut service = TimeoutLayer::per_request(|_: &Act| None).layer(Probe::default());
    let began = Instant::now();
    let context = Context::current().with_timeout(secs(2));
    assert_eq!(
        reason(context.scope(send(&mut service, Act::Hang)).await),
        Reason::TimedOut
    );
    assert_eq!(began.elapsed(), secs(2), "the deadline alone");
}

#[tokio::test(start_paused = true)]
async fn an_inner_layer_gives_the_reason_when_both_end_at_once() {
    let mut service = ServiceBuilder::new()
        .layer(
            TimeoutLayer::builder()
                .name("total")
                .timeout(secs(1))
                .build()
                .unwrap(),
        )
        .layer(
            TimeoutLayer::builder()
                .name("attempt")
                .timeout(secs(5))
                .build()
                .unwrap(),
        )
        .service(Probe::default());
    let rejection = rejected(send(&mut service, Act::Hang).await);
    assert_eq!(
        (rejection.reason(), rejection.name()),
        (Reason::TimedOut, "attempt")
    );
}

#[tokio::test(start_paused = true)]
async fn a_call_whose_deadline_has_passed_is_not_started() {
    let probe = Probe::default();
    let mut service = TimeoutLayer::new(secs(5)).layer(probe.clone());
    let context = Context::current().with_timeout(ms(10));
    advance(ms(10)).await;
    let rejection = rejected(context.scope(send(&mut service, Act::Ok)).await);
    assert_eq!(
        (rejection.reason(), probe.calls()),
        (Reason::DeadlinePassed, 0)
    );
    assert!(rejection.not_sent());
}

#[tokio::test(start_paused = true)]
async fn everything_inside_knows_what_is_left() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let told = Arc::clone(&seen);
    let mut service = ServiceBuilder::new()
        .layer(TimeoutLayer::new(secs(3)))
        .layer(TimeoutLayer::new(secs(10)))
        .service(service_fn(move |()| {
            let called = Context::current().remaining();
            let told = Arc::clone(&told);
            async move {
                tokio::time::sleep(secs(1)).await;
                told.lock()
                    .unwrap()
                    .push((called, Context::current().remaining()));
                Ok::<_, Broken>(())
            }
        }));
    send(&mut service, ()).await.unwrap();
    assert_eq!(*seen.lock().unwrap(), [(Some(secs(3)), Some(secs(2)))]);
    assert_eq!(Context::current().remaining(), None, "and nobody else");
}

#[tokio::test(start_paused = true)]
async fn a_deadline_is_carried_into_a_spawned_task_and_never_lengthened() {
    let context = Context::current()
        .with_timeout(secs(2))
        .with_timeout(secs(60));
    assert_eq!(context.remaining(), Some(secs(2)));
    let left = context
        .clone()
        .scope(async {
            tokio::time::sleep(ms(500)).await;
            mainstay::spawn(async { Context::current().remaining() })
                .await
                .unwrap()
        })
        .await;
    assert_eq!(left, Some(ms(1_500)));
    advance(secs(60)).await;
    assert_eq!(context.remaining(), Some(Duration::ZERO));
}

#[tokio::test(start_paused = true)]
async fn behind_a_buffer_the_deadline_of_the_caller_counts() {
    let probe = Probe::default();
    let buffer = tower::buffer::Buffer::new(TimeoutLayer::new(secs(60)).layer(probe.clone()), 8);
    let mut service = buffer.clone();
    let began = Instant::now();
    let context = Context::current().with_timeout(secs(2));
    let error: BoxError = context
        .scope(send(&mut service, Act::Hang))
        .await
        .unwrap_err();
    assert_eq!(Rejection::find(&*error).unwrap().reason(), Reason::TimedOut);
    assert_eq!((began.elapsed(), probe.dropped()), (secs(2), 1));
}

#[tokio::test(start_paused = true)]
async fn behind_a_buffer_everything_inside_knows_the_deadline_of_the_caller() {
    let inner = service_fn(|()| async {
        tokio::task::yield_now().await;
        Ok::<_, Broken>(Context::current().remaining())
    });
    let mut service = tower::buffer::Buffer::new(TimeoutLayer::new(secs(60)).layer(inner), 8);
    let context = Context::current().with_timeout(secs(2));
    let left = context.scope(send(&mut service, ())).await.unwrap();
    assert_eq!(left, Some(secs(2)));
}

// --- Odd durations

#[tokio::test(start_paused = true)]
async fn zero_is_for_calls_that_are_ready_at_once() {
    let mut service = TimeoutLayer::new(Duration::ZERO).layer(Probe::default());
    assert!(send(&mut service, Act::Ok).await.is_ok());
    let began = Instant::now();
    assert_eq!(
        reason(send(&mut service, Act::Hang).await),
        Reason::TimedOut
    );
    assert!(began.elapsed() <= ms(1), "a timer's grain");
}

#[tokio::test(start_paused = true)]
async fn what_is_too_long_for_the_clock_is_no_limit() {
    for limit in [
        Duration::MAX,
        Duration::from_secs(u64::MAX),
        Duration::from_secs(1 << 62),
    ] {
        let service = TimeoutLayer::new(limit).layer(Probe::default());
        let call = start(&service, Act::OkAfter(secs(400 * 24 * 3_600))).await;
        assert!(call.await.unwrap().is_ok(), "{limit:?}");
        let mut service =
            TimeoutLayer::per_request(move |_: &Act| Some(limit)).layer(Probe::default());
        let context = Context::current().with_timeout(limit);
        assert!(
            context
                .scope(send(&mut service, Act::OkAfter(secs(9))))
                .await
                .is_ok()
        );
    }
}

// --- Whose limit it was

#[tokio::test(start_paused = true)]
async fn a_rejection_says_which_limit_it_was_and_how_long() {
    let layer = TimeoutLayer::builder().name("users").timeout(secs(2));
    let mut service = layer.build().unwrap().layer(Probe::default());
    let own = rejected(send(&mut service, Act::Hang).await);
    assert_eq!(own.time_limit(), Some(TimeLimit::Layer(secs(2))));
    assert_eq!(
        own.to_string(),
        "timeout `users`: the call took longer than the timeout of 2s"
    );

    let caller = Context::current().with_timeout(ms(312));
    let callers = rejected(caller.scope(send(&mut service, Act::Hang)).await);
    assert_eq!(callers.time_limit(), Some(TimeLimit::Deadline(ms(312))));
    assert_eq!(
        callers.to_string(),
        "timeout `users`: the deadline of the request passed after 312ms"
    );
    // What was left of a longer one.
    let context = Context::current().with_timeout(secs(5));
    advance(secs(4)).await;
    let rest = rejected(context.scope(send(&mut service, Act::Hang)).await);
    assert_eq!(rest.time_limit(), Some(TimeLimit::Deadline(secs(1))));

    let late = rejected(
        Context::current()
            .with_timeout(Duration::ZERO)
            .scope(send(&mut service, Act::Ok))
            .await,
    );
    assert_eq!(late.time_limit(), None);
}

#[tokio::test(start_paused = true)]
async fn a_limit_within_another_one_says_whose_it_was() {
    let outer = || TimeoutLayer::builder().name("outer").timeout(secs(2));
    let inner = |limit| TimeoutLayer::builder().name("inner").timeout(limit);
    for (limit, expected) in [
        (secs(1), ("inner", TimeLimit::Layer(secs(1)))),
        (secs(3), ("inner", TimeLimit::Outer(secs(2)))),
    ] {
        let mut service = ServiceBuilder::new()
            .layer(outer().build().unwrap())
            .layer(inner(limit).build().unwrap())
            .service(Probe::default());
        let rejection = rejected(send(&mut service, Act::Hang).await);
        let limit = rejection.time_limit().unwrap();
        assert_eq!((rejection.name(), limit), expected);
    }
}

/// What is left for the inner service, and when the layer ends it.
async fn left<P>(layer: TimeoutLayer<P>) -> (Option<Duration>, Duration)
where
    P: mainstay::timeout::PerRequest<()> + Clone,
{
    let seen = Arc::new(Mutex::new(None));
    let inner = Arc::clone(&seen);
    let mut service = layer.layer(service_fn(move |()| {
        *inner.lock().unwrap() = Context::current().remaining();
        std::future::pending::<Result<(), Broken>>()
    }));
    let began = Instant::now();
    let _ = rejected(service.ready().await.unwrap().call(()).await);
    let left = *seen.lock().unwrap();
    (left, began.elapsed())
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_nobody_set_is_obeyed_but_not_shown() {
    let set = TimeoutLayer::builder().timeout(secs(30)).build().unwrap();
    assert_eq!(left(set).await, (Some(secs(30)), secs(30)));
    let by_request = TimeoutLayer::per_request(|()| Some(secs(3)));
    assert_eq!(left(by_request).await, (Some(secs(3)), secs(3)));
    let default = || TimeoutLayer::builder().build().unwrap();
    assert_eq!(left(default()).await, (None, secs(30)));
    // The caller's deadline is shown whatever the default is, and so is one that is switched off.
    let caller = Context::current().with_timeout(secs(40));
    assert_eq!(
        caller.clone().scope(left(default())).await,
        (Some(secs(40)), secs(30))
    );
    let none = caller.without_deadline();
    assert_eq!(none.remaining(), None);
    assert_eq!(none.scope(left(default())).await, (None, secs(30)));
}

#[tokio::test(start_paused = true)]
async fn a_limit_that_nobody_set_is_obeyed_by_what_is_inside() {
    let inner = TimeoutLayer::builder().name("inner").timeout(secs(40));
    let mut service = ServiceBuilder::new()
        .layer(TimeoutLayer::builder().name("outer").build().unwrap())
        .layer(inner.build().unwrap())
        .service(Probe::default());
    let began = Instant::now();
    let rejection = rejected(send(&mut service, Act::Hang).await);
    assert_eq!(began.elapsed(), secs(30));
    assert_eq!(
        rejection.time_limit(),
        Some(TimeLimit::Outer(secs(30))),
        "{rejection}"
    );
}

// --- The rest

#[tokio::test(start_paused = true)]
async fn a_dropped_call_drops_the_inner_one() {
    let probe = Probe::default();
    let call = start(&TimeoutLayer::new(secs(9)).layer(probe.clone()), Act::Hang).await;
    call.abort();
    settle().await;
    assert_eq!((probe.in_flight(), probe.dropped()), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn the_default_of_the_builder_is_half_a_minute() {
    let mut service = TimeoutLayer::builder()
        .build()
        .unwrap()
        .layer(Probe::default());
    let began = Instant::now();
    let rejection = rejected(send(&mut service, Act::Hang).await);
    assert_eq!((rejection.name(), began.elapsed()), ("default", secs(30)));
}

#[tokio::test(start_paused = true)]
async fn an_observer_is_told_of_each_call_that_is_ended_or_not_begun() {
    let (observer, told) = recorder();
    let layer = TimeoutLayer::builder()
        .timeout(ms(10))
        .observer(observer)
        .build()
        .unwrap();
    let mut service = layer.layer(Probe::default());
    assert!(send(&mut service, Act::Ok).await.is_ok());
    assert_eq!(
        reason(send(&mut service, Act::Hang).await),
        Reason::TimedOut
    );
    let late = Context::current().with_timeout(Duration::ZERO);
    assert_eq!(
        reason(late.scope(send(&mut service, Act::Ok)).await),
        Reason::DeadlinePassed
    );
    let reasons: Vec<_> = told
        .lock()
        .unwrap()
        .iter()
        .map(|event| match event {
            EventKind::Rejected(rejection) => rejection.reason(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(reasons, [Reason::TimedOut, Reason::DeadlinePassed]);
}
