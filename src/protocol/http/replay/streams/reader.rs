//! The body of an attempt: it replays the tape, and then reads on.

use std::collections::VecDeque;
use std::pin::Pin;
use std::sync::Mutex;
use std::task::{Context, Poll};

use http_body::{Body, Frame, SizeHint};

use super::superseded::{BrokenOff, make};
use super::tape::{Shared, Source, State, lock};

/// The body of an attempt.
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

/// The source while a reader polls it. If that panics, there is no source any more.
struct Loan<'a, B: Body<Error: 'static>> {
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
        // Cloned before the lock is taken.
        let waker = polled.is_pending().then(|| cx.waker().clone());
        let mut state = lock(self.tape);
        let is_current = state.attempt == self.attempt;
        let mut answer = Poll::Ready(None);
        // Dropped only when the lock is free again, and who waits knows.
        let mut ended = None;
        let mut freed = VecDeque::new();
        let mut before = None;
        let mut unread = None;
        match polled {
            Poll::Ready(Some(Ok(frame))) => {
                state.source = source.map_or(Source::Ended, Source::Here);
                let kept = state.record(frame);
                freed = state.forget();
                let frame = match kept {
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
                before = match waker {
                    Some(waker) if is_current => state.wait(waker),
                    waker => waker,
                };
                if is_current {
                    answer = Poll::Pending;
                }
            }
        }
        // Who came while the source was away waits for it.
        let waiting = if is_current { None } else { state.waker.take() };
        drop(state);
        if let Some(waker) = waiting {
            waker.wake();
        }
        drop((ended, freed, before, unread));
        if is_current {
            answer
        } else {
            superseded::<B>()
        }
    }
}

fn superseded<B: Body<Error: 'static>>() -> Polled<B> {
    // Where there is no error to be made of it, it had come to its end: see `State::whole`.
    Poll::Ready(make(BrokenOff::Superseded).map(Err))
}

impl<B: Body<Error: 'static>> Drop for Loan<'_, B> {
    fn drop(&mut self) {
        if self.source.is_some() {
            let broken = Source::Broken(make(BrokenOff::Panicked));
            let mut state = lock(self.tape);
            state.source = broken;
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
            match std::mem::replace(&mut state.source, Source::Lent) {
                Source::Here(source) => break source,
                Source::Lent => {
                    let Some(waker) = waker.take() else {
                        drop(state);
                        waker = Some(cx.waker().clone());
                        continue;
                    };
                    let before = state.wait(waker);
                    drop(state);
                    drop(before);
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
            }
        };
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
        use bytes::Buf;

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
