//! The emitter of an instance: its name, observer, subscribers and metrics.

use std::any::Any;
use std::sync::{Arc, PoisonError};

use tokio::sync::broadcast;

use crate::observe::event::{Event, EventKind, Events, Observer};
use crate::observe::log;
use crate::observe::meter::{self, Handles, Slot};
use crate::observe::snapshot::{Rejected, Rejections};
use crate::runtime::isolate::isolate;
use crate::runtime::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use crate::runtime::sync::{Mutex, MutexGuard, OnceLock};
use crate::vocabulary::kind::Kind;
use crate::vocabulary::name::InstanceName;
use crate::vocabulary::reason::Reason;

/// Number of events that a subscription stores for a slow reader.
const BACKLOG: usize = 256;

/// The sinks of one instance.
#[allow(missing_debug_implementations, reason = "not reachable from outside")]
pub(crate) struct Emitter {
    /// Flags of the sinks that there are: all that is read when there are none.
    sinks: AtomicU32,
    /// Whether metrics are recorded.
    measured: AtomicBool,
    kind: &'static Kind,
    instance: InstanceName,
    handles: Slot,
    observer: Option<Arc<dyn Observer>>,
    /// Made when first needed: most instances never reject, and have no subscribers.
    rare: OnceLock<Box<Rare>>,
    /// The group of the instance, if it belongs to a key.
    group: Option<Arc<GroupEmitter>>,
    /// Whether the instance is not stored in its group.
    is_temporary: bool,
    /// Whether the instance of a key has settings of its own.
    own_settings: AtomicBool,
    /// The metrics of the instance of a key.
    label: KeyLabel,
}

/// An entry in a registry, which knows the instance weakly.
pub(crate) type Membership = Arc<dyn Any + Send + Sync>;

struct Rare {
    rejected: Rejected,
    would_reject: Rejected,
    #[cfg_attr(
        not(feature = "tracing"),
        allow(dead_code, reason = "only log lines use it")
    )]
    summaries: log::Summaries,
    subscribers: Mutex<Subscribers>,
    /// Its memberships of registries. They end with the instance.
    memberships: Mutex<Vec<Membership>>,
}

/// The channels of subscribers.
#[derive(Clone, Default)]
struct Subscribers {
    /// The instance's own channel.
    own: Option<broadcast::Sender<Event>>,
    /// The channels of registries.
    registries: Vec<broadcast::Sender<Event>>,
}

impl Subscribers {
    fn is_empty(&self) -> bool {
        self.own.is_none() && self.registries.is_empty()
    }

    /// Sends an event to all. Returns whether a channel has no receiver.
    fn send(self, event: &Event) -> bool {
        let mut is_unheard = false;
        for channel in self.own.into_iter().chain(self.registries) {
            // Wakes the subscribers' tasks. Fails only if there are none left.
            let unheard = isolate(|| channel.send(event.clone()).is_err());
            is_unheard |= unheard == Some(true);
        }
        is_unheard
    }
}

impl Rare {
    fn new() -> Self {
        Self {
            rejected: Rejected::new(),
            would_reject: Rejected::new(),
            summaries: log::Summaries::new(),
            subscribers: Mutex::new(Subscribers::default()),
            memberships: Mutex::new(Vec::new()),
        }
    }
}

/// There is an observer or a subscriber.
const OBSERVED: u32 = 1;
/// There may be a subscriber.
const SUBSCRIBED: u32 = 1 << 3;
/// It must look for a recorder of metrics.
const LOOK: u32 = 1 << 1;
/// There is a recorder.
const METERED: u32 = 1 << 2;
/// The group of the instance has sinks, or not: only the group knows.
const GROUPED: u32 = 1 << 4;
/// The gauges of the group do not include this instance yet.
const UNGAUGED: u32 = 1 << 5;

/// The sinks of a new instance.
const NEW: u32 = if cfg!(feature = "metrics") { LOOK } else { 0 };

impl Emitter {
    pub(crate) fn new(
        kind: &'static Kind,
        instance: InstanceName,
        observer: Option<Arc<dyn Observer>>,
    ) -> Self {
        Self::measured(kind, instance, observer, true)
    }

    /// An instance with the default name.
    pub(crate) fn of_default(kind: &'static Kind) -> Self {
        Self::new(kind, InstanceName::default_of(kind), None)
    }

    /// An instance that may be `measured` or not: a layer that is switched off is not.
    pub(crate) fn measured(
        kind: &'static Kind,
        instance: InstanceName,
        observer: Option<Arc<dyn Observer>>,
        measured: bool,
    ) -> Self {
        let new = if measured { NEW } else { 0 };
        let observed = if measured && observer.is_some() {
            OBSERVED
        } else {
            0
        };
        Self {
            sinks: AtomicU32::new(new | observed),
            measured: AtomicBool::new(measured),
            kind,
            instance,
            handles: Slot::new(),
            observer,
            rare: OnceLock::new(),
            group: None,
            is_temporary: false,
            own_settings: AtomicBool::new(false),
            label: KeyLabel::None,
        }
    }

    /// The emitter of the instance of a key, without a key of its own if that is empty. It shares
    /// the sinks of its group.
    pub(crate) fn of_key(group: &Arc<GroupEmitter>, key: &str, is_temporary: bool) -> Self {
        let Self { kind, instance, .. } = &group.emitter;
        let instance = if key.is_empty() {
            instance.clone()
        } else {
            instance.with_key(key)
        };
        let measured = group.emitter.measured.load(Ordering::Relaxed);
        let sinks = if measured { GROUPED | UNGAUGED } else { 0 };
        Self {
            sinks: AtomicU32::new(sinks),
            is_temporary,
            own_settings: AtomicBool::new(false),
            label: group.label(key, is_temporary),
            measured: AtomicBool::new(measured),
            kind,
            instance,
            handles: Slot::new(),
            observer: None,
            rare: OnceLock::new(),
            group: Some(Arc::clone(group)),
        }
    }

    /// The group, if this is the emitter of a key.
    pub(crate) fn group(&self) -> Option<&Arc<GroupEmitter>> {
        self.group.as_ref()
    }

    /// Whether the instance is not stored in its group.
    pub(crate) fn is_temporary(&self) -> bool {
        self.is_temporary
    }

    /// A new instance with this name and the same observer.
    pub(crate) fn renamed(&self, instance: InstanceName) -> Self {
        Self::new(self.kind, instance, self.observer.clone())
    }

    /// A new instance with the same name and this observer.
    pub(crate) fn observed_by(&self, observer: Option<Arc<dyn Observer>>) -> Self {
        Self::new(self.kind, self.instance.clone(), observer)
    }

    pub(crate) const fn instance(&self) -> &InstanceName {
        &self.instance
    }

    pub(crate) fn layer(&self) -> &'static str {
        self.instance.layer()
    }

    pub(crate) fn name(&self) -> &str {
        self.instance.name()
    }

    /// The key of the instance.
    pub(crate) fn key(&self) -> Option<&str> {
        self.instance.key()
    }

    /// Counts since the last log line. All keys of a group share them.
    #[cfg(feature = "tracing")]
    pub(crate) fn summaries(&self) -> &log::Summaries {
        match &self.group {
            Some(group) => group.emitter.summaries(),
            None => &self.rare().summaries,
        }
    }

    /// Number of rejected calls for each reason.
    pub(crate) fn rejections(&self) -> Rejections {
        let rare = self.rare.get();
        rare.map_or_else(Rejections::default, |rare| rare.rejected.counts())
    }

    /// Number of calls rejected for this reason.
    pub(crate) fn rejected(&self, reason: Reason) -> u64 {
        self.rare.get().map_or(0, |rare| rare.rejected.of(reason))
    }

    pub(crate) fn count_rejection(&self, reason: Reason) {
        self.rare().rejected.add(reason);
    }

    /// Number of calls that only shadow mode admitted, for each reason.
    pub(crate) fn would_reject(&self) -> Rejections {
        let rare = self.rare.get();
        rare.map_or_else(Rejections::default, |rare| rare.would_reject.counts())
    }

    /// Number of calls that only shadow mode admitted, for this reason.
    pub(crate) fn would_have_rejected(&self, reason: Reason) -> u64 {
        let rare = self.rare.get();
        rare.map_or(0, |rare| rare.would_reject.of(reason))
    }

    pub(crate) fn count_would_reject(&self, reason: Reason) {
        self.rare().would_reject.add(reason);
    }

    fn rare(&self) -> &Rare {
        self.rare.get_or_init(|| Box::new(Rare::new()))
    }

    /// Whether there is a sink for events.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub(crate) fn has_sinks(&self) -> bool {
        self.sinks.load(Ordering::Relaxed) != 0
    }

    /// Whether it must look for a recorder.
    #[inline]
    pub(crate) fn is_new(&self) -> bool {
        self.sinks.load(Ordering::Relaxed) & LOOK != 0
    }

    /// The same, or whether the metrics of its group may not exist yet.
    #[inline]
    pub(crate) fn begins(&self) -> bool {
        NEW != 0 && self.sinks.load(Ordering::Relaxed) & (LOOK | UNGAUGED) != 0
    }

    /// The metric handles, if there is a recorder. Sets the gauges when it finds one.
    pub(crate) fn handles(&self, set_gauges: &dyn Fn(&Handles)) -> Option<&Handles> {
        if let Some(group) = &self.group {
            return self.handles_of_group(group, set_gauges);
        }
        if self.is_new() {
            self.look(set_gauges);
        }
        self.handles.get()
    }

    fn handles_of_group<'a>(
        &'a self,
        group: &'a GroupEmitter,
        set_gauges: &dyn Fn(&Handles),
    ) -> Option<&'a Handles> {
        if !self.measured.load(Ordering::Relaxed) {
            return None;
        }
        let of_group = group.emitter.handles(&|_| {})?;
        let handles = match self.label {
            KeyLabel::None => of_group,
            KeyLabel::Own => {
                if self.handles.get().is_none() {
                    let instance = group.emitter.instance();
                    self.handles.look(self.kind, instance, self.key());
                }
                self.handles.get()?
            }
            KeyLabel::Other => group.other_handles()?,
        };
        if self.sinks.load(Ordering::Relaxed) & UNGAUGED != 0 {
            self.sinks.fetch_and(!UNGAUGED, Ordering::Relaxed);
            isolate(|| set_gauges(handles));
        }
        Some(handles)
    }

    /// The metric handles, if a recorder was found before.
    pub(crate) fn known_handles(&self) -> Option<&Handles> {
        match &self.group {
            Some(group) => match self.label {
                KeyLabel::None => group.emitter.handles.get(),
                KeyLabel::Own => self.handles.get(),
                KeyLabel::Other => group.known_other_handles(),
            },
            None => self.handles.get(),
        }
    }

    #[cold]
    fn look(&self, set_gauges: &dyn Fn(&Handles)) {
        let is_first = self.handles.look(self.kind, &self.instance, None);
        let found = self.handles.get();
        let metered = if found.is_some() { METERED } else { 0 };
        self.sinks.fetch_or(metered, Ordering::Relaxed);
        self.sinks.fetch_and(!LOOK, Ordering::Relaxed);
        if is_first && let Some(handles) = found {
            isolate(|| set_gauges(handles));
        }
    }

    pub(crate) fn has_own_settings(&self) -> bool {
        self.own_settings.load(Ordering::Relaxed)
    }

    pub(crate) fn set_own_settings(&self, has: bool) {
        self.own_settings.store(has, Ordering::Relaxed);
    }

    /// Whether its metrics show the settings of all keys, which it does not have.
    pub(crate) fn differs_from_metrics(&self) -> bool {
        self.shares_metrics() && self.has_own_settings()
    }

    /// Whether its metrics are also those of other keys.
    pub(crate) fn shares_metrics(&self) -> bool {
        self.label != KeyLabel::Own && self.group.is_some()
    }

    pub(crate) fn is_measured(&self) -> bool {
        self.measured.load(Ordering::Relaxed)
    }

    /// Switches metrics and events on or off. Calls in flight still leave the gauges that they
    /// entered.
    pub(crate) fn set_measured(&self, measured: bool) {
        // The caller holds the lock of the settings, so nobody else sets it meanwhile. What follows
        // allocates, which an update of many keys should not do for each of them.
        if measured && self.group.is_some() && self.is_measured() {
            self.sinks.fetch_or(UNGAUGED, Ordering::Relaxed);
            return;
        }
        let subscribers = self.lock();
        self.measured.store(measured, Ordering::Relaxed);
        let new = self.new_sinks();
        let sinks = match (measured, !subscribers.is_empty()) {
            (false, _) => 0,
            (true, true) => new | OBSERVED | SUBSCRIBED,
            (true, false) if self.observer.is_some() => new | OBSERVED,
            (true, false) => new,
        };
        self.sinks.store(sinks, Ordering::Relaxed);
    }

    /// The sinks that it has in any case.
    fn new_sinks(&self) -> u32 {
        if self.group.is_some() {
            GROUPED | UNGAUGED
        } else {
            NEW
        }
    }

    /// Emits an event even if the instance is switched off.
    pub(crate) fn announce(&self, kind: EventKind, set_gauges: &dyn Fn(&Handles)) {
        if let Some(handles) = self.handles(set_gauges) {
            isolate(|| handles.record(&kind, set_gauges));
        }
        let event = Event::new(self.instance.clone(), kind);
        if let Some(group) = &self.group {
            let subscribers = group.emitter.lock().clone();
            group.emitter.send(&event, subscribers);
        }
        let subscribers = self.lock().clone();
        self.send(&event, subscribers);
    }

    /// Looks again at a rejection, for a recorder that was installed after the first call.
    pub(crate) fn look_again(&self) {
        if let Some(group) = &self.group {
            return group.emitter.look_again();
        }
        if NEW != 0
            && self.measured.load(Ordering::Relaxed)
            && self.sinks.load(Ordering::Relaxed) & METERED == 0
            && meter::is_recorded()
        {
            self.sinks.fetch_or(LOOK, Ordering::Relaxed);
        }
    }

    #[inline(never)]
    pub(crate) fn emit_to_all(&self, kind: EventKind, set_gauges: &dyn Fn(&Handles)) {
        if let Some(handles) = self.handles(set_gauges) {
            isolate(|| handles.record(&kind, set_gauges));
        }
        if self.is_observed() {
            let event = Event::new(self.instance.clone(), kind);
            if let Some(group) = &self.group {
                group.emitter.emit_event(event.clone());
            }
            self.emit_event(event);
        }
    }

    /// Whether the instance or its group has an observer or a subscriber.
    fn is_observed(&self) -> bool {
        let of_group = self
            .group
            .as_ref()
            .is_some_and(|group| group.emitter.is_observed());
        of_group || self.sinks.load(Ordering::Relaxed) & OBSERVED != 0
    }

    #[cold]
    fn emit_event(&self, event: Event) {
        // Observers are common, and calls that only have one need not meet at the lock.
        let subscribers = if self.sinks.load(Ordering::Relaxed) & SUBSCRIBED != 0 {
            self.lock().clone()
        } else {
            Subscribers::default()
        };
        self.send(&event, subscribers);
    }

    fn send(&self, event: &Event, subscribers: Subscribers) {
        if let Some(observer) = &self.observer {
            isolate(|| observer.observe(event));
        }
        if !subscribers.is_empty() && subscribers.send(event) {
            self.forget_subscribers();
        }
    }

    /// After the last subscriber, calls need neither make events nor take the lock.
    fn forget_subscribers(&self) {
        let mut subscribers = self.lock();
        let is_left = |to: &mut broadcast::Sender<Event>| to.receiver_count() == 0;
        let own = subscribers.own.take_if(is_left);
        let left: Vec<_> = subscribers.registries.extract_if(.., is_left).collect();
        if subscribers.is_empty() {
            let observed = if self.observer.is_none() { OBSERVED } else { 0 };
            self.sinks
                .fetch_and(!(observed | SUBSCRIBED), Ordering::Relaxed);
        }
        drop(subscribers);
        drop((own, left));
    }

    pub(crate) fn subscribe(&self) -> Events {
        let mut subscribers = self.lock();
        let receiver = subscribers
            .own
            .get_or_insert_with(|| broadcast::channel(BACKLOG).0)
            .subscribe();
        if self.measured.load(Ordering::Relaxed) {
            self.sinks
                .fetch_or(OBSERVED | SUBSCRIBED, Ordering::Relaxed);
        }
        Events::new(receiver)
    }

    /// Sends the events to the channel of a registry, too, until it has no receiver.
    pub(crate) fn send_to(&self, registry: &broadcast::Sender<Event>) {
        let mut subscribers = self.lock();
        let has = |channels: &[broadcast::Sender<Event>]| {
            channels.iter().any(|known| known.same_channel(registry))
        };
        if !has(&subscribers.registries) {
            subscribers.registries.push(registry.clone());
        }
        if self.measured.load(Ordering::Relaxed) {
            self.sinks
                .fetch_or(OBSERVED | SUBSCRIBED, Ordering::Relaxed);
        }
    }

    /// Adds a membership, unless there already is one that `is_same`. Returns whether it was added.
    pub(crate) fn join(
        &self,
        membership: &Membership,
        is_same: impl Fn(&Membership) -> bool,
    ) -> bool {
        let mut memberships = self.memberships();
        let is_new = !memberships.iter().any(is_same);
        if is_new {
            memberships.push(Arc::clone(membership));
        }
        is_new
    }

    fn memberships(&self) -> MutexGuard<'_, Vec<Membership>> {
        self.rare()
            .memberships
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn lock(&self) -> MutexGuard<'_, Subscribers> {
        self.rare()
            .subscribers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

mod group;

pub(crate) use group::GroupEmitter;
use group::KeyLabel;

#[cfg(mainstay_loom)]
pub(crate) mod models;

#[cfg(test)]
mod tests;
