use std::fmt;
use std::sync::Arc;

use tower_layer::Layer;

use super::handle::LoadShedHandle;
use super::load::Load;
use super::service::LoadShed;
use super::settings::Settings;
use crate::call::inner::Inner;
use crate::call::track::AtResponse;
use crate::layers::keyed::{Instance, Keying, OneForAll, keyed_setters};
use crate::observe::emitter::Emitter;
use crate::observe::event::Observer;
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
pub struct Limited<T = AtResponse, K: Keying = OneForAll> {
    pub(super) load: K::Instances<Load>,
    pub(super) tracker: T,
}

impl<T> Limited<T> {
    fn one(settings: &Settings, emitter: Emitter, tracker: T) -> Self {
        Self {
            load: OneForAll::one(settings, &false, emitter),
            tracker,
        }
    }
}

impl<T, K: Keying> Limited<T, K> {
    pub(super) fn handle(&self) -> LoadShedHandle {
        LoadShedHandle::new(K::target(&self.load))
    }
}

impl<T: Clone, K: Keying> Clone for Limited<T, K> {
    fn clone(&self) -> Self {
        Self {
            load: self.load.clone(),
            tracker: self.tracker.clone(),
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

impl<T, K: Keying> fmt::Debug for Limited<T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let load = self.handle();
        f.debug_struct("Limited")
            .field("name", &load.name())
            .field("limit", &load.limit())
            .field("in_flight", &load.in_flight())
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
        let emitter = Emitter::of_default(&KIND);
        Self {
            mode: Limited::one(&settings, emitter, AtResponse::default()),
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

impl<T, K: Keying> LoadShedLayer<Limited<T, K>> {
    /// A handle to inspect the load shedder.
    #[must_use]
    pub fn handle(&self) -> LoadShedHandle {
        self.mode.handle()
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
pub struct LoadShedBuilder<T = AtResponse, K = OneForAll> {
    pub(crate) name: Option<String>,
    pub(crate) settings: Settings,
    pub(crate) tracker: T,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) keying: K,
}

keyed_setters! {
    LoadShedBuilder<T>, "limit",
    |builder, keying| LoadShedBuilder {
        name: builder.name,
        settings: builder.settings,
        tracker: builder.tracker,
        observer: builder.observer,
        keying,
    }
}

impl<T> LoadShedBuilder<T> {
    pub(crate) fn tracked_by(tracker: T) -> Self {
        Self {
            name: None,
            settings: Settings::default(),
            tracker,
            observer: None,
            keying: OneForAll,
        }
    }
}

impl<T, K> LoadShedBuilder<T, K> {
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
    ) -> LoadShedBuilder<AtResponse<Arc<ClassifyFn<F>>>, K>
    where
        F: Fn(Result<&Res, &Err>) -> V,
        V: Into<Verdict>,
    {
        self.classifier(ClassifyFn(classify))
    }

    /// Classifies results with a [`Classify`](crate::Classify) of your own. Default: every error is
    /// a failure.
    pub fn classifier<C>(self, classifier: C) -> LoadShedBuilder<AtResponse<Arc<C>>, K> {
        self.tracker(AtResponse(Arc::new(classifier)))
    }

    /// Follows calls with a [`Track`](crate::Track) of your own, which classifies responses and
    /// decides when a call is over. Default [`AtResponse`].
    ///
    /// `mainstay::http` and `mainstay::grpc` start with trackers that follow a call to the end of
    /// its body.
    pub fn tracker<T2>(self, tracker: T2) -> LoadShedBuilder<T2, K> {
        self.retracked(|_| tracker)
    }

    pub(crate) fn retracked<T2>(self, by: impl FnOnce(T) -> T2) -> LoadShedBuilder<T2, K> {
        LoadShedBuilder {
            name: self.name,
            settings: self.settings,
            tracker: by(self.tracker),
            observer: self.observer,
            keying: self.keying,
        }
    }

    /// Sends the events of this instance to an observer. Default none.
    pub fn observer(mut self, observer: impl Observer + 'static) -> Self {
        self.observer = Some(Arc::new(observer));
        self
    }
}

impl<T, K: Keying> LoadShedBuilder<T, K> {
    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// A value is out of its range. For example, a fixed limit of 0 would shed every call. A limit
    /// for each key by scheduler lag is refused, too.
    pub fn build(self) -> Result<LoadShedLayer<Limited<T, K>>, ConfigError> {
        let name = self.name.clone();
        self.built().of_instance(name.as_deref())
    }

    fn built(self) -> Result<LoadShedLayer<Limited<T, K>>, ConfigError> {
        let instance = InstanceName::new(&KIND, self.name.as_deref())?;
        self.settings.check()?;
        let is_keyed = self.keying.is_keyed();
        <Load as Instance>::check(&is_keyed, &self.settings)?;
        let is_on = self.settings.is_on();
        let emitter = Emitter::measured(&KIND, instance, self.observer, is_on);
        let keying = self.keying;
        Ok(LoadShedLayer {
            mode: Limited {
                load: keying.instances(LAYER, self.settings, is_keyed, emitter)?,
                tracker: self.tracker,
            },
        })
    }
}

impl<T, K> fmt::Debug for LoadShedBuilder<T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LoadShedBuilder")
            .field("name", &self.name)
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}
