//! An upstream of the gateway, and its outage.

use std::{
    io,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::{Router, extract::State, http::StatusCode, routing::get};

use crate::{
    phase::Phase,
    server::{Port, Server},
};

/// The time of a healthy answer. The timer rounds up to whole milliseconds, so it takes two or
/// three.
const HEALTHY: Duration = Duration::from_millis(1);
/// The longest random delay in addition.
const JITTER: Duration = Duration::from_millis(1);

/// A real HTTP server. The run controls its health.
#[derive(Debug)]
pub(crate) struct Upstream {
    address: SocketAddr,
    behaviour: Arc<Behaviour>,
    process: Process,
}

#[derive(Debug)]
enum Process {
    Up(Server),
    Down(Port),
    /// Between the two, or after an error there.
    Changing,
}

impl Upstream {
    /// Binds a port. Nothing listens on it before the first phase.
    pub(crate) fn new(slow: Duration) -> io::Result<Self> {
        let port = Port::any()?;
        Ok(Self {
            address: port.address(),
            behaviour: Arc::new(Behaviour {
                slow,
                phase: AtomicUsize::new(0),
                broken: AtomicUsize::new(0),
            }),
            process: Process::Down(port),
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Behaves as `phase` says for every request that arrives from now on. Earlier requests are
    /// answered as before, unless the process dies.
    pub(crate) async fn enter(&mut self, phase: Phase) -> io::Result<()> {
        self.behaviour.phase.store(phase.index(), Ordering::Relaxed);
        self.process = match (
            std::mem::replace(&mut self.process, Process::Changing),
            phase,
        ) {
            (Process::Up(server), Phase::Refused) => Process::Down(server.kill().await?),
            (Process::Down(port), phase) if phase != Phase::Refused => {
                let router = Router::new()
                    .route("/", get(answer))
                    .with_state(Arc::clone(&self.behaviour));
                Process::Up(port.serve("upstream", router).await?)
            }
            (unchanged, _) => unchanged,
        };
        Ok(())
    }
}

#[derive(Debug)]
struct Behaviour {
    slow: Duration,
    /// The index of the phase.
    phase: AtomicUsize,
    /// The number of failures, to alternate between the two statuses.
    broken: AtomicUsize,
}

async fn answer(State(behaviour): State<Arc<Behaviour>>) -> (StatusCode, &'static str) {
    let takes = match Phase::ALL[behaviour.phase.load(Ordering::Relaxed)] {
        Phase::Healthy | Phase::Recovery => HEALTHY,
        Phase::Slow => behaviour.slow,
        // A request on a connection that is being closed may still arrive here.
        Phase::Broken | Phase::Refused => {
            return match behaviour.broken.fetch_add(1, Ordering::Relaxed) % 2 {
                0 => (StatusCode::INTERNAL_SERVER_ERROR, "broken"),
                _ => (StatusCode::SERVICE_UNAVAILABLE, "broken"),
            };
        }
    };
    tokio::time::sleep(takes + JITTER.mul_f64(rand::random())).await;
    (StatusCode::OK, "fine")
}
