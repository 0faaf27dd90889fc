//! A standard stack in a registry.

use std::fmt;
use std::sync::Arc;

use super::description::Description;
use super::instance::{Instance, InstanceSnapshot};
use super::members::{Entry, Member};

/// The handle of a standard stack of any kind, as a [`Registry`](super::Registry) lists it.
///
/// A handle keeps the state of the stack alive, but not its services.
#[derive(Clone)]
pub struct StackHandle {
    description: Arc<Description>,
    /// Outermost first, and whether the layer is on.
    layers: Arc<[Member]>,
}

impl StackHandle {
    /// `None` if the entry is no stack, or if the stack is gone.
    pub(super) fn of(entry: &Entry) -> Option<Self> {
        let description = Arc::clone(entry.stack.as_ref()?);
        let layers = entry.all_members()?.into();
        Some(Self {
            description,
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

    /// The layers with their settings, and the warnings.
    #[must_use]
    pub fn describe(&self) -> Description {
        (*self.description).clone()
    }

    /// The layers that are on, outermost first.
    pub fn instances(&self) -> impl Iterator<Item = &Instance> {
        let listed = self.layers.iter().filter(|member| member.is_listed());
        listed.map(|member| &member.instance)
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
