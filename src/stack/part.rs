//! One layer of a standard stack: what the stack has to know of it.

use std::sync::Arc;

use super::numbers::Numbers;
use super::refine::Refine;
use crate::observe::event::Observer;
use crate::vocabulary::config::ConfigError;

/// A setting in a description: the name of the builder's method, and the value.
pub(super) type Setting = (&'static str, String);

/// A layer of a standard stack whose calls are followed by a `T`. One line in a
/// [list](super::list) puts it into a stack.
pub(super) trait Part<T> {
    /// Its name in descriptions, the same as in rejections and events.
    const NAME: &'static str;
    /// The settings that the stack's builder collects.
    type Settings;
    /// The layer that is built of them.
    type Layer: Clone;

    /// The settings where the user says nothing; `None` where the layer is then left out.
    fn standard() -> Option<Self::Settings>;

    /// Whether the layer is in the stack with these settings.
    fn is_on(_: &Self::Settings) -> bool {
        true
    }

    /// Adds the numbers that other layers must go together with.
    fn numbers(_: &Self::Settings, _: &mut Numbers) {}

    /// Completes settings that nobody set and that follow from those of other layers.
    fn follow(_: &mut Self::Settings, _: &mut Numbers) {}

    /// The settings in words.
    fn describe(_: &Self::Settings) -> Vec<Setting>;

    /// Builds the layer; of `None` one of the same type that does nothing.
    ///
    /// # Errors
    ///
    /// When a setting is refused.
    fn build(
        settings: Option<Self::Settings>,
        stack: &Stack<'_, T>,
    ) -> Result<Self::Layer, ConfigError>;
}

/// A layer that is built, and whether it is in the stack.
#[derive(Clone)]
pub(super) struct Built<L> {
    pub(super) layer: L,
    pub(super) is_on: bool,
}

/// The settings of a layer in the builder of a stack: those of the stack, those of the user, or none because it is left out.
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

    /// Changes the settings, unless the layer is left out.
    pub(super) fn change(&mut self, standard: impl FnOnce() -> L, by: impl FnOnce(&mut L)) {
        if let Self::Standard = self {
            *self = Self::Set(standard());
        }
        if let Self::Set(settings) = self {
            by(settings);
        }
    }

    /// The same settings in another type.
    pub(super) fn map<M>(self, by: impl FnOnce(L) -> M) -> Slot<M> {
        match self {
            Self::Standard => Slot::Standard,
            Self::Set(settings) => Slot::Set(by(settings)),
            Self::Off => Slot::Off,
        }
    }

    /// `None` where the layer is left out.
    pub(super) fn or(self, standard: Option<L>) -> Option<L> {
        match self {
            Self::Standard => standard,
            Self::Set(settings) => Some(settings),
            Self::Off => None,
        }
    }
}

/// What a layer adopts from its stack, unless it has its own.
pub(super) struct Stack<'a, T> {
    pub(super) name: &'a str,
    pub(super) observer: Option<Arc<dyn Observer>>,
    /// How the layers of the stack classify, and follow calls.
    pub(super) tracker: T,
}

impl<T> Stack<'_, T> {
    /// Sets what the builder of a layer has none of.
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
