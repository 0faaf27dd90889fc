//! How the calls of a layer choose their instance.

#![allow(
    private_bounds,
    private_interfaces,
    missing_debug_implementations,
    reason = "users cannot name what is hidden"
)]

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::group::{Group, Instance};
use super::key::Key;
use super::last::Last;
use super::target::Target;
use crate::call::admit::Admit;
use crate::observe::emitter::Emitter;
use crate::runtime::shared::{Held, Shared};
use crate::vocabulary::config::ConfigError;
use crate::vocabulary::reason::Reason;
use crate::vocabulary::sealed::Sealed;

/// The number of keys that a layer has by default.
const DEFAULT_KEYS: u32 = 10_000;
const MAX_KEYS: u32 = 1_000_000;
/// Each label is a series of each metric.
const MAX_LABELS: u32 = 1_000;

/// How the calls of a layer choose their instance: [`OneForAll`] or [`PerKey`].
///
/// This trait is sealed: only mainstay implements it.
pub trait Keying: Sealed + Clone {
    /// The instances of a layer or a service.
    #[doc(hidden)]
    type Instances<A: Instance>: Clone;

    /// The instance that a service called last, where its layer has the instances.
    #[doc(hidden)]
    type Last<A: Instance>: Clone + Default;

    /// The instance of a call, unless there is only one.
    #[doc(hidden)]
    type OfCall<A: Instance>;

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

    /// Whether there is an instance for each key.
    #[doc(hidden)]
    fn is_keyed(&self) -> bool;

    /// The name of the keys, if there are keys.
    #[doc(hidden)]
    fn name(&self) -> Option<Cow<'_, str>> {
        self.is_keyed().then(|| "key".into())
    }

    /// The instances for a handle.
    #[doc(hidden)]
    fn target<A: Instance>(instances: &Self::Instances<A>) -> Target<A>;

    /// Why the next call would be rejected, if that is known without its key.
    #[doc(hidden)]
    fn refuses<A: Instance + Admit>(instances: &Self::Instances<A>) -> Option<Reason> {
        Self::ask(instances, A::refuses, |_| None)
    }

    /// Asks the one instance of all calls, or the state that all keys share.
    #[doc(hidden)]
    fn ask<A: Instance, R>(
        instances: &Self::Instances<A>,
        one: impl FnOnce(&A) -> R,
        keys: impl FnOnce(&A::Common) -> R,
    ) -> R;

    /// The instance of a call.
    #[doc(hidden)]
    fn of_call<'a, A: Instance>(
        instances: &'a Self::Instances<A>,
        of_call: &'a Self::OfCall<A>,
    ) -> &'a Arc<A>;
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

    /// Holds the instance of a call, where the layer has the instances.
    #[doc(hidden)]
    fn hold<A: Instance>(
        instances: &Self::Instances<A>,
        last: &mut Self::Last<A>,
        request: &Req,
    ) -> Self::OfCall<A>;
}

/// One instance for all calls: the default.
#[derive(Debug, Clone, Copy, Default)]
pub struct OneForAll;

impl Sealed for OneForAll {}

impl OneForAll {
    /// Makes the one instance.
    pub(crate) fn one<A: Instance>(
        settings: &A::Settings,
        fixed: &A::Fixed,
        emitter: Emitter,
    ) -> Shared<A> {
        let shared = Shared::new(A::new(settings, fixed, emitter, None));
        A::shared(&shared);
        shared
    }
}

impl Keying for OneForAll {
    type Instances<A: Instance> = Shared<A>;
    type Last<A: Instance> = ();
    type OfCall<A: Instance> = ();

    fn instances<A: Instance>(
        self,
        _: &'static str,
        settings: A::Settings,
        fixed: A::Fixed,
        emitter: Emitter,
    ) -> Result<Shared<A>, ConfigError> {
        Ok(Self::one(&settings, &fixed, emitter))
    }

    fn is_keyed(&self) -> bool {
        false
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

    #[inline]
    fn of_call<'a, A: Instance>(instances: &'a Shared<A>, (): &'a ()) -> &'a Arc<A> {
        Shared::arc(instances)
    }
}

impl<Req> KeyingOf<Req> for OneForAll {
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn pick<'a, A: Instance>(instances: &'a mut Shared<A>, _: &Req) -> &'a mut Shared<A> {
        instances
    }

    #[inline]
    fn hold<A: Instance>(_: &Shared<A>, (): &mut (), _: &Req) {}
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

impl<K> PerKey<K> {
    #[cfg(feature = "http")]
    pub(crate) fn key(&self) -> &K {
        &self.key
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
    type Instances<A: Instance> = Keyed<A, K>;
    type Last<A: Instance> = Last<A>;
    type OfCall<A: Instance> = Held<A>;

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
            last: Last::default(),
        })
    }

    fn is_keyed(&self) -> bool {
        true
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

    #[inline]
    fn of_call<'a, A: Instance>(_: &'a Keyed<A, K>, held: &'a Held<A>) -> &'a Arc<A> {
        Held::arc(held)
    }
}

impl<Req, K: Key<Req>> KeyingOf<Req> for PerKey<K> {
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn pick<'a, A: Instance>(instances: &'a mut Keyed<A, K>, request: &Req) -> &'a mut Shared<A> {
        let Keyed { of, last } = instances;
        of.pick(last, request)
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn hold<A: Instance>(instances: &Keyed<A, K>, last: &mut Last<A>, request: &Req) -> Held<A> {
        instances.of.pick(last, request).hold()
    }
}

struct GroupAndKey<A: Instance, K> {
    group: Arc<Group<A>>,
    key: Arc<K>,
}

impl<A: Instance, K> GroupAndKey<A, K> {
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn pick<'a, Req>(&self, last: &'a mut Last<A>, request: &Req) -> &'a mut Shared<A>
    where
        K: Key<Req>,
    {
        let name = self.group.emitter().instance().name();
        if let Some(key) = self.key.key_override(request, name) {
            return last.pick_override(&self.group, &key);
        }
        let key = self.key.key(request);
        last.pick(&self.group, key.as_deref().unwrap_or_default())
    }
}

/// The instances of a service with an instance for each key.
pub struct Keyed<A: Instance, K> {
    /// One reference, because services are cloned often.
    of: Arc<GroupAndKey<A, K>>,
    last: Last<A>,
}

impl<A: Instance, K> Clone for Keyed<A, K> {
    fn clone(&self) -> Self {
        Self {
            of: Arc::clone(&self.of),
            last: self.last.clone(),
        }
    }
}
