use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::circuit::Settings;
use super::layer::{CircuitBreakerLayer, KIND};
use crate::call::track::AtResponse;
use crate::observe::event::Observer;
use crate::policy::breaker::{Config, Mode, OnCancel, Recovery};
use crate::policy::window::Window;
use crate::vocabulary::config::OfInstance as _;
use crate::vocabulary::name::InstanceName;
use crate::vocabulary::{
    config::ConfigError,
    outcome::{ClassifyFn, Verdict},
};

/// Builds a [`CircuitBreakerLayer`].
///
/// ```
/// use mainstay::{CircuitBreakerLayer, Recovery, Window};
/// use std::time::Duration;
///
/// let layer = CircuitBreakerLayer::builder()
///     .name("payments")
///     .failure_rate(0.4)
///     .slow_calls(Duration::from_millis(500), 0.8)
///     .consecutive_failures(10)
///     .window(Window::time(Duration::from_secs(30)))
///     .open_for(Duration::from_secs(2))
///     .recovery(Recovery::Stepwise { steps: 3, over: Duration::from_secs(15) })
///     .build()?;
/// # Ok::<_, mainstay::ConfigError>(())
/// ```
#[must_use = "a builder does nothing until `build` is called"]
pub struct CircuitBreakerBuilder<T = AtResponse> {
    pub(crate) name: Option<String>,
    pub(crate) config: Config,
    pub(crate) tracker: T,
    pub(crate) observer: Option<Arc<dyn Observer>>,
}

impl<T> CircuitBreakerBuilder<T> {
    /// With this judgement of responses, and this end of a call.
    pub(crate) fn tracked_by(tracker: T) -> Self {
        Self {
            name: None,
            config: Config::default(),
            tracker,
            observer: None,
        }
    }

    /// The name of this instance, in rejections and events; `default` if it is not set.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Opens when this share of the calls in the window failed: more than 0, at most 1; 0.5 by default.
    pub fn failure_rate(mut self, rate: f64) -> Self {
        self.config.failure_rate = Some(rate);
        self
    }

    /// Does not look at the failure rate; another rule must be set then.
    pub fn without_failure_rate(mut self) -> Self {
        self.config.failure_rate = None;
        self
    }

    /// Opens when this share of the calls in the window took longer than the threshold, failed or not. Not set by default,
    /// because nobody but you knows what is slow. The clock is then read twice a call.
    pub fn slow_calls(mut self, threshold: Duration, rate: f64) -> Self {
        self.config.slow_calls = Some((threshold, rate));
        self
    }

    /// Opens when so many calls failed one after the other, however few there are: at least 1. Not set by default.
    pub fn consecutive_failures(mut self, failures: u32) -> Self {
        self.config.consecutive_failures = Some(failures);
        self
    }

    /// Does not judge a rate over fewer calls than this: 1 to 1 000 000; 20 by default, so that the first two calls of a quiet
    /// hour do not decide alone.
    pub fn min_calls(mut self, calls: u32) -> Self {
        self.config.min_calls = calls;
        self
    }

    /// What a rate is taken over; by default the last 10 seconds.
    pub fn window(mut self, window: Window) -> Self {
        self.config.window = window;
        self
    }

    /// How long the circuit stays open at first: 1 ms to 24 hours, 5 seconds by default.
    pub fn open_for(mut self, time: Duration) -> Self {
        self.config.open_for = time;
        self
    }

    /// By what factor the open time grows with each recovery that fails: 1 to 1 000; 2 by default.
    pub fn open_factor(mut self, factor: f64) -> Self {
        self.config.open_factor = factor;
        self
    }

    /// How long the circuit stays open at most, also when the other side's `Retry-After` asks for longer: up to 24 hours, one
    /// minute by default.
    pub fn open_max(mut self, time: Duration) -> Self {
        self.config.open_max = time;
        self
    }

    /// By what fraction the open time varies at random, so that many instances do not come back all at once: 0 to less than 1,
    /// 0.1 by default.
    pub fn jitter(mut self, fraction: f64) -> Self {
        self.config.jitter = fraction;
        self
    }

    /// Number of probe calls admitted while half-open. Default 3; range 1 to 10 000. The rules that
    /// opened the circuit also judge the probes.
    pub fn probes(mut self, probes: u32) -> Self {
        self.config.probes = probes;
        self
    }

    /// How long a probe may take before it counts as failed, so that one that hangs does not keep the circuit half-open:
    /// 1 ms to 24 hours, 10 seconds by default.
    pub fn probe_life(mut self, life: Duration) -> Self {
        self.config.probe_life = life;
        self
    }

    /// How the circuit closes after good probes: at once by default, or step by step.
    pub fn recovery(mut self, recovery: Recovery) -> Self {
        self.config.recovery = recovery;
        self
    }

    /// Whether it rejects ([`Mode::Enforce`], the default), only says what it would do, or is off.
    pub fn mode(mut self, mode: Mode) -> Self {
        self.config.mode = mode;
        self
    }

    /// How a call counts that its caller, or the caller's deadline, ended before there was an answer:
    /// [`OnCancel::FailureIfSlow`] by default.
    pub fn on_cancel(mut self, on_cancel: OnCancel) -> Self {
        self.config.on_cancel = Some(on_cancel);
        self
    }

    /// Judges results by a closure, which returns an [`Outcome`](crate::Outcome) or a [`Verdict`].
    ///
    /// ```
    /// use mainstay::{CircuitBreakerLayer, Error, Outcome};
    ///
    /// let layer = CircuitBreakerLayer::builder()
    ///     .classify(|result: Result<&String, &Error<std::io::Error>>| match result {
    ///         Ok(answer) if answer.is_empty() => Outcome::Failure,
    ///         Ok(_) => Outcome::Success,
    ///         Err(Error::Inner(e)) if e.kind() == std::io::ErrorKind::InvalidInput => Outcome::Ignored,
    ///         Err(_) => Outcome::Failure,
    ///     })
    ///     .build()?;
    /// # Ok::<_, mainstay::ConfigError>(())
    /// ```
    pub fn classify<Res, Err, V, F>(
        self,
        classify: F,
    ) -> CircuitBreakerBuilder<AtResponse<Arc<ClassifyFn<F>>>>
    where
        F: Fn(Result<&Res, &Err>) -> V,
        V: Into<Verdict>,
    {
        self.classifier(ClassifyFn(classify))
    }

    /// Judges results by a [`Classify`](crate::Classify) of your own.
    pub fn classifier<C>(self, classifier: C) -> CircuitBreakerBuilder<AtResponse<Arc<C>>> {
        self.tracker(AtResponse(Arc::new(classifier)))
    }

    /// Follows calls by a [`Track`](crate::Track) of your own: it judges responses, and says when a call is over.
    ///
    /// [`AtResponse`] is the default here; `mainstay::http` and `mainstay::grpc` begin with one that lasts to the end of the body.
    pub fn tracker<T2>(self, tracker: T2) -> CircuitBreakerBuilder<T2> {
        self.retracked(|_| tracker)
    }

    pub(crate) fn retracked<T2>(self, by: impl FnOnce(T) -> T2) -> CircuitBreakerBuilder<T2> {
        CircuitBreakerBuilder {
            name: self.name,
            config: self.config,
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
    /// When a value is out of its range, or two contradict each other.
    pub fn build(self) -> Result<CircuitBreakerLayer<T>, ConfigError> {
        let name = self.name.clone();
        self.built().of_instance(name.as_deref())
    }

    fn built(self) -> Result<CircuitBreakerLayer<T>, ConfigError> {
        let instance = InstanceName::new(&KIND, self.name.as_deref())?;
        self.config.check()?;
        let settings = Settings {
            config: self.config,
            instance,
            observer: self.observer,
        };
        Ok(CircuitBreakerLayer::of(settings, self.tracker))
    }
}

impl<T> fmt::Debug for CircuitBreakerBuilder<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreakerBuilder")
            .field("name", &self.name)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
