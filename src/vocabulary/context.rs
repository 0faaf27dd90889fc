//! What travels with a request: its correlation ID, its deadline and the number of the attempt.

mod deadline;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

pub(crate) use self::deadline::DeadlineScope;
pub(crate) use self::deadline::{Deadline, current as deadline};
use crate::runtime::Moment;
use crate::runtime::scoped::{Scope, Scoped};
use crate::vocabulary::correlation_id::CorrelationId;
use crate::vocabulary::correlation_id::Parts;

// Cells of their own rather than one context: a layer that changes one of them pays for that one. Plain numbers need no
// destructor, which makes reaching them free.
thread_local! {
    static ATTEMPT: Cell<u32> = const { Cell::new(0) };
}

/// What travels with a request through the program: its correlation ID, its deadline, and which
/// attempt of a retried call this is.
///
/// A server layer puts it there, every layer and your own code can read it, client layers write it
/// to the wire. It is the context of the *request*, not of the thread: it is there while the
/// request's future is polled, wherever that happens. A new task starts without one, unless it is
/// started with [`mainstay::spawn`](crate::spawn) or wrapped by [`Context::scope`]. So does a response body of your own, unless a layer
/// on the way keeps it (as [`CorrelationLayer::server()`](crate::CorrelationLayer::server) does with the ID) or it is a
/// [`mainstay::http::InContextBody`](crate::http::InContextBody).
///
/// ```
/// use mainstay::Context;
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// let context = Context::current()
///     .with_correlation_id("order-4711".parse().unwrap())
///     .with_timeout(Duration::from_secs(2));
///
/// context.scope(async {
///     let context = Context::current();
///     assert_eq!(context.correlation_id().unwrap().to_string(), "order-4711");
///     assert!(context.remaining().unwrap() <= Duration::from_secs(2));
/// }).await;
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Context {
    correlation_id: Option<CorrelationId>,
    deadline: Deadline,
    attempt: Attempt,
}

impl Default for Context {
    /// An empty one.
    fn default() -> Self {
        Self {
            correlation_id: None,
            deadline: Deadline::NEVER,
            attempt: Attempt(0),
        }
    }
}

impl Context {
    /// The context of the request that is being worked on; an empty one outside of any.
    #[must_use]
    pub fn current() -> Self {
        Self {
            correlation_id: correlation_id(),
            deadline: deadline(),
            attempt: Attempt(ATTEMPT.get()),
        }
    }

    /// The identifier that all log lines and calls of one request share.
    #[must_use]
    pub fn correlation_id(&self) -> Option<&CorrelationId> {
        self.correlation_id.as_ref()
    }

    /// The time left until the request's deadline: zero when it has passed, `None` when there is none.
    ///
    /// The deadline is the caller's, or follows from a limit that somebody set; it is also what a client layer propagates to the
    /// next service. A layer's default limit that nobody set does not show here: it ends the wait for an answer, and nothing else.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.propagated().remaining()
    }

    /// Which attempt this is of a call that may be retried: 1 for the first, 0 outside of a retry layer.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt.number()
    }

    /// The same with this correlation ID.
    #[must_use]
    pub fn with_correlation_id(mut self, id: CorrelationId) -> Self {
        self.correlation_id = Some(id);
        self
    }

    /// The same with a deadline so far from now, unless it already has an earlier one.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        let at = Moment::now().after(timeout);
        self.deadline = self.deadline.and(Deadline::foreign(at));
        self
    }

    /// The same without a deadline: for work that goes on after the request is answered, such as a stream that the response
    /// only opens.
    #[must_use]
    pub fn without_deadline(mut self) -> Self {
        self.deadline = Deadline::NEVER;
        self
    }

    /// A future that is polled and dropped within this context.
    pub fn scope<F: Future>(self, future: F) -> InContext<F> {
        InContext::new(future, self)
    }

    /// Runs a closure within this context.
    pub fn sync_scope<R>(&self, run: impl FnOnce() -> R) -> R {
        let _entered = self.enter();
        run()
    }
}

impl Scope for Context {
    type Entered<'a> = (DeadlineScope, AttemptScope, CorrelationScope);

    fn enter(&self) -> Self::Entered<'_> {
        (
            DeadlineScope::enter(self.deadline),
            self.attempt.enter(),
            CorrelationScope::enter(self.correlation_id.as_ref()),
        )
    }
}

/// A future that runs within a [`Context`]: see [`Context::scope`].
pub type InContext<F> = Scoped<F, Context>;

/// Whether the deadline that the layers obey has passed.
pub(crate) fn deadline_has_passed() -> bool {
    let local = deadline().local();
    local != Moment::NEVER && local <= Moment::now()
}

/// Whether the deadline has passed, and follows from a limit of one of the program's own layers.
#[cfg(feature = "http")]
pub(crate) fn own_limit_has_passed() -> bool {
    own_limit().is_some() && deadline_has_passed()
}

/// Whether the deadline that is propagated has run out or nearly has, for a call that has run for so long: what an upstream
/// answers then may be because of it.
pub(crate) fn has_run_out(ran: Duration) -> bool {
    /// The network and timers are late by as much.
    const SLACK: Duration = Duration::from_millis(25);
    let Some(left) = deadline().propagated().remaining() else {
        return false;
    };
    left <= SLACK.max((ran + left) / 10)
}

/// The length of the layer's limit that the current deadline follows from, in full; `None` where there is no deadline, or
/// where it comes from outside (the wire, [`Context::with_timeout`]).
pub(crate) fn own_limit() -> Option<Duration> {
    deadline().limit()
}

/// How much of the time that a call has run its service could have answered it: none while it waits for more of the request's
/// body, which is the caller's to send.
pub(crate) fn answerable(ran: Duration) -> Duration {
    ran.min(Moment::now().since(deadline().answerable()))
}

/// Whether the service waits for more of the request's body.
pub(crate) fn waits_for_its_caller() -> bool {
    deadline().answerable() == Moment::NEVER
}

/// The number of the attempt.
#[inline]
pub(crate) fn attempt() -> u32 {
    Attempt(ATTEMPT.get()).number()
}

/// Stands in the word of the attempt's number: the call was refused so often that another refusal is the server's failure.
const REFUSALS_COUNT: u32 = 1 << 31;

/// Whether it is a failure of the server to refuse a request unseen. It is not while a retry makes up for that.
#[cfg(feature = "http")]
pub(crate) fn refusals_count() -> bool {
    ATTEMPT.get() & REFUSALS_COUNT != 0
}

/// While it lives, the current attempt is this one.
#[derive(Debug)]
pub struct AttemptScope(u32);

/// Which attempt it is, 1 for the first, and whether a refusal of it is a failure.
#[derive(Clone, Copy)]
pub(crate) struct Attempt(u32);

/// Which one it is; the rest is nobody else's concern.
impl PartialEq for Attempt {
    fn eq(&self, other: &Self) -> bool {
        self.number() == other.number()
    }
}

impl Eq for Attempt {}

impl fmt::Debug for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.number().fmt(f)
    }
}

impl Attempt {
    #[inline]
    pub(crate) const fn number(self) -> u32 {
        self.0 & !REFUSALS_COUNT
    }

    #[inline]
    pub(crate) const fn new(number: u32) -> Self {
        Self(number)
    }

    /// The same attempt, of which a refusal is a failure or not.
    #[inline]
    pub(crate) const fn refusals_count(self, count: bool) -> Self {
        Self(if count {
            self.0 | REFUSALS_COUNT
        } else {
            self.0
        })
    }
}

impl Scope for Attempt {
    type Entered<'a> = AttemptScope;

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn enter(&self) -> AttemptScope {
        AttemptScope(ATTEMPT.replace(self.0))
    }
}

impl Drop for AttemptScope {
    #[inline]
    fn drop(&mut self) {
        ATTEMPT.set(self.0);
    }
}

/// While it lives, the current correlation ID is this one.
///
/// It is entered around every poll, so it is made to cost nothing in the common case, where there was no ID before: then it is an
/// empty word, and a UUID is put into three cells and one of them is cleared again.
#[derive(Debug)]
pub struct CorrelationScope {
    before: Option<Box<CorrelationId>>,
}

/// What the current correlation ID is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    None,
    Uuid,
    Text,
}

thread_local! {
    static KIND: Cell<Kind> = const { Cell::new(Kind::None) };
    static HIGH: Cell<u64> = const { Cell::new(0) };
    static LOW: Cell<u64> = const { Cell::new(0) };
    static TEXT: RefCell<Option<Arc<str>>> = const { RefCell::new(None) };
}

impl CorrelationScope {
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub(crate) fn enter(id: Option<&CorrelationId>) -> Self {
        let before = match KIND.get() {
            Kind::None => None,
            _ => correlation_id().map(Box::new),
        };
        set(id);
        Self { before }
    }

    /// The ID stays what it is.
    #[cold]
    pub(crate) fn unchanged() -> Self {
        Self {
            before: correlation_id().map(Box::new),
        }
    }
}

impl Drop for CorrelationScope {
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn drop(&mut self) {
        match (self.before.take(), KIND.get()) {
            (None, Kind::None | Kind::Uuid) => KIND.set(Kind::None),
            (before, _) => put_back(before),
        }
    }
}

#[cfg_attr(not(debug_assertions), inline(always))]
fn set(id: Option<&CorrelationId>) {
    let before = KIND.get();
    match id.map(CorrelationId::parts) {
        None => KIND.set(Kind::None),
        Some(Parts::Uuid(high, low)) => {
            KIND.set(Kind::Uuid);
            HIGH.set(high);
            LOW.set(low);
        }
        Some(Parts::Text(text)) => {
            KIND.set(Kind::Text);
            set_text(Some(Arc::clone(text)));
            return;
        }
    }
    if before == Kind::Text {
        set_text(None);
    }
}

#[cold]
fn put_back(before: Option<Box<CorrelationId>>) {
    set(before.as_deref());
}

#[cold]
fn set_text(text: Option<Arc<str>>) {
    // A thread that is being torn down has no context any more. The one before is dropped when the cell is free again.
    drop(TEXT.try_with(|current| current.replace(text)));
}

/// The current correlation ID.
pub(crate) fn correlation_id() -> Option<CorrelationId> {
    match KIND.get() {
        Kind::None => None,
        Kind::Uuid => Some(CorrelationId::of_uuid(HIGH.get(), LOW.get())),
        Kind::Text => {
            let text = TEXT.try_with(|text| text.borrow().clone()).ok().flatten();
            text.map(CorrelationId::of_text)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_let_go_of_when_its_scope_is_left() {
        let text: Arc<str> = "order-4711".into();
        let id = CorrelationId::of_text(Arc::clone(&text));
        let other = CorrelationId::of_uuid(1, 2);
        {
            let _outer = CorrelationScope::enter(Some(&id));
            let _inner = CorrelationScope::enter(Some(&other));
            assert_eq!(correlation_id(), Some(other.clone()));
        }
        assert_eq!(correlation_id(), None);
        drop(id);
        assert_eq!(Arc::strong_count(&text), 1);
    }
}
