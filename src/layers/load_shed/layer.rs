use std::fmt;
use std::sync::Arc;

use tower_layer::Layer;

use super::handle::LoadShedHandle;
use super::load::Load;
use super::service::LoadShed;
use crate::call::inner::Inner;
use crate::call::track::AtResponse;
use crate::observe::emitter::Emitter;
use crate::observe::event::Observer;
use crate::observe::snapshot::limited;
use crate::policy::breaker::OnCancel;
use crate::policy::limit::Limit;
use crate::runtime::shared::Shared;
use crate::vocabulary::config::OfInstance as _;
use crate::vocabulary::kind::{Id, Kind, Series};
use crate::vocabulary::name::InstanceName;
use crate::vocabulary::{
    config::ConfigError,
    outcome::{ClassifyFn, Verdict},
    reason::Reason,
};

pub(crate) static KIND: Kind = Kind::new(
    Id::LoadShed,
    &[Reason::Shed, Reason::NotReady],
    &[Series::Calls, Series::Duration],
);

pub(crate) const LAYER: &str = KIND.layer;

/// The settings of a load shedder with a limit.
pub(crate) struct Settings {
    pub(super) limit: Limit,
    pub(super) on_cancel: OnCancel,
    pub(super) instance: InstanceName,
    pub(super) observer: Option<Arc<dyn Observer>>,
}

/// The mode that sheds calls over a limit, and calls for which the inner service is not ready.
#[derive(Clone)]
pub struct Limited<T = AtResponse> {
    pub(super) load: Shared<Load>,
    pub(super) tracker: T,
    /// Whether `poll_ready` waits for the inner service: the layer is switched off.
    pub(super) is_off: bool,
}

impl<T> Limited<T> {
    fn new(settings: Settings, tracker: T) -> Self {
        Self {
            load: Shared::new_cyclic(|load| Load::new(settings, load.clone())),
            tracker,
            is_off: false,
        }
    }
}

/// The mode that sheds only calls for which the inner service is not ready.
#[derive(Clone)]
pub struct OnReadiness {
    pub(super) emitter: Shared<Emitter>,
}

impl fmt::Debug for OnReadiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnReadiness")
    }
}

impl<T> fmt::Debug for Limited<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limited")
            .field("name", &self.load.emitter.name())
            .field("limit", &limited(self.load.limit()))
            .field("in_flight", &self.load.in_flight())
            .finish()
    }
}

/// Sheds load: see the [module](crate::load_shed).
///
/// Clones of the layer, and all services that they make, share the limit and its calls in flight.
#[derive(Clone, Debug)]
pub struct LoadShedLayer<M = Limited> {
    mode: M,
}

impl LoadShedLayer {
    /// Sheds calls when the inner service is not ready, and when the limit is reached.
    ///
    /// [`Limit::fixed(0)`](Limit::fixed) sheds every call. The [`builder`](Self::builder) rejects
    /// that setting.
    #[must_use]
    pub fn new(limit: Limit) -> Self {
        let settings = Settings {
            limit,
            on_cancel: OnCancel::default(),
            instance: InstanceName::default_of(&KIND),
            observer: None,
        };
        Self {
            mode: Limited::new(settings, AtResponse::default()),
        }
    }

    /// Sheds calls only when the inner service is not ready.
    #[must_use]
    pub fn on_readiness() -> LoadShedLayer<OnReadiness> {
        LoadShedLayer {
            mode: OnReadiness {
                emitter: Shared::new(Emitter::of_default(&KIND)),
            },
        }
    }

    /// Starts a builder with the default settings.
    pub fn builder() -> LoadShedBuilder {
        LoadShedBuilder::tracked_by(AtResponse::default())
    }
}

impl LoadShedLayer<OnReadiness> {
    /// Sends the events of this instance to an observer.
    #[must_use]
    pub fn observer(self, observer: impl Observer + 'static) -> Self {
        Self {
            mode: OnReadiness {
                emitter: Shared::new(self.mode.emitter.observed_by(Some(Arc::new(observer)))),
            },
        }
    }

    /// Sets the name of this instance in rejections, events and metrics.
    ///
    /// # Errors
    ///
    /// The name is invalid.
    pub fn named(self, name: &str) -> Result<Self, ConfigError> {
        let instance = InstanceName::new(&KIND, Some(name))?;
        Ok(Self {
            mode: OnReadiness {
                emitter: Shared::new(self.mode.emitter.renamed(instance)),
            },
        })
    }
}

impl<T> LoadShedLayer<Limited<T>> {
    /// A layer of the same type that sheds nothing.
    pub(crate) fn off(tracker: T) -> Self {
        let settings = Settings {
            limit: Limit::fixed(u32::MAX),
            on_cancel: OnCancel::Ignore,
            instance: InstanceName::default_of(&KIND),
            observer: None,
        };
        let mut mode = Limited::new(settings, tracker);
        mode.is_off = true;
        Self { mode }
    }

    /// A handle to inspect the load shedder.
    #[must_use]
    pub fn handle(&self) -> LoadShedHandle {
        LoadShedHandle::new(&self.mode.load)
    }
}

impl<S, M: Clone> Layer<S> for LoadShedLayer<M> {
    type Service = LoadShed<S, M>;

    fn layer(&self, inner: S) -> Self::Service {
        LoadShed {
            inner: Inner::new(inner),
            mode: self.mode.clone(),
        }
    }
}

/// Builds a [`LoadShedLayer`].
///
/// ```
/// use mainstay::{Limit, LoadShedLayer};
///
/// let layer = LoadShedLayer::builder()
///     .name("orders")
///     .limit(Limit::fixed(200))
///     .build()?;
/// # Ok::<_, mainstay::ConfigError>(())
/// ```
#[must_use = "a builder does nothing until `build` is called"]
pub struct LoadShedBuilder<T = AtResponse> {
    pub(crate) name: Option<String>,
    pub(crate) limit: Limit,
    pub(crate) on_cancel: OnCancel,
    pub(crate) tracker: T,
    pub(crate) observer: Option<Arc<dyn Observer>>,
}

impl<T> LoadShedBuilder<T> {
    pub(crate) fn tracked_by(tracker: T) -> Self {
        Self {
            name: None,
            limit: Limit::scheduler_lag(),
            on_cancel: OnCancel::default(),
            tracker,
            observer: None,
        }
    }

    /// Sets the name of this instance in rejections, events and metrics. Default `default`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Sets the limit of calls in flight. Default [`Limit::scheduler_lag`].
    pub fn limit(mut self, limit: Limit) -> Self {
        self.limit = limit;
        self
    }

    /// Sets how to count a call that its caller, or the caller's deadline, ended before the
    /// response. Default [`OnCancel::FailureIfSlow`].
    ///
    /// A failure lowers an adaptive limit.
    pub fn on_cancel(mut self, on_cancel: OnCancel) -> Self {
        self.on_cancel = on_cancel;
        self
    }

    /// Classifies results with a closure, which returns an [`Outcome`](crate::Outcome) or a
    /// [`Verdict`]. Default: every error is a failure.
    pub fn classify<Res, Err, V, F>(
        self,
        classify: F,
    ) -> LoadShedBuilder<AtResponse<Arc<ClassifyFn<F>>>>
    where
        F: Fn(Result<&Res, &Err>) -> V,
        V: Into<Verdict>,
    {
        self.classifier(ClassifyFn(classify))
    }

    /// Classifies results with a [`Classify`](crate::Classify) of your own. Default: every error is
    /// a failure.
    pub fn classifier<C>(self, classifier: C) -> LoadShedBuilder<AtResponse<Arc<C>>> {
        self.tracker(AtResponse(Arc::new(classifier)))
    }

    /// Follows calls with a [`Track`](crate::Track) of your own, which classifies responses and
    /// decides when a call is over. Default [`AtResponse`].
    ///
    /// `mainstay::http` and `mainstay::grpc` start with trackers that follow a call to the end of
    /// its body.
    pub fn tracker<T2>(self, tracker: T2) -> LoadShedBuilder<T2> {
        self.retracked(|_| tracker)
    }

    pub(crate) fn retracked<T2>(self, by: impl FnOnce(T) -> T2) -> LoadShedBuilder<T2> {
        LoadShedBuilder {
            name: self.name,
            limit: self.limit,
            on_cancel: self.on_cancel,
            tracker: by(self.tracker),
            observer: self.observer,
        }
    }

    /// Sends the events of this instance to an observer. Default none.
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }

    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// A value is out of its range. For example, a fixed limit of 0 would shed every call.
    pub fn build(self) -> Result<LoadShedLayer<Limited<T>>, ConfigError> {
        let name = self.name.clone();
        self.built().of_instance(name.as_deref())
    }

    fn built(self) -> Result<LoadShedLayer<Limited<T>>, ConfigError> {
        let instance = InstanceName::new(&KIND, self.name.as_deref())?;
        self.limit.check()?;
        self.on_cancel.check(LAYER)?;
        let settings = Settings {
            limit: self.limit,
            on_cancel: self.on_cancel,
            instance,
            observer: self.observer,
        };
        Ok(LoadShedLayer {
            mode: Limited::new(settings, self.tracker),
        })
    }
}

impl<T> fmt::Debug for LoadShedBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadShedBuilder")
            .field("name", &self.name)
            .field("limit", &self.limit)
            .field("on_cancel", &self.on_cancel)
            .finish_non_exhaustive()
    }
}
