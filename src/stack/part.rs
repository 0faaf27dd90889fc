//! One layer of a standard stack.

use std::sync::Arc;

use super::numbers::Numbers;
use super::refine::Refine;
use crate::layers::keyed::{Keying, OneForAll};
use crate::observe::event::Observer;
use crate::vocabulary::config::ConfigError;

/// A setting in a description: the name of its setter, and the value.
pub(super) type Setting = (&'static str, String);

/// A layer of a standard stack with the tracker `T`. A line in a [list](super::list) adds it to a
/// stack.
pub(super) trait Part<T, Q> {
    /// Its name, as in rejections and events.
    const NAME: &'static str;
    /// The settings that the stack's builder collects.
    type Settings;
    /// The layer that is built from them.
    type Layer: Clone;

    /// The default settings; `None` if the layer is off by default.
    fn standard() -> Option<Self::Settings>;

    /// Whether the layer is on with these settings.
    fn is_on(_: &Self::Settings) -> bool {
        true
    }

    /// Adds the numbers that are checked against those of other layers.
    fn numbers(_: &Self::Settings, _: &mut Numbers) {}

    /// Derives unset settings from those of other layers.
    fn derive(_: &mut Self::Settings, _: &mut Numbers) {}

    fn describe(_: &Self::Settings) -> Vec<Setting>;

    /// How the layer chooses its instance, if it has several.
    fn describe_keys(_: Option<&Self::Settings>, _: &Stack<'_, T, Q>) -> Option<Setting> {
        None
    }

    /// Builds the layer. `None` builds a layer of the same type that does nothing.
    ///
    /// # Errors
    ///
    /// When a setting is invalid.
    fn build(
        settings: Option<Self::Settings>,
        stack: &Stack<'_, T, Q>,
    ) -> Result<Self::Layer, ConfigError>;
}

/// A layer, and whether it is on.
#[derive(Clone)]
pub(super) struct Built<L> {
    pub(super) layer: L,
    pub(super) is_on: bool,
}

/// The settings of a layer in the builder of a stack.
#[derive(Debug, Default)]
pub(super) enum Slot<L> {
    #[default]
    Standard,
    Set(L),
    Off,
}

impl<L> Slot<L> {
    pub(super) fn refine(&mut self, by: impl Refine<L>, standard: L) {
        *self = Self::Set(by.refine(standard));
    }

    /// Replaces the settings by those that `change` makes of them, or of the standard ones if the
    /// layer was off.
    pub(super) fn put(&mut self, standard: impl FnOnce() -> L, change: impl FnOnce(L) -> L) {
        let settings = match std::mem::replace(self, Self::Off) {
            Self::Set(settings) => settings,
            Self::Standard | Self::Off => standard(),
        };
        *self = Self::Set(change(settings));
    }

    /// The same for a layer that may then be off.
    pub(super) fn put_optional(
        &mut self,
        standard: impl FnOnce() -> L,
        change: impl FnOnce(L) -> Option<L>,
    ) {
        let settings = match std::mem::replace(self, Self::Off) {
            Self::Set(settings) => settings,
            Self::Standard | Self::Off => standard(),
        };
        *self = change(settings).map_or(Self::Off, Self::Set);
    }

    /// Changes the settings, unless the layer is off.
    pub(super) fn change(&mut self, standard: impl FnOnce() -> L, change: impl FnOnce(&mut L)) {
        if let Self::Standard = self {
            *self = Self::Set(standard());
        }
        if let Self::Set(settings) = self {
            change(settings);
        }
    }

    pub(super) fn map<M>(self, f: impl FnOnce(L) -> M) -> Slot<M> {
        match self {
            Self::Standard => Slot::Standard,
            Self::Set(settings) => Slot::Set(f(settings)),
            Self::Off => Slot::Off,
        }
    }

    /// The settings, or `None` if the layer is off.
    pub(super) fn or(self, standard: Option<L>) -> Option<L> {
        match self {
            Self::Standard => standard,
            Self::Set(settings) => Some(settings),
            Self::Off => None,
        }
    }
}

/// The name, the observer, the tracker and the keys of a stack, for its layers.
pub(super) struct Stack<'a, T, Q> {
    pub(super) name: &'a str,
    pub(super) observer: Option<Arc<dyn Observer>>,
    pub(super) tracker: T,
    pub(super) keying: Q,
}

/// How a layer of a stack with the keys `Q` chooses its instance.
pub(super) trait OfStack<Q> {
    type Keying: Keying;

    fn of_stack<T>(stack: &Stack<'_, T, Q>) -> Self::Keying;
}

impl<Q> OfStack<Q> for OneForAll {
    type Keying = Self;

    fn of_stack<T>(_: &Stack<'_, T, Q>) -> Self {
        Self
    }
}

/// By the keys of the stack.
pub(super) struct ByStack;

impl<Q: Keying> OfStack<Q> for ByStack {
    type Keying = Q;

    fn of_stack<T>(stack: &Stack<'_, T, Q>) -> Q {
        stack.keying.clone()
    }
}

/// The setting in a description, if there are keys.
pub(super) fn describe_keys(keying: &impl Keying) -> Option<Setting> {
    let name = keying.name()?;
    Some(("keyed", format!("one for each {name}")))
}

impl<T, Q> Stack<'_, T, Q> {
    /// Sets the name and the observer of a layer, unless the layer has its own.
    pub(super) fn adopt(
        &self,
        name: &mut Option<String>,
        observer: &mut Option<Arc<dyn Observer>>,
    ) {
        name.get_or_insert_with(|| self.name.to_owned());
        if observer.is_none() {
            observer.clone_from(&self.observer);
        }
    }
}
