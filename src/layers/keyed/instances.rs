//! How the calls of a layer choose their instance.

#![allow(
    private_bounds,
    private_interfaces,
    missing_debug_implementations,
    reason = "users cannot name what is hidden"
)]

use std::fmt;
use std::sync::{Arc, Weak};

use super::group::{Group, Instance};
use super::key::Key;
use crate::layers::handle::{Adjust, announce, update};
use crate::observe::emitter::Emitter;
use crate::runtime::shared::Shared;
use crate::vocabulary::config::ConfigError;
use crate::vocabulary::reason::Reason;
use crate::vocabulary::sealed::Sealed;
use crate::vocabulary::settings::{Changes, Fields};

/// The number of keys that a layer has by default.
const DEFAULT_KEYS: u32 = 10_000;
const MAX_KEYS: u32 = 1_000_000;
/// Each label is a series of each metric.
const MAX_LABELS: u32 = 1_000;

/// How the calls of a layer choose their instance: [`OneForAll`] or [`PerKey`].
///
/// This trait is sealed: only mainstay implements it.
pub trait Keying: Sealed + Clone {
    /// Whether there can be an instance for each key.
    #[doc(hidden)]
    const HAS_KEYS: bool;

    /// The instances of a layer or a service.
    #[doc(hidden)]
    type Instances<A: Instance>: Clone;

    /// Makes the instances. `make` makes the one for all, from its emitter.
    ///
    /// # Errors
    ///
    /// A setting of the keys is out of its range.
    #[doc(hidden)]
    fn instances<A: Instance>(
        self,
        layer: &'static str,
        settings: A::Settings,
        fixed: A::Fixed,
        emitter: Emitter,
    ) -> Result<Self::Instances<A>, ConfigError>;

    /// The instances for a handle.
    #[doc(hidden)]
    fn target<A: Instance>(instances: &Self::Instances<A>) -> Target<A>;

    /// Why the next call would be rejected, if that is known without its key.
    #[doc(hidden)]
    fn refuses<A: Instance>(instances: &Self::Instances<A>) -> Option<Reason> {
        Self::ask(instances, A::refuses, |_| None)
    }

    /// Asks the one instance of all calls, or the state that all keys share.
    #[doc(hidden)]
    fn ask<A: Instance, R>(
        instances: &Self::Instances<A>,
        one: impl FnOnce(&A) -> R,
        keys: impl FnOnce(&A::Common) -> R,
    ) -> R;
}

/// A [`Keying`] for requests of this type.
///
/// This trait is sealed: only mainstay implements it.
#[diagnostic::on_unimplemented(
    message = "the key function of this layer does not take a `{Req}`",
    note = "the layer has an instance for each key: its key function must implement `mainstay::keyed::Key<{Req}>`"
)]
pub trait KeyingOf<Req>: Keying {
    /// The instance of a call.
    #[doc(hidden)]
    fn pick<'a, A: Instance>(
        instances: &'a mut Self::Instances<A>,
        request: &Req,
    ) -> &'a mut Shared<A>;
}

/// The instances that a handle controls.
pub enum Target<A: Instance> {
    One(Shared<A>),
    Group(Arc<Group<A>>),
}

/// The same without keeping them alive.
pub(crate) enum WeakTarget<A: Instance> {
    One(Weak<A>),
    Group(Weak<Group<A>>),
}

impl<A: Instance> WeakTarget<A> {
    pub(crate) fn upgrade(&self) -> Option<Target<A>> {
        match self {
            Self::One(one) => one.upgrade().map(|one| Target::One(Shared::of(one))),
            Self::Group(group) => group.upgrade().map(Target::Group),
        }
    }
}

impl<A: Instance> Clone for Target<A> {
    fn clone(&self) -> Self {
        match self {
            Self::One(one) => Self::One(one.clone()),
            Self::Group(group) => Self::Group(Arc::clone(group)),
        }
    }
}

impl<A: Instance> Target<A> {
    pub(crate) fn emitter(&self) -> &Emitter {
        match self {
            Self::One(one) => one.emitter(),
            Self::Group(group) => group.emitter(),
        }
    }

    pub(crate) fn downgrade(&self) -> WeakTarget<A> {
        match self {
            Self::One(one) => WeakTarget::One(Arc::downgrade(Shared::arc(one))),
            Self::Group(group) => WeakTarget::Group(Arc::downgrade(group)),
        }
    }

    /// The keys, in no order.
    pub(crate) fn keys(&self) -> Vec<String> {
        let Self::Group(group) = self else {
            return Vec::new();
        };
        let mut keys = Vec::with_capacity(group.keys().len());
        group.keys().visit(|_, instances| {
            keys.extend(instances.filter_map(|of| of.emitter().key().map(str::to_owned)));
        });
        keys
    }

    /// The instance of a key.
    pub(crate) fn key(&self, key: &str) -> Option<Self> {
        match self {
            Self::One(_) => None,
            Self::Group(group) => group.find(key).map(Self::One),
        }
    }

    /// The settings as they were set.
    pub(crate) fn settings(&self) -> <A as Instance>::Settings
    where
        A: Adjust<Settings = <A as Instance>::Settings>,
    {
        match self {
            Self::One(one) => Adjust::settings(&**one),
            Self::Group(group) => group.settings(),
        }
    }

    /// Emits and logs what changed.
    pub(crate) fn announce(&self, changes: &Changes) {
        match self {
            Self::One(one) => announce(&**one, changes),
            Self::Group(group) => announce(&**group, changes),
        }
    }

    /// Puts the settings that `change` makes of the present ones in force, for all keys. The instance
    /// of one key then has settings of its own, until the next update of all keys.
    pub(crate) fn update(
        &self,
        change: impl FnMut(&mut <A as Instance>::Settings),
    ) -> Result<Changes, ConfigError>
    where
        A: Adjust<Settings = <A as Instance>::Settings>,
        <A as Instance>::Settings: Fields + PartialEq,
    {
        match self {
            Self::One(one) => {
                let emitter = one.emitter();
                // First, so that metrics do not show them as the settings of all keys.
                let had = emitter.has_own_settings();
                emitter.set_own_settings(true);
                let result = update(&**one, change);
                if !had && !matches!(&result, Ok(changes) if !changes.is_empty()) {
                    emitter.set_own_settings(false);
                }
                result
            }
            Self::Group(group) => update(&**group, change),
        }
    }

    /// The sum of a number of each instance.
    pub(crate) fn sum(&self, of: fn(&A) -> u32) -> u32 {
        match self {
            Self::One(one) => of(one),
            Self::Group(group) => {
                let mut sum = 0_u32;
                group.sum(|instance, _| sum = sum.saturating_add(of(instance)));
                sum
            }
        }
    }

    /// All instances.
    pub(crate) fn each(&self, act: impl FnMut(&Shared<A>)) {
        match self {
            Self::One(one) => [one].into_iter().for_each(act),
            Self::Group(group) => group.each(act),
        }
    }
}

/// One instance for all calls: the default.
#[derive(Debug, Clone, Copy, Default)]
pub struct OneForAll;

impl Sealed for OneForAll {}

impl OneForAll {
    /// Makes the one instance.
    pub(crate) fn one<A: Instance>(
        settings: &A::Settings,
        fixed: A::Fixed,
        emitter: Emitter,
    ) -> Shared<A> {
        let shared = Shared::new(A::new(settings, fixed, emitter, None));
        A::shared(&shared);
        shared
    }
}

impl Keying for OneForAll {
    const HAS_KEYS: bool = false;

    type Instances<A: Instance> = Shared<A>;

    fn instances<A: Instance>(
        self,
        _: &'static str,
        settings: A::Settings,
        fixed: A::Fixed,
        emitter: Emitter,
    ) -> Result<Shared<A>, ConfigError> {
        Ok(Self::one(&settings, fixed, emitter))
    }

    fn target<A: Instance>(instances: &Shared<A>) -> Target<A> {
        Target::One(instances.clone())
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn ask<A: Instance, R>(
        instances: &Shared<A>,
        one: impl FnOnce(&A) -> R,
        _: impl FnOnce(&A::Common) -> R,
    ) -> R {
        one(instances)
    }
}

impl<Req> KeyingOf<Req> for OneForAll {
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn pick<'a, A: Instance>(instances: &'a mut Shared<A>, _: &Req) -> &'a mut Shared<A> {
        instances
    }
}

/// An instance for each key: see the [module](crate::keyed).
pub struct PerKey<K> {
    key: Arc<K>,
    pub(crate) max_keys: u32,
    pub(crate) label_keys: u32,
}

impl<K> PerKey<K> {
    pub(crate) fn new(key: K) -> Self {
        Self {
            key: Arc::new(key),
            max_keys: DEFAULT_KEYS,
            label_keys: 0,
        }
    }
}

impl<K> Clone for PerKey<K> {
    fn clone(&self) -> Self {
        Self {
            key: Arc::clone(&self.key),
            ..*self
        }
    }
}

impl<K> fmt::Debug for PerKey<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PerKey")
            .field("max_keys", &self.max_keys)
            .finish_non_exhaustive()
    }
}

impl<K> Sealed for PerKey<K> {}

impl<K> Keying for PerKey<K> {
    const HAS_KEYS: bool = true;

    type Instances<A: Instance> = Keyed<A, K>;

    fn instances<A: Instance>(
        self,
        layer: &'static str,
        settings: A::Settings,
        fixed: A::Fixed,
        emitter: Emitter,
    ) -> Result<Keyed<A, K>, ConfigError> {
        if !(1..=MAX_KEYS).contains(&self.max_keys) {
            let rule = "must be from 1 to 1000000";
            return Err(ConfigError::new(layer, "max_keys", self.max_keys, rule));
        }
        if self.label_keys > MAX_LABELS {
            let rule = "must be at most 1000";
            return Err(ConfigError::new(layer, "label_keys", self.label_keys, rule));
        }
        let (keys, labels) = (self.max_keys as usize, self.label_keys as usize);
        let group = Group::new(settings, fixed, emitter, keys, labels);
        Ok(Keyed {
            of: Arc::new(GroupAndKey {
                group: Arc::new(group),
                key: self.key,
            }),
            last: None,
        })
    }

    fn target<A: Instance>(instances: &Keyed<A, K>) -> Target<A> {
        Target::Group(Arc::clone(&instances.of.group))
    }

    #[inline]
    fn ask<A: Instance, R>(
        instances: &Keyed<A, K>,
        _: impl FnOnce(&A) -> R,
        keys: impl FnOnce(&A::Common) -> R,
    ) -> R {
        keys(instances.of.group.common())
    }
}

impl<Req, K: Key<Req>> KeyingOf<Req> for PerKey<K> {
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn pick<'a, A: Instance>(instances: &'a mut Keyed<A, K>, request: &Req) -> &'a mut Shared<A> {
        let Keyed { of, last } = instances;
        if let Some(key) = of.key.key_override(request) {
            return pick_override(&of.group, last, &key);
        }
        let key = of.key.key(request);
        pick(&of.group, last, key.as_deref().unwrap_or_default())
    }
}

struct GroupAndKey<A: Instance, K> {
    group: Arc<Group<A>>,
    key: Arc<K>,
}

/// The instances of a service with an instance for each key.
pub struct Keyed<A: Instance, K> {
    /// One reference, because services are cloned often.
    of: Arc<GroupAndKey<A, K>>,
    /// The instance of the last call. It is not looked up again for a call with the same key.
    last: Option<Shared<A>>,
}

impl<A: Instance, K> Clone for Keyed<A, K> {
    fn clone(&self) -> Self {
        let last = self
            .last
            .as_ref()
            .filter(|last| !last.emitter().is_temporary());
        Self {
            of: Arc::clone(&self.of),
            last: last.cloned(),
        }
    }
}

/// The instance of a key: the last one, if it has this key.
#[inline]
fn pick<'a, A: Instance>(
    group: &Group<A>,
    last: &'a mut Option<Shared<A>>,
    key: &str,
) -> &'a mut Shared<A> {
    let is_last = |last: &Shared<A>| {
        let emitter = last.emitter();
        emitter.instance().has_key(key) && !emitter.is_temporary()
    };
    if !last.as_ref().is_some_and(is_last) {
        // Before the lookup, so that the old instance can leave.
        *last = None;
    }
    last.get_or_insert_with(|| group.get(key))
}

/// The same for a key that the call carries.
#[cold]
fn pick_override<'a, A: Instance>(
    group: &Group<A>,
    last: &'a mut Option<Shared<A>>,
    key: &str,
) -> &'a mut Shared<A> {
    pick(group, last, key)
}
