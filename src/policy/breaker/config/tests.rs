use super::*;
use crate::policy::breaker::Config;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);
const MS: Duration = Duration::from_millis(1);

fn refused(change: impl FnOnce(&mut Config)) -> String {
    let mut config = Config::default();
    change(&mut config);
    let error = config.check().expect_err("refused");
    assert_eq!(error.component(), "circuit_breaker");
    assert!(!error.rule().is_empty());
    error.field().to_owned()
}

#[test]
fn the_defaults_are_accepted() {
    assert_eq!(Config::default().check(), Ok(()));
}

#[test]
fn invalid_shares_are_refused() {
    for value in [
        0.0,
        -0.1,
        1.000_1,
        f64::NAN,
        f64::INFINITY,
        f64::NEG_INFINITY,
    ] {
        assert_eq!(refused(|c| c.failure_rate = Some(value)), "failure_rate");
        assert_eq!(
            refused(|c| c.slow_calls = Some(SlowCalls::new(MS, value))),
            "slow_calls"
        );
    }
    for value in [-0.1, 1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(refused(|c| c.jitter = value), "jitter");
    }
    for value in [0.9, 0.0, -2.0, 1_001.0, f64::NAN, f64::INFINITY] {
        assert_eq!(refused(|c| c.open_factor = value), "open_factor");
    }
}

#[test]
fn durations_that_wedge_or_overflow_are_refused() {
    for value in [
        Duration::ZERO,
        Duration::from_nanos(1),
        DAY + MS,
        Duration::MAX,
    ] {
        assert_eq!(refused(|c| c.open_for = value), "open_for");
        assert_eq!(refused(|c| c.open_max = value), "open_max");
        assert_eq!(refused(|c| c.probe_life = Some(value)), "probe_life");
        assert_eq!(
            refused(|c| c.slow_calls = Some(SlowCalls::new(value, 0.5))),
            "slow_calls"
        );
        assert_eq!(refused(|c| c.window = Window::time(value)), "window");
        let recovery = Recovery::Stepwise {
            steps: 1,
            over: value,
        };
        assert_eq!(refused(|c| c.recovery = recovery), "recovery");
    }
    for value in [DAY + MS, Duration::MAX] {
        let on_cancel = Some(OnCancel::FailureAfter(value));
        assert_eq!(refused(|c| c.on_cancel = on_cancel), "on_cancel");
    }
}

#[test]
fn counts_that_wedge_are_refused() {
    assert_eq!(refused(|c| c.min_calls = 0), "min_calls");
    assert_eq!(refused(|c| c.min_calls = u32::MAX), "min_calls");
    assert_eq!(
        refused(|c| c.consecutive_failures = Some(0)),
        "consecutive_failures"
    );
    assert_eq!(refused(|c| c.probes = 0), "probes");
    assert_eq!(refused(|c| c.probes = 10_001), "probes");
    assert_eq!(refused(|c| c.probes = u32::MAX), "probes");
    for steps in [0, 1_001, u32::MAX] {
        let recovery = Recovery::Stepwise { steps, over: DAY };
        assert_eq!(refused(|c| c.recovery = recovery), "recovery");
    }
}

#[test]
fn contradictions_are_refused() {
    assert_eq!(refused(|c| c.failure_rate = None), "failure_rate");
    assert_eq!(refused(|c| c.window = Window::count(19)), "min_calls");
    assert_eq!(
        refused(|c| c.open_for = Duration::from_secs(61)),
        "open_max"
    );
    let slow = Some(SlowCalls::new(Duration::from_secs(11), 0.5));
    let life = Some(Duration::from_secs(10));
    assert_eq!(
        refused(|c| (c.slow_calls, c.probe_life) = (slow, life)),
        "probe_life"
    );
    let config = Config {
        slow_calls: slow,
        ..Config::default()
    };
    assert_eq!(config.check(), Ok(()));
    assert_eq!(config.probe_life(), Duration::from_secs(11));
}

#[test]
fn one_rule_is_enough_and_a_minimum_without_a_rate_is_no_contradiction() {
    let config = Config {
        failure_rate: None,
        consecutive_failures: Some(5),
        window: Window::count(5),
        ..Config::default()
    };
    assert_eq!(config.check(), Ok(()));
}
