//! The signals that ask a process to end.

use std::future::poll_fn;
use std::io;
use std::task::Poll;

#[cfg(unix)]
use tokio::signal::unix::{Signal, SignalKind, signal};
#[cfg(windows)]
use tokio::signal::windows::{CtrlC, CtrlShutdown, ctrl_c, ctrl_shutdown};

#[cfg(unix)]
pub(super) struct Signals(Signal, Signal);
#[cfg(windows)]
pub(super) struct Signals(CtrlC, CtrlShutdown);

impl Signals {
    #[cfg(unix)]
    pub(super) fn new() -> io::Result<Self> {
        let terminate = signal(SignalKind::terminate())?;
        Ok(Self(terminate, signal(SignalKind::interrupt())?))
    }

    #[cfg(windows)]
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(ctrl_c()?, ctrl_shutdown()?))
    }

    /// Waits for one of them.
    pub(super) async fn recv(&mut self) {
        poll_fn(|cx| {
            // `None` cannot happen: a listener lives as long as the process.
            let is_one = matches!(self.0.poll_recv(cx), Poll::Ready(Some(())));
            let is_other = matches!(self.1.poll_recv(cx), Poll::Ready(Some(())));
            if is_one || is_other {
                Poll::Ready(())
            } else {
                Poll::Pending
            }
        })
        .await;
    }
}
