//! Everything is checked when it is built: no value may panic or wedge a call later.

use std::fmt::Debug;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use crate::support::{Act, Broken, Probe, ms, secs, send};
use mainstay::{
    Backoff, BulkheadLayer, CircuitBreakerLayer, ConfigError, Context, CorrelationLayer, Error,
    Jitter, Limit, LoadShedLayer, Mode, OnCancel, Recovery, RetryBudget, RetryLayer, TimeoutLayer,
    Verdict, Window,
};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestCaseError, TestRunner};
use tokio::time::timeout;
use tower::{Layer, Service};

// --- Hostile values

fn duration() -> impl Strategy<Value = Duration> + Clone {
    prop_oneof![
        prop::sample::select(vec![
            Duration::ZERO,
            Duration::from_nanos(1),
            Duration::from_micros(999),
            ms(1),
            ms(100),
            secs(1),
            secs(3_600),
            secs(3_600) + Duration::from_nanos(1),
            secs(86_400),
            secs(86_400) + Duration::from_nanos(1),
            Duration::from_nanos(u64::MAX),
            Duration::from_secs(u64::MAX),
            Duration::MAX,
        ]),
        (1..10_000_u64).prop_map(ms),
        any::<u64>().prop_map(Duration::from_nanos),
    ]
}

fn count() -> impl Strategy<Value = u32> + Clone {
    prop_oneof![
        prop::sample::select(vec![
            0,
            1,
            2,
            100,
            101,
            10_000,
            1_000_000,
            1_000_001,
            1 << 20,
            (1 << 20) + 1,
            u32::MAX - 1,
            u32::MAX
        ]),
        1..200_u32,
        any::<u32>(),
    ]
}

fn number() -> impl Strategy<Value = f64> + Clone {
    prop_oneof![
        prop::sample::select(vec![
            0.0,
            -0.0,
            1.0,
            0.5,
            -1.0,
            1.0 + f64::EPSILON,
            1.0 - f64::EPSILON,
            f64::MIN_POSITIVE,
            f64::EPSILON,
            f64::MAX,
            f64::MIN,
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
            1e-7,
            1_000.0,
        ]),
        0.001..1.0_f64,
        1.0..50.0_f64,
        any::<f64>(),
    ]
}

fn name() -> impl Strategy<Value = String> + Clone {
    prop_oneof![
        4 => "[a-z]{1,20}",
        1 => prop::sample::select(vec![
            String::new(),
            "new\nline".to_owned(),
            "quo\"te".to_owned(),
            "x".repeat(10_000),
            "\u{1b}[31m".to_owned(),
        ]),
        1 => any::<String>(),
    ]
}

/// Set, or left at its default: most of the time, or hardly anything would ever be accepted.
fn maybe<S: Strategy>(strategy: S) -> impl Strategy<Value = Option<S::Value>> {
    prop::option::weighted(0.25, strategy)
}

// --- What must hold

/// What `ConfigError::field` may name: setters, and the parameters of constructors that take more than one.
const SETTERS: [(&str, &[&str]); 9] = [
    (
        "circuit_breaker",
        &[
            "name",
            "failure_rate",
            "slow_calls",
            "consecutive_failures",
            "min_calls",
            "window",
            "buckets",
            "open_for",
            "open_factor",
            "open_max",
            "jitter",
            "probes",
            "probe_life",
            "recovery",
            "on_cancel",
        ],
    ),
    (
        "retry",
        &["name", "attempts", "max_retry_after", "max_ready_wait"],
    ),
    ("backoff", &["base", "factor", "cap", "jitter"]),
    ("retry_budget", &["ratio", "min_per_second", "ttl"]),
    ("retry_throttle", &["max_tokens", "token_ratio"]),
    (
        "bulkhead",
        &["name", "limit", "queue.calls", "queue.max_wait"],
    ),
    ("load_shed", &["name", "on_cancel"]),
    (
        "limit",
        &[
            "limit",
            "initial",
            "min",
            "max",
            "backoff",
            "timeout",
            "smoothing",
            "queue",
            "long_window",
            "tolerance",
        ],
    ),
    ("timeout", &["name", "timeout"]),
];

#[track_caller]
fn assert_says_what_is_wrong(error: &ConfigError) {
    let fields = SETTERS
        .iter()
        .find(|(component, _)| *component == error.component())
        .unwrap_or_else(|| panic!("no such component: {error}"))
        .1;
    assert!(fields.contains(&error.field()), "no such setting: {error}");
    assert!(!error.value().is_empty(), "{error}");
    assert!(!error.rule().is_empty(), "{error}");
    let shown = error.to_string();
    assert!(shown.len() < 500, "{} bytes", shown.len());
    assert!(!shown.contains(char::is_control), "{shown:?}");
    assert!(
        shown.contains(error.value()) && shown.contains(error.field()),
        "{shown}"
    );
}

/// Builds from hostile values, and makes calls through what was accepted.
fn never_panics_or_hangs<V, L>(
    strategy: impl Strategy<Value = V>,
    build: impl Fn(V) -> Result<L, ConfigError>,
) where
    V: Debug + Clone,
    L: Layer<Probe> + Debug,
    L::Service: Service<Act, Response = u32, Error = Error<Broken>> + Clone + Debug,
{
    let (accepted, refused) = (AtomicU32::new(0), AtomicU32::new(0));
    let config = Config {
        cases: 400,
        failure_persistence: None,
        ..Config::default()
    };
    TestRunner::new(config)
        .run(&strategy, |values| {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .unwrap();
            runtime.block_on(async {
                match build(values) {
                    Err(error) => {
                        refused.fetch_add(1, Ordering::Relaxed);
                        assert_says_what_is_wrong(&error);
                    }
                    Ok(layer) => {
                        accepted.fetch_add(1, Ordering::Relaxed);
                        let service = layer.layer(Probe::default());
                        assert!(!format!("{layer:?} {service:?}").is_empty());
                        // A hundred attempts may be a day apart each.
                        timeout(secs(86_400 * 700), exercise(service))
                            .await
                            .map_err(|_| TestCaseError::fail("a call hangs"))?;
                    }
                }
                Ok(())
            })
        })
        .unwrap();
    // Otherwise nothing was tested.
    assert!(accepted.into_inner() > 10, "hardly anything was accepted");
    assert!(refused.into_inner() > 10, "hardly anything was refused");
}

async fn exercise<S>(mut service: S)
where
    S: Service<Act, Response = u32, Error = Error<Broken>> + Clone,
{
    for act in [Act::Ok, Act::OkAfter(ms(3)), Act::Ok] {
        let _ = send(&mut service, act).await;
    }
    let _ = send(&mut service, Act::Fail).await;
    for _ in 0..3 {
        let calls = (0..30).map(|n| {
            let mut service = service.clone();
            let act = [
                Act::Ok,
                Act::OkAfter(ms(n)),
                Act::OkAfter(secs(2)),
                Act::Hang,
            ][n as usize % 4];
            async move { timeout(ms(100 * n), send(&mut service, act)).await }
        });
        futures::future::join_all(calls).await;
        let context = Context::current().with_timeout(secs(1));
        let failing = async {
            for _ in 0..25 {
                let _ = send(&mut service, Act::Fail).await;
            }
        };
        context.scope(failing).await;
        tokio::time::sleep(secs(90_000)).await;
    }
}

// --- Every builder

fn window() -> impl Strategy<Value = Window> {
    let extent = prop_oneof![
        count().prop_map(Window::count),
        duration().prop_map(Window::time)
    ];
    (extent, maybe(count())).prop_map(|(window, buckets)| match buckets {
        Some(buckets) => window.buckets(buckets),
        None => window,
    })
}

fn on_cancel() -> impl Strategy<Value = OnCancel> {
    prop_oneof![
        Just(OnCancel::Ignore),
        duration().prop_map(OnCancel::FailureAfter)
    ]
}

fn recovery() -> impl Strategy<Value = Recovery> {
    let stepwise =
        (count(), duration()).prop_map(|(steps, over)| Recovery::Stepwise { steps, over });
    prop_oneof![Just(Recovery::AtOnce), stepwise]
}

#[test]
fn a_circuit_breaker_of_any_settings_is_refused_or_works() {
    let rules = (
        maybe(number()),
        any::<bool>(),
        maybe((duration(), number())),
        maybe(count()),
        maybe(count()),
        maybe(window()),
    );
    let open = (
        maybe(duration()),
        maybe(number()),
        maybe(duration()),
        maybe(number()),
    );
    let probes = (
        maybe(count()),
        maybe(duration()),
        maybe(recovery()),
        maybe(on_cancel()),
    );
    let mode = prop::sample::select(vec![Mode::Enforce, Mode::Shadow, Mode::Off]);
    let hint = maybe(duration());
    let strategy = (maybe(name()), rules, open, probes, mode, hint);
    never_panics_or_hangs(strategy, |(name, rules, open, probes, mode, hint)| {
        let mut builder = CircuitBreakerLayer::builder().mode(mode);
        if let Some(name) = name {
            builder = builder.name(name);
        }
        let (failure_rate, without, slow_calls, consecutive, min_calls, window) = rules;
        if let Some(rate) = failure_rate {
            builder = builder.failure_rate(rate);
        }
        if without && consecutive.is_some() {
            builder = builder.without_failure_rate();
        }
        if let Some((threshold, rate)) = slow_calls {
            builder = builder.slow_calls(threshold, rate);
        }
        if let Some(failures) = consecutive {
            builder = builder.consecutive_failures(failures);
        }
        if let Some(calls) = min_calls {
            builder = builder.min_calls(calls);
        }
        if let Some(window) = window {
            builder = builder.window(window);
        }
        let (open_for, open_factor, open_max, jitter) = open;
        if let Some(time) = open_for {
            builder = builder.open_for(time);
        }
        if let Some(factor) = open_factor {
            builder = builder.open_factor(factor);
        }
        if let Some(time) = open_max {
            builder = builder.open_max(time);
        }
        if let Some(fraction) = jitter {
            builder = builder.jitter(fraction);
        }
        let (probes, life, recovery, on_cancel) = probes;
        if let Some(probes) = probes {
            builder = builder.probes(probes);
        }
        if let Some(life) = life {
            builder = builder.probe_life(life);
        }
        if let Some(recovery) = recovery {
            builder = builder.recovery(recovery);
        }
        if let Some(on_cancel) = on_cancel {
            builder = builder.on_cancel(on_cancel);
        }
        builder
            .classify(move |result: Result<&u32, &Error<Broken>>| match result {
                Ok(_) => Verdict::new(mainstay::Outcome::Success),
                Err(_) => Verdict::new(mainstay::Outcome::Failure).with_retry_after(hint),
            })
            .build()
    });
}

fn backoff() -> impl Strategy<Value = Backoff> {
    let base = prop_oneof![
        duration().prop_map(Backoff::constant),
        duration().prop_map(Backoff::linear),
        duration().prop_map(Backoff::exponential),
    ];
    let jitters = vec![
        Jitter::None,
        Jitter::Full,
        Jitter::Equal,
        Jitter::Decorrelated,
    ];
    (
        base,
        maybe(number()),
        maybe(duration()),
        prop::sample::select(jitters),
    )
        .prop_map(|(mut backoff, factor, cap, jitter)| {
            if let Some(factor) = factor {
                backoff = backoff.factor(factor);
            }
            if let Some(cap) = cap {
                backoff = backoff.cap(cap);
            }
            backoff.jitter(jitter)
        })
}

#[test]
fn a_retry_layer_of_any_settings_is_refused_or_works() {
    let settings = (
        maybe(name()),
        maybe(count()),
        maybe(backoff()),
        maybe(duration()),
        maybe(duration()),
    );
    let decision = maybe(duration());
    never_panics_or_hangs((settings, decision), |(settings, hint)| {
        let (name, attempts, backoff, max_retry_after, max_ready_wait) = settings;
        let mut builder = RetryLayer::builder();
        if let Some(name) = name {
            builder = builder.name(name);
        }
        if let Some(attempts) = attempts {
            builder = builder.attempts(attempts);
        }
        if let Some(backoff) = backoff {
            builder = builder.backoff(backoff);
        }
        if let Some(time) = max_retry_after {
            builder = builder.max_retry_after(time);
        }
        if let Some(time) = max_ready_wait {
            builder = builder.max_ready_wait(time);
        }
        builder
            .decide(
                move |_: &Act, result: Result<&u32, &Error<Broken>>, _| match (result, hint) {
                    (Ok(_), _) => mainstay::Decision::Return,
                    (Err(_), None) => mainstay::Decision::Retry,
                    (Err(_), Some(hint)) => mainstay::Decision::RetryAfter(hint),
                },
            )
            .build()
            .map(Opaque)
    });
}

#[test]
fn a_retry_budget_of_any_settings_is_refused_or_works() {
    let budget = (maybe(number()), maybe(count()), maybe(duration()));
    let throttle = maybe((count(), number()));
    never_panics_or_hangs((budget, throttle), |((ratio, reserve, ttl), throttle)| {
        let budget = if let Some((tokens, ratio)) = throttle {
            RetryBudget::throttle(tokens, ratio)?
        } else {
            let mut builder = RetryBudget::builder();
            if let Some(ratio) = ratio {
                builder = builder.ratio(ratio);
            }
            if let Some(reserve) = reserve {
                builder = builder.min_per_second(reserve);
            }
            if let Some(ttl) = ttl {
                builder = builder.ttl(ttl);
            }
            builder.build()?
        };
        assert!(!format!("{budget:?} {}", budget.balance()).is_empty());
        RetryLayer::builder()
            .attempts(5)
            .budget(budget)
            .build()
            .map(Opaque)
    });
}

/// A layer that need not be `Debug`.
#[derive(Clone)]
struct Opaque<L>(L);

impl<L> Debug for Opaque<L> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Opaque")
    }
}

impl<S, L: Layer<S>> Layer<S> for Opaque<L> {
    type Service = L::Service;

    fn layer(&self, inner: S) -> L::Service {
        self.0.layer(inner)
    }
}

#[test]
fn a_bulkhead_of_any_settings_is_refused_or_works() {
    let strategy = (maybe(name()), maybe(count()));
    never_panics_or_hangs(strategy, |(name, limit)| {
        let mut builder = BulkheadLayer::builder();
        if let Some(name) = name {
            builder = builder.name(name);
        }
        if let Some(limit) = limit {
            builder = builder.limit(limit);
        }
        builder.build()
    });
}

#[test]
fn a_bulkhead_with_any_queue_is_refused_or_works() {
    let strategy = (maybe(name()), maybe(count()), count(), duration());
    never_panics_or_hangs(strategy, |(name, limit, calls, wait)| {
        let mut builder = BulkheadLayer::builder();
        if let Some(name) = name {
            builder = builder.name(name);
        }
        if let Some(limit) = limit {
            builder = builder.limit(limit);
        }
        builder.queue(calls, wait).build()
    });
}

#[test]
fn a_load_shedder_of_any_settings_is_refused_or_works() {
    let range = (maybe(count()), maybe(count()), maybe(count()));
    let aimd = (maybe(number()), maybe(duration()));
    let gradient2 = (
        maybe(number()),
        maybe(count()),
        maybe(count()),
        maybe(number()),
    );
    let strategy = (
        maybe(name()),
        maybe(on_cancel()),
        0..3,
        range,
        aimd,
        gradient2,
    );
    never_panics_or_hangs(
        strategy,
        |(name, on_cancel, kind, range, aimd, gradient2)| {
            let (initial, min, max) = range;
            let limit = match kind {
                0 => Limit::fixed(initial.unwrap_or(1)),
                1 => {
                    let mut limit = Limit::aimd();
                    if let Some(initial) = initial {
                        limit = limit.initial(initial);
                    }
                    if let Some(min) = min {
                        limit = limit.min(min);
                    }
                    if let Some(max) = max {
                        limit = limit.max(max);
                    }
                    if let Some(backoff) = aimd.0 {
                        limit = limit.backoff(backoff);
                    }
                    if let Some(timeout) = aimd.1 {
                        limit = limit.timeout(timeout);
                    }
                    limit.build()?
                }
                _ => {
                    let mut limit = Limit::gradient2();
                    if let Some(initial) = initial {
                        limit = limit.initial(initial);
                    }
                    if let Some(min) = min {
                        limit = limit.min(min);
                    }
                    if let Some(max) = max {
                        limit = limit.max(max);
                    }
                    if let Some(smoothing) = gradient2.0 {
                        limit = limit.smoothing(smoothing);
                    }
                    if let Some(queue) = gradient2.1 {
                        limit = limit.queue(queue);
                    }
                    if let Some(windows) = gradient2.2 {
                        limit = limit.long_window(windows);
                    }
                    if let Some(tolerance) = gradient2.3 {
                        limit = limit.tolerance(tolerance);
                    }
                    limit.build()?
                }
            };
            let mut builder = LoadShedLayer::builder().limit(limit);
            if let Some(name) = name {
                builder = builder.name(name);
            }
            if let Some(on_cancel) = on_cancel {
                builder = builder.on_cancel(on_cancel);
            }
            builder.build()
        },
    );
}

#[test]
fn a_timeout_of_any_settings_is_refused_or_works() {
    never_panics_or_hangs((maybe(name()), maybe(duration())), |(name, time)| {
        let mut builder = TimeoutLayer::builder();
        if let Some(time) = time {
            builder = builder.timeout(time);
        }
        if let Some(name) = name {
            builder = builder.name(name);
        }
        builder.build()
    });
}

#[test]
fn what_takes_any_value_works_with_any() {
    /// Accepted always: the other half of these values is refused by a name.
    fn any_value<L>(layer: L, name: String) -> Result<L, ConfigError> {
        TimeoutLayer::builder().name(name).build().map(|_| layer)
    }
    never_panics_or_hangs((count(), name()), |(limit, name)| {
        any_value(BulkheadLayer::new(limit), name)
    });
    never_panics_or_hangs((count(), name()), |(limit, name)| {
        any_value(LoadShedLayer::new(Limit::fixed(limit)), name)
    });
    never_panics_or_hangs((duration(), name()), |(time, name)| {
        any_value(TimeoutLayer::new(time), name)
    });
    never_panics_or_hangs((maybe(duration()), name()), |(time, name)| {
        any_value(TimeoutLayer::per_request(move |_: &Act| time), name)
    });
}

// --- Names

#[test]
fn a_name_that_could_do_harm_is_refused_by_every_builder() {
    fn build(name: &str) -> Vec<Result<(), ConfigError>> {
        let nothing = |_: &Act| None;
        vec![
            CircuitBreakerLayer::builder().name(name).build().map(drop),
            RetryLayer::builder().name(name).build().map(drop),
            BulkheadLayer::builder().name(name).build().map(drop),
            BulkheadLayer::builder()
                .queue(1, ms(1))
                .name(name)
                .build()
                .map(drop),
            LoadShedLayer::builder().name(name).build().map(drop),
            LoadShedLayer::on_readiness().named(name).map(drop),
            TimeoutLayer::builder().name(name).build().map(drop),
            TimeoutLayer::builder()
                .per_request(nothing)
                .name(name)
                .build()
                .map(drop),
        ]
    }
    for name in [
        "a",
        "payments",
        "eu-west-1/payments.v2:read_only",
        &"x".repeat(64),
    ] {
        assert!(
            build(name).into_iter().all(|built| built.is_ok()),
            "{name:?}"
        );
    }
    let long = "x".repeat(65);
    let longer = "\n".repeat(10_000);
    for name in [
        "",
        "new\nline",
        "quo\"te",
        "quo'te",
        "a b",
        "\0",
        "n\u{f6}n",
        "{}",
        &long,
        &longer,
    ] {
        for built in build(name) {
            let error = built.unwrap_err();
            assert_eq!(error.field(), "name", "{error}");
            assert_says_what_is_wrong(&error);
        }
    }
}

// --- The bounds that are documented

#[track_caller]
fn refused<T: Debug>(built: Result<T, ConfigError>, component: &str, field: &str) {
    let error = built.unwrap_err();
    assert_eq!(
        (error.component(), error.field()),
        (component, field),
        "{error}"
    );
    assert_says_what_is_wrong(&error);
}

#[test]
fn a_circuit_breaker_takes_what_its_docs_say() {
    const DAY: Duration = secs(86_400);
    let over = |time: Duration| time + Duration::from_nanos(1);
    let b = CircuitBreakerLayer::builder;
    let layer = "circuit_breaker";
    for rate in [f64::MIN_POSITIVE, 0.07, 1.0] {
        b().failure_rate(rate).build().unwrap();
        b().slow_calls(secs(1), rate).build().unwrap();
    }
    for rate in [0.0, -0.1, 1.000_1, f64::NAN, f64::INFINITY] {
        refused(b().failure_rate(rate).build(), layer, "failure_rate");
        refused(b().slow_calls(secs(1), rate).build(), layer, "slow_calls");
    }
    refused(b().without_failure_rate().build(), layer, "failure_rate");
    refused(
        b().consecutive_failures(0).build(),
        layer,
        "consecutive_failures",
    );
    for calls in [0, 1_000_001, u32::MAX] {
        refused(b().min_calls(calls).build(), layer, "min_calls");
        refused(b().window(Window::count(calls)).build(), layer, "window");
    }
    // Two settings that contradict each other.
    refused(
        b().min_calls(11).window(Window::count(10)).build(),
        layer,
        "min_calls",
    );
    b().min_calls(10).window(Window::count(10)).build().unwrap();
    refused(
        b().window(Window::count(100).buckets(10)).build(),
        layer,
        "buckets",
    );
    refused(
        b().window(Window::time(secs(1)).buckets(0)).build(),
        layer,
        "buckets",
    );
    refused(
        b().window(Window::time(secs(1)).buckets(121)).build(),
        layer,
        "buckets",
    );
    refused(
        b().window(Window::time(ms(119)).buckets(120)).build(),
        layer,
        "window",
    );
    b().window(Window::time(ms(120)).buckets(120))
        .build()
        .unwrap();
    for time in [Duration::ZERO, over(DAY), Duration::MAX] {
        refused(b().window(Window::time(time)).build(), layer, "window");
        refused(b().open_for(time).build(), layer, "open_for");
        refused(b().open_max(time).build(), layer, "open_max");
        refused(b().probe_life(time).build(), layer, "probe_life");
        refused(b().slow_calls(time, 0.5).build(), layer, "slow_calls");
    }
    b().open_for(ms(1)).open_max(ms(1)).build().unwrap();
    b().open_for(DAY).open_max(DAY).build().unwrap();
    refused(b().open_for(secs(61)).build(), layer, "open_max");
    for factor in [0.99, 1_000.1, f64::NAN, f64::INFINITY] {
        refused(b().open_factor(factor).build(), layer, "open_factor");
    }
    for jitter in [-0.1, 1.0, f64::NAN] {
        refused(b().jitter(jitter).build(), layer, "jitter");
    }
    for probes in [0, 10_001, u32::MAX] {
        refused(b().probes(probes).build(), layer, "probes");
    }
    let shorter = b().slow_calls(secs(11), 0.5).probe_life(secs(10));
    refused(shorter.build(), layer, "probe_life");
    b().slow_calls(secs(11), 0.5).build().unwrap();
    for (steps, over) in [
        (0, secs(1)),
        (1_001, secs(1)),
        (1, Duration::ZERO),
        (10, ms(9)),
        (1, Duration::MAX),
    ] {
        refused(
            b().recovery(Recovery::Stepwise { steps, over }).build(),
            layer,
            "recovery",
        );
    }
    refused(
        b().on_cancel(OnCancel::FailureAfter(over(DAY))).build(),
        layer,
        "on_cancel",
    );
    b().on_cancel(OnCancel::FailureAfter(DAY)).build().unwrap();
}

#[test]
fn a_retry_layer_takes_what_its_docs_say() {
    const HOUR: Duration = secs(3_600);
    let b = RetryLayer::builder;
    let with = |backoff| b().backoff(backoff).build().map(drop);
    for attempts in [0, 101, u32::MAX] {
        refused(
            b().attempts(attempts).build().map(drop),
            "retry",
            "attempts",
        );
    }
    b().attempts(100)
        .max_retry_after(HOUR)
        .max_ready_wait(HOUR)
        .build()
        .unwrap();
    b().attempts(1)
        .max_retry_after(Duration::ZERO)
        .max_ready_wait(Duration::ZERO)
        .build()
        .unwrap();
    for time in [HOUR + Duration::from_nanos(1), Duration::MAX] {
        refused(
            b().max_retry_after(time).build().map(drop),
            "retry",
            "max_retry_after",
        );
        refused(
            b().max_ready_wait(time).build().map(drop),
            "retry",
            "max_ready_wait",
        );
    }
    with(Backoff::constant(Duration::ZERO)).unwrap();
    refused(with(Backoff::linear(Duration::ZERO)), "backoff", "base");
    refused(
        with(Backoff::exponential(Duration::ZERO)),
        "backoff",
        "base",
    );
    refused(with(Backoff::exponential(Duration::MAX)), "backoff", "base");
    refused(
        with(Backoff::exponential(secs(3)).cap(secs(2))),
        "backoff",
        "cap",
    );
    refused(
        with(Backoff::exponential(secs(3)).cap(Duration::MAX)),
        "backoff",
        "cap",
    );
    for factor in [0.9, 1_000.1, f64::NAN, f64::INFINITY] {
        refused(
            with(Backoff::exponential(ms(1)).factor(factor)),
            "backoff",
            "factor",
        );
    }
    refused(
        with(Backoff::linear(ms(1)).factor(2.0)),
        "backoff",
        "factor",
    );
    let decorrelated = |backoff: Backoff| with(backoff.jitter(Jitter::Decorrelated));
    decorrelated(Backoff::exponential(ms(1))).unwrap();
    refused(decorrelated(Backoff::linear(ms(1))), "backoff", "jitter");
    refused(decorrelated(Backoff::constant(ms(1))), "backoff", "jitter");
    refused(
        decorrelated(Backoff::exponential(ms(1)).factor(2.0)),
        "backoff",
        "jitter",
    );
}

#[test]
fn a_retry_budget_takes_what_its_docs_say() {
    let b = RetryBudget::builder;
    for ratio in [0.0, 0.000_001, 1_000.0] {
        b().ratio(ratio).build().unwrap();
    }
    for ratio in [-0.1, 1_000.1, 0.000_000_1, f64::NAN, f64::INFINITY] {
        refused(b().ratio(ratio).build(), "retry_budget", "ratio");
    }
    refused(
        b().ratio(0.0).min_per_second(0).build(),
        "retry_budget",
        "ratio",
    );
    refused(
        b().ratio(0.0).min_per_second(1).ttl(ms(999)).build(),
        "retry_budget",
        "ratio",
    );
    refused(
        b().min_per_second(1_000_001).build(),
        "retry_budget",
        "min_per_second",
    );
    for ttl in [Duration::ZERO, ms(99), secs(86_401), Duration::MAX] {
        refused(b().ttl(ttl).build(), "retry_budget", "ttl");
    }
    RetryBudget::throttle(1, 0.001).unwrap();
    RetryBudget::throttle(1_000, 1_000.0).unwrap();
    for tokens in [0, 1_001, u32::MAX] {
        refused(
            RetryBudget::throttle(tokens, 0.1),
            "retry_throttle",
            "max_tokens",
        );
    }
    for ratio in [0.0, -1.0, 1_000.1, f64::NAN] {
        refused(
            RetryBudget::throttle(10, ratio),
            "retry_throttle",
            "token_ratio",
        );
    }
}

#[test]
fn a_bulkhead_takes_what_its_docs_say() {
    const HOUR: Duration = secs(3_600);
    let b = BulkheadLayer::builder;
    refused(b().limit(0).build(), "bulkhead", "limit");
    refused(b().limit(1 << 24).build(), "bulkhead", "limit");
    assert_eq!(
        b().limit((1 << 24) - 1).build().unwrap().handle().limit(),
        None,
        "the highest number is no limit"
    );
    for calls in [0, 1 << 20, u32::MAX] {
        refused(b().queue(calls, secs(1)).build(), "bulkhead", "queue.calls");
    }
    for wait in [
        Duration::ZERO,
        HOUR + Duration::from_nanos(1),
        Duration::MAX,
    ] {
        refused(b().queue(1, wait).build(), "bulkhead", "queue.max_wait");
    }
    refused(b().limit(0).queue(1, secs(1)).build(), "bulkhead", "limit");
    b().queue((1 << 20) - 1, HOUR).build().unwrap();
}

#[test]
fn a_limit_takes_what_its_docs_say() {
    let fixed = |limit| LoadShedLayer::builder().limit(Limit::fixed(limit)).build();
    for limit in [0, 1_000_001, u32::MAX] {
        refused(fixed(limit), "limit", "limit");
        refused(Limit::aimd().max(limit).build(), "limit", "max");
        refused(Limit::aimd().min(limit).build(), "limit", "min");
        refused(Limit::gradient2().max(limit).build(), "limit", "max");
        refused(Limit::gradient2().min(limit).build(), "limit", "min");
        refused(Limit::gradient2().queue(limit).build(), "limit", "queue");
        refused(
            Limit::gradient2().long_window(limit).build(),
            "limit",
            "long_window",
        );
    }
    fixed(1_000_000).unwrap();
    refused(Limit::aimd().min(201).build(), "limit", "min");
    for initial in [19, 201] {
        refused(Limit::aimd().initial(initial).build(), "limit", "initial");
        refused(
            Limit::gradient2().initial(initial).build(),
            "limit",
            "initial",
        );
    }
    Limit::gradient2().initial(1).min(1).max(1).build().unwrap();
    for backoff in [0.49, 1.0, f64::NAN] {
        refused(Limit::aimd().backoff(backoff).build(), "limit", "backoff");
    }
    for time in [
        Duration::ZERO,
        Duration::from_micros(999),
        secs(86_401),
        Duration::MAX,
    ] {
        refused(Limit::aimd().timeout(time).build(), "limit", "timeout");
    }
    for smoothing in [0.0, 1.1, f64::NAN] {
        refused(
            Limit::gradient2().smoothing(smoothing).build(),
            "limit",
            "smoothing",
        );
    }
    for tolerance in [0.9, 1_000.1, f64::NAN] {
        refused(
            Limit::gradient2().tolerance(tolerance).build(),
            "limit",
            "tolerance",
        );
    }
    let on_cancel = OnCancel::FailureAfter(Duration::MAX);
    refused(
        LoadShedLayer::builder().on_cancel(on_cancel).build(),
        "load_shed",
        "on_cancel",
    );
}

#[test]
fn a_timeout_takes_what_its_docs_say() {
    let b = TimeoutLayer::builder;
    for time in [Duration::ZERO, secs(86_401), Duration::MAX] {
        refused(b().timeout(time).build(), "timeout", "timeout");
    }
    for time in [Duration::from_nanos(1), secs(86_400)] {
        b().timeout(time).build().unwrap();
    }
}

#[test]
fn any_fields_of_a_correlation_layer_are_refused_or_work() {
    let config = Config {
        cases: 400,
        failure_persistence: None,
        ..Config::default()
    };
    let field = prop_oneof!["[a-z-]{1,10}", name()];
    let strategy = prop::collection::vec(field, 0..12);
    TestRunner::new(config)
        .run(&strategy, |fields| {
            match CorrelationLayer::client().fields(fields.clone()) {
                Ok(layer) => {
                    assert!((1..=8).contains(&fields.len()), "{layer:?}");
                    for field in fields {
                        assert!((1..=64).contains(&field.len()));
                        assert!(
                            !field.contains(|c: char| c.is_uppercase() || !c.is_ascii_graphic())
                        );
                    }
                }
                Err(error) => {
                    assert_eq!(
                        (error.component(), error.field()),
                        ("correlation", "fields")
                    );
                    let shown = error.to_string();
                    assert!(!error.value().is_empty() && !error.rule().is_empty());
                    assert!(
                        shown.len() < 1_000 && !shown.contains(char::is_control),
                        "{shown:?}"
                    );
                }
            }
            Ok(())
        })
        .unwrap();
}
