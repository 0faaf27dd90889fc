use super::*;
use crate::layers::rate_limit::KIND;

/// A limit of this many permits a second.
fn limiter(permits: u32, burst: Option<u32>) -> Limiter {
    let settings = Settings {
        permits,
        burst,
        ..Settings::default()
    };
    Limiter::new(settings, true, Emitter::of_default(&KIND))
}

#[tokio::test(start_paused = true)]
async fn an_entry_time_that_was_read_earlier_creates_no_permits() {
    let limiter = limiter(100, None);
    let mut early = Entry::new();
    let _ = early.now();
    tokio::time::advance(Duration::from_millis(500)).await;
    while limiter.admit(&mut Entry::new()).is_ok() {}
    assert_eq!(limiter.available(), 0);
    assert!(limiter.admit(&mut early).is_err());
    assert_eq!(limiter.available(), 0);
}

/// A waiter whose maximum wait has passed is not ahead of its own next attempt, and neither is one
/// that is no longer polled.
#[tokio::test(start_paused = true)]
async fn a_refusal_after_the_wait_counts_only_the_other_waiters() {
    let limiter = limiter(10, Some(1));
    assert!(limiter.admit(&mut Entry::new()).is_ok());
    let join = |until| match limiter.join(until, Waker::noop().clone()) {
        Ok(Joined::Waiter(number)) => number,
        other => panic!("{other:?}"),
    };
    let after = |time| Moment::now().after(time);
    let stuck = join(after(Duration::from_millis(200)));
    let first = join(after(Duration::from_millis(400)));
    let second = join(after(Duration::from_millis(400)));
    let third = join(after(Duration::from_secs(1)));
    assert!(stuck < first && first < second && second < third);

    tokio::time::advance(Duration::from_millis(400)).await;
    // `second` and `third` are ahead of a new call.
    let refusal = limiter.max_wait_passed(first);
    assert_eq!(refusal.reason, Reason::RateLimited);
    assert_eq!(refusal.retry_after, Some(Duration::from_millis(200)));
    limiter.leave(stuck);
    limiter.leave(first);
    let refusal = limiter.max_wait_passed(second);
    assert_eq!(refusal.retry_after, Some(Duration::from_millis(100)));
    limiter.leave(second);
    limiter.leave(third);
    assert_eq!(limiter.retry_after(), None);
    assert!(limiter.admit(&mut Entry::new()).is_ok());
}
