use std::fmt;
use std::sync::Arc;

use tower_layer::Layer;

use super::load::Load;
use super::service::LoadShed;
use super::snapshot::Snapshot;
use crate::call::inner::Inner;
use crate::call::track::AtResponse;
use crate::observe::emitter::Emitter;
use crate::observe::event::{Events, Observer};
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

/// What a load shedder with a limit is made of.
pub(crate) struct Settings {
    pub(super) limit: Limit,
    pub(super) on_cancel: OnCancel,
    pub(super) instance: InstanceName,
    pub(super) observer: Option<Arc<dyn Observer>>,
}

/// Sheds what is over a limit of calls in flight, and what comes when the inner service is not ready.
#[derive(Clone)]
pub struct Limited<T = AtResponse> {
    pub(super) load: Shared<Load>,
    pub(super) tracker: T,
    /// Whether it waits for the inner service to become ready, as if it were not there.
    pub(super) waits: bool,
}

impl<T> Limited<T> {
    fn new(settings: Settings, tracker: T) -> Self {
        Self {
            load: Shared::new_cyclic(|load| Load::new(settings, load.clone())),
            tracker,
            waits: false,
        }
    }
}

/// Sheds only what comes when the inner service is not ready.
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
/// Clones share the limit and what is in flight, and so do all services that they make.
#[derive(Clone, Debug)]
pub struct LoadShedLayer<M = Limited> {
    mode: M,
}

impl LoadShedLayer {
    /// Sheds when the inner service is not ready, and when the limit is reached.
    ///
    /// A limit means what it says: with [`Limit::fixed(0)`](Limit::fixed) every call is shed. To have that refused, use the
    /// [`builder`](Self::builder).
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

    /// Sheds only when the inner service is not ready.
    #[must_use]
    pub fn on_readiness() -> LoadShedLayer<OnReadiness> {
        LoadShedLayer {
            mode: OnReadiness {
                emitter: Shared::new(Emitter::of_default(&KIND)),
            },
        }
    }

    /// A load shedder with more settings.
    pub fn builder() -> LoadShedBuilder {
        LoadShedBuilder::tracked_by(AtResponse::default())
    }
}

impl LoadShedLayer<OnReadiness> {
    /// The same, telling this observer what it decides.
    #[must_use]
    pub fn observer(self, observer: impl Observer + 'static) -> Self {
        Self {
            mode: OnReadiness {
                emitter: Shared::new(self.mode.emitter.observed_by(Some(Arc::new(observer)))),
            },
        }
    }

    /// The same with a name, in rejections.
    ///
    /// # Errors
    ///
    /// When the name is refused.
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
    /// The same type, which sheds nothing.
    pub(crate) fn off(tracker: T) -> Self {
        let settings = Settings {
            limit: Limit::fixed(u32::MAX),
            on_cancel: OnCancel::Ignore,
            instance: InstanceName::default_of(&KIND),
            observer: None,
        };
        let mut mode = Limited::new(settings, tracker);
        mode.waits = true;
        Self { mode }
    }

    /// How many calls are in flight.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.mode.load.in_flight()
    }

    /// How many calls may be in flight at the moment; `None` if there is no limit.
    #[must_use]
    pub fn limit(&self) -> Option<u32> {
        limited(self.mode.load.limit())
    }

    /// What is in flight and may be, how calls went and how long they took.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot::of(&self.mode.load)
    }

    /// Subscribes to what the load shedder decides.
    #[must_use]
    pub fn events(&self) -> Events {
        self.mode.load.emitter.subscribe()
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
    /// With this judgement of responses, and this end of a call.
    pub(crate) fn tracked_by(tracker: T) -> Self {
        Self {
            name: None,
            limit: Limit::scheduler_lag(),
            on_cancel: OnCancel::default(),
            tracker,
            observer: None,
        }
    }

    /// The name of this instance, in rejections and events; `default` if it is not set.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// How many calls may be in flight; [`Limit::scheduler_lag`] by default.
    pub fn limit(mut self, limit: Limit) -> Self {
        self.limit = limit;
        self
    }

    /// How a call counts that its caller, or the caller's deadline, ended before there was an answer:
    /// [`OnCancel::FailureIfSlow`] by default. A failure lowers an adaptive limit.
    pub fn on_cancel(mut self, on_cancel: OnCancel) -> Self {
        self.on_cancel = on_cancel;
        self
    }

    /// Judges results by a closure.
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

    /// Judges results by a [`Classify`](crate::Classify) of your own.
    pub fn classifier<C>(self, classifier: C) -> LoadShedBuilder<AtResponse<Arc<C>>> {
        self.tracker(AtResponse(Arc::new(classifier)))
    }

    /// Follows calls by a [`Track`](crate::Track) of your own: it judges responses, and says when a call is over.
    ///
    /// [`AtResponse`] is the default here; `mainstay::http` and `mainstay::grpc` begin with one that lasts to the end of the body.
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

    /// The layer, or which setting is refused and why.
    ///
    /// # Errors
    ///
    /// When a value is out of its range: a fixed limit of 0 would shed every call.
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
