//! What has been read of a body that streams, so that it can be read again.
//!
//! A tape has two sides. The *kept* side ([`Tape`]) belongs to the retry; the other one ([`Reader`]) is the body of the attempt that is
//! under way. The first reader passes on what the source yields and leaves a copy; the reader of the next attempt begins with the copies and goes on
//! with the source where the last one left off. There is one reader at a time: a new one supersedes the one before it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use bytes::Buf;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::reader::Reader;
use super::superseded::{BrokenOff, make};
use crate::policy::retry::RetryRefused;

/// So many frames may be kept however small the limit is.
const FEW_FRAMES: usize = 16;

/// The side of the retry. When it is dropped there will be no other attempt, and nothing more is kept.
pub(super) struct Tape<B: Body>(Shared<B>);

/// No code of others runs while it is locked, but for what only looks at a source or a frame, or clones that.
pub(super) type Shared<B> = Arc<Mutex<State<B>>>;

pub(super) struct State<B: Body> {
    pub(super) source: Source<B>,
    /// What the source said before anything was read of it: every attempt begins with that.
    pub(super) hint: SizeHint,
    /// Frames that were read of the source: all of them while it records, else those that the attempt has not read yet.
    pub(super) frames: VecDeque<B::Data>,
    trailers: Option<HeaderMap>,
    /// How many of the frames the attempt has read, how many bytes in all, and whether it has read the trailers.
    pub(super) read: usize,
    pub(super) read_bytes: u64,
    read_trailers: bool,
    /// How much of the limit is left, in bytes and in frames.
    room: usize,
    room_for_frames: usize,
    keeps: Keeps,
    /// The number of the attempt whose reader this is for, whether that one is still there, and whom to wake for it.
    pub(super) attempt: u64,
    pub(super) is_read: bool,
    pub(super) waker: Option<Waker>,
}

pub(super) enum Source<B: Body> {
    Here(B),
    /// Being polled by a reader, outside of the lock.
    Lent,
    Ended,
    /// It failed, or panicked; the error is for the reader that finds it.
    Broken(Option<B::Error>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Keeps {
    Everything,
    /// There was more than the limit.
    TooMuch,
    /// There will be no other attempt.
    Nothing,
}

impl<B> Tape<B>
where
    B: Body<Data: Clone> + Unpin,
{
    /// A tape that keeps up to `limit` bytes of this source, and the reader for the first attempt.
    pub(super) fn new(source: B, limit: usize) -> (Self, Reader<B>) {
        let tape = Arc::new(Mutex::new(State {
            hint: source.size_hint(),
            source: Source::Here(source),
            frames: VecDeque::new(),
            trailers: None,
            read: 0,
            read_bytes: 0,
            read_trailers: false,
            room: limit,
            // A frame takes memory, however little is in it.
            room_for_frames: (limit / size_of::<B::Data>().max(1)).saturating_add(FEW_FRAMES),
            keeps: Keeps::Everything,
            attempt: 1,
            is_read: true,
            waker: None,
        }));
        let reader = Reader::new(Arc::clone(&tape), 1);
        (Self(tape), reader)
    }
}

impl<B> Tape<B>
where
    B: Body<Data: Clone, Error: 'static> + Unpin,
{
    /// The reader for the next attempt. The one before it is told that it is superseded.
    pub(super) fn again(&mut self) -> Result<Reader<B>, RetryRefused> {
        let mut state = lock(&self.0);
        state.whole()?;
        state.attempt += 1;
        state.is_read = true;
        (state.read, state.read_bytes, state.read_trailers) = (0, 0, false);
        let attempt = state.attempt;
        let superseded = state.waker.take();
        drop(state);
        if let Some(waker) = superseded {
            waker.wake();
        }
        Ok(Reader::new(Arc::clone(&self.0), attempt))
    }
}

impl<B: Body> Drop for Tape<B> {
    fn drop(&mut self) {
        let mut state = lock(&self.0);
        if state.keeps == Keeps::Everything {
            state.keeps = Keeps::Nothing;
        }
        let freed = state.forget();
        drop(state);
        drop(freed);
    }
}

pub(super) fn lock<B: Body>(tape: &Mutex<State<B>>) -> MutexGuard<'_, State<B>> {
    // Nothing that could be left half done happens under it.
    tape.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<B: Body> State<B> {
    /// Frees what the attempt has read and nobody will read again.
    pub(super) fn forget(&mut self) -> VecDeque<B::Data> {
        if self.keeps == Keeps::Everything || self.read == 0 {
            return VecDeque::new();
        }
        let unread = self.frames.split_off(self.read.min(self.frames.len()));
        self.read = 0;
        std::mem::replace(&mut self.frames, unread)
    }

    pub(super) fn is_at_source(&self) -> bool {
        self.read == self.frames.len() && (self.trailers.is_none() || self.read_trailers)
    }

    pub(super) fn is_ended(&self) -> bool {
        self.is_at_source()
            && match &self.source {
                Source::Here(source) => source.is_end_stream(),
                Source::Ended => true,
                Source::Lent | Source::Broken(_) => false,
            }
    }

    /// The waker that was known before is to be dropped outside of the lock, as this one was cloned: it may hold another reader.
    #[must_use]
    pub(super) fn wait(&mut self, waker: Waker) -> Option<Waker> {
        self.waker.replace(waker)
    }
}

impl<B> State<B>
where
    B: Body<Error: 'static>,
{
    /// Whether everything that was read is still there and another attempt can begin.
    fn whole(&self) -> Result<(), RetryRefused> {
        // Without an error to end it with, a body that is still being read has to be left to its reader.
        let is_free = || {
            !self.is_read || self.is_ended() || make::<B::Error>(BrokenOff::Superseded).is_some()
        };
        match (self.keeps, &self.source) {
            (Keeps::TooMuch, _) => Err(RetryRefused::TooLarge),
            (Keeps::Everything, Source::Here(_) | Source::Lent | Source::Ended) if is_free() => {
                Ok(())
            }
            _ => Err(RetryRefused::Body),
        }
    }
}

impl<B> State<B>
where
    B: Body<Data: Clone>,
{
    /// What an earlier attempt has left.
    pub(super) fn replay(&mut self) -> Option<Frame<B::Data>> {
        if let Some(data) = self.frames.get(self.read) {
            let data = if self.keeps == Keeps::Everything {
                self.read += 1;
                data.clone()
            } else {
                self.frames.pop_front()?
            };
            self.read_bytes += data.remaining() as u64;
            return Some(Frame::data(data));
        }
        let trailers = self.trailers.as_ref().filter(|_| !self.read_trailers)?;
        self.read_trailers = true;
        Some(Frame::trailers(trailers.clone()))
    }

    /// Keeps a frame of the source, for the attempt to replay now; or gives it back, if there is nothing in it to keep.
    pub(super) fn record(&mut self, frame: Frame<B::Data>) -> Result<(), Frame<B::Data>> {
        let size = match frame.into_data() {
            Ok(data) if data.has_remaining() => {
                let size = data.remaining();
                self.frames.push_back(data);
                size
            }
            Ok(empty) => return Err(Frame::data(empty)),
            Err(frame) => {
                let trailers = frame.into_trailers()?;
                let size = size_of_fields(&trailers);
                self.trailers = Some(trailers);
                size
            }
        };
        if self.keeps == Keeps::Everything {
            match self.room.checked_sub(size) {
                Some(room) if self.frames.len() <= self.room_for_frames => self.room = room,
                _ => self.keeps = Keeps::TooMuch,
            }
        }
        Ok(())
    }
}

fn size_of_fields(fields: &HeaderMap) -> usize {
    let sizes = fields
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len());
    sizes.sum()
}
