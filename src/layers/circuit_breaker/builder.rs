use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use super::layer::{CircuitBreakerLayer, KIND};
use crate::call::track::AtResponse;
use crate::layers::keyed::{Keying, OneForAll, keyed_setters};
use crate::observe::emitter::Emitter;
use crate::observe::event::Observer;
use crate::policy::breaker::{Config, OnCancel, Recovery, SlowCalls};
use crate::policy::window::Window;
use crate::vocabulary::config::OfInstance as _;
use crate::vocabulary::name::InstanceName;
use crate::vocabulary::settings::Fields as _;
use crate::vocabulary::{
    config::ConfigError,
    mode::Mode,
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
pub struct CircuitBreakerBuilder<T = AtResponse, K = OneForAll> {
    pub(crate) name: Option<String>,
    pub(crate) config: Config,
    pub(crate) tracker: T,
    pub(crate) observer: Option<Arc<dyn Observer>>,
    pub(crate) keying: K,
}

impl<T> CircuitBreakerBuilder<T> {
    pub(crate) fn tracked_by(tracker: T) -> Self {
        Self {
            name: None,
            config: Config::default(),
            tracker,
            observer: None,
            keying: OneForAll,
        }
    }
}

keyed_setters! {
    CircuitBreakerBuilder<T>, "circuit",
    |builder, keying| CircuitBreakerBuilder {
        name: builder.name,
        config: builder.config,
        tracker: builder.tracker,
        observer: builder.observer,
        keying,
    }
}

impl<T, K> CircuitBreakerBuilder<T, K> {
    /// Sets all settings at once, such as those of a configuration.
    pub fn settings(mut self, settings: Config) -> Self {
        self.config = settings;
        self
    }

    /// Sets the name of this instance in rejections, events and metrics. Default `default`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Opens when this fraction of the calls in the window failed. Default 0.5; range above 0 to 1.
    pub fn failure_rate(mut self, rate: f64) -> Self {
        self.config.failure_rate = Some(rate);
        self
    }

    /// Removes the failure-rate rule. Another rule must then be set.
    pub fn without_failure_rate(mut self) -> Self {
        self.config.failure_rate = None;
        self
    }

    /// Opens when the fraction `rate` of the calls in the window took longer than `threshold`,
    /// failed or not. Default: no such rule, because only you know which calls are slow.
    ///
    /// With this rule every call reads the clock twice.
    pub fn slow_calls(mut self, threshold: Duration, rate: f64) -> Self {
        self.config.slow_calls = Some(SlowCalls::new(threshold, rate));
        self
    }

    /// Opens after this number of consecutive failures, at least 1. Default: no such rule.
    ///
    /// This rule ignores [`min_calls`](Self::min_calls).
    pub fn consecutive_failures(mut self, failures: u32) -> Self {
        self.config.consecutive_failures = Some(failures);
        self
    }

    /// Minimum number of calls in the window before a rate can open the circuit. Default 20; range
    /// 1 to 1 000 000.
    ///
    /// It prevents the first few calls of a quiet hour from opening the circuit.
    pub fn min_calls(mut self, calls: u32) -> Self {
        self.config.min_calls = calls;
        self
    }

    /// The window over which rates are computed. Default: the last 10 seconds.
    pub fn window(mut self, window: Window) -> Self {
        self.config.window = window;
        self
    }

    /// How long the circuit first stays open. Default 5 seconds; range 1 ms to 24 hours.
    pub fn open_for(mut self, time: Duration) -> Self {
        self.config.open_for = time;
        self
    }

    /// Factor by which each failed recovery extends the open time. Default 2; range 1 to 1 000.
    pub fn open_factor(mut self, factor: f64) -> Self {
        self.config.open_factor = factor;
        self
    }

    /// Maximum open time. Default one minute; at most 24 hours.
    ///
    /// It also limits the time that an upstream's `Retry-After` asks for.
    pub fn open_max(mut self, time: Duration) -> Self {
        self.config.open_max = time;
        self
    }

    /// Fraction by which the open time varies at random. Default 0.1; range 0 to below 1.
    ///
    /// It prevents many instances from probing the upstream at the same time.
    pub fn jitter(mut self, fraction: f64) -> Self {
        self.config.jitter = fraction;
        self
    }

    /// Number of probe calls admitted while half-open. Default 3; range 1 to 10 000.
    ///
    /// The rules that open the circuit also evaluate the probes.
    pub fn probes(mut self, probes: u32) -> Self {
        self.config.probes = probes;
        self
    }

    /// Time after which an unfinished probe counts as failed. Default 10 seconds, or the threshold
    /// of [`slow_calls`](Self::slow_calls) if that is longer; range 1 ms to 24
    /// hours.
    ///
    /// It prevents a hanging probe from keeping the circuit half-open.
    pub fn probe_life(mut self, life: Duration) -> Self {
        self.config.probe_life = Some(life);
        self
    }

    /// How the circuit closes after successful probes. Default: at once.
    pub fn recovery(mut self, recovery: Recovery) -> Self {
        self.config.recovery = recovery;
        self
    }

    /// Whether the circuit breaker rejects calls, only reports, or is off. Default
    /// [`Mode::Enforce`].
    pub fn mode(mut self, mode: Mode) -> Self {
        self.config.mode = mode;
        self
    }

    /// How to count a call that its caller, or the caller's deadline, ended before the response.
    /// Default [`OnCancel::FailureIfSlow`].
    pub fn on_cancel(mut self, on_cancel: OnCancel) -> Self {
        self.config.on_cancel = Some(on_cancel);
        self
    }

    /// Classifies results with a closure, which returns an [`Outcome`](crate::Outcome) or a
    /// [`Verdict`]. Default: every error is a failure.
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
    ) -> CircuitBreakerBuilder<AtResponse<Arc<ClassifyFn<F>>>, K>
    where
        F: Fn(Result<&Res, &Err>) -> V,
        V: Into<Verdict>,
    {
        self.classifier(ClassifyFn(classify))
    }

    /// Classifies results with a [`Classify`](crate::Classify) of your own. Default: every error is
    /// a failure.
    pub fn classifier<C>(self, classifier: C) -> CircuitBreakerBuilder<AtResponse<Arc<C>>, K> {
        self.tracker(AtResponse(Arc::new(classifier)))
    }

    /// Follows calls with a [`Track`](crate::Track) of your own, which classifies responses and
    /// decides when a call is over. Default [`AtResponse`].
    ///
    /// `mainstay::http` and `mainstay::grpc` start with trackers that follow a call to the end of
    /// its body.
    pub fn tracker<T2>(self, tracker: T2) -> CircuitBreakerBuilder<T2, K> {
        self.retracked(|_| tracker)
    }

    pub(crate) fn retracked<T2>(self, by: impl FnOnce(T) -> T2) -> CircuitBreakerBuilder<T2, K> {
        CircuitBreakerBuilder {
            name: self.name,
            config: self.config,
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

impl<T, K: Keying> CircuitBreakerBuilder<T, K> {
    /// Builds the layer.
    ///
    /// # Errors
    ///
    /// A value is out of its range, or two values contradict each other.
    pub fn build(self) -> Result<CircuitBreakerLayer<T, K>, ConfigError> {
        let name = self.name.clone();
        self.built().of_instance(name.as_deref())
    }

    fn built(self) -> Result<CircuitBreakerLayer<T, K>, ConfigError> {
        let instance = InstanceName::new(&KIND, self.name.as_deref())?;
        self.config.check()?;
        let is_on = self.config.mode != Mode::Off;
        let emitter = Emitter::measured(&KIND, instance, self.observer, is_on);
        let circuits = self
            .keying
            .instances(KIND.layer, self.config, (), emitter)?;
        Ok(CircuitBreakerLayer {
            circuits,
            tracker: self.tracker,
        })
    }
}

impl<T, K> fmt::Debug for CircuitBreakerBuilder<T, K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CircuitBreakerBuilder")
            .field("name", &self.name)
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}
