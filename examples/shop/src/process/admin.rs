//! The address for operators: health, metrics, faults.

use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, put};
use axum::{Json, Router};
use mainstay::health::{Health, Readiness};
use metrics_exporter_prometheus::PrometheusHandle;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use crate::message::Failure;

/// How long a check of readiness may take.
const LIMIT: Duration = Duration::from_secs(1);

pub(super) struct Admin {
    pub(super) metrics: PrometheusHandle,
    pub(super) health: Health,
    /// None until the service has started.
    pub(super) checks: Mutex<Option<Arc<Vec<Check>>>>,
    pub(super) faults: watch::Sender<Faults>,
}

/// What operators break. Each service does what concerns it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Faults {
    /// Every call waits so long.
    pub delay_ms: u64,
    /// By how many pages of 4 KiB the database may still grow; none for no limit.
    pub disk_pages: Option<u32>,
}

impl Faults {
    /// Waits as long as they say.
    pub async fn delay(self) {
        let delay = Duration::from_millis(self.delay_ms);
        if !delay.is_zero() {
            sleep(delay).await;
        }
    }
}

type Asked = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send>>;

/// Something that a service needs, which is looked at with each check of its readiness.
pub struct Check {
    name: String,
    is_essential: bool,
    ask: Box<dyn Fn() -> Asked + Send + Sync>,
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Check").field(&self.name).finish()
    }
}

impl Check {
    /// The service is not ready while this fails, or does not answer for a second: it can do nothing
    /// without it.
    pub fn essential<F>(name: &str, ask: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        Self {
            name: name.to_owned(),
            is_essential: true,
            ask: Box::new(move || Box::pin(ask())),
        }
    }

    /// The service reports that this fails, and stays ready: it can do something without it. All
    /// instances need the same one, so not ready would be an outage of everything.
    pub fn reported<F>(name: &str, ask: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<(), Failure>> + Send + 'static,
    {
        Self {
            is_essential: false,
            ..Self::essential(name, ask)
        }
    }

    async fn failure(&self) -> Option<String> {
        match timeout(LIMIT, (self.ask)()).await {
            Ok(Ok(())) => None,
            Ok(Err(failure)) => Some(failure.message),
            Err(_) => Some(format!("no answer for {LIMIT:?}")),
        }
    }
}

pub(super) fn routes(admin: Arc<Admin>, faults: bool) -> Router {
    let routes = Router::new()
        .route("/livez", get(async || "alive\n"))
        .route("/readyz", get(ready))
        .route("/metrics", get(scrape));
    let routes = if faults {
        routes.route("/fault", put(break_it).get(broken))
    } else {
        routes
    };
    routes.with_state(admin)
}

async fn scrape(State(admin): State<Arc<Admin>>) -> Response {
    let text = [(CONTENT_TYPE, "text/plain; version=0.0.4")];
    (text, admin.metrics.render()).into_response()
}

/// The body of `/readyz`.
#[derive(Serialize)]
struct Ready {
    #[serde(flatten)]
    readiness: Readiness,
    /// Each check that was asked, and how it failed.
    checks: BTreeMap<String, Option<String>>,
}

async fn ready(State(admin): State<Arc<Admin>>) -> Response {
    let checks = &admin.checks;
    let checks = checks
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .clone();
    let mut ready = Ready {
        readiness: admin.health.readiness(),
        checks: BTreeMap::new(),
    };
    let mut reasons = Vec::new();
    match checks {
        None => reasons.push("the service is starting".to_owned()),
        Some(checks) => {
            for check in checks.iter() {
                let failure = check.failure().await;
                if let (Some(failure), true) = (&failure, check.is_essential) {
                    reasons.push(format!("{}: {failure}", check.name));
                }
                ready.checks.insert(check.name.clone(), failure);
            }
        }
    }
    ready.readiness.ready &= reasons.is_empty();
    ready.readiness.reasons.append(&mut reasons);
    let status = if ready.readiness.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(ready)).into_response()
}

async fn broken(State(admin): State<Arc<Admin>>) -> Json<Faults> {
    Json(*admin.faults.borrow())
}

async fn break_it(State(admin): State<Arc<Admin>>, Json(faults): Json<Faults>) -> Json<Faults> {
    tracing::warn!(?faults, "broken by an operator");
    admin.faults.send_replace(faults);
    Json(faults)
}
