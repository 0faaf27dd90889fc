//! The one thing a policy says when it does not let a call through, or ends it.

use std::error::Error as StdError;
use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

use crate::chain::find;
use crate::name::{Number, Origin, origin_lossy};

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
    pub(crate) const ALL: [Self; 7] = [
        Self::CircuitOpen,
        Self::Full,
        Self::QueueTimeout,
        Self::Shed,
        Self::NotReady,
        Self::TimedOut,
        Self::DeadlinePassed,
    ];

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
/// One type for all layers, one word in size, cheap to clone and free of allocation. However deep in a stack
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
pub struct Rejection(
    /// All in one word: whatever can carry a rejection, every result and every future of a stack, is as large as that makes it. From
    /// the highest: 8 bits of reason (never 0), 24 bits of origin, 32 bits of time in units of 100 microseconds.
    NonZeroU64,
);

const UNIT: Duration = Duration::from_micros(100);
const NO_HINT: u32 = u32::MAX;

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
        Self::packed(reason, origin.number(), NO_HINT)
    }

    #[inline]
    const fn packed(reason: Reason, origin: Number, retry_after: u32) -> Self {
        let reason = (reason as u64 + 1) << 56;
        let origin = (origin.to_bits() as u64) << 32;
        // The reason makes it more than nothing.
        match NonZeroU64::new(reason | origin | retry_after as u64) {
            Some(word) => Self(word),
            None => Self(NonZeroU64::MIN),
        }
    }

    const fn number(&self) -> Number {
        Number::from_bits((self.0.get() >> 32) as u32 & 0x00ff_ffff)
    }

    /// The same, with the time after which a new try may be worth while: rounded up to 100 microseconds, and at most 119 hours.
    #[must_use]
    pub fn with_retry_after(self, after: Duration) -> Self {
        let units = after.as_nanos().div_ceil(UNIT.as_nanos());
        let units = u32::try_from(units).unwrap_or(NO_HINT).min(NO_HINT - 1);
        Self::packed(self.reason(), self.number(), units)
    }

    /// Why.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        let number = (self.0.get() >> 56) as usize;
        if number == 0 || number > Reason::ALL.len() {
            return Reason::NotReady;
        }
        Reason::ALL[number - 1]
    }

    /// Which kind of layer: `circuit_breaker`, `bulkhead`, ...
    #[must_use]
    pub fn layer(&self) -> &'static str {
        self.number().origin().layer()
    }

    /// Which instance of it: the name it was built with, or `default`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.number().origin().name()
    }

    /// After how long a new try may be worth while, where that is known.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        let units = self.0.get() as u32;
        (units != NO_HINT).then(|| UNIT * units)
    }

    /// Whether the layer that made this rejection never called its inner service: only [`Reason::TimedOut`] ends a call that had been
    /// started.
    ///
    /// That is said of this one call. An earlier attempt of a retried request may have been sent, and where an error hides the
    /// rejection of somebody else's call, of a client that the service uses inside, the service itself was called.
    #[must_use]
    pub const fn not_sent(&self) -> bool {
        !matches!(self.reason(), Reason::TimedOut)
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
            .field("reason", &self.reason())
            .field("retry_after", &self.retry_after())
            .finish()
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let origin = self.number().origin();
        write!(f, "{origin}: {}", self.reason().describe())?;
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
        return Some(crate::grpc::status_of(self.reason()));
        #[cfg(not(feature = "tonic"))]
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_one_word_and_keeps_everything() {
        assert_eq!(size_of::<Option<Rejection>>(), 8);
        assert_eq!(size_of::<Result<u64, crate::Error<std::io::Error>>>(), 16);
        for reason in [
            Reason::CircuitOpen,
            Reason::Full,
            Reason::QueueTimeout,
            Reason::Shed,
            Reason::NotReady,
            Reason::TimedOut,
            Reason::DeadlinePassed,
        ] {
            let rejection = Rejection::new("my_layer", reason.as_str(), reason);
            assert_eq!(rejection.reason(), reason);
            assert_eq!(rejection.layer(), "my_layer");
            assert_eq!(rejection.name(), reason.as_str());
            assert_eq!(rejection.retry_after(), None);
            assert_eq!(rejection.not_sent(), reason != Reason::TimedOut);
            for (after, rounded) in [
                (Duration::ZERO, Duration::ZERO),
                (Duration::from_nanos(1), UNIT),
                (Duration::from_millis(1_500), Duration::from_millis(1_500)),
                (Duration::MAX, UNIT * (NO_HINT - 1)),
            ] {
                let rejection = rejection.clone().with_retry_after(after);
                assert_eq!(rejection.retry_after(), Some(rounded));
                assert_eq!(rejection.reason(), reason);
                assert_eq!(rejection.name(), reason.as_str());
            }
        }
    }
}
