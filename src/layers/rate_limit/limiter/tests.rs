use super::*;
use crate::layers::rate_limit::KIND;

#[tokio::test(start_paused = true)]
async fn an_entry_time_that_was_read_earlier_creates_no_permits() {
    let rate = Rate::new(100, Duration::from_secs(1));
    let limiter = Limiter::new(rate, false, Emitter::of_default(&KIND));
    let mut early = Entry::new();
    let _ = early.now();
    tokio::time::advance(Duration::from_millis(500)).await;
    while limiter.admit(&mut Entry::new()).is_ok() {}
    assert_eq!(limiter.available(), 0);
    assert!(limiter.admit(&mut early).is_err());
    assert_eq!(limiter.available(), 0);
}
