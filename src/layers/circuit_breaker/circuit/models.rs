use loom::thread::JoinHandle;

use super::*;
use crate::layers::circuit_breaker::layer::KIND;
use crate::policy::window::Window;
use crate::runtime::striped::models::spawn;

crate::models::models![
    a_success_is_credited_once,
    a_new_epoch_keeps_its_own_successes,
    successes_are_credited_before_a_failure,
    two_failures_open_it_once,
];

/// Opens when two calls or more have failed at this rate.
fn circuit(failure_rate: f64) -> Arc<Circuit> {
    let config = Config {
        failure_rate: Some(failure_rate),
        min_calls: 2,
        window: Window::count(100),
        ..Config::default()
    };
    Arc::new(Circuit::new(config, Emitter::of_default(&KIND), None))
}

fn record(circuit: &Circuit, ticket: Ticket, outcome: Outcome) {
    circuit.record(ticket, outcome.into(), CallTime::UNKNOWN, None);
}

/// Records a success, and returns the epoch it belongs to.
fn succeed(circuit: &Circuit) -> u64 {
    let ticket = circuit
        .try_admit()
        .unwrap_or_else(|| match circuit.decide() {
            Decision::Admit(ticket) => ticket,
            Decision::Reject { .. } => panic!("it is closed"),
        });
    record(circuit, ticket, Outcome::Success);
    ticket.epoch()
}

fn succeeds(circuit: &Arc<Circuit>, thread: usize) -> JoinHandle<u64> {
    let circuit = Arc::clone(circuit);
    spawn(thread, move || succeed(&circuit))
}

/// The call was admitted before.
fn fails(circuit: &Arc<Circuit>, thread: usize) -> JoinHandle<()> {
    let circuit = Arc::clone(circuit);
    let ticket = circuit.try_admit().expect("closed");
    spawn(thread, move || record(&circuit, ticket, Outcome::Failure))
}

fn a_success_is_credited_once() {
    let circuit = circuit(1.0);
    let others = [succeeds(&circuit, 1), succeeds(&circuit, 2)];
    let calls = circuit.inspect().0.calls;
    assert!(calls <= 2, "{calls}");
    for other in others {
        other.join().unwrap();
    }
    assert_eq!(circuit.inspect().0.calls, 2);
    assert_eq!(circuit.inspect().0.calls, 2);
}

/// The gate changes while another thread counts a success, and after the first one.
fn a_new_epoch_keeps_its_own_successes() {
    let circuit = circuit(1.0);
    let old = succeed(&circuit);
    let other = succeeds(&circuit, 1);
    circuit.reset();
    let epochs = [succeed(&circuit), other.join().unwrap()];
    let new = epochs.iter().filter(|epoch| **epoch != old).count() as u64;
    let calls = circuit.inspect().0.calls;
    // A success of the old epoch that is counted while it ends may be in the new one.
    assert!((new..=2).contains(&calls), "{calls} of {new}");
}

/// With the success, two of three calls fail. Without it, all do.
fn successes_are_credited_before_a_failure() {
    let circuit = circuit(0.7);
    succeeds(&circuit, 1).join().unwrap();
    let others = [fails(&circuit, 1), fails(&circuit, 2)];
    let calls = circuit.inspect().0.calls;
    assert!((1..=3).contains(&calls), "{calls}");
    for other in others {
        other.join().unwrap();
    }
    let view = circuit.inspect().0;
    assert_eq!(circuit.state(), State::Closed);
    assert_eq!((view.calls, view.failures), (3, 2));
}

fn two_failures_open_it_once() {
    let circuit = circuit(1.0);
    let others = [fails(&circuit, 1), fails(&circuit, 2)];
    for other in others {
        other.join().unwrap();
    }
    assert_eq!(circuit.state(), State::Open);
    assert!(circuit.rejects() && circuit.try_admit().is_none());
    assert_eq!(circuit.inspect().2.len(), 1);
}
