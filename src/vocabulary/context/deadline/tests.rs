use super::*;
use crate::runtime::nanos;

const SECOND: Duration = Duration::from_secs(1);

#[test]
fn of_two_deadlines_each_part_is_the_earlier_one() {
    let now = Moment::now();
    let set = Deadline::of_limit(now, nanos(2 * SECOND), true);
    let default = Deadline::of_limit(now, nanos(SECOND), false);
    let foreign = Deadline::foreign(now.after(3 * SECOND));

    for both in [set.and(default), default.and(set)] {
        assert_eq!(both.propagated(), now.after(2 * SECOND));
        assert_eq!(both.local(), now.after(SECOND));
        assert_eq!(both.limit(), Some(SECOND));
    }
    for both in [foreign.and(default), default.and(foreign)] {
        assert_eq!(both.propagated(), now.after(3 * SECOND));
        assert_eq!(both.local(), now.after(SECOND));
        assert_eq!(both.limit(), Some(SECOND));
    }
    let short = Deadline::foreign(now.after(SECOND / 2));
    for both in [short.and(set).and(default), default.and(set).and(short)] {
        assert_eq!(both, short);
        assert_eq!(both.limit(), None);
    }
}

#[test]
fn a_limit_beyond_the_end_of_the_clock_is_none() {
    let endless = Deadline::of_limit(Moment::now(), nanos(Duration::MAX), true);
    assert_eq!(endless, Deadline::NEVER);
    assert_eq!(Deadline::NEVER.limit(), None);
    let set = Deadline::of_limit(Moment::now(), nanos(SECOND), true);
    assert_eq!(Deadline::NEVER.and(set), set);
}
