//! One layer of a stack that is being built.

use std::sync::Arc;

use super::refine::Refine;
use crate::Observer;

/// A layer as the stack has it by itself, as it was set, or left out.
#[derive(Debug)]
pub(super) enum Part<L> {
    Default,
    Set(L),
    Off,
}

impl<L> Part<L> {
    pub(super) fn refine(&mut self, by: impl Refine<L>, default: L) {
        *self = Self::Set(by.refine(default));
    }

    /// `None` where it is left out.
    pub(super) fn or_default(self, default: impl FnOnce() -> L) -> Option<L> {
        match self {
            Self::Default => Some(default()),
            Self::Set(layer) => Some(layer),
            Self::Off => None,
        }
    }
}

/// What a layer gets of its stack, unless it has its own.
pub(super) struct Named<'a> {
    name: &'a str,
    observer: Option<Arc<dyn Observer>>,
}

impl<'a> Named<'a> {
    pub(super) fn new(name: &'a str, observer: Option<Arc<dyn Observer>>) -> Self {
        Self { name, observer }
    }

    pub(super) fn give(&self, name: &mut Option<String>, observer: &mut Option<Arc<dyn Observer>>) {
        name.get_or_insert_with(|| self.name.to_owned());
        if observer.is_none() {
            observer.clone_from(&self.observer);
        }
    }
}
