use proptest::prelude::*;

use super::*;

const MS: Duration = Duration::from_millis(1);

/// Keeps every outcome, and counts those in the window on demand.
struct Model {
    window: Window,
    now: Duration,
    records: Vec<(Duration, bool, bool)>,
}

impl Model {
    fn advance(&mut self, now: Duration) {
        self.now = self.now.max(now);
    }

    fn record(&mut self, failed: bool, slow: bool) {
        self.records.push((self.now, failed, slow));
    }

    fn counts(&self) -> Counts {
        let inside: Vec<_> = match self.window.extent {
            Extent::Count(size) => self.records.iter().rev().take(size as usize).collect(),
            Extent::Time(span) => {
                let buckets = u128::from(self.window.buckets.unwrap_or(10));
                let width = span.as_nanos() / buckets;
                let current = self.now.as_nanos() / width;
                self.records
                    .iter()
                    .filter(|(at, ..)| at.as_nanos() / width + buckets > current)
                    .collect()
            }
        };
        Counts {
            calls: inside.len() as u64,
            failures: inside.iter().filter(|r| r.1).count() as u64,
            slow: inside.iter().filter(|r| r.2).count() as u64,
        }
    }
}

#[derive(Debug, Clone)]
enum Step {
    /// Milliseconds that pass, possibly back.
    Pass(i32),
    Record {
        failed: bool,
        slow: bool,
    },
    Credit(u64),
    Roll,
    Clear,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (-3..40).prop_map(Step::Pass),
        1 => (0..5_000).prop_map(Step::Pass),
        8 => (any::<bool>(), any::<bool>())
            .prop_map(|(failed, slow)| Step::Record { failed, slow }),
        3 => (0_u64..30).prop_map(Step::Credit),
        1 => Just(Step::Roll),
        1 => Just(Step::Clear),
    ]
}

fn window() -> impl Strategy<Value = Window> {
    prop_oneof![
        (1_u32..20).prop_map(Window::count),
        (1_u32..13, 1_u32..30)
            .prop_map(|(buckets, each)| Window::time(MS * buckets * each).buckets(buckets)),
        Just(Window::time(Duration::from_micros(1_000_007) / 3).buckets(7)),
    ]
}

proptest! {
    #[test]
    fn counts_what_a_model_that_keeps_everything_counts(
        window in window(),
        start in 0_u64..100,
        steps in prop::collection::vec(step(), 0..200),
    ) {
        prop_assert!(window.check("test").is_ok());
        let mut now = MS * start as u32;
        let mut samples = Samples::new(&window, now);
        let mut model = Model { window, now, records: Vec::new() };
        for step in steps {
            match step {
                Step::Pass(ms) if ms < 0 => now = now.saturating_sub(MS * ms.unsigned_abs()),
                Step::Pass(ms) => now += MS * ms.unsigned_abs(),
                Step::Record { failed, slow } => {
                    samples.record(now, failed, slow);
                    model.advance(now);
                    model.record(failed, slow);
                }
                Step::Credit(successes) => {
                    samples.credit(successes);
                    for _ in 0..successes {
                        model.record(false, false);
                    }
                }
                Step::Roll => {
                    samples.roll(now);
                    model.advance(now);
                }
                Step::Clear => {
                    samples.clear(now);
                    model.advance(now);
                    model.records.clear();
                }
            }
            if window.capacity().is_none() {
                // The model looks at its own time, which only moves on a record or a roll.
                prop_assert!(samples.ends() > model.now);
            }
            prop_assert_eq!(samples.counts(), model.counts());
        }
    }
}

#[test]
fn ten_failures_fill_a_window_of_ten_after_ten_thousand_successes() {
    let mut samples = Samples::new(&Window::count(10), Duration::ZERO);
    for _ in 0..10_000 {
        samples.record(Duration::ZERO, false, false);
    }
    for _ in 0..10 {
        samples.record(Duration::ZERO, true, false);
    }
    assert_eq!(samples.counts().failure_rate(), Some(1.0));
}

#[test]
fn a_count_window_stays_exact_when_its_positions_wrap() {
    let mut samples = CountSamples::new(3);
    samples.next = u32::MAX - 1;
    for expected in [1, 2, 3, 3, 3, 3] {
        samples.record(true, true);
        assert_eq!(samples.counts().failures, expected);
    }
    samples.credit(1);
    assert_eq!(
        samples.counts(),
        Counts {
            calls: 3,
            failures: 2,
            slow: 2
        }
    );
    samples.credit(2);
    assert_eq!(samples.counts(), Counts::successes(3));
}

#[test]
fn any_number_of_successes_can_be_credited_at_once() {
    for window in [Window::count(5), Window::default()] {
        let mut samples = Samples::new(&window, Duration::ZERO);
        samples.record(Duration::ZERO, true, true);
        samples.credit(u64::MAX);
        samples.credit(u64::MAX);
        assert!(samples.counts().calls >= 5);
        samples.record(Duration::ZERO, true, true);
        assert!(samples.counts().failures >= 1);
    }
}

#[test]
fn memory_is_bounded_by_the_window() {
    let mut samples = CountSamples::new(100);
    for _ in 0..100_000 {
        samples.record(true, true);
    }
    assert!(samples.failures.capacity() <= 256 && samples.slow.capacity() <= 256);
}

#[test]
fn nothing_survives_a_long_silence() {
    let mut samples = Samples::new(&Window::default(), Duration::ZERO);
    samples.record(Duration::ZERO, true, true);
    samples.roll(Duration::from_secs(9));
    assert_eq!(samples.counts().failures, 1);
    samples.roll(Duration::from_secs(10));
    assert_eq!(samples.counts(), Counts::default());
    samples.record(Duration::from_secs(10), true, true);
    samples.roll(Duration::from_secs(1_000_000_000));
    assert_eq!(samples.counts(), Counts::default());
}

#[test]
fn the_end_of_time_is_survived() {
    let mut samples = Samples::new(&Window::time(MS).buckets(1), Duration::MAX);
    samples.record(Duration::MAX, true, false);
    samples.record(Duration::ZERO, true, false);
    samples.roll(Duration::MAX);
    assert_eq!(samples.counts().failures, 2);
    assert!(samples.ends() < Duration::MAX, "nobody may wait for it");
}

#[test]
fn seven_in_a_hundred_is_seven_per_cent() {
    assert_eq!(rate(7, 100), Some(0.07));
    assert_eq!(rate(0, 0), None);
}

#[test]
fn invalid_windows_are_refused() {
    let day = Duration::from_secs(24 * 60 * 60);
    for (window, field) in [
        (Window::count(0), "window"),
        (Window::count(1_000_001), "window"),
        (Window::count(u32::MAX), "window"),
        (Window::count(10).buckets(10), "buckets"),
        (Window::time(Duration::ZERO), "window"),
        (Window::time(MS * 9), "window"),
        (Window::time(day + MS), "window"),
        (Window::time(Duration::MAX), "window"),
        (Window::default().buckets(0), "buckets"),
        (Window::default().buckets(121), "buckets"),
    ] {
        assert_eq!(
            window.check("test").unwrap_err().field(),
            field,
            "{window:?}"
        );
    }
    for window in [
        Window::count(1),
        Window::count(1_000_000),
        Window::time(MS * 10),
        Window::time(day).buckets(120),
    ] {
        assert_eq!(window.check("test"), Ok(()));
    }
}
