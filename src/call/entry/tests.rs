use super::*;

#[tokio::test(start_paused = true)]
async fn it_is_passed_to_one_service_and_taken_once() {
    let (one, other) = (1_u64, 2_u64);
    let mut entry = Entry::new();
    let now = entry.now();
    tokio::time::advance(std::time::Duration::from_secs(1)).await;
    let later = Moment::now();
    let passed = entry.pass_on(&one);
    assert_eq!(Entry::of(&other).now(), later);
    assert_eq!(Entry::of(&one).now(), now);
    assert_eq!(Entry::of(&one).now(), later);
    drop(passed);
    drop(entry.pass_on(&one));
    assert_eq!(Entry::of(&one).now(), later);
}

#[tokio::test(start_paused = true)]
async fn a_wrapper_at_the_same_address_is_another_service() {
    struct Wrapper(u64);
    let wrapper = Wrapper(1);
    let mut entry = Entry::new();
    let now = entry.now();
    tokio::time::advance(std::time::Duration::from_secs(1)).await;
    let passed = entry.pass_on(&wrapper);
    assert_eq!(Entry::of(&wrapper.0).now(), Moment::now());
    assert_eq!(Entry::of(&wrapper).now(), now);
    drop(passed);
}

#[test]
fn an_unread_time_is_not_passed_on() {
    let service = 1_u64;
    let passed = Entry::new().pass_on(&service);
    assert_eq!(Entry::of(&service).0, Moment::NEVER);
    drop(passed);
}
