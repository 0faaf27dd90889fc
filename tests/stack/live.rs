//! Settings of stacks that change while calls run, in code and by a configuration.

use std::convert::Infallible;
use std::time::Duration;

use crate::support::{ms, secs};
use bytes::Bytes;
use http_body_util::Full;
use mainstay::http::{ClientSettings, ServerSettings};
use mainstay::registry::Registry;
use mainstay::stack::{AnyClientSettings, AnyServerSettings};
use mainstay::timeout::OwnLimit;
use mainstay::{BoxError, Error, Mode, Reason, http};
use tokio::time::{Instant, advance};
use tower::{Service, ServiceExt, service_fn};

type Request = ::http::Request<Full<Bytes>>;
type Response = ::http::Response<Full<Bytes>>;

fn get() -> Request {
    ::http::Request::new(Full::default())
}

/// Answers after the time in the header `takes-ms`.
fn inner() -> impl Service<Request, Response = Response, Error = Infallible, Future: Send> + Clone {
    service_fn(|request: Request| async move {
        if let Some(takes) = request.headers().get("takes-ms") {
            let takes = takes.to_str().unwrap().parse().unwrap();
            tokio::time::sleep(Duration::from_millis(takes)).await;
        }
        Ok(Response::default())
    })
}

fn taking(time: u64) -> Request {
    let mut request = get();
    request.headers_mut().insert("takes-ms", time.into());
    request
}

fn json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| error.to_string())
}

#[tokio::test(start_paused = true)]
async fn a_new_time_limit_holds_for_the_next_call_and_no_other() -> Result<(), BoxError> {
    let stack = http::client("a")
        .without_registry()
        .timeout(secs(5))
        .without_retry()
        .build()?;
    let client = stack.wrap(inner());
    let begun = Instant::now();
    let before = tokio::spawn(client.clone().oneshot(taking(3_000)));
    tokio::task::yield_now().await;
    let changes = stack.change(|settings| settings.timeout.timeout = secs(1).into())?;
    assert_eq!(changes.to_string(), "timeout.timeout: 5s -> 1s");
    let after = client.clone().oneshot(taking(3_000)).await;
    let rejection = after.unwrap_err();
    assert_eq!(rejection.reason(), Reason::TimedOut);
    assert_eq!(begun.elapsed(), secs(1));
    assert!(before.await?.is_ok());
    assert_eq!(begun.elapsed(), secs(3));
    Ok(())
}

#[test]
fn what_is_derived_is_derived_anew_and_what_is_set_stays() -> Result<(), BoxError> {
    let stack = http::client("a").without_registry().build()?;
    assert_eq!(stack.settings().circuit_breaker.probe_life, Some(secs(30)));
    let changes = stack.change(|settings| settings.timeout.timeout = ms(200).into())?;
    assert_eq!(
        changes.to_string(),
        "timeout.timeout: 30s -> 200ms, retry.backoff: exponential from 50ms to 2s, full jitter -> \
         exponential from 10ms to 2s, full jitter, circuit_breaker.probe_life: 30s -> 10s"
    );
    let changes = stack
        .change(|settings| settings.retry.backoff = Some(mainstay::Backoff::constant(ms(5))))?;
    assert_eq!(changes.iter().len(), 1);
    let changes = stack.change(|settings| settings.timeout.timeout = secs(60).into())?;
    assert_eq!(
        changes.to_string(),
        "timeout.timeout: 200ms -> 60s, circuit_breaker.probe_life: 10s -> 60s"
    );
    let shown = stack.to_string();
    assert!(
        shown.contains("timeout = 60s, body_idle = 120s, header = x-request-timeout-ms"),
        "{shown}"
    );
    assert!(
        shown.contains("backoff = constant 5ms, full jitter"),
        "{shown}"
    );
    assert!(shown.contains("probe_life = 60s"), "{shown}");
    Ok(())
}

#[test]
fn settings_that_clash_change_nothing() -> Result<(), BoxError> {
    let stack = http::client("payments")
        .without_registry()
        .bulkhead(8)
        .build()?;
    let before = stack.settings();
    let error = stack
        .change(|settings| {
            settings.bulkhead.limit = Some(4);
            settings.timeout.timeout = secs(2).into();
            settings.attempt_timeout.timeout = secs(5).into();
        })
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "http client `payments`: attempt_timeout = 5s is refused: must be at most timeout, which \
         is 2s: it could never end an attempt; 616ms would fit 3 attempts"
    );
    assert_eq!(stack.settings(), before);
    assert_eq!(stack.bulkhead().limit(), Some(8));
    let error = stack
        .change(|settings| settings.retry.attempts = 0)
        .unwrap_err();
    assert_eq!(
        (error.name(), error.field()),
        (Some("payments"), "attempts")
    );
    assert_eq!(stack.settings(), before);
    Ok(())
}

#[test]
fn a_change_through_the_handle_of_a_layer_is_kept() -> Result<(), BoxError> {
    let stack = http::client("a").without_registry().bulkhead(8).build()?;
    let _ = stack
        .bulkhead()
        .change(|settings| settings.limit = Some(16))?;
    let _ = stack
        .circuit_breaker()
        .change(|settings| settings.probes = 7)?;
    assert_eq!(stack.settings().bulkhead.limit, Some(16));
    let changes = stack.change(|settings| settings.retry.attempts = 2)?;
    assert_eq!(changes.to_string(), "retry.attempts: 3 -> 2");
    let settings = stack.settings();
    assert_eq!(
        (settings.bulkhead.limit, settings.circuit_breaker.probes),
        (Some(16), 7)
    );
    assert_eq!(stack.bulkhead().limit(), Some(16));
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn layers_are_switched_on_and_off() -> Result<(), BoxError> {
    let stack = mainstay::client("a")
        .without_registry()
        .without_bulkhead()
        .without_circuit_breaker()
        .build()?;
    let mut client = stack.wrap(service_fn(|fail: bool| async move {
        if fail {
            Err(std::io::Error::other("broken"))
        } else {
            Ok(())
        }
    }));
    assert_eq!(stack.snapshot().bulkhead, None);
    let changes = stack.change(|settings| {
        settings.rate_limit = Some(mainstay::rate_limit::Settings::default());
        settings.rate_limit.as_mut().unwrap().permits = 1;
        settings.bulkhead.mode = Mode::Enforce;
        settings.circuit_breaker.mode = Mode::Enforce;
        settings.circuit_breaker.consecutive_failures = Some(1);
    })?;
    assert!(
        changes
            .to_string()
            .contains("bulkhead.mode: off -> enforce"),
        "{changes}"
    );
    let rejected = |result: Result<(), Error<std::io::Error>>| match result {
        Err(Error::Rejected(rejection)) => rejection.reason(),
        other => panic!("{other:?}"),
    };
    assert!(client.ready().await?.call(true).await.is_err());
    assert_eq!(
        rejected(client.ready().await?.call(false).await),
        Reason::RateLimited
    );
    advance(secs(1)).await;
    assert_eq!(
        rejected(client.ready().await?.call(false).await),
        Reason::CircuitOpen
    );
    assert!(stack.snapshot().bulkhead.is_some() && stack.snapshot().rate_limit.is_some());
    let _ = stack.change(|settings| {
        settings.rate_limit = None;
        settings.circuit_breaker.mode = Mode::Off;
    })?;
    assert!(client.ready().await?.call(false).await.is_ok());
    // There is no policy that could retry.
    assert_eq!(stack.settings().retry.mode, Mode::Off);
    let changes = stack.change(|settings| settings.retry.mode = Mode::Enforce)?;
    assert!(changes.is_empty(), "{changes}");
    Ok(())
}

#[test]
fn a_stack_from_a_configuration_is_the_one_that_the_setters_build() -> Result<(), BoxError> {
    let settings: ClientSettings = json(
        r#"{
            "timeout": "2s",
            "retry": { "attempts": 2, "budget": "off" },
            "rate_limit": 50,
            "circuit_breaker": { "consecutive_failures": 5 },
            "bulkhead": { "limit": 64, "queue": { "calls": 8, "max_wait": "100ms" } },
            "attempt_timeout": "500ms"
        }"#,
    )?;
    let read = http::client("a")
        .without_registry()
        .settings(settings)
        .build()?;
    let set = http::client("a")
        .without_registry()
        .timeout(secs(2))
        .retry(http::retry().attempts(2).without_budget())
        .rate_limit(50)
        .circuit_breaker(http::circuit_breaker().consecutive_failures(5))
        .bulkhead(http::bulkhead().limit(64).queue(8, ms(100)))
        .attempt_timeout(ms(500))
        .build()?;
    assert_eq!(read.to_string(), set.to_string());
    assert_eq!(read.settings(), set.settings());
    let server: ServerSettings =
        json(r#"{ "timeout": { "timeout": "5s", "body_idle": "off" }, "load_shed": 100 }"#)?;
    let read = http::server("a")
        .without_registry()
        .settings(server)
        .build()?;
    let timeout = http::timeout().timeout(secs(5)).without_body_idle();
    let set = http::server("a").without_registry().timeout(timeout);
    let set = set.load_shed(mainstay::Limit::fixed(100)).build()?;
    assert_eq!(read.to_string(), set.to_string());
    Ok(())
}

#[test]
fn default_settings_build_the_default_stacks() -> Result<(), BoxError> {
    let standard = http::client("a").without_registry();
    let set = http::client("a")
        .without_registry()
        .settings(ClientSettings::default());
    let (standard, set) = (standard.build()?, set.build()?);
    assert_eq!(
        (set.to_string(), set.settings()),
        (standard.to_string(), standard.settings())
    );
    let standard = http::server("a").without_registry();
    let set = http::server("a")
        .without_registry()
        .settings(ServerSettings::default());
    let (standard, set) = (standard.build()?, set.build()?);
    assert_eq!(
        (set.to_string(), set.settings()),
        (standard.to_string(), standard.settings())
    );
    let standard = mainstay::client("a").without_registry();
    let set = mainstay::client("a")
        .without_registry()
        .settings(AnyClientSettings::default());
    let (standard, set) = (standard.build()?, set.build()?);
    assert_eq!(
        (set.to_string(), set.settings()),
        (standard.to_string(), standard.settings())
    );
    let standard = mainstay::server("a").without_registry();
    let set = mainstay::server("a")
        .without_registry()
        .settings(AnyServerSettings::default());
    let (standard, set) = (standard.build()?, set.build()?);
    assert_eq!(
        (set.to_string(), set.settings()),
        (standard.to_string(), standard.settings())
    );
    Ok(())
}

#[test]
fn one_configuration_sets_all_stacks_or_none() -> Result<(), BoxError> {
    let registry = Registry::new();
    let payments = http::client("payments")
        .timeout(secs(3))
        .registry(&registry)
        .build()?;
    let orders = http::server("orders").registry(&registry).build()?;
    let jobs = mainstay::server("jobs")
        .bulkhead(4)
        .registry(&registry)
        .build()?;
    let configure = |text: &str| {
        let from = toml::Deserializer::parse(text).unwrap();
        registry.configure(from).map_err(|error| error.to_string())
    };
    let changes = configure(
        r#"
        [payments]
        bulkhead = 64
        circuit_breaker = "shadow"
        [orders]
        timeout = "10s"
        "#,
    )?;
    assert_eq!(changes.keys().collect::<Vec<_>>(), ["orders", "payments"]);
    assert_eq!(
        changes["payments"].to_string(),
        "circuit_breaker.mode: enforce -> shadow, bulkhead.limit: off -> 64"
    );
    assert_eq!(payments.bulkhead().limit(), Some(64));
    assert_eq!(orders.settings().timeout.timeout, OwnLimit::Of(secs(10)));
    // A setting that a file no longer contains is as the program set it.
    let changes = configure("[payments]\nbulkhead = 32")?;
    assert_eq!(
        changes["payments"].to_string(),
        "circuit_breaker.mode: shadow -> enforce, bulkhead.limit: 64 -> 32"
    );
    assert_eq!(payments.settings().timeout.timeout, OwnLimit::Of(secs(3)));

    let before = (payments.settings(), orders.settings(), jobs.settings());
    let wrong = [
        (
            "[payments]\nbulkhead = 8\n[orders]\ntimeout = '0s'",
            "orders.timeout.timeout: 0ns is refused: must be more than 0 and at most 24 hours",
        ),
        (
            "[payments]\nattempt_timeout = '5s'",
            "payments.attempt_timeout: 5s is refused: must be at most timeout, which is 3s",
        ),
        (
            "[payments]\nretry = true",
            "payments.retry.attempts: invalid type: boolean `true`",
        ),
        (
            "[payments]\nretries = 3",
            "payments: unknown field `retries`",
        ),
        (
            "[paymets]\nretry = 3",
            "no stack has the name `paymets`: is one of `payments`, `orders`, `jobs` meant?",
        ),
        (
            "payments = 3",
            "payments: invalid type: integer `3`, expected a table",
        ),
        (
            "[jobs]\nretry = 3",
            "jobs: unknown field `retry`, expected one of `timeout`",
        ),
    ];
    for (text, expected) in wrong {
        let error = configure(text).unwrap_err();
        assert!(error.contains(expected), "{text}\n{error}");
        let now = (payments.settings(), orders.settings(), jobs.settings());
        assert_eq!(now, before, "{text}");
    }

    // The settings in force can be written, and change nothing when they are read.
    let written = toml::to_string(&registry.configuration())?;
    assert!(
        written.contains("[payments.bulkhead]\nmode = \"enforce\"\nlimit = 32"),
        "{written}"
    );
    let changes = configure(&written)?;
    for (name, changes) in changes {
        assert!(changes.is_empty(), "{name}: {changes}");
    }
    Ok(())
}

#[test]
fn the_handle_of_a_stack_knows_its_kind() -> Result<(), BoxError> {
    let registry = Registry::new();
    let built = http::client("a").registry(&registry).build()?;
    let stack = registry.stack("a")?;
    assert!(stack.settings::<ServerSettings>().is_none());
    assert!(stack.update(&ServerSettings::default())?.is_none());
    let mut settings: ClientSettings = stack.settings().unwrap();
    settings.retry.attempts = 5;
    assert_eq!(
        stack.update(&settings)?.unwrap().to_string(),
        "retry.attempts: 3 -> 5"
    );
    assert_eq!(built.settings().retry.attempts, 5);
    assert!(stack.describe().to_string().contains("attempts = 5"));
    Ok(())
}

#[test]
fn an_observer_of_a_change_may_ask_the_stack() -> Result<(), BoxError> {
    use std::sync::{Arc, Mutex, OnceLock};

    let seen = Arc::new(Mutex::new(Vec::new()));
    let asked: Arc<OnceLock<http::ClientStack>> = Arc::default();
    let (to, ask) = (Arc::clone(&seen), Arc::clone(&asked));
    let stack = http::client("a")
        .without_registry()
        .observer(move |event: &mainstay::Event| {
            let stack = ask.get().unwrap();
            let now = (
                stack.settings().bulkhead.limit,
                stack.describe().layers().len(),
            );
            to.lock().unwrap().push((event.to_string(), now));
        })
        .build()?;
    assert!(asked.set(stack.clone()).is_ok());
    let _ = stack.change(|settings| settings.bulkhead.limit = Some(8))?;
    assert_eq!(
        *seen.lock().unwrap(),
        [(
            "bulkhead a: settings changed (limit: off -> 8)".to_owned(),
            (Some(8), 8)
        )]
    );
    Ok(())
}

#[test]
fn what_was_derived_stays_derived_when_it_is_put_back() -> Result<(), BoxError> {
    let stack = http::client("a")
        .without_registry()
        .timeout(ms(200))
        .build()?;
    let _ = stack.update(&stack.settings())?;
    // A change through the handle of the layer keeps the other settings of the layer derived.
    let _ = stack
        .circuit_breaker()
        .change(|settings| settings.mode = Mode::Shadow)?;
    let _ = stack.change(|settings| settings.timeout.timeout = secs(60).into())?;
    let settings = stack.settings();
    assert_eq!(settings.circuit_breaker.probe_life, Some(secs(60)));
    assert_eq!(settings.circuit_breaker.mode, Mode::Shadow);
    assert_eq!(settings.retry.backoff, Some(mainstay::Backoff::default()));
    Ok(())
}

#[test]
fn a_set_value_that_equals_the_derived_one_is_set() -> Result<(), BoxError> {
    let registry = Registry::new();
    let stack = http::client("a").registry(&registry).build()?;
    let derived = stack.settings().circuit_breaker.probe_life;
    assert_eq!(derived, Some(secs(30)));
    let file = r#"{ "a": { "timeout": "2s", "circuit_breaker": { "probe_life": "30s" } } }"#;
    for _ in 0..2 {
        let _ = registry.configure(&mut serde_json::Deserializer::from_str(file))?;
        assert_eq!(stack.settings().circuit_breaker.probe_life, derived);
    }
    let stack = http::client("a").without_registry().build()?;
    let _ = stack.change(|settings| {
        settings.timeout.timeout = secs(2).into();
        settings.circuit_breaker.probe_life = derived;
    })?;
    assert_eq!(stack.settings().circuit_breaker.probe_life, derived);
    Ok(())
}

#[test]
fn nothing_is_derived_from_a_limit_that_ends_no_call() -> Result<(), BoxError> {
    let shadow = |length| {
        let mut settings = mainstay::timeout::Settings::default();
        (settings.mode, settings.timeout) = (Mode::Shadow, length);
        settings
    };
    let stack = http::client("a").without_registry().build()?;
    let usual = stack.settings();
    let _ = stack.change(|settings| {
        settings.attempt_timeout = shadow(ms(100).into());
        settings.timeout.mode = Mode::Shadow;
        settings.timeout.timeout = ms(200).into();
    })?;
    let found = stack.settings();
    assert_eq!(
        found.circuit_breaker.on_cancel,
        usual.circuit_breaker.on_cancel
    );
    assert!(found.circuit_breaker.probe_life >= Some(secs(10)));
    assert!(found.retry.backoff.is_none(), "the usual one");
    let stack = mainstay::client("a")
        .without_registry()
        .timeout(secs(60))
        .retry(2)
        .build()?;
    let _ = stack.change(|settings| {
        settings.timeout = shadow(ms(200).into());
    })?;
    assert!(stack.settings().retry.backoff.is_none());
    // Enforced, they are derived from it.
    let _ = stack.change(|settings| settings.timeout.mode = Mode::Enforce)?;
    assert!(stack.settings().retry.backoff.is_some());
    Ok(())
}

#[test]
fn the_description_shows_a_change_through_a_handle() -> Result<(), BoxError> {
    let registry = Registry::new();
    let stack = http::client("a").registry(&registry).build()?;
    let _ = stack
        .bulkhead()
        .change(|settings| settings.limit = Some(7))?;
    let limit = |description: mainstay::stack::Description| {
        let bulkhead = description
            .layers()
            .iter()
            .find(|of| of.layer() == "bulkhead");
        bulkhead
            .unwrap()
            .settings()
            .next()
            .map(|(_, limit)| limit.to_owned())
    };
    assert_eq!(limit(stack.describe()), Some("7".to_owned()));
    assert_eq!(limit(registry.stack("a")?.describe()), Some("7".to_owned()));
    assert!(stack.to_string().contains("limit = 7"), "{stack}");
    Ok(())
}

#[test]
fn a_change_through_a_handle_is_not_lost_to_a_concurrent_update() -> Result<(), BoxError> {
    let stack = http::client("a").without_registry().build()?;
    let mut runs = 0;
    let _ = stack.change(|settings| {
        runs += 1;
        if runs == 1 {
            let set = stack
                .bulkhead()
                .change(|bulkhead| bulkhead.limit = Some(32));
            assert!(!set.unwrap().is_empty());
        }
        settings.timeout.timeout = secs(5).into();
    })?;
    assert_eq!((runs, stack.bulkhead().limit()), (2, Some(32)));
    assert_eq!(stack.settings().timeout.timeout, secs(5).into());
    Ok(())
}

#[test]
fn a_refused_limit_of_attempts_names_their_layer() -> Result<(), BoxError> {
    let registry = Registry::new();
    let stack = http::client("a")
        .registry(&registry)
        .attempt_timeout(secs(1))
        .build()?;
    let limits = registry.attempt_timeout("a")?;
    let error = limits.change(|settings| settings.timeout = secs(0).into());
    assert!(
        error
            .unwrap_err()
            .to_string()
            .starts_with("attempt_timeout `a`: timeout = 0ns")
    );
    drop(stack);
    Ok(())
}

#[test]
fn a_circuit_for_slow_calls_can_be_switched_off() -> Result<(), BoxError> {
    let slow = mainstay::circuit_breaker::SlowCalls::new(secs(20), 0.5);
    let stack = http::client("a").without_registry().build()?;
    let _ = stack.change(|settings| settings.circuit_breaker.slow_calls = Some(slow))?;
    let _ = stack.change(|settings| settings.circuit_breaker.mode = Mode::Off)?;
    let _ = stack.change(|settings| settings.circuit_breaker.mode = Mode::Enforce)?;
    let read: ClientSettings =
        json(r#"{ "circuit_breaker": { "slow_calls": { "threshold": "20s", "rate": 0.5 } } }"#)?;
    let built = http::client("a")
        .without_registry()
        .settings(read)
        .build()?;
    assert_eq!(built.settings(), stack.settings());
    Ok(())
}

#[test]
fn attempts_have_no_default_limit() -> Result<(), BoxError> {
    let stack = http::client("a").without_registry().build()?;
    let changes = stack
        .change(|settings| settings.attempt_timeout = mainstay::timeout::Settings::default())?;
    assert!(changes.is_empty(), "{changes}");
    assert!(stack.describe().to_string().contains("attempt_timeout off"));
    let error = stack.change(|settings| settings.attempt_timeout.timeout = secs(0).into());
    assert_eq!(
        error.unwrap_err().to_string(),
        "attempt_timeout `a`: timeout = 0ns is refused: must be more than 0 and at most 24 hours"
    );
    Ok(())
}
