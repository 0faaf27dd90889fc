//! Everything that was ever counted on behalf of an instance, by its number: found without a lock, and never moved.

use std::sync::OnceLock;

use super::handles::Handles;

/// Each segment has room for twice as many as the one before.
const FIRST: usize = 64;
const SEGMENTS: usize = 18;

/// So many there can be.
pub(super) const MOST: usize = FIRST * ((1 << SEGMENTS) - 1);

type Segment = OnceLock<Box<[OnceLock<Handles>]>>;

static TABLE: [Segment; SEGMENTS] = [const { OnceLock::new() }; SEGMENTS];

/// The segment of a number, and its place there.
const fn place(number: usize) -> (usize, usize) {
    let segment = (number / FIRST + 1).ilog2() as usize;
    (segment, number - FIRST * ((1 << segment) - 1))
}

#[inline]
pub(super) fn get(number: usize) -> Option<&'static Handles> {
    let (segment, place) = place(number);
    TABLE.get(segment)?.get()?.get(place)?.get()
}

/// Each number once.
pub(super) fn put(number: usize, handles: Handles) {
    let (segment, place) = place(number);
    let Some(cell) = TABLE.get(segment) else {
        return;
    };
    let places = cell.get_or_init(|| (0..FIRST << segment).map(|_| OnceLock::new()).collect());
    if let Some(cell) = places.get(place) {
        let _ = cell.set(handles);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_has_a_place_of_its_own() {
        let mut next = (0, 0);
        for number in 0..100_000 {
            let (segment, at) = place(number);
            assert_eq!((segment, at), next, "{number}");
            next = (segment, at + 1);
            if next.1 == FIRST << segment {
                next = (segment + 1, 0);
            }
        }
        let (last, at) = place(MOST - 1);
        assert_eq!((last, at), (SEGMENTS - 1, (FIRST << last) - 1));
        assert_eq!(place(MOST).0, SEGMENTS);
    }
}
