//! The state of a rate limit.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::listeners::Listeners;
use crate::meter::Handles;
use crate::observe::EventKind;
use crate::permit::{Admit, Refusal, Ticket};
use crate::policy::rate_limit::{Rate, RateLimit};
use crate::runtime::Moment;
use crate::snapshot::{Outcomes, Tally};
use crate::striped::Striped;
use crate::tells::Tells;
use crate::{Outcome, Reason, Verdict};

#[allow(
    missing_debug_implementations,
    reason = "nobody outside can get hold of one"
)]
pub struct Limiter {
    pub(super) rate: Rate,
    limit: RateLimit,
    /// A call was refused, and none has been seen to have a permit since. Only then does `poll_ready`
    /// need to read the clock.
    refuses: AtomicBool,
    pub(super) listeners: Listeners,
    successes: Striped,
    tally: Tally,
}

impl Limiter {
    pub(super) fn new(rate: Rate, listeners: Listeners) -> Self {
        Self {
            rate,
            limit: RateLimit::new(&rate),
            refuses: AtomicBool::new(false),
            listeners,
            successes: Striped::new(),
            tally: Tally::new(),
        }
    }

    /// The clock's time. A limit that is ahead of it follows it back.
    #[inline]
    fn now(&self) -> u64 {
        let tat = self.limit.tat();
        let now = Moment::now().to_bits();
        self.limit.catch_up(tat, now);
        now
    }

    /// The calls that would be admitted now.
    pub(super) fn available(&self) -> u32 {
        self.limit.available(self.now()).0
    }

    /// The ends of the calls that were admitted.
    pub(super) fn outcomes(&self) -> Outcomes {
        self.tally.with_plain(self.successes.sum())
    }

    /// The time until a call is admitted; zero when one is.
    fn wait(&self) -> Duration {
        self.limit.wait(self.now(), 0)
    }
}

impl Tells for Limiter {
    #[inline]
    fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    fn show(&self, _: &Handles) {}
}

impl Admit for Limiter {
    const HOLDS: bool = false;

    #[inline]
    fn refuses(&self) -> Option<Reason> {
        if !self.refuses.load(Ordering::Relaxed) {
            return None;
        }
        if self.wait().is_zero() {
            self.refuses.store(false, Ordering::Relaxed);
            return None;
        }
        Some(Reason::RateLimited)
    }

    #[inline]
    fn admit(&self) -> Result<Ticket, Refusal> {
        match self.limit.try_acquire(self.now()) {
            Ok(()) => Ok(Ticket::NONE),
            Err(wait) => {
                self.refuses.store(true, Ordering::Relaxed);
                Err(Refusal {
                    reason: Reason::RateLimited,
                    retry_after: Some(wait),
                })
            }
        }
    }

    fn retry_after(&self) -> Option<Duration> {
        Some(self.wait()).filter(|wait| !wait.is_zero())
    }

    #[inline]
    fn settle(&self, _: &Ticket, verdict: Verdict) {
        let outcome = verdict.outcome();
        if outcome == Outcome::Success {
            self.successes.bump();
        }
        self.tell(|| EventKind::Settled {
            outcome,
            latency: None,
            slow: false,
        });
    }

    fn ended(&self, outcome: Outcome) {
        self.tally.told(outcome);
    }

    #[inline]
    fn release(&self, _: &Ticket) {}
}
