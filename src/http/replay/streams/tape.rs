//! What has been read of a body that streams, so that it can be read again.
//!
//! A tape has two sides. The *kept* side ([`Tape`]) belongs to the retry; the other one ([`Reader`]) is the body of the attempt that is
//! under way. The first reader passes on what the source yields and leaves a copy; the reader of the next attempt begins with the copies and goes on
//! with the source where the last one left off. There is one reader at a time: a new one supersedes the one before it.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use bytes::Buf;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};

use super::superseded::make;
use crate::RetryRefused;

/// The side of the retry. When it is dropped there will be no other attempt, and nothing more is kept.
pub(super) struct Tape<B: Body>(Shared<B>);

/// The body of an attempt.
pub(super) struct Reader<B: Body> {
    tape: Shared<B>,
    attempt: u64,
    is_over: bool,
}

/// No code of others runs while it is locked, but for a source's `size_hint` and `is_end_stream`.
type Shared<B> = Arc<Mutex<State<B>>>;

struct State<B: Body> {
    source: Source<B>,
    /// What the source said before anything was read of it: every attempt begins with that.
    hint: SizeHint,
    /// Frames that were read of the source: all of them while it records, else those that the attempt has not read yet.
    frames: VecDeque<B::Data>,
    trailers: Option<HeaderMap>,
    /// How many of the frames the attempt has read, how many bytes in all, and whether it has read the trailers.
    read: usize,
    read_bytes: u64,
    read_trailers: bool,
    /// How much of the limit is left.
    room: usize,
    keeps: Keeps,
    /// The number of the attempt whose reader this is for, whether that one is still there, and whom to wake for it.
    attempt: u64,
    is_read: bool,
    waker: Option<Waker>,
}

enum Source<B: Body> {
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
            keeps: Keeps::Everything,
            attempt: 1,
            is_read: true,
            waker: None,
        }));
        let reader = Reader {
            tape: Arc::clone(&tape),
            attempt: 1,
            is_over: false,
        };
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
        Ok(Reader {
            tape: Arc::clone(&self.0),
            attempt,
            is_over: false,
        })
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

fn lock<B: Body>(tape: &Mutex<State<B>>) -> MutexGuard<'_, State<B>> {
    // Nothing that could be left half done happens under it.
    tape.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<B: Body> State<B> {
    /// Frees what the attempt has read and nobody will read again.
    fn forget(&mut self) -> VecDeque<B::Data> {
        if self.keeps == Keeps::Everything {
            return VecDeque::new();
        }
        let unread = self.frames.split_off(self.read.min(self.frames.len()));
        self.read = 0;
        std::mem::replace(&mut self.frames, unread)
    }

    fn is_at_source(&self) -> bool {
        self.read == self.frames.len() && (self.trailers.is_none() || self.read_trailers)
    }

    fn is_ended(&self) -> bool {
        self.is_at_source()
            && match &self.source {
                Source::Here(source) => source.is_end_stream(),
                Source::Ended => true,
                Source::Lent | Source::Broken(_) => false,
            }
    }

    fn wait(&mut self, waker: &Waker) {
        match &mut self.waker {
            Some(known) => known.clone_from(waker),
            none => *none = Some(waker.clone()),
        }
    }
}

impl<B> State<B>
where
    B: Body<Error: 'static>,
{
    /// Whether everything that was read is still there and another attempt can begin.
    fn whole(&self) -> Result<(), RetryRefused> {
        // Without an error to end it with, a body that is still being read has to be left to its reader.
        let is_free = || !self.is_read || self.is_ended() || make::<B::Error>().is_some();
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
    fn replay(&mut self) -> Option<Frame<B::Data>> {
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
    fn record(&mut self, frame: Frame<B::Data>) -> Result<(), Frame<B::Data>> {
        let size = match frame.into_data() {
            Ok(data) if data.has_remaining() => {
                // However small it is, it takes so much to keep it.
                let size = data.remaining().max(size_of::<B::Data>());
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
                Some(room) => self.room = room,
                None => self.keeps = Keeps::TooMuch,
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

/// The source while a reader polls it. If that panics, there is no source any more.
struct Loan<'a, B: Body> {
    tape: &'a Mutex<State<B>>,
    source: Option<B>,
    attempt: u64,
}

pub(super) type Polled<B> = Poll<Option<Result<Frame<<B as Body>::Data>, <B as Body>::Error>>>;

impl<B> Loan<'_, B>
where
    B: Body<Data: Clone, Error: 'static> + Unpin,
{
    fn poll(mut self, cx: &mut Context<'_>) -> Polled<B> {
        let Some(source) = &mut self.source else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(source).poll_frame(cx);
        let source = self.source.take();
        let mut state = lock(self.tape);
        let is_current = state.attempt == self.attempt;
        let mut answer = Poll::Ready(None);
        // Dropped only when the lock is free again.
        let mut ended = None;
        let mut freed = VecDeque::new();
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                state.source = source.map_or(Source::Ended, Source::Here);
                let kept = state.record(frame);
                freed = state.forget();
                if is_current {
                    let frame = match kept {
                        Ok(()) => state.replay(),
                        Err(frame) => Some(frame),
                    };
                    answer = Poll::Ready(frame.map(Ok));
                }
            }
            Poll::Ready(Some(Err(error))) => {
                ended = source;
                freed = std::mem::take(&mut state.frames);
                state.read = 0;
                if is_current {
                    state.source = Source::Broken(None);
                    answer = Poll::Ready(Some(Err(error)));
                } else {
                    state.source = Source::Broken(Some(error));
                }
            }
            Poll::Ready(None) => {
                ended = source;
                state.source = Source::Ended;
            }
            Poll::Pending => {
                state.source = source.map_or(Source::Ended, Source::Here);
                if is_current {
                    state.wait(cx.waker());
                    answer = Poll::Pending;
                }
            }
        }
        // Who came while the source was away waits for it.
        let waiting = if is_current { None } else { state.waker.take() };
        drop(state);
        drop((ended, freed));
        if let Some(waker) = waiting {
            waker.wake();
        }
        if is_current {
            answer
        } else {
            superseded::<B>()
        }
    }
}

fn superseded<B: Body<Error: 'static>>() -> Polled<B> {
    // Where there is no error to be made of it, it had come to its end: see `State::whole`.
    Poll::Ready(make().map(Err))
}

impl<B: Body> Drop for Loan<'_, B> {
    fn drop(&mut self) {
        if self.source.is_some() {
            let mut state = lock(self.tape);
            state.source = Source::Broken(None);
            let freed = std::mem::take(&mut state.frames);
            state.read = 0;
            let waiting = state.waker.take();
            drop(state);
            drop(freed);
            if let Some(waker) = waiting {
                waker.wake();
            }
        }
    }
}

impl<B> Body for Reader<B>
where
    B: Body<Data: Clone, Error: 'static> + Unpin,
{
    type Data = B::Data;
    type Error = B::Error;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Polled<B> {
        let this = self.get_mut();
        let mut state = lock(&this.tape);
        if state.attempt != this.attempt {
            drop(state);
            return if std::mem::replace(&mut this.is_over, true) {
                Poll::Ready(None)
            } else {
                superseded::<B>()
            };
        }
        if let Some(frame) = state.replay() {
            return Poll::Ready(Some(Ok(frame)));
        }
        let source = match std::mem::replace(&mut state.source, Source::Lent) {
            Source::Here(source) => source,
            Source::Lent => {
                state.wait(cx.waker());
                return Poll::Pending;
            }
            Source::Ended => {
                state.source = Source::Ended;
                return Poll::Ready(None);
            }
            Source::Broken(error) => {
                state.source = Source::Broken(None);
                return Poll::Ready(error.map(Err));
            }
        };
        drop(state);
        let loan = Loan {
            tape: &this.tape,
            source: Some(source),
            attempt: this.attempt,
        };
        loan.poll(cx)
    }

    fn size_hint(&self) -> SizeHint {
        let state = lock(&self.tape);
        match &state.source {
            _ if state.attempt != self.attempt => SizeHint::default(),
            Source::Here(source) if state.is_at_source() => source.size_hint(),
            Source::Ended if state.is_at_source() => SizeHint::with_exact(0),
            _ => less(&state.hint, state.read_bytes),
        }
    }

    fn is_end_stream(&self) -> bool {
        let state = lock(&self.tape);
        state.attempt == self.attempt && state.is_ended()
    }
}

#[cfg(test)]
impl<B: Body> Reader<B> {
    /// How many bytes are kept.
    pub(super) fn kept(&self) -> u64 {
        let state = lock(&self.tape);
        let sizes = state.frames.iter().map(|data| data.remaining() as u64);
        sizes.sum()
    }
}

/// The hint when so much has been read.
fn less(hint: &SizeHint, read: u64) -> SizeHint {
    let mut rest = SizeHint::new();
    if let Some(upper) = hint.upper() {
        rest.set_upper(upper.saturating_sub(read));
    }
    rest.set_lower(hint.lower().saturating_sub(read));
    rest
}

impl<B: Body> Drop for Reader<B> {
    fn drop(&mut self) {
        let mut state = lock(&self.tape);
        if state.attempt == self.attempt {
            state.is_read = false;
            let waker = state.waker.take();
            drop(state);
            drop(waker);
        }
    }
}
