//! The one thing a policy says when it does not let a call through, or ends it.

use std::error::Error as StdError;
use std::fmt;
use std::time::Duration;

use crate::chain::find;
use crate::name::{Origin, origin_lossy};

/// Why a policy rejected a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Reason {
    /// The circuit is open: what is behind it has been failing.
    CircuitOpen,
    /// A bulkhead has all its calls in flight (and its queue, if it has one, is full).
    Full,
    /// The call waited as long as it may for a place in a bulkhead.
    QueueTimeout,
    /// A load shedder has reached its limit of calls in flight.
    Shed,
    /// The inner service was not ready to take the call.
    NotReady,
    /// The call was started and took longer than it may.
    TimedOut,
    /// The deadline had passed before the call was started.
    DeadlinePassed,
}

impl Reason {
    /// The reason as one word for labels and logs: `circuit_open`, `full`, ...
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CircuitOpen => "circuit_open",
            Self::Full => "full",
            Self::QueueTimeout => "queue_timeout",
            Self::Shed => "shed",
            Self::NotReady => "not_ready",
            Self::TimedOut => "timed_out",
            Self::DeadlinePassed => "deadline_passed",
        }
    }

    /// The reason in words that may be shown to a caller.
    pub(crate) const fn describe(self) -> &'static str {
        match self {
            Self::CircuitOpen => "the circuit is open",
            Self::Full => "the bulkhead is full",
            Self::QueueTimeout => "the wait for a place was too long",
            Self::Shed => "load is being shed",
            Self::NotReady => "the service is not ready",
            Self::TimedOut => "the call timed out",
            Self::DeadlinePassed => "the deadline had already passed",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A call that a policy rejected: by which layer, by which instance of it, why, and when it may be
/// tried again.
///
/// One type for all layers, three words in size, cheap to clone and free of allocation. However deep in a stack
/// and behind however many error types it was made, [`Rejection::find`] finds it.
///
/// ```
/// use mainstay::{Reason, Rejection};
/// use std::time::Duration;
///
/// let rejection = Rejection::new("circuit_breaker", "payments", Reason::CircuitOpen)
///     .with_retry_after(Duration::from_secs(2));
/// let boxed: Box<dyn std::error::Error + Send + Sync> = Box::new(rejection);
///
/// let found = Rejection::find(&*boxed).unwrap();
/// assert_eq!(found.reason(), Reason::CircuitOpen);
/// assert_eq!(found.name(), "payments");
/// assert!(found.not_sent());
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct Rejection {
    origin: &'static Origin,
    /// Nanoseconds; `NO_HINT` where there is none. Half the size of an `Option<Duration>`, and the size
    /// of every future that can carry a rejection depends on it.
    retry_after: u64,
    reason: Reason,
}

const NO_HINT: u64 = u64::MAX;

impl Rejection {
    /// A rejection of your own making: for a test, or for a layer of your own.
    ///
    /// `layer` and `name` are kept for the life of the process, so take them from a closed set.
    /// What a name may not contain (anything but ASCII letters, digits and `. _ : / -`, or more than
    /// 64 bytes) is replaced.
    #[must_use]
    pub fn new(layer: &str, name: &str, reason: Reason) -> Self {
        Self::by(origin_lossy(layer, name), reason)
    }

    #[inline]
    pub(crate) const fn by(origin: &'static Origin, reason: Reason) -> Self {
        Self {
            origin,
            retry_after: NO_HINT,
            reason,
        }
    }

    /// The same, with the time after which a new try may be worth while.
    #[must_use]
    pub fn with_retry_after(mut self, after: Duration) -> Self {
        self.retry_after = u64::try_from(after.as_nanos())
            .unwrap_or(NO_HINT)
            .min(NO_HINT - 1);
        self
    }

    /// Why.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        self.reason
    }

    /// Which kind of layer: `circuit_breaker`, `bulkhead`, ...
    #[must_use]
    pub const fn layer(&self) -> &'static str {
        self.origin.layer()
    }

    /// Which instance of it: the name it was built with, or `default`.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.origin.name()
    }

    /// After how long a new try may be worth while, where that is known.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        if self.retry_after == NO_HINT {
            None
        } else {
            Some(Duration::from_nanos(self.retry_after))
        }
    }

    /// Whether the inner service was never called, so that nothing can have happened there.
    ///
    /// Only [`Reason::TimedOut`] ends a call that had been started.
    #[must_use]
    pub const fn not_sent(&self) -> bool {
        !matches!(self.reason, Reason::TimedOut)
    }

    /// Finds the rejection behind any error, by walking its [`source`](StdError::source) chain.
    #[must_use]
    pub fn find<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Self> {
        find(error)
    }
}

impl fmt::Debug for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejection")
            .field("layer", &self.layer())
            .field("name", &self.name())
            .field("reason", &self.reason)
            .field("retry_after", &self.retry_after())
            .finish()
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.reason.describe())?;
        match self.retry_after() {
            Some(after) => write!(f, ", retry after {after:?}"),
            None => Ok(()),
        }
    }
}

impl StdError for Rejection {
    /// With the `tonic` feature, a `tonic::Status` of the rejection's code: whoever looks for a
    /// status in the chain of sources (tonic does) finds the right one.
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        #[cfg(feature = "tonic")]
        return Some(crate::grpc::status_of(self.reason));
        #[cfg(not(feature = "tonic"))]
        None
    }
}
