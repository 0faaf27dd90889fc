//! What becomes of a response's body.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context as TaskContext, Poll, Wake, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderMap, Request, Response};
use http_body::{Body, Frame};
use http_body_util::{BodyExt as _, Full, StreamBody};
use mainstay::http::TimedBody;
use mainstay::respond::RejectionBody;
use mainstay::{
    Context, CorrelationId, CorrelationLayer, Event, EventKind, Reason, http as resilient,
};
use tokio::time::{Instant, sleep};
use tower::{Layer as _, Service as _, ServiceBuilder, service_fn};

use super::script::Step::{Block, Data, Fail, Hang, Panic, Trailers, Wait};
use super::script::{HttpTimeout, Script, Seen, Step, behind, body, ended, next, typed};
use crate::support::{ms, recorder, secs, settle};

fn layer() -> HttpTimeout {
    resilient::timeout().body_idle(secs(60)).build().unwrap()
}

/// The same around a client.
fn client_layer() -> HttpTimeout {
    let limit = resilient::timeout().body_idle(secs(60)).for_client();
    limit.build().unwrap()
}

fn whole(limit: Duration) -> HttpTimeout {
    resilient::timeout()
        .timeout(limit)
        .whole_body()
        .build()
        .unwrap()
}

fn is_dropped(seen: &Mutex<Seen>) -> bool {
    seen.lock().unwrap().dropped
}

// --- What is left alone

#[tokio::test(start_paused = true)]
async fn a_body_says_of_itself_what_the_inner_one_says() {
    let layer = layer();
    // A frame that is there at the head, and one that is not.
    let (mut body, _seen) = body(&layer, [Data("a"), Wait(secs(1)), Data("b"), Data("c")]).await;
    for (data, lower) in [("a", 4), ("b", 2), ("c", 1)] {
        assert_eq!(
            (body.size_hint().lower(), body.is_end_stream()),
            (lower, false)
        );
        assert_eq!(next(&mut body).await.unwrap().unwrap(), data);
    }
    assert_eq!(
        (body.size_hint().exact(), body.is_end_stream()),
        (Some(0), true)
    );
    assert!(next(&mut body).await.is_none());

    let (mut body, _seen) = super::script::body(&layer, [Data("ab"), Data("cde"), Hang]).await;
    for lower in [3, 4, 1] {
        // What the inner one says; then what is there, and one for what the inner one still has.
        assert_eq!(
            (body.size_hint().lower(), body.is_end_stream()),
            (lower, false)
        );
        if lower > 1 {
            next(&mut body).await.unwrap().unwrap();
        }
    }
    assert_eq!(body.size_hint().upper(), None);

    let (mut body, _seen) = super::script::body(&layer, [Data("all")]).await;
    assert_eq!((body.size_hint().lower(), body.is_end_stream()), (1, false));
    assert_eq!(next(&mut body).await.unwrap().unwrap(), "all");
    assert!(body.is_end_stream());
    assert!(next(&mut body).await.is_none());

    let (body, seen) = super::script::body(&layer, []).await;
    assert!(body.is_end_stream());
    assert_eq!(seen.lock().unwrap().polls, 0, "there is nothing to ask");
}

#[tokio::test(start_paused = true)]
async fn trailers_and_errors_come_through() {
    let layer = layer();
    let (mut trailed, seen) = body(&layer, [Data("a"), Trailers]).await;
    assert_eq!(next(&mut trailed).await.unwrap().unwrap(), "a");
    assert_eq!(next(&mut trailed).await.unwrap().unwrap(), "{}");
    assert!(is_dropped(&seen) && next(&mut trailed).await.is_none());

    for (steps, frames) in [
        (vec![Fail], 0),
        (vec![Data("a"), Fail], 1),
        (vec![Wait(ms(1)), Fail], 0),
    ] {
        let (mut broken, seen) = body(&layer, steps).await;
        for _ in 0..frames {
            next(&mut broken).await.unwrap().unwrap();
        }
        let error = next(&mut broken).await.unwrap().unwrap_err();
        assert_eq!(error.to_string(), "broken");
        assert!(is_dropped(&seen) && next(&mut broken).await.is_none());
    }
}

#[test]
fn a_body_that_is_ready_needs_neither_a_timer_nor_memory_and_is_gone_at_the_head() {
    // A timer panics in a runtime that has none.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    runtime.block_on(async {
        let layer = layer();
        let (mut once, seen) = body(&layer, [Data("all")]).await;
        assert!(
            is_dropped(&seen),
            "what it held is free before anybody reads"
        );
        assert_eq!(next(&mut once).await.unwrap().unwrap(), "all");
        let (mut unary, seen) = body(&layer, [Data("all"), Trailers]).await;
        assert!(is_dropped(&seen));
        assert_eq!(
            (unary.size_hint().lower(), unary.is_end_stream()),
            (2, false)
        );
        assert_eq!(next(&mut unary).await.unwrap().unwrap(), "all");
        assert_eq!(
            (unary.size_hint().exact(), unary.is_end_stream()),
            (Some(0), false)
        );
        assert_eq!(next(&mut unary).await.unwrap().unwrap(), "{}");
        assert!(unary.is_end_stream());
        let watched = tokio::spawn(async move { body(&layer, vec![Data("a"); 3]).await.0 });
        assert!(watched.await.is_err(), "this one needs it");
    });
    let mut body = Some(Full::new(bytes::Bytes::from_static(b"all")));
    let mut service = tower::Layer::layer(
        &layer(),
        tower::service_fn(move |_: http::Request<()>| {
            let body = body.take().unwrap();
            std::future::ready(Ok::<_, std::convert::Infallible>(Response::new(body)))
        }),
    );
    let request = http::Request::new(());
    let mut cx = TaskContext::from_waker(Waker::noop());
    let counted = allocation_counter::measure(|| {
        let mut call = std::pin::pin!(tower::Service::call(&mut service, request));
        let Poll::Ready(Ok(mut response)) = call.as_mut().poll(&mut cx) else {
            panic!("not ready")
        };
        assert!(Pin::new(response.body_mut()).poll_frame(&mut cx).is_ready());
    });
    assert_eq!(counted.count_total, 0);
}

#[tokio::test(start_paused = true)]
async fn an_upgraded_connection_is_nobodys_business() {
    let (script, seen) = Script::new([Hang]);
    let response = Response::builder().status(101).body(script).unwrap();
    let mut body = behind(&whole(secs(1)), response).await.into_body();
    assert_eq!(seen.lock().unwrap().polls, 0);
    let reading = tokio::spawn(async move { next(&mut body).await });
    sleep(secs(3_600)).await;
    assert!(!reading.is_finished() && !is_dropped(&seen));
    reading.abort();
}

#[test]
fn it_is_made_of_what_a_body_can_be_made_of() {
    let mut body = TimedBody::<Full<bytes::Bytes>>::from_bytes("text".into());
    let mut cx = TaskContext::from_waker(Waker::noop());
    let Poll::Ready(Some(Ok(frame))) = Pin::new(&mut body).poll_frame(&mut cx) else {
        panic!("not ready")
    };
    assert_eq!(frame.into_data().unwrap(), "text");
    assert!(TimedBody::<Full<bytes::Bytes>>::default().is_end_stream());
}

// --- The whole of it

#[tokio::test(start_paused = true)]
async fn by_default_the_limit_ends_at_the_head() {
    let limit = resilient::timeout().timeout(secs(1)).build().unwrap();
    let (mut slow, _seen) = body(
        &limit,
        [Wait(secs(50)), Data("a"), Wait(secs(50)), Data("b")],
    )
    .await;
    assert_eq!(next(&mut slow).await.unwrap().unwrap(), "a");
    assert_eq!(next(&mut slow).await.unwrap().unwrap(), "b");
}

#[tokio::test(start_paused = true)]
async fn the_whole_body_is_ended_when_the_time_is_over() {
    let began = Instant::now();
    let (mut slow, seen) = body(
        &whole(secs(2)),
        [Data("a"), Wait(ms(1_500)), Data("b"), Hang],
    )
    .await;
    assert_eq!(next(&mut slow).await.unwrap().unwrap(), "a");
    assert_eq!(next(&mut slow).await.unwrap().unwrap(), "b");
    assert!(!slow.is_end_stream());
    assert_eq!(ended(next(&mut slow).await), Reason::TimedOut);
    assert_eq!(began.elapsed(), secs(2));
    assert!(is_dropped(&seen));
    assert!(slow.is_end_stream() && next(&mut slow).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn an_ended_body_is_not_at_its_end_before_the_reader_knows() {
    let (mut unread, seen) = body(&whole(secs(2)), [Data("a"), Data("b"), Data("c")]).await;
    assert_eq!(next(&mut unread).await.unwrap().unwrap(), "a");
    sleep(secs(2)).await;
    assert!(is_dropped(&seen), "although nobody asks");
    assert!(!unread.is_end_stream(), "or it would look complete");
    assert_eq!(unread.size_hint().exact(), None);
    assert_eq!(ended(next(&mut unread).await), Reason::TimedOut);
}

#[tokio::test]
async fn a_body_that_keeps_the_thread_to_itself_is_ended_too() {
    // Whoever drives the time has no opportunity here.
    let mut steps = vec![Data("x"), Data("x")];
    for _ in 0..50 {
        steps.extend([Block(ms(40)), Data("x")]);
    }
    let (mut busy, seen) = body(&whole(ms(100)), steps).await;
    let mut cx = TaskContext::from_waker(Waker::noop());
    let mut frames = 0;
    let error = loop {
        match Pin::new(&mut busy).poll_frame(&mut cx) {
            Poll::Ready(Some(Ok(_))) => frames += 1,
            Poll::Ready(Some(Err(error))) => break error,
            other => panic!("{other:?}"),
        }
    };
    assert!(frames <= 4, "{frames}");
    let rejection = mainstay::Rejection::find(&*error).unwrap();
    assert_eq!(rejection.reason(), Reason::TimedOut);
    assert!(is_dropped(&seen) && next(&mut busy).await.is_none());
}

#[test]
fn a_timer_that_fires_while_the_body_is_polled_is_not_lost() {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    let runtime = Arc::new(runtime);
    let layer = resilient::timeout().body_idle(ms(10)).build().unwrap();
    // In the midst of its second poll another thread drives the time.
    let (driver, mut polls) = (Arc::clone(&runtime), 0);
    let frames = futures::stream::poll_fn(move |_| {
        polls += 1;
        if polls == 2 {
            let driver = Arc::clone(&driver);
            let driven = std::thread::spawn(move || driver.block_on(async { sleep(ms(50)).await }));
            driven.join().unwrap();
        }
        Poll::<Option<Result<Frame<Bytes>, Infallible>>>::Pending
    });
    let mut response = Some(Response::new(StreamBody::new(frames)));
    let mut service = layer.layer(service_fn(move |_: Request<()>| {
        let response = response.take().unwrap();
        async move { Ok::<_, Infallible>(response) }
    }));
    let called = runtime.block_on(service.call(Request::new(())));
    let mut body = called.unwrap().into_body();
    let mut cx = TaskContext::from_waker(Waker::noop());
    let Poll::Ready(Some(Err(error))) = Pin::new(&mut body).poll_frame(&mut cx) else {
        panic!("lost: nobody comes again")
    };
    let rejection = mainstay::Rejection::find(&*error).unwrap();
    assert_eq!(rejection.reason(), Reason::TimedOut);
}

#[tokio::test(start_paused = true)]
async fn the_earlier_of_the_limit_and_the_callers_ends_it() {
    let context = Context::current().with_timeout(secs(1));
    let began = Instant::now();
    let (mut slow, _seen) = context.scope(body(&whole(secs(5)), [Hang])).await;
    assert_eq!(ended(next(&mut slow).await), Reason::TimedOut);
    assert_eq!(began.elapsed(), secs(1));
}

#[tokio::test(start_paused = true)]
async fn grpc_is_told_in_trailers() {
    for content_type in [
        "application/grpc",
        "application/grpc+proto",
        "Application/GRPC;x=y",
    ] {
        let (mut stream, _seen) = typed(&whole(secs(1)), content_type, [Data("a"), Hang]).await;
        assert_eq!(next(&mut stream).await.unwrap().unwrap(), "a");
        let frame = stream.frame().await.unwrap().unwrap();
        let trailers = frame.into_trailers().unwrap();
        assert_eq!(trailers["grpc-status"], "4");
        assert_eq!(
            trailers["grpc-message"],
            "the call took longer than the timeout of 1s"
        );
        assert!(stream.is_end_stream() && next(&mut stream).await.is_none());
    }
    let (mut web, _seen) = typed(&whole(secs(1)), "application/grpc-web+proto", [Hang]).await;
    assert_eq!(
        ended(next(&mut web).await),
        Reason::TimedOut,
        "its trailers are in the body"
    );
}

#[tokio::test(start_paused = true)]
async fn a_deadline_of_grpc_is_one_of_the_whole_call() {
    let steps = || [Data("a"), Wait(secs(50)), Data("b"), Hang];
    // A default that nobody set is none: it ends only the wait for the head.
    let (mut stream, _seen) = typed(&layer(), "application/grpc", steps()).await;
    assert_eq!(next(&mut stream).await.unwrap().unwrap(), "a");
    assert_eq!(next(&mut stream).await.unwrap().unwrap(), "b");

    // One that somebody set is.
    let began = Instant::now();
    let own = resilient::timeout().timeout(secs(1)).build().unwrap();
    let (mut stream, seen) = typed(&own, "application/grpc", steps()).await;
    assert_eq!(next(&mut stream).await.unwrap().unwrap(), "a");
    let frame = stream.frame().await.unwrap().unwrap();
    let trailers = frame.into_trailers().unwrap();
    assert_eq!(trailers["grpc-status"], "4");
    assert_eq!(
        trailers["grpc-message"],
        "the call took longer than the timeout of 1s"
    );
    assert_eq!(began.elapsed(), secs(1));
    assert!(is_dropped(&seen) && next(&mut stream).await.is_none());

    let began = Instant::now();
    let layer = layer();
    let callers = || Context::current().with_timeout(secs(3));
    let call = typed(&layer, "application/grpc", steps());
    let (mut stream, seen) = callers().scope(call).await;
    assert_eq!(next(&mut stream).await.unwrap().unwrap(), "a");
    let frame = stream.frame().await.unwrap().unwrap();
    assert_eq!(frame.into_trailers().unwrap()["grpc-status"], "4");
    assert_eq!(began.elapsed(), secs(3));
    assert!(is_dropped(&seen));

    let call = typed(&layer, "text/plain", steps());
    let (mut plain, _seen) = callers().scope(call).await;
    assert_eq!(next(&mut plain).await.unwrap().unwrap(), "a");
    assert_eq!(next(&mut plain).await.unwrap().unwrap(), "b");
}

// --- Standing still

#[tokio::test(start_paused = true)]
async fn by_default_a_body_may_stand_still_for_two_minutes() {
    let began = Instant::now();
    let (mut stuck, _seen) = body(&resilient::timeout().build().unwrap(), [Hang]).await;
    let error = next(&mut stuck).await.unwrap().unwrap_err();
    assert_eq!(began.elapsed(), secs(120));
    assert_eq!(
        error.to_string(),
        "timeout `default`: the body made no progress for 120s"
    );
}

/// Reads a large body piece by piece, as a wire does that takes so long for each. How many pieces there were, and how many bytes.
async fn slowly(layer: &HttpTimeout, frames: &[usize], each: Duration) -> (usize, usize) {
    let large = |size: &usize| Ok::<_, Infallible>(Frame::data(Bytes::from(vec![7; *size])));
    let frames: Vec<_> = frames.iter().map(large).collect();
    let mut response = Some(Response::new(StreamBody::new(futures::stream::iter(
        frames,
    ))));
    let mut service = layer.layer(service_fn(move |_: Request<()>| {
        let response = response.take().unwrap();
        async move { Ok::<_, Infallible>(response) }
    }));
    let mut body = service.call(Request::new(())).await.unwrap().into_body();
    let (mut pieces, mut bytes) = (0, 0);
    while let Some(frame) = body.frame().await {
        let data = frame.expect("it is not ended").into_data().unwrap();
        assert!(data.iter().all(|byte| *byte == 7));
        (pieces, bytes) = (pieces + 1, bytes + data.len());
        sleep(each * data.len() as u32 / 65_536).await;
    }
    assert!(body.is_end_stream());
    (pieces, bytes)
}

#[tokio::test(start_paused = true)]
async fn large_frames_go_over_a_slow_wire_in_pieces() {
    const LARGE: usize = 8 << 20;
    // Each frame takes 128 times as long as a piece: longer than the limit, which none of the pieces is.
    let frames = [LARGE, LARGE + 1, 10, LARGE];
    let (pieces, bytes) = slowly(&layer(), &frames, ms(600)).await;
    assert_eq!((pieces, bytes), (128 + 129 + 1 + 128, 3 * LARGE + 11));
    // A client's reader gets them as they come, and takes its time.
    let (pieces, bytes) = slowly(&client_layer(), &frames, ms(600)).await;
    assert_eq!((pieces, bytes), (4, 3 * LARGE + 11));
}

#[tokio::test(start_paused = true)]
async fn a_wire_that_takes_none_of_the_pieces_is_ended() {
    let large = || Ok::<_, Infallible>(Frame::data(Bytes::from(vec![7; 1 << 20])));
    let frames = StreamBody::new(futures::stream::iter([large(), large(), large()]));
    let mut response = Some(Response::new(frames));
    let mut service = layer().layer(service_fn(move |_: Request<()>| {
        let response = response.take().unwrap();
        async move { Ok::<_, Infallible>(response) }
    }));
    let mut body = service.call(Request::new(())).await.unwrap().into_body();
    body.frame().await.unwrap().unwrap();
    assert_eq!(body.size_hint().lower(), (2 << 20) - 65_536);
    sleep(secs(59)).await;
    body.frame().await.unwrap().unwrap();
    sleep(secs(61)).await;
    assert!(body.frame().await.unwrap().is_err() && body.is_end_stream());
}

#[tokio::test(start_paused = true)]
async fn a_clients_reader_may_take_as_long_as_it_likes() {
    for content_type in ["text/plain", "text/event-stream", "application/grpc"] {
        let steps = || [Data("a"), Data("b"), Data("c"), Wait(secs(50)), Data("d")];
        let (mut slow, seen) = typed(&client_layer(), content_type, steps()).await;
        for expected in ["a", "b", "c", "d"] {
            assert_eq!(next(&mut slow).await.unwrap().unwrap(), expected);
            sleep(secs(600)).await;
        }
        assert!(next(&mut slow).await.is_none());
        drop(slow);
        assert!(is_dropped(&seen));
    }
}

#[tokio::test(start_paused = true)]
async fn a_clients_reader_that_is_elsewhere_after_it_asked_loses_nothing() {
    // It asks once, and then does something else: the other branch of a `select!`.
    let (mut slow, seen) = body(&client_layer(), [Wait(secs(70)), Data("a"), Hang]).await;
    let count = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&count));
    let mut cx = TaskContext::from_waker(&waker);
    assert!(Pin::new(&mut slow).poll_frame(&mut cx).is_pending());
    sleep(secs(65)).await;
    // Nothing has come until here, but it was not waiting.
    assert!(Pin::new(&mut slow).poll_frame(&mut cx).is_pending());
    sleep(secs(600)).await;
    assert!(!is_dropped(&seen));
    assert_eq!(next(&mut slow).await.unwrap().unwrap(), "a");
    // Now it waits.
    let began = Instant::now();
    assert_eq!(ended(next(&mut slow).await), Reason::TimedOut);
    assert_eq!(began.elapsed(), secs(60));
    assert!(is_dropped(&seen));
}

#[tokio::test(start_paused = true)]
async fn a_clients_reader_that_comes_back_at_any_moment_loses_nothing() {
    let (mut slow, _seen) = body(&client_layer(), [Wait(secs(170)), Data("a")]).await;
    let mut cx = TaskContext::from_waker(Waker::noop());
    assert!(Pin::new(&mut slow).poll_frame(&mut cx).is_pending());
    // The timer fires every 60 seconds, but only the first time was somebody asked.
    sleep(ms(120_500)).await;
    assert_eq!(next(&mut slow).await.unwrap().unwrap(), "a");
}

#[tokio::test(start_paused = true)]
async fn a_clients_source_that_gives_nothing_is_ended() {
    let began = Instant::now();
    let steps = [Wait(secs(59)), Data("a"), Wait(secs(59)), Data("b"), Hang];
    let (mut stuck, seen) = body(&client_layer(), steps).await;
    assert_eq!(next(&mut stuck).await.unwrap().unwrap(), "a");
    assert_eq!(next(&mut stuck).await.unwrap().unwrap(), "b");
    assert_eq!(ended(next(&mut stuck).await), Reason::TimedOut);
    assert_eq!(began.elapsed(), secs(59 + 59 + 60));
    assert!(is_dropped(&seen) && next(&mut stuck).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn a_source_that_gives_nothing_is_ended() {
    let began = Instant::now();
    let (mut stuck, seen) = body(
        &layer(),
        [Wait(secs(59)), Data("a"), Wait(secs(59)), Data("b"), Hang],
    )
    .await;
    assert_eq!(next(&mut stuck).await.unwrap().unwrap(), "a");
    assert_eq!(next(&mut stuck).await.unwrap().unwrap(), "b");
    assert_eq!(ended(next(&mut stuck).await), Reason::TimedOut);
    assert_eq!(began.elapsed(), secs(59 + 59 + 60));
    assert!(is_dropped(&seen));
}

#[tokio::test(start_paused = true)]
async fn a_body_that_nobody_reads_is_ended() {
    for content_type in ["text/plain", "text/event-stream", "application/grpc"] {
        for steps in [
            vec![Data("a"), Data("b"), Hang],
            vec![Hang],
            vec![Wait(ms(5)), Data("a")],
        ] {
            for read in [0, 1] {
                let (mut unread, seen) = typed(&layer(), content_type, steps.clone()).await;
                if read == 1 && steps.len() == 3 {
                    next(&mut unread).await.unwrap().unwrap();
                }
                sleep(ms(59_999)).await;
                assert!(!is_dropped(&seen), "{content_type} {steps:?}");
                sleep(ms(2)).await;
                assert!(is_dropped(&seen), "{content_type} {steps:?}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_of_events_may_be_silent_while_somebody_reads() {
    for content_type in ["text/event-stream; charset=utf-8", "application/grpc"] {
        let events = [Wait(secs(3_600)), Data("a"), Wait(secs(7_200)), Data("b")];
        let (mut events, _seen) = typed(&layer(), content_type, events).await;
        assert_eq!(next(&mut events).await.unwrap().unwrap(), "a");
        assert_eq!(next(&mut events).await.unwrap().unwrap(), "b");
        assert!(next(&mut events).await.is_none());
    }
}

#[derive(Default)]
struct Count(AtomicU32);
impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_does_not_come_when_it_is_asked_is_gone() {
    let (mut events, seen) = typed(&layer(), "text/event-stream", [Hang]).await;
    let count = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&count));
    let mut cx = TaskContext::from_waker(&waker);
    for minute in 1..=5 {
        assert!(Pin::new(&mut events).poll_frame(&mut cx).is_pending());
        sleep(secs(61)).await;
        assert_eq!(
            count.0.load(Ordering::SeqCst),
            minute,
            "asked once a minute"
        );
        assert!(!is_dropped(&seen));
    }
    sleep(secs(60)).await;
    assert!(is_dropped(&seen));
    let Poll::Ready(Some(Err(_))) = Pin::new(&mut events).poll_frame(&mut cx) else {
        panic!("not ended")
    };
}

#[tokio::test(start_paused = true)]
async fn a_waiting_reader_is_woken_once_by_the_end() {
    let (mut stuck, _seen) = body(&layer(), [Hang]).await;
    let count = Arc::new(Count::default());
    let waker = Waker::from(Arc::clone(&count));
    let mut cx = TaskContext::from_waker(&waker);
    assert!(Pin::new(&mut stuck).poll_frame(&mut cx).is_pending());
    sleep(secs(600)).await;
    assert_eq!(count.0.load(Ordering::SeqCst), 1);
}

#[tokio::test(start_paused = true)]
async fn frames_that_keep_coming_keep_it_alive() {
    let idle = resilient::timeout().body_idle(ms(100)).build().unwrap();
    let mut steps = Vec::new();
    for _ in 0..50 {
        steps.extend([Wait(ms(99)), Data("x")]);
    }
    let (mut steady, _seen) = body(&idle, steps).await;
    for _ in 0..50 {
        next(&mut steady).await.unwrap().unwrap();
    }
    assert!(next(&mut steady).await.is_none());
}

#[tokio::test(start_paused = true)]
async fn without_the_limit_it_may_stand_still() {
    let layer = resilient::timeout().without_body_idle().build().unwrap();
    let (mut stuck, seen) = body(&layer, [Wait(secs(86_400)), Data("a")]).await;
    assert_eq!(seen.lock().unwrap().polls, 0);
    assert_eq!(next(&mut stuck).await.unwrap().unwrap(), "a");
}

// --- Who knows, and what is left behind

#[tokio::test(start_paused = true)]
async fn the_deadline_is_known_to_a_body_and_to_its_drop() {
    // Read to its end; given up; ended by the limit while nobody reads.
    for how in ["read", "given up", "ended"] {
        let (mut slow, seen) = body(
            &whole(secs(10)),
            [
                Data("a"),
                Wait(secs(1)),
                Data("b"),
                Wait(secs(1)),
                Data("c"),
            ],
        )
        .await;
        next(&mut slow).await.unwrap().unwrap();
        next(&mut slow).await.unwrap().unwrap();
        match how {
            "read" => drop(next(&mut slow).await),
            "given up" => drop(slow),
            _ => sleep(secs(60)).await,
        }
        let seen = seen.lock().unwrap();
        let last = match how {
            "read" => secs(8),
            "given up" => secs(9),
            _ => Duration::ZERO,
        };
        assert!(seen.dropped && seen.left.len() >= 4, "{how}: {seen:?}");
        assert_eq!(seen.left.first(), Some(&Some(secs(10))), "{how}");
        assert_eq!(seen.left.last(), Some(&Some(last)), "{how}");
        assert!(seen.left.iter().all(Option::is_some), "{how}");
    }
    assert_eq!(Context::current().remaining(), None);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_the_time_ends_is_dropped_within_the_context_of_its_request() {
    struct Tells<B>(B, mpsc::Sender<Option<CorrelationId>>);

    impl<B> Drop for Tells<B> {
        fn drop(&mut self) {
            let id = Context::current().correlation_id().cloned();
            self.1.send(id).unwrap();
        }
    }

    impl<B: Body + Unpin> Body for Tells<B> {
        type Data = B::Data;
        type Error = B::Error;

        fn poll_frame(mut self: Pin<&mut Self>, cx: &mut TaskContext<'_>) -> Polled<B> {
            Pin::new(&mut self.0).poll_frame(cx)
        }
    }

    type Polled<B> = Poll<Option<Result<Frame<<B as Body>::Data>, <B as Body>::Error>>>;

    let (sender, told) = mpsc::channel();
    let heard = sender.clone();
    let limit = resilient::timeout().body_idle(secs(60));
    let limit = limit.observer(move |_: &Event| {
        let id = Context::current().correlation_id().cloned();
        heard.send(id).unwrap();
    });
    let mut service = ServiceBuilder::new()
        .layer(CorrelationLayer::server())
        .layer(limit.build().unwrap())
        .service_fn(|_: Request<()>| {
            let body = Tells(Script::new([Hang]).0, sender.clone());
            async move { Ok::<_, Infallible>(Response::new(body)) }
        });
    let request = Request::builder().header("x-correlation-id", "order-4711");
    let response = service.call(request.body(()).unwrap()).await.unwrap();
    sleep(secs(61)).await;
    let told: Vec<_> = told.try_iter().collect();
    assert_eq!(
        told,
        [
            Some("order-4711".parse().unwrap()),
            Some("order-4711".parse().unwrap())
        ]
    );
    drop(response);
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_gone_at_the_head_was_dropped_within_its_deadline() {
    let (read, seen) = body(&whole(secs(10)), [Data("a")]).await;
    let seen = seen.lock().unwrap();
    assert!(seen.dropped);
    assert_eq!(seen.left, [Some(secs(10)); 2]);
    drop(read);
}

#[tokio::test(start_paused = true)]
async fn trailers_are_the_end_of_a_body_that_does_not_say_so_itself() {
    let held = Arc::new(());
    let holds = Arc::clone(&held);
    let frames = [Frame::data(Bytes::new()), Frame::trailers(HeaderMap::new())];
    let frames = futures::stream::iter(frames).map(move |frame| {
        let _ = &holds;
        Ok::<_, Infallible>(frame)
    });
    let mut response = Some(Response::new(StreamBody::new(frames)));
    let mut service = layer().layer(service_fn(move |_: Request<()>| {
        let response = response.take().unwrap();
        async move { Ok::<_, Infallible>(response) }
    }));
    let response = service.call(Request::new(())).await.unwrap();
    assert_eq!(Arc::strong_count(&held), 1, "gone at the head");
    let trailers = response.into_body().collect().await.unwrap();
    assert!(trailers.trailers().is_some());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_is_not_limited_knows_what_its_caller_asked_for_and_no_more() {
    let limit = resilient::timeout().timeout(secs(5)).build().unwrap();
    let steps = || [Wait(ms(1)), Data("a"), Hang];
    let (mut own, seen) = body(&limit, steps()).await;
    next(&mut own).await.unwrap().unwrap();
    assert!(
        seen.lock().unwrap().left.iter().all(Option::is_none),
        "the limit is the head's"
    );
    let context = Context::current().with_timeout(secs(60));
    let (mut asked, seen) = context.scope(body(&limit, steps())).await;
    next(&mut asked).await.unwrap().unwrap();
    assert_eq!(seen.lock().unwrap().left[0], Some(secs(60)));
    assert!(seen.lock().unwrap().left.iter().all(Option::is_some));
}

#[tokio::test(start_paused = true)]
async fn the_deadline_of_whoever_waits_for_the_head_holds_for_the_body() {
    let whole = resilient::timeout().timeout(secs(300)).whole_body();
    for layer in [layer(), whole.without_body_idle().build().unwrap()] {
        let (script, seen) = Script::new([Wait(ms(1)), Data("a"), Hang]);
        let mut response = Some(Response::new(script));
        let mut service = layer.layer(service_fn(move |_: Request<()>| {
            let response = response.take().unwrap();
            async move { Ok::<_, Infallible>(response) }
        }));
        // As behind a buffer, which calls from a task of its own.
        let call = service.call(Request::new(()));
        let context = Context::current().with_timeout(secs(60));
        let began = Instant::now();
        let mut asked = context.scope(call).await.unwrap().into_body();
        next(&mut asked).await.unwrap().unwrap();
        assert!(seen.lock().unwrap().left.iter().all(Option::is_some));
        assert_eq!(ended(next(&mut asked).await), Reason::TimedOut);
        assert!(began.elapsed() <= secs(61));
    }
}

#[tokio::test(start_paused = true)]
async fn an_observer_hears_of_each_body_that_is_ended() {
    let (observer, told) = recorder();
    let layer = resilient::timeout().observer(observer).build().unwrap();
    let (_unread, _) = body(&layer, [Hang]).await;
    let (mut read, _) = body(&layer, [Hang]).await;
    assert_eq!(ended(next(&mut read).await), Reason::TimedOut);
    let reasons: Vec<_> = told
        .lock()
        .unwrap()
        .iter()
        .map(|event| match event {
            EventKind::Rejected(rejection) => rejection.reason(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(reasons, [Reason::TimedOut; 2]);
}

#[tokio::test(start_paused = true)]
async fn a_panic_harms_nobody_else() {
    let layer = layer();
    // In its drop, in the thread that drives the time.
    let (script, seen) = Script::new([Hang]);
    let script = Response::new(script.panics_in_drop());
    let mut worse = behind(&layer, script).await.into_body();
    let (mut other, _) = body(&layer, [Hang]).await;
    let worse = tokio::spawn(async move { next(&mut worse).await });
    let other = next(&mut other).await;
    assert!(is_dropped(&seen));
    let woken = tokio::time::timeout(secs(1), worse).await.expect("woken");
    assert_eq!(ended(woken.unwrap()), Reason::TimedOut);
    assert_eq!(ended(other), Reason::TimedOut);
    // While it is polled.
    let (mut bad, seen) = body(&layer, [Data("a"), Data("b"), Panic]).await;
    next(&mut bad).await.unwrap().unwrap();
    next(&mut bad).await.unwrap().unwrap();
    let (caught, mut bad) = tokio::spawn(async move {
        let polled = futures::FutureExt::catch_unwind(std::panic::AssertUnwindSafe(next(&mut bad)));
        (polled.await.is_err(), bad)
    })
    .await
    .unwrap();
    assert!(caught && is_dropped(&seen));
    assert!(next(&mut bad).await.is_none());
    sleep(secs(600)).await;
}

#[tokio::test(start_paused = true)]
async fn a_reader_that_leaves_takes_everything_with_it() {
    // A body whose waker is a task that owns the body: nothing may hold on to it in a circle.
    let held = Arc::new(());
    let inside = Arc::clone(&held);
    let (mut stuck, seen) = body(&layer(), [Data("a"), Hang]).await;
    let task = tokio::spawn(async move {
        let _held = inside;
        next(&mut stuck).await.unwrap().unwrap();
        next(&mut stuck).await
    });
    settle().await;
    assert_eq!(Arc::strong_count(&held), 2);
    task.abort();
    settle().await;
    assert!(is_dropped(&seen));
    assert_eq!(Arc::strong_count(&held), 1);
}

/// Polls from one thread while the time runs out in another, many times.
#[test]
fn reader_and_timer_may_meet() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let layer = resilient::timeout().body_idle(ms(1)).build().unwrap();
        let mut tasks = Vec::new();
        for n in 0..200 {
            let layer = layer.clone();
            tasks.push(tokio::spawn(async move {
                let content_type = ["text/plain", "text/event-stream"][n % 2];
                let wait = Duration::from_micros(700 + 10 * (n as u64 % 60));
                let mut steps: Vec<Step> = Vec::new();
                for _ in 0..20 {
                    steps.extend([Wait(wait), Data("x")]);
                }
                steps.push(Hang);
                let (mut body, seen) = typed(&layer, content_type, steps).await;
                let mut frames = 0;
                loop {
                    let frame = tokio::time::timeout(ms(2 + n as u64 % 3), next(&mut body)).await;
                    match frame {
                        Ok(Some(Ok(_))) => frames += 1,
                        Ok(Some(Err(_))) | Ok(None) => break,
                        // Not read for a while.
                        Err(_) => std::thread::yield_now(),
                    }
                    if n % 2 == 1 && frames >= 5 {
                        break;
                    }
                }
                drop(body);
                assert!(is_dropped(&seen));
            }));
        }
        for task in tasks {
            tokio::time::timeout(secs(10), task)
                .await
                .expect("all end")
                .unwrap();
        }
    });
}

#[tokio::test(start_paused = true)]
async fn a_runtime_may_end_before_the_body_does() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    let (handed, seen) = runtime
        .spawn(async { body(&layer(), [Data("a"), Hang]).await })
        .await
        .unwrap();
    runtime.shutdown_background();
    settle().await;
    assert!(!is_dropped(&seen));
    drop(handed);
    assert!(is_dropped(&seen));
}
