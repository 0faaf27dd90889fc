//! A standard stack as an ordered list of its layers.
//!
//! `list!` generates from one list all code with an item per layer: the settings of the builder,
//! their checks and descriptions, the layers, the types of the services, and the snapshot. A line
//! has the name of the layer, its [`Part`](super::part::Part), its service, and, if it has a
//! snapshot, the type of the snapshot and the doc of its field.
//!
//! To add a layer to the standard stacks, write its part in [`parts`](super::parts), add its line
//! to the lists of the stacks (`client_stack`, `server_stack`, `any/client_stack`,
//! `any/server_stack`), and add its setter to their builders.

/// The type of the service that the layers make, outermost layer first.
macro_rules! wrapped {
    ($inner:ty;) => { $inner };
    ($inner:ty; [$service:ident $($argument:ty,)*] $($rest:tt)*) => {
        $service<$crate::stack::list::wrapped!($inner; $($rest)*), $($argument),*>
    };
}

/// Puts the layers around a service.
macro_rules! wrap {
    ($layers:expr, $inner:expr;) => { $inner };
    ($layers:expr, $inner:expr; $layer:ident $($rest:ident)*) => {
        ::tower_layer::Layer::layer(
            &$layers.$layer.layer,
            $crate::stack::list::wrap!($layers, $inner; $($rest)*),
        )
    };
}

macro_rules! list {
    (
        $(#[$doc:meta])*
        snapshot $Snapshot:ident;
        settings $Settings:ident, layers $Layers:ident, tracker $Tracker:ty, keying $Keying:ty;
        parameters [$($parameters:tt)*] [$($arguments:tt)*];
        outer $Outer:ident[$($of_outer:ident),*] of $bound:path {$(
            $outer:ident: $Out:ty, $OutService:ident<_ $(, $out:ty)*>
                $(, $OutSnapshot:ty, $outdoc:literal)?;
        )*}
        inner $Inner:ident[$($of_inner:ident),*] {$(
            $inner:ident: $In:ty, $InService:ident<_ $(, $in:ty)*>
                $(, $InSnapshot:ty, $indoc:literal)?;
        )*}
    ) => {
        /// A service inside the outer layers.
        pub(super) type $Outer<S, $($of_outer),*> =
            $crate::stack::list::wrapped!(S; $([$OutService $($out,)*])*);
        /// A service inside the inner layers.
        pub(super) type $Inner<S, $($of_inner),*> =
            $crate::stack::list::wrapped!(S; $([$InService $($in,)*])*);

        /// The settings of each layer.
        pub(super) struct $Settings<$($parameters)*> {
            $(pub(super) $outer: $crate::stack::part::Slot<
                <$Out as $crate::stack::part::Part<$Tracker, $Keying>>::Settings>,)*
            $(pub(super) $inner: $crate::stack::part::Slot<
                <$In as $crate::stack::part::Part<$Tracker, $Keying>>::Settings>,)*
        }

        impl<$($parameters)*> Default for $Settings<$($arguments)*> {
            fn default() -> Self {
                Self {
                    $($outer: Default::default(),)*
                    $($inner: Default::default(),)*
                }
            }
        }

        impl<$($parameters)*> $Settings<$($arguments)*> {
            /// Builds the layers, checks their numbers, and describes them.
            pub(super) fn build(
                self,
                stack: &$crate::stack::part::Stack<'_, $Tracker, $Keying>,
                description: &mut $crate::stack::description::Description,
                numbers: &mut $crate::stack::numbers::Numbers,
            ) -> Result<$Layers<$($arguments)*>, $crate::vocabulary::config::ConfigError> {
                use $crate::stack::part::{Built, Part};
                $(let mut $outer = self.$outer.or(<$Out as Part<$Tracker, $Keying>>::standard());)*
                $(let mut $inner = self.$inner.or(<$In as Part<$Tracker, $Keying>>::standard());)*
                $(if let Some(settings) = &$outer {
                    <$Out as Part<$Tracker, $Keying>>::numbers(settings, numbers);
                })*
                $(if let Some(settings) = &$inner {
                    <$In as Part<$Tracker, $Keying>>::numbers(settings, numbers);
                })*
                $(if let Some(settings) = &mut $outer {
                    <$Out as Part<$Tracker, $Keying>>::derive(settings, numbers);
                })*
                $(if let Some(settings) = &mut $inner {
                    <$In as Part<$Tracker, $Keying>>::derive(settings, numbers);
                })*
                let layers = $Layers {
                    $($outer: {
                        let on = $outer.as_ref().filter(|on| <$Out as Part<$Tracker, $Keying>>::is_on(on));
                        let settings = on.map(<$Out as Part<$Tracker, $Keying>>::describe);
                        let is_on = settings.is_some();
                        description.push(<$Out as Part<$Tracker, $Keying>>::NAME, settings);
                        if let Some(keys) = <$Out as Part<$Tracker, $Keying>>::describe_keys($outer.as_ref(), stack) {
                            description.push_fixed(keys);
                        }
                        Built { layer: <$Out as Part<$Tracker, $Keying>>::build($outer, stack)?, is_on }
                    },)*
                    $($inner: {
                        let on = $inner.as_ref().filter(|on| <$In as Part<$Tracker, $Keying>>::is_on(on));
                        let settings = on.map(<$In as Part<$Tracker, $Keying>>::describe);
                        let is_on = settings.is_some();
                        description.push(<$In as Part<$Tracker, $Keying>>::NAME, settings);
                        if let Some(keys) = <$In as Part<$Tracker, $Keying>>::describe_keys($inner.as_ref(), stack) {
                            description.push_fixed(keys);
                        }
                        Built { layer: <$In as Part<$Tracker, $Keying>>::build($inner, stack)?, is_on }
                    },)*
                };
                $crate::stack::checks::check(numbers, description)?;
                description.log();
                Ok(layers)
            }
        }

        /// The layers.
        pub(super) struct $Layers<$($parameters)*> {
            $(pub(super) $outer: $crate::stack::part::Built<
                <$Out as $crate::stack::part::Part<$Tracker, $Keying>>::Layer>,)*
            $(pub(super) $inner: $crate::stack::part::Built<
                <$In as $crate::stack::part::Part<$Tracker, $Keying>>::Layer>,)*
        }

        impl<$($parameters)*> $Layers<$($arguments)*> {
            /// Puts the outer layers around a service.
            pub(super) fn outer<S: $bound>(&self, inner: S) -> $Outer<S, $($of_outer),*> {
                $crate::stack::list::wrap!(self, inner; $($outer)*)
            }

            /// Puts the inner layers around a service.
            pub(super) fn inner<S>(&self, inner: S) -> $Inner<S, $($of_inner),*> {
                $crate::stack::list::wrap!(self, inner; $($inner)*)
            }

            /// The layers with a snapshot, outermost first, for a registry.
            pub(super) fn members(&self) -> Vec<$crate::registry::Member> {
                use $crate::stack::snapshot::Snapshots;
                vec![
                    $($({
                        let _: fn() -> Option<$OutSnapshot> = || None;
                        $crate::registry::Member {
                            instance: Snapshots::instance(&self.$outer.layer),
                            is_on: self.$outer.is_on,
                        }
                    },)?)*
                    $($({
                        let _: fn() -> Option<$InSnapshot> = || None;
                        $crate::registry::Member {
                            instance: Snapshots::instance(&self.$inner.layer),
                            is_on: self.$inner.is_on,
                        }
                    },)?)*
                ]
            }

            pub(super) fn snapshot(&self) -> $Snapshot {
                $Snapshot {
                    $($($outer: ($crate::stack::snapshot::Snapshots::has_rejected(&self.$outer.layer)
                        || $crate::stack::snapshot::Snapshots::instance(&self.$outer.layer).is_on()).then(|| -> $OutSnapshot {
                        $crate::stack::snapshot::Snapshots::snapshot(&self.$outer.layer)
                    }),)?)*
                    $($($inner: ($crate::stack::snapshot::Snapshots::has_rejected(&self.$inner.layer)
                        || $crate::stack::snapshot::Snapshots::instance(&self.$inner.layer).is_on()).then(|| -> $InSnapshot {
                        $crate::stack::snapshot::Snapshots::snapshot(&self.$inner.layer)
                    }),)?)*
                }
            }
        }

        impl<$($parameters)*> Clone for $Layers<$($arguments)*> {
            fn clone(&self) -> Self {
                Self {
                    $($outer: self.$outer.clone(),)*
                    $($inner: self.$inner.clone(),)*
                }
            }
        }

        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq)]
        #[cfg_attr(feature = "serde", derive(serde::Serialize))]
        #[non_exhaustive]
        pub struct $Snapshot {
            $($(#[doc = $outdoc] pub $outer: Option<$OutSnapshot>,)?)*
            $($(#[doc = $indoc] pub $inner: Option<$InSnapshot>,)?)*
        }

        /// One line for each layer, outermost first.
        impl std::fmt::Display for $Snapshot {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                let layers: &[Option<&dyn std::fmt::Display>] = &[
                    $($({
                        let layer: &Option<$OutSnapshot> = &self.$outer;
                        layer.as_ref().map(|layer| layer as _)
                    },)?)*
                    $($({
                        let layer: &Option<$InSnapshot> = &self.$inner;
                        layer.as_ref().map(|layer| layer as _)
                    },)?)*
                ];
                $crate::stack::snapshot::lines(f, layers)
            }
        }
    };
}

pub(super) use {list, wrap, wrapped};
