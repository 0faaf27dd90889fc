use super::*;
use std::panic::panic_any;

/// Panics whenever it is dropped, with itself.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        panic_any(Self);
    }
}

#[test]
fn a_payload_that_panics_when_it_is_dropped_goes_no_further() {
    assert_eq!(isolate(|| 1), Some(1));
    assert_eq!(isolate(|| -> i32 { panic!("a plain one") }), None);
    assert_eq!(isolate(|| -> i32 { panic_any(Bomb) }), None);
}
