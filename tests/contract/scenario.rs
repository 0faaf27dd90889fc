//! What can happen to a call.

use crate::probe::{End, Plan};

/// A story of a call; [`Run`](crate::world::Run) tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scenario {
    /// The answer takes a few events.
    Slow,
    /// The first attempt fails, and the second, if there is one, takes a while.
    Fails,
    /// The same, and the service is not ready for the second one at first.
    FailsUnready,
    /// Another call holds the last place, and goes away.
    Full,
    /// The same, and the service is not ready when it does.
    FullUnready,
    /// Another call holds the last place, and stays.
    StaysFull,
    /// Another call holds the last place, and goes away, and the service is never ready again.
    StaysUnready,
    /// There is no answer.
    Hangs,
}

impl Scenario {
    pub(crate) const ALL: [Self; 8] = [
        Self::Slow,
        Self::Fails,
        Self::FailsUnready,
        Self::Full,
        Self::FullUnready,
        Self::StaysFull,
        Self::StaysUnready,
        Self::Hangs,
    ];

    pub(crate) fn plans(self) -> Vec<Plan> {
        match self {
            Self::Slow => vec![Plan::after(3, End::Answer)],
            Self::Fails | Self::FailsUnready => {
                vec![Plan::after(1, End::Fault), Plan::after(2, End::Answer)]
            }
            Self::Hangs => vec![Plan::after(0, End::Never)],
            _ => vec![Plan::after(1, End::Answer)],
        }
    }

    pub(crate) fn fails(self) -> bool {
        matches!(self, Self::Fails | Self::FailsUnready)
    }

    pub(crate) fn begins_full(self) -> bool {
        !self.fails() && !matches!(self, Self::Slow | Self::Hangs)
    }
}
