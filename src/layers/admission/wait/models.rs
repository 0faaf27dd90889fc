use super::*;
use crate::models::waker;

fn turn<A: Queue>(state: Held<A>) -> Turn<A> {
    Turn {
        state,
        stage: Stage::New,
        is_counted: false,
        since: Moment::now(),
        is_recorded: false,
        is_not_ready: false,
        is_in_flight: false,
        is_asking: false,
    }
}

/// Waits for a permit as a call does, and releases it.
pub(crate) fn wait<A: Queue>(state: Held<A>, acquired: impl FnOnce()) {
    let (mut turn, waker) = (turn(state), waker());
    loop {
        match turn.poll(Moment::NEVER, &mut Context::from_waker(&waker), &mut |_| {
            true
        }) {
            Ok(result) => {
                assert!(result.is_ok());
                turn.is_counted = true;
                return acquired();
            }
            Err(_) => loom::thread::park(),
        }
    }
}

/// Waits for a permit, and is dropped at once.
pub(crate) fn give_up<A: Queue>(state: Held<A>) {
    let _ = turn(state).poll(
        Moment::NEVER,
        &mut Context::from_waker(&waker()),
        &mut |_| true,
    );
}
