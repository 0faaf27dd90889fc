//! The deadline of a call in a field of its request.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tower_layer::Layer;

use crate::layers::correlation::Carry;
use crate::layers::deadline::{
    Deadline, FIELD, FLOOR, KIND, WriteDeadline, at_least, format, parse,
};
use crate::observe::emitter::Emitter;
use crate::observe::event::Observer;
use crate::runtime::shared::Shared;
use crate::vocabulary::config::ConfigError;
use crate::vocabulary::name::InstanceName;
use crate::vocabulary::sealed::Sealed;

/// Writes the remaining time of the deadline into each request. It is part of the stack that
/// [`client`](super::client) builds, if that [propagates](super::AnyClientBuilder::propagate) the
/// context.
#[derive(Clone)]
pub struct CarriedDeadlineLayer {
    emitter: Shared<Emitter>,
}

impl CarriedDeadlineLayer {
    pub(super) fn new(
        name: &str,
        observer: Option<Arc<dyn Observer>>,
    ) -> Result<Self, ConfigError> {
        let instance = InstanceName::new(&KIND, Some(name))?;
        Ok(Self {
            emitter: Shared::new(Emitter::new(&KIND, instance, observer)),
        })
    }
}

impl<S> Layer<S> for CarriedDeadlineLayer {
    type Service = Deadline<S, DeadlineField>;

    fn layer(&self, inner: S) -> Self::Service {
        Deadline::new(inner, Some(DeadlineField), self.emitter.clone())
    }
}

impl fmt::Debug for CarriedDeadlineLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CarriedDeadlineLayer")
    }
}

/// Writes the remaining time into the field `x-request-timeout-ms`, in milliseconds.
#[derive(Debug, Clone, Copy)]
pub struct DeadlineField;

impl Sealed for DeadlineField {}

impl<Req: Carry> WriteDeadline<Req> for DeadlineField {
    fn write(&self, request: &mut Req, remaining: Duration) {
        if read(request).is_none_or(|own| own > remaining) {
            request.set(FIELD, &format(remaining).to_string());
        }
    }
}

/// The limit of a request's caller, raised to the floor.
pub(super) fn asked(request: &impl Carry) -> Option<Duration> {
    Some(at_least(FLOOR, read(request)?))
}

fn read(request: &impl Carry) -> Option<Duration> {
    parse(request.get(FIELD)?)
}

#[cfg(test)]
#[path = "deadline_tests.rs"]
mod tests;
