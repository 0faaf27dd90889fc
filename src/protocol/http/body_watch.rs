//! A body that a timer ends even if its reader never polls it again.

use std::future::Future as _;
use std::mem;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use http_body::{Body, Frame, SizeHint};

use self::content::{Content, Pieces};
use super::early::Early;
use crate::call::spawn::Task;
use crate::layers::timeout::Until;
use crate::observe::emit::Emit as _;
use crate::observe::emitter::Emitter;
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

mod content;

/// The limits of a body.
pub(super) struct Limits {
    /// Whether the deadline ends the body.
    pub(super) whole: bool,
    pub(super) idle: Option<Duration>,
    /// Whether its source may be silent while somebody reads.
    pub(super) patient: bool,
    /// Whether its reader is this program. Such a reader may take as long as it likes: the body is idle only while its reader waits
    /// and its source is silent.
    pub(super) client: bool,
    /// Whether it ends in trailers that can carry a status.
    pub(super) trailers: bool,
    pub(super) deadline: Moment,
    /// What the deadline follows from.
    pub(super) until: Until,
    pub(super) emitter: Held<Emitter>,
}

/// A body and its timer.
///
/// A reader whose client does not read is not woken by the body, and does not poll it when it is woken by anything else. So the timer
/// wakes the body itself: the body is the timer's waker, and runs in the thread that drives the time.
///
/// # Locking
///
/// No user code runs under the lock: what the user's code made is taken out of the slot first ([`Content`]). No waker is cloned, dropped or
/// woken under it. The timer is taken out, too, before it is polled: it may fire while it is registered, and then it locks the slot.
pub(super) struct Watched<B: Body> {
    limits: Limits,
    /// The task that the body is ended in: the thread that does it knows nothing of the request.
    task: Task,
    slot: Mutex<Slot<B>>,
}

struct Slot<B: Body> {
    state: State,
    /// `None` while somebody looks at it outside of the lock, and once the body has ended.
    content: Option<Content<B>>,
    /// When a piece was last taken, or the reader last asked whether it is still there; for a client, since when its reader waits.
    progress: Moment,
    /// For a client: when its reader, who has waited for too long, was asked whether it still does.
    asked: Option<Moment>,
    /// Who waits for a frame.
    reader: Option<Waker>,
    /// Whether the reader's last poll found nothing.
    waits: bool,
    /// Refers to this very body. `None` while it is registered outside of the lock, and once the body has ended.
    timer: Option<Pin<Box<Timer>>>,
    /// When the timer has to fire.
    due: Moment,
    /// Whether it fired while the content was out of the slot.
    missed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Ended by this limit, which the reader does not know yet.
    Late(TimeLimit),
    Over,
}

/// What an ended body leaves, to be dropped outside of the lock.
struct Remains<B: Body> {
    content: Option<Content<B>>,
    timer: Option<Pin<Box<Timer>>>,
    reader: Option<Waker>,
    state: State,
}

/// What has to be done outside of the lock.
#[must_use]
struct Todo<B: Body> {
    /// The timer is due at another time.
    arm: bool,
    /// The reader that is asked whether it is still there.
    ask: Option<Waker>,
    ended: Option<Box<Remains<B>>>,
}

impl<B: Body> Todo<B> {
    const NOTHING: Self = Self {
        arm: false,
        ask: None,
        ended: None,
    };
}

/// A reader that is asked and waits comes at once. One that comes later was not waiting.
const AWAY: Duration = Duration::from_secs(1);

type Polled<D> = Poll<Option<Result<Frame<D>, BoxError>>>;

impl<B: Body> Watched<B> {
    fn lock(&self) -> MutexGuard<'_, Slot<B>> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its reader is gone, or has all of it.
    pub(super) fn close(&self) {
        // The lock is released before the remains are dropped.
        let remains = self.lock().end(State::Over);
        drop(remains);
    }

    /// When the body has to be looked at.
    fn due(&self, progress: Moment) -> Moment {
        let idle = self
            .limits
            .idle
            .map_or(Moment::NEVER, |idle| progress.after(idle));
        idle.min(self.end())
    }

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

    /// The last frame, or error, for the reader of a body that this limit ended.
    fn last_words(&self, limit: TimeLimit) -> Result<Frame<B::Data>, BoxError> {
        let rejection = Rejection::timed_out(self.limits.emitter.instance(), limit);
        if self.limits.trailers {
            Ok(Frame::trailers(grpc_trailers(&rejection)))
        } else {
            Err(rejection.into())
        }
    }

    /// Drops an ended body, reports it, and wakes its reader, if there is one.
    #[cold]
    fn bury(&self, remains: Remains<B>) {
        let entered = self.task.enter();
        // The body may ask whose limit it was.
        let deadline = match remains.state {
            State::Late(TimeLimit::Layer(_) | TimeLimit::Outer(_)) => {
                Some(DeadlineScope::enter(self.limits.until.now()))
            }
            _ => None,
        };
        // User code in the thread that drives the time.
        isolate(move || drop(remains.content));
        drop(deadline);
        drop(remains.timer);
        // The reader gets a rejection of its own.
        if let State::Late(limit) = remains.state {
            let _ = self.limits.emitter.timed_out(limit);
        }
        drop(entered);
        if let Some(reader) = remains.reader {
            reader.wake();
        }
    }

    /// The timer has fired, or would have if anybody had driven it: ends the body if it is time, and otherwise says when to look again.
    fn look(&self, slot: &mut Slot<B>, now: Moment) -> Todo<B> {
        let late = now >= self.due(slot.progress) && now < self.end();
        let mut ask = None;
        let due = if self.limits.client {
            // Only its reader can end it, in a poll that finds the source still silent. A reader that works on a piece does not wait.
            let due = if late || !slot.waits {
                now.after(self.limits.idle.unwrap_or(Duration::MAX))
            } else {
                self.due(slot.progress)
            };
            if late && slot.waits && slot.reader.is_some() {
                slot.asked = Some(now);
                ask = slot.reader.take();
            }
            due.min(self.end())
        } else {
            if late && self.limits.patient {
                // A reader that waits is asked whether it is still there: it is, if it comes again.
                ask = slot.reader.take();
                if ask.is_some() {
                    slot.progress = now;
                }
            }
            self.due(slot.progress)
        };
        let ended = (due <= now).then(|| Box::new(slot.end(State::Late(self.limit(now)))));
        slot.due = due;
        Todo {
            arm: ended.is_none(),
            ask,
            ended,
        }
    }

    /// The timer has fired.
    fn look_if_due(&self, slot: &mut Slot<B>, now: Moment) -> Todo<B> {
        // Before its time it fires only when its runtime is shut down, where it cannot be set again.
        if slot.state != State::Open || now < slot.due {
            return Todo::NOTHING;
        }
        if slot.content.is_none() {
            slot.missed = true;
            return Todo::NOTHING;
        }
        self.look(slot, now)
    }
}

impl<B> Watched<B>
where
    B: Body<Data: Send, Error: Into<BoxError>> + Unpin + Send + 'static,
{
    pub(super) fn new(body: B, early: Early<B::Data>, limits: Limits) -> Arc<Self> {
        let now = Moment::now();
        let watched = Arc::new(Self {
            slot: Mutex::new(Slot {
                state: State::Open,
                content: Some(Content::new(body, early)),
                progress: now,
                asked: None,
                reader: None,
                waits: false,
                timer: None,
                due: now,
                missed: false,
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
        watched.act(Todo {
            arm: true,
            ..Todo::NOTHING
        });
        watched
    }

    pub(super) fn is_end_stream(self: &Arc<Self>) -> bool {
        let state = self.lock().state;
        match state {
            State::Open => self.ask(Content::is_end_stream).unwrap_or(false),
            State::Late(_) => false,
            State::Over => true,
        }
    }

    pub(super) fn size_hint(self: &Arc<Self>) -> SizeHint {
        let state = self.lock().state;
        match state {
            State::Open => self.ask(Content::size_hint).unwrap_or_default(),
            State::Late(_) => SizeHint::default(),
            State::Over => SizeHint::with_exact(0),
        }
    }

    /// Looks at the content, outside of the lock. `None` if the body has ended, or another thread looks at it.
    fn ask<R>(self: &Arc<Self>, look: impl FnOnce(&Content<B>) -> R) -> Option<R> {
        let content = self.lock().content.take()?;
        let answer = look(&content);
        let mut slot = self.lock();
        slot.content = Some(content);
        let todo = if mem::take(&mut slot.missed) {
            self.look(&mut slot, Moment::now())
        } else {
            Todo::NOTHING
        };
        drop(slot);
        self.act(todo);
        Some(answer)
    }

    pub(super) fn poll_frame(self: &Arc<Self>, cx: &mut Context<'_>) -> Polled<B::Data> {
        let mut slot = self.lock();
        let before = slot.reader.take();
        let state = slot.state;
        if let State::Late(_) = state {
            slot.state = State::Over;
        }
        let content = slot.content.take();
        drop(slot);
        drop(before);
        match (state, content) {
            (State::Open, Some(content)) => self.poll_content(content, cx),
            (State::Late(limit), _) => Poll::Ready(Some(self.last_words(limit))),
            _ => Poll::Ready(None),
        }
    }

    /// While the content is polled nobody else can end it; a panic ends it.
    fn poll_content(
        self: &Arc<Self>,
        mut content: Content<B>,
        cx: &mut Context<'_>,
    ) -> Polled<B::Data> {
        let pieces = if self.limits.client {
            // A client's reader is not a wire.
            Pieces::Whole
        } else {
            Pieces::Small
        };
        let kept = content.next_kept(pieces);
        let is_kept = kept.is_some();
        let polled = match kept {
            Some(kept) => Poll::Ready(Some(kept)),
            None => content.poll_body(cx, pieces),
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
        let asked = slot.asked.take();
        if reader.is_none() || self.limits.patient || self.begins_to_wait(&slot, asked, now) {
            slot.progress = now;
        }
        slot.waits = reader.is_some();
        slot.reader = reader;
        if slot.waits && asked.is_some() && now >= self.due(slot.progress) {
            // It was asked, and it does still wait.
            let limit = self.limit(now);
            let ended = Some(Box::new(slot.end(State::Late(limit))));
            slot.state = State::Over;
            drop(slot);
            self.act(Todo {
                ended,
                ..Todo::NOTHING
            });
            return Poll::Ready(Some(self.last_words(limit)));
        }
        // The timer may have had no opportunity: a body that is always ready keeps a thread to itself.
        let todo = if mem::take(&mut slot.missed) || (!is_kept && now >= self.end()) {
            self.look(&mut slot, now)
        } else {
            Todo::NOTHING
        };
        // A frame that was there before is given out first.
        let late = match slot.state {
            State::Late(limit) if !is_kept => {
                slot.state = State::Over;
                Some(limit)
            }
            _ => None,
        };
        drop(slot);
        self.act(todo);
        match late {
            Some(limit) => Poll::Ready(Some(self.last_words(limit))),
            None => polled,
        }
    }

    /// For a client: whether its reader waits from now on. It does if it did not before, or if it was away: it did not come when it
    /// was asked.
    fn begins_to_wait(&self, slot: &Slot<B>, asked: Option<Moment>, now: Moment) -> bool {
        let was_away = asked.is_some_and(|asked| now.since(asked) > AWAY);
        self.limits.client && (!slot.waits || was_away)
    }

    /// Does what was found under the lock.
    fn act(self: &Arc<Self>, mut todo: Todo<B>) {
        loop {
            let next = if todo.arm { self.arm() } else { Todo::NOTHING };
            if let Some(remains) = todo.ended {
                self.bury(*remains);
            }
            if let Some(reader) = todo.ask {
                reader.wake();
            }
            if !next.arm && next.ended.is_none() {
                return;
            }
            todo = next;
        }
    }

    /// Registers the timer, outside of the lock. If its time comes meanwhile, the body is looked at.
    fn arm(self: &Arc<Self>) -> Todo<B> {
        let mut slot = self.lock();
        let Some(mut timer) = slot.timer.take() else {
            // Whoever registers it now sees that it is due at another time.
            return Todo::NOTHING;
        };
        let mut due = slot.due;
        drop(slot);
        let waker = Waker::from(Arc::clone(self));
        let mut cx = Context::from_waker(&waker);
        loop {
            timer.as_mut().move_to(due);
            let fired = timer.as_mut().poll(&mut cx).is_ready();
            let mut slot = self.lock();
            if slot.state != State::Open {
                // It is dropped after the lock is released.
                drop(slot);
                return Todo::NOTHING;
            }
            if slot.due != due {
                due = slot.due;
                continue;
            }
            slot.timer = Some(timer);
            return if fired {
                self.look_if_due(&mut slot, Moment::now().max(due))
            } else {
                Todo::NOTHING
            };
        }
    }

    /// The timer has fired.
    fn fire(self: &Arc<Self>) {
        let now = Moment::now();
        let mut slot = self.lock();
        let todo = self.look_if_due(&mut slot, now);
        drop(slot);
        self.act(todo);
    }
}

impl<B> Wake for Watched<B>
where
    B: Body<Data: Send, Error: Into<BoxError>> + Unpin + Send + 'static,
{
    fn wake(self: Arc<Self>) {
        // The thread that drives the time is everybody's.
        isolate(|| self.fire());
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

#[cfg(test)]
mod tests;
