//! The rejection of a call.

use std::error::Error as StdError;
use std::fmt;
use std::num::NonZeroU64;
use std::time::Duration;

use crate::vocabulary::chain::find;
use crate::vocabulary::context;
use crate::vocabulary::kind::Id;
use crate::vocabulary::name::{InstanceName, Named};
use crate::vocabulary::priority::Priority;
use crate::vocabulary::reason::Reason;

/// A rejected call: the layer, the instance and the reason, and possibly when to retry.
///
/// One type for all layers. It is two words in size, and cheap to make and to clone.
/// [`Rejection::find`] finds it in any chain of errors.
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
    /// One word, because every result and future of a stack contains a rejection. From the highest:
    /// 5 bits of reason (never 0), 3 bits for the meaning of the time, 3 bits of priority, 21 bits
    /// of the kind of layer, 32 bits of time in units of 100 microseconds.
    word: NonZeroU64,
}

const UNIT: Duration = Duration::from_micros(100);
const NO_HINT: u32 = u32::MAX;

/// The meaning of a rejection's time.
mod time {
    pub(super) const RETRY_AFTER: u64 = 0;
    pub(super) const LAYER: u64 = 1;
    pub(super) const DEADLINE: u64 = 2;
    pub(super) const IDLE: u64 = 3;
    pub(super) const OUTER: u64 = 4;
}

/// The time limit that ended a call: see [`Rejection::time_limit`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum TimeLimit {
    /// The layer's own limit, with its full length.
    Layer(Duration),
    /// The limit of an outer layer, which ended before the layer's own. The duration is the time
    /// that the call had.
    Outer(Duration),
    /// The deadline of the request, set by its caller or by the [`Context`](crate::Context). The
    /// duration is the time that the call had.
    Deadline(Duration),
    /// The limit for a body without progress.
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
    /// A rejection for a test, or for a layer of your own.
    ///
    /// Characters of the name other than ASCII letters, digits and `. _ : / -` are replaced, and a
    /// name of more than 64 bytes is cut off. A layer with characters other than `a-z`, `0-9` and
    /// `_` becomes `unknown`.
    #[must_use]
    pub fn new(layer: &'static str, name: &str, reason: Reason) -> Self {
        let instance = InstanceName::lossy(layer, name);
        let (id, normal) = (instance.id(), Priority::Normal);
        Self {
            word: packed(reason, id, normal, time::RETRY_AFTER, NO_HINT),
            named: instance.named().clone(),
        }
    }

    #[inline]
    pub(crate) fn by(instance: &InstanceName, reason: Reason) -> Self {
        Self {
            named: instance.named().clone(),
            word: packed(
                reason,
                instance.id(),
                context::priority(),
                time::RETRY_AFTER,
                NO_HINT,
            ),
        }
    }

    /// The rejection of a call that this limit ended.
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
                context::priority(),
                kind,
                units(limit.duration()),
            ),
        }
    }

    /// The time, if it has this meaning.
    fn time(&self, kind: u64) -> Option<Duration> {
        let units = self.word.get() as u32;
        ((self.word.get() >> 56) & 0b111 == kind && units != NO_HINT).then(|| UNIT * units)
    }

    fn id(&self) -> Id {
        let number = (self.word.get() >> 32) as usize & 0x001f_ffff;
        Id::ALL.get(number).copied().unwrap_or(Id::Unknown)
    }

    /// Sets the time after which a retry is worthwhile: rounded up to 100 microseconds, at most 119
    /// hours. It replaces the [`time_limit`](Self::time_limit).
    #[must_use]
    pub fn with_retry_after(self, after: Duration) -> Self {
        let (reason, id, priority) = (self.reason(), self.id(), self.priority());
        let word = packed(reason, id, priority, time::RETRY_AFTER, units(after));
        Self { word, ..self }
    }

    /// How important the call was, as the layer saw it: see [`Priority`].
    /// [`Normal`](Priority::Normal) for a rejection made by [`new`](Self::new).
    #[must_use]
    pub const fn priority(&self) -> Priority {
        Priority::from_bits((self.word.get() >> 53) as u32 & 0b111)
    }

    /// The reason.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        let number = (self.word.get() >> 59) as usize;
        if number == 0 || number > Reason::ALL.len() {
            return Reason::NotReady;
        }
        Reason::ALL[number - 1]
    }

    /// The kind of layer: `circuit_breaker`, `bulkhead`, ...
    #[must_use]
    pub fn layer(&self) -> &'static str {
        self.named.layer(self.id())
    }

    /// The name of the instance, or `default`.
    #[must_use]
    pub fn name(&self) -> &str {
        self.named.name()
    }

    /// The key of the instance, if the layer has an instance for each key: see
    /// [`keyed`](crate::keyed).
    ///
    /// It is the key that the key function returned, unless that is longer than 128 bytes or has
    /// control characters: then it is escaped, cut off, and followed by a hash.
    #[must_use]
    pub fn key(&self) -> Option<&str> {
        self.named.key()
    }

    /// The time after which a retry is worthwhile, if known.
    ///
    /// A circuit breaker returns how long it stays open ([`Reason::CircuitOpen`]; `None` while it
    /// is half-open or forced open), a rate limit when the next permit is available
    /// ([`Reason::RateLimited`]). Other layers return `None`: they cannot know when the next permit
    /// is free, and a constant would send all rejected callers back at the same moment. A back-off
    /// with jitter spreads them.
    ///
    /// `RespondLayer` sends it as `Retry-After` (HTTP) or `grpc-retry-pushback-ms` (gRPC), unless
    /// it is `None`.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.time(time::RETRY_AFTER)
    }

    /// The time limit that ended the call ([`Reason::TimedOut`]): rounded up to 100 microseconds,
    /// at most 119 hours.
    ///
    /// `None` for every other reason, and for a rejection made by [`new`](Self::new).
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

    /// A sentence for callers.
    pub(crate) const fn describe(&self) -> Described<'_> {
        Described(self)
    }

    /// Whether the layer did not call its inner service: true for every reason but
    /// [`Reason::TimedOut`].
    ///
    /// This is about one call of one layer. An earlier attempt of a retried request may have been
    /// sent. And if the error of a service contains a rejection by a client that the service uses,
    /// then the service itself was called.
    #[must_use]
    pub const fn not_sent(&self) -> bool {
        self.reason().not_sent()
    }

    /// Finds the rejection in an error's [`source`](StdError::source) chain.
    #[must_use]
    pub fn find<'a>(error: &'a (dyn StdError + 'static)) -> Option<&'a Self> {
        find(error)
    }
}

const fn packed(reason: Reason, id: Id, priority: Priority, kind: u64, units: u32) -> NonZeroU64 {
    let reason = (reason as u64 + 1) << 59;
    let id = (id as u64) << 32 | (priority as u64) << 53;
    // The reason is never 0.
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

/// A sentence for callers: with the time limit that ended the call, without the instance's name.
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
        let mut fields = f.debug_struct("Rejection");
        fields
            .field("layer", &self.layer())
            .field("name", &self.name());
        if let Some(key) = self.key() {
            fields.field("key", &key);
        }
        fields
            .field("reason", &self.reason())
            .field("retry_after", &self.retry_after())
            .field("time_limit", &self.time_limit())
            .field("priority", &self.priority())
            .finish()
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.layer(), self.name())?;
        if let Some(key) = self.key() {
            write!(f, " [{key}]")?;
        }
        write!(f, ": {}", self.describe())?;
        if let Some(priority) = self.priority().if_set() {
            write!(f, ", priority {priority}")?;
        }
        match self.retry_after() {
            Some(after) => write!(f, ", retry after {after:?}"),
            None => Ok(()),
        }
    }
}

impl StdError for Rejection {
    /// With the feature `tonic`, a `tonic::Status` of the rejection's code, because tonic looks for
    /// a status in the chain of sources.
    fn source(&self) -> Option<&(dyn StdError + 'static)> {
        #[cfg(feature = "tonic")]
        return Some(self.reason().grpc_status());
        #[cfg(not(feature = "tonic"))]
        None
    }
}

#[cfg(test)]
mod tests;
