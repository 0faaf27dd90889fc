//! The setters that the builders of several standard stacks share, each with its docs.
//!
//! They are macros, because the builders have different type parameters.

macro_rules! observer_setter {
    () => {
        /// Sets the observer of every layer that has no observer: a type that implements
        /// [`Observer`](crate::Observer), or `|event: &mainstay::Event| ...`. Default none.
        pub fn observer(
            mut self,
            observer: impl $crate::observe::event::Observer + 'static,
        ) -> Self {
            self.observer = Some(::std::sync::Arc::new(observer));
            self
        }
    };
}

macro_rules! registry_setters {
    () => {
        /// Sets the [registry](crate::registry) that the stack joins when it is built. Default the
        /// [process-wide one](crate::registry::Registry::global), so that one place shows all stacks.
        pub fn registry(mut self, registry: &$crate::registry::Registry) -> Self {
            self.registry = $crate::registry::JoinedRegistry::Other(registry.clone());
            self
        }

        /// The stack joins no [registry](crate::registry). By default it joins the process-wide one.
        pub fn without_registry(mut self) -> Self {
            self.registry = $crate::registry::JoinedRegistry::None;
            self
        }
    };
}

macro_rules! bulkhead_setters {
    ($calls:literal, $(#[$more:meta])+) => {
        #[doc = concat!(
            "Sets the maximum number of ", $calls, " in flight. Default no limit, because no number"
        )]
        /// fits every healthy program: some have thousands of calls that only wait (long polls,
        /// watches, slow downloads).
        ///
        /// It takes a number, or a [`BulkheadLayer::builder()`](crate::BulkheadLayer::builder) with
        /// or without a queue. A queue needs a limit.
        $(#[$more])+
        pub fn bulkhead(
            mut self,
            bulkhead: impl $crate::stack::refine::Refine<$crate::stack::parts::StackBulkhead>,
        ) -> Self {
            let standard = $crate::stack::parts::Bulkhead::settings();
            self.parts.bulkhead.refine(bulkhead, standard);
            self
        }

        #[doc = concat!("Removes the bulkhead. By default it counts the ", $calls, " in flight, without a")]
        /// limit, for snapshots and metrics.
        pub fn without_bulkhead(mut self) -> Self {
            self.parts.bulkhead = $crate::stack::part::Slot::Off;
            self
        }
    };
}

macro_rules! rate_limit_setter {
    ($calls:literal, $(#[$more:meta])+) => {
        #[doc = concat!("Sets the number of ", $calls, " per second. Default no rate limit.")]
        ///
        #[doc = concat!("It takes ", $calls, " per second, or a builder:")]
        /// [`RateLimitLayer::builder()`](crate::RateLimitLayer::builder) with another period, a
        /// burst or a wait. A builder must set the rate with
        /// [`per`](crate::rate_limit::RateLimitBuilder::per).
        $(#[$more])+
        pub fn rate_limit(
            mut self,
            rate: impl $crate::stack::refine::Refine<$crate::stack::parts::StackRateLimit>,
        ) -> Self {
            let standard = $crate::stack::parts::RateLimit::settings();
            self.parts.rate_limit.refine(rate, standard);
            self
        }
    };
}

macro_rules! load_shed_remover {
    () => {
        /// Removes the load shedder. By default the stack has one.
        pub fn without_load_shed(mut self) -> Self {
            self.parts.load_shed = $crate::stack::part::Slot::Off;
            self
        }
    };
}

macro_rules! circuit_breaker_remover {
    () => {
        /// Removes the circuit breaker: calls to a failing upstream continue. By default the stack
        /// has one.
        pub fn without_circuit_breaker(mut self) -> Self {
            self.parts.circuit_breaker = $crate::stack::part::Slot::Off;
            self
        }
    };
}

macro_rules! attempt_timeout_setters {
    ($($(#[$more:meta])+)?) => {
        /// Sets the time limit of each attempt. Default none, because any number would fail slower
        /// healthy answers.
        ///
        /// Set it to retry an attempt that hangs: the limit ends the attempt, the circuit breaker
        /// counts a failure, and the retry sends the next attempt. Without it, an attempt that
        /// hangs uses up the limit of the whole call. Choose a limit above the slowest healthy
        /// answer.
        $($(#[$more])+)?
        pub fn attempt_timeout(mut self, limit: ::std::time::Duration) -> Self {
            let limit = $crate::stack::parts::attempt_timeout(limit);
            self.parts.attempt_timeout = $crate::stack::part::Slot::Set(limit);
            self
        }

        /// Removes the time limit of attempts, as by default.
        pub fn without_attempt_timeout(mut self) -> Self {
            self.parts.attempt_timeout = $crate::stack::part::Slot::Off;
            self
        }
    };
}

/// The setters of the classifier of a stack for any request type. `$Builder` has the classifier
/// between `$before` and `$after`.
macro_rules! classifier_setters {
    ($Builder:ident<$($before:ident,)* _ $(, $after:ident)*>) => {
        /// Sets the classifier to a closure that returns an [`Outcome`](crate::Outcome) or a
        /// [`Verdict`](crate::Verdict). By default a response is a success and an error is a
        /// failure. All layers of the stack share the classifier.
        ///
        /// The closure receives the error that can carry a rejection: see
        /// [`WithRejection`](crate::WithRejection).
        pub fn classify<Res, Err, V, F>(
            self,
            classify: F,
        ) -> $Builder<$($before,)* ::std::sync::Arc<$crate::vocabulary::outcome::ClassifyFn<F>> $(, $after)*>
        where
            F: Fn(Result<&Res, &Err>) -> V,
            V: Into<$crate::vocabulary::outcome::Verdict>,
        {
            self.classifier($crate::vocabulary::outcome::ClassifyFn(classify))
        }

        /// Sets the classifier to a [`Classify`](crate::Classify): see
        /// [`classify`](Self::classify).
        pub fn classifier<D>(
            self,
            classifier: D,
        ) -> $Builder<$($before,)* ::std::sync::Arc<D> $(, $after)*> {
            self.with_classifier(::std::sync::Arc::new(classifier))
        }
    };
}

/// The setters of the keys of an HTTP or gRPC stack.
#[cfg(feature = "http")]
macro_rules! key_setters {
    ($layers:literal, $(#[$default:meta])+ example $key:literal) => {
        #[doc = concat!("Gives each key its own ", $layers, ", and takes the key of a request from a closure.")]
        $(#[$default])+
        ///
        /// ```
        #[doc = $key]
        /// # Ok::<_, mainstay::ConfigError>(())
        /// ```
        ///
        /// The closure receives any request as an [`HttpRequest`](crate::http::HttpRequest). An empty
        /// key is none: requests without a key share one. See [`keyed`](crate::keyed).
        pub fn keyed(
            mut self,
            key: impl for<'a> Fn(
                &'a (dyn $crate::protocol::http::HttpRequest + 'a),
            ) -> ::std::borrow::Cow<'a, str>
            + Send
            + Sync
            + 'static,
        ) -> Self {
            self.keying = Some($crate::stack::keys::StackKeying::by_closure(key));
            self
        }

        #[doc = concat!("Gives each key its own ", $layers, ", and takes the key of a request from a")]
        /// [`Key`](crate::keyed::Key), such as [`http::by_header`](crate::http::by_header) or
        /// [`grpc::by_method`](crate::grpc::by_method). See [`keyed`](Self::keyed).
        pub fn keyed_by<K>(mut self, key: K) -> Self
        where
            K: for<'r> $crate::layers::keyed::Key<dyn $crate::protocol::http::HttpRequest + 'r>
                + Send
                + Sync
                + 'static,
        {
            self.keying = Some($crate::stack::keys::StackKeying::by(key));
            self
        }

        /// The most keys at the same time. Default 10 000, so that keys that strangers choose cannot
        /// fill the memory; range 1 to 1 000 000. See
        /// [`keyed`](crate::keyed#how-many-keys).
        pub fn max_keys(mut self, keys: u32) -> Self {
            self.max_keys = Some(keys);
            self
        }

        /// Adds a label `key` to the metrics: the key for the first `keys` keys, `other` for all
        /// others. Default 0: no such label, because each key would be a new series of each metric;
        /// at most 1000.
        pub fn label_keys(mut self, keys: u32) -> Self {
            self.label_keys = Some(keys);
            self
        }
    };
}

/// The setters of the keys of a stack for any request type, whose builder has the keying as its last
/// parameter.
macro_rules! any_key_setters {
    ($Builder:ident<$($param:ident $(: $bound:path)?),*>, $layers:literal, $(#[$more:meta])+) => {
        impl<$($param $(: $bound)?,)* Q: $crate::layers::keyed::Keying> $Builder<$($param,)* Q> {
            #[doc = concat!("Gives each key its own ", $layers, ", and takes the key of a request from a closure.")]
            /// Default: one for all requests.
            ///
            $(#[$more])+
            ///
            /// Requests with an empty key share one. See [`keyed`](crate::keyed).
            pub fn keyed<Req: ?Sized, F>(self, key: F) -> $Builder<$($param,)* $crate::layers::keyed::PerKey<F>>
            where
                F: for<'a> Fn(&'a Req) -> ::std::borrow::Cow<'a, str>,
            {
                self.keyed_by(key)
            }

            #[doc = concat!("Gives each key its own ", $layers, ", and takes the key of a request from a")]
            /// [`Key`](crate::keyed::Key). See [`keyed`](Self::keyed).
            pub fn keyed_by<F>(self, key: F) -> $Builder<$($param,)* $crate::layers::keyed::PerKey<F>> {
                self.with_keying($crate::layers::keyed::PerKey::new(key))
            }
        }

        impl<$($param $(: $bound)?,)* F> $Builder<$($param,)* $crate::layers::keyed::PerKey<F>> {
            /// The most keys at the same time. Default 10 000; range 1 to 1 000 000. See
            /// [`keyed`](crate::keyed#how-many-keys).
            pub fn max_keys(mut self, keys: u32) -> Self {
                self.keying.max_keys = keys;
                self
            }

            /// Adds a label `key` to the metrics: the key for the first `keys` keys, `other` for all
            /// others. Default 0: no such label, because each key would be a new series of each
            /// metric; at most 1000.
            pub fn label_keys(mut self, keys: u32) -> Self {
                self.keying.label_keys = keys;
                self
            }
        }
    };
}

macro_rules! build_method {
    ($Stack:ty, |$builder:ident| $build:expr) => {
        /// Builds the stack.
        ///
        /// # Errors
        ///
        /// When a setting is invalid or contradicts another one: the error names both, and a value
        /// that would fit. A setting that is only unwise becomes a
        /// [warning](crate::stack::Description::warnings).
        pub fn build(self) -> Result<$Stack, $crate::vocabulary::config::ConfigError> {
            use $crate::vocabulary::config::OfInstance as _;
            let name = self.name.clone();
            let $builder = self;
            $build.of_instance(Some(&name))
        }
    };
}

#[cfg(feature = "http")]
pub(super) use key_setters;
pub(super) use {
    any_key_setters, attempt_timeout_setters, build_method, bulkhead_setters,
    circuit_breaker_remover, classifier_setters, load_shed_remover, observer_setter,
    rate_limit_setter, registry_setters,
};
