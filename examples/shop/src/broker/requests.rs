//! Requests and their answers by a broker.
//!
//! A request is published to the stream `SERVER.requests`. One of the servers of that name takes it
//! and publishes the answer to the stream of the client, `CLIENT.answers`. Both streams outlive a crash
//! of the broker, of the server and of the client.
//!
//! Each request has its time limit with it. A server does not begin a request whose time is over, by
//! the clock of the broker. The client ends the wait itself, so a request without a server does not
//! hang.

use std::collections::HashMap;
use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::future::BoxFuture;
use mainstay::Carry;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tokio::sync::{Semaphore, oneshot};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tower::{Service, ServiceExt};
use uuid::Uuid;

use super::{Broker, Consumer, Delivery, Group, Redelivery};
use crate::message::{Code, Failure, Message};
use crate::stacks::Messages;
use crate::tcp::Reply;

/// The ends of the names of the streams.
pub(super) const REQUESTS: &str = ".requests";
pub(super) const ANSWERS: &str = ".answers";
/// In the context of a request: the stream for its answer.
const ANSWER_TO: &str = "answer-to";
/// In the context of an answer: the ID of the request.
const ANSWER_OF: &str = "answers";
/// In the context: the time that was left when the request was sent, in milliseconds.
const TIMEOUT: &str = "x-request-timeout-ms";
/// The limit of a request without a deadline.
const DEFAULT: Duration = Duration::from_secs(10);
/// How long a consumer waits at a time. It is short, so that it sees that a connection is lost.
const WAIT: Duration = Duration::from_secs(1);
/// The wait after a failure of the broker.
const PAUSE: Duration = Duration::from_millis(200);
/// The most requests that a server works on at the same time.
const IN_FLIGHT: u32 = 64;
/// The requests of a server that is gone are taken over after this time.
const REDELIVERY: Redelivery = Redelivery {
    patience: Duration::from_secs(5),
    delay: Duration::ZERO,
    most_tries: 3,
};

/// The payload of an answer.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Answer {
    Done(Value),
    Failed(Failure),
}

/// Sends requests to the servers of one name. Clones share the stream of answers.
#[derive(Debug, Clone)]
pub struct Requests(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    broker: Broker,
    requests: String,
    answers: String,
    waiting: Mutex<HashMap<String, oneshot::Sender<Answer>>>,
}

impl Requests {
    /// Requests of `client` to the servers with the name `server`. Each process needs another name
    /// for its client, which stays the same after a restart: its stream of answers is found again,
    /// and no stream is left behind.
    ///
    /// It reads answers until the last clone is dropped.
    #[must_use]
    pub fn new(broker: Broker, client: &str, server: &str) -> Self {
        let shared = Arc::new(Shared {
            broker: broker.clone(),
            requests: requests(server),
            answers: format!("{client}{ANSWERS}"),
            waiting: Mutex::default(),
        });
        let (of_reader, answers) = (Arc::downgrade(&shared), shared.answers.clone());
        tokio::spawn(read_answers(broker, answers, of_reader));
        Self(shared)
    }
}

fn requests(server: &str) -> String {
    format!("{server}{REQUESTS}")
}

/// Passes answers to those who wait for them. Nobody waits for what came before a restart.
async fn read_answers(broker: Broker, stream: String, of: Weak<Shared>) {
    let mut consumer = join(&broker, &stream, "client").await;
    loop {
        let taken = consumer.take(IN_FLIGHT, WAIT).await;
        let Some(shared) = of.upgrade() else { return };
        let Ok(taken) = taken else {
            sleep(PAUSE).await;
            // The group may be gone with the data of the broker.
            consumer = join(&broker, &stream, "client").await;
            continue;
        };
        for delivery in taken {
            let of = delivery.message.get(ANSWER_OF).unwrap_or_default();
            let of = String::from_utf8_lossy(of).into_owned();
            let mut all = shared
                .waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            let waiting = all.remove(&of);
            drop(all);
            if let (Some(waiting), Ok(answer)) = (waiting, delivery.message.read()) {
                let _ = waiting.send(answer);
            }
            // Not waited for: an answer that comes again finds nobody.
            let group = consumer.group().clone();
            tokio::spawn(async move { group.ack(&delivery).await });
        }
    }
}

/// Forgets a request when its caller does.
struct Guard<'a>(&'a Shared, &'a str);

impl Drop for Guard<'_> {
    fn drop(&mut self) {
        let Self(Shared { waiting, .. }, id) = self;
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.remove(*id);
    }
}

impl Service<Message> for Requests {
    type Response = Reply;
    type Error = Failure;
    type Future = BoxFuture<'static, Result<Reply, Failure>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Message) -> Self::Future {
        let shared = Arc::clone(&self.0);
        let left = mainstay::Context::current().remaining().unwrap_or(DEFAULT);
        // The broker appends an ID once, and a new attempt must be answered anew.
        request.id = Uuid::now_v7().to_string();
        request.set(ANSWER_TO, &shared.answers);
        request.set(TIMEOUT, &left.as_millis().to_string());
        Box::pin(async move {
            let (answered, answer) = oneshot::channel();
            let id = request.id.clone();
            let add = |waiting: &mut HashMap<_, _>| waiting.insert(id.clone(), answered);
            add(&mut shared
                .waiting
                .lock()
                .unwrap_or_else(PoisonError::into_inner));
            let _guard = Guard(&shared, &id);
            let answer = async {
                shared.broker.publish(&shared.requests, &request).await?;
                let lost = |_| Failure::new(Code::Lost, "the answer was lost");
                answer.await.map_err(lost)
            };
            let in_time = timeout(left, answer).await;
            match in_time.map_err(|_| {
                let text = format!("{}: no answer for {} ms", request.pattern, left.as_millis());
                Failure::new(Code::DeadlineExceeded, text)
            })?? {
                Answer::Done(payload) => Ok(Reply::One(payload)),
                Answer::Failed(failure) => Err(failure),
            }
        })
    }
}

/// Serves the requests to this name until `closing` completes, and then those that it has begun.
///
/// A server has at most 64 requests in flight. It takes a request only if it can begin it.
pub async fn serve(
    broker: Broker,
    name: &str,
    service: Messages,
    closing: impl Future<Output = ()>,
) {
    let room = Arc::new(Semaphore::new(IN_FLIGHT as usize));
    let mut begun = JoinSet::new();
    let work = async {
        let mut consumer = join(&broker, &requests(name), name).await;
        loop {
            while begun.try_join_next().is_some() {}
            let Ok(one) = Arc::clone(&room).acquire_owned().await else {
                return;
            };
            drop(one);
            let most = u32::try_from(room.available_permits()).unwrap_or(IN_FLIGHT);
            let Ok(taken) = consumer.take(most, WAIT).await else {
                sleep(PAUSE).await;
                // The group may be gone with the data of the broker.
                consumer = join(&broker, &requests(name), name).await;
                continue;
            };
            for delivery in taken {
                let permit = Arc::clone(&room).try_acquire_owned();
                let work = answer(
                    broker.clone(),
                    consumer.group().clone(),
                    service.clone(),
                    delivery,
                );
                begun.spawn(async move {
                    let _permit = permit;
                    work.await;
                });
            }
        }
    };
    tokio::select! {
        () = closing => {}
        () = work => {}
    }
    while begun.join_next().await.is_some() {}
}

/// Answers a request, then acknowledges it. What fails comes again, to any server of this name.
async fn answer(broker: Broker, group: Group, service: Messages, delivery: Delivery) {
    let mut request = delivery.message.clone();
    let field = |name: &str| {
        let value = request.get(name)?;
        std::str::from_utf8(value).ok().map(str::to_owned)
    };
    let left = field(TIMEOUT).and_then(|left| left.parse().ok());
    let left = left.map_or(DEFAULT, Duration::from_millis);
    let Some(left) = left.checked_sub(delivery.age) else {
        // Nobody waits for it any more.
        let _ = group.ack(&delivery).await;
        return;
    };
    let Some(to) = field(ANSWER_TO) else {
        let _ = group.fail(&delivery, "answer-to is missing").await;
        return;
    };
    request.set(TIMEOUT, &left.as_millis().to_string());
    let of = request.id.clone();
    let done = match service.oneshot(request).await {
        Ok(Reply::One(payload)) => Answer::Done(payload),
        Ok(Reply::Stream(_)) => Answer::Failed(Failure::new(
            Code::Invalid,
            "this pattern is one of a stream",
        )),
        Err(failure) => Answer::Failed(failure),
    };
    let Ok(payload) = serde_json::to_value(done) else {
        return;
    };
    let mut answer = Message::event("answer", payload);
    answer.set(ANSWER_OF, &of);
    if broker.publish(&to, &answer).await.is_ok() {
        let _ = group.ack(&delivery).await;
    }
}

/// Joins a group, when the broker can be reached.
async fn join(broker: &Broker, stream: &str, group: &str) -> Consumer {
    loop {
        match broker.consumer(stream, group, group, REDELIVERY).await {
            Ok(consumer) => return consumer,
            Err(failure) => tracing::warn!(%failure, stream, "cannot join; trying again"),
        }
        sleep(PAUSE).await;
    }
}
