//! A body that is watched by a timer, because its reader may never come again.

use std::any::Any;
use std::future::Future as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use bytes::{Buf as _, Bytes};
use http_body::{Body, Frame, SizeHint};

use super::early::Early;
use crate::context::{DeadlineScope, Task};
use crate::respond::grpc_trailers;
use crate::runtime::{Moment, Timer};
use crate::scoped::Scope;
use crate::tells::Teller;
use crate::timeout::Until;
use crate::{BoxError, Rejection, TimeLimit};

/// What holds for a body.
pub(super) struct Limits {
    /// Whether the deadline ends it.
    pub(super) whole: bool,
    pub(super) idle: Option<Duration>,
    /// Whether its source may be silent while somebody reads.
    pub(super) patient: bool,
    /// Whether its reader is this program: then it may take as long as it likes, and only a source is idle that says nothing while
    /// the reader waits.
    pub(super) client: bool,
    /// Whether it ends in trailers that can tell why.
    pub(super) trailers: bool,
    pub(super) deadline: Moment,
    /// What the deadline follows from.
    pub(super) until: Until,
    pub(super) teller: Teller,
}

/// A body and its timer.
///
/// A reader whose client does not read is not woken by the body, and polls it no more when it is woken by anything else. So the timer wakes
/// the body itself: it is its own waker, and is run by whoever drives the time. Nothing of the user's runs under the lock, but for what
/// a body says of its size.
pub(super) struct Watched<B: Body> {
    limits: Limits,
    /// Within which it is ended, in a thread that knows nothing of its request.
    task: Task,
    slot: Mutex<Slot<B>>,
}

struct Slot<B: Body> {
    state: State,
    /// Gone while it is polled, and when it is ended.
    body: Option<B>,
    /// What came at the head.
    early: Early<B::Data>,
    /// What is left of a large frame, which is handed on in pieces.
    rest: Option<B::Data>,
    /// When a piece was last taken, or the reader last asked whether it is still there; for a client, since when its reader waits.
    progress: Moment,
    /// For a client: when its reader, who has waited for too long, was asked whether it still does.
    asked: Option<Moment>,
    /// Who waits for a frame.
    reader: Option<Waker>,
    /// Whether the reader's last poll found nothing.
    waits: bool,
    /// Refers to this very body: taken out when it is ended.
    timer: Option<Pin<Box<Timer>>>,
    /// When the timer fires.
    due: Moment,
    /// Whether it did so while the body was polled.
    missed: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Ended by this limit, which the reader does not know yet.
    Late(TimeLimit),
    Over,
}

/// What is left when a body is ended: to be dropped outside of the lock.
struct Remains<B: Body> {
    body: Option<B>,
    early: Early<B::Data>,
    rest: Option<B::Data>,
    timer: Option<Pin<Box<Timer>>>,
    reader: Option<Waker>,
    state: State,
}

/// What was found under the lock, to be acted on outside of it.
enum Found<B: Body> {
    Fine,
    /// The reader is to be asked whether it is still there.
    Silent(Waker),
    Late(Box<Remains<B>>),
}

/// Large frames are handed on in pieces of so many bytes.
const PIECE: usize = 64 * 1024;

/// A reader that is asked and waits comes at once. One that comes later was not waiting.
const AWAY: Duration = Duration::from_secs(1);

/// A hint of so many bytes more.
fn longer(hint: &SizeHint, by: u64) -> SizeHint {
    let mut longer = SizeHint::new();
    if let Some(upper) = hint.upper() {
        longer.set_upper(upper.saturating_add(by));
    }
    longer.set_lower(hint.lower().saturating_add(by));
    longer
}

type Polled<D> = Poll<Option<Result<Frame<D>, BoxError>>>;

impl<B: Body> Watched<B> {
    fn lock(&self) -> MutexGuard<'_, Slot<B>> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its reader is gone, or has all of it.
    pub(super) fn close(&self) {
        // The lock is given back before what was in it is dropped.
        let remains = self.lock().end(State::Over);
        drop(remains);
    }

    pub(super) fn is_end_stream(&self) -> bool {
        let slot = self.lock();
        match slot.state {
            State::Open if slot.rest.is_some() || !slot.early.is_empty() => false,
            State::Open => slot.body.as_ref().is_none_or(Body::is_end_stream),
            State::Late(_) => false,
            State::Over => true,
        }
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        let slot = self.lock();
        match (slot.state, &slot.body) {
            (State::Open, Some(body)) => {
                let hint = slot.early.size_hint(&body.size_hint());
                let rest = slot.rest.as_ref().map_or(0, |rest| rest.remaining() as u64);
                longer(&hint, rest)
            }
            (State::Late(_), _) => SizeHint::default(),
            (State::Open | State::Over, _) => SizeHint::with_exact(0),
        }
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

    /// The last that the reader of a body gets which this limit ended.
    fn last_words(&self, limit: TimeLimit) -> Result<Frame<B::Data>, BoxError> {
        let rejection = Rejection::timed_out(self.limits.teller.origin(), limit);
        if self.limits.trailers {
            Ok(Frame::trailers(grpc_trailers(&rejection)))
        } else {
            Err(rejection.into())
        }
    }

    fn act(&self, found: Found<B>) {
        match found {
            Found::Fine => {}
            Found::Silent(reader) => reader.wake(),
            Found::Late(remains) => self.bury(*remains),
        }
    }

    /// What was ended is dropped; who listens to the layer is told, and so is the reader, if there is one.
    #[cold]
    fn bury(&self, remains: Remains<B>) {
        let entered = self.task.enter();
        // What is inside may ask whose limit it was.
        let deadline = match remains.state {
            State::Late(TimeLimit::Layer(_) | TimeLimit::Outer(_)) => {
                Some(DeadlineScope::enter(self.limits.until.now()))
            }
            _ => None,
        };
        // A guest in the thread that drives the time.
        let _ = catch_unwind(AssertUnwindSafe(|| {
            drop((remains.body, remains.early, remains.rest))
        }));
        drop(deadline);
        drop(remains.timer);
        // The reader gets one of its own.
        if let State::Late(limit) = remains.state {
            let _ = self.limits.teller.timed_out(limit);
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
    pub(super) fn new(body: B, early: Early<B::Data>, limits: Limits) -> Arc<Self> {
        let now = Moment::now();
        let watched = Arc::new(Self {
            slot: Mutex::new(Slot {
                state: State::Open,
                body: Some(body),
                early,
                rest: None,
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
        let mut slot = watched.lock();
        slot.due = due;
        slot.timer = Some(Box::pin(Timer::at(due)));
        let found = watched.arm(&mut slot, now);
        drop(slot);
        watched.act(found);
        watched
    }

    pub(super) fn poll_frame(self: &Arc<Self>, cx: &mut Context<'_>) -> Polled<B::Data> {
        let mut slot = self.lock();
        if let Some(next) = slot.rest.take().map(Frame::data) {
            let piece = self.piece(&mut slot.rest, next);
            // The body stays until all of it is taken: what it holds is still at work.
            let over = slot.rest.is_none()
                && slot.early.is_empty()
                && slot.body.as_ref().is_some_and(Body::is_end_stream);
            slot.progress = Moment::now();
            drop(slot);
            if over {
                self.close();
            }
            return Poll::Ready(Some(Ok(piece)));
        }
        if let Some(first) = slot.early.take() {
            let first = first.map(|frame| self.piece(&mut slot.rest, frame));
            slot.progress = Moment::now();
            return Poll::Ready(Some(first));
        }
        let before = slot.reader.take();
        let state = slot.state;
        if let State::Late(_) = state {
            slot.state = State::Over;
        }
        let body = slot.body.take();
        drop(slot);
        drop(before);
        match (state, body) {
            (State::Open, Some(body)) => self.poll_body(body, cx),
            (State::Late(limit), _) => Poll::Ready(Some(self.last_words(limit))),
            _ => Poll::Ready(None),
        }
    }

    /// While it is polled nobody else can end it; a panic ends it.
    fn poll_body(self: &Arc<Self>, mut body: B, cx: &mut Context<'_>) -> Polled<B::Data> {
        let mut rest = None;
        let polled = Pin::new(&mut body)
            .poll_frame(cx)
            .map(|next| next.map(|next| next.map(|frame| self.piece(&mut rest, frame))));
        let over = match &polled {
            _ if rest.is_some() => false,
            Poll::Ready(Some(Ok(frame))) => frame.is_trailers() || body.is_end_stream(),
            Poll::Ready(_) => true,
            Poll::Pending => false,
        };
        if over {
            drop(body);
            self.close();
            return polled.map(|frame| frame.map(|frame| frame.map_err(Into::into)));
        }
        let reader = polled.is_pending().then(|| cx.waker().clone());
        let now = Moment::now();
        let mut slot = self.lock();
        slot.body = Some(body);
        slot.rest = rest;
        let asked = slot.asked.take();
        if reader.is_none() || self.limits.patient || self.begins_to_wait(&slot, asked, now) {
            slot.progress = now;
        }
        slot.waits = reader.is_some();
        slot.reader = reader;
        if slot.waits && asked.is_some() && now >= self.due(slot.progress) {
            // It was asked, and it does still wait.
            let found = Found::Late(Box::new(slot.end(State::Late(self.limit(now)))));
            let limit = self.limit(now);
            slot.state = State::Over;
            drop(slot);
            self.act(found);
            return Poll::Ready(Some(self.last_words(limit)));
        }
        // The timer may have had no opportunity: a body that is always ready keeps a thread to itself.
        let found = if slot.missed || now >= self.end() {
            slot.missed = false;
            self.look(&mut slot, now)
        } else {
            Found::Fine
        };
        let state = slot.state;
        if let State::Late(_) = state {
            slot.state = State::Over;
        }
        drop(slot);
        self.act(found);
        if let State::Late(limit) = state {
            return Poll::Ready(Some(self.last_words(limit)));
        }
        polled.map(|frame| frame.map(|frame| frame.map_err(Into::into)))
    }

    /// For a client: whether its reader waits from now on. It does if it did not before, or if it was away: it did not come when it
    /// was asked.
    fn begins_to_wait(&self, slot: &Slot<B>, asked: Option<Moment>, now: Moment) -> bool {
        let was_away = asked.is_some_and(|asked| now.since(asked) > AWAY);
        self.limits.client && (!slot.waits || was_away)
    }

    /// The first piece of a large frame; the rest is kept. Whoever sends it on asks for the next one when the wire has room, so that a
    /// slow wire shows progress. A client's reader is not a wire.
    fn piece(&self, rest: &mut Option<B::Data>, frame: Frame<B::Data>) -> Frame<B::Data> {
        if self.limits.client {
            return frame;
        }
        frame.map_data(|mut data| {
            if let Some(bytes) = (&mut data as &mut dyn Any).downcast_mut::<Bytes>()
                && bytes.len() > PIECE
                && let Some(rest) = (rest as &mut dyn Any).downcast_mut::<Option<Bytes>>()
            {
                *rest = Some(bytes.split_off(PIECE));
            }
            data
        })
    }

    /// Ends the body if it is time, and otherwise sets the timer.
    fn look(self: &Arc<Self>, slot: &mut Slot<B>, now: Moment) -> Found<B> {
        let mut asked = None;
        let late = now >= self.due(slot.progress) && now < self.end();
        if self.limits.client {
            // Only its reader can end it, in a poll that finds the source still silent. Whoever works on a piece does not wait.
            let due = if late || !slot.waits {
                now.after(self.limits.idle.unwrap_or(Duration::MAX))
            } else {
                self.due(slot.progress)
            };
            if late && slot.waits && slot.reader.is_some() {
                slot.asked = Some(now);
                asked = slot.reader.take();
            }
            return self.again(slot, due.min(self.end()), now, asked);
        }
        if late && self.limits.patient {
            // Who waits is asked whether it is still there: it is, if it comes again.
            asked = slot.reader.take();
            if asked.is_some() {
                slot.progress = now;
            }
        }
        let due = self.due(slot.progress);
        self.again(slot, due, now, asked)
    }

    /// Sets the timer anew, or ends the body if it is time.
    fn again(
        self: &Arc<Self>,
        slot: &mut Slot<B>,
        due: Moment,
        now: Moment,
        asked: Option<Waker>,
    ) -> Found<B> {
        if due <= now {
            return Found::Late(Box::new(slot.end(State::Late(self.limit(now)))));
        }
        if let Some(timer) = &mut slot.timer {
            timer.as_mut().reset(due);
        }
        slot.due = due;
        match (self.arm(slot, now), asked) {
            (Found::Fine, Some(reader)) => Found::Silent(reader),
            (found, _) => found,
        }
    }

    /// Waits for the timer.
    fn arm(self: &Arc<Self>, slot: &mut Slot<B>, now: Moment) -> Found<B> {
        let waker = Waker::from(Arc::clone(self));
        let mut cx = Context::from_waker(&waker);
        if slot.due > now
            && let Some(timer) = &mut slot.timer
            && timer.as_mut().poll(&mut cx).is_pending()
        {
            return Found::Fine;
        }
        Found::Late(Box::new(slot.end(State::Late(self.limit(now)))))
    }

    /// The timer has fired.
    fn fire(self: &Arc<Self>) {
        let now = Moment::now();
        let mut slot = self.lock();
        // Before its time it fires only when its runtime is shut down, where it cannot be set again.
        if slot.state != State::Open || now < slot.due {
            return;
        }
        if slot.body.is_none() {
            // Being polled right now.
            slot.missed = true;
            return;
        }
        let found = self.look(&mut slot, now);
        drop(slot);
        self.act(found);
    }
}

impl<B> Wake for Watched<B>
where
    B: Body<Data: Send, Error: Into<BoxError>> + Unpin + Send + 'static,
{
    fn wake(self: Arc<Self>) {
        // The thread that drives the time is everybody's.
        let _ = catch_unwind(AssertUnwindSafe(|| self.fire()));
    }
}

impl<B: Body> Slot<B> {
    fn end(&mut self, state: State) -> Remains<B> {
        self.state = state;
        Remains {
            body: self.body.take(),
            early: std::mem::take(&mut self.early),
            rest: self.rest.take(),
            timer: self.timer.take(),
            reader: self.reader.take(),
            state,
        }
    }
}
