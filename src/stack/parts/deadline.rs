use std::marker::PhantomData;

use crate::protocol::http::DeadlineLayer;
use crate::stack::part::{Part, Setting, Stack};
use crate::stack::protocol::Protocol;
use crate::vocabulary::config::ConfigError;

/// The deadline layer of a client stack.
pub(in crate::stack) struct Deadline<P>(PhantomData<P>);

impl<P: Protocol, T, Q> Part<T, Q> for Deadline<P> {
    const NAME: &'static str = "deadline";
    type Settings = DeadlineLayer;
    type Layer = DeadlineLayer;

    fn standard() -> Option<DeadlineLayer> {
        Some(DeadlineLayer::new())
    }

    fn describe(settings: &DeadlineLayer) -> Vec<Setting> {
        let header = P::DEADLINE.unwrap_or(settings.header_name());
        vec![("header", header.to_owned())]
    }

    fn build(
        settings: Option<DeadlineLayer>,
        stack: &Stack<'_, T, Q>,
    ) -> Result<DeadlineLayer, ConfigError> {
        let deadline = settings.unwrap_or_else(DeadlineLayer::off);
        deadline.adopt(stack.name, stack.observer.clone())
    }
}
