//! What a layer holds for a call, from its admission to its end.

use std::fmt;
use std::time::Duration;

use crate::guarded::Guard;
use crate::meter::{Handles, Meter};
use crate::outcome::of_deadline_exceeded;
use crate::track::{CANCELLED, FAILED, Settle};
use crate::{Outcome, Verdict};

/// The state of a layer that keeps something for each of its calls.
pub trait Keeper: Sync + 'static {
    /// What is remembered of a call, apart from its progress.
    type Call: Pack;

    /// Whether a call keeps something when its outcome is known.
    const HOLDS: bool = true;

    /// Whether a call may have to take a turn of the run queue before it starts.
    const QUEUES_UP: bool = false;

    /// The metrics of the layer that the call was made through: nobody's where that is gone and another one has its place.
    fn meter(&self, call: &Self::Call, number: u64) -> Meter;

    /// A call is over that was no success.
    #[cold]
    fn ended(&self, _number: u64, _outcome: Outcome) {}

    /// The outcome is known.
    fn settle(&self, call: &Self::Call, number: u64, verdict: Verdict);

    /// The call waits.
    fn wait(&self, _: &mut Self::Call) {}

    /// The head of a response is there that does not decide.
    fn head(&self, _: &mut Self::Call) {}

    /// The head of the response is out, and its body goes on: whether the call leaves the count of calls in flight here.
    fn leaves_at_head(&self, _number: u64) -> bool {
        false
    }

    /// The body of a call that left at its head has ended, and the call was [released](Self::release).
    fn stream_ended(&self, _number: u64) {}

    /// How long a call has run, as far as is known.
    fn ran(&self, _: &Self::Call) -> Duration {
        Duration::ZERO
    }

    /// The caller went away before the outcome was known.
    fn cancel(&self, call: &Self::Call, number: u64) {
        self.settle(call, number, CANCELLED);
    }

    /// The call is over, and its outcome has been told.
    fn release(&self, call: &Self::Call, number: u64);
}

/// Something of at most three words.
pub trait Pack: Copy {
    #[doc(hidden)]
    fn pack(self) -> [u64; 3];
    #[doc(hidden)]
    fn unpack(words: [u64; 3]) -> Self;
}

impl Pack for () {
    fn pack(self) -> [u64; 3] {
        [0; 3]
    }

    fn unpack(_: [u64; 3]) -> Self {}
}

/// How far a call has got, and a number of the layer's own: in one word, because it is moved with every call, and what was
/// written in pieces is slow to be read as a whole.
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
const METER: u32 = 7;
/// The number of a meter has at most 30 bits.
const METERS: u64 = (1 << 30) - 1;
const NUMBER: u32 = METER + 30;

impl Progress {
    /// User code is running. The number has 27 bits.
    #[inline]
    const fn new(number: u64) -> Self {
        debug_assert!(number < 1 << (u64::BITS - NUMBER));
        Self(number << NUMBER | ENTERED)
    }

    #[inline]
    const fn number(self) -> u64 {
        self.0 >> NUMBER
    }

    /// The call goes on for longer than the call of a function.
    #[inline]
    fn goes_on<K: Keeper>(&mut self, keeper: &K, call: &K::Call) {
        if self.0 & COUNTED == 0 {
            let meter = keeper.meter(call, self.number());
            if meter.is_on() {
                self.0 |= COUNTED | u64::from(meter.number()) << METER;
                meter.tell(Handles::entered);
            }
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
    fn streams(&mut self) {
        self.is_over();
        self.0 = self.0 & !COUNTED | STREAMS;
    }

    #[inline]
    const fn is_streaming(self) -> bool {
        self.0 & STREAMS != 0
    }

    /// Whoever was told of the call's beginning is told of its end, whatever the layer's place is used for by then.
    fn is_over(self) {
        if self.0 & COUNTED != 0 {
            Meter::of_number((self.0 >> METER & METERS) as u32).tell(Handles::left);
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

/// What a layer holds for a call while the call's future has it.
pub struct Hold<K: Keeper, T> {
    tracker: T,
    kept: Kept<K>,
}

/// Apart from the tracker, which has nothing to do any more once the call is dropped.
struct Kept<K: Keeper> {
    keeper: &'static K,
    call: K::Call,
    progress: Progress,
}

impl<K: Keeper, T> Hold<K, T> {
    /// The inner service is about to be called.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub(crate) fn new(keeper: &'static K, call: K::Call, number: u64, tracker: T) -> Self {
        Self {
            tracker,
            kept: Kept {
                keeper,
                call,
                progress: Progress::new(number),
            },
        }
    }
}

impl<K: Keeper, T> Hold<K, T> {
    /// The same call, which takes a turn of the run queue before it starts.
    #[inline]
    pub(crate) fn queueing_up(mut self, queues_up: bool) -> Self {
        if queues_up {
            self.kept.progress.0 |= QUEUES_UP;
        }
        self
    }
}

impl<K: Keeper, T> Settle for Hold<K, T> {
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn settle(&mut self, verdict: Verdict) {
        let kept = &mut self.kept;
        let verdict = if verdict.is_deadline_exceeded() {
            of_deadline_exceeded(verdict, kept.keeper.ran(&kept.call))
        } else {
            verdict
        };
        if kept.progress.settle(verdict.outcome()) {
            let number = kept.progress.number();
            kept.keeper.settle(&kept.call, number, verdict);
        }
    }

    #[inline]
    fn holds(&self) -> bool {
        K::HOLDS
    }

    fn into_held(self) -> Held {
        let mut kept = self.kept;
        if kept.keeper.leaves_at_head(kept.progress.number()) {
            kept.progress.streams();
        } else {
            kept.progress.goes_on(kept.keeper, &kept.call);
        }
        let held = Held {
            keeper: kept.keeper,
            call: kept.call.pack(),
            progress: kept.progress,
        };
        // It goes on as the other, and plain words is all there is.
        std::mem::forget(kept);
        held
    }
}

impl<K: Keeper, T> Guard for Hold<K, T> {
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
        K::QUEUES_UP && self.kept.progress.queues_up()
    }

    #[inline]
    fn suspended(&mut self) {
        let kept = &mut self.kept;
        kept.progress.goes_on(kept.keeper, &kept.call);
        kept.keeper.wait(&mut kept.call);
    }

    #[inline]
    fn at_head(&mut self) {
        self.kept.keeper.head(&mut self.kept.call);
    }
}

impl<K: Keeper> Drop for Kept<K> {
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn drop(&mut self) {
        end(self.keeper, &self.call, self.progress);
    }
}

/// Gives back what is held, and tells how the call ended if nobody has.
#[cfg_attr(not(debug_assertions), inline(always))]
fn end<K: Keeper>(keeper: &K, call: &K::Call, progress: Progress) {
    if !progress.is_plain() {
        end_slowly(keeper, call, progress);
    }
    keeper.release(call, progress.number());
    if progress.is_streaming() {
        keeper.stream_ended(progress.number());
    }
}

/// Tells what has not been told.
///
/// A panic is told from a cancellation by whether user code was running, even where the unwinding has long been caught.
///
/// Apart, so that the rest is small enough to be done in line.
#[inline(never)]
fn end_slowly<K: Keeper>(keeper: &K, call: &K::Call, progress: Progress) {
    progress.is_over();
    let number = progress.number();
    let outcome = if progress.is_settled() {
        progress.outcome()
    } else if progress.is_entered() {
        keeper.settle(call, number, FAILED);
        Outcome::Failure
    } else {
        keeper.cancel(call, number);
        Outcome::Cancelled
    };
    if outcome != Outcome::Success {
        keeper.ended(number, outcome);
    }
}

/// What a layer holds for a call whose response is on its way to the caller, whichever layer it is.
///
/// Dropping it gives back what is held. If it is unsettled then, the caller went away, or (between
/// [`enter`](Self::enter) and [`leave`](Self::leave)) user code panicked.
pub struct Held {
    keeper: &'static dyn Erased,
    call: [u64; 3],
    progress: Progress,
}

impl Held {
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
            of_deadline_exceeded(verdict, self.keeper.ran(self.call))
        } else {
            verdict
        }
    }

    /// Says how the call went. Only the first verdict counts.
    #[inline]
    pub fn settle(&mut self, verdict: Verdict) {
        let verdict = self.weigh(verdict);
        if self.progress.settle(verdict.outcome()) {
            let number = self.progress.number();
            self.keeper.settle(self.call, number, verdict);
        }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        self.keeper.end(self.call, self.progress);
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Held")
    }
}

impl<K: Keeper, T> fmt::Debug for Hold<K, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hold")
    }
}

/// Keeps nothing of any call.
pub(crate) struct Nothing;

impl Keeper for Nothing {
    type Call = ();

    const HOLDS: bool = false;

    fn meter(&self, (): &(), _: u64) -> Meter {
        Meter::NOBODY
    }

    fn settle(&self, (): &(), _: u64, _: Verdict) {}

    fn release(&self, (): &(), _: u64) {}
}

/// A [`Keeper`] of any type.
trait Erased: Sync {
    fn ran(&self, call: [u64; 3]) -> Duration;
    fn settle(&self, call: [u64; 3], number: u64, verdict: Verdict);
    fn end(&self, call: [u64; 3], progress: Progress);
}

impl<K: Keeper> Erased for K {
    fn ran(&self, call: [u64; 3]) -> Duration {
        Keeper::ran(self, &K::Call::unpack(call))
    }

    fn settle(&self, call: [u64; 3], number: u64, verdict: Verdict) {
        Keeper::settle(self, &K::Call::unpack(call), number, verdict);
    }

    fn end(&self, call: [u64; 3], progress: Progress) {
        end(self, &K::Call::unpack(call), progress);
    }
}
