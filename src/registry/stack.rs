//! A standard stack in a registry.

#[cfg(feature = "serde")]
use std::any::Any;
use std::fmt;
use std::sync::Arc;

use super::description::Description;
use super::instance::{Instance, InstanceSnapshot};
use super::live::{LiveStack, StackSettings};
use super::members::{Entry, Member};
use crate::vocabulary::config::ConfigError;
use crate::vocabulary::settings::Changes;

/// The handle of a standard stack of any kind, as a [`Registry`](super::Registry) lists it.
///
/// A handle keeps the state of the stack alive, but not its services.
#[derive(Clone)]
pub struct StackHandle {
    stack: Arc<dyn LiveStack>,
    description: Arc<Description>,
    /// Outermost first, and whether the layer is on.
    layers: Arc<[Member]>,
}

impl StackHandle {
    /// `None` if the entry is no stack, or if the stack is gone.
    pub(super) fn of(entry: &Entry) -> Option<Self> {
        let stack = Arc::clone(entry.stack.as_ref()?);
        let layers: Arc<[Member]> = entry.all_members()?.into();
        Some(Self {
            description: stack.description(&layers),
            stack,
            layers,
        })
    }

    /// The kind: `http server`, `grpc server`, `http client`, `grpc client`, or `server` or `client`
    /// for any other request type.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.description.kind()
    }

    /// Whether it is the stack of a server.
    #[must_use]
    pub fn is_server(&self) -> bool {
        self.kind().ends_with("server")
    }

    /// The name of the stack.
    #[must_use]
    pub fn name(&self) -> &str {
        self.description.name()
    }

    /// The layers with their settings in force, and the warnings.
    #[must_use]
    pub fn describe(&self) -> Description {
        (*self.stack.description(&self.layers)).clone()
    }

    /// The settings in force. `None` if the stack is of another kind.
    ///
    /// ```
    /// use mainstay::registry::Registry;
    /// use mainstay::stack::AnyClientSettings;
    ///
    /// let registry = Registry::new();
    /// let built = mainstay::client("payments").registry(&registry).build()?;
    /// let stack = registry.stack("payments").unwrap();
    ///
    /// let mut settings: AnyClientSettings = stack.settings().unwrap();
    /// settings.bulkhead.limit = Some(64);
    /// let changes = stack.update(&settings)?.unwrap();
    /// assert_eq!(changes.to_string(), "bulkhead.limit: off -> 64");
    /// # drop(built);
    /// # Ok::<_, mainstay::ConfigError>(())
    /// ```
    #[must_use]
    pub fn settings<S: StackSettings>(&self) -> Option<S> {
        let settings = self.stack.settings(&self.layers)?;
        settings.downcast().ok().map(|settings| *settings)
    }

    /// Replaces all settings while the stack runs. Returns what changed, or `None` if the stack is of
    /// another kind.
    ///
    /// # Errors
    ///
    /// A setting is invalid, alone or beside another one. Nothing has changed then.
    pub fn update<S: StackSettings>(&self, settings: &S) -> Result<Option<Changes>, ConfigError> {
        self.stack.update(&self.layers, settings, true).transpose()
    }

    /// Reads settings of this kind of stack, and checks them.
    #[cfg(feature = "serde")]
    pub(super) fn read_any<'de, D: serde::Deserializer<'de>>(
        &self,
        from: D,
    ) -> Result<Box<dyn Any>, D::Error> {
        let mut erased = <dyn erased_serde::Deserializer<'_>>::erase(from);
        let read = self.stack.read(&self.layers, &mut erased);
        read.map_err(serde::de::Error::custom)
    }

    /// Puts settings that [`read_any`](Self::read_any) returned in force.
    #[cfg(feature = "serde")]
    pub(super) fn update_any(&self, settings: &dyn Any) -> Result<Changes, ConfigError> {
        // The configuration was read over the settings of the program, so none of them is derived.
        let updated = self.stack.update(&self.layers, settings, false);
        let updated = updated.transpose();
        updated.map(Option::unwrap_or_default)
    }

    #[cfg(feature = "serde")]
    pub(super) fn serialize_settings<S: serde::Serializer>(
        &self,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        match self.stack.written(&self.layers) {
            Some(settings) => erased_serde::serialize(&*settings, to),
            None => to.serialize_unit(),
        }
    }

    /// The layers that are on, outermost first.
    pub fn instances(&self) -> impl Iterator<Item = &Instance> {
        let listed = self.layers.iter().filter(|member| member.is_listed());
        listed.map(|member| &member.instance)
    }

    /// All layers, on or off, outermost first.
    pub(crate) fn all_instances(&self) -> impl Iterator<Item = &Instance> {
        self.layers.iter().map(|member| &member.instance)
    }

    /// The snapshots of its layers.
    #[must_use]
    pub fn snapshot(&self) -> StackSnapshot {
        StackSnapshot {
            kind: self.description.kind,
            name: self.name().to_owned(),
            layers: self.instances().map(Instance::snapshot).collect(),
        }
    }
}

/// The kind and the name.
impl fmt::Display for StackHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.kind(), self.name())
    }
}

impl fmt::Debug for StackHandle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StackHandle")
            .field("kind", &self.kind())
            .field("name", &self.name())
            .finish_non_exhaustive()
    }
}

/// The snapshots of the layers of a [`StackHandle`].
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct StackSnapshot {
    /// The kind of stack.
    pub kind: &'static str,
    /// The name of the stack.
    pub name: String,
    /// The layers that are on, outermost first. Serialized, it is a map from the kind of layer to
    /// the snapshot.
    pub layers: Vec<InstanceSnapshot>,
}

/// A line for the stack, and one for each layer.
impl fmt::Display for StackSnapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.kind, self.name)?;
        for layer in &self.layers {
            write!(f, "\n  {layer}")?;
        }
        Ok(())
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for StackSnapshot {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeStruct as _;

        struct Layers<'a>(&'a [InstanceSnapshot]);

        impl serde::Serialize for Layers<'_> {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_map(self.0.iter().map(|layer| (layer.layer(), layer)))
            }
        }

        let mut stack = serializer.serialize_struct("StackSnapshot", 3)?;
        stack.serialize_field("kind", self.kind)?;
        stack.serialize_field("name", &self.name)?;
        stack.serialize_field("layers", &Layers(&self.layers))?;
        stack.end()
    }
}
