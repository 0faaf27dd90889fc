//! Wake-ups, panics, and attempts that begin while the source is polled.

use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use http_body::{Body, Frame};

use super::{data, poll};
use crate::policy::retry::RetryRefused;
use crate::protocol::http::replay::streams::reader::{Polled, Reader};
use crate::protocol::http::replay::streams::superseded::CutOff;
use crate::protocol::http::replay::streams::tape::Tape;
use crate::vocabulary::error::BoxError;

/// A body made of a closure, with an error of any type.
struct From<F, E>(F, std::marker::PhantomData<fn() -> E>);

fn from<F, E>(poll: F) -> From<F, E>
where
    F: FnMut(&mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, E>>> + Unpin,
{
    From(poll, std::marker::PhantomData)
}

impl<F, E> Body for From<F, E>
where
    F: FnMut(&mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, E>>> + Unpin,
{
    type Data = Bytes;
    type Error = E;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, E>>> {
        (self.0)(cx)
    }
}

#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

fn counted() -> (Arc<Count>, Waker) {
    let count = Arc::new(Count::default());
    (Arc::clone(&count), Waker::from(count))
}

#[test]
fn a_waiting_reader_is_woken_when_it_is_superseded() {
    let (mut tape, mut first) = Tape::new(from::<_, BoxError>(|_| Poll::Pending), 100);
    let (count, waker) = counted();
    assert!(poll(&mut first, &waker).is_pending());
    let _second = tape.again().unwrap();
    assert_eq!(count.0.load(Ordering::SeqCst), 1);
    assert!(matches!(
        poll(&mut first, &waker),
        Poll::Ready(Some(Err(_)))
    ));
    assert!(matches!(poll(&mut first, &waker), Poll::Ready(None)));
}

type Shared<T> = Arc<Mutex<Option<T>>>;

#[test]
fn an_attempt_that_begins_while_the_source_is_polled_reads_every_frame() {
    type Source = Pin<Box<dyn Body<Data = Bytes, Error = BoxError> + Send>>;
    type Begins = (Tape<Source>, Shared<Reader<Source>>, Arc<Count>);
    let begins: Shared<Begins> = Shared::default();
    let of_source = Arc::clone(&begins);
    let mut frames = vec!["b", "a"];
    let source: Source = Box::pin(from(move |_| {
        // During the first attempt's poll.
        if let Some((mut tape, second, count)) = of_source.lock().unwrap().take() {
            let mut reader = tape.again().unwrap();
            assert!(poll(&mut reader, &Waker::from(Arc::clone(&count))).is_pending());
            assert_eq!(reader.size_hint().lower(), 0);
            assert!(!reader.is_end_stream());
            *second.lock().unwrap() = Some(reader);
            // The drop of the tape stops the recording.
        }
        let frame = frames.pop().map(|text| Ok(Frame::data(Bytes::from(text))));
        Poll::Ready(frame)
    }));
    let (tape, mut first) = Tape::new(source, 100);
    let (count, _) = counted();
    let second = Shared::default();
    *begins.lock().unwrap() = Some((tape, Arc::clone(&second), Arc::clone(&count)));
    assert!(matches!(
        poll(&mut first, Waker::noop()),
        Poll::Ready(Some(Err(_)))
    ));
    assert_eq!(count.0.load(Ordering::SeqCst), 1, "the source is back");
    let mut second = second.lock().unwrap().take().unwrap();
    for text in ["a", "b"] {
        let Poll::Ready(Some(Ok(frame))) = poll(&mut second, Waker::noop()) else {
            panic!("no {text}");
        };
        assert_eq!(frame.into_data().unwrap(), text);
    }
    assert!(matches!(
        poll(&mut second, Waker::noop()),
        Poll::Ready(None)
    ));
}

/// The sizes of the frames up to the end or an error, and whether the body ended.
fn read<B: Body<Data = Bytes> + Unpin>(mut body: B) -> (Vec<usize>, bool) {
    let mut sizes = Vec::new();
    loop {
        match poll(&mut body, Waker::noop()) {
            Poll::Pending => std::thread::yield_now(),
            Poll::Ready(Some(Ok(frame))) => sizes.push(frame.into_data().unwrap().len()),
            Poll::Ready(Some(Err(_))) => return (sizes, false),
            Poll::Ready(None) => return (sizes, true),
        }
    }
}

#[test]
fn attempts_on_several_threads_each_read_the_same() {
    const FRAMES: usize = 40;
    for _ in 0..50 {
        let mut number = 0;
        let source = from::<_, BoxError>(move |cx| {
            std::thread::yield_now();
            number += 1;
            match number {
                _ if number % 3 == 0 => {
                    cx.waker().wake_by_ref();
                    Poll::Pending
                }
                1..=FRAMES => Poll::Ready(Some(Ok(Frame::data(data(number))))),
                _ => Poll::Ready(None),
            }
        });
        let (mut tape, first) = Tape::new(source, usize::MAX);
        let all: Vec<_> = (1..=FRAMES).filter(|number| number % 3 != 0).collect();
        std::thread::scope(|scope| {
            let mut attempts = vec![scope.spawn(|| read(first))];
            for _ in 0..3 {
                std::thread::yield_now();
                let reader = tape.again().unwrap();
                attempts.push(scope.spawn(|| read(reader)));
            }
            let last = attempts.pop().unwrap();
            assert_eq!(last.join().unwrap(), (all.clone(), true));
            for attempt in attempts {
                let (sizes, _) = attempt.join().unwrap();
                assert_eq!(sizes, all[..sizes.len()]);
            }
        });
    }
}

#[test]
fn a_source_that_panics_leaves_no_lock_locked() {
    let (mut tape, mut reader) = Tape::new(from::<_, BoxError>(|_| panic!("by the test")), 100);
    let polled = AssertUnwindSafe(|| poll(&mut reader, Waker::noop()).is_ready());
    catch_unwind(polled).unwrap_err();
    assert_eq!(tape.again().err(), Some(RetryRefused::Body));
    assert!(poll(&mut reader, Waker::noop()).is_ready());
    assert!(!reader.is_end_stream());
}

#[test]
fn a_source_that_panics_in_an_earlier_attempt_does_not_complete_the_next_one() {
    type Source = Pin<Box<dyn Body<Data = Bytes, Error = BoxError> + Send>>;
    let begins: Shared<(Tape<Source>, Shared<Reader<Source>>)> = Shared::default();
    let of_source = Arc::clone(&begins);
    let source: Source = Box::pin(from(move |_| {
        let Some((mut tape, second)) = of_source.lock().unwrap().take() else {
            return Poll::Ready(Some(Ok(Frame::data(data(1)))));
        };
        *second.lock().unwrap() = Some(tape.again().unwrap());
        panic!("by the test");
    }));
    let (tape, mut first) = Tape::new(source, 100);
    assert!(poll(&mut first, Waker::noop()).is_ready());
    let second = Shared::default();
    *begins.lock().unwrap() = Some((tape, Arc::clone(&second)));
    let polled = AssertUnwindSafe(|| poll(&mut first, Waker::noop()).is_ready());
    catch_unwind(polled).unwrap_err();
    let (sizes, is_complete) = read(second.lock().unwrap().take().unwrap());
    assert!(sizes.len() <= 1 && !is_complete);
}

#[test]
fn a_source_that_fails_in_an_earlier_attempt_fails_the_next_one() {
    type Source = Pin<Box<dyn Body<Data = Bytes, Error = BoxError> + Send>>;
    let begins: Shared<(Tape<Source>, Shared<Reader<Source>>)> = Shared::default();
    let of_source = Arc::clone(&begins);
    let source: Source = Box::pin(from(move |_| {
        let (mut tape, second) = of_source.lock().unwrap().take().unwrap();
        *second.lock().unwrap() = Some(tape.again().unwrap());
        Poll::Ready(Some(Err("the source failed".into())))
    }));
    let (tape, mut first) = Tape::new(source, 100);
    let second = Shared::default();
    *begins.lock().unwrap() = Some((tape, Arc::clone(&second)));
    let polled = poll(&mut first, Waker::noop());
    assert!(matches!(polled, Poll::Ready(Some(Err(error))) if error.is::<CutOff>()));
    let mut second = second.lock().unwrap().take().unwrap();
    let polled = poll(&mut second, Waker::noop());
    let Poll::Ready(Some(Err(error))) = polled else {
        panic!("no error")
    };
    assert_eq!(error.to_string(), "the source failed");
    assert!(matches!(
        poll(&mut second, Waker::noop()),
        Poll::Ready(None)
    ));
}

/// A waker that owns a value, as a task's waker owns the task.
struct Owns<T>(#[allow(dead_code, reason = "to be dropped")] T);

impl<T: Send + Sync> Wake for Owns<T> {
    fn wake(self: Arc<Self>) {}
}

#[test]
fn a_waker_that_is_dropped_may_drop_another_reader() {
    let (done, waits) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let (mut tape, first) = Tape::new(from::<_, BoxError>(|_| Poll::Pending), 100);
        let mut second = tape.again().unwrap();
        let owner = Waker::from(Arc::new(Owns(Mutex::new((first, tape)))));
        assert!(poll(&mut second, &owner).is_pending());
        drop(owner);
        assert!(poll(&mut second, Waker::noop()).is_pending());
        done.send(()).unwrap();
    });
    let limit = std::time::Duration::from_secs(20);
    waits.recv_timeout(limit).expect("a deadlock");
}

#[test]
fn a_waiting_reader_is_woken_even_if_the_drop_of_the_source_panics() {
    struct Bomb<B>(B);

    impl<B: Body<Data = Bytes, Error = BoxError> + Unpin> Body for Bomb<B> {
        type Data = Bytes;
        type Error = BoxError;

        fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled<Self> {
            Pin::new(&mut self.0).poll_frame(cx)
        }
    }

    impl<B> Drop for Bomb<B> {
        fn drop(&mut self) {
            panic!("by the test");
        }
    }

    type Source = Pin<Box<dyn Body<Data = Bytes, Error = BoxError> + Send>>;
    let begins: Shared<(Tape<Source>, Shared<Reader<Source>>, Waker)> = Shared::default();
    let of_source = Arc::clone(&begins);
    let source: Source = Box::pin(Bomb(from(move |_| {
        let (mut tape, second, waker) = of_source.lock().unwrap().take().unwrap();
        let mut reader = tape.again().unwrap();
        assert!(poll(&mut reader, &waker).is_pending());
        *second.lock().unwrap() = Some(reader);
        Poll::Ready(None)
    })));
    let (tape, mut first) = Tape::new(source, 100);
    let (count, waker) = counted();
    let second = Shared::default();
    *begins.lock().unwrap() = Some((tape, Arc::clone(&second), waker));
    let polled = AssertUnwindSafe(|| poll(&mut first, Waker::noop()).is_ready());
    catch_unwind(polled).unwrap_err();
    assert_eq!(count.0.load(Ordering::SeqCst), 1);
    assert_eq!(read(second.lock().unwrap().take().unwrap()), (vec![], true));
}

#[test]
fn a_body_that_cannot_be_cut_off_stays_with_its_reader() {
    let mut frames = vec!["b", "a"];
    let source = from::<_, Infallible>(move |_| {
        let frame = frames.pop().map(|text| Ok(Frame::data(Bytes::from(text))));
        Poll::Ready(frame)
    });
    let (mut tape, mut reader) = Tape::new(source, 100);
    assert!(poll(&mut reader, Waker::noop()).is_ready());
    assert_eq!(tape.again().err(), Some(RetryRefused::Body));
    // Its reader is gone.
    drop(reader);
    let mut reader = tape.again().unwrap();
    for _ in 0..2 {
        assert!(matches!(
            poll(&mut reader, Waker::noop()),
            Poll::Ready(Some(Ok(_)))
        ));
    }
    let refused = Some(RetryRefused::Body);
    assert_eq!(tape.again().err(), refused, "more frames may follow");
    assert!(matches!(
        poll(&mut reader, Waker::noop()),
        Poll::Ready(None)
    ));
    // Its reader has all of it.
    let _next = tape.again().unwrap();
    assert!(matches!(
        poll(&mut reader, Waker::noop()),
        Poll::Ready(None)
    ));
}
