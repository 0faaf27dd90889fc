//! The instances of a layer, one for each key.

#![allow(
    private_bounds,
    private_interfaces,
    missing_debug_implementations,
    reason = "users cannot name these items"
)]

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use super::key::clean;
use crate::layers::handle::Adjust;
use crate::observe::emit::Emit;
use crate::observe::emitter::{Emitter, GroupEmitter};
use crate::observe::event::EventKind;
use crate::observe::meter::Handles;
use crate::observe::snapshot::Totals;
use crate::runtime::keys::{Got, Keys, Value};
use crate::runtime::shared::Shared;
use crate::vocabulary::config::ConfigError;
use crate::vocabulary::settings::Fields;

/// From this limit of keys on, the first one stays.
const MANY: usize = 64;

/// An instance of a layer that can have one for each key.
pub trait Instance: Emit + Send + Sync + Sized + 'static {
    /// The settings of all instances of a layer, which can change.
    type Settings: Clone + Send + Sync;

    /// The settings that cannot change.
    type Fixed: Send + Sync;

    /// The state that the instances of all keys share.
    type Common: Default + Send + Sync;

    /// A new instance; the instance of a key has a `common` part. It runs under a lock, so it
    /// emits nothing.
    fn new(
        settings: &Self::Settings,
        fixed: &Self::Fixed,
        emitter: Emitter,
        common: Option<&Arc<Self::Common>>,
    ) -> Self;

    /// Called with the only instance of a layer, once it is shared.
    fn shared(_: &Shared<Self>) {}

    /// Puts the part of the settings in force that all keys share. It runs under a lock.
    fn publish(_: &Self::Common, _: &Self::Fixed, _: &Self::Settings) {}

    /// Brings settings up to date that other layers can change. It runs under a lock.
    fn refresh(_: &Self::Fixed, _: &mut Self::Settings) {}

    /// Refuses settings that instances with the fixed ones cannot have.
    fn check(_: &Self::Fixed, _: &Self::Settings) -> Result<(), ConfigError> {
        Ok(())
    }

    /// Whether instances with these settings have metrics.
    fn is_measured(_: &Self::Settings) -> bool {
        true
    }

    /// Whether it is as good as a new instance, except for its counts.
    fn is_plain(&self) -> bool;

    fn totals(&self) -> Totals;
}

/// The instances of a layer, one for each key.
pub struct Group<A: Instance> {
    keys: Keys<Shared<A>>,
    /// The instance of the calls without a key.
    without_key: OnceLock<Shared<A>>,
    /// The instance of the first key, found without a lock. Many layers have only one key, and are
    /// cloned for each call.
    first: OnceLock<Shared<A>>,
    /// The settings of new instances.
    settings: Mutex<A::Settings>,
    fixed: A::Fixed,
    common: Arc<A::Common>,
    emitter: Arc<GroupEmitter>,
}

impl<A: Instance> Group<A> {
    pub(crate) fn new(
        mut settings: A::Settings,
        fixed: A::Fixed,
        emitter: Emitter,
        limit: usize,
        labels: usize,
    ) -> Self {
        let common = Arc::default();
        A::refresh(&fixed, &mut settings);
        A::publish(&common, &fixed, &settings);
        Self {
            keys: Keys::new(limit),
            without_key: OnceLock::new(),
            first: OnceLock::new(),
            settings: Mutex::new(settings),
            fixed,
            common,
            emitter: Arc::new(GroupEmitter::new(emitter, labels)),
        }
    }

    /// The emitter of all instances.
    pub(crate) fn emitter(&self) -> &Emitter {
        &self.emitter.emitter
    }

    /// The state that the instances of all keys share.
    pub(crate) fn common(&self) -> &A::Common {
        &self.common
    }

    /// The settings that cannot change.
    pub(crate) const fn fixed(&self) -> &A::Fixed {
        &self.fixed
    }

    pub(crate) fn settings(&self) -> A::Settings {
        let mut settings = self.lock_settings().clone();
        A::refresh(&self.fixed, &mut settings);
        settings
    }

    fn lock_settings(&self) -> MutexGuard<'_, A::Settings> {
        self.settings.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The instance of a key. An empty key is none.
    #[cold]
    pub(crate) fn get(&self, key: &str) -> Shared<A> {
        if key.is_empty() {
            return self
                .without_key
                .get_or_init(|| self.make(key, false))
                .clone();
        }
        if let Some(first) = self.first.get()
            && first.emitter().instance().has_key(key)
        {
            return first.clone();
        }
        let key = &*clean(key);
        let Got { value, removed } = self.keys.get(key, |temporary| self.make(key, temporary));
        if let Some(removed) = removed
            && !removed.was_plain
        {
            removed.value.emit_and_log(|| EventKind::Evicted);
        }
        // It never leaves, so not where each place counts.
        if self.first.get().is_none()
            && self.keys.limit() >= MANY
            && !value.emitter().is_temporary()
        {
            self.first.get_or_init(|| value.clone());
        }
        value
    }

    /// The instance of a key, if there is one.
    pub(crate) fn find(&self, key: &str) -> Option<Shared<A>> {
        if key.is_empty() {
            return self.without_key.get().cloned();
        }
        self.keys.find(&clean(key))
    }

    /// Acts on all instances, without a lock.
    pub(crate) fn each(&self, mut act: impl FnMut(&Shared<A>)) {
        self.without_key.get().into_iter().for_each(&mut act);
        let shards = (0..).map_while(|shard| self.keys.shard(shard));
        shards.for_each(|values| values.iter().for_each(&mut act));
    }

    /// The sum of the counts of all instances, also dropped ones. `add` adds the counts of an
    /// instance, under a lock.
    pub(crate) fn sum(&self, mut add: impl FnMut(&A, &mut Totals)) -> Totals {
        let mut totals = self.emitter.temporary();
        if let Some(instance) = self.without_key.get() {
            add(instance, &mut totals);
        }
        self.keys.visit(|gone, instances| {
            totals.add(gone);
            instances.for_each(|instance| add(instance, &mut totals));
        });
        totals
    }

    pub(crate) const fn keys(&self) -> &Keys<Shared<A>> {
        &self.keys
    }

    fn make(&self, key: &str, is_temporary: bool) -> Shared<A> {
        let settings = self.settings();
        let emitter = Emitter::of_key(&self.emitter, key, is_temporary);
        // By the same settings, which may have changed since the emitter of the group was switched.
        if emitter.is_measured() != A::is_measured(&settings) {
            emitter.set_measured(A::is_measured(&settings));
        }
        Shared::of_key(A::new(&settings, &self.fixed, emitter, Some(&self.common)))
    }
}

impl<A: Instance> Value for Shared<A> {
    type Totals = Totals;

    fn has_key(&self, key: &str) -> bool {
        self.emitter().instance().has_key(key)
    }

    fn is_held(&mut self) -> bool {
        self.is_shared()
    }

    fn is_plain(&self) -> bool {
        Instance::is_plain(&**self) && !self.emitter().has_own_settings()
    }

    fn add_to(&self, totals: &mut Totals) {
        totals.add(&self.totals());
    }
}

/// Called when an instance is dropped: the counts of one that was never stored go to its group.
pub(crate) fn dropped<A: Instance>(instance: &A) {
    let emitter = instance.emitter();
    if let Some(group) = emitter.group()
        && emitter.is_temporary()
    {
        group.add_temporary(&instance.totals());
    }
}

/// All keys have the settings of their group.
impl<A> Adjust for Group<A>
where
    A: Instance + Adjust<Settings = <A as Instance>::Settings>,
    <A as Instance>::Settings: Fields + PartialEq,
{
    type Settings = <A as Instance>::Settings;

    fn settings(&self) -> Self::Settings {
        self.settings()
    }

    fn in_force(settings: Self::Settings) -> Self::Settings {
        A::in_force(settings)
    }

    fn check(&self, settings: &Self::Settings) -> Result<(), ConfigError> {
        <A as Instance>::check(&self.fixed, settings)
    }

    fn put(&self, before: &Self::Settings, new: &Self::Settings) -> bool {
        let mut settings = self.lock_settings();
        A::refresh(&self.fixed, &mut settings);
        if *settings != *before {
            return false;
        }
        settings.clone_from(new);
        A::publish(&self.common, &self.fixed, new);
        self.emitter().set_measured(A::is_measured(new));
        drop(settings);
        // An instance that is made now has the new settings. If another update follows, both bring
        // the instances to the newest settings.
        self.each(|instance| {
            loop {
                let (has, newest) = (Adjust::settings(&**instance), self.settings());
                if has == newest {
                    break;
                }
                instance.put(&has, &newest);
            }
            instance.emitter().set_own_settings(false);
        });
        true
    }
}

impl<A: Instance> Emit for Group<A> {
    fn emitter(&self) -> &Emitter {
        self.emitter()
    }

    fn set_gauges(&self, _: &Handles) {}
}
