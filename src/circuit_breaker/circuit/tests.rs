use super::*;
use crate::name::unnamed::CIRCUIT_BREAKER;

fn admitted(circuit: &Circuit) -> Ticket {
    circuit.pass().expect("closed")
}

#[test]
fn nothing_is_lost_between_threads() {
    let circuit = Circuit::new(Settings {
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
