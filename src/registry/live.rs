//! The settings of stacks of any kind, by their handles in a registry.

use std::any::Any;
use std::sync::Arc;

use super::description::Description;
use super::instance::Instance;
use super::members::Member;
use crate::vocabulary::config::ConfigError;
use crate::vocabulary::sealed::Sealed;
use crate::vocabulary::settings::Changes;

/// The settings of a standard stack: [`http::ClientSettings`](crate::http::ClientSettings),
/// [`http::ServerSettings`](crate::http::ServerSettings),
/// [`AnyClientSettings`](crate::stack::AnyClientSettings) or
/// [`AnyServerSettings`](crate::stack::AnyServerSettings).
///
/// This trait is sealed: only mainstay implements it.
pub trait StackSettings: Sealed + Clone + Send + Sync + 'static {}

/// The present settings of a stack.
pub(crate) trait LiveStack: Send + Sync {
    /// With the settings in force.
    fn description(&self, layers: &[Member]) -> Arc<Description>;

    /// The settings in force; `None` if these are not the layers of the stack.
    fn settings(&self, layers: &[Member]) -> Option<Box<dyn Any>>;

    /// Puts settings of this kind of stack in force. `None` if they are of another kind. With
    /// `keeps_derived`, a value that was derived and is the same stays derived.
    fn update(
        &self,
        layers: &[Member],
        settings: &dyn Any,
        keeps_derived: bool,
    ) -> Option<Result<Changes, ConfigError>>;

    /// Reads settings. Absent fields have the values with which the stack was built.
    #[cfg(feature = "serde")]
    fn read(
        &self,
        layers: &[Member],
        from: &mut dyn erased_serde::Deserializer<'_>,
    ) -> Result<Box<dyn Any>, erased_serde::Error>;

    /// The settings in force, to be written.
    #[cfg(feature = "serde")]
    fn written(&self, layers: &[Member]) -> Option<Box<dyn erased_serde::Serialize>>;
}

/// The handle of a layer among the members of a stack.
pub(crate) trait OfInstance: Sized {
    fn of_instance(instance: &Instance) -> Option<Self>;

    fn of_member(members: &[Member], layer: &str) -> Option<Self> {
        let mut instances = members.iter().map(|member| &member.instance);
        instances
            .find(|instance| instance.layer() == layer)
            .and_then(Self::of_instance)
    }
}
