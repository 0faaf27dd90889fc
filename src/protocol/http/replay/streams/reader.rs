//! The body of an attempt: it replays the tape and continues with the source.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};

use super::superseded::{CutOff, make};
use super::tape::{Shared, Source, State, lock};

pub(super) struct Reader<B: Body> {
    tape: Shared<B>,
    attempt: u64,
    is_over: bool,
}

impl<B: Body> Reader<B> {
    pub(super) fn new(tape: Shared<B>, attempt: u64) -> Self {
        Self {
            tape,
            attempt,
            is_over: false,
        }
    }
}

/// The source while a reader polls it. A panic of the source drops it.
struct SourcePoll<'a, B: Body<Error: 'static>> {
    tape: &'a Mutex<State<B>>,
    source: Option<B>,
    attempt: u64,
}

pub(super) type Polled<B> = Poll<Option<Result<Frame<<B as Body>::Data>, <B as Body>::Error>>>;

impl<B> SourcePoll<'_, B>
where
    B: Body<Data: Clone, Error: 'static> + Unpin,
{
    fn run(mut self, cx: &mut Context<'_>) -> Polled<B> {
        let Some(source) = &mut self.source else {
            return Poll::Ready(None);
        };
        let polled = Pin::new(source).poll_frame(cx);
        let source = self.source.take();
        // Cloned outside of the lock.
        let waker = polled.is_pending().then(|| cx.waker().clone());
        let mut state = lock(self.tape);
        let is_current = state.attempt == self.attempt;
        let mut answer = Poll::Ready(None);
        // Dropped after the lock is released and the waiting reader is woken.
        let mut ended = None;
        let mut freed = VecDeque::new();
        let mut old_waker = None;
        let mut unread = None;
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                state.source = source.map_or(Source::Ended, Source::Idle);
                let recorded = state.record(frame);
                freed = state.take_read_frames();
                let frame = match recorded {
                    Ok(()) if is_current => state.replay(),
                    Ok(()) => None,
                    Err(frame) => Some(frame),
                };
                if is_current {
                    answer = Poll::Ready(frame.map(Ok));
                } else {
                    unread = frame;
                }
            }
            Poll::Ready(Some(Err(error))) => {
                ended = source;
                freed = std::mem::take(&mut state.frames);
                state.read = 0;
                if is_current {
                    state.source = Source::Failed(None);
                    answer = Poll::Ready(Some(Err(error)));
                } else {
                    state.source = Source::Failed(Some(error));
                }
            }
            Poll::Ready(None) => {
                ended = source;
                state.source = Source::Ended;
            }
            Poll::Pending => {
                state.source = source.map_or(Source::Ended, Source::Idle);
                old_waker = match waker {
                    Some(waker) if is_current => state.register(waker),
                    waker => waker,
                };
                if is_current {
                    answer = Poll::Pending;
                }
            }
        }
        // The current reader may wait for the source.
        let waiting = if is_current { None } else { state.waker.take() };
        drop(state);
        if let Some(waker) = waiting {
            waker.wake();
        }
        drop((ended, freed, old_waker, unread));
        if is_current {
            answer
        } else {
            superseded::<B>()
        }
    }
}

fn superseded<B: Body<Error: 'static>>() -> Polled<B> {
    // Without an error it had come to its end: see `State::check_replayable`.
    Poll::Ready(make(CutOff::Superseded).map(Err))
}

impl<B: Body<Error: 'static>> Drop for SourcePoll<'_, B> {
    fn drop(&mut self) {
        if self.source.is_some() {
            let failed = Source::Failed(make(CutOff::Panicked));
            let mut state = lock(self.tape);
            state.source = failed;
            let freed = std::mem::take(&mut state.frames);
            state.read = 0;
            let waiting = state.waker.take();
            drop(state);
            if let Some(waker) = waiting {
                waker.wake();
            }
            drop(freed);
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
        let mut waker = None;
        let source = loop {
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
            match std::mem::replace(&mut state.source, Source::Polled) {
                Source::Idle(source) => break source,
                Source::Polled => {
                    let Some(waker) = waker.take() else {
                        drop(state);
                        waker = Some(cx.waker().clone());
                        continue;
                    };
                    let old_waker = state.register(waker);
                    drop(state);
                    drop(old_waker);
                    return Poll::Pending;
                }
                Source::Ended => {
                    state.source = Source::Ended;
                    return Poll::Ready(None);
                }
                Source::Failed(error) => {
                    state.source = Source::Failed(None);
                    return Poll::Ready(error.map(Err));
                }
            }
        };
        let poll = SourcePoll {
            tape: &this.tape,
            source: Some(source),
            attempt: this.attempt,
        };
        poll.run(cx)
    }

    fn size_hint(&self) -> SizeHint {
        let state = lock(&self.tape);
        match &state.source {
            _ if state.attempt != self.attempt => SizeHint::default(),
            Source::Idle(source) if state.is_at_source() => source.size_hint(),
            Source::Ended if state.is_at_source() => SizeHint::with_exact(0),
            _ => shorter(&state.hint, state.read_bytes),
        }
    }

    fn is_end_stream(&self) -> bool {
        let state = lock(&self.tape);
        state.attempt == self.attempt && state.is_ended()
    }
}

#[cfg(test)]
impl<B: Body> Reader<B> {
    /// The number of recorded bytes.
    pub(super) fn recorded_bytes(&self) -> u64 {
        use bytes::Buf;

        let state = lock(&self.tape);
        let sizes = state.frames.iter().map(|data| data.remaining() as u64);
        sizes.sum()
    }
}

/// The hint minus the bytes that were read.
fn shorter(hint: &SizeHint, read: u64) -> SizeHint {
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
            state.has_reader = false;
            let waker = state.waker.take();
            drop(state);
            drop(waker);
        }
    }
}
