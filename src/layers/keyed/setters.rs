//! The setters of keys, which the builders of all layers share.

/// Implements the setters of keys for a builder whose last type parameter is its keying. `$make`
/// makes it from a builder with another keying.
macro_rules! keyed_setters {
    (
        $Builder:ident<$($param:ident),*>, $one:literal,
        |$builder:ident, $keying:ident| $make:expr
    ) => {
        impl<$($param,)* K> $Builder<$($param,)* K> {
            #[doc = concat!("Gives each key its own ", $one, ", and takes the key of a request from a closure.")]
            #[doc = concat!("Default: one ", $one, " for all calls.")]
            ///
            /// Requests with an empty key share one. See [`keyed`](crate::keyed).
            pub fn keyed<Req: ?Sized, F>(self, key: F) -> $Builder<$($param,)* $crate::layers::keyed::PerKey<F>>
            where
                F: for<'a> Fn(&'a Req) -> ::std::borrow::Cow<'a, str>,
            {
                self.keyed_by(key)
            }

            #[doc = concat!("Gives each key its own ", $one, ", and takes the key of a request from a")]
            /// [`Key`](crate::keyed::Key), such as `mainstay::http::by_authority()`. See
            /// [`keyed`](Self::keyed) for closures.
            pub fn keyed_by<F>(self, key: F) -> $Builder<$($param,)* $crate::layers::keyed::PerKey<F>> {
                self.with_keying($crate::layers::keyed::PerKey::new(key))
            }

            pub(crate) fn with_keying<F>(self, $keying: F) -> $Builder<$($param,)* F> {
                let $builder = self;
                $make
            }
        }

        impl<$($param,)* K> $Builder<$($param,)* $crate::layers::keyed::PerKey<K>> {
            #[doc = concat!("The most keys that have their own ", $one, " at the same time. Default 10 000; range 1 to")]
            /// 1 000 000.
            ///
            /// Beyond it, a new key replaces one that is idle: see
            /// [`keyed`](crate::keyed#how-many-keys).
            pub fn max_keys(mut self, keys: u32) -> Self {
                self.keying.max_keys = keys;
                self
            }

            /// Adds a label `key` to the metrics: the key for the first `keys` keys, `other` for
            /// all others. Default 0: no such label, because each key would be a new series of each
            /// metric; at most 1000.
            ///
            /// A key that has a label keeps it. Calls without a key have none.
            pub fn label_keys(mut self, keys: u32) -> Self {
                self.keying.label_keys = keys;
                self
            }
        }
    };
}

pub(crate) use keyed_setters;
