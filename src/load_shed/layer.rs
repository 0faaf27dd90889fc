use std::fmt;
use std::sync::Arc;

use tower_layer::Layer;

use super::load::Load;
use super::service::LoadShed;
use crate::guarded::Inner;
use crate::name::{Origin, origin};
use crate::observe::{Events, Listeners, Observer, Teller};
use crate::policy::breaker::OnCancel;
use crate::policy::limit::Limit;
use crate::runtime::Epoch;
use crate::shared::Shared;
use crate::{AtResponse, ClassifyFn, ConfigError, Verdict};

pub(crate) const LAYER: &str = "load_shed";
static UNNAMED: Origin = Origin::unnamed(LAYER);

/// What a load shedder shares between all its services.
pub(crate) struct State<T> {
    pub(crate) load: Load,
    pub(crate) epoch: Epoch,
    pub(crate) on_cancel: OnCancel,
    pub(crate) listeners: Listeners,
    pub(crate) tracker: T,
}

impl<T> State<T> {
    fn new(limit: &Limit, on_cancel: OnCancel, listeners: Listeners, tracker: T) -> Self {
        let epoch = Epoch::new();
        Self {
            load: Load::new(limit, epoch.elapsed()),
            epoch,
            on_cancel,
            listeners,
            tracker,
        }
    }
}

/// Sheds what is over a limit of calls in flight, and what comes when the inner service is not ready.
pub struct Limited<T = AtResponse> {
    pub(super) shared: Shared<State<T>>,
}

impl<T> Clone for Limited<T> {
    fn clone(&self) -> Self {
        Self {
            shared: self.shared.clone(),
        }
    }
}

/// Sheds only what comes when the inner service is not ready.
#[derive(Clone)]
pub struct OnReadiness {
    pub(super) teller: Teller,
}

impl fmt::Debug for OnReadiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnReadiness")
    }
}

impl<T> fmt::Debug for Limited<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Limited")
            .field("name", &self.shared.listeners.origin().name())
            .field("limit", &self.shared.load.limit())
            .field("in_flight", &self.shared.load.in_flight())
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
    #[must_use]
    pub fn new(limit: Limit) -> Self {
        let listeners = Listeners::new(&UNNAMED, None);
        let tracker = AtResponse::default();
        let state = State::new(&limit, OnCancel::default(), listeners, tracker);
        Self {
            mode: Limited {
                shared: Shared::new(state),
            },
        }
    }

    /// Sheds only when the inner service is not ready.
    #[must_use]
    pub const fn on_readiness() -> LoadShedLayer<OnReadiness> {
        LoadShedLayer {
            mode: OnReadiness {
                teller: Teller::new(&UNNAMED),
            },
        }
    }

    /// A load shedder with more settings.
    pub fn builder() -> LoadShedBuilder {
        LoadShedBuilder::tracked_by(AtResponse::default())
    }
}

impl LoadShedLayer<OnReadiness> {
    /// The same with a name, in rejections.
    ///
    /// # Errors
    ///
    /// When the name is refused.
    pub fn named(self, name: &str) -> Result<Self, ConfigError> {
        Ok(Self {
            mode: OnReadiness {
                teller: Teller::new(origin(LAYER, name)?),
            },
        })
    }
}

impl<T> LoadShedLayer<Limited<T>> {
    /// How many calls are in flight.
    #[must_use]
    pub fn in_flight(&self) -> u32 {
        self.mode.shared.load.in_flight()
    }

    /// How many calls may be in flight at the moment.
    #[must_use]
    pub fn limit(&self) -> u32 {
        self.mode.shared.load.limit()
    }

    /// Subscribes to what the load shedder decides.
    #[must_use]
    pub fn events(&self) -> Events {
        self.mode.shared.listeners.subscribe()
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
    name: Option<String>,
    limit: Limit,
    on_cancel: OnCancel,
    tracker: T,
    observer: Option<Arc<dyn Observer>>,
}

impl<T> LoadShedBuilder<T> {
    /// With this judgement of responses, and this end of a call.
    pub(crate) fn tracked_by(tracker: T) -> Self {
        Self {
            name: None,
            limit: Limit::adaptive(),
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

    /// How many calls may be in flight; [`Limit::adaptive`] by default.
    pub fn limit(mut self, limit: Limit) -> Self {
        self.limit = limit;
        self
    }

    /// What a call that its caller dropped tells: by default that of a dropped call once it ran longer than a second, because
    /// someone gave up waiting.
    pub fn on_cancel(mut self, on_cancel: OnCancel) -> Self {
        self.on_cancel = on_cancel;
        self
    }

    /// Judges results by a closure.
    pub fn classify<Res, Err, V, F>(self, classify: F) -> LoadShedBuilder<AtResponse<ClassifyFn<F>>>
    where
        F: Fn(Result<&Res, &Err>) -> V,
        V: Into<Verdict>,
    {
        self.classifier(ClassifyFn(classify))
    }

    /// Judges results by a [`Classify`](crate::Classify) of your own.
    pub fn classifier<C>(self, classifier: C) -> LoadShedBuilder<AtResponse<C>> {
        LoadShedBuilder {
            name: self.name,
            limit: self.limit,
            on_cancel: self.on_cancel,
            tracker: AtResponse(classifier),
            observer: self.observer,
        }
    }

    /// Tells this observer what the load shedder decides.
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
        let origin = origin(LAYER, self.name.as_deref().unwrap_or(UNNAMED.name()))?;
        self.limit.check()?;
        self.on_cancel.check(LAYER)?;
        let listeners = Listeners::new(origin, self.observer);
        let state = State::new(&self.limit, self.on_cancel, listeners, self.tracker);
        Ok(LoadShedLayer {
            mode: Limited {
                shared: Shared::new(state),
            },
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
