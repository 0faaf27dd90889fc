use super::*;

#[test]
fn a_number_is_used_again_when_its_thread_is_gone() {
    for _ in 0..200 {
        std::thread::scope(|scope| {
            scope.spawn(this_thread);
        });
    }
    // Other tests run at the same time and hold numbers, too.
    let highest = FREE.lock().unwrap().next;
    assert!(highest < 200, "{highest} numbers for 200 threads in turn");
}
