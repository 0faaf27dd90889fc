//! The handles of the layers.

use crate::observe::emit::Emit;
use crate::observe::emitter::Emitter;
use crate::observe::event::EventKind;
use crate::runtime::deferred;
use crate::vocabulary::config::{ConfigError, OfInstance as _};
use crate::vocabulary::settings::{Changes, Fields};

/// The state of an instance whose settings can change while it runs.
pub(crate) trait Adjust: Emit + Sized {
    type Settings: Fields + Clone;

    /// The settings as they were set.
    fn settings(&self) -> Self::Settings;

    /// The same settings, with the values of those that were not set.
    fn in_force(settings: Self::Settings) -> Self::Settings {
        settings
    }

    /// As [`in_force`](Self::in_force), where it depends on the instance.
    fn resolved(&self, settings: Self::Settings) -> Self::Settings {
        Self::in_force(settings)
    }

    /// Refuses settings that this instance cannot have.
    fn check(&self, _: &Self::Settings) -> Result<(), ConfigError> {
        Ok(())
    }

    /// Puts checked settings in force, unless the present ones are no longer `before`. Returns
    /// whether they are in force.
    fn put(&self, before: &Self::Settings, new: &Self::Settings) -> bool;
}

/// Puts the settings that `change` makes of the present ones in force.
pub(crate) fn update<A: Adjust>(
    state: &A,
    mut change: impl FnMut(&mut A::Settings),
) -> Result<Changes, ConfigError> {
    let changes = loop {
        let before = state.settings();
        // The closure is user code, so it runs without a lock. If the settings change meanwhile, it
        // runs again.
        let mut new = before.clone();
        change(&mut new);
        // The instance first: it names the layer, of which several may have these settings.
        let checked = state.check(&new).and_then(|()| new.check());
        checked.of_instance(Some(state.emitter().name()))?;
        if state.put(&before, &new) {
            break Changes::between(&state.resolved(before), &state.resolved(new));
        }
    };
    // In a deferred scope the caller announces the changes, when it has released its lock.
    if !deferred::is_active() {
        announce(state, &changes);
    }
    Ok(changes)
}

/// Emits and logs what changed.
pub(crate) fn announce<A: Emit>(state: &A, changes: &Changes) {
    if !changes.is_empty() {
        state.announce(|| EventKind::SettingsChanged(changes.clone()));
    }
}

/// A handle, for a registry.
pub(crate) trait Handle: Sized {
    /// A handle that does not keep the state alive.
    type Weak;

    /// The sinks of the instance.
    fn emitter(&self) -> &Emitter;

    fn downgrade(&self) -> Self::Weak;

    /// The handle, if the state is still alive.
    fn upgrade(weak: &Self::Weak) -> Option<Self>;
}

/// The methods of a handle with a field `state` that refers to the state `$state` of an instance.
macro_rules! handle_methods {
    (
        $name:ident $(<$policy:ident: $bound:path>)? of $state:ty;
        $(#[$snapshot:meta])*
        snapshot
        $(
            $(#[$update:meta])*
            update $settings:ty
        )?
    ) => {
        impl $(<$policy: $bound>)? $name $(<$policy>)? {
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

        $(
            impl $name {
                /// The settings in force.
                #[must_use]
                pub fn settings(&self) -> $settings {
                    let settings = $crate::layers::handle::Adjust::settings(&*self.state);
                    $crate::layers::handle::Adjust::resolved(&*self.state, settings)
                }

                /// Emits and logs what changed.
                #[allow(dead_code, reason = "some features have stacks only for some handles")]
                pub(crate) fn announce(&self, changes: &$crate::vocabulary::settings::Changes) {
                    $crate::layers::handle::announce(&*self.state, changes);
                }

                /// The settings as they were set.
                #[allow(dead_code, reason = "some features have stacks only for some handles")]
                pub(crate) fn as_set(&self) -> $settings {
                    $crate::layers::handle::Adjust::settings(&*self.state)
                }

                /// Replaces all settings while the instance runs. Returns what changed.
                $(#[$update])*
                ///
                /// Several updates at the same time take effect one after the other.
                ///
                /// # Errors
                ///
                /// A setting is invalid, as in `build()`, or this instance cannot have it. Nothing
                /// has changed then.
                pub fn update(
                    &self,
                    settings: &$settings,
                ) -> Result<
                    $crate::vocabulary::settings::Changes,
                    $crate::vocabulary::config::ConfigError,
                > {
                    $crate::layers::handle::update(&*self.state, |to| to.clone_from(settings))
                }

                /// Changes single settings while the instance runs. Returns what changed.
                ///
                /// The closure receives the settings as they were set: a value that was not set and
                /// is derived from others is `None`. It runs again if another update came first.
                ///
                /// # Errors
                ///
                /// As [`update`](Self::update).
                pub fn change(
                    &self,
                    change: impl FnMut(&mut $settings),
                ) -> Result<
                    $crate::vocabulary::settings::Changes,
                    $crate::vocabulary::config::ConfigError,
                > {
                    $crate::layers::handle::update(&*self.state, change)
                }
            }
        )?
    };
}

/// Defines the handle of a layer: a reference to the state `$state` of an instance.
macro_rules! handle {
    (
        $(#[$attribute:meta])*
        pub struct $name:ident $(<$policy:ident: $bound:path>)? of $state:ty;
        $(#[$snapshot:meta])*
        snapshot
        $($update:tt)*
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
        }

        $crate::layers::handle::handle_methods! {
            $name $(<$policy: $bound>)? of $state;
            $(#[$snapshot])*
            snapshot
            $($update)*
        }

        impl $(<$policy: $bound>)? $crate::layers::handle::Handle for $name $(<$policy>)? {
            type Weak = std::sync::Weak<$state>;

            fn emitter(&self) -> &$crate::observe::emitter::Emitter {
                $crate::observe::emit::Emit::emitter(&*self.state)
            }

            fn downgrade(&self) -> Self::Weak {
                std::sync::Arc::downgrade($crate::runtime::shared::Shared::arc(&self.state))
            }

            fn upgrade(weak: &Self::Weak) -> Option<Self> {
                let state = weak.upgrade().map($crate::runtime::shared::Shared::of)?;
                Some(Self { state })
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

/// The same for a layer that can have an instance for each key.
macro_rules! keyed_handle {
    (
        $(#[$attribute:meta])*
        pub struct $name:ident of $state:ty;
        $(#[$snapshot:meta])*
        snapshot
        $(#[$update:meta])*
        update $settings:ty
    ) => {
        $(#[$attribute])*
        #[derive(Clone)]
        pub struct $name {
            target: $crate::layers::keyed::Target<$state>,
        }

        impl $name {
            pub(super) const fn new(target: $crate::layers::keyed::Target<$state>) -> Self {
                Self { target }
            }

            /// The name of the instance.
            #[must_use]
            pub fn name(&self) -> &str {
                self.target.emitter().name()
            }

            $(#[$snapshot])*
            #[must_use]
            pub fn snapshot(&self) -> super::Snapshot {
                super::Snapshot::of(&self.target)
            }

            /// Subscribes to the events of this instance, or of all keys.
            #[must_use]
            pub fn events(&self) -> $crate::observe::event::Events {
                self.target.emitter().subscribe()
            }

            /// The keys that have an instance, in no order. Empty without keys: see
            /// [`keyed`](crate::keyed).
            #[must_use]
            pub fn keys(&self) -> Vec<String> {
                self.target.keys()
            }

            /// The handle of one key, if the key has an instance. With an empty key, the handle
            /// of the calls without a key.
            ///
            /// The instance stays in memory as long as there is a handle of it.
            #[must_use]
            pub fn key(&self, key: &str) -> Option<Self> {
                self.target.key(key).map(Self::new)
            }

            /// The settings in force.
            #[must_use]
            pub fn settings(&self) -> $settings {
                let settings = self.target.settings();
                <$state as $crate::layers::handle::Adjust>::in_force(settings)
            }

            /// Emits and logs what changed.
            pub(crate) fn announce(&self, changes: &$crate::vocabulary::settings::Changes) {
                self.target.announce(changes);
            }

            /// The settings as they were set.
            pub(crate) fn as_set(&self) -> $settings {
                self.target.settings()
            }

            /// Replaces all settings while the instance runs. Returns what changed.
            $(#[$update])*
            ///
            /// Several updates at the same time take effect one after the other. With keys: all
            /// keys, also new ones, get the settings.
            ///
            /// # Errors
            ///
            /// A setting is invalid, as in `build()`, or this instance cannot have it. Nothing
            /// has changed then.
            pub fn update(
                &self,
                settings: &$settings,
            ) -> Result<
                $crate::vocabulary::settings::Changes,
                $crate::vocabulary::config::ConfigError,
            > {
                self.target.update(|to| to.clone_from(settings))
            }

            /// Changes single settings while the instance runs. Returns what changed.
            ///
            /// The closure receives the settings as they were set: a value that was not set and
            /// is derived from others is `None`. It runs again if another update came first.
            ///
            /// # Errors
            ///
            /// As [`update`](Self::update).
            pub fn change(
                &self,
                change: impl FnMut(&mut $settings),
            ) -> Result<
                $crate::vocabulary::settings::Changes,
                $crate::vocabulary::config::ConfigError,
            > {
                self.target.update(change)
            }
        }

        impl $crate::layers::handle::Handle for $name {
            type Weak = $crate::layers::keyed::WeakTarget<$state>;

            fn emitter(&self) -> &$crate::observe::emitter::Emitter {
                self.target.emitter()
            }

            fn downgrade(&self) -> Self::Weak {
                self.target.downgrade()
            }

            fn upgrade(weak: &Self::Weak) -> Option<Self> {
                weak.upgrade().map(Self::new)
            }
        }

        impl std::fmt::Debug for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let emitter = self.target.emitter();
                let mut fields = f.debug_struct(stringify!($name));
                fields.field("name", &emitter.name());
                if let Some(key) = emitter.key() {
                    fields.field("key", &key);
                }
                fields.finish_non_exhaustive()
            }
        }
    };
}

pub(crate) use {handle, handle_methods, keyed_handle};
