//! A recording of a streaming body, so that later attempts can read it again.
//!
//! The retry holds the [`Tape`]; each attempt's body is a [`Reader`] of it. The first reader passes
//! the frames of the source on and records them. The next attempt's reader replays the recorded
//! frames and continues with the source. Only one reader is current: a new one supersedes the one
//! before it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Waker;

use bytes::Buf;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::reader::Reader;
use super::superseded::{CutOff, make};
use crate::policy::retry::RetryRefused;

/// The number of frames that any limit allows.
const FEW_FRAMES: usize = 16;

/// The retry's handle. After its drop no other attempt follows, and nothing more is recorded.
pub(super) struct Tape<B: Body>(Shared<B>);

/// Under its lock, user code only clones frames and inspects frames and the source.
pub(super) type Shared<B> = Arc<Mutex<State<B>>>;

pub(super) struct State<B: Body> {
    pub(super) source: Source<B>,
    /// The size hint of the whole source, for the start of every attempt.
    pub(super) hint: SizeHint,
    /// The frames of the source: all of them while recording, otherwise those still unread.
    pub(super) frames: VecDeque<B::Data>,
    trailers: Option<HeaderMap>,
    /// The position of the current attempt, in frames and in bytes.
    pub(super) read: usize,
    pub(super) read_bytes: u64,
    read_trailers: bool,
    /// The rest of the limit, in bytes and in frames.
    remaining_bytes: usize,
    max_frames: usize,
    recording: Recording,
    /// The current attempt, whether its reader exists, and the waker of that reader.
    pub(super) attempt: u64,
    pub(super) has_reader: bool,
    pub(super) waker: Option<Waker>,
}

pub(super) enum Source<B: Body> {
    Idle(B),
    /// A reader polls it, outside of the lock.
    Polled,
    Ended,
    /// It failed or panicked. The error is for the next reader.
    Failed(Option<B::Error>),
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Recording {
    On,
    OverLimit,
    /// No other attempt follows.
    Off,
}

impl<B> Tape<B>
where
    B: Body<Data: Clone> + Unpin,
{
    /// A tape of up to `limit` bytes, and the reader of the first attempt.
    pub(super) fn new(source: B, limit: usize) -> (Self, Reader<B>) {
        let tape = Arc::new(Mutex::new(State {
            hint: source.size_hint(),
            source: Source::Idle(source),
            frames: VecDeque::new(),
            trailers: None,
            read: 0,
            read_bytes: 0,
            read_trailers: false,
            remaining_bytes: limit,
            // An empty frame takes memory, too.
            max_frames: (limit / size_of::<B::Data>().max(1)).saturating_add(FEW_FRAMES),
            recording: Recording::On,
            attempt: 1,
            has_reader: true,
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
    /// The reader of the next attempt. It supersedes the reader before it.
    pub(super) fn again(&mut self) -> Result<Reader<B>, RetryRefused> {
        let mut state = lock(&self.0);
        state.check_replayable()?;
        state.attempt += 1;
        state.has_reader = true;
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
        if state.recording == Recording::On {
            state.recording = Recording::Off;
        }
        let freed = state.take_read_frames();
        drop(state);
        drop(freed);
    }
}

pub(super) fn lock<B: Body>(tape: &Mutex<State<B>>) -> MutexGuard<'_, State<B>> {
    // A panic under the lock leaves the state consistent.
    tape.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<B: Body> State<B> {
    /// Takes the frames that the attempt has read and no other attempt will read.
    pub(super) fn take_read_frames(&mut self) -> VecDeque<B::Data> {
        if self.recording == Recording::On || self.read == 0 {
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
                Source::Idle(source) => source.is_end_stream(),
                Source::Ended => true,
                Source::Polled | Source::Failed(_) => false,
            }
    }

    /// Returns the previous waker. Drop it outside of the lock: it may own another reader.
    #[must_use]
    pub(super) fn register(&mut self, waker: Waker) -> Option<Waker> {
        self.waker.replace(waker)
    }
}

impl<B> State<B>
where
    B: Body<Error: 'static>,
{
    /// Whether another attempt can begin.
    fn check_replayable(&self) -> Result<(), RetryRefused> {
        // Without an error to end it, a body stays with the reader that still reads it.
        let is_free = || {
            !self.has_reader || self.is_ended() || make::<B::Error>(CutOff::Superseded).is_some()
        };
        match (self.recording, &self.source) {
            (Recording::OverLimit, _) => Err(RetryRefused::TooLarge),
            (Recording::On, Source::Idle(_) | Source::Polled | Source::Ended) if is_free() => {
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
    /// The next recorded frame.
    pub(super) fn replay(&mut self) -> Option<Frame<B::Data>> {
        if let Some(data) = self.frames.get(self.read) {
            let data = if self.recording == Recording::On {
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

    /// Records a frame of the source, for the attempt to replay. Returns an empty frame unrecorded.
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
        if self.recording == Recording::On {
            match self.remaining_bytes.checked_sub(size) {
                Some(left) if self.frames.len() <= self.max_frames => self.remaining_bytes = left,
                _ => self.recording = Recording::OverLimit,
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
