//! The timer of a watched body.

use std::future::Future as _;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use http_body::Body;

use super::{Remains, Slot, State, Watched};
use crate::runtime::Moment;
use crate::runtime::isolate::isolate;
use crate::vocabulary::error::BoxError;

/// The work to do after the lock is released.
#[must_use]
pub(super) struct Actions<B: Body> {
    /// Whether the timer has a new time.
    pub(super) arm: bool,
    /// The reader to wake, to learn whether it still reads.
    pub(super) wake: Option<Waker>,
    pub(super) ended: Option<Box<Remains<B>>>,
}

impl<B: Body> Actions<B> {
    pub(super) const NONE: Self = Self {
        arm: false,
        wake: None,
        ended: None,
    };
}

impl<B: Body> Watched<B> {
    /// When to check the body.
    pub(super) fn due(&self, progress: Moment) -> Moment {
        let idle = self
            .limits
            .idle
            .map_or(Moment::NEVER, |idle| progress.after(idle));
        idle.min(self.end())
    }

    /// Ends the body if its time is over, and otherwise sets the time of the next check.
    pub(super) fn check(&self, slot: &mut Slot<B>, now: Moment) -> Actions<B> {
        let is_idle = now >= self.due(slot.progress) && now < self.end();
        let mut wake = None;
        let due = if self.limits.client {
            // Only its reader can end it, by a poll that finds the source still silent. A reader
            // that works on a frame does not wait.
            let due = if is_idle || !slot.reader_waits {
                now.after(self.limits.idle.unwrap_or(Duration::MAX))
            } else {
                self.due(slot.progress)
            };
            if is_idle && slot.reader_waits && slot.reader.is_some() {
                slot.checked_reader = Some(now);
                wake = slot.reader.take();
            }
            due.min(self.end())
        } else {
            if is_idle && self.limits.may_be_silent {
                // A reader that polls again still reads.
                wake = slot.reader.take();
                if wake.is_some() {
                    slot.progress = now;
                }
            }
            self.due(slot.progress)
        };
        let ended = (due <= now).then(|| Box::new(slot.end(State::TimedOut(self.limit(now)))));
        slot.due = due;
        Actions {
            arm: ended.is_none(),
            wake,
            ended,
        }
    }

    fn check_if_due(&self, slot: &mut Slot<B>, now: Moment) -> Actions<B> {
        // The timer fires early only when its runtime shuts down, where it cannot be set again.
        if slot.state != State::Open || now < slot.due {
            return Actions::NONE;
        }
        if slot.content.is_none() {
            slot.fired_meanwhile = true;
            return Actions::NONE;
        }
        self.check(slot, now)
    }
}

impl<B> Watched<B>
where
    B: Body<Data: Send, Error: Into<BoxError>> + Unpin + Send + 'static,
{
    /// Performs the actions, outside of the lock.
    pub(super) fn act(self: &Arc<Self>, mut actions: Actions<B>) {
        loop {
            let next = if actions.arm {
                self.arm()
            } else {
                Actions::NONE
            };
            if let Some(remains) = actions.ended {
                self.finish(*remains);
            }
            if let Some(reader) = actions.wake {
                reader.wake();
            }
            if !next.arm && next.ended.is_none() {
                return;
            }
            actions = next;
        }
    }

    /// Registers the timer, outside of the lock. If it fires meanwhile, the body is checked.
    fn arm(self: &Arc<Self>) -> Actions<B> {
        let mut slot = self.lock();
        let Some(mut timer) = slot.timer.take() else {
            // The thread that registers it now will see the new time.
            return Actions::NONE;
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
                // The timer is dropped after the lock is released.
                drop(slot);
                return Actions::NONE;
            }
            if slot.due != due {
                due = slot.due;
                continue;
            }
            slot.timer = Some(timer);
            return if fired {
                self.check_if_due(&mut slot, Moment::now().max(due))
            } else {
                Actions::NONE
            };
        }
    }

    fn fire(self: &Arc<Self>) {
        let now = Moment::now();
        let mut slot = self.lock();
        let actions = self.check_if_due(&mut slot, now);
        drop(slot);
        self.act(actions);
    }
}

impl<B> Wake for Watched<B>
where
    B: Body<Data: Send, Error: Into<BoxError>> + Unpin + Send + 'static,
{
    fn wake(self: Arc<Self>) {
        // All timers share the thread that drives them.
        isolate(|| self.fire());
    }
}
