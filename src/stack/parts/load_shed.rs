use super::describe_mode;
use crate::call::track::AtResponse;
use crate::layers::load_shed::{
    self, Limited, LoadShedBuilder, LoadShedHandle, LoadShedLayer, Settings,
};
use crate::policy::limit::Limit;
use crate::registry::Instance;
#[cfg(feature = "http")]
use crate::stack::classifier::{CustomClassifier, StackTracker};
use crate::stack::live::LayerSettings;
use crate::stack::numbers::Numbers;
use crate::stack::part::{Part, Setting, Stack};
use crate::stack::refine::Refine;
use crate::stack::snapshot::Snapshots;
use crate::vocabulary::config::ConfigError;
use crate::vocabulary::kind::Id;
use crate::vocabulary::mode::Mode;
use crate::vocabulary::sealed::Sealed;

/// The settings of a stack's load shedder.
pub(in crate::stack) type StackLoadShed = LoadShedBuilder<()>;

/// The load shedder of a server stack.
pub(in crate::stack) struct LoadShed;

impl LoadShed {
    pub(in crate::stack) fn settings() -> StackLoadShed {
        StackLoadShed::tracked_by(()).limit(Limit::scheduler_lag())
    }
}

impl<T: Clone, Q> Part<T, Q> for LoadShed {
    const NAME: &'static str = "load_shed";
    type Settings = StackLoadShed;
    type Layer = LoadShedLayer<Limited<T>>;

    fn standard() -> Option<StackLoadShed> {
        Some(Self::settings())
    }

    fn is_on(settings: &StackLoadShed) -> bool {
        LayerSettings::is_on(&settings.settings)
    }

    fn numbers(settings: &StackLoadShed, numbers: &mut Numbers) {
        settings.settings.numbers(Id::LoadShed, numbers);
    }

    fn describe(settings: &StackLoadShed) -> Vec<Setting> {
        settings.settings.describe()
    }

    fn build(
        settings: Option<StackLoadShed>,
        stack: &Stack<'_, T, Q>,
    ) -> Result<Self::Layer, ConfigError> {
        let mut load_shed = settings.unwrap_or_else(|| Self::settings().mode(Mode::Off));
        stack.adopt(&mut load_shed.name, &mut load_shed.observer);
        load_shed.retracked(|()| stack.tracker.clone()).build()
    }
}

of_instance!(LoadShedHandle, LoadShed);

impl LayerSettings for Settings {
    through_handle!(LoadShedHandle);

    fn is_on(&self) -> bool {
        self.mode != Mode::Off
    }

    fn numbers(&self, _: Id, numbers: &mut Numbers) {
        numbers.load_shed = Some(self.limit);
    }

    fn describe(&self) -> Vec<Setting> {
        let mut settings = vec![("limit", self.limit.to_string())];
        settings.extend(describe_mode(self.mode));
        settings
    }
}

impl<T> Snapshots for LoadShedLayer<Limited<T>> {
    type Snapshot = load_shed::Snapshot;

    fn snapshot(&self) -> Self::Snapshot {
        self.handle().snapshot()
    }

    fn instance(&self) -> Instance {
        self.handle().into()
    }
}

impl Sealed for Limit {}
impl<T> Sealed for LoadShedBuilder<T> {}

impl Refine<StackLoadShed> for Limit {
    fn refine(self, standard: StackLoadShed) -> StackLoadShed {
        standard.limit(self)
    }
}

impl Refine<StackLoadShed> for LoadShedBuilder<AtResponse> {
    fn refine(self, _: StackLoadShed) -> StackLoadShed {
        self.retracked(drop)
    }
}

#[cfg(feature = "http")]
#[doc(hidden)]
impl Refine<(StackLoadShed, Option<CustomClassifier>)> for Limit {
    fn refine(
        self,
        (standard, _): (StackLoadShed, Option<CustomClassifier>),
    ) -> (StackLoadShed, Option<CustomClassifier>) {
        (standard.limit(self), None)
    }
}

/// A builder also sets how the stack classifies.
#[cfg(feature = "http")]
#[doc(hidden)]
impl<T: StackTracker> Refine<(StackLoadShed, Option<CustomClassifier>)> for LoadShedBuilder<T> {
    fn refine(
        self,
        _: (StackLoadShed, Option<CustomClassifier>),
    ) -> (StackLoadShed, Option<CustomClassifier>) {
        let mut classifier = None;
        let settings = self.retracked(|tracker| classifier = tracker.classifier());
        (settings, classifier)
    }
}
