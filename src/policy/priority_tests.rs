use proptest::prelude::*;

use super::*;

fn class() -> impl Strategy<Value = Priority> {
    prop::sample::select(Priority::ALL.to_vec())
}

fn limit() -> impl Strategy<Value = u32> {
    prop_oneof![0..40_u32, 0..2_000_u32, any::<u32>()]
}

/// The permits one by one: each class that is in use has its own, which only it and the classes
/// above it may use, and the rest is for everybody.
struct Naive {
    limit: usize,
    highest: Priority,
    in_flight: Vec<Priority>,
}

impl Naive {
    fn own(&self) -> usize {
        self.limit.div_ceil(10)
    }

    /// Takes the permits of all higher classes away, and looks whether one is left.
    fn admit(&mut self, class: Priority) -> bool {
        self.highest = self.highest.max(class);
        let mut reserved = 0;
        let mut tenths = 0;
        for other in Priority::ALL {
            if other > class && other <= self.highest {
                reserved += 1;
                tenths += self.limit;
            }
        }
        // Tenths of a permit add up, and each class has at least one.
        let whole = (0..).find(|whole| whole * 10 >= tenths).unwrap();
        let free = self.limit.saturating_sub(self.in_flight.len());
        let is_idle = self.limit > 0 && self.in_flight.is_empty();
        let admitted = is_idle || free > reserved.max(whole);
        if admitted {
            self.in_flight.push(class);
        }
        admitted
    }
}

proptest! {
    /// Calls come and go at random.
    #[test]
    fn agrees_with_a_model_that_counts_permits(
        limit in 0..60_u32,
        calls in prop::collection::vec((class(), any::<bool>(), any::<prop::sample::Index>()), 1..400),
    ) {
        let mut naive = Naive { limit: limit as usize, highest: Priority::Normal, in_flight: Vec::new() };
        let (mut highest, mut in_flight) = (Priority::Normal, 0);
        for (class, ends, which) in calls {
            if ends && !naive.in_flight.is_empty() {
                naive.in_flight.swap_remove(which.index(naive.in_flight.len()));
                in_flight -= 1;
            }
            highest = highest.max(class);
            let admitted = in_flight < limit_of(limit, class, highest);
            in_flight += u32::from(admitted);
            prop_assert_eq!(admitted, naive.admit(class));
            prop_assert!(in_flight <= limit);
            prop_assert!(naive.own() <= limit as usize);
        }
    }

    /// At the same load, a class is admitted whenever a lower one is.
    #[test]
    fn a_higher_class_is_never_rejected_while_a_lower_one_is_admitted(
        limit in limit(), highest in class(), in_flight in any::<u32>(),
    ) {
        let admitted = Priority::ALL.map(|class| in_flight < limit_of(limit, class, highest.max(class)));
        // The classes above the highest in use raise it, and so have the whole limit.
        prop_assert!(admitted.is_sorted(), "{admitted:?}");
    }

    /// However many calls of lower classes there are, a class that is in use has a permit left.
    #[test]
    fn a_class_is_never_starved_by_a_lower_one(limit in limit(), class in class(), highest in class()) {
        let highest = highest.max(class);
        let own = limit_of(limit, class, highest);
        prop_assert!(own <= limit);
        for lower in Priority::ALL.into_iter().filter(|lower| *lower < class) {
            let most = limit_of(limit, lower, highest);
            prop_assert!(most < own || limit <= 4, "{lower} takes {most} of {own}");
        }
    }

    #[test]
    fn nobody_loses_anything_without_higher_classes(limit in limit(), class in class()) {
        prop_assert_eq!(limit_of(limit, class, class), limit);
        prop_assert_eq!(limit_of(limit, Priority::High, Priority::Normal), limit);
        prop_assert!(limit_of(limit, class, Priority::Critical) >= limit.min(1), "an idle layer");
    }
}

#[test]
fn the_table_of_the_docs() {
    let shares = |highest| {
        let mut classes = Priority::ALL;
        classes.reverse();
        classes.map(|class| limit_of(200, class, highest) / 2)
    };
    assert_eq!(shares(Priority::Normal)[2..], [100, 90, 80]);
    assert_eq!(shares(Priority::High)[1..], [100, 90, 80, 70]);
    assert_eq!(shares(Priority::Critical), [100, 90, 80, 70, 60]);
}
