//! The handles of the layers.

/// Defines the handle of a layer: a reference to the state `$state` of an instance.
macro_rules! handle {
    (
        $(#[$attribute:meta])*
        pub struct $name:ident $(<$policy:ident: $bound:path>)? of $state:ty;
        $(#[$snapshot:meta])*
        snapshot
    ) => {
        $(#[$attribute])*
        pub struct $name $(<$policy>)? {
            state: $crate::runtime::shared::Shared<$state>,
        }

        impl $(<$policy: $bound>)? $name $(<$policy>)? {
            pub(super) fn new(state: &$crate::runtime::shared::Shared<$state>) -> Self {
                Self {
                    state: state.clone(),
                }
            }

            /// The name of the instance.
            #[must_use]
            pub fn name(&self) -> &str {
                $crate::observe::emit::Emit::emitter(&*self.state).name()
            }

            $(#[$snapshot])*
            #[must_use]
            pub fn snapshot(&self) -> super::Snapshot {
                super::Snapshot::of(&self.state)
            }

            /// Subscribes to the events of this instance.
            #[must_use]
            pub fn events(&self) -> $crate::observe::event::Events {
                $crate::observe::emit::Emit::emitter(&*self.state).subscribe()
            }
        }

        impl $(<$policy: $bound>)? Clone for $name $(<$policy>)? {
            fn clone(&self) -> Self {
                Self::new(&self.state)
            }
        }

        impl $(<$policy: $bound>)? std::fmt::Debug for $name $(<$policy>)? {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name))
                    .field("name", &self.name())
                    .finish_non_exhaustive()
            }
        }
    };
}

pub(crate) use handle;
