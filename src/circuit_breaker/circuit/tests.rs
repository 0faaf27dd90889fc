use super::*;
use crate::name::unnamed::CIRCUIT_BREAKER;

fn settings() -> Settings {
    Settings {
        config: Config {
            consecutive_failures: Some(1),
            ..Config::default()
        },
        origin: &CIRCUIT_BREAKER,
        observer: None,
    }
}

fn admitted(circuit: &Circuit) -> Ticket {
    circuit.admit().expect("closed")
}

#[test]
fn an_outcome_of_an_earlier_tenants_call_counts_for_nobody() {
    let circuit = Circuit::vacant();
    circuit.move_in(settings());
    let (old, watcher) = (admitted(&circuit), circuit.watch());
    assert!(circuit.move_out());
    circuit.move_in(settings());
    for outcome in [Outcome::Failure, Outcome::Success] {
        circuit.record(old, outcome.into(), Time::UNKNOWN, None);
    }
    let snapshot = circuit.look().0;
    assert_eq!((snapshot.state, snapshot.calls), (State::Closed, 0));
    // And who watched the earlier circuit sees its end, not the next one.
    assert!(watcher.has_changed().is_err());
    circuit.record(
        admitted(&circuit),
        Outcome::Failure.into(),
        Time::UNKNOWN,
        None,
    );
    assert_eq!(circuit.state(), State::Open);
}

#[tokio::test(start_paused = true)]
async fn a_call_of_an_earlier_tenant_does_not_tell_the_time_either() {
    let circuit = Circuit::vacant();
    circuit.move_in(settings());
    let old = circuit.admit().expect("closed");
    assert!(circuit.move_out());
    circuit.move_in(settings());
    // The old call lives in a runtime whose clock is far ahead.
    let ahead = std::thread::scope(|scope| {
        let circuit = &circuit;
        let ahead = scope.spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_time()
                .start_paused(true)
                .build()
                .expect("a runtime");
            runtime.block_on(async {
                tokio::time::advance(Duration::from_secs(86_400)).await;
                circuit.record(old, Outcome::Failure.into(), Time::UNKNOWN, None);
            });
        });
        ahead.join()
    });
    ahead.expect("no panic");
    let ticket = circuit.admit().expect("closed");
    circuit.record(ticket, Outcome::Failure.into(), Time::UNKNOWN, None);
    assert_eq!(circuit.state(), State::Open);
    tokio::time::advance(Duration::from_secs(6)).await;
    assert!(matches!(circuit.ask(), Decision::Admit(_)));
}

#[test]
fn nothing_is_lost_between_threads() {
    let circuit = Circuit::vacant();
    circuit.move_in(Settings {
        config: Config {
            failure_rate: Some(1.0),
            window: crate::Window::count(1_000_000),
            ..Config::default()
        },
        origin: &CIRCUIT_BREAKER,
        observer: None,
    });
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for n in 0..20_000 {
                    let outcome = if n % 10 == 0 {
                        Outcome::Failure
                    } else {
                        Outcome::Success
                    };
                    circuit.record(admitted(&circuit), outcome.into(), Time::UNKNOWN, None);
                }
            });
        }
    });
    let snapshot = circuit.look().0;
    assert_eq!((snapshot.calls, snapshot.failures), (80_000, 8_000));
}
