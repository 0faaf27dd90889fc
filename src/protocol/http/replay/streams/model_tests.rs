//! The tape against a model that knows all frames beforehand.

use std::collections::VecDeque;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use http::{HeaderMap, HeaderValue};
use http_body::{Body, Frame, SizeHint};
use proptest::prelude::*;

use super::{data, poll};
use crate::policy::retry::RetryRefused;
use crate::protocol::http::replay::streams::reader::Reader;
use crate::protocol::http::replay::streams::tape::Tape;
use crate::vocabulary::error::BoxError;

#[derive(Debug, Clone, Copy, PartialEq)]
enum Item {
    Data(usize),
    Wait,
    Trailers,
    Failure,
}

/// A body that follows a script and knows its size.
struct Script(VecDeque<Item>);

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

/// The comparable result of a poll.
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
    NextAttempt,
    DropReader,
    DropTape,
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
        3 => Just(Step::NextAttempt),
        1 => Just(Step::DropReader),
        1 => Just(Step::DropTape),
    ];
    prop::collection::vec(step, 0..60)
}

/// All frames that were read, and the position of the current reader.
struct Model {
    script: VecDeque<Item>,
    read: Vec<Item>,
    position: usize,
    size: usize,
    limit: usize,
    failed: bool,
}

impl Model {
    fn next(&mut self) -> Seen {
        let item = match self.read.get(self.position) {
            Some(item) => *item,
            None if self.failed => return Seen::End,
            None => match self.script.pop_front() {
                None => return Seen::End,
                Some(Item::Wait) => return Seen::Pending,
                Some(Item::Failure) => {
                    self.failed = true;
                    return Seen::Failure("the source failed".to_owned());
                }
                // Empty frames are not recorded.
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
        self.position += 1;
        match item {
            Item::Data(size) => Seen::Data(size),
            _ => Seen::Trailers,
        }
    }

    fn check_replayable(&self) -> Result<(), RetryRefused> {
        if self.size > self.limit {
            Err(RetryRefused::TooLarge)
        } else if self.failed {
            Err(RetryRefused::Body)
        } else {
            Ok(())
        }
    }

    fn remaining(&self) -> u64 {
        let unread = self.read[self.position..].iter().copied();
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
            position: 0,
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
                Step::NextAttempt => if let Some(tape) = &mut tape {
                    let expected = model.check_replayable();
                    let again = tape.again();
                    prop_assert_eq!(again.as_ref().map(|_| ()).map_err(|why| *why), expected);
                    if let Ok(again) = again {
                        prop_assert_eq!(again.size_hint().exact(), Some(total));
                        old.extend(reader.replace(again).map(|reader| (reader, false)));
                        model.position = 0;
                    }
                }
                Step::DropReader => reader = None,
                Step::DropTape => tape = None,
            }
            if let Some(reader) = &reader {
                if !model.failed {
                    prop_assert_eq!(reader.size_hint().exact(), Some(model.remaining()));
                }
                let ended = model.position == model.read.len() && model.script.is_empty();
                prop_assert_eq!(reader.is_end_stream(), ended && !model.failed);
                let kept = reader.recorded_bytes();
                if tape.is_none() || model.size > limit {
                    let unread = model.read[model.position..].iter();
                    prop_assert!(kept <= length(unread.copied()), "{} useless bytes", kept);
                } else {
                    prop_assert!(kept <= limit as u64);
                }
            }
        }
    }
}

#[test]
fn the_number_of_small_frames_is_limited() {
    const MAX: usize = 1000 / size_of::<Bytes>() + 16;
    let source = Script(std::iter::repeat_n(Item::Data(1), 100).collect());
    let (mut tape, mut reader) = Tape::new(source, 1000);
    for _ in 0..MAX {
        assert_eq!(see(&mut reader), Seen::Data(1));
    }
    let mut reader = tape.again().unwrap();
    for _ in 0..=MAX {
        assert_eq!(see(&mut reader), Seen::Data(1));
    }
    assert_eq!(tape.again().err(), Some(RetryRefused::TooLarge));
    assert_eq!(reader.recorded_bytes(), 0);
}
