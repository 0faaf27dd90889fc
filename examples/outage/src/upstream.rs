//! A service behind the gateway, and the outage that it can suffer.

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

/// What a healthy answer takes. The timer rounds up to whole milliseconds, so it comes to two or
/// three.
const HEALTHY: Duration = Duration::from_millis(1);
/// How much longer an answer may take.
const JITTER: Duration = Duration::from_millis(1);

/// A real HTTP server whose health the run decides.
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
    /// Between the two, or left behind by an error there.
    Changing,
}

impl Upstream {
    /// Takes a port. Nothing answers there before a phase is entered.
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

    /// Behaves as `phase` says for every request that arrives from now on. What is under way takes
    /// its time, unless the process dies under it.
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
    /// How many failures were answered, to take turns between the two kinds.
    broken: AtomicUsize,
}

async fn answer(State(behaviour): State<Arc<Behaviour>>) -> (StatusCode, &'static str) {
    let takes = match Phase::ALL[behaviour.phase.load(Ordering::Relaxed)] {
        Phase::Healthy | Phase::Recovery => HEALTHY,
        Phase::Slow => behaviour.slow,
        // Connections that are being cut may still get this far.
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
