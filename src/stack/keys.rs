//! The keys of a standard stack. Their type is erased, so that the type of a stack does not depend
//! on them.

#![allow(
    private_bounds,
    private_interfaces,
    missing_debug_implementations,
    reason = "users cannot name what is hidden"
)]

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use crate::layers::keyed::{
    Instance, Key, Keyed, Keying, KeyingOf, Last, OneForAll, PerKey, Target,
};
use crate::observe::emitter::Emitter;
use crate::protocol::http::{ByAuthority, HttpRequest};
use crate::runtime::shared::{Held, Shared};
use crate::vocabulary::config::ConfigError;
use crate::vocabulary::overrides::Overrides;
use crate::vocabulary::sealed::Sealed;

/// How the layers of a standard stack choose their instance: one for all calls, or one for each key.
#[derive(Debug, Clone, Default)]
pub struct StackKeying(Option<PerKey<StackKey>>);

impl StackKeying {
    pub(super) fn by_authority() -> Self {
        Self(Some(PerKey::new(StackKey::Authority)))
    }

    pub(super) fn by(key: impl for<'r> Key<dyn HttpRequest + 'r> + Send + Sync + 'static) -> Self {
        Self(Some(PerKey::new(StackKey::Own(Box::new(key)))))
    }

    pub(super) fn by_closure(
        key: impl for<'a> Fn(&'a (dyn HttpRequest + 'a)) -> Cow<'a, str> + Send + Sync + 'static,
    ) -> Self {
        Self(Some(PerKey::new(StackKey::Own(Box::new(Closure(key))))))
    }

    /// Sets the most keys, and those with a label, if there are keys.
    pub(super) fn limits(mut self, max_keys: Option<u32>, label_keys: Option<u32>) -> Self {
        if let Some(per_key) = &mut self.0 {
            per_key.max_keys = max_keys.unwrap_or(per_key.max_keys);
            per_key.label_keys = label_keys.unwrap_or(per_key.label_keys);
        }
        self
    }
}

/// The key of a standard stack.
pub enum StackKey {
    Authority,
    Own(Box<dyn OwnKey>),
}

impl fmt::Debug for StackKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Authority => "authority",
            Self::Own(_) => "own",
        })
    }
}

/// A key of the user.
pub trait OwnKey: Send + Sync {
    fn of<'a>(&'a self, request: &'a (dyn HttpRequest + 'a)) -> Option<Cow<'a, str>>;

    fn its_name(&self) -> Cow<'_, str>;
}

impl<K> OwnKey for K
where
    K: for<'r> Key<dyn HttpRequest + 'r> + Send + Sync,
{
    fn of<'a>(&'a self, request: &'a (dyn HttpRequest + 'a)) -> Option<Cow<'a, str>> {
        self.key(request)
    }

    fn its_name(&self) -> Cow<'_, str> {
        Key::<dyn HttpRequest>::name(self)
    }
}

/// A closure as a key.
struct Closure<F>(F);

impl<F> Key<dyn HttpRequest + '_> for Closure<F>
where
    F: for<'a> Fn(&'a (dyn HttpRequest + 'a)) -> Cow<'a, str>,
{
    fn key<'a>(&'a self, request: &'a (dyn HttpRequest + '_)) -> Option<Cow<'a, str>> {
        Some((self.0)(request))
    }
}

impl<Req: HttpRequest> Key<Req> for StackKey {
    #[inline]
    fn key<'a>(&'a self, request: &'a Req) -> Option<Cow<'a, str>> {
        match self {
            Self::Authority => Key::key(&ByAuthority, request),
            Self::Own(key) => key.of(request),
        }
    }

    #[inline]
    fn key_override(&self, request: &Req, name: &str) -> Option<Arc<str>> {
        Overrides::key_of(request.overrides(), name)
    }
}

/// The instances of a layer in a standard stack.
pub enum StackInstances<A: Instance> {
    One(Shared<A>),
    Keyed(Keyed<A, StackKey>),
}

impl<A: Instance> Clone for StackInstances<A> {
    fn clone(&self) -> Self {
        match self {
            Self::One(one) => Self::One(one.clone()),
            Self::Keyed(keyed) => Self::Keyed(keyed.clone()),
        }
    }
}

impl Sealed for StackKeying {}

impl Keying for StackKeying {
    type Instances<A: Instance> = StackInstances<A>;
    type Last<A: Instance> = Last<A>;
    type OfCall<A: Instance> = Option<Held<A>>;

    fn instances<A: Instance>(
        self,
        layer: &'static str,
        settings: A::Settings,
        fixed: A::Fixed,
        emitter: Emitter,
    ) -> Result<StackInstances<A>, ConfigError> {
        match self.0 {
            None => OneForAll
                .instances(layer, settings, fixed, emitter)
                .map(StackInstances::One),
            Some(keys) => keys
                .instances(layer, settings, fixed, emitter)
                .map(StackInstances::Keyed),
        }
    }

    fn is_keyed(&self) -> bool {
        self.0.is_some()
    }

    fn name(&self) -> Option<Cow<'_, str>> {
        Some(match self.0.as_ref()?.key() {
            StackKey::Authority => Key::<dyn HttpRequest>::name(&ByAuthority),
            StackKey::Own(key) => key.its_name(),
        })
    }

    fn target<A: Instance>(instances: &StackInstances<A>) -> Target<A> {
        match instances {
            StackInstances::One(one) => OneForAll::target(one),
            StackInstances::Keyed(keyed) => PerKey::target(keyed),
        }
    }

    #[inline]
    fn ask<A: Instance, R>(
        instances: &StackInstances<A>,
        one: impl FnOnce(&A) -> R,
        keys: impl FnOnce(&A::Common) -> R,
    ) -> R {
        match instances {
            StackInstances::One(instance) => OneForAll::ask(instance, one, keys),
            StackInstances::Keyed(keyed) => PerKey::ask(keyed, one, keys),
        }
    }

    #[inline]
    fn of_call<'a, A: Instance>(
        instances: &'a StackInstances<A>,
        held: &'a Option<Held<A>>,
    ) -> &'a Arc<A> {
        match (held, instances) {
            (Some(held), _) => Held::arc(held),
            (None, StackInstances::One(one)) => Shared::arc(one),
            (None, StackInstances::Keyed(_)) => {
                unreachable!("a call with a key holds its instance")
            }
        }
    }
}

impl<Req: HttpRequest> KeyingOf<Req> for StackKeying {
    #[cfg_attr(not(debug_assertions), inline(always))]
    fn pick<'a, A: Instance>(
        instances: &'a mut StackInstances<A>,
        request: &Req,
    ) -> &'a mut Shared<A> {
        match instances {
            StackInstances::One(one) => one,
            StackInstances::Keyed(keyed) => PerKey::pick(keyed, request),
        }
    }

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn hold<A: Instance>(
        instances: &StackInstances<A>,
        last: &mut Last<A>,
        request: &Req,
    ) -> Option<Held<A>> {
        match instances {
            StackInstances::One(_) => None,
            StackInstances::Keyed(keyed) => Some(PerKey::hold(keyed, last, request)),
        }
    }
}
