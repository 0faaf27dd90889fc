use std::marker::PhantomData;
use std::time::Duration;

use super::shown;
#[cfg(feature = "http")]
use crate::layers::timeout::LimitSource;
use crate::layers::timeout::{
    self, CallLimit, Fixed, HeadOnly, TimeoutBuilder, TimeoutLayer, check,
};
#[cfg(feature = "http")]
use crate::protocol::http::{AttemptLimit, BodyLimits, HttpLimit};
use crate::registry::Instance;
#[cfg(feature = "http")]
use crate::stack::numbers::BodyNumbers;
use crate::stack::numbers::Numbers;
use crate::stack::part::{Part, Setting, Stack};
#[cfg(feature = "http")]
use crate::stack::refine::Refine;
use crate::stack::snapshot::Snapshots;
use crate::vocabulary::config::ConfigError;

/// The default limit of all attempts of a client's call together.
pub(in crate::stack) const TOTAL: Duration = Duration::from_secs(30);

const ATTEMPT_TIMEOUT: &str = "attempt_timeout";

/// The settings of the time limit of an HTTP or gRPC stack.
#[cfg(feature = "http")]
pub(in crate::stack) type StackTimeout = TimeoutBuilder<HttpLimit<String>, BodyLimits>;

/// The time limit of a client stack over HTTP or gRPC.
#[cfg(feature = "http")]
pub(in crate::stack) struct ClientTimeout;

#[cfg(feature = "http")]
impl ClientTimeout {
    pub(in crate::stack) fn settings() -> StackTimeout {
        let mut timeout = crate::protocol::http::timeout();
        timeout.policy.own = Some(TOTAL);
        timeout.policy.source = LimitSource::Fallback;
        timeout
    }
}

#[cfg(feature = "http")]
impl<T> Part<T> for ClientTimeout {
    const NAME: &'static str = "timeout";
    type Settings = StackTimeout;
    type Layer = TimeoutLayer<HttpLimit, BodyLimits>;

    fn standard() -> Option<StackTimeout> {
        Some(Self::settings())
    }

    fn numbers(settings: &StackTimeout, numbers: &mut Numbers) {
        http_numbers(settings, numbers);
    }

    fn describe(settings: &StackTimeout) -> Vec<Setting> {
        describe_http(settings)
    }

    fn build(
        settings: Option<StackTimeout>,
        stack: &Stack<'_, T>,
    ) -> Result<Self::Layer, ConfigError> {
        let mut timeout = settings.unwrap_or_else(no_timeout);
        stack.adopt(&mut timeout.name, &mut timeout.observer);
        // The headers of this program's own requests need no floor.
        timeout.policy.floor = Duration::ZERO;
        timeout.cover.client = true;
        timeout.policy.of_stack = true;
        timeout.build()
    }
}

/// The time limit of a server stack over HTTP or gRPC.
#[cfg(feature = "http")]
pub(in crate::stack) struct ServerTimeout;

#[cfg(feature = "http")]
impl<T> Part<T> for ServerTimeout {
    const NAME: &'static str = "timeout";
    type Settings = StackTimeout;
    type Layer = TimeoutLayer<HttpLimit, BodyLimits>;

    fn standard() -> Option<StackTimeout> {
        Some(crate::protocol::http::timeout())
    }

    fn numbers(settings: &StackTimeout, numbers: &mut Numbers) {
        http_numbers(settings, numbers);
    }

    fn describe(settings: &StackTimeout) -> Vec<Setting> {
        describe_http(settings)
    }

    fn build(
        settings: Option<StackTimeout>,
        stack: &Stack<'_, T>,
    ) -> Result<Self::Layer, ConfigError> {
        let mut timeout = settings.unwrap_or_else(|| no_timeout().off());
        stack.adopt(&mut timeout.name, &mut timeout.observer);
        timeout.policy.of_stack = true;
        timeout.build()
    }
}

/// A time limit layer without a limit, for calls and for bodies.
#[cfg(feature = "http")]
fn no_timeout() -> StackTimeout {
    let mut timeout = crate::protocol::http::timeout().ignore_inbound();
    timeout.policy.own = None;
    timeout.cover.idle = None;
    timeout.cover.off = true;
    timeout
}

#[cfg(feature = "http")]
fn http_numbers(settings: &StackTimeout, numbers: &mut Numbers) {
    let cover = settings.cover;
    let is_set = |idle: &Duration| Some(*idle) != BodyLimits::DEFAULT.idle;
    numbers.total = settings.policy.own;
    numbers.body = BodyNumbers {
        whole: cover.whole,
        idle: cover.idle.filter(is_set),
    };
}

#[cfg(feature = "http")]
fn describe_http(timeout: &StackTimeout) -> Vec<Setting> {
    let off = || "off".to_owned();
    let mut settings = Vec::new();
    if let Some(own) = timeout.policy.own {
        settings.push(("timeout", shown(own)));
    }
    let body_idle = timeout.cover.idle.map_or_else(off, shown);
    settings.push(("body_idle", body_idle));
    let rules = timeout.policy.rules.iter();
    for (name, limit) in rules.flat_map(|rules| rules.iter()) {
        let limit = limit.map_or_else(|| "none".to_owned(), shown);
        settings.push(("timeout_for", format!("{name}: {limit}")));
    }
    if timeout.cover.whole {
        settings.push(("whole_body", "true".to_owned()));
    }
    if timeout.policy.trusts_inbound {
        settings.push(("header", timeout.policy.header.clone()));
    } else {
        settings.push(("ignore_inbound", "true".to_owned()));
    }
    settings
}

/// The part of a response that the time limit of an attempt covers.
pub(in crate::stack) trait AttemptCover {
    /// The policy of the layer.
    type Limit: Clone;

    fn limit(limit: CallLimit) -> Self::Limit;

    fn for_attempts(is_on: bool) -> Self;
}

impl AttemptCover for HeadOnly {
    type Limit = Fixed;

    fn limit(limit: CallLimit) -> Fixed {
        Fixed(limit)
    }

    fn for_attempts(_: bool) -> Self {
        Self
    }
}

#[cfg(feature = "http")]
impl AttemptCover for BodyLimits {
    type Limit = AttemptLimit;

    fn limit(limit: CallLimit) -> AttemptLimit {
        AttemptLimit(limit)
    }

    // In gRPC the limit covers an attempt to its last trailer, as its deadline header says. The
    // time limit of the whole call ends idle bodies.
    fn for_attempts(is_on: bool) -> Self {
        let mut cover = Self::DEFAULT;
        cover.idle = None;
        cover.client = true;
        cover.off = !is_on;
        cover
    }
}

/// The time limit of each attempt in a client stack. Off by default.
pub(in crate::stack) struct AttemptTimeout<B>(PhantomData<B>);

impl<B: AttemptCover + Clone, T> Part<T> for AttemptTimeout<B> {
    const NAME: &'static str = ATTEMPT_TIMEOUT;
    type Settings = Duration;
    type Layer = TimeoutLayer<B::Limit, B>;

    fn standard() -> Option<Duration> {
        None
    }

    fn numbers(limit: &Duration, numbers: &mut Numbers) {
        numbers.attempt = Some(*limit);
    }

    fn describe(limit: &Duration) -> Vec<Setting> {
        vec![("timeout", shown(limit))]
    }

    fn build(limit: Option<Duration>, stack: &Stack<'_, T>) -> Result<Self::Layer, ConfigError> {
        let policy = B::limit(CallLimit::set(limit.unwrap_or(Duration::MAX)));
        let cover = B::for_attempts(limit.is_some());
        let mut timeout = TimeoutBuilder::of(policy, cover).of_attempts();
        stack.adopt(&mut timeout.name, &mut timeout.observer);
        match limit {
            Some(limit) => check(ATTEMPT_TIMEOUT, "timeout", limit)?,
            None => timeout = timeout.off(),
        }
        timeout.finish(|policy| policy)
    }
}

#[cfg(feature = "http")]
impl Refine<Self> for StackTimeout {
    fn refine(mut self, standard: Self) -> Self {
        // A builder without a limit of its own leaves that of the stack.
        if self.policy.source != LimitSource::Set {
            self.policy.own = standard.policy.own;
            self.policy.source = standard.policy.source;
        }
        self
    }
}

#[cfg(feature = "http")]
impl Refine<StackTimeout> for TimeoutBuilder<Fixed> {
    fn refine(self, mut standard: StackTimeout) -> StackTimeout {
        // A builder without a limit of its own leaves that of the stack.
        if self.policy.0.is_set() {
            standard.policy.own = Some(self.policy.0.length);
            standard.policy.source = self.policy.0.source;
        }
        standard.name = self.name;
        standard.observer = self.observer;
        standard
    }
}

#[cfg(feature = "http")]
impl Refine<StackTimeout> for Duration {
    fn refine(self, standard: StackTimeout) -> StackTimeout {
        standard.timeout(self)
    }
}

impl<P, B> Snapshots for TimeoutLayer<P, B> {
    type Snapshot = timeout::Snapshot;

    fn snapshot(&self) -> Self::Snapshot {
        self.handle().snapshot()
    }

    fn instance(&self) -> Instance {
        self.handle().into()
    }

    fn has_rejected(&self) -> bool {
        self.handle().snapshot().rejections.total() > 0
    }
}
