//! The layer and the service that apply a user's policy.

use std::fmt;
use std::sync::Arc;

use tower_layer::Layer;

use super::future::admitted_future;
use super::gate::{Gate, call_through_gate, inner_of_gate};
use super::handle::AdmissionHandle;
use super::policy::{Admission, Governed, KIND};
use crate::call::inner::Inner;
use crate::call::track::AtResponse;
use crate::layers::keyed::OneForAll;
use crate::observe::event::Observer;
use crate::runtime::shared::Shared;
use crate::vocabulary::config::OfInstance as _;
use crate::vocabulary::name::InstanceName;
use crate::vocabulary::{
    config::ConfigError,
    outcome::{ClassifyFn, Verdict},
};

/// Admits and rejects calls by a policy of your own: see the [module](crate::admission).
///
/// Clones of the layer, and all services that they make, share the policy.
pub struct AdmissionLayer<P, T = AtResponse> {
    state: Shared<Governed<P>>,
    tracker: T,
}

impl<P: Admission> AdmissionLayer<P> {
    /// Starts a layer named `layer` in rejections, events and metrics.
    ///
    /// The name consists of `a-z`, `0-9` and `_`, and is not the name of a layer of this crate.
    pub fn builder(layer: &'static str, policy: P) -> AdmissionBuilder<P> {
        AdmissionBuilder::tracked_by(layer, policy, AtResponse::default())
    }
}

impl<P: Admission, T> AdmissionLayer<P, T> {
    /// A handle to inspect the layer and its policy.
    #[must_use]
    pub fn handle(&self) -> AdmissionHandle<P> {
        AdmissionHandle::new(&self.state)
    }
}

impl<P, T: Clone> Clone for AdmissionLayer<P, T> {
    fn clone(&self) -> Self {
        Self {
            state: self.state.clone(),
            tracker: self.tracker.clone(),
        }
    }
}

impl<S, P, T: Clone> Layer<S> for AdmissionLayer<P, T> {
    type Service = Admitting<S, P, T>;

    fn layer(&self, inner: S) -> Self::Service {
        Admitting {
            gate: Gate {
                inner: Inner::new(inner),
                state: self.state.clone(),
                tracker: self.tracker.clone(),
            },
        }
    }
}

impl<P, T> fmt::Debug for AdmissionLayer<P, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let emitter = &self.state.emitter;
        f.debug_struct("AdmissionLayer")
            .field("layer", &emitter.layer())
            .field("name", &emitter.name())
            .field("in_flight", &self.state.books().0)
            .finish()
    }
}

/// Builds an [`AdmissionLayer`].
#[must_use = "a builder does nothing until `build` is called"]
pub struct AdmissionBuilder<P, T = AtResponse> {
    layer: &'static str,
    policy: P,
    name: Option<String>,
    tracker: T,
    observer: Option<Arc<dyn Observer>>,
}

impl<P: Admission, T> AdmissionBuilder<P, T> {
    pub(crate) fn tracked_by(layer: &'static str, policy: P, tracker: T) -> Self {
        Self {
            layer,
            policy,
            name: None,
            tracker,
            observer: None,
        }
    }

    /// The name of this instance in rejections, events and metrics. Default `default`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sends the events of this instance to an observer. Default none.
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Classifies results with a function. Default: errors are failures.
    pub fn classify<Res, Err, V, F>(
        self,
        classify: F,
    ) -> AdmissionBuilder<P, AtResponse<Arc<ClassifyFn<F>>>>
    where
        F: Fn(Result<&Res, &Err>) -> V,
        V: Into<Verdict>,
    {
        self.tracker(AtResponse(Arc::new(ClassifyFn(classify))))
    }

    /// Follows calls with a [`Track`](crate::Track) of your own, which decides when a call is over.
    /// Default: at the response.
    pub fn tracker<T2>(self, tracker: T2) -> AdmissionBuilder<P, T2> {
        AdmissionBuilder {
            layer: self.layer,
            policy: self.policy,
            name: self.name,
            tracker,
            observer: self.observer,
        }
    }

    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// The name of the layer or of the instance is invalid.
    pub fn build(self) -> Result<AdmissionLayer<P, T>, ConfigError> {
        let name = self.name.as_deref();
        let instance = InstanceName::of_users(&KIND, self.layer, name).of_instance(name)?;
        Ok(AdmissionLayer {
            state: Shared::new(Governed::new(self.policy, instance, self.observer)),
            tracker: self.tracker,
        })
    }
}

impl<P, T> fmt::Debug for AdmissionBuilder<P, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AdmissionBuilder")
            .field("layer", &self.layer)
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

/// Applies a policy to the calls of an inner service. Made by an [`AdmissionLayer`].
pub struct Admitting<S, P, T = AtResponse> {
    gate: Gate<S, Shared<Governed<P>>, T>,
}

inner_of_gate!([S, P, T] Admitting<S, P, T>);

impl<S, P: Admission, T> Admitting<S, P, T> {
    /// A handle to inspect its instance.
    #[must_use]
    pub fn handle(&self) -> AdmissionHandle<P> {
        AdmissionHandle::new(&self.gate.state)
    }
}

call_through_gate!([P: Admission] Admitting<S, P, T>, ResponseFuture<S::Future, P, T>, OneForAll => Governed<P>);

admitted_future! {
    /// The future of a call through an [`AdmissionLayer`].
    pub struct ResponseFuture<F, P: Admission> of Governed<P>
}

impl<S: Clone, P, T: Clone> Clone for Admitting<S, P, T> {
    fn clone(&self) -> Self {
        Self {
            gate: self.gate.clone(),
        }
    }
}

impl<S: fmt::Debug, P, T> fmt::Debug for Admitting<S, P, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Admitting")
            .field("inner", &self.gate.inner)
            .finish_non_exhaustive()
    }
}
