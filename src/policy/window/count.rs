//! The last n outcomes. Successes are only counted; failures and slow calls are stored by position,
//! because only the *number* of successes between them matters.

use std::collections::VecDeque;

use super::Counts;

#[derive(Debug, Clone)]
pub(crate) struct CountSamples {
    size: u32,
    /// The outcomes in the window, at most `size`.
    calls: u32,
    /// The position of the next outcome. It wraps: only differences count, and they are at most
    /// `size`.
    pub(super) next: u32,
    pub(super) failures: VecDeque<u32>,
    pub(super) slow: VecDeque<u32>,
}

impl CountSamples {
    pub(super) fn new(size: u32) -> Self {
        Self {
            size,
            calls: 0,
            next: 0,
            failures: VecDeque::new(),
            slow: VecDeque::new(),
        }
    }

    /// Takes the newest outcomes of another window, as many as fit.
    pub(super) fn take_newest(&mut self, from: &Self) {
        self.next = from.next;
        self.calls = from.calls.min(self.size);
        self.failures.clone_from(&from.failures);
        self.slow.clone_from(&from.slow);
        self.advance(0);
    }

    pub(super) fn record(&mut self, failed: bool, slow: bool) {
        // First drop the oldest, so that a deque never grows beyond the window.
        self.advance(1);
        let position = self.next.wrapping_sub(1);
        if failed {
            self.failures.push_back(position);
        }
        if slow {
            self.slow.push_back(position);
        }
    }

    pub(super) fn credit(&mut self, successes: u64) {
        match u32::try_from(successes) {
            Ok(successes) if successes < self.size => self.advance(successes),
            // They replace all earlier outcomes.
            _ => {
                self.failures.clear();
                self.slow.clear();
                self.calls = self.size;
            }
        }
    }

    /// Moves on by `outcomes`, at most `size`. Amortized O(1): each stored position is dropped
    /// once.
    fn advance(&mut self, outcomes: u32) {
        self.next = self.next.wrapping_add(outcomes);
        self.calls = self.calls.saturating_add(outcomes).min(self.size);
        let (next, size) = (self.next, self.size);
        for positions in [&mut self.failures, &mut self.slow] {
            while positions
                .front()
                .is_some_and(|position| next.wrapping_sub(*position) > size)
            {
                positions.pop_front();
            }
        }
    }

    pub(super) fn counts(&self) -> Counts {
        Counts {
            calls: u64::from(self.calls),
            failures: self.failures.len() as u64,
            slow: self.slow.len() as u64,
        }
    }

    pub(super) fn clear(&mut self) {
        self.calls = 0;
        self.failures.clear();
        self.slow.clear();
    }
}
