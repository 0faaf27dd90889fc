use super::*;

#[test]
fn every_clone_reaches_the_same_state() {
    let layer = Shared::new(7);
    let mut service = layer.clone();
    let (first, second, third) = (service.hold(), service.hold(), service.hold());
    let mut other = service.clone();
    let fourth = other.hold();
    for held in [&first, &second, &third, &fourth] {
        assert!(std::ptr::eq::<i32>(&**held, &*layer));
    }
}

#[test]
fn a_service_called_twice_counts_in_a_lane_of_its_own() {
    let layer = Shared::new(());
    let mut service = layer.clone();
    assert!(Arc::ptr_eq(&service.hold().0, &layer.lane));
    let lane = service.hold().0;
    assert!(!Arc::ptr_eq(&lane, &layer.lane));
    assert!(Arc::ptr_eq(&lane, &service.hold().0));
}

#[test]
fn the_state_lives_as_long_as_anyone_holds_it() {
    let mut service = Shared::new(Arc::new(()));
    let state = Arc::downgrade(&service);
    let (first, second) = (service.hold(), service.hold());
    drop((service, first));
    assert!(state.upgrade().is_some());
    drop(second);
    assert!(state.upgrade().is_none());
}
