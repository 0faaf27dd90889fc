use std::sync::Arc;

use loom::thread::{self, JoinHandle};

use super::*;
use crate::models::waker;

crate::models::models![
    the_next_in_line_is_woken,
    the_next_in_line_is_woken_where_others_give_up,
];

fn join(line: &Line) -> u64 {
    let joined = line.join(Waker::noop().clone(), |_| Ok::<_, ()>(()));
    joined.unwrap()
}

/// Waits to be the first, and leaves the line.
fn wait(line: &Arc<Line>, number: u64) -> JoinHandle<()> {
    let line = Arc::clone(line);
    thread::spawn(move || {
        let waker = waker();
        while !line.is_first(number, &waker) {
            thread::park();
        }
        line.leave(number);
    })
}

fn the_next_in_line_is_woken() {
    let line = Arc::new(Line::default());
    let first = join(&line);
    let others = [wait(&line, join(&line)), wait(&line, join(&line))];
    line.leave(first);
    for other in others {
        other.join().unwrap();
    }
    assert_eq!(line.len(), 0);
}

fn the_next_in_line_is_woken_where_others_give_up() {
    let line = Arc::new(Line::default());
    let (first, second, third) = (join(&line), join(&line), join(&line));
    let waits = wait(&line, third);
    let gives_up = {
        let line = Arc::clone(&line);
        thread::spawn(move || {
            line.is_first(second, &waker());
            line.leave(second);
        })
    };
    line.leave(first);
    gives_up.join().unwrap();
    waits.join().unwrap();
    assert_eq!(line.len(), 0);
}
