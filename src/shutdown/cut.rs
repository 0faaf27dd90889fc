//! The calls and streams that a shutdown cut.

use std::error::Error;
use std::fmt;

/// The shutdown ended before all calls had ended: the calls and streams that were cut.
///
/// ```text
/// the shutdown cut 2 calls of `orders` and 1 stream
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Cut {
    /// The server stacks of the registry with calls in flight or in their queues. Empty if only
    /// connections were left, or if the server has no stack.
    pub stacks: Vec<InFlight>,
    /// Streams that [`until_closing`](super::Shutdown::until_closing) wraps.
    pub streams: usize,
}

/// The calls in flight of a stack.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct InFlight {
    /// The name of the stack.
    pub stack: String,
    /// Number of calls in flight and in its queue.
    pub calls: u32,
}

impl Cut {
    pub(super) fn is_empty(&self) -> bool {
        self.stacks.is_empty() && self.streams == 0
    }

    pub(super) const fn nothing_known() -> Self {
        Self {
            stacks: Vec::new(),
            streams: 0,
        }
    }
}

impl fmt::Display for Cut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.is_empty() {
            return f.write_str("the shutdown cut connections that were still open");
        }
        let plural = |count: usize| if count == 1 { "" } else { "s" };
        let mut parts = Vec::new();
        for InFlight { stack, calls } in &self.stacks {
            let s = plural(usize::try_from(*calls).unwrap_or(usize::MAX));
            parts.push(format!("{calls} call{s} of `{stack}`"));
        }
        if self.streams > 0 {
            parts.push(format!("{} stream{}", self.streams, plural(self.streams)));
        }
        write!(f, "the shutdown cut {}", parts.join(" and "))
    }
}

impl Error for Cut {}
