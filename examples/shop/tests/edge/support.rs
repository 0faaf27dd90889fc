//! Servers that can be stopped, and waits with a limit.

use std::future::Future;
use std::time::Duration;

use mainstay::BoxError;
use mainstay::shutdown::Shutdown;
use reqwest::header::HeaderMap;
use reqwest::{Client, RequestBuilder};
use serde_json::Value;
use shop::config::Upstreams;
use shop::process::Faults;
use shop::services::catalog::{self, Catalog};
use shop::services::gateway;
use shop::services::users::{self, Users};
use shop::web;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

pub(crate) const LONG: Duration = Duration::from_secs(10);

/// Waits until the closure returns something.
pub(crate) async fn until<T, F>(what: &str, mut attempt: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let wait = async {
        loop {
            match attempt().await {
                Some(found) => return found,
                None => tokio::time::sleep(Duration::from_millis(5)).await,
            }
        }
    };
    let found = tokio::time::timeout(LONG, wait).await;
    found.unwrap_or_else(|_| panic!("not within {LONG:?}: {what}"))
}

/// A server in a task.
pub(crate) struct Server {
    pub(crate) address: String,
    pub(crate) shutdown: Shutdown,
    task: JoinHandle<Result<(), BoxError>>,
}

impl Server {
    pub(crate) async fn start<F>(serve: impl FnOnce(TcpListener, Shutdown) -> F) -> Self
    where
        F: Future<Output = Result<(), BoxError>> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let shutdown = Shutdown::builder().drain(Duration::ZERO).manual();
        let task = tokio::spawn(serve(listener, shutdown.clone()));
        Self {
            address,
            shutdown,
            task,
        }
    }

    pub(crate) async fn users() -> Self {
        let users = Users::in_memory().unwrap();
        users.seed().await.unwrap();
        Self::start(async move |listener, shutdown| users::serve(listener, users, &shutdown).await)
            .await
    }

    /// With its faults.
    pub(crate) async fn catalog() -> (Self, watch::Sender<Faults>) {
        let (faults, watched) = watch::channel(Faults::default());
        let catalog = Catalog::in_memory().unwrap().with_faults(watched);
        catalog.seed().await.unwrap();
        let server = Self::start(async move |listener, shutdown| {
            catalog::serve(listener, catalog, &shutdown).await
        });
        (server.await, faults)
    }

    /// Ends it gracefully.
    pub(crate) async fn stop(self) {
        self.shutdown.begin();
        let ended = tokio::time::timeout(LONG, self.task).await;
        ended.expect("the server ends").unwrap().unwrap();
    }
}

/// Addresses where nobody listens.
pub(crate) fn nobody() -> Upstreams {
    let nobody = || "127.0.0.1:1".to_owned();
    Upstreams {
        users: nobody(),
        catalog: nobody(),
        payments: nobody(),
        stock: nobody(),
        orders: nobody(),
        notifications: nobody(),
        admins: Vec::new(),
    }
}

/// A gateway, and how it is called.
pub(crate) struct Door {
    pub(crate) server: Server,
    pub(crate) http: Client,
}

impl Door {
    pub(crate) async fn open(upstreams: &Upstreams) -> Self {
        Self::with_rate(upstreams, 2_000).await
    }

    pub(crate) async fn with_rate(upstreams: &Upstreams, rate: u32) -> Self {
        let upstreams = upstreams.clone();
        let server = Server::start(async move |listener, shutdown| {
            let routes = gateway::routes(&upstreams, rate, &shutdown)?;
            web::serve(listener, routes, &shutdown).await
        });
        Self {
            server: server.await,
            http: Client::builder().no_proxy().build().unwrap(),
        }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.server.address)
    }

    /// As this user.
    pub(crate) fn get(&self, path: &str, user: &str) -> RequestBuilder {
        let request = self.http.get(self.url(path));
        request.header("x-api-key", format!("key-{user}"))
    }

    pub(crate) fn post(&self, path: &str, user: &str) -> RequestBuilder {
        let request = self.http.post(self.url(path));
        request.header("x-api-key", format!("key-{user}"))
    }
}

/// The status, the headers, and the body as JSON.
pub(crate) async fn answer(request: RequestBuilder) -> (u16, HeaderMap, Value) {
    let sent = tokio::time::timeout(LONG, request.send()).await;
    let response = sent.expect("an answer").unwrap();
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    let body = response.text().await.unwrap();
    let body = serde_json::from_str(&body).unwrap_or_else(|_| panic!("no JSON: {body}"));
    (status, headers, body)
}

/// Checks that it is a problem with this status, and returns its sentence.
pub(crate) fn problem((status, headers, body): (u16, HeaderMap, Value), expected: u16) -> String {
    assert_eq!(status, expected, "{body}");
    assert_eq!(headers["content-type"], "application/problem+json");
    assert_eq!(body["status"], expected);
    body["detail"].as_str().unwrap().to_owned()
}
