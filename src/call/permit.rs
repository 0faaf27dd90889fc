//! The permit: what a call has from its admission to its end.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::call::entry::Entry;
use crate::call::guarded::Guard;
use crate::call::time::Time;
use crate::call::track::Settle;
use crate::observe::emit::Emit;
use crate::observe::meter::Handles;
use crate::runtime::shared::{Held as Ref, Lane};
use crate::vocabulary::outcome::of_deadline_exceeded;
use crate::vocabulary::outcome::{CANCELLED, FAILED};
use crate::vocabulary::{
    outcome::{Outcome, Verdict},
    reason::Reason,
};

/// Why a call is refused, and when it may come again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use]
pub struct Refusal {
    pub(crate) reason: Reason,
    pub(crate) retry_after: Option<Duration>,
}

impl Refusal {
    /// For this reason; when the call may come again is not known.
    pub const fn new(reason: Reason) -> Self {
        Self {
            reason,
            retry_after: None,
        }
    }

    /// The call may come again after this time, which its caller is told as `Retry-After` or `grpc-retry-pushback-ms`.
    pub const fn retry_after(mut self, after: Duration) -> Self {
        self.retry_after = Some(after);
        self
    }
}

impl From<Reason> for Refusal {
    #[inline]
    fn from(reason: Reason) -> Self {
        Self::new(reason)
    }
}

/// What an instance remembers of a call that it admitted.
#[derive(Debug, Clone, Copy)]
#[must_use]
pub struct Ticket {
    pub(crate) number: u64,
    pub(crate) serial: u64,
    pub(crate) time: Time,
}

impl Ticket {
    pub(crate) const NONE: Self = Self {
        number: 0,
        serial: 0,
        time: Time::UNKNOWN,
    };

    /// A ticket with the number 0.
    pub const fn new() -> Self {
        Self::NONE
    }

    /// The same with a number that means something to the policy.
    pub const fn with_number(mut self, number: u64) -> Self {
        self.number = number;
        self
    }

    /// The number.
    #[must_use]
    pub const fn number(&self) -> u64 {
        self.number
    }
}

impl Default for Ticket {
    fn default() -> Self {
        Self::new()
    }
}

/// The state of a layer that admits and rejects calls.
///
/// One layer, service, permit and future serve them all. For each admitted call there is one [`settle`](Self::settle) or
/// [`cancel`](Self::cancel), and after it one [`release`](Self::release).
pub trait Admit: Emit + Send + Sync + Sized + 'static {
    /// Whether a call has a permit to give back once its outcome is known.
    const HOLDS: bool = true;

    /// Whether a call may have to take a turn of the run queue before it starts.
    const QUEUES_UP: bool = false;

    /// Why a call would be rejected now. Asked by `poll_ready`: changes nothing, and need not know every reason.
    fn refuses(&self) -> Option<Reason>;

    /// Decides on a call.
    fn admit(&self, entry: &mut Entry) -> Result<Ticket, Refusal>;

    /// The call is rejected for what was known, or was not ready, when it was asked whether it is ready: how long to wait, if this is known.
    fn retry_after(&self) -> Option<Duration> {
        None
    }

    /// A call is rejected.
    fn refused(&self, _: Reason) {}

    /// Whether the layer is switched off: every call passes, and nothing is counted.
    #[inline]
    fn is_off(&self) -> bool {
        false
    }

    /// Whether an admitted call takes a turn of the run queue first.
    #[inline]
    fn queues_up(&self) -> bool {
        false
    }

    /// A call is over that was no success.
    #[cold]
    fn ended(&self, _outcome: Outcome) {}

    /// The outcome is known.
    fn settle(&self, ticket: &Ticket, verdict: Verdict);

    /// The call waits.
    fn wait(&self, _: &mut Ticket) {}

    /// The head of a response is there that does not decide.
    fn head(&self, _: &mut Ticket) {}

    /// The head of the response is out, and its body goes on: whether the call leaves the count of calls in flight here.
    fn leaves_at_head(&self) -> bool {
        false
    }

    /// The body of a call that left at its head has ended, and the call was [released](Self::release).
    fn stream_ended(&self) {}

    /// The caller went away before the outcome was known.
    fn cancel(&self, ticket: &Ticket) {
        self.settle(ticket, CANCELLED);
    }

    /// The call is over, and its outcome has been told.
    fn release(&self, ticket: &Ticket);
}

/// How far a call has got: in one word, because it is moved with every call, and what was written in pieces is slow to be read
/// as a whole.
#[derive(Debug, Clone, Copy)]
struct Progress(u64);

const SETTLED: u64 = 1;
const ENTERED: u64 = 1 << 1;
/// The gauge of calls in flight has been told of it.
const COUNTED: u64 = 1 << 2;
/// The outcome, where it is no success.
const FAILURE: u64 = 1 << 3;
const IGNORED: u64 = 2 << 3;
const WAS_CANCELLED: u64 = 3 << 3;
/// It left the count of calls in flight at its head.
const STREAMS: u64 = 1 << 5;
/// It has to take a turn of the run queue before it starts.
const QUEUES_UP: u64 = 1 << 6;

impl Progress {
    /// User code is running.
    #[inline]
    const fn new() -> Self {
        Self(ENTERED)
    }

    /// The call goes on for longer than the call of a function.
    #[inline]
    fn goes_on(&mut self, state: &impl Admit) {
        if self.0 & COUNTED == 0 && state.record(Handles::entered) {
            self.0 |= COUNTED;
        }
    }

    /// Whether it has to take a turn; once.
    #[inline]
    const fn queues_up(&mut self) -> bool {
        let queues_up = self.0 & QUEUES_UP != 0;
        self.0 &= !QUEUES_UP;
        queues_up
    }

    /// The call is no longer in flight: the rest of it only streams.
    fn streams(&mut self, state: &impl Admit) {
        self.is_over(state);
        self.0 = self.0 & !COUNTED | STREAMS;
    }

    #[inline]
    const fn is_streaming(self) -> bool {
        self.0 & STREAMS != 0
    }

    /// The gauge that counted the call's beginning counts its end.
    fn is_over(self, state: &impl Admit) {
        if self.0 & COUNTED != 0 {
            state.record_again(Handles::left);
        }
    }

    #[inline]
    const fn is_entered(self) -> bool {
        self.0 & ENTERED != 0
    }

    #[inline]
    const fn enter(&mut self) {
        self.0 |= ENTERED;
    }

    #[inline]
    const fn leave(&mut self) {
        self.0 &= !ENTERED;
    }

    #[inline]
    const fn is_settled(self) -> bool {
        self.0 & SETTLED != 0
    }

    /// A success, and that is all that there is to tell.
    #[inline]
    const fn is_plain(self) -> bool {
        self.0 & (SETTLED | COUNTED | STREAMS | WAS_CANCELLED) == SETTLED
    }

    /// Whether it was not settled before.
    #[inline]
    const fn settle(&mut self, outcome: Outcome) -> bool {
        let first = self.0 & SETTLED == 0;
        if first {
            self.0 |= SETTLED
                | match outcome {
                    Outcome::Success => 0,
                    Outcome::Failure => FAILURE,
                    Outcome::Ignored => IGNORED,
                    Outcome::Cancelled => WAS_CANCELLED,
                };
        }
        first
    }

    /// What it was settled as.
    const fn outcome(self) -> Outcome {
        match self.0 & WAS_CANCELLED {
            FAILURE => Outcome::Failure,
            IGNORED => Outcome::Ignored,
            WAS_CANCELLED => Outcome::Cancelled,
            _ => Outcome::Success,
        }
    }
}

/// The permit of a call while the call's future has it.
pub struct Permit<A: Admit, T> {
    tracker: T,
    kept: Kept<A>,
}

/// Apart from the tracker, which has nothing to do any more once the call is dropped.
struct Kept<A: Admit> {
    // `None` once the permit goes on as an erased one.
    state: Option<Ref<A>>,
    ticket: Ticket,
    progress: Progress,
}

impl<A: Admit, T> Permit<A, T> {
    /// The inner service is about to be called. Should the tracker panic, the permit is released.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub(crate) fn new(state: Ref<A>, ticket: Ticket, tracker: impl FnOnce() -> T) -> Self {
        let mut progress = Progress::new();
        if A::QUEUES_UP && state.queues_up() {
            progress.0 |= QUEUES_UP;
        }
        let kept = Kept {
            state: Some(state),
            ticket,
            progress,
        };
        Self {
            tracker: tracker(),
            kept,
        }
    }
}

impl<A: Admit, T> Settle for Permit<A, T> {
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn settle(&mut self, verdict: Verdict) {
        let kept = &mut self.kept;
        let verdict = if verdict.is_deadline_exceeded() {
            of_deadline_exceeded(verdict, kept.ticket.time.ran())
        } else {
            verdict
        };
        if kept.progress.settle(verdict.outcome())
            && let Some(state) = &kept.state
        {
            state.settle(&kept.ticket, verdict);
        }
    }

    #[inline]
    fn holds(&self) -> bool {
        A::HOLDS
    }

    fn into_held(mut self) -> Held {
        let kept = &mut self.kept;
        let Some(state) = kept.state.take() else {
            return Held::nothing();
        };
        if state.leaves_at_head() {
            kept.progress.streams(&*state);
        } else {
            kept.progress.goes_on(&*state);
        }
        Held {
            state: Some(state.into_lane()),
            ticket: kept.ticket,
            progress: kept.progress,
        }
    }
}

impl<A: Admit, T> Guard for Permit<A, T> {
    type Track = T;

    #[inline]
    fn tracker(&self) -> &T {
        &self.tracker
    }

    #[inline]
    fn returned(&mut self) {
        self.kept.progress.leave();
    }

    #[inline]
    fn queues_up(&mut self) -> bool {
        A::QUEUES_UP && self.kept.progress.queues_up()
    }

    #[inline]
    fn suspended(&mut self) {
        let kept = &mut self.kept;
        if let Some(state) = &kept.state {
            kept.progress.goes_on(&**state);
            state.wait(&mut kept.ticket);
        }
    }

    #[inline]
    fn at_head(&mut self) {
        let kept = &mut self.kept;
        if let Some(state) = &kept.state {
            state.head(&mut kept.ticket);
        }
    }
}

impl<A: Admit> Drop for Kept<A> {
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn drop(&mut self) {
        if let Some(state) = &self.state {
            end(&**state, &self.ticket, self.progress);
        }
    }
}

/// Releases the permit, and settles the call if nobody has.
#[cfg_attr(not(debug_assertions), inline(always))]
fn end<A: Admit>(state: &A, ticket: &Ticket, progress: Progress) {
    let release = Release {
        state,
        ticket,
        progress,
    };
    if !progress.is_plain() {
        end_slowly(state, ticket, progress);
    }
    drop(release);
}

/// Releases the permit, also where a panic passes by.
struct Release<'a, A: Admit> {
    state: &'a A,
    ticket: &'a Ticket,
    progress: Progress,
}

impl<A: Admit> Drop for Release<'_, A> {
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn drop(&mut self) {
        self.state.release(self.ticket);
        if self.progress.is_streaming() {
            self.state.stream_ended();
        }
    }
}

/// Settles what has not been settled.
///
/// A panic is told from a cancellation by whether user code was running, even where the unwinding has long been caught.
///
/// Apart, so that the rest is small enough to be done in line.
#[inline(never)]
fn end_slowly<A: Admit>(state: &A, ticket: &Ticket, progress: Progress) {
    progress.is_over(state);
    let outcome = if progress.is_settled() {
        progress.outcome()
    } else if progress.is_entered() {
        state.settle(ticket, FAILED);
        Outcome::Failure
    } else {
        state.cancel(ticket);
        Outcome::Cancelled
    };
    if outcome != Outcome::Success {
        state.ended(outcome);
    }
}

/// The permit of a call whose response is on its way to the caller, whichever layer it is of.
///
/// Dropping it releases the permit. If the call is unsettled then, the caller went away, or (between
/// [`enter`](Self::enter) and [`leave`](Self::leave)) user code panicked.
pub struct Held {
    /// `None` for a layer that counts nothing.
    state: Option<Arc<dyn Erased>>,
    ticket: Ticket,
    progress: Progress,
}

impl Held {
    /// The permit of a layer that counts nothing.
    pub(crate) const fn nothing() -> Self {
        Self {
            state: None,
            ticket: Ticket::NONE,
            progress: Progress::new(),
        }
    }

    /// User code is about to run.
    #[inline]
    pub fn enter(&mut self) {
        self.progress.enter();
    }

    /// User code returned.
    #[inline]
    pub fn leave(&mut self) {
        self.progress.leave();
    }

    #[cfg(feature = "http")]
    pub(crate) fn is_entered(&self) -> bool {
        self.progress.is_entered()
    }

    /// The verdict as it counts, where it says that the time had run out.
    pub(crate) fn weigh(&self, verdict: Verdict) -> Verdict {
        if verdict.is_deadline_exceeded() {
            of_deadline_exceeded(verdict, self.ticket.time.ran())
        } else {
            verdict
        }
    }

    /// Says how the call went. Only the first verdict counts.
    #[inline]
    pub fn settle(&mut self, verdict: Verdict) {
        let verdict = self.weigh(verdict);
        if self.progress.settle(verdict.outcome())
            && let Some(state) = &self.state
        {
            state.settle(&self.ticket, verdict);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(state) = &self.state {
            state.end(&self.ticket, self.progress);
        }
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Held")
    }
}

impl<A: Admit, T> fmt::Debug for Permit<A, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Permit")
    }
}

/// The state of any layer that admits calls.
trait Erased: Send + Sync {
    fn settle(&self, ticket: &Ticket, verdict: Verdict);
    fn end(&self, ticket: &Ticket, progress: Progress);
}

impl<A: Admit> Erased for Lane<A> {
    fn settle(&self, ticket: &Ticket, verdict: Verdict) {
        Admit::settle(&**self, ticket, verdict);
    }

    fn end(&self, ticket: &Ticket, progress: Progress) {
        end(&**self, ticket, progress);
    }
}
