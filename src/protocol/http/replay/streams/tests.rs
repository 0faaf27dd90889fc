//! The tape against a model that knows everything beforehand, and what a model cannot reach: wake-ups, panics, a source that is away.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use proptest::prelude::*;

use super::reader::{Polled, Reader};
use super::superseded::BrokenOff;
use super::tape::Tape;
use crate::policy::retry::RetryRefused;
use crate::vocabulary::error::BoxError;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Item {
    Data(usize),
    Wait,
    Trailers,
    Failure,
}

/// A body that does what is written, and knows how long it is.
struct Script(VecDeque<Item>);

fn data(size: usize) -> Bytes {
    Bytes::from(vec![u8::try_from(size % 251).unwrap(); size])
}

fn trailers() -> HeaderMap {
    let mut trailers = HeaderMap::new();
    trailers.insert("checksum", HeaderValue::from_static("4711"));
    trailers
}

fn length(items: impl IntoIterator<Item = Item>) -> u64 {
    let size = |item| match item {
        Item::Data(size) => size as u64,
        _ => 0,
    };
    items.into_iter().map(size).sum()
}

impl Body for Script {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        Poll::Ready(match self.0.pop_front() {
            Some(Item::Data(size)) => Some(Ok(Frame::data(data(size)))),
            Some(Item::Trailers) => Some(Ok(Frame::trailers(trailers()))),
            Some(Item::Failure) => Some(Err("the source failed".into())),
            Some(Item::Wait) => {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            None => None,
        })
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(length(self.0.iter().copied()))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_empty()
    }
}

fn poll<B: Body + Unpin>(body: &mut B, waker: &Waker) -> Polled<B> {
    Pin::new(body).poll_frame(&mut Context::from_waker(waker))
}

/// What a poll came to, to compare.
#[derive(Debug, PartialEq)]
enum Seen {
    Data(usize),
    Trailers,
    Failure(String),
    Pending,
    End,
}

fn see(body: &mut Reader<Script>) -> Seen {
    match poll(body, Waker::noop()) {
        Poll::Pending => Seen::Pending,
        Poll::Ready(None) => Seen::End,
        Poll::Ready(Some(Err(error))) => Seen::Failure(error.to_string()),
        Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
            Ok(bytes) => {
                assert_eq!(bytes, data(bytes.len()));
                Seen::Data(bytes.len())
            }
            Err(frame) => {
                assert_eq!(frame.into_trailers().unwrap(), trailers());
                Seen::Trailers
            }
        },
    }
}

#[derive(Debug, Clone)]
enum Step {
    Poll,
    PollOld(prop::sample::Index),
    Again,
    DropReader,
    DropKept,
}

fn items() -> impl Strategy<Value = Vec<Item>> {
    let middle = prop_oneof![
        4 => (0_usize..200).prop_map(Item::Data),
        1 => Just(Item::Wait),
    ];
    let last = prop_oneof![
        4 => Just(None),
        2 => Just(Some(Item::Trailers)),
        1 => Just(Some(Item::Failure)),
    ];
    (prop::collection::vec(middle, 0..12), last).prop_map(|(mut items, last)| {
        items.extend(last);
        items
    })
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => Just(Step::Poll),
        2 => any::<prop::sample::Index>().prop_map(Step::PollOld),
        3 => Just(Step::Again),
        1 => Just(Step::DropReader),
        1 => Just(Step::DropKept),
    ];
    prop::collection::vec(step, 0..60)
}

/// Everything that was read, in a list; a reader is a place in it.
struct Model {
    script: VecDeque<Item>,
    read: Vec<Item>,
    place: usize,
    size: usize,
    limit: usize,
    failed: bool,
}

impl Model {
    fn next(&mut self) -> Seen {
        let item = match self.read.get(self.place) {
            Some(item) => *item,
            None if self.failed => return Seen::End,
            None => match self.script.pop_front() {
                None => return Seen::End,
                Some(Item::Wait) => return Seen::Pending,
                Some(Item::Failure) => {
                    self.failed = true;
                    return Seen::Failure("the source failed".to_owned());
                }
                // There is nothing in it to keep.
                Some(Item::Data(0)) => return Seen::Data(0),
                Some(item) => {
                    self.size += match item {
                        Item::Data(size) => size,
                        _ => "checksum4711".len(),
                    };
                    self.read.push(item);
                    item
                }
            },
        };
        self.place += 1;
        match item {
            Item::Data(size) => Seen::Data(size),
            _ => Seen::Trailers,
        }
    }

    fn whole(&self) -> Result<(), RetryRefused> {
        if self.size > self.limit {
            Err(RetryRefused::TooLarge)
        } else if self.failed {
            Err(RetryRefused::Body)
        } else {
            Ok(())
        }
    }

    fn left(&self) -> u64 {
        let unread = self.read[self.place..].iter().copied();
        length(unread) + length(self.script.iter().copied())
    }
}

proptest! {
    #[test]
    fn every_attempt_reads_the_same(items in items(), steps in steps(), limit in 0_usize..1500) {
        let total = length(items.iter().copied());
        let (tape, reader) = Tape::new(Script(items.clone().into()), limit);
        let mut tape = Some(tape);
        let mut reader = Some(reader);
        let mut old = Vec::new();
        let mut model = Model {
            script: items.into(),
            read: Vec::new(),
            place: 0,
            size: 0,
            limit,
            failed: false,
        };
        for step in steps {
            match step {
                Step::Poll => if let Some(reader) = &mut reader {
                    prop_assert_eq!(see(reader), model.next());
                }
                Step::PollOld(index) => if !old.is_empty() {
                    let (reader, ended): &mut (_, bool) = index.get_mut(&mut old);
                    let seen = see(reader);
                    prop_assert!(!Body::is_end_stream(reader));
                    prop_assert_eq!(matches!(seen, Seen::Failure(_)), !*ended);
                    prop_assert_eq!(seen == Seen::End, *ended);
                    *ended = true;
                }
                Step::Again => if let Some(tape) = &mut tape {
                    let whole = model.whole();
                    let again = tape.again();
                    prop_assert_eq!(again.as_ref().map(|_| ()).map_err(|why| *why), whole);
                    if let Ok(again) = again {
                        prop_assert_eq!(again.size_hint().exact(), Some(total));
                        old.extend(reader.replace(again).map(|reader| (reader, false)));
                        model.place = 0;
                    }
                }
                Step::DropReader => reader = None,
                Step::DropKept => tape = None,
            }
            if let Some(reader) = &reader {
                if !model.failed {
                    prop_assert_eq!(reader.size_hint().exact(), Some(model.left()));
                }
                let ended = model.place == model.read.len() && model.script.is_empty();
                prop_assert_eq!(reader.is_end_stream(), ended && !model.failed);
                let kept = reader.kept();
                if tape.is_none() || model.size > limit {
                    let unread = model.read[model.place..].iter();
                    prop_assert!(kept <= length(unread.copied()), "{} bytes for nobody", kept);
                } else {
                    prop_assert!(kept <= limit as u64);
                }
            }
        }
    }
}

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
fn who_waits_for_a_body_is_woken_when_the_next_attempt_takes_it_over() {
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
fn an_attempt_that_begins_while_the_source_is_being_read_misses_nothing() {
    type Source = Pin<Box<dyn Body<Data = Bytes, Error = BoxError> + Send>>;
    type Begins = (Tape<Source>, Shared<Reader<Source>>, Arc<Count>);
    let begins: Shared<Begins> = Shared::default();
    let of_source = Arc::clone(&begins);
    let mut frames = vec!["b", "a"];
    let source: Source = Box::pin(from(move |_| {
        // In the midst of the first attempt's reading.
        if let Some((mut tape, second, count)) = of_source.lock().unwrap().take() {
            let mut reader = tape.again().unwrap();
            assert!(poll(&mut reader, &Waker::from(Arc::clone(&count))).is_pending());
            assert_eq!(reader.size_hint().lower(), 0);
            assert!(!reader.is_end_stream());
            *second.lock().unwrap() = Some(reader);
            // And let go of what was kept: it is all the second one's.
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

/// The sizes of the frames that can be read, and whether they came to an end.
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
fn a_source_that_panics_leaves_no_lock_behind() {
    let (mut tape, mut reader) = Tape::new(from::<_, BoxError>(|_| panic!("told to")), 100);
    let polled = AssertUnwindSafe(|| poll(&mut reader, Waker::noop()).is_ready());
    catch_unwind(polled).unwrap_err();
    assert_eq!(tape.again().err(), Some(RetryRefused::Body));
    assert!(poll(&mut reader, Waker::noop()).is_ready());
    assert!(!reader.is_end_stream());
}

#[test]
fn a_source_that_panics_under_an_earlier_attempt_does_not_end_the_next_one_as_if_it_were_whole() {
    type Source = Pin<Box<dyn Body<Data = Bytes, Error = BoxError> + Send>>;
    let begins: Shared<(Tape<Source>, Shared<Reader<Source>>)> = Shared::default();
    let of_source = Arc::clone(&begins);
    let source: Source = Box::pin(from(move |_| {
        let Some((mut tape, second)) = of_source.lock().unwrap().take() else {
            return Poll::Ready(Some(Ok(Frame::data(data(1)))));
        };
        *second.lock().unwrap() = Some(tape.again().unwrap());
        panic!("told to");
    }));
    let (tape, mut first) = Tape::new(source, 100);
    assert!(poll(&mut first, Waker::noop()).is_ready());
    let second = Shared::default();
    *begins.lock().unwrap() = Some((tape, Arc::clone(&second)));
    let polled = AssertUnwindSafe(|| poll(&mut first, Waker::noop()).is_ready());
    catch_unwind(polled).unwrap_err();
    let (sizes, is_whole) = read(second.lock().unwrap().take().unwrap());
    assert!(sizes.len() <= 1 && !is_whole);
}

#[test]
fn a_source_that_fails_under_an_earlier_attempt_fails_the_next_one() {
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
    assert!(matches!(polled, Poll::Ready(Some(Err(error))) if error.is::<BrokenOff>()));
    let mut second = second.lock().unwrap().take().unwrap();
    let polled = poll(&mut second, Waker::noop());
    let Poll::Ready(Some(Err(error))) = polled else {
        panic!("not told")
    };
    assert_eq!(error.to_string(), "the source failed");
    assert!(matches!(
        poll(&mut second, Waker::noop()),
        Poll::Ready(None)
    ));
}

/// A waker that holds something, as that of a task may hold the task.
struct Holds<T>(#[allow(dead_code, reason = "to be dropped")] T);

impl<T: Send + Sync> Wake for Holds<T> {
    fn wake(self: Arc<Self>) {}
}

#[test]
fn a_waker_that_is_dropped_may_drop_another_reader() {
    let (done, waits) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let (mut tape, first) = Tape::new(from::<_, BoxError>(|_| Poll::Pending), 100);
        let mut second = tape.again().unwrap();
        let holding = Waker::from(Arc::new(Holds(Mutex::new((first, tape)))));
        assert!(poll(&mut second, &holding).is_pending());
        drop(holding);
        assert!(poll(&mut second, Waker::noop()).is_pending());
        done.send(()).unwrap();
    });
    let limit = std::time::Duration::from_secs(20);
    waits.recv_timeout(limit).expect("a deadlock");
}

#[test]
fn who_waits_for_a_source_hears_of_its_end_even_if_its_drop_panics() {
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
            panic!("told to");
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
fn a_body_that_cannot_be_ended_is_left_to_its_reader() {
    let mut frames = vec!["b", "a"];
    let source = from::<_, Infallible>(move |_| {
        let frame = frames.pop().map(|text| Ok(Frame::data(Bytes::from(text))));
        Poll::Ready(frame)
    });
    let (mut tape, mut reader) = Tape::new(source, 100);
    assert!(poll(&mut reader, Waker::noop()).is_ready());
    assert_eq!(tape.again().err(), Some(RetryRefused::Body));
    // Whoever was reading it is gone.
    drop(reader);
    let mut reader = tape.again().unwrap();
    for _ in 0..2 {
        assert!(matches!(
            poll(&mut reader, Waker::noop()),
            Poll::Ready(Some(Ok(_)))
        ));
    }
    let refused = Some(RetryRefused::Body);
    assert_eq!(tape.again().err(), refused, "there may be more");
    assert!(matches!(
        poll(&mut reader, Waker::noop()),
        Poll::Ready(None)
    ));
    // Or has all of it.
    let _next = tape.again().unwrap();
    assert!(matches!(
        poll(&mut reader, Waker::noop()),
        Poll::Ready(None)
    ));
}

#[test]
fn so_many_small_frames_are_too_many() {
    const MOST: usize = 1000 / size_of::<Bytes>() + 16;
    let source = Script(std::iter::repeat_n(Item::Data(1), 100).collect());
    let (mut tape, mut reader) = Tape::new(source, 1000);
    for _ in 0..MOST {
        assert_eq!(see(&mut reader), Seen::Data(1));
    }
    let mut reader = tape.again().unwrap();
    for _ in 0..=MOST {
        assert_eq!(see(&mut reader), Seen::Data(1));
    }
    assert_eq!(tape.again().err(), Some(RetryRefused::TooLarge));
    assert_eq!(reader.kept(), 0);
}

/// Everything in a body that does not wait.
fn text<B: Body<Data = Bytes, Error: std::fmt::Debug> + Unpin>(mut body: B) -> String {
    let mut text = String::new();
    while let Poll::Ready(Some(frame)) = poll(&mut body, Waker::noop()) {
        let data = frame.unwrap().into_data().unwrap();
        text.push_str(str::from_utf8(&data).unwrap());
    }
    text
}

#[cfg(all(
    feature = "axum",
    feature = "hyper",
    feature = "reqwest",
    feature = "tonic"
))]
mod known {
    use http_body_util::combinators::{BoxBody, UnsyncBoxBody};
    use http_body_util::{Empty, Full};

    use super::*;
    use crate::protocol::http::ReplayBody;

    fn replayed<B>(make: impl Fn(Full<Bytes>) -> B, empty: B)
    where
        B: ReplayBody + Body<Data = Bytes, Error: std::fmt::Debug> + Unpin,
    {
        let full = || make(Full::new(Bytes::from_static(b"order")));
        let mut body = full();
        let mut kept = body.keep(5).unwrap();
        for _ in 0..3 {
            assert_eq!(body.size_hint().exact(), full().size_hint().exact());
            assert!(!body.is_end_stream());
            assert_eq!(text(body), "order");
            body = B::again(&mut kept).unwrap();
        }
        assert!(full().keep(4).is_none(), "it says that it is larger");
        assert!(full().keep(0).is_none());
        // Where there is nothing there is nothing to keep.
        let mut body = empty;
        let mut kept = body.keep(0).unwrap();
        assert!(body.is_end_stream() && B::again(&mut kept).unwrap().is_end_stream());
    }

    #[test]
    fn the_bodies_of_every_library_are_replayed() {
        replayed(axum_core::body::Body::new, axum_core::body::Body::empty());
        replayed(tonic::body::Body::new, tonic::body::Body::empty());
        replayed(
            reqwest::Body::wrap,
            reqwest::Body::wrap(Empty::<Bytes>::new()),
        );
        replayed(BoxBody::new, BoxBody::new(Empty::new()));
        replayed(UnsyncBoxBody::new, UnsyncBoxBody::new(Empty::new()));
    }

    #[test]
    fn what_is_in_memory_is_shared_whatever_the_limit() {
        let bytes = Bytes::from(vec![b'x'; 100]);
        let mut body = reqwest::Body::from(bytes.clone());
        let mut kept = body.keep(0).unwrap();
        let again = reqwest::Body::again(&mut kept).unwrap();
        for body in [body, again] {
            assert_eq!(body.as_bytes().map(<[u8]>::as_ptr), Some(bytes.as_ptr()));
        }
        let mut body = Full::new(bytes.clone());
        let mut kept = body.keep(0).unwrap();
        let mut again = Full::again(&mut kept).unwrap();
        let Poll::Ready(Some(Ok(frame))) = poll(&mut again, Waker::noop()) else {
            panic!("nothing");
        };
        assert_eq!(frame.into_data().unwrap().as_ptr(), bytes.as_ptr());
    }
}
