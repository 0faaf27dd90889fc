//! Callers who ask for what there is, and wait for it.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Bytes;
use futures::future::join_all;
use futures::{StreamExt as _, stream};
use reqwest::{Body, Client, Response, StatusCode};
use serde_json::Value;
use tokio::task::JoinHandle;
use tokio::time::{Instant, interval, sleep, sleep_until, timeout};
use tonic::Status;

use crate::gateway::{Site, Users};
use crate::tally::Tally;
use crate::upstream::BEAT;
use crate::users::{GetRequest, ListRequest};

/// A stream that says nothing for this long has been lost.
const LOST: Duration = Duration::from_secs(5);
/// The pieces of the upload, twice a second: five seconds more than a server's default time limit.
const PIECES: u32 = 70;

/// They all end a little after `until`.
pub(crate) fn start(site: &Site, until: Instant, tally: &Tally) -> Vec<JoinHandle<()>> {
    let mut callers = Vec::new();
    let client = Client::new();
    let get = |kind, path: &str, every: Duration| {
        let request = client.get(site.url(path));
        let tally = tally.clone();
        tokio::spawn(repeat(until, every, move || {
            let (request, tally) = (request.try_clone(), tally.clone());
            async move {
                if let Some(request) = request {
                    tally.count(kind, whole(request).await);
                }
            }
        }))
    };
    callers.push(get("fast", "/fast", Duration::from_millis(20)));
    callers.push(get("3 s", "/slow/3", Duration::from_millis(500)));
    callers.push(get("5 s", "/slow/5", Duration::from_secs(1)));

    let (pages, page_tally) = (site.url("/pictures"), tally.clone());
    let page_client = client.clone();
    callers.push(tokio::spawn(repeat(
        until,
        Duration::from_secs(2),
        move || {
            let pictures = (0..50).map(|n| page_client.get(format!("{pages}/{n}")));
            let (pictures, tally) = (join_all(pictures.map(whole)), page_tally.clone());
            async move {
                for result in pictures.await {
                    tally.count("picture", result);
                }
            }
        },
    )));

    for (kind, path, streams) in [("watch", "/watch", 60), ("events", "/events", 30)] {
        for _ in 0..streams {
            let request = client.get(site.url(path));
            let tally = tally.clone();
            callers.push(tokio::spawn(async move {
                tally.count(kind, follow(request, until).await);
            }));
        }
    }

    let (upload, upload_tally) = (client.post(site.url("/upload")), tally.clone());
    callers.push(tokio::spawn(async move {
        let pieces = stream::iter(0..PIECES)
            .then(async move |_| {
                sleep(Duration::from_millis(500)).await;
                Bytes::from_static(&[7; 10_000])
            })
            .take_until(sleep_until(until))
            .map(Ok::<_, Infallible>);
        let upload = upload.body(Body::wrap_stream(pieces));
        upload_tally.count("upload", whole(upload).await);
    }));

    for _ in 0..20 {
        let (users, tally) = (site.users.clone(), tally.clone());
        callers.push(tokio::spawn(async move {
            tally.count("gRPC watch", users.follow(until).await);
        }));
    }
    let (users, tally) = (site.users.clone(), tally.clone());
    callers.push(tokio::spawn(repeat(
        until,
        Duration::from_millis(100),
        move || {
            let (users, tally) = (users.clone(), tally.clone());
            async move { tally.count("gRPC unary", users.get().await) }
        },
    )));
    callers
}

/// Makes a call every so often, whether the one before has ended or not; returns when all have.
async fn repeat<F>(until: Instant, every: Duration, mut call: impl FnMut() -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut ticks = interval(every);
    let mut calls = Vec::new();
    while Instant::now() < until {
        ticks.tick().await;
        calls.push(tokio::spawn(call()));
    }
    join_all(calls).await;
}

/// The response to its end.
async fn whole(request: reqwest::RequestBuilder) -> Result<(), String> {
    let response = head(request).await?;
    match response.bytes().await {
        Ok(_) => Ok(()),
        Err(_) => Err("the body broke off".to_owned()),
    }
}

async fn head(request: reqwest::RequestBuilder) -> Result<Response, String> {
    match request.send().await {
        Ok(response) if response.status() == StatusCode::OK => Ok(response),
        Ok(response) => {
            let status = response.status().as_u16();
            let problem = response.json().await.unwrap_or(Value::Null);
            Err(format!(
                "{status} {}",
                problem["reason"].as_str().unwrap_or_default()
            ))
        }
        Err(_) => Err("no response".to_owned()),
    }
}

/// A stream without an end.
async fn follow(request: reqwest::RequestBuilder, until: Instant) -> Result<(), String> {
    let mut response = head(request).await?;
    while Instant::now() + BEAT < until {
        match timeout(LOST, response.chunk()).await {
            Ok(Ok(Some(_))) => {}
            Ok(Ok(None)) => return Err("the stream ended".to_owned()),
            Ok(Err(_)) => return Err("the stream broke off".to_owned()),
            Err(_) => return Err("the stream fell silent".to_owned()),
        }
    }
    Ok(())
}

impl Users {
    async fn get(&self) -> Result<(), String> {
        let request = GetRequest::default();
        let result = match self.clone() {
            Self::Bare(mut users) => users.get(request).await,
            Self::Stacked(mut users) => users.get(request).await,
        };
        result.map(drop).map_err(|status| name(&status))
    }

    async fn follow(&self, until: Instant) -> Result<(), String> {
        let request = ListRequest::default();
        let result = match self.clone() {
            Self::Bare(mut users) => users.list(request).await,
            Self::Stacked(mut users) => users.list(request).await,
        };
        let mut users = result.map_err(|status| name(&status))?.into_inner();
        while Instant::now() + BEAT < until {
            match timeout(LOST, users.message()).await {
                Ok(Ok(Some(_))) => {}
                Ok(Ok(None)) => return Err("the stream ended".to_owned()),
                Ok(Err(status)) => return Err(name(&status)),
                Err(_) => return Err("the stream fell silent".to_owned()),
            }
        }
        Ok(())
    }
}

fn name(status: &Status) -> String {
    format!("{:?}", status.code())
}
