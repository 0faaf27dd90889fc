//! A body that a timer can end, even if its reader never polls it again.

mod content;
#[cfg(test)]
mod tests;
mod timer;

use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http_body::{Body, Frame, SizeHint};

use self::content::{Content, Frames};
use self::timer::Actions;
use super::prefetched::Prefetched;
use crate::call::spawn::Task;
use crate::layers::timeout::{TimeLimits, Until};
use crate::observe::emit::Emit as _;
use crate::protocol::respond::grpc_trailers;
use crate::runtime::isolate::isolate;
use crate::runtime::scoped::Scope;
use crate::runtime::shared::Held;
use crate::runtime::{Moment, Timer};
use crate::vocabulary::context::DeadlineScope;
use crate::vocabulary::{
    error::BoxError,
    rejection::{Rejection, TimeLimit},
};

/// The limits of a body.
pub(in crate::protocol::http) struct Limits {
    /// Whether the deadline ends the body.
    pub(in crate::protocol::http) whole: bool,
    pub(in crate::protocol::http) idle: Option<Duration>,
    /// Whether the source may be silent while somebody reads.
    pub(in crate::protocol::http) may_be_silent: bool,
    /// Whether this program reads the body. Such a reader may take any time: the body is idle only
    /// while the reader waits and the source is silent.
    pub(in crate::protocol::http) client: bool,
    /// Whether the body ends in trailers that can carry a status.
    pub(in crate::protocol::http) trailers: bool,
    pub(in crate::protocol::http) deadline: Moment,
    /// The source of the deadline.
    pub(in crate::protocol::http) until: Until,
    pub(in crate::protocol::http) state: Held<TimeLimits>,
}

/// A body and its timer.
///
/// A server stops polling a body when its client does not read. So the body is the timer's waker:
/// the timer checks the body in the thread that drives the timers.
///
/// # Locking
///
/// No user code runs under the lock: [`Content`] is taken out of the slot first. No waker is
/// cloned, dropped or woken under the lock. The timer is also polled outside of it, because it may
/// fire while it is registered, and then locks the slot.
pub(super) struct Watched<B: Body> {
    limits: Limits,
    /// The task of the request. The timer's thread enters it to end the body.
    task: Task,
    slot: Mutex<Slot<B>>,
}

struct Slot<B: Body> {
    state: State,
    /// `None` while it is in use outside of the lock, and after the end.
    content: Option<Content<B>>,
    /// The last time that a frame was taken or the reader was woken; on a client, since when the
    /// reader waits.
    progress: Moment,
    /// On a client: when the timer woke the reader, to learn whether it still waits.
    checked_reader: Option<Moment>,
    reader: Option<Waker>,
    /// Whether the reader's last poll was pending.
    reader_waits: bool,
    /// `None` while it is registered outside of the lock, and after the end.
    timer: Option<Pin<Box<Timer>>>,
    /// When the timer has to fire.
    due: Moment,
    /// Whether it fired while the content was out of the slot.
    fired_meanwhile: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Ended by this limit, which the reader has yet to learn.
    TimedOut(TimeLimit),
    Ended,
}

/// The parts of an ended body, which are dropped outside of the lock.
struct Remains<B: Body> {
    content: Option<Content<B>>,
    timer: Option<Pin<Box<Timer>>>,
    reader: Option<Waker>,
    state: State,
}

/// A waiting reader polls at once when it is woken. One that polls later was not waiting.
const READER_RESPONDS_WITHIN: Duration = Duration::from_secs(1);

type Polled<D> = Poll<Option<Result<Frame<D>, BoxError>>>;

impl<B: Body> Watched<B> {
    fn lock(&self) -> MutexGuard<'_, Slot<B>> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Ends the body when its reader is gone or has all of it.
    pub(super) fn close(&self) {
        // The lock is released before the remains are dropped.
        let remains = self.lock().end(State::Ended);
        drop(remains);
    }

    /// The deadline, if it ends the body.
    fn end(&self) -> Moment {
        if self.limits.whole {
            self.limits.deadline
        } else {
            Moment::NEVER
        }
    }

    /// The limit that ends the body at this moment.
    #[cold]
    fn limit(&self, now: Moment) -> TimeLimit {
        match self.limits.idle {
            Some(idle) if now < self.end() => TimeLimit::Idle(idle),
            _ => self.limits.until.limit(self.end()),
        }
    }

    /// The last frame or error of a body that this limit ended.
    fn last_frame(&self, limit: TimeLimit) -> Result<Frame<B::Data>, BoxError> {
        let rejection = Rejection::timed_out(self.limits.state.emitter.instance(), limit);
        if self.limits.trailers {
            Ok(Frame::trailers(grpc_trailers(&rejection)))
        } else {
            Err(rejection.into())
        }
    }

    /// Drops an ended body, reports it, and wakes its reader.
    #[cold]
    fn finish(&self, remains: Remains<B>) {
        let entered = self.task.enter();
        // The drop of the body may ask for the limit that ended it.
        let deadline = match remains.state {
            State::TimedOut(TimeLimit::Layer(_) | TimeLimit::Outer(_)) => {
                Some(DeadlineScope::enter(self.limits.until.now()))
            }
            _ => None,
        };
        // User code in the thread that drives the timers.
        isolate(move || drop(remains.content));
        drop(deadline);
        drop(remains.timer);
        // The reader makes its own rejection.
        if let State::TimedOut(limit) = remains.state {
            let _ = self.limits.state.timed_out(limit);
        }
        drop(entered);
        if let Some(reader) = remains.reader {
            reader.wake();
        }
    }
}

impl<B> Watched<B>
where
    B: Body<Data: Send, Error: Into<BoxError>> + Unpin + Send + 'static,
{
    pub(super) fn new(body: B, prefetched: Prefetched<B::Data>, limits: Limits) -> Arc<Self> {
        let now = Moment::now();
        let watched = Arc::new(Self {
            slot: Mutex::new(Slot {
                state: State::Open,
                content: Some(Content::new(body, prefetched)),
                progress: now,
                checked_reader: None,
                reader: None,
                reader_waits: false,
                timer: None,
                due: now,
                fired_meanwhile: false,
            }),
            limits,
            task: Task::current(),
        });
        let due = watched.due(now);
        let timer = Box::pin(Timer::at(due));
        let mut slot = watched.lock();
        slot.due = due;
        slot.timer = Some(timer);
        drop(slot);
        watched.act(Actions {
            arm: true,
            ..Actions::NONE
        });
        watched
    }

    pub(super) fn is_end_stream(self: &Arc<Self>) -> bool {
        let state = self.lock().state;
        match state {
            State::Open => self.inspect(Content::is_end_stream).unwrap_or(false),
            State::TimedOut(_) => false,
            State::Ended => true,
        }
    }

    pub(super) fn size_hint(self: &Arc<Self>) -> SizeHint {
        let state = self.lock().state;
        match state {
            State::Open => self.inspect(Content::size_hint).unwrap_or_default(),
            State::TimedOut(_) => SizeHint::default(),
            State::Ended => SizeHint::with_exact(0),
        }
    }

    /// Inspects the content outside of the lock. `None` after the end, and while another thread
    /// uses the content.
    fn inspect<R>(self: &Arc<Self>, inspect: impl FnOnce(&Content<B>) -> R) -> Option<R> {
        let content = self.lock().content.take()?;
        let result = inspect(&content);
        let mut slot = self.lock();
        slot.content = Some(content);
        let actions = if mem::take(&mut slot.fired_meanwhile) {
            self.check(&mut slot, Moment::now())
        } else {
            Actions::NONE
        };
        drop(slot);
        self.act(actions);
        Some(result)
    }

    pub(super) fn poll_frame(self: &Arc<Self>, cx: &mut Context<'_>) -> Polled<B::Data> {
        let mut slot = self.lock();
        let old_waker = slot.reader.take();
        let state = slot.state;
        if let State::TimedOut(_) = state {
            slot.state = State::Ended;
        }
        let content = slot.content.take();
        drop(slot);
        drop(old_waker);
        match (state, content) {
            (State::Open, Some(content)) => self.poll_content(content, cx),
            (State::TimedOut(limit), _) => Poll::Ready(Some(self.last_frame(limit))),
            _ => Poll::Ready(None),
        }
    }

    /// Polls the content. Meanwhile only a panic can end it.
    fn poll_content(
        self: &Arc<Self>,
        mut content: Content<B>,
        cx: &mut Context<'_>,
    ) -> Polled<B::Data> {
        let frames = if self.limits.client {
            // The reader is this program, not a slow connection.
            Frames::Whole
        } else {
            Frames::Split
        };
        let ready = content.next_ready(frames);
        let was_ready = ready.is_some();
        let polled = match ready {
            Some(frame) => Poll::Ready(Some(frame)),
            None => content.poll_body(cx, frames),
        };
        if content.is_over_after(&polled) {
            drop(content);
            self.close();
            return polled;
        }
        let reader = polled.is_pending().then(|| cx.waker().clone());
        let now = Moment::now();
        let mut slot = self.lock();
        slot.content = Some(content);
        let checked = slot.checked_reader.take();
        if reader.is_none() || self.limits.may_be_silent || self.starts_to_wait(&slot, checked, now)
        {
            slot.progress = now;
        }
        slot.reader_waits = reader.is_some();
        slot.reader = reader;
        if slot.reader_waits && checked.is_some() && now >= self.due(slot.progress) {
            // The reader was woken and still waits.
            let limit = self.limit(now);
            let ended = Some(Box::new(slot.end(State::TimedOut(limit))));
            slot.state = State::Ended;
            drop(slot);
            self.act(Actions {
                ended,
                ..Actions::NONE
            });
            return Poll::Ready(Some(self.last_frame(limit)));
        }
        // A body that is always ready may keep the thread from driving its timers.
        let check = mem::take(&mut slot.fired_meanwhile) || (!was_ready && now >= self.end());
        let actions = if check {
            self.check(&mut slot, now)
        } else {
            Actions::NONE
        };
        // A frame that was read ahead goes first.
        let timed_out = match slot.state {
            State::TimedOut(limit) if !was_ready => {
                slot.state = State::Ended;
                Some(limit)
            }
            _ => None,
        };
        drop(slot);
        self.act(actions);
        match timed_out {
            Some(limit) => Poll::Ready(Some(self.last_frame(limit))),
            None => polled,
        }
    }

    /// On a client: whether the reader waits from now on. It did not wait before if it did not poll
    /// soon after the timer woke it.
    fn starts_to_wait(&self, slot: &Slot<B>, checked: Option<Moment>, now: Moment) -> bool {
        let was_away = checked.is_some_and(|at| now.since(at) > READER_RESPONDS_WITHIN);
        self.limits.client && (!slot.reader_waits || was_away)
    }
}

impl<B: Body> Slot<B> {
    fn end(&mut self, state: State) -> Remains<B> {
        self.state = state;
        Remains {
            content: self.content.take(),
            timer: self.timer.take(),
            reader: self.reader.take(),
            state,
        }
    }
}
