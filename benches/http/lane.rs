//! Threads with a runtime of their own, each on a core of its own: the servers on one, what calls them on the other.
//!
//! One thread each, because two cores are all that there may be: a server that has both shares them with its callers, and what is
//! measured then is mostly the callers.

use std::future::{self, Future};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use core_affinity::CoreId;
use mainstay::BoxError;
use rustix::time::{ClockId, clock_gettime};
use tokio::runtime::{Builder, Handle};

/// A thread, until the program ends.
#[derive(Clone)]
pub(crate) struct Lane {
    runtime: Handle,
}

impl Lane {
    /// Two of them, and whether each has a core of its own.
    pub(crate) fn pair() -> Result<(Self, Self, bool), BoxError> {
        let cores = core_affinity::get_core_ids().unwrap_or_default();
        let cores = cores.first_chunk::<2>();
        let servers = Self::start("servers", cores.map(|cores| cores[0]))?;
        let callers = Self::start("callers", cores.map(|cores| cores[1]))?;
        Ok((servers, callers, cores.is_some()))
    }

    fn start(name: &str, core: Option<CoreId>) -> Result<Self, BoxError> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        thread::Builder::new()
            .name(name.to_owned())
            .spawn(move || {
                if let Some(core) = core {
                    core_affinity::set_for_current(core);
                }
                // The counter of allocations looks away: it is for what is counted, not for what is timed.
                allocation_counter::opt_out(|| runtime.block_on(future::pending()));
            })?;
        Ok(Self { runtime: handle })
    }

    /// Runs it there, and waits for it here.
    pub(crate) fn run<F>(&self, future: F) -> Result<F::Output, BoxError>
    where
        F: Future<Output: Send> + Send + 'static,
    {
        let (sender, receiver) = mpsc::sync_channel(1);
        self.runtime.spawn(async move {
            // Nobody who asked goes away.
            let _ = sender.send(future.await);
        });
        Ok(receiver.recv()?)
    }

    /// How long the thread has had a processor, the kernel's work on its behalf included.
    pub(crate) fn busy(&self) -> Result<Duration, BoxError> {
        self.run(async {
            let time = clock_gettime(ClockId::ThreadCPUTime);
            Duration::try_from(time).unwrap_or_default()
        })
    }
}
