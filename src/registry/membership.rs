//! The registry that a standard stack joins when it is built.

use std::sync::Arc;

use super::Registry;
use super::live::LiveStack;
use super::members::Member;

/// The registry of a stack's builder.
#[derive(Debug, Clone, Default)]
pub(crate) enum JoinedRegistry {
    #[default]
    Global,
    Other(Registry),
    None,
}

impl JoinedRegistry {
    pub(crate) fn join(&self, stack: Arc<dyn LiveStack>, layers: &[Member]) {
        let stack = Some(stack);
        match self {
            Self::Global => Registry::global().members.add(stack, layers),
            Self::Other(registry) => registry.members.add(stack, layers),
            Self::None => {}
        }
    }
}
