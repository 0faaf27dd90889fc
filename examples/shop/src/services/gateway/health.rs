//! The health of the whole shop: each service's own answer.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use futures_util::future::join_all;
use mainstay::health::{Health, Readiness};
use mainstay::{BoxError, spawn};
use reqwest::{Client, redirect, retry};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;
use tokio::time::Instant;

use super::Gateway;

/// How long a service may take to say that it is ready.
const LIMIT: Duration = Duration::from_secs(1);
/// How much of a reason is shown, in characters.
const REASON: usize = 300;
/// All who ask within this time get the same answer: it needs no key, and costs a call of each service.
const FRESH: Duration = Duration::from_secs(1);

/// The services, and where they say whether they are ready.
pub(super) struct Services {
    client: Client,
    urls: Vec<(String, String)>,
    last: Mutex<Option<(Instant, BTreeMap<String, Service>)>>,
}

impl Services {
    /// From `NAME=HOST:PORT` each.
    pub(super) fn new(admins: &[String]) -> Result<Self, BoxError> {
        let url = |admin: &String| {
            let (name, address) = admin.split_once('=')?;
            let url = format!("http://{address}/readyz");
            reqwest::Url::parse(&url).ok()?;
            Some((name.to_owned(), url))
        };
        let url = |admin| {
            let refused = || format!("admins = {admin} is refused: must be NAME=HOST:PORT");
            url(admin).ok_or_else(refused)
        };
        let client = Client::builder()
            .no_proxy()
            .redirect(redirect::Policy::none())
            .retry(retry::never())
            .timeout(LIMIT)
            .build()?;
        Ok(Self {
            client,
            urls: admins.iter().map(url).collect::<Result<_, _>>()?,
            last: Mutex::default(),
        })
    }

    async fn all(&self) -> BTreeMap<String, Service> {
        // Those who wait for it get the answer that is being made.
        let mut last = self.last.lock().await;
        if let Some((at, services)) = &*last
            && at.elapsed() < FRESH
        {
            return services.clone();
        }
        let asked = self.urls.iter().map(async |(name, url)| {
            let service = self.ask(url).await;
            (name.clone(), service)
        });
        let services: BTreeMap<_, _> = join_all(asked).await.into_iter().collect();
        *last = Some((Instant::now(), services.clone()));
        services
    }

    async fn ask(&self, url: &str) -> Service {
        let down = |why: &str| Service {
            ready: false,
            why: Some(why.chars().take(REASON).collect()),
        };
        let answer = match self.client.get(url).send().await {
            Ok(answer) => answer,
            Err(error) if error.is_timeout() => return down("it does not answer in time"),
            Err(_) => return down("it cannot be reached"),
        };
        if answer.status() == StatusCode::OK {
            return Service {
                ready: true,
                why: None,
            };
        }
        let status = answer.status();
        match answer.json::<NotReady>().await {
            Ok(NotReady { reasons }) if !reasons.is_empty() => down(&reasons.join("; ")),
            _ => down(&format!("it answers with {status}")),
        }
    }
}

#[derive(Serialize)]
struct Shop {
    /// Whether all services are ready.
    all_ready: bool,
    /// The gateway itself, with the circuits that are open.
    gateway: Readiness,
    services: BTreeMap<String, Service>,
}

/// What a service answers that is not ready.
#[derive(Deserialize)]
struct NotReady {
    reasons: Vec<String>,
}

#[derive(Clone, Serialize)]
struct Service {
    ready: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

/// `GET /health`: 200 while the gateway can serve, whatever is with the others.
pub(super) async fn show(State(gateway): State<Gateway>) -> Response {
    let asked = gateway.clone();
    // It goes on for the others if this caller does not wait for it.
    let asked = spawn(async move { asked.0.services.all().await });
    let services = asked.await.unwrap_or_default();
    let gateway = Health::global().shutdown(&gateway.0.shutdown).readiness();
    let status = if gateway.ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    let shop = Shop {
        all_ready: gateway.ready && services.values().all(|service| service.ready),
        gateway,
        services,
    };
    (status, Json(shop)).into_response()
}
