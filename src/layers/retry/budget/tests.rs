use std::sync::mpsc;
use std::thread;

use tokio::runtime::Builder;
use tokio::time::advance;

use super::*;
use crate::layers::keyed::Instance as _;
use crate::layers::retry::keyed::Fixed;
use crate::layers::retry::settings::Settings;
use crate::layers::retry::snapshot::Stats;

const SECOND: Duration = Duration::from_secs(1);

/// Runs a test with a new paused clock.
fn paused<R>(test: impl Future<Output = R>) -> R {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build();
    runtime.unwrap().block_on(test)
}

#[test]
fn a_budget_forgets_in_its_time_when_the_clock_goes_back() {
    let budget = RetryBudget::builder().ratio(1.0).min_per_second(0);
    let budget = budget.ttl(10 * SECOND).build().unwrap();
    paused(async {
        advance(3_600 * SECOND).await;
        (0..10).for_each(|_| budget.request(&mut Entry::new()));
        assert_eq!(budget.balance(), 10);
    });
    paused(async {
        (0..5).for_each(|_| budget.request(&mut Entry::new()));
        assert_eq!(budget.balance(), 15);
        advance(5 * SECOND).await;
        (0..3).for_each(|_| budget.request(&mut Entry::new()));
        assert_eq!(budget.balance(), 18);
        advance(6 * SECOND).await;
        assert_eq!(budget.balance(), 3);
        advance(6 * SECOND).await;
        assert_eq!(budget.balance(), 0);
    });
}

#[test]
fn requests_are_counted_on_the_page_that_the_clock_shows() {
    let budget = RetryBudget::builder().ratio(1.0).min_per_second(0);
    let budget = budget.ttl(10 * SECOND).build().unwrap();
    paused(async {
        advance(3_600 * SECOND).await;
        budget.request(&mut Entry::new());
    });
    paused(async {
        // Nothing reads the balance: the first request has to turn the page.
        for _ in 0..30 {
            budget.request(&mut Entry::new());
            advance(SECOND).await;
        }
        assert!((9..=10).contains(&budget.balance()), "{budget:?}");
    });
}

#[test]
fn only_throttling_locks_to_record_a_failure() {
    let budget = RetryBudget::new();
    let locked = budget.0.ledger.lock().unwrap();
    let (done, is_done) = mpsc::channel();
    thread::scope(|scope| {
        scope.spawn(|| {
            budget.record(false);
            budget.record(true);
            budget.failed();
            done.send(())
        });
        let recorded = is_done.recv_timeout(Duration::from_secs(10));
        drop(locked);
        assert_eq!(recorded, Ok(()), "a failure waits for the lock");
    });
    assert_eq!(budget.balance(), RetryBudget::new().balance());

    let throttle = RetryBudget::throttle(2, 1.0).unwrap();
    assert_eq!(throttle.balance(), 1);
    throttle.record(false);
    assert_eq!(throttle.balance(), 0);
    throttle.record(true);
    assert_eq!(throttle.balance(), 1);
}

#[test]
fn a_key_pays_nothing_for_a_retry_that_the_overall_budget_refuses() {
    let settings = |min_per_second| BudgetSettings {
        ratio: 0.0,
        min_per_second,
        ..BudgetSettings::default()
    };
    paused(async {
        let common = Arc::<Common>::default();
        let of_all = Settings {
            budget: Some(settings(1)),
            ..Settings::default()
        };
        let fixed = Fixed {
            budget: None,
            can_retry: true,
        };
        Stats::publish(&common, &fixed, &of_all);
        let new = || RetryBudget::of_key(settings(2), Some(Arc::clone(&common)));
        let (a, b) = (new(), new());
        assert_eq!((a.own_balance(), a.balance()), (20, 10));
        drop(a.withdraw());
        assert_eq!((a.own_balance(), a.balance()), (20, 10), "refunded by both");
        while let Some(payment) = a.withdraw() {
            payment.spend();
        }
        assert_eq!((a.own_balance(), a.balance()), (10, 0));
        assert!(b.withdraw().is_none());
        assert_eq!((b.own_balance(), b.balance()), (20, 0));
    });
}
