use super::*;

#[test]
fn the_limit_applies_to_copies_but_not_to_shared_buffers() {
    assert!(String::from("four").keep(4).is_some());
    assert!(String::from("fives").keep(4).is_none());
    assert!(vec![0_u8; 4].keep(4).is_some());
    assert!(vec![0_u8; 5].keep(4).is_none());
    assert!(Bytes::from_static(b"fives").keep(4).is_some());
    assert!("fives".keep(4).is_some());
}
