//! The faults of an upstream.

use std::future::pending;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

/// How an upstream behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// Answers after 10 milliseconds.
    Ok,
    /// Answers with an error at once.
    Error,
    /// Answers after 400 milliseconds.
    Slow,
    /// Does not answer.
    Hang,
    /// Does not listen on its port.
    Down,
}

/// The upstream answers with an error.
pub(crate) struct Broken;

/// The mode of one upstream. Clones share it.
#[derive(Clone)]
pub(crate) struct Fault(watch::Sender<Mode>);

impl Fault {
    const WORK: Duration = Duration::from_millis(10);
    const SLOW: Duration = Duration::from_millis(400);

    pub(crate) fn none() -> Self {
        Self(watch::Sender::new(Mode::Ok))
    }

    pub(crate) fn mode(&self) -> Mode {
        *self.0.borrow()
    }

    pub(crate) fn set(&self, mode: Mode) {
        self.0.send_replace(mode);
    }

    /// Handles a call as the mode says.
    pub(crate) async fn work(&self) -> Result<(), Broken> {
        match self.mode() {
            Mode::Ok => tokio::time::sleep(Self::WORK).await,
            Mode::Error => return Err(Broken),
            Mode::Slow => tokio::time::sleep(Self::SLOW).await,
            // The stack around the upstream ends the call at its deadline.
            Mode::Hang | Mode::Down => pending().await,
        }
        Ok(())
    }
}
