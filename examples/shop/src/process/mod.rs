//! The process of a service: log lines, metrics, health, faults, and a graceful end.

mod admin;

use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::Router;
use mainstay::health::Health;
use mainstay::shutdown::Shutdown;
use mainstay::{BoxError, spawn};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder};
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::sleep;
use tower::{Service, ServiceExt, service_fn};
use tracing_subscriber::EnvFilter;

use self::admin::Admin;
pub use self::admin::{Check, Faults};
use crate::config::{Config, Name};
use crate::message::{Failure, Message};
use crate::stacks::Messages;
use crate::store::Store;
use crate::tcp::Reply;

/// Upper bounds of the buckets of histograms, in seconds.
const BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
];

/// How long a process may take to end after the one that started it.
const ORPHAN: Duration = Duration::from_secs(30);

/// The process of a service. Clones share it.
#[derive(Clone)]
pub struct Process {
    name: Name,
    shutdown: Shutdown,
    admin: Arc<Admin>,
}

impl std::fmt::Debug for Process {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Process").field(&self.name).finish()
    }
}

impl Process {
    /// Starts what every service has: log lines as JSON on standard output, metrics, an address for
    /// operators. It is not ready until [`ready`](Self::ready).
    ///
    /// # Errors
    ///
    /// The address for operators is in use, or the process has begun before.
    pub async fn begin(name: Name, config: &Config) -> Result<Self, BoxError> {
        let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("info"));
        tracing_subscriber::fmt()
            .json()
            // The list of spans has it, too.
            .with_current_span(false)
            .with_env_filter(filter)
            .try_init()?;
        let metrics = PrometheusBuilder::new()
            .set_buckets_for_metric(Matcher::Suffix("_seconds".to_owned()), BUCKETS)?
            .install_recorder()?;
        let drain = Duration::try_from_secs_f64(config.drain).map_err(|_| {
            format!(
                "drain = {} is refused: must be seconds from 0",
                config.drain
            )
        })?;
        let shutdown = Shutdown::builder().drain(drain).on_signal()?;
        if config.with_parent {
            end_with_parent(shutdown.clone());
        }
        let admin = Arc::new(Admin {
            health: Health::global().shutdown(&shutdown),
            metrics,
            checks: Mutex::new(None),
            faults: watch::Sender::new(Faults::default()),
        });
        let listener = listen(config.admin).await?;
        let address = listener.local_addr()?;
        let routes = admin::routes(Arc::clone(&admin), config.faults);
        // Until the end of the process: operators see it end.
        spawn(async move { axum::serve(listener, routes).await });
        let upkeep = Arc::clone(&admin);
        spawn(async move {
            loop {
                sleep(Duration::from_secs(5)).await;
                upkeep.metrics.run_upkeep();
            }
        });
        tracing::info!(service = %name, admin = %address, "started");
        Ok(Self {
            name,
            shutdown,
            admin,
        })
    }

    /// The same routes for operators, without the faults, for a service that also shows them at its
    /// own address.
    pub fn operators(&self) -> Router {
        admin::routes(Arc::clone(&self.admin), false)
    }

    /// The service takes calls from now on.
    pub fn ready(&self) {
        self.ready_if(Vec::new());
    }

    /// The same, with these checks.
    pub fn ready_if(&self, checks: Vec<Check>) {
        let place = &self.admin.checks;
        *place.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(checks));
        tracing::info!(service = %self.name, "ready");
    }

    /// The end of the process, which SIGTERM and Ctrl-C begin.
    #[must_use]
    pub const fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// The faults of now.
    #[must_use]
    pub fn faults(&self) -> Faults {
        *self.admin.faults.borrow()
    }

    /// Changes of the faults.
    #[must_use]
    pub fn watch_faults(&self) -> watch::Receiver<Faults> {
        self.admin.faults.subscribe()
    }

    /// Waits as long as the faults say.
    pub async fn delay(&self) {
        self.faults().delay().await;
    }

    /// The same handlers, whose answers wait as long as the faults say: the effect is there, and the
    /// caller does not know it. Their results are logged.
    pub fn slow<S>(&self, handlers: S) -> Messages
    where
        S: Service<Message, Response = Reply, Error = Failure> + Clone + Send + Sync + 'static,
        S::Future: Send + 'static,
    {
        let process = self.clone();
        Messages::new(service_fn(move |message: Message| {
            let (process, handlers) = (process.clone(), handlers.clone());
            async move {
                let pattern = message.pattern.clone();
                let order = message.payload.get("order").and_then(Value::as_str);
                let order = order.map(str::to_owned);
                let result = handlers.oneshot(message).await;
                match &result {
                    Ok(_) => tracing::info!(pattern, order, "done"),
                    Err(failure) => tracing::info!(pattern, order, %failure, "not done"),
                }
                process.delay().await;
                result
            }
        }))
    }

    /// Limits the growth of this database as the faults say.
    pub fn break_store(&self, store: &Store) {
        let (mut faults, store) = (self.watch_faults(), store.clone());
        spawn(async move {
            let mut pages = None;
            while faults.changed().await.is_ok() {
                let now = faults.borrow_and_update().disk_pages;
                if now != pages {
                    pages = now;
                    if let Err(failure) = store.limit_growth(pages).await {
                        tracing::error!(%failure, "the fault has no effect");
                    }
                }
            }
        });
    }

    /// What `/metrics` shows.
    #[must_use]
    pub fn render_metrics(&self) -> String {
        self.admin.metrics.render()
    }
}

/// Ends the process when its standard input ends.
fn end_with_parent(shutdown: Shutdown) {
    // A thread of its own: the runtime would wait for one of its threads that reads.
    std::thread::spawn(move || {
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        shutdown.begin();
        // It may not have come to its server yet, and then nothing ends it.
        std::thread::sleep(ORPHAN);
        std::process::exit(1);
    });
}

/// Listens at an address.
///
/// # Errors
///
/// In one sentence.
pub async fn listen(address: SocketAddr) -> Result<TcpListener, BoxError> {
    let listening = TcpListener::bind(address).await;
    listening.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "{address} is in use: stop the program that listens there, or choose another port"
        )
        .into(),
        _ => format!("cannot listen at {address}: {error}").into(),
    })
}
