//! `mainstay::testing`: the controlled service, and the probe.

use std::cell::Cell;
use std::rc::Rc;
use std::task::Poll;

use futures::FutureExt as _;
use mainstay::testing::{self, Probe};
use tower::{Service, ServiceExt as _, service_fn};

use crate::support::{Act, Broken, Probe as Acting, send, send_caught, settle};

/// How the calls of a probe ended, and how many are in flight.
fn books<S>(probe: &Probe<S>) -> [u32; 4] {
    let ended = [probe.completed(), probe.dropped(), probe.panicked()];
    assert_eq!(
        ended.iter().sum::<u32>() + probe.in_flight(),
        probe.calls(),
        "the counts balance"
    );
    [ended[0], ended[1], ended[2], probe.in_flight()]
}

#[tokio::test(start_paused = true)]
async fn every_end_of_a_call_is_counted_once() {
    let probe = Acting::default();
    let mut service = probe.clone();
    assert_eq!(probe.clones(), 1);

    assert_eq!(send(&mut service, Act::Ok).await, Ok(1));
    assert_eq!(send(&mut service, Act::Fail).await, Err(Broken));
    assert_eq!(books(&probe), [2, 0, 0, 0]);

    let hung = service.ready().await.unwrap().call(Act::Hang);
    assert_eq!(books(&probe), [2, 0, 0, 1]);
    drop(hung);
    assert_eq!(books(&probe), [2, 1, 0, 0], "never polled, and dropped");

    assert!(send_caught(&service, Act::Panic).await.is_err());
    assert!(send_caught(&service, Act::PanicInCall).await.is_err());
    assert_eq!(books(&probe), [2, 1, 2, 0]);
    assert_eq!((probe.polls(), probe.readiness_polls()), (3, 5));
    assert_eq!((probe.max_in_flight(), probe.unready_calls()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn readiness_is_for_one_call_of_one_clone() {
    let probe = Acting::default();
    let mut service = probe.clone();
    service.ready().await.unwrap();
    drop(service.clone().call(Act::Ok));
    assert_eq!(probe.unready_calls(), 1, "a clone is not ready");
    drop(service.call(Act::Ok));
    assert_eq!(probe.unready_calls(), 1);
    drop(service.call(Act::Ok));
    assert_eq!(probe.unready_calls(), 2, "nor is it after its call");
}

#[tokio::test(start_paused = true)]
async fn what_is_not_ready_waits_until_it_is() {
    let probe = Acting::default();
    probe.set_ready(false);
    let waiting = tokio::spawn(probe.clone().oneshot(Act::Ok));
    let other = tokio::spawn(probe.clone().oneshot(Act::Ok));
    settle().await;
    assert_eq!((probe.readiness_polls(), probe.calls()), (2, 0));
    probe.set_ready(true);
    assert!(waiting.await.unwrap().is_ok() && other.await.unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn calls_are_answered_by_the_test_in_any_order() {
    let (service, mut calls) = testing::controlled::<u32, String, Broken>();
    assert!(calls.try_next().is_none());
    let mut answers: Vec<_> = (0..5)
        .map(|n| tokio::spawn(service.clone().oneshot(n)))
        .collect();
    settle().await;
    let mut held: Vec<_> = std::iter::from_fn(|| calls.try_next()).collect();
    assert_eq!(service.in_flight(), 5);

    let last = held.pop().unwrap();
    assert_eq!(last.request(), &4);
    last.panic("no disk");
    held.pop().unwrap().answer_with(|n| Ok(n.to_string()));
    held.pop().unwrap().fail(Broken);
    held.pop().unwrap().respond("one".into());

    let panicked = answers.pop().unwrap().await.unwrap_err().into_panic();
    assert_eq!(panicked.downcast_ref::<String>().unwrap(), "no disk");
    assert_eq!(answers.pop().unwrap().await.unwrap(), Ok("3".into()));
    assert_eq!(answers.pop().unwrap().await.unwrap(), Err(Broken));
    assert_eq!(answers.pop().unwrap().await.unwrap(), Ok("one".into()));
    assert_eq!(books(&service), [3, 0, 1, 1]);

    let mut first = held.pop().unwrap();
    assert!(!first.is_cancelled());
    answers.pop().unwrap().abort();
    first.cancelled().await;
    assert!(first.is_cancelled());
    first.respond("too late".into());
    assert_eq!(books(&service), [3, 1, 1, 0]);
}

#[tokio::test(start_paused = true)]
async fn answers_and_errors_of_readiness_can_be_queued() {
    let (mut service, mut calls) = testing::controlled::<(), u32, Broken>();
    calls.answer_next(Err(Broken));
    calls.answer_next(Ok(1));
    calls.fail_readiness(Broken);
    assert!(service.ready().await.is_err());
    assert_eq!(send(&mut service, ()).await, Err(Broken));
    assert_eq!(send(&mut service, ()).await, Ok(1));
    assert!(calls.try_next().is_none(), "they are answered already");
    let third = service.ready().await.unwrap().call(());
    calls.next().await.respond(3);
    assert_eq!(third.await, Ok(3));
}

#[tokio::test(start_paused = true)]
async fn a_mistake_of_the_test_says_what_it_is() {
    fn message(panic: &(dyn std::any::Any + Send)) -> &str {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| panic.downcast_ref::<&str>().copied())
            .unwrap()
    }
    let (service, mut calls) = testing::controlled::<(), (), Broken>();
    let forgotten = tokio::spawn(service.clone().oneshot(()));
    drop(calls.next().await);
    let panic = forgotten.await.unwrap_err().into_panic();
    assert!(message(&*panic).contains("dropped a `Call` without an answer"));

    drop(calls);
    let panic = send_caught(&service, ()).await.unwrap_err();
    assert!(message(&*panic).contains("after its `Calls` had been dropped"));

    let (service, mut calls) = testing::controlled::<(), (), Broken>();
    drop(service);
    let next = std::panic::AssertUnwindSafe(async { drop(calls.next().await) });
    let panic = next.catch_unwind().await.unwrap_err();
    assert!(message(&*panic).contains("no call will come"));
}

/// Requests, responses and errors may be of any type, and a probe of a service that cannot be sent works, too.
#[tokio::test(start_paused = true)]
async fn it_needs_no_bounds() {
    struct Single;
    let (mut service, mut calls) = testing::controlled::<Rc<Single>, Cell<u32>, Single>();
    let mut call = service.ready().await.ok().unwrap().call(Rc::new(Single));
    assert!(matches!(futures::poll!(&mut call), Poll::Pending));
    calls.next().await.fail(Single);
    assert!(call.await.is_err());

    let count = Rc::new(Cell::new(0));
    let mut probe = Probe::new(service_fn(|n: u32| {
        count.set(n);
        async { Ok::<_, Single>(Rc::clone(&count)) }
    }));
    assert_eq!(send(&mut probe, 7).await.ok().unwrap().get(), 7);
    assert_eq!(books(&probe), [1, 0, 0, 0]);
}
