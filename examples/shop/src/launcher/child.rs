//! A process of the shop: its start, its signals, its end, and its next start.

use std::ffi::OsString;
use std::io;
use std::path::PathBuf;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use mainstay::spawn;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::log;
use crate::config::Name;

/// How long a process may take to end after SIGTERM. Longer than the time that mainstay gives to
/// calls in flight.
const GRACE: Duration = Duration::from_secs(25);

/// The pause before a process that has died starts again: the first, and the longest. The first is
/// long enough to see how the others do without it.
const PAUSES: (Duration, Duration) = (Duration::from_secs(3), Duration::from_secs(30));

/// A process that has lived so long starts again after the first pause.
const STABLE: Duration = Duration::from_secs(30);

/// How a process is started.
#[derive(Debug, Clone)]
pub(super) struct Spec {
    pub(super) name: Name,
    pub(super) program: PathBuf,
    pub(super) args: Vec<OsString>,
    pub(super) env: Vec<(&'static str, String)>,
    pub(super) log: PathBuf,
}

/// A process that was started. It is killed if this is dropped.
#[derive(Debug)]
pub(super) struct Running {
    child: Child,
    /// Of the process and its group.
    pid: Option<Pid>,
    /// Its end is the sign that this process has ended.
    _stdin: Option<ChildStdin>,
    began: Instant,
    log: PathBuf,
    /// The length of the log at the start.
    logged: u64,
}

/// What happens to the processes of the shop.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Notice {
    /// A process has ended by itself, and starts again after a pause.
    Died {
        /// Of which service.
        name: Name,
        /// Its last error.
        why: String,
        /// Until it starts again.
        pause: Duration,
    },
    /// It was started again.
    Restarted {
        /// Of which service.
        name: Name,
        /// Its process.
        pid: u32,
    },
}

impl Spec {
    pub(super) fn start(&self) -> io::Result<Running> {
        let (file, logged) = log::append(&self.log)?;
        let mut child = Command::new(&self.program)
            .args(&self.args)
            .envs(self.env.iter().map(|(key, value)| (key, value)))
            .stdin(Stdio::piped())
            .stdout(file.try_clone()?)
            .stderr(file)
            // Ctrl-C in the terminal reaches the launcher alone, which ends them in order.
            .process_group(0)
            .kill_on_drop(true)
            .spawn()?;
        let pid = child.id().and_then(|pid| i32::try_from(pid).ok());
        Ok(Running {
            // Otherwise waiting for the child would close it.
            _stdin: child.stdin.take(),
            pid: pid.and_then(Pid::from_raw),
            child,
            began: Instant::now(),
            log: self.log.clone(),
            logged,
        })
    }
}

impl Running {
    /// Whether it has ended, and why.
    pub(super) fn ended(&mut self) -> Option<String> {
        let status = self.child.try_wait();
        match status {
            Ok(None) => None,
            Ok(Some(status)) => Some(self.why(Some(status))),
            Err(error) => Some(error.to_string()),
        }
    }

    /// Its last error, if there is one.
    pub(super) fn last_error(&self) -> Option<String> {
        log::last_error(&self.log, self.logged)
    }

    fn why(&self, status: Option<ExitStatus>) -> String {
        use std::os::unix::process::ExitStatusExt;
        let signal = status.and_then(|status| status.signal());
        match (signal, status) {
            (Some(signal), _) => format!("it was killed by signal {signal}"),
            (None, Some(status)) => self
                .last_error()
                .unwrap_or_else(|| format!("it has ended with {status}")),
            (None, None) => "it has ended".to_owned(),
        }
    }

    fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// To the whole group.
    fn signal(&self, signal: Signal) {
        // Once it was waited for, the number may belong to another.
        if let (Some(pid), Some(_)) = (self.pid, self.pid()) {
            let _ = kill_process_group(pid, signal);
        }
    }

    /// Ends it at once.
    async fn kill(&mut self) {
        self.signal(Signal::KILL);
        let _ = self.child.wait().await;
    }

    /// Ends it, at last by force. Returns whether that was necessary.
    async fn stop(&mut self) -> bool {
        self.signal(Signal::TERM);
        let has_ended = timeout(GRACE, self.child.wait()).await.is_ok();
        if !has_ended {
            self.kill().await;
        }
        !has_ended
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal(Signal::KILL);
    }
}

enum Order {
    /// Answered with whether it had to be killed.
    Stop(oneshot::Sender<bool>),
    Kill(oneshot::Sender<()>),
    Start,
}

/// A process that starts again when it dies. It is killed if this is dropped.
#[derive(Debug)]
pub(super) struct Supervised {
    pub(super) name: Name,
    orders: mpsc::Sender<Order>,
    pid: watch::Receiver<Option<u32>>,
}

impl Supervised {
    pub(super) fn new(
        spec: Spec,
        running: Running,
        notices: mpsc::UnboundedSender<Notice>,
    ) -> Self {
        let name = spec.name;
        let (orders, inbox) = mpsc::channel(1);
        let (sender, pid) = watch::channel(running.pid());
        spawn(supervise(spec, running, inbox, (sender, notices)));
        Self { name, orders, pid }
    }

    pub(super) fn pid(&self) -> Option<u32> {
        *self.pid.borrow()
    }

    /// Kills the process. It stays down until [`start`](Self::start).
    pub(super) async fn kill(&self) {
        let (done, is_done) = oneshot::channel();
        if self.orders.send(Order::Kill(done)).await.is_ok() {
            let _ = is_done.await;
        }
    }

    pub(super) async fn start(&self) {
        let _ = self.orders.send(Order::Start).await;
    }

    /// Ends the process for good. Returns whether it had to be killed.
    pub(super) async fn stop(&self) -> bool {
        let (done, is_done) = oneshot::channel();
        if self.orders.send(Order::Stop(done)).await.is_err() {
            return false;
        }
        is_done.await.unwrap_or(true)
    }
}

async fn supervise(
    spec: Spec,
    running: Running,
    mut orders: mpsc::Receiver<Order>,
    (pid, notices): (watch::Sender<Option<u32>>, mpsc::UnboundedSender<Notice>),
) {
    let mut running = Some(running);
    // While it is not running: when it starts again.
    let mut due = None;
    let mut next_pause = PAUSES.0;
    loop {
        let order = match &mut running {
            Some(process) => tokio::select! {
                order = orders.recv() => order,
                status = process.child.wait() => {
                    if process.began.elapsed() > STABLE {
                        next_pause = PAUSES.0;
                    }
                    let (why, pause) = (process.why(status.ok()), next_pause);
                    next_pause = (2 * next_pause).min(PAUSES.1);
                    let _ = notices.send(Notice::Died { name: spec.name, why, pause });
                    (running, due) = (None, Some(Instant::now() + pause));
                    pid.send_replace(None);
                    continue;
                }
            },
            None => tokio::select! {
                order = orders.recv() => order,
                () = at(due) => Some(Order::Start),
            },
        };
        match order {
            Some(Order::Start) if running.is_some() => {}
            Some(Order::Start) => match spec.start() {
                Ok(started) => {
                    if let (Some(pid), Some(_)) = (started.pid(), due) {
                        let name = spec.name;
                        let _ = notices.send(Notice::Restarted { name, pid });
                    }
                    pid.send_replace(started.pid());
                    (running, due) = (Some(started), None);
                }
                Err(error) => {
                    let (why, pause) = (error.to_string(), PAUSES.1);
                    let name = spec.name;
                    let _ = notices.send(Notice::Died { name, why, pause });
                    due = Some(Instant::now() + pause);
                }
            },
            Some(Order::Kill(done)) => {
                if let Some(mut process) = running.take() {
                    process.kill().await;
                }
                due = None;
                pid.send_replace(None);
                let _ = done.send(());
            }
            Some(Order::Stop(done)) => {
                let was_killed = match running.take() {
                    Some(mut process) => process.stop().await,
                    None => false,
                };
                pid.send_replace(None);
                let _ = done.send(was_killed);
                return;
            }
            None => return,
        }
    }
}

/// Never, if there is no such time.
async fn at(due: Option<Instant>) {
    match due {
        Some(due) => sleep_until(due).await,
        None => std::future::pending().await,
    }
}
