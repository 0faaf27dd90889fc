//! The queue of a layer, as the calls that wait in it see it.

use std::task::{Context, Waker};
use std::time::Duration;

use crate::call::admit::{Admit, Refusal};
use crate::call::permit::Permit;
use crate::call::ticket::Ticket;
use crate::observe::meter::Handles;
use crate::runtime::Moment;
use crate::runtime::shared::Held;
use crate::vocabulary::reason::Reason;

/// The state of a layer with a queue.
pub(crate) trait Queue: Admit {
    /// The longest wait of a call; `None` if calls do not wait.
    fn max_wait(&self) -> Option<Duration>;

    /// Acquires a permit or joins the queue. Refuses when the queue is full, or when no permit can
    /// come by `until`.
    fn join(&self, until: Moment, waker: Waker) -> Result<Joined, Refusal>;

    /// Acquires a permit for a waiter, which then leaves the queue. The error is the time at which
    /// to poll again, unless the waker comes first.
    fn poll_turn(
        &self,
        waiter: u64,
        cx: &mut Context<'_>,
        is_ready: &mut dyn FnMut(&mut Context<'_>) -> bool,
    ) -> Result<(), Moment>;

    /// Removes a waiter from the queue.
    fn leave(&self, waiter: u64);

    /// Releases a permit of a call that never started.
    fn release_unused(&self) {}

    /// Records that a caller gave up before its call was admitted or rejected.
    fn gave_up(&self, waited: Duration);

    /// The refusal of a waiter whose maximum wait has passed in the queue, which it has not left yet.
    fn max_wait_passed(&self, waiter: u64) -> Refusal;
}

/// How a call joined the queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Joined {
    /// It has a permit already.
    Permit,
    /// It waits under this number.
    Waiter(u64),
}

/// A position in the queue or a permit. Dropping it leaves the queue or releases the permit.
pub(super) struct Turn<A: Queue> {
    state: Held<A>,
    stage: Stage,
    /// Whether the call was admitted or rejected. If neither, a drop counts it as given up.
    is_counted: bool,
    since: Moment,
    /// Whether the gauge of waiting calls includes it.
    is_recorded: bool,
    /// Whether it is its turn, and the inner service is not ready.
    is_not_ready: bool,
    /// Whether the gauge of calls in flight includes it.
    is_in_flight: bool,
    /// Whether the inner service is being asked for its readiness. If so in a drop, it has panicked.
    is_asking: bool,
}

#[derive(Clone, Copy)]
enum Stage {
    New,
    InQueue(u64),
    HasPermit,
}

impl<A: Queue> Turn<A> {
    /// A call that has not joined the queue yet.
    pub(super) fn new(state: Held<A>, since: Moment) -> Self {
        Self {
            state,
            stage: Stage::New,
            is_counted: false,
            since,
            is_recorded: false,
            is_not_ready: false,
            is_in_flight: false,
            is_asking: false,
        }
    }

    /// A permit or a refusal. The error is the time at which to poll again, or never.
    pub(super) fn poll(
        &mut self,
        until: Moment,
        cx: &mut Context<'_>,
        is_ready: &mut dyn FnMut(&mut Context<'_>) -> bool,
    ) -> Result<Result<(), Refusal>, Moment> {
        loop {
            match self.stage {
                Stage::New => match self.state.join(until, cx.waker().clone()) {
                    Ok(Joined::Permit) => self.has_permit(),
                    Ok(Joined::Waiter(number)) => {
                        self.stage = Stage::InQueue(number);
                        self.is_recorded = self.state.record(Handles::queued);
                    }
                    Err(refusal) => return Ok(Err(refusal)),
                },
                Stage::InQueue(number) => {
                    let mut was_asked = None;
                    let is_asking = &mut self.is_asking;
                    let mut is_ready = |cx: &mut Context<'_>| {
                        *is_asking = true;
                        let ready = is_ready(cx);
                        *is_asking = false;
                        was_asked = Some(ready);
                        ready
                    };
                    let turn = self.state.poll_turn(number, cx, &mut is_ready);
                    if let Some(ready) = was_asked {
                        self.is_not_ready = !ready;
                    }
                    turn?;
                    self.left_queue();
                    self.has_permit();
                }
                Stage::HasPermit => return Ok(Ok(())),
            }
        }
    }

    /// It waits for the inner service from now on.
    fn has_permit(&mut self) {
        self.stage = Stage::HasPermit;
        self.is_in_flight = self.state.record(Handles::entered);
    }

    fn left_queue(&self) {
        if self.is_recorded {
            self.state
                .record_again(|handles| handles.dequeued(self.since.elapsed()));
        }
    }

    /// Asks the inner service for its readiness. If that panics, the call has failed.
    pub(super) fn ask<R>(&mut self, ask: impl FnOnce() -> R) -> R {
        self.is_asking = true;
        let answer = ask();
        self.is_asking = false;
        answer
    }

    /// Leaves the queue or releases the permit, because the call is rejected. Returns the state that
    /// counts the rejection.
    pub(super) fn rejected(mut self) -> Held<A> {
        self.is_counted = true;
        self.state.clone()
    }

    /// The refusal of a call whose maximum wait has passed.
    pub(super) fn timed_out(&self) -> Refusal {
        match self.stage {
            Stage::InQueue(number) if !self.is_not_ready => self.state.max_wait_passed(number),
            Stage::New | Stage::InQueue(_) | Stage::HasPermit => Reason::NotReady.into(),
        }
    }

    /// The permit of the call that now starts.
    pub(super) fn into_permit<T>(mut self, tracker: T) -> Permit<A, T> {
        (self.stage, self.is_counted) = (Stage::New, true);
        Permit::new(self.state.clone(), Ticket::NONE, || tracker).in_flight(self.is_in_flight)
    }
}

impl<A: Queue> Drop for Turn<A> {
    fn drop(&mut self) {
        match self.stage {
            Stage::New => {}
            Stage::InQueue(number) => {
                self.state.leave(number);
                self.left_queue();
            }
            // The permit of the call that has failed.
            Stage::HasPermit if self.is_asking => {}
            Stage::HasPermit => {
                if self.is_in_flight {
                    self.state.record_again(Handles::left);
                }
                self.state.release_unused();
            }
        }
        if self.is_asking {
            // A permit that is dropped while user code runs is that of a panic: a failure.
            let permit = Permit::new(self.state.clone(), Ticket::NONE, || ());
            drop(permit.in_flight(self.is_in_flight));
        } else if !self.is_counted {
            self.state.gave_up(self.since.elapsed());
        }
    }
}

#[cfg(mainstay_loom)]
pub(crate) mod models;
