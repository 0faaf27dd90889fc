use super::*;
use proptest::prelude::*;

const SECOND: Duration = Duration::from_secs(1);

#[tokio::test(start_paused = true)]
async fn a_reading_that_waited_for_the_lock_moves_nothing() {
    let begun = Moment::now();
    let mut time = Timeline::new(begun);
    tokio::time::advance(SECOND).await;
    let now = Moment::now();
    assert_eq!(time.at(now), now.since_origin());
    assert_eq!(time.at(begun), now.since_origin());
    assert_eq!(time.at(now), now.since_origin());
    assert_eq!(time.moment(now.since_origin()), now);
}

#[test]
fn time_goes_on_from_where_it_stood_when_the_clock_goes_back() {
    let mut time = Timeline::new(Moment::now());
    let ahead = Moment::now().after(3_600 * SECOND);
    let stood = time.at(ahead);
    assert_eq!(stood, ahead.since_origin());
    let now = Moment::now();
    assert_eq!(time.at(now), stood);
    let later = now.after(SECOND);
    let went = time.at(later) - stood;
    // The clock was read again meanwhile.
    assert!(went > SECOND / 2 && went <= SECOND, "{went:?}");
    let shown = time.moment(stood + 2 * SECOND);
    assert!(shown > later && shown <= later.after(2 * SECOND));
    assert_eq!(time.moment(Duration::MAX), Moment::NEVER);
}

proptest! {
    #[test]
    fn it_never_goes_back(readings in prop::collection::vec(0..u64::MAX / 2, 1..50)) {
        let mut time = Timeline::new(Moment(0));
        let mut before = Duration::ZERO;
        for reading in readings {
            let now = time.at(Moment(reading));
            prop_assert!(now >= before);
            before = now;
        }
    }
}
