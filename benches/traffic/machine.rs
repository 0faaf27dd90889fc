//! How much of the machine other programs took, on Linux. A site that has no processor is overloaded, which is not the fault of its
//! stacks.

use std::fs::read_to_string;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Shorter than the lag that sets a limit.
const WINDOW: Duration = Duration::from_secs(1);

/// Watches the machine until it is asked for the result.
pub(crate) struct Watch {
    stop: Sender<()>,
    thread: JoinHandle<Option<f64>>,
}

impl Watch {
    pub(crate) fn start() -> Self {
        let (stop, stopped) = mpsc::channel();
        let thread = thread::spawn(move || {
            let mut most = None;
            let mut before = Times::now();
            while stopped.recv_timeout(WINDOW) == Err(RecvTimeoutError::Timeout) {
                let now = Times::now();
                if let (Some(before), Some(now)) = (&before, &now) {
                    most = Some(now.others_since(before).max(most.unwrap_or_default()));
                }
                before = now;
            }
            most
        });
        Self { stop, thread }
    }

    /// The share of all processors that others took in the worst second; `None` where it is not known.
    pub(crate) fn others(self) -> Option<f64> {
        drop(self.stop);
        self.thread.join().ok().flatten()
    }
}

/// Times since the start, in ticks of the kernel's clock.
struct Times {
    /// Of all processors, idle or not.
    all: u64,
    idle: u64,
    own: u64,
}

impl Times {
    fn now() -> Option<Self> {
        let machine = read_to_string("/proc/stat").ok()?;
        let fields = machine.lines().next()?.split_whitespace().skip(1);
        let times: Vec<u64> = fields.map_while(|field| field.parse().ok()).collect();
        let process = read_to_string("/proc/self/stat").ok()?;
        // The name may contain spaces.
        let (_, process) = process.rsplit_once(')')?;
        let process: Vec<&str> = process.split_whitespace().collect();
        let time = |at: usize| process.get(at)?.parse::<u64>().ok();
        Some(Self {
            // Up to steal: a guest's time is in the user's, too.
            all: times.iter().take(8).sum(),
            idle: times.get(3)? + times.get(4)?,
            own: time(11)? + time(12)?,
        })
    }

    fn others_since(&self, before: &Self) -> f64 {
        let all = self.all.saturating_sub(before.all).max(1);
        let idle = self.idle.saturating_sub(before.idle);
        let own = self.own.saturating_sub(before.own);
        all.saturating_sub(idle + own) as f64 / all as f64
    }
}
