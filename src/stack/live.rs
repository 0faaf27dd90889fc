//! The settings of a stack as data, and their changes while it runs.
//!
//! A stack stores two copies of its settings: as they were set, and as they were put in force, with
//! the values that are derived from other layers. A change edits the first, derives the second anew,
//! checks all of it, and then passes the second to the handles of the layers. If a layer was changed
//! through its own handle meanwhile, its present settings count as set.

use std::any::Any;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::checks;
use super::description::Description;
use super::numbers::Numbers;
use super::part::Setting;
use crate::registry::{self, LiveStack, Member, OfInstance};
use crate::runtime::deferred;
use crate::vocabulary::config::{ConfigError, OfInstance as _};
use crate::vocabulary::kind::Id;
#[cfg(feature = "serde")]
use crate::vocabulary::settings::refused;
use crate::vocabulary::settings::{Changes, Fields, Value};

/// The settings of one layer of a stack.
pub(super) trait LayerSettings: Value + Clone {
    /// The layer's handle.
    type Handle: OfInstance;

    /// Whether the layer does anything.
    fn is_on(&self) -> bool;

    /// Refuses values out of their ranges.
    fn check(&self, id: Id) -> Result<(), ConfigError>;

    /// Adds the numbers that are checked against other layers.
    fn numbers(&self, id: Id, numbers: &mut Numbers);

    /// Derives unset settings from other layers.
    fn derive(&mut self, _: &mut Numbers) {}

    fn describe(&self) -> Vec<Setting>;

    /// The settings that the layer has, as they were set.
    fn of(id: Id, handle: &Self::Handle) -> Self;

    /// Puts the settings in force.
    fn put(&self, id: Id, handle: &Self::Handle) -> Result<Changes, ConfigError>;

    /// Emits and logs what changed.
    fn announce(handle: &Self::Handle, changes: &Changes);

    /// Replaces a value that means nothing to this layer.
    fn normalize(&mut self, _: Id) {}

    /// Replaces a value that stands for the default by the default.
    fn resolve(&mut self, _: Id) {}

    /// Removes values that were not set, and that are those which were derived: they came from the
    /// settings in force.
    fn keep_derived(&mut self, _set: &Self, _put: &Self) {}

    /// Switches the layer off if this one can only be off.
    fn adapt(&mut self, _: &Self::Handle) {}

    /// Removes the values that were derived.
    fn remove_derived(&mut self, _: &Numbers) {}
}

/// The settings at the start of an update.
struct Present<D> {
    version: u64,
    /// Those of the layers.
    now: D,
    /// Those in force.
    before: D,
    /// As they were set.
    set: D,
}

/// The settings of all layers of a stack, defined by [`stack_settings`].
pub(crate) trait OfStack: Fields + Value + registry::StackSettings {
    /// The handles of the layers.
    type Handles;

    /// The handles of these layers, if the stack has them all.
    fn handles(members: &[Member]) -> Option<Self::Handles>;

    /// Adds the numbers of all layers, derives unset settings, and checks each layer.
    fn derive(&mut self, numbers: &mut Numbers) -> Result<(), ConfigError>;

    /// The settings that the layers have.
    fn of(handles: &Self::Handles) -> Self;

    /// Takes the settings of each layer from `now` if they differ from those in `put`.
    fn take_changed(&mut self, put: &Self, now: Self);

    /// Returns what changed in each layer.
    fn put(&self, handles: &Self::Handles) -> Result<Vec<Changes>, ConfigError>;

    /// Emits and logs what changed in each layer.
    fn announce(handles: &Self::Handles, changes: &[Changes]);

    /// Replaces values that stand for a default by the default.
    fn resolve(&mut self);

    /// Removes values that were not set, and that are those which were derived.
    fn keep_derived(&mut self, set: &Self, put: &Self);

    /// Switches off what these layers cannot do.
    fn adapt(&mut self, handles: &Self::Handles);

    /// Removes the values that were derived.
    fn remove_derived(&mut self, numbers: &Numbers);

    /// Replaces the settings of the layers in a description.
    fn describe(&self, description: &mut Description);
}

/// The present settings and description of a stack.
pub(crate) struct Live<D>(Mutex<State<D>>);

struct State<D> {
    /// As the program built the stack.
    #[cfg(feature = "serde")]
    built: D,
    /// Counts the updates.
    version: u64,
    set: D,
    put: D,
    description: Arc<Description>,
}

impl<D: OfStack> Live<D> {
    /// The settings with which these layers were built.
    pub(super) fn new(members: &[Member], numbers: &Numbers, description: Description) -> Self {
        let put = D::handles(members).map_or_else(D::initial, |handles| D::of(&handles));
        let mut set = put.clone();
        set.remove_derived(numbers);
        Self(Mutex::new(State {
            #[cfg(feature = "serde")]
            built: set.clone(),
            version: 0,
            set,
            put,
            description: Arc::new(description),
        }))
    }

    /// The description, with the settings in force.
    pub(crate) fn description(&self, members: &[Member]) -> Arc<Description> {
        let (put, description) = {
            let state = self.lock();
            (state.put.clone(), Arc::clone(&state.description))
        };
        let Some(handles) = D::handles(members) else {
            return description;
        };
        let mut now = put.clone();
        now.take_changed(&put, D::of(&handles));
        if now == put {
            return description;
        }
        // A layer was changed through its own handle.
        let mut changed = (*description).clone();
        now.describe(&mut changed);
        Arc::new(changed)
    }

    /// The settings in force.
    pub(crate) fn settings(&self, members: &[Member]) -> D {
        let mut settings = self.lock().put.clone();
        if let Some(handles) = D::handles(members) {
            settings.take_changed(&settings.clone(), D::of(&handles));
        }
        settings.resolve();
        settings
    }

    /// Puts the settings that `change` makes of the present ones in force.
    pub(crate) fn update(
        &self,
        members: &[Member],
        change: impl FnMut(&mut D),
    ) -> Result<Changes, ConfigError> {
        self.update_with(members, false, change)
    }

    /// Puts these settings in force. What was derived before, and is put back as it is, stays
    /// derived.
    pub(crate) fn replace(&self, members: &[Member], new: &D) -> Result<Changes, ConfigError> {
        self.update_with(members, true, |to| to.clone_from(new))
    }

    fn update_with(
        &self,
        members: &[Member],
        keeps_derived: bool,
        mut change: impl FnMut(&mut D),
    ) -> Result<Changes, ConfigError> {
        let Some(handles) = &D::handles(members) else {
            return Ok(Changes::default());
        };
        loop {
            let Present {
                version,
                now,
                before,
                set: mut new,
            } = self.present(handles);
            // The closure is user code, so it runs without the lock. If another update comes first,
            // of the stack or of a layer, it runs again.
            change(&mut new);
            new.adapt(handles);
            let mut state = self.lock();
            if state.version != version || D::of(handles) != now {
                continue;
            }
            if keeps_derived {
                new.keep_derived(&state.set, &state.put);
            }
            let set = new.clone();
            let mut description = (*state.description).clone();
            let checked = derive(&mut new, &mut description);
            checked.of_instance(Some(description.name()))?;
            // Observers and wakers are user code, and run when the lock is released.
            let (put, wakers) = deferred::scope(|| new.put(handles));
            let changed = put.of_instance(Some(description.name()))?;
            new.describe(&mut description);
            let description = Arc::new(description);
            state.version += 1;
            state.set = set;
            state.put.clone_from(&new);
            state.description = Arc::clone(&description);
            drop(state);
            wakers.into_iter().for_each(deferred::wake);
            D::announce(handles, &changed);
            description.log();
            new.resolve();
            return Ok(Changes::between(&before, &new));
        }
    }

    fn present(&self, handles: &D::Handles) -> Present<D> {
        let now = D::of(handles);
        let state = self.lock();
        let (mut before, mut set) = (state.put.clone(), state.set.clone());
        before.take_changed(&state.put, now.clone());
        before.resolve();
        set.take_changed(&state.put, now.clone());
        set.keep_derived(&state.set, &state.put);
        let version = state.version;
        Present {
            version,
            now,
            before,
            set,
        }
    }

    fn lock(&self) -> MutexGuard<'_, State<D>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<D: OfStack> LiveStack for Live<D> {
    fn description(&self, layers: &[Member]) -> Arc<Description> {
        Self::description(self, layers)
    }

    fn settings(&self, layers: &[Member]) -> Option<Box<dyn Any>> {
        Some(Box::new(Self::settings(self, layers)))
    }

    fn update(
        &self,
        layers: &[Member],
        settings: &dyn Any,
        keeps_derived: bool,
    ) -> Option<Result<Changes, ConfigError>> {
        let settings = settings.downcast_ref::<D>()?;
        let change = |to: &mut D| to.clone_from(settings);
        Some(self.update_with(layers, keeps_derived, change))
    }

    #[cfg(feature = "serde")]
    fn read(
        &self,
        layers: &[Member],
        from: &mut dyn erased_serde::Deserializer<'_>,
    ) -> Result<Box<dyn Any>, erased_serde::Error> {
        let mut settings = self.lock().built.clone();
        settings.read_over(from)?;
        let mut derived = settings.clone();
        if let Some(handles) = D::handles(layers) {
            derived.adapt(&handles);
        }
        let mut description = (*self.description(layers)).clone();
        derive(&mut derived, &mut description).map_err(|error| refused(&error))?;
        Ok(Box::new(settings))
    }

    #[cfg(feature = "serde")]
    fn written(&self, layers: &[Member]) -> Option<Box<dyn erased_serde::Serialize>> {
        struct Written<D>(D);

        impl<D: Value> serde::Serialize for Written<D> {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                self.0.write(to)
            }
        }

        Some(Box::new(Written(Self::settings(self, layers))))
    }
}

/// Derives unset settings, and checks all settings alone and against each other.
pub(super) fn derive<D: OfStack>(
    settings: &mut D,
    description: &mut Description,
) -> Result<(), ConfigError> {
    let mut numbers = Numbers::default();
    settings.derive(&mut numbers)?;
    checks::check(&numbers, description)
}

/// Defines the settings of a stack and the handles of its layers from one list.
macro_rules! stack_settings {
    (
        $(#[$attribute:meta])*
        pub struct $Settings:ident of $component:literal, handles $Handles:ident {$(
            $(#[doc = $doc:literal])*
            $layer:ident($id:ident): $type:ty = $default:expr;
        )*}
    ) => {
        $crate::vocabulary::settings::settings! {
            $(#[$attribute])*
            pub struct $Settings of $component {$(
                $(#[doc = $doc])*
                $layer: $type = $default;
            )*}
        }

        impl $crate::vocabulary::sealed::Sealed for $Settings {}
        impl $crate::registry::StackSettings for $Settings {}

        impl Default for $Settings {
            fn default() -> Self {
                <Self as $crate::vocabulary::settings::Fields>::initial()
            }
        }

        impl $Settings {
            /// Each layer was checked when it was read. The stack checks them against each other.
            #[allow(clippy::unused_self, reason = "as of other settings")]
            fn checked(&self) -> Result<(), $crate::vocabulary::config::ConfigError> {
                Ok(())
            }
        }

        /// The handles of the layers.
        #[derive(Debug, Clone)]
        pub(crate) struct $Handles {$(
            pub(crate) $layer: <$type as $crate::stack::live::LayerSettings>::Handle,
        )*}

        impl $crate::stack::live::OfStack for $Settings {
            type Handles = $Handles;

            fn handles(members: &[$crate::registry::Member]) -> Option<$Handles> {
                use $crate::registry::OfInstance as _;
                Some($Handles {$(
                    $layer: <$type as $crate::stack::live::LayerSettings>::Handle::of_member(
                        members,
                        $crate::vocabulary::kind::Id::$id.layer(),
                    )?,
                )*})
            }

            fn derive(
                &mut self,
                numbers: &mut $crate::stack::numbers::Numbers,
            ) -> Result<(), $crate::vocabulary::config::ConfigError> {
                use $crate::stack::live::LayerSettings as _;
                $(self.$layer.normalize($crate::vocabulary::kind::Id::$id);)*
                $(self.$layer.check($crate::vocabulary::kind::Id::$id)?;)*
                $(if self.$layer.is_on() {
                    self.$layer.numbers($crate::vocabulary::kind::Id::$id, numbers);
                })*
                // Layers that are off, too: they may be switched on alone.
                $(self.$layer.derive(numbers);)*
                $(self.$layer.check($crate::vocabulary::kind::Id::$id)?;)*
                Ok(())
            }

            fn of(handles: &$Handles) -> Self {
                use $crate::stack::live::LayerSettings as _;
                Self {$(
                    $layer: <$type>::of($crate::vocabulary::kind::Id::$id, &handles.$layer),
                )*}
            }

            fn take_changed(&mut self, put: &Self, now: Self) {
                $(if put.$layer != now.$layer {
                    self.$layer = now.$layer;
                })*
            }

            fn put(
                &self,
                handles: &$Handles,
            ) -> Result<
                Vec<$crate::vocabulary::settings::Changes>,
                $crate::vocabulary::config::ConfigError,
            > {
                use $crate::stack::live::LayerSettings as _;
                Ok(vec![$(self.$layer.put($crate::vocabulary::kind::Id::$id, &handles.$layer)?,)*])
            }

            fn announce(
                handles: &$Handles,
                changes: &[$crate::vocabulary::settings::Changes],
            ) {
                use $crate::stack::live::LayerSettings as _;
                let mut changes = changes.iter();
                $(if let Some(changes) = changes.next() {
                    <$type>::announce(&handles.$layer, changes);
                })*
            }

            fn resolve(&mut self) {
                use $crate::stack::live::LayerSettings as _;
                $(self.$layer.resolve($crate::vocabulary::kind::Id::$id);)*
            }

            fn keep_derived(&mut self, set: &Self, put: &Self) {
                use $crate::stack::live::LayerSettings as _;
                $(self.$layer.keep_derived(&set.$layer, &put.$layer);)*
            }

            fn adapt(&mut self, handles: &$Handles) {
                use $crate::stack::live::LayerSettings as _;
                $(self.$layer.adapt(&handles.$layer);)*
            }

            fn remove_derived(&mut self, numbers: &$crate::stack::numbers::Numbers) {
                use $crate::stack::live::LayerSettings as _;
                $(self.$layer.remove_derived(numbers);)*
            }

            fn describe(&self, description: &mut $crate::stack::description::Description) {
                use $crate::stack::live::LayerSettings as _;
                $({
                    let settings = self.$layer.is_on().then(|| self.$layer.describe());
                    description.replace($crate::vocabulary::kind::Id::$id.layer(), settings);
                })*
            }
        }
    };
}

/// The methods of a stack that concern its settings.
macro_rules! live_methods {
    ($Settings:ty) => {
        /// The settings in force.
        #[must_use]
        pub fn settings(&self) -> $Settings {
            self.live.settings(&self.layers.members())
        }

        /// Replaces all settings while calls run. Returns what changed.
        ///
        /// All layers keep their state: see the `update` of their handles. Derived values are
        /// derived anew. Several updates at the same time take effect one after the other.
        ///
        /// # Errors
        ///
        /// A setting is invalid, alone or beside another one, as in `build()`. Nothing has changed
        /// then.
        pub fn update(
            &self,
            settings: &$Settings,
        ) -> Result<$crate::vocabulary::settings::Changes, $crate::vocabulary::config::ConfigError>
        {
            self.live.replace(&self.layers.members(), settings)
        }

        /// Changes single settings while calls run. Returns what changed.
        ///
        /// The closure receives the settings as they were set: a value that was not set and is derived
        /// from others is `None`. It runs again if another update came first.
        ///
        /// # Errors
        ///
        /// As [`update`](Self::update).
        pub fn change(
            &self,
            change: impl FnMut(&mut $Settings),
        ) -> Result<$crate::vocabulary::settings::Changes, $crate::vocabulary::config::ConfigError>
        {
            self.live.update(&self.layers.members(), change)
        }

        /// The layers with their settings in force, outermost first, and the warnings about the
        /// settings that the stack was built with or updated to. `Display` of the stack prints it.
        #[must_use]
        pub fn describe(&self) -> Description {
            (*self.live.description(&self.layers.members())).clone()
        }
    };
}

pub(super) use {live_methods, stack_settings};
