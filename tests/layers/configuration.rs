//! Settings in configuration files: what people write, what is in force, and what is refused.

use std::time::Duration;

use crate::support::{ms, secs};
use mainstay::{Backoff, Jitter, Limit, Mode, OnCancel, Recovery, Window};
use mainstay::{bulkhead, circuit_breaker, load_shed, rate_limit, retry};
use proptest::prelude::*;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::{Value, json};

fn toml<T: DeserializeOwned>(text: &str) -> T {
    toml::from_str(text).unwrap_or_else(|error| panic!("{text}\n{error}"))
}

fn refused<T: DeserializeOwned + std::fmt::Debug>(json: &Value) -> String {
    let error = serde_json::from_str::<T>(&json.to_string())
        .unwrap_err()
        .to_string();
    // serde_json adds the place in the text.
    error.split(" at line ").next().unwrap().to_owned()
}

#[test]
fn durations_words_and_short_forms_are_read_as_people_write_them() {
    let settings: circuit_breaker::Settings = toml(
        r#"
        mode = "shadow"
        failure_rate = "off"
        slow_calls = { threshold = "1.5s", rate = 0.3 }
        consecutive_failures = 5
        window = "1m 30s in 30 buckets"
        open_for = "500ms"
        probe_life = "auto"
        recovery = "3 steps over 30s"
        on_cancel = "2s"
        "#,
    );
    assert_eq!(settings.mode, Mode::Shadow);
    assert_eq!(settings.failure_rate, None);
    assert_eq!(settings.slow_calls.unwrap().threshold, ms(1_500));
    assert_eq!(settings.window, Window::time(secs(90)).buckets(30));
    assert_eq!((settings.open_for, settings.probe_life), (ms(500), None));
    let recovery = Recovery::Stepwise {
        steps: 3,
        over: secs(30),
    };
    assert_eq!(settings.recovery, recovery);
    assert_eq!(settings.on_cancel, Some(OnCancel::FailureAfter(secs(2))));
    // Absent fields have their defaults.
    assert_eq!((settings.min_calls, settings.probes), (20, 3));

    let settings: retry::Settings = toml(r#"backoff = "linear from 10ms to 1s, no jitter""#);
    let backoff = Backoff::linear(ms(10)).cap(secs(1)).jitter(Jitter::None);
    assert_eq!(settings.backoff, Some(backoff));
    let limits = [
        ("limit = 64", Limit::fixed(64)),
        ("limit = 'scheduler_lag'", Limit::scheduler_lag()),
        (
            "limit = 'gradient2 max=50'",
            Limit::gradient2().max(50).build().unwrap(),
        ),
        (
            "limit = 'aimd initial=30 timeout=2s'",
            Limit::aimd().initial(30).timeout(secs(2)).build().unwrap(),
        ),
    ];
    for (text, limit) in limits {
        assert_eq!(toml::<load_shed::Settings>(text).limit, limit);
    }

    #[derive(serde::Deserialize)]
    struct Short {
        bulkhead: bulkhead::Settings,
        open: bulkhead::Settings,
        retry: retry::Settings,
        rate_limit: rate_limit::Settings,
        load_shed: load_shed::Settings,
        circuit_breaker: circuit_breaker::Settings,
    }
    let short: Short = toml(
        r#"
        bulkhead = 64
        open = "off"
        retry = 4
        rate_limit = 100
        load_shed = "aimd"
        circuit_breaker = "shadow"
        "#,
    );
    assert_eq!((short.bulkhead.limit, short.open.limit), (Some(64), None));
    assert_eq!((short.retry.attempts, short.rate_limit.permits), (4, 100));
    assert_eq!(short.load_shed.limit, Limit::aimd().build().unwrap());
    assert_eq!(short.circuit_breaker.mode, Mode::Shadow);
}

#[test]
fn errors_name_the_path_the_value_and_the_rule() {
    let expected = [
        (
            refused::<bulkhead::Settings>(&json!({ "limit": 0 })),
            "limit: 0 is refused: must be from 1 to 16777215",
        ),
        (
            refused::<bulkhead::Settings>(&json!({ "queue": { "calls": 0, "max_wait": "1s" } })),
            "queue.calls: 0 is refused: must be from 1 to 1048575; without a queue, leave the queue \
             out",
        ),
        (
            refused::<bulkhead::Settings>(&json!({ "limit": -1 })),
            "limit: invalid value: integer `-1`, expected u32",
        ),
        (
            refused::<bulkhead::Settings>(&json!({ "limt": 1 })),
            "unknown field `limt`, expected one of `mode`, `limit`, `queue`",
        ),
        (
            refused::<bulkhead::Settings>(&json!({ "mode": "on" })),
            "mode: unknown variant `on`, expected one of `enforce`, `shadow`, `off`",
        ),
        (
            refused::<circuit_breaker::Settings>(&json!({ "window": "10" })),
            "window: \"10\" is refused: must be a time or a number of calls, such as `10s`, `60s in \
             30 buckets` or `100 calls`",
        ),
        (
            refused::<circuit_breaker::Settings>(&json!({ "open_for": 5 })),
            "open_for: invalid type: integer `5`, expected a duration with its unit, such as \
             \"250ms\" or \"2s\"",
        ),
        (
            refused::<circuit_breaker::Settings>(&json!({ "open_max": "1s" })),
            "open_max: 1s is refused: must be at least open_for, which is 5s",
        ),
        (
            refused::<retry::Settings>(&json!({ "budget": { "throttle": { "max_tokens": 0 } } })),
            "budget.throttle.max_tokens: 0 is refused: must be from 1 to 1000",
        ),
        (
            refused::<circuit_breaker::Settings>(&json!({ "window": "10s in 5000 buckets" })),
            "window: \"10s in 5000 buckets\" is refused: buckets = 5000, but must be from 1 to 120",
        ),
        (
            refused::<circuit_breaker::Settings>(&json!({ "window": "0 calls" })),
            "window: \"0 calls\" is refused: window = 0, but must be from 1 to 1000000",
        ),
        (
            refused::<retry::Settings>(&json!({ "backoff": "linear from 2s to 1s" })),
            "backoff: \"linear from 2s to 1s\" is refused: cap = 1s, but must be from 2s to 24h",
        ),
        (
            refused::<load_shed::Settings>(&json!({ "limit": "aimd max=0" })),
            "limit: \"aimd max=0\" is refused: max = 0, but must be from 1 to 1000000",
        ),
        (
            refused::<load_shed::Settings>(&json!(0)),
            "limit: 0 is refused: must be from 1 to 1000000",
        ),
        (
            refused::<retry::Settings>(&json!(101)),
            "attempts: 101 is refused: must be from 1 (no retry) to 100",
        ),
    ];
    for (error, expected) in expected {
        assert_eq!(error, expected);
    }
    let error = toml::from_str::<retry::Settings>("attempts = 2\nattempts = 3").unwrap_err();
    assert!(error.to_string().contains("duplicate key"), "{error}");
    let twice = r#"{ "attempts": 2, "attempts": 3 }"#;
    let error = serde_json::from_str::<retry::Settings>(twice).unwrap_err();
    assert!(
        error.to_string().contains("duplicate field `attempts`"),
        "{error}"
    );
}

#[test]
fn written_settings_say_what_is_in_force() {
    let circuit = mainstay::CircuitBreakerLayer::new().handle();
    let written = toml::to_string(&circuit.settings()).unwrap();
    assert_eq!(
        written,
        "mode = \"enforce\"\n\
         failure_rate = 0.5\n\
         slow_calls = \"off\"\n\
         consecutive_failures = \"off\"\n\
         min_calls = 20\n\
         window = \"10s\"\n\
         open_for = \"5s\"\n\
         open_factor = 2.0\n\
         open_max = \"60s\"\n\
         jitter = 0.1\n\
         probes = 3\n\
         probe_life = \"10s\"\n\
         recovery = \"at_once\"\n\
         on_cancel = \"failure_if_slow\"\n"
    );
    let _ = circuit.update(&toml(&written)).unwrap();
}

type Parse = fn(&str, Format) -> Result<(), String>;

/// Every settings struct, by the document of one with everything set.
fn documents() -> Vec<(Value, Parse)> {
    fn parse<T: DeserializeOwned + Serialize + PartialEq + std::fmt::Debug>(
        text: &str,
        format: Format,
    ) -> Result<(), String> {
        let settings: T = format.parse(text)?;
        // Accepted settings can be written and read again in every format.
        for format in [Format::Json, Format::Toml, Format::Yaml] {
            let again: T = format.parse(&format.write(&settings)).unwrap();
            assert_eq!(again, settings);
        }
        Ok(())
    }
    let queue = json!({ "calls": 8, "max_wait": "50ms" });
    let slow = json!({ "threshold": "1s", "rate": 0.5 });
    let throttle = json!({ "max_tokens": 10, "token_ratio": 0.1 });
    let budget = json!({ "ratio": 0.1, "min_per_second": 1, "ttl": "5s", "throttle": throttle });
    vec![
        (
            json!({ "mode": "enforce", "limit": 64, "queue": queue }),
            parse::<bulkhead::Settings>,
        ),
        (
            json!({
                "mode": "shadow", "failure_rate": 0.5, "slow_calls": slow, "min_calls": 10,
                "consecutive_failures": 4, "window": "100 calls", "open_for": "5s",
                "open_factor": 2.0, "open_max": "1m", "jitter": 0.1, "probes": 3,
                "probe_life": "10s", "recovery": "3 steps over 30s", "on_cancel": "ignore",
            }),
            parse::<circuit_breaker::Settings>,
        ),
        (
            json!({ "mode": "off", "limit": "gradient2 max=40", "on_cancel": "2s" }),
            parse::<load_shed::Settings>,
        ),
        (
            json!({ "mode": "off", "permits": 9, "per": "1m", "burst": 2, "max_wait": "1s" }),
            parse::<rate_limit::Settings>,
        ),
        (
            json!({
                "mode": "off", "attempts": 4, "backoff": "constant 1s, no jitter",
                "budget": budget, "max_retry_after": "1s", "max_ready_wait": "1s",
                "replay_limit": 1_000,
            }),
            parse::<retry::Settings>,
        ),
        (
            json!({
                "timeout": {
                    "mode": "shadow", "timeout": "2s", "whole_body": true, "body_idle": "1s",
                    "timeout_for": { "Orders": "5s", "Orders/Watch": "off" },
                },
                "retry": { "attempts": 4 }, "rate_limit": { "permits": 5, "burst": 2 },
                "circuit_breaker": { "probes": 2, "window": "5s" },
                "bulkhead": { "limit": 64, "queue": queue },
                "attempt_timeout": { "mode": "enforce", "timeout": "500ms" },
            }),
            parse::<mainstay::http::ClientSettings>,
        ),
        (
            json!({
                "timeout": { "timeout": "2s" }, "rate_limit": "off", "load_shed": { "limit": 9 },
                "bulkhead": { "limit": "off" },
            }),
            parse::<mainstay::stack::AnyServerSettings>,
        ),
    ]
}

#[derive(Debug, Clone, Copy)]
enum Format {
    Json,
    Toml,
    Yaml,
}

impl Format {
    fn write<T: Serialize>(self, value: &T) -> String {
        match self {
            Self::Json => serde_json::to_string(value).unwrap(),
            Self::Toml => toml::to_string(value).unwrap(),
            Self::Yaml => serde_yaml_ng::to_string(value).unwrap(),
        }
    }

    fn parse<T: DeserializeOwned>(self, text: &str) -> Result<T, String> {
        match self {
            Self::Json => serde_json::from_str(text).map_err(|error| error.to_string()),
            Self::Toml => toml::from_str(text).map_err(|error| error.to_string()),
            Self::Yaml => serde_yaml_ng::from_str(text).map_err(|error| error.to_string()),
        }
    }
}

/// The paths of all values in a document.
fn paths(value: &Value, path: &str, into: &mut Vec<String>) {
    let Value::Object(fields) = value else {
        return;
    };
    for (name, value) in fields {
        let path = if path.is_empty() {
            name.clone()
        } else {
            format!("{path}.{name}")
        };
        paths(value, &path, into);
        into.push(path);
    }
}

fn at<'a>(value: &'a mut Value, path: &str) -> &'a mut Value {
    path.split('.').fold(value, |value, name| &mut value[name])
}

/// Values that may be wrong anywhere.
fn wrong() -> impl Strategy<Value = Value> {
    prop_oneof![
        any::<i64>().prop_map(|number| json!(number)),
        (-5_000_000..5_000_000_i32).prop_map(|thousandths| json!(f64::from(thousandths) / 1_000.0)),
        any::<bool>().prop_map(|flag| json!(flag)),
        "[ -~]{0,12}".prop_map(|text| json!(text)),
        "[0-9]{1,20}(ns|us|ms|s|m|h|d|y| calls)".prop_map(|text| json!(text)),
        Just(json!([1])),
        Just(json!({ "unknown": 1 })),
        Just(json!({})),
    ]
}

proptest! {
    /// A wrong value is accepted as a valid one, or refused with its path and a reason.
    #[test]
    fn a_mutated_document_is_read_or_refused_with_the_path(
        document in any::<prop::sample::Index>(),
        path in any::<prop::sample::Index>(),
        value in wrong(),
        format in prop::sample::select(vec![Format::Json, Format::Toml, Format::Yaml]),
    ) {
        let documents = documents();
        let (mut document, parse) = document.get(&documents).clone();
        prop_assert_eq!(parse(&format.write(&document), format), Ok(()), "{}", document);
        let mut all = Vec::new();
        paths(&document, "", &mut all);
        let path = path.get(&all).clone();
        *at(&mut document, &path) = value;
        if let Err(error) = parse(&format.write(&document), format) {
            // A value may be refused because of another one: then that is the one that is named.
            let parent = path.split('.').next().unwrap();
            let names_a_path = all.iter().any(|path| error.contains(&format!("{path}: ")))
                || [": ", "."].iter().any(|end| error.contains(&format!("{parent}{end}")));
            prop_assert!(names_a_path, "{path}: {error}");
            let has_rule = ["must be", "expected", "unknown", "requires", "only", "needs", "missing"];
            prop_assert!(has_rule.iter().any(|rule| error.contains(rule)), "{path}: {error}");
        }
    }

    #[test]
    fn any_text_is_refused_without_a_panic(text in "[ -~\n]{0,200}") {
        for format in [Format::Json, Format::Toml, Format::Yaml] {
            for (_, parse) in documents() {
                let _ = parse(&text, format);
            }
        }
    }
}

#[path = "../../examples/settings_schema.rs"]
mod settings_schema;

#[test]
fn the_schema_in_the_docs_is_that_of_the_settings() {
    let written = include_str!("../../docs/settings.schema.json");
    assert_eq!(
        written,
        settings_schema::schema(),
        "`cargo run --example settings_schema` writes it anew"
    );
}

/// A format that is not for people needs no words: each value has its own form.
#[test]
fn a_binary_format_returns_the_same_settings() {
    let mut settings = retry::Settings::default();
    settings.backoff = Some(Backoff::constant(Duration::from_millis(5)));
    settings.budget = None;
    let bytes = postcard::to_allocvec(&settings).unwrap();
    assert_eq!(
        postcard::from_bytes::<retry::Settings>(&bytes).unwrap(),
        settings
    );
    let mut settings = bulkhead::Settings::default();
    settings.queue = Some(bulkhead::QueueSettings::new(3, Duration::from_secs(1)));
    let bytes = postcard::to_allocvec(&settings).unwrap();
    assert_eq!(
        postcard::from_bytes::<bulkhead::Settings>(&bytes).unwrap(),
        settings
    );
}
