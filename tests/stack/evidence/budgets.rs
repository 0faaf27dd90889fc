//! The same callers in front of a retry that is throttled.

use mainstay::{Context, RetryBudget, RetryLayer, TimeoutLayer};
use tower::{Layer, ServiceExt as _};

use crate::support::{Act, Probe, ms};

#[tokio::test(start_paused = true)]
async fn short_deadlines_do_not_use_up_the_tokens_of_others() {
    for inside in [false, true] {
        let budget = RetryBudget::throttle(10, 0.1).unwrap();
        let retry = RetryLayer::builder()
            .attempts(2)
            .budget(budget.clone())
            .build()
            .unwrap();
        let limit = TimeoutLayer::builder().build().unwrap();
        let service = if inside {
            tower::util::BoxCloneService::new(retry.layer(limit.layer(Probe::default())))
        } else {
            tower::util::BoxCloneService::new(limit.layer(retry.layer(Probe::default())))
        };
        for _ in 0..100 {
            let call = service.clone().oneshot(Act::Hang);
            let _ = Context::current().with_timeout(ms(3)).scope(call).await;
        }
        assert_eq!(budget.balance(), 1, "inside: {inside}");
        // The service itself fails: that counts, whatever the deadline.
        for _ in 0..10 {
            let call = service.clone().oneshot(Act::Fail);
            let _ = Context::current().with_timeout(ms(3_000)).scope(call).await;
        }
        assert_eq!(budget.balance(), 0, "inside: {inside}");
    }
}
