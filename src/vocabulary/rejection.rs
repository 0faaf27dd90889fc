//! The one thing a policy says when it does not let a call through, or ends it.

use std::error::Error as StdError;
use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

use crate::vocabulary::chain::find;
use crate::vocabulary::kind::Id;
use crate::vocabulary::name::{InstanceName, Named};
use crate::vocabulary::reason::Reason;

/// A call that a policy rejected: by which layer, by which instance of it, and why. A rejection by
/// an open circuit also says when to retry.
///
/// One type for all layers, two words in size, cheap to make and to clone. However deep in a stack it was made,
/// and behind however many error types, [`Rejection::find`] finds it.
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
    /// The name of the instance.
    named: Named,
    /// All else in one word: every result and every future of a stack is as large as a rejection makes
    /// it. From the highest: 5 bits of reason (never 0), 3 bits of what the time is, 24 bits of the kind
    /// of layer, 32 bits of time in units of 100 microseconds.
    word: NonZeroU64,
}

const UNIT: Duration = Duration::from_micros(100);
const NO_HINT: u32 = u32::MAX;

/// What the time of a rejection is.
mod time {
    pub(super) const RETRY_AFTER: u64 = 0;
    pub(super) const LAYER: u64 = 1;
    pub(super) const DEADLINE: u64 = 2;
    pub(super) const IDLE: u64 = 3;
    pub(super) const OUTER: u64 = 4;
}

/// The time limit that ended a call, and its length: see [`Rejection::time_limit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TimeLimit {
    /// The layer's own limit, in full.
    Layer(Duration),
    /// The limit of an outer layer, which ends earlier than the layer's own. The duration is the time that the call had until
    /// then.
    Outer(Duration),
    /// The deadline of the request, which no layer set: the caller's or the [`Context`](crate::Context)'s. The duration is the
    /// time that the call had until then.
    Deadline(Duration),
    /// The limit on how long a body may make no progress.
    Idle(Duration),
}

impl TimeLimit {
    /// The length of the limit.
    #[must_use]
    pub const fn duration(self) -> Duration {
        match self {
            Self::Layer(limit) | Self::Outer(limit) | Self::Deadline(limit) | Self::Idle(limit) => {
                limit
            }
        }
    }

    /// The limit as one word for logs: `layer`, `outer`, `deadline`, `idle`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Layer(_) => "layer",
            Self::Outer(_) => "outer",
            Self::Deadline(_) => "deadline",
            Self::Idle(_) => "idle",
        }
    }
}

impl fmt::Display for TimeLimit {
    /// A sentence: `the call took longer than the timeout of 2s`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Layer(limit) => write!(f, "the call took longer than the timeout of {limit:?}"),
            Self::Outer(after) => {
                write!(
                    f,
                    "the timeout of an outer layer ended the call after {after:?}"
                )
            }
            Self::Deadline(after) => {
                write!(f, "the deadline of the request passed after {after:?}")
            }
            Self::Idle(limit) => write!(f, "the body made no progress for {limit:?}"),
        }
    }
}

impl Rejection {
    /// A rejection of your own making: for a test, or for a layer of your own.
    ///
    /// What a name may not contain (anything but ASCII letters, digits and `. _ : / -`, or more than
    /// 64 bytes) is replaced. A layer that is not made of `a-z`, `0-9` and `_` becomes `unknown`.
    #[must_use]
    pub fn new(layer: &'static str, name: &str, reason: Reason) -> Self {
        Self::by(&InstanceName::lossy(layer, name), reason)
    }

    #[inline]
    pub(crate) fn by(instance: &InstanceName, reason: Reason) -> Self {
        Self {
            named: instance.named().clone(),
            word: packed(reason, instance.id(), time::RETRY_AFTER, NO_HINT),
        }
    }

    /// A call that this limit ended.
    pub(crate) fn timed_out(instance: &InstanceName, limit: TimeLimit) -> Self {
        let kind = match limit {
            TimeLimit::Layer(_) => time::LAYER,
            TimeLimit::Outer(_) => time::OUTER,
            TimeLimit::Deadline(_) => time::DEADLINE,
            TimeLimit::Idle(_) => time::IDLE,
        };
        Self {
            named: instance.named().clone(),
            word: packed(
                Reason::TimedOut,
                instance.id(),
                kind,
                units(limit.duration()),
            ),
        }
    }

    /// The time, if it is of this kind.
    fn time(&self, kind: u64) -> Option<Duration> {
        let units = self.word.get() as u32;
        ((self.word.get() >> 56) & 0b111 == kind && units != NO_HINT).then(|| UNIT * units)
    }

    fn id(&self) -> Id {
        let number = (self.word.get() >> 32) as usize & 0x00ff_ffff;
        Id::ALL.get(number).copied().unwrap_or(Id::Unknown)
    }

    /// The same, with the time after which a new try may be worth while: rounded up to 100 microseconds, and at most 119 hours. It
    /// takes the place of the [`time_limit`](Self::time_limit).
    #[must_use]
    pub fn with_retry_after(self, after: Duration) -> Self {
        let word = packed(self.reason(), self.id(), time::RETRY_AFTER, units(after));
        Self { word, ..self }
    }

    /// Why.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        let number = (self.word.get() >> 59) as usize;
        if number == 0 || number > Reason::ALL.len() {
            return Reason::NotReady;
        }
        Reason::ALL[number - 1]
    }

    /// Which kind of layer: `circuit_breaker`, `bulkhead`, ...
    #[must_use]
    pub fn layer(&self) -> &'static str {
        self.named.layer(self.id())
    }

    /// Which instance of it: the name it was built with, or `default`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.named.name()
    }

    /// After how long a new try may be worth while, where that is known: a circuit breaker knows how long it stays open
    /// ([`Reason::CircuitOpen`]; `None` while it sends probes and while it is forced open), and a rate limit when there is a permit
    /// ([`Reason::RateLimited`]).
    ///
    /// Other layers return `None`. When the next permit will be free depends on the calls that hold one, and a constant would send all rejected
    /// callers back at the same moment; a back-off with jitter spreads them. After a time-out there is nothing to wait for.
    ///
    /// `RespondLayer` sends it as `Retry-After` (HTTP) or `grpc-retry-pushback-ms` (gRPC), and neither where it is `None`.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.time(time::RETRY_AFTER)
    }

    /// Which time limit ended the call, and how long it was, for [`Reason::TimedOut`]: the layer's own, in full, or the deadline of the
    /// request. The length is rounded up to 100 microseconds, and at most 119 hours. `None` for every other reason, and for a
    /// rejection made by [`new`](Self::new).
    ///
    /// ```
    /// use mainstay::{TimeLimit, TimeoutLayer};
    /// use std::time::Duration;
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let service = ServiceBuilder::new()
    ///     .layer(TimeoutLayer::new(Duration::from_millis(5)))
    ///     .service(service_fn(|()| std::future::pending::<Result<(), std::io::Error>>()));
    ///
    /// let error = service.oneshot(()).await.unwrap_err();
    /// let limit = error.as_rejection().unwrap().time_limit();
    /// assert_eq!(limit, Some(TimeLimit::Layer(Duration::from_millis(5))));
    /// assert_eq!(error.to_string(), "timeout `default`: the call took longer than the timeout of 5ms");
    /// # }
    /// ```
    #[must_use]
    pub fn time_limit(&self) -> Option<TimeLimit> {
        let layer = self.time(time::LAYER).map(TimeLimit::Layer);
        let deadline = || self.time(time::DEADLINE).map(TimeLimit::Deadline);
        let idle = || self.time(time::IDLE).map(TimeLimit::Idle);
        let outer = || self.time(time::OUTER).map(TimeLimit::Outer);
        layer.or_else(outer).or_else(deadline).or_else(idle)
    }

    /// The reason in words that may be shown to a caller.
    pub(crate) const fn describe(&self) -> Described<'_> {
        Described(self)
    }

    /// Whether the layer that made this rejection never called its inner service: only [`Reason::TimedOut`] ends a call that had been
    /// started.
    ///
    /// That is said of this one call. An earlier attempt of a retried request may have been sent, and where an error hides the
    /// rejection of somebody else's call, of a client that the service uses inside, the service itself was called.
    #[must_use]
    pub const fn not_sent(&self) -> bool {
        self.reason().not_sent()
    }

    /// Finds the rejection behind any error, by walking its [`source`](StdError::source) chain.
    #[must_use]
    pub fn find<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Self> {
        find(error)
    }
}

const fn packed(reason: Reason, id: Id, kind: u64, units: u32) -> NonZeroU64 {
    let reason = (reason as u64 + 1) << 59;
    let id = (id as u64) << 32;
    // The reason makes it more than nothing.
    match NonZeroU64::new(reason | kind << 56 | id | units as u64) {
        Some(word) => word,
        None => NonZeroU64::MIN,
    }
}

/// A duration in units, rounded up.
fn units(duration: Duration) -> u32 {
    let units = duration.as_nanos().div_ceil(UNIT.as_nanos());
    u32::try_from(units).unwrap_or(NO_HINT).min(NO_HINT - 1)
}

/// The reason in words that may be shown to a caller: with the time limit that ended the call, without the name of an instance.
pub(crate) struct Described<'a>(&'a Rejection);

impl fmt::Display for Described<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.time_limit() {
            Some(limit) => limit.fmt(f),
            None => f.write_str(self.0.reason().describe()),
        }
    }
}

impl fmt::Debug for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rejection")
            .field("layer", &self.layer())
            .field("name", &self.name())
            .field("reason", &self.reason())
            .field("retry_after", &self.retry_after())
            .field("time_limit", &self.time_limit())
            .finish()
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`: {}", self.layer(), self.name(), self.describe())?;
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
        return Some(self.reason().grpc_status());
        #[cfg(not(feature = "tonic"))]
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_two_words_and_keeps_everything() {
        assert_eq!(size_of::<Option<Rejection>>(), 16);
        assert_eq!(
            size_of::<Result<u64, crate::vocabulary::error::Error<std::io::Error>>>(),
            24
        );
        for reason in [
            Reason::CircuitOpen,
            Reason::Full,
            Reason::QueueTimeout,
            Reason::Shed,
            Reason::NotReady,
            Reason::TimedOut,
            Reason::DeadlinePassed,
            Reason::RateLimited,
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

    #[test]
    fn it_keeps_the_limit_that_ended_the_call() {
        let instance = InstanceName::lossy("timeout", "users");
        let second = Duration::from_secs(1);
        for (limit, shown) in [
            (
                TimeLimit::Layer(second),
                "the call took longer than the timeout of 1s",
            ),
            (
                TimeLimit::Outer(second),
                "the timeout of an outer layer ended the call after 1s",
            ),
            (
                TimeLimit::Deadline(second),
                "the deadline of the request passed after 1s",
            ),
            (TimeLimit::Idle(second), "the body made no progress for 1s"),
        ] {
            let rejection = Rejection::timed_out(&instance, limit);
            assert_eq!(rejection.reason(), Reason::TimedOut);
            assert_eq!(rejection.name(), "users");
            assert_eq!(rejection.time_limit(), Some(limit));
            assert_eq!(rejection.retry_after(), None);
            assert_eq!(rejection.to_string(), format!("timeout `users`: {shown}"));
            let hinted = rejection.with_retry_after(second);
            assert_eq!(hinted.time_limit(), None);
            assert_eq!(hinted.retry_after(), Some(second));
        }
        let short = TimeLimit::Layer(Duration::from_nanos(1));
        let rejection = Rejection::timed_out(&instance, short);
        assert_eq!(rejection.time_limit(), Some(TimeLimit::Layer(UNIT)));
        let none = Rejection::by(&instance, Reason::TimedOut);
        assert_eq!(none.time_limit(), None);
    }
}
