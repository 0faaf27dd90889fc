use super::*;

#[test]
fn a_clone_can_be_sent_any_number_of_times() {
    let mut kept = Cloned.keep(&mut "request", 0).unwrap();
    assert_eq!(Cloned.again(&mut kept), Ok("request"));
    assert_eq!(Cloned.again(&mut kept), Ok("request"));
}

#[test]
fn a_copy_that_cannot_be_copied_is_sent_once() {
    let replay = ClonedBy(|left: &u32| left.checked_sub(1));
    assert_eq!(replay.keep(&mut 0, 0), None);
    let mut kept = replay.keep(&mut 2, 0).unwrap();
    assert_eq!(replay.again(&mut kept), Ok(0));
    let mut last = replay.keep(&mut 1, 0).unwrap();
    assert_eq!(replay.again(&mut last), Ok(0));
    assert_eq!(replay.again(&mut last), Err(RetryRefused::Body));
}
