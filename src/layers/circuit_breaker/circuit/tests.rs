use super::super::layer::KIND;
use super::*;

fn circuit(config: Config) -> Circuit {
    Circuit::new(config, Emitter::of_default(&KIND), None)
}

fn admitted(circuit: &Circuit) -> Ticket {
    circuit.try_admit().expect("closed")
}

#[test]
fn nothing_is_lost_between_threads() {
    let circuit = circuit(Config {
        failure_rate: Some(1.0),
        window: crate::policy::window::Window::count(1_000_000),
        ..Config::default()
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
                    circuit.record(admitted(&circuit), outcome.into(), CallTime::UNKNOWN, None);
                }
            });
        }
    });
    let snapshot = circuit.inspect().0;
    assert_eq!((snapshot.calls, snapshot.failures), (80_000, 8_000));
}

/// After an inspection, successes may be counted without the lock. They are credited, too.
#[tokio::test(start_paused = true)]
async fn successes_after_an_inspection_are_credited() {
    let circuit = circuit(Config {
        min_calls: 2,
        ..Config::default()
    });
    let record = |outcome: Outcome| {
        circuit.record(admitted(&circuit), outcome.into(), CallTime::UNKNOWN, None);
    };
    // From now on a success could open it.
    record(Outcome::Failure);
    tokio::time::advance(Duration::from_secs(20)).await;
    assert_eq!(circuit.inspect().0.calls, 0);
    (0..100).for_each(|_| record(Outcome::Success));
    record(Outcome::Failure);
    record(Outcome::Failure);
    assert_eq!(circuit.state(), State::Closed);
    let view = circuit.inspect().0;
    assert_eq!((view.calls, view.failures), (102, 2));
}

/// A success that another thread counts during a reset belongs to the calls that the reset forgets.
#[test]
fn a_reset_forgets_the_successes_that_are_counted_meanwhile() {
    let circuit = circuit(Config {
        window: crate::policy::window::Window::count(100),
        ..Config::default()
    });
    let ticket = admitted(&circuit);
    circuit.with(|breaker, now| {
        circuit.record(ticket, Outcome::Success.into(), CallTime::UNKNOWN, None);
        ((), breaker.reset(now))
    });
    assert_eq!(circuit.inspect().0.calls, 0);
    circuit.record(
        admitted(&circuit),
        Outcome::Success.into(),
        CallTime::UNKNOWN,
        None,
    );
    assert_eq!(circuit.inspect().0.calls, 1);
}
