//! The embedded broker: a [`Log`] behind the TCP transport.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, timeout_at};
use tower::{Service, ServiceExt};

use super::log::{Delivery, Log};
use crate::group_commit::GroupCommit;
use crate::message::{Code, Failure, Message};
use crate::store::Error;
use crate::tcp::{Client, Reply, message_service};

/// Answers the calls of [`Embedded`] clients. Clones share the log.
#[derive(Clone, Debug)]
pub struct BrokerService(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    log: Mutex<Log>,
    commits: Option<GroupCommit>,
    /// Changes when a stream has a message for somebody.
    news: Mutex<HashMap<String, watch::Sender<u64>>>,
}

#[derive(Serialize, Deserialize)]
struct Publish {
    stream: String,
    message: Message,
}

#[derive(Serialize, Deserialize)]
struct Join {
    stream: String,
    group: String,
}

#[derive(Serialize, Deserialize)]
struct Take {
    stream: String,
    group: String,
    consumer: String,
    most: u32,
    patience_ms: u64,
    wait_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct Ack {
    stream: String,
    group: String,
    seq: i64,
}

#[derive(Serialize, Deserialize)]
struct Fail {
    stream: String,
    group: String,
    seq: i64,
    most_tries: u32,
    delay_ms: u64,
    reason: String,
}

#[derive(Serialize, Deserialize)]
struct Delivered {
    seq: i64,
    tries: u32,
    age_ms: u64,
    message: Message,
}

impl BrokerService {
    /// Serves this log.
    #[must_use]
    pub fn new(log: Log) -> Self {
        Self(Arc::new(Shared {
            commits: GroupCommit::of(log.borrow()),
            log: Mutex::new(log),
            news: Mutex::default(),
        }))
    }

    async fn handle(self, call: Message) -> Result<Value, Failure> {
        match &*call.pattern {
            "broker.publish" => {
                let Publish { stream, message } = call.read()?;
                message.check()?;
                let of = stream.clone();
                let is_new = self
                    .on_disk_with_news(vec![of], move |log| log.publish(&stream, &message, now()))
                    .await?;
                Ok(json!(is_new))
            }
            "broker.join" => {
                let Join { stream, group } = call.read()?;
                self.on_disk(move |log| log.join(&stream, &group)).await?;
                Ok(Value::Null)
            }
            "broker.ping" => Ok(Value::Null),
            "broker.take" => self.take(call.read()?).await,
            "broker.ack" => {
                let Ack { stream, group, seq } = call.read()?;
                let is_done = self
                    .on_disk(move |log| log.ack(&stream, &group, seq))
                    .await?;
                Ok(json!(is_done))
            }
            "broker.fail" => {
                let fail: Fail = call.read()?;
                let stream = fail.stream.clone();
                let delay = Duration::from_millis(fail.delay_ms);
                let news = vec![super::dead_letters(&stream), stream];
                let is_dead = self
                    .on_disk_with_news(news, move |log| {
                        let of = (&*fail.stream, &*fail.group, fail.seq);
                        log.fail(of, (fail.most_tries, delay), &fail.reason, now())
                    })
                    .await?;
                Ok(json!(is_dead))
            }
            other => {
                let error = format!("{other}: the broker knows no such pattern");
                Err(Failure::new(Code::UnknownPattern, error))
            }
        }
    }

    /// Waits until there is something to deliver, or for as long as the consumer wants to.
    async fn take(self, take: Take) -> Result<Value, Failure> {
        let until = Instant::now() + Duration::from_millis(take.wait_ms.min(60_000));
        let patience = Duration::from_millis(take.patience_ms);
        let take = Arc::new(take);
        let mut news = self.news_of(&take.stream);
        loop {
            news.mark_unchanged();
            let of_log = Arc::clone(&take);
            let (found, due) = self
                .on_disk(move |log| {
                    let of = (&*of_log.stream, &*of_log.group, &*of_log.consumer);
                    let found = log.take(of, of_log.most, patience, now())?;
                    Ok((found, log.next_due(of.0, of.1)?))
                })
                .await?;
            if !found.is_empty() || Instant::now() >= until {
                let found: Vec<_> = found.into_iter().map(Delivered::from).collect();
                return serde_json::to_value(found)
                    .map_err(|error| Failure::new(Code::Internal, error.to_string()));
            }
            // Until there is news, or what another consumer has taken is due again.
            let due = due.map(|due| Duration::from_millis(due.saturating_sub(now()).max(1)));
            let next = due.map_or(until, |due| until.min(Instant::now() + due));
            let _ = timeout_at(next, news.changed()).await;
        }
    }

    fn news_of(&self, stream: &str) -> watch::Receiver<u64> {
        let mut news = self.0.news.lock().unwrap_or_else(PoisonError::into_inner);
        let sender = news
            .entry(stream.to_owned())
            .or_insert_with(|| watch::channel(0).0);
        sender.subscribe()
    }

    async fn on_disk<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Log) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Failure> {
        self.on_disk_with_news(Vec::new(), work).await
    }

    /// The same, and then wakes those who wait at these streams, also if the caller is gone meanwhile.
    async fn on_disk_with_news<T: Send + 'static>(
        &self,
        news: Vec<String>,
        work: impl FnOnce(&mut Log) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Failure> {
        let shared = Arc::clone(&self.0);
        let work = move || {
            let done = GroupCommit::run(&shared.commits, &shared.log, work)?;
            for stream in &news {
                shared.notify(stream);
            }
            Ok(done)
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(Error::QueryReturnedNoRows)) => Err(Failure::new(
                Code::NotFound,
                "the broker knows no such group",
            )),
            Ok(Err(error)) => Err(Failure::new(
                Code::Internal,
                format!("the broker's disk: {error}"),
            )),
            Err(error) => Err(Failure::new(Code::Internal, error.to_string())),
        }
    }
}

impl Shared {
    fn notify(&self, stream: &str) {
        let news = self.news.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(news) = news.get(stream) {
            news.send_modify(|version| *version += 1);
        }
    }
}

impl From<Delivery> for Delivered {
    fn from(one: Delivery) -> Self {
        Self {
            seq: one.seq,
            tries: one.tries,
            age_ms: u64::try_from(one.age.as_millis()).unwrap_or(u64::MAX),
            message: one.message,
        }
    }
}

message_service!(BrokerService);

/// In milliseconds. Only the broker's own clock counts, so a step of it delays or hastens
/// deliveries, and loses none.
fn now() -> u64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    })
}

/// A client of the embedded broker.
#[derive(Debug, Clone)]
pub struct Embedded<S = Client>(S);

impl<S> Embedded<S>
where
    S: Service<Message, Response = Reply, Error = Failure, Future: Send> + Clone + Send + Sync,
{
    /// Calls the broker through this service.
    pub const fn new(service: S) -> Self {
        Self(service)
    }

    /// Whether the broker answers.
    ///
    /// # Errors
    ///
    /// It does not.
    pub async fn ping(&self) -> Result<(), Failure> {
        self.ask("broker.ping", Value::Null).await
    }

    /// Appends a message to a stream. It may be repeated: a message is appended once.
    ///
    /// # Errors
    ///
    /// The broker could not be reached, or could not store it. Whether it is stored is unknown if
    /// the connection was lost.
    pub async fn publish(&self, stream: &str, message: Message) -> Result<bool, Failure> {
        let stream = stream.to_owned();
        self.ask("broker.publish", Publish { stream, message })
            .await
    }

    /// Adds a group of consumers, if it does not exist.
    ///
    /// # Errors
    ///
    /// The broker could not be reached, or could not store it.
    pub async fn join(&self, stream: &str, group: &str) -> Result<(), Failure> {
        let (stream, group) = (stream.to_owned(), group.to_owned());
        self.ask("broker.join", Join { stream, group }).await
    }

    /// Waits for messages for a consumer of a group, and returns none after `wait`. What is neither
    /// acknowledged nor failed within `patience` is delivered again, to any consumer.
    ///
    /// # Errors
    ///
    /// The broker could not be reached. What it has delivered comes again.
    pub async fn take(
        &self,
        (stream, group, consumer): (&str, &str, &str),
        most: u32,
        patience: Duration,
        wait: Duration,
    ) -> Result<Vec<Delivery>, Failure> {
        let take = Take {
            stream: stream.to_owned(),
            group: group.to_owned(),
            consumer: consumer.to_owned(),
            most,
            patience_ms: millis(patience),
            wait_ms: millis(wait),
        };
        let found: Vec<Delivered> = self.ask("broker.take", take).await?;
        let found = found.into_iter().map(|one| Delivery {
            seq: one.seq,
            tries: one.tries,
            age: Duration::from_millis(one.age_ms),
            message: one.message,
        });
        Ok(found.collect())
    }

    /// The work on a message is done. Returns whether it was still this group's to do.
    ///
    /// # Errors
    ///
    /// The broker could not be reached. The message may come again.
    pub async fn ack(&self, stream: &str, group: &str, seq: i64) -> Result<bool, Failure> {
        let (stream, group) = (stream.to_owned(), group.to_owned());
        self.ask("broker.ack", Ack { stream, group, seq }).await
    }

    /// The work on a message has failed. After `most_tries` it becomes a dead letter; returns
    /// whether it did.
    ///
    /// # Errors
    ///
    /// The broker could not be reached. The message comes again.
    pub async fn fail(
        &self,
        (stream, group, seq): (&str, &str, i64),
        (most_tries, delay): (u32, Duration),
        reason: &str,
    ) -> Result<bool, Failure> {
        let fail = Fail {
            stream: stream.to_owned(),
            group: group.to_owned(),
            seq,
            most_tries,
            delay_ms: millis(delay),
            reason: reason.to_owned(),
        };
        self.ask("broker.fail", fail).await
    }

    async fn ask<T, P>(&self, pattern: &'static str, payload: P) -> Result<T, Failure>
    where
        T: for<'de> Deserialize<'de>,
        P: Serialize + Send,
    {
        let internal = |error: serde_json::Error| Failure::new(Code::Internal, error.to_string());
        let payload = serde_json::to_value(payload).map_err(internal)?;
        let call = self.0.clone().oneshot(Message::request(pattern, payload));
        match call.await? {
            Reply::One(payload) => serde_json::from_value(payload).map_err(internal),
            Reply::Stream(_) => Err(Failure::new(Code::Internal, "the broker sent a stream")),
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
