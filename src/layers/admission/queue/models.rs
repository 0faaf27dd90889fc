use super::*;
use crate::models::waker;

/// Waits for a permit as a call does, and releases it.
pub(crate) fn wait<A: Queue>(state: Held<A>, acquired: impl FnOnce()) {
    let (mut turn, waker) = (Turn::new(state, Moment::now()), waker());
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
    let _ = Turn::new(state, Moment::now()).poll(
        Moment::NEVER,
        &mut Context::from_waker(&waker()),
        &mut |_| true,
    );
}
