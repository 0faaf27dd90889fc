use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);

/// Keeps every deposit and withdrawal, and sums up those that have not expired, in millionths.
struct Model {
    width: u128,
    reserve: i128,
    deposit: i128,
    now: Duration,
    /// When, and how much; a refund removes its withdrawal.
    entries: Vec<(Duration, i128)>,
}

impl Model {
    fn left(&self) -> i128 {
        let number = |at: Duration| at.as_nanos() / self.width;
        let recent = self
            .entries
            .iter()
            .filter(|(at, _)| number(*at) + 10 > number(self.now));
        self.reserve + recent.map(|(_, amount)| amount).sum::<i128>()
    }
}

#[derive(Debug, Clone)]
enum Step {
    Pass(u32),
    Back(u32),
    Deposit,
    Credit(u64),
    Withdraw,
    Refund(prop::sample::Index),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0..60_u32).prop_map(Step::Pass),
        1 => (0..2_000_u32).prop_map(Step::Pass),
        1 => (0..5_u32).prop_map(Step::Back),
        8 => Just(Step::Deposit),
        1 => (0..20_u64).prop_map(Step::Credit),
        8 => Just(Step::Withdraw),
        2 => any::<prop::sample::Index>().prop_map(Step::Refund),
    ]
}

/// Ratios in thousandths, which are exact in millionths.
fn config() -> impl Strategy<Value = (u32, BudgetConfig)> {
    (1..2_500_u32, 0..8_u32, 10..100_u32).prop_map(|(thousandths, min_per_second, tenths)| {
        let config = BudgetConfig {
            ratio: f64::from(thousandths) / 1_000.0,
            min_per_second,
            ttl: MS * 10 * tenths,
        };
        (thousandths, config)
    })
}

proptest! {
    #[test]
    fn agrees_with_a_model_that_keeps_everything(
        (thousandths, config) in config(),
        steps in prop::collection::vec(step(), 0..300),
    ) {
        prop_assert_eq!(config.check(), Ok(()));
        let mut now = MS * 3;
        let mut budget = Budget::new(&config, now);
        let mut model = Model {
            width: config.ttl.as_nanos() / 10,
            reserve: i128::from(config.min_per_second) * config.ttl.as_millis() as i128 * 1_000,
            deposit: i128::from(thousandths) * 1_000,
            now,
            entries: Vec::new(),
        };
        let mut withdrawals = Vec::new();
        for step in steps {
            match step {
                Step::Pass(ms) => now += MS * ms,
                Step::Back(ms) => now = now.saturating_sub(MS * ms),
                Step::Deposit => {
                    budget.deposit(now);
                    model.now = model.now.max(now);
                    model.entries.push((model.now, model.deposit));
                }
                Step::Credit(deposits) => {
                    budget.credit(deposits);
                    model.entries.push((model.now, model.deposit * i128::from(deposits)));
                }
                Step::Withdraw => {
                    model.now = model.now.max(now);
                    let expected = model.left() >= RETRY;
                    let withdrawal = budget.try_withdraw(now);
                    prop_assert_eq!(withdrawal.is_some(), expected);
                    if let Some(withdrawal) = withdrawal {
                        withdrawals.push((withdrawal, model.entries.len()));
                        model.entries.push((model.now, -RETRY));
                    }
                }
                Step::Refund(which) if !withdrawals.is_empty() => {
                    let which = which.index(withdrawals.len());
                    let (withdrawal, entry) = withdrawals.swap_remove(which);
                    model.now = model.now.max(now);
                    model.entries[entry].1 = 0;
                    budget.refund(now, withdrawal);
                }
                Step::Refund(_) => {}
            }
            model.now = model.now.max(now);
            prop_assert_eq!(budget.balance(now), (model.left().max(0) / RETRY) as u64);
            prop_assert!(budget.ends() > model.now);
        }
    }

    #[test]
    fn n_requests_never_pay_for_more_than_their_share_and_the_reserve(
        (thousandths, config) in config(),
        requests in 0..5_000_u64,
        retries_each in 0..5_u32,
    ) {
        let mut budget = Budget::new(&config, Duration::ZERO);
        let mut retries = 0;
        // All within nine tenths of the time to live, so that nothing is forgotten.
        for n in 0..requests {
            let now = config.ttl.mul_f64(0.9 * n as f64 / requests as f64);
            budget.deposit(now);
            for _ in 0..retries_each {
                retries += u64::from(budget.try_withdraw(now).is_some());
            }
        }
        let reserve = u64::from(config.min_per_second) * config.ttl.as_millis() as u64;
        prop_assert!(retries * 1_000 <= requests * u64::from(thousandths) + reserve);
    }
}

#[test]
fn ten_thousand_requests_that_each_want_a_retry_get_two_thousand_and_the_reserve() {
    let mut budget = Budget::new(&BudgetConfig::default(), Duration::ZERO);
    let mut granted = 0;
    for _ in 0..10_000 {
        budget.deposit(Duration::ZERO);
        granted += u32::from(budget.try_withdraw(Duration::ZERO).is_some());
    }
    assert_eq!(granted, 2_000 + 100);
}

#[test]
fn sixty_per_cent_is_not_rounded() {
    let config = BudgetConfig {
        ratio: 0.6,
        min_per_second: 0,
        ..BudgetConfig::default()
    };
    let mut budget = Budget::new(&config, Duration::ZERO);
    budget.credit(1_000);
    assert_eq!(budget.balance(Duration::ZERO), 600);
}

#[test]
fn silence_forgets_everything_but_the_reserve() {
    let mut budget = Budget::new(&BudgetConfig::default(), Duration::ZERO);
    budget.credit(1_000);
    assert_eq!(budget.balance(Duration::ZERO), 300);
    assert_eq!(budget.balance(Duration::from_secs(10)), 100);
    while budget.try_withdraw(Duration::from_secs(10)).is_some() {}
    assert_eq!(
        budget.balance(Duration::from_secs(19)),
        0,
        "a burst cannot spend it twice"
    );
    assert_eq!(budget.balance(Duration::from_secs(1_000_000)), 100);
}

#[test]
fn a_refund_restores_what_was_there_and_never_more() {
    let mut budget = Budget::new(&BudgetConfig::default(), Duration::ZERO);
    let withdrawal = budget.try_withdraw(Duration::ZERO).expect("the reserve");
    assert_eq!(budget.balance(Duration::ZERO), 99);
    budget.refund(Duration::ZERO, withdrawal);
    assert_eq!(budget.balance(Duration::ZERO), 100);
    let withdrawal = budget.try_withdraw(Duration::ZERO).expect("the reserve");
    let late = Duration::from_secs(60);
    budget.refund(late, withdrawal);
    assert_eq!(budget.balance(late), 100, "it was forgotten already");
}

#[test]
fn any_numbers_are_survived() {
    let mut budget = Budget::new(&BudgetConfig::default(), Duration::MAX);
    budget.credit(u64::MAX);
    budget.credit(u64::MAX);
    assert!(budget.try_withdraw(Duration::MAX).is_some());
    assert!(budget.balance(Duration::ZERO) > 0);
}

#[test]
fn invalid_budgets_are_refused() {
    let config = BudgetConfig::default();
    let refused = |config: BudgetConfig| config.check().expect_err("refused").field().to_owned();
    for ratio in [-0.1, f64::NAN, f64::INFINITY, 1_000.1, 0.000_000_1] {
        assert_eq!(refused(BudgetConfig { ratio, ..config }), "ratio");
    }
    for ttl in [Duration::ZERO, MS * 99, Duration::MAX] {
        assert_eq!(refused(BudgetConfig { ttl, ..config }), "ttl");
    }
    let min_per_second = u32::MAX;
    assert_eq!(
        refused(BudgetConfig {
            min_per_second,
            ..config
        }),
        "min_per_second"
    );
    let nothing = BudgetConfig {
        ratio: 0.0,
        min_per_second: 0,
        ..config
    };
    assert_eq!(refused(nothing), "ratio");
    assert_eq!(
        BudgetConfig {
            ratio: 0.0,
            ..config
        }
        .check(),
        Ok(())
    );
}
