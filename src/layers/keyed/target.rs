//! The instances that a handle controls.

#![allow(
    private_bounds,
    private_interfaces,
    missing_debug_implementations,
    reason = "users cannot name what is hidden"
)]

use std::sync::{Arc, Weak};

use super::group::{Group, Instance};
use crate::layers::handle::{Adjust, announce, update};
use crate::observe::emitter::Emitter;
use crate::runtime::shared::Shared;
use crate::vocabulary::config::ConfigError;
use crate::vocabulary::settings::{Changes, Fields};

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
