use std::fmt;
use std::sync::{Arc, Weak};

use tower_layer::Layer;

use super::handle::LoadShedHandle;
use super::load::Load;
use super::service::LoadShed;
use super::settings::Settings;
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
use crate::vocabulary::settings::Fields as _;
use crate::vocabulary::{
    config::ConfigError,
    mode::Mode,
    outcome::{ClassifyFn, Verdict},
    reason::Reason,
};

pub(crate) static KIND: Kind = Kind::new(
    Id::LoadShed,
    &[Reason::Shed, Reason::NotReady],
    &[Series::Calls, Series::Duration],
);

pub(crate) const LAYER: &str = KIND.layer;

/// The mode that sheds calls over a limit, and calls for which the inner service is not ready.
#[derive(Clone)]
pub struct Limited<T = AtResponse> {
    pub(super) load: Shared<Load>,
    pub(super) tracker: T,
}

impl<T> Limited<T> {
    fn new(
        settings: Settings,
        instance: InstanceName,
        observer: Option<Arc<dyn Observer>>,
        tracker: T,
    ) -> Self {
        let new = |load: &Weak<Load>| Load::new(settings, instance, observer, load.clone());
        Self {
            load: Shared::new_cyclic(new),
            tracker,
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
            ..Settings::default()
        };
        let instance = InstanceName::default_of(&KIND);
        Self {
            mode: Limited::new(settings, instance, None, AtResponse::default()),
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
    pub(crate) settings: Settings,
    pub(crate) tracker: T,
    pub(crate) observer: Option<Arc<dyn Observer>>,
}

impl<T> LoadShedBuilder<T> {
    pub(crate) fn tracked_by(tracker: T) -> Self {
        Self {
            name: None,
            settings: Settings::default(),
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
        self.settings.limit = limit;
        self
    }

    /// Sets all settings at once, such as those of a configuration.
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Whether the load shedder rejects calls, only reports, or is off. Default [`Mode::Enforce`].
    ///
    /// In the other modes a call waits until the inner service is ready.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.settings.mode = mode;
        self
    }

    /// Sets how to count a call that its caller, or the caller's deadline, ended before the
    /// response. Default [`OnCancel::FailureIfSlow`].
    ///
    /// A failure lowers an adaptive limit.
    pub fn on_cancel(mut self, on_cancel: OnCancel) -> Self {
        self.settings.on_cancel = on_cancel;
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
            settings: self.settings,
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
        self.settings.check()?;
        Ok(LoadShedLayer {
            mode: Limited::new(self.settings, instance, self.observer, self.tracker),
        })
    }
}

impl<T> fmt::Debug for LoadShedBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadShedBuilder")
            .field("name", &self.name)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
