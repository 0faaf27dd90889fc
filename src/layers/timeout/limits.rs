//! The limits of an instance, which can change while calls run.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use super::layer::{CallLimit, DEFAULT, LimitSource};
use super::settings::{OwnLimit, Settings, TimeoutSettings};
use crate::layers::handle::Adjust;
use crate::observe::emit::Emit;
use crate::observe::emitter::Emitter;
use crate::observe::meter::Handles;
use crate::runtime::nanos;
use crate::vocabulary::config::ConfigError;
use crate::vocabulary::mode::Mode;

/// The state of an instance.
///
/// A call reads one number, and the lock only if single gRPC methods have limits.
#[allow(missing_debug_implementations, reason = "not reachable from outside")]
pub(crate) struct TimeLimits {
    pub(crate) emitter: Emitter,
    now: AtomicU64,
    /// The idle limit of bodies in nanoseconds, or `NONE`.
    idle: AtomicU64,
    settings: RwLock<TimeoutSettings>,
    role: Role,
}

/// The part of an instance's behaviour that settings do not change.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Role {
    /// The limit if none is set.
    pub(crate) auto: Option<CallLimit>,
    /// Whether the settings contain the limit. Otherwise a closure returns it.
    pub(crate) has_limit: bool,
    /// Whether deadlines from outside still end calls when the layer is off.
    pub(crate) keeps_deadlines: bool,
}

impl Role {
    /// A layer with a default limit.
    pub(crate) const fn with_default(source: LimitSource) -> Self {
        Self {
            auto: Some(CallLimit::of_nanos(DEFAULT.as_nanos() as u64, source)),
            has_limit: true,
            keeps_deadlines: false,
        }
    }

    /// A layer without a default limit.
    pub(crate) const fn without_default(has_limit: bool) -> Self {
        Self {
            auto: None,
            has_limit,
            keeps_deadlines: false,
        }
    }

    /// The length of the limit that is in force with these settings, and `None` if there is none.
    pub(crate) fn length(&self, limit: OwnLimit) -> Option<Duration> {
        match limit {
            OwnLimit::Auto => self.auto.map(|auto| auto.length()),
            OwnLimit::Off => None,
            OwnLimit::Of(length) => Some(length),
        }
    }

    fn resolved(&self, limit: OwnLimit) -> OwnLimit {
        self.length(limit).map_or(OwnLimit::Off, OwnLimit::Of)
    }
}

/// No limit.
const NONE: u64 = u64::MAX;

/// The numbers in force, in one word: the mode, the source of the limit, flags, and the length of
/// the limit in nanoseconds. A length of two years or more is no limit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct InForce(u64);

impl InForce {
    const MODE: u64 = 0b11;
    const SOURCE: u32 = 2;
    const WHOLE: u64 = 1 << 4;
    const METHODS: u64 = 1 << 5;
    const LENGTH: u32 = 8;
    const LONGEST: u64 = NONE >> Self::LENGTH;

    fn of(settings: &TimeoutSettings, role: &Role) -> Self {
        let own = match settings.timeout {
            OwnLimit::Of(length) => Some(CallLimit::set(length)),
            OwnLimit::Off => None,
            // It covers the body, so it is shown.
            OwnLimit::Auto if settings.whole_body => {
                role.auto.map(|auto| CallLimit::set(auto.length()))
            }
            OwnLimit::Auto => role.auto,
        };
        let is_on = settings.mode != Mode::Off;
        let own = own.filter(|_| is_on);
        let source = own.map_or(0, |own| own.source);
        let length = own.map_or(NONE, |own| own.nanos).min(Self::LONGEST);
        let flag = |is_set: bool, flag| if is_set { flag } else { 0 };
        Self(
            settings.mode as u64
                | source << Self::SOURCE
                | flag(settings.whole_body, Self::WHOLE)
                | flag(is_on && !settings.timeout_for.is_empty(), Self::METHODS)
                | length << Self::LENGTH,
        )
    }

    #[inline]
    pub(crate) const fn mode(self) -> Mode {
        Mode::from_bits((self.0 & Self::MODE) as u32)
    }

    #[inline]
    pub(crate) const fn enforces(self) -> bool {
        self.0 & Self::MODE == Mode::Enforce as u64
    }

    #[inline]
    pub(crate) const fn is_on(self) -> bool {
        self.0 & Self::MODE != Mode::Off as u64
    }

    #[inline]
    const fn limit(self) -> Option<CallLimit> {
        let nanos = self.0 >> Self::LENGTH;
        if nanos == Self::LONGEST {
            return None;
        }
        let source = self.0 >> Self::SOURCE & 0b11;
        Some(CallLimit { nanos, source })
    }

    /// Whether the limit covers the response body.
    #[cfg_attr(
        not(feature = "http"),
        allow(dead_code, reason = "only HTTP has bodies")
    )]
    pub(crate) const fn covers_body(self) -> bool {
        self.0 & Self::WHOLE != 0
    }
}

/// The limits of a layer when a call begins.
#[derive(Clone, Copy)]
#[allow(missing_debug_implementations, reason = "not reachable from outside")]
pub struct Own<'a> {
    pub(super) in_force: InForce,
    #[cfg_attr(
        not(feature = "http"),
        allow(dead_code, reason = "only gRPC has methods")
    )]
    pub(super) limits: &'a TimeLimits,
}

impl Own<'_> {
    /// The limit in the settings.
    #[inline]
    pub(crate) const fn limit(&self) -> Option<CallLimit> {
        self.in_force.limit()
    }

    /// Whether single gRPC methods have limits.
    #[cfg(feature = "http")]
    #[inline]
    pub(crate) const fn has_methods(&self) -> bool {
        self.in_force.0 & InForce::METHODS != 0
    }

    /// The limit of a single gRPC method, by its path; `None` if it has none of its own.
    #[cfg(feature = "http")]
    #[cold]
    pub(crate) fn of_method(&self, path: &str) -> Option<Option<CallLimit>> {
        let names = crate::vocabulary::grpc_name::of_path(path)?;
        let settings = self.limits.read();
        let mut limits = names.iter().map(|name| settings.timeout_for.get(*name));
        let limit = limits.find_map(|limit| limit)?;
        Some(limit.map(CallLimit::set))
    }
}

impl TimeLimits {
    pub(super) fn new(emitter: Emitter, settings: TimeoutSettings, role: Role) -> Self {
        Self {
            emitter,
            now: AtomicU64::new(InForce::of(&settings, &role).0),
            idle: AtomicU64::new(idle(&settings)),
            settings: RwLock::new(settings),
            role,
        }
    }

    #[inline]
    pub(crate) fn in_force(&self) -> InForce {
        InForce(self.now.load(Ordering::Relaxed))
    }

    pub(crate) fn mode(&self) -> Mode {
        self.in_force().mode()
    }

    pub(super) const fn keeps_deadlines(&self) -> bool {
        self.role.keeps_deadlines
    }

    /// The idle limit of bodies.
    #[cfg(feature = "http")]
    pub(crate) fn body_idle(&self) -> Option<Duration> {
        let idle = self.idle.load(Ordering::Relaxed);
        (idle != NONE).then(|| Duration::from_nanos(idle))
    }

    fn read(&self) -> RwLockReadGuard<'_, TimeoutSettings> {
        self.settings.read().unwrap_or_else(PoisonError::into_inner)
    }
}

fn idle(settings: &TimeoutSettings) -> u64 {
    settings.body_idle.map_or(NONE, nanos)
}

impl Emit for TimeLimits {
    #[inline]
    fn emitter(&self) -> &Emitter {
        &self.emitter
    }

    fn set_gauges(&self, _: &Handles) {}
}

impl Adjust for TimeLimits {
    type Settings = TimeoutSettings;

    fn settings(&self) -> TimeoutSettings {
        self.read().clone()
    }

    fn resolved(&self, mut settings: TimeoutSettings) -> TimeoutSettings {
        settings.timeout = self.role.resolved(settings.timeout);
        settings
    }

    fn check(&self, settings: &TimeoutSettings) -> Result<(), ConfigError> {
        match settings.timeout {
            OwnLimit::Of(length) if !self.role.has_limit => {
                let rule = "must be left out: the closure of `per_request` returns the limits";
                let length = format_args!("{length:?}");
                Err(ConfigError::new(
                    self.emitter.layer(),
                    "timeout",
                    length,
                    rule,
                ))
            }
            OwnLimit::Of(length) => super::layer::check(self.emitter.layer(), "timeout", length),
            OwnLimit::Auto | OwnLimit::Off => Ok(()),
        }
    }

    fn put(&self, before: &TimeoutSettings, new: &TimeoutSettings) -> bool {
        let mut settings = self
            .settings
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        if *settings != *before {
            return false;
        }
        settings.clone_from(new);
        // The default limit does not become one that was set when the settings in force are put
        // back.
        if before.timeout == OwnLimit::Auto && new.timeout == self.role.resolved(OwnLimit::Auto) {
            settings.timeout = OwnLimit::Auto;
        }
        let in_force = InForce::of(&settings, &self.role);
        self.now.store(in_force.0, Ordering::Relaxed);
        self.idle.store(idle(&settings), Ordering::Relaxed);
        true
    }
}

/// The limits without those that concern HTTP.
pub(crate) struct Plain<'a>(pub(crate) &'a TimeLimits);

impl Emit for Plain<'_> {
    fn emitter(&self) -> &Emitter {
        &self.0.emitter
    }

    fn set_gauges(&self, handles: &Handles) {
        self.0.set_gauges(handles);
    }
}

impl Adjust for Plain<'_> {
    type Settings = Settings;

    fn settings(&self) -> Settings {
        self.0.read().plain()
    }

    fn resolved(&self, mut settings: Settings) -> Settings {
        settings.timeout = self.0.role.resolved(settings.timeout);
        settings
    }

    fn check(&self, settings: &Settings) -> Result<(), ConfigError> {
        self.0.check(&self.with(settings))
    }

    fn put(&self, before: &Settings, new: &Settings) -> bool {
        self.0.put(&self.with(before), &self.with(new))
    }
}

impl Plain<'_> {
    /// All settings, with these.
    fn with(&self, plain: &Settings) -> TimeoutSettings {
        let mut settings = self.0.settings();
        settings.set_plain(plain);
        settings
    }
}
