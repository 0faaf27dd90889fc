//! The context of a request: correlation ID, deadline, number of the attempt and priority.
//!
//! Each of them is a thread-local cell of its own, so that a layer pays only for the one it
//! changes. Cells with plain numbers need no destructor, which makes access free.

mod attempt;
mod correlation;
mod deadline;
mod priority;

use std::time::Duration;

#[cfg(feature = "http")]
pub(crate) use self::attempt::refusals_count;
pub(crate) use self::attempt::{Attempt, AttemptScope, current as attempt};
pub(crate) use self::correlation::{CorrelationScope, current as correlation_id};
pub(crate) use self::deadline::DeadlineScope;
pub(crate) use self::deadline::{Deadline, current as deadline};
pub(crate) use self::priority::{PriorityScope, current as priority};
use crate::runtime::Moment;
use crate::runtime::opaque::opaque_future;
use crate::runtime::scoped::{Scope, Scoped};
use crate::vocabulary::correlation_id::CorrelationId;
use crate::vocabulary::priority::Priority;

/// The context of a request: its correlation ID, its deadline, the number of the attempt and its
/// priority.
///
/// Server layers set it, layers and your own code read it, and client layers propagate it. It
/// belongs to the *request*, not to the thread: it is set while the request's future is polled, on
/// any thread.
///
/// A new task starts without one, unless it is started with [`mainstay::spawn`](crate::spawn) or
/// wrapped by [`Context::scope`]. A response body of your own has none either, unless it is a
/// [`mainstay::http::InContextBody`](crate::http::InContextBody) or a layer adds it, as
/// [`CorrelationLayer::server()`](crate::CorrelationLayer::server) does with the ID.
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
    priority: Priority,
}

impl Default for Context {
    /// An empty context.
    fn default() -> Self {
        Self {
            correlation_id: None,
            deadline: Deadline::NEVER,
            attempt: Attempt::new(0),
            priority: Priority::Normal,
        }
    }
}

impl Context {
    /// The context of the current request; empty outside of requests.
    #[must_use]
    pub fn current() -> Self {
        Self {
            correlation_id: correlation_id(),
            deadline: deadline(),
            attempt: Attempt::current(),
            priority: priority(),
        }
    }

    /// The correlation ID, which all log lines and calls of the request share.
    #[must_use]
    pub fn correlation_id(&self) -> Option<&CorrelationId> {
        self.correlation_id.as_ref()
    }

    /// The time left until the request's deadline: zero when it has passed, `None` without one.
    ///
    /// The deadline comes from the caller or from a configured limit. Client layers propagate it to
    /// the next service. The default limit of a layer does not count: it only ends the wait for an
    /// answer.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        self.deadline.propagated().remaining()
    }

    /// The number of the attempt: 1 for the first, 0 outside of retry layers.
    #[must_use]
    pub fn attempt(&self) -> u32 {
        self.attempt.number()
    }

    /// How important the request is. Default [`Priority::Normal`].
    #[must_use]
    pub fn priority(&self) -> Priority {
        self.priority
    }

    /// Sets how important the request is: see [`Priority`].
    #[must_use]
    pub fn with_priority(mut self, priority: Priority) -> Self {
        self.priority = priority;
        self
    }

    /// Sets the correlation ID.
    #[must_use]
    pub fn with_correlation_id(mut self, id: CorrelationId) -> Self {
        self.correlation_id = Some(id);
        self
    }

    /// Sets a deadline `timeout` from now, unless there is an earlier one.
    #[must_use]
    pub fn with_timeout(mut self, timeout: Duration) -> Self {
        let at = Moment::now().after(timeout);
        self.deadline = self.deadline.and(Deadline::foreign(at));
        self
    }

    /// Removes the deadline: for work that goes on after the response, such as a stream.
    #[must_use]
    pub fn without_deadline(mut self) -> Self {
        self.deadline = Deadline::NEVER;
        self
    }

    /// Wraps a future, so that it is polled and dropped within this context.
    pub fn scope<F: Future>(self, future: F) -> InContext<F> {
        InContext::new(Scoped::new(future, self))
    }

    /// Runs a closure within this context.
    pub fn sync_scope<R>(&self, run: impl FnOnce() -> R) -> R {
        let _entered = self.enter();
        run()
    }
}

impl Scope for Context {
    type Entered<'a> = (DeadlineScope, AttemptScope, CorrelationScope, PriorityScope);

    fn enter(&self) -> Self::Entered<'_> {
        (
            DeadlineScope::enter(self.deadline),
            self.attempt.enter(),
            CorrelationScope::enter(self.correlation_id.as_ref()),
            PriorityScope::enter(self.priority),
        )
    }
}

opaque_future! {
    /// A future that runs within a [`Context`]: see [`Context::scope`].
    pub struct InContext<F> = Scoped<F, Context>;
    impl<> [F: Future] for Output = F::Output
}

/// Whether the local deadline has passed.
pub(crate) fn deadline_has_passed() -> bool {
    let local = deadline().local();
    local != Moment::NEVER && local <= Moment::now()
}

/// Whether the local deadline has passed, and comes from the limit of a layer.
#[cfg(feature = "http")]
pub(crate) fn own_limit_has_passed() -> bool {
    own_limit().is_some() && deadline_has_passed()
}

/// Whether the propagated deadline has passed or nearly has, for a call that ran for `ran`. It may
/// then be the reason for the upstream's answer.
pub(crate) fn has_run_out(ran: Duration) -> bool {
    /// Covers delays of the network and of timers.
    const SLACK: Duration = Duration::from_millis(25);
    let Some(left) = deadline().propagated().remaining() else {
        return false;
    };
    left <= SLACK.max((ran + left) / 10)
}

/// The full length of the layer's limit behind the current deadline; `None` without a deadline, or
/// if it comes from outside (the wire, [`Context::with_timeout`]).
pub(crate) fn own_limit() -> Option<Duration> {
    deadline().limit()
}

/// The part of a call's time in which the service could have answered: none while the service waits
/// for the caller to send more of the request's body.
pub(crate) fn answerable(ran: Duration) -> Duration {
    ran.min(Moment::now().since(deadline().answerable()))
}

/// Whether the service waits for more of the request's body.
pub(crate) fn waits_for_its_caller() -> bool {
    deadline().answerable() == Moment::NEVER
}
