//! Streams of events and of work, with groups of consumers.
//!
//! Each group gets each message of a stream, and each consumer of a group a part of them. A consumer
//! acknowledges a message after its work is done, so what a consumer was doing when it died is
//! delivered again. That can be twice, so consumers remember message IDs. A message that fails too
//! often becomes a dead letter and holds up nobody.

pub mod embedded;
pub mod log;
pub mod redis;
pub mod requests;

use std::time::Duration;

use self::embedded::Embedded;
use self::redis::{Redis, Waiting};
use crate::message::{Code, Failure, Message};
use crate::tcp::{Client, Limits};

/// A client of one of the brokers. They behave the same.
#[derive(Debug, Clone)]
pub enum Broker {
    /// The one of the shop itself.
    Embedded(Embedded),
    /// A Redis server.
    Redis(Redis),
}

/// A message for a consumer.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// Its place in the stream.
    pub place: String,
    /// How often it was delivered to this group, with this time.
    pub tries: u32,
    /// How long ago it was published, by the clock of the broker.
    pub age: Duration,
    /// What was published.
    pub message: Message,
}

/// When a message of a group is delivered again, and how often.
#[derive(Debug, Clone, Copy)]
pub struct Redelivery {
    /// After this time without an acknowledgement, its consumer is taken for dead.
    pub patience: Duration,
    /// How long after a failure.
    pub delay: Duration,
    /// How often at most. After that it is a dead letter.
    pub most_tries: u32,
}

impl Default for Redelivery {
    fn default() -> Self {
        Self {
            patience: Duration::from_secs(30),
            delay: Duration::from_secs(1),
            most_tries: 5,
        }
    }
}

/// One of the consumers of a group.
#[derive(Debug)]
pub struct Consumer {
    group: Group,
    waiting: Option<Waiting>,
    name: String,
}

/// A group of consumers: where the work on a message is acknowledged.
#[derive(Debug, Clone)]
pub struct Group {
    broker: Broker,
    stream: String,
    name: String,
    redelivery: Redelivery,
}

impl Broker {
    /// A client of the broker at this URL: `tcp://HOST:PORT` for the embedded one, or
    /// `redis://HOST:PORT/`. It connects when it is called.
    ///
    /// # Errors
    ///
    /// The URL is neither.
    pub fn new(url: &str) -> Result<Self, Failure> {
        if let Some(address) = url.strip_prefix("tcp://") {
            let client = Client::new(address, Limits::default());
            return Ok(Self::Embedded(Embedded::new(client)));
        }
        if url.starts_with("redis://") {
            return Redis::new(url).map(Self::Redis);
        }
        let text = format!("broker = {url} is refused: must begin with tcp:// or redis://");
        Err(Failure::new(Code::Invalid, text))
    }

    /// Whether the broker answers.
    ///
    /// # Errors
    ///
    /// It does not.
    pub async fn ping(&self) -> Result<(), Failure> {
        match self {
            Self::Embedded(broker) => broker.ping().await,
            Self::Redis(broker) => broker.ping().await,
        }
    }

    /// Appends a message to a stream. It may be repeated: within an hour, a message is
    /// appended once. Returns whether it is new.
    ///
    /// # Errors
    ///
    /// The broker could not be reached, or could not store it. Whether it is stored is unknown if
    /// the connection was lost.
    pub async fn publish(&self, stream: &str, message: &Message) -> Result<bool, Failure> {
        message.check()?;
        check_length(message)?;
        match self {
            Self::Embedded(broker) => broker.publish(stream, message.clone()).await,
            Self::Redis(broker) => broker.publish(stream, message).await,
        }
    }

    /// Adds a consumer to a group. A new group begins with the oldest message.
    ///
    /// # Errors
    ///
    /// The broker could not be reached, or could not store it.
    pub async fn consumer(
        &self,
        stream: &str,
        group: &str,
        name: &str,
        redelivery: Redelivery,
    ) -> Result<Consumer, Failure> {
        match self {
            Self::Embedded(broker) => broker.join(stream, group).await?,
            Self::Redis(broker) => broker.join(stream, group).await?,
        }
        Ok(Consumer {
            group: Group {
                broker: self.clone(),
                stream: stream.to_owned(),
                name: group.to_owned(),
                redelivery,
            },
            waiting: None,
            name: name.to_owned(),
        })
    }
}

impl Consumer {
    /// Waits for messages, and returns none after `wait`, or sooner.
    ///
    /// # Errors
    ///
    /// The broker could not be reached. What it has delivered comes again.
    pub async fn take(&mut self, most: u32, wait: Duration) -> Result<Vec<Delivery>, Failure> {
        let Group {
            broker,
            stream,
            name,
            redelivery,
        } = &self.group;
        let of = (&**stream, &**name, &*self.name);
        let patience = redelivery.patience;
        match broker {
            Broker::Embedded(broker) => {
                let found = broker.take(of, most, patience, wait).await?;
                let found = found.into_iter().map(|one| Delivery {
                    place: one.seq.to_string(),
                    tries: one.tries,
                    age: one.age,
                    message: one.message,
                });
                Ok(found.collect())
            }
            Broker::Redis(broker) => {
                let waiting = match &mut self.waiting {
                    Some(waiting) => waiting,
                    none => none.insert(broker.waiting(wait).await?),
                };
                broker.take(waiting, of, most, patience, wait).await
            }
        }
    }

    /// Where the work of this consumer is acknowledged.
    #[must_use]
    pub const fn group(&self) -> &Group {
        &self.group
    }

    /// The same as [`Group::ack`].
    ///
    /// # Errors
    ///
    /// The broker could not be reached. The message may come again.
    pub async fn ack(&self, delivery: &Delivery) -> Result<bool, Failure> {
        self.group.ack(delivery).await
    }

    /// The same as [`Group::fail`].
    ///
    /// # Errors
    ///
    /// The broker could not be reached. The message comes again.
    pub async fn fail(&self, delivery: &Delivery, reason: &str) -> Result<bool, Failure> {
        self.group.fail(delivery, reason).await
    }
}

impl Group {
    /// The work on a message is done. Returns whether it was still this group's to do.
    ///
    /// # Errors
    ///
    /// The broker could not be reached. The message may come again.
    pub async fn ack(&self, delivery: &Delivery) -> Result<bool, Failure> {
        match &self.broker {
            Broker::Embedded(broker) => broker.ack(&self.stream, &self.name, seq(delivery)).await,
            Broker::Redis(broker) => broker.ack(&self.stream, &self.name, &delivery.place).await,
        }
    }

    /// The work on a message has failed. Returns whether it is a dead letter now.
    ///
    /// # Errors
    ///
    /// The broker could not be reached. The message comes again.
    pub async fn fail(&self, delivery: &Delivery, reason: &str) -> Result<bool, Failure> {
        let Redelivery {
            patience,
            delay,
            most_tries,
        } = self.redelivery;
        match &self.broker {
            Broker::Embedded(broker) => {
                let of = (&*self.stream, &*self.name, seq(delivery));
                broker.fail(of, (most_tries, delay), reason).await
            }
            Broker::Redis(broker) => {
                let of = (&*self.stream, &*self.name, delivery);
                broker.fail(of, (most_tries, delay), patience, reason).await
            }
        }
    }
}

/// Of the embedded broker, which numbers them.
fn seq(delivery: &Delivery) -> i64 {
    delivery.place.parse().unwrap_or(-1)
}

/// An ID is remembered for this time after its message was published, also when all groups have done
/// it: longer than any sender repeats.
const REMEMBERED: Duration = Duration::from_secs(3_600);

/// The longest message, in bytes: some fit a frame together.
const LONGEST: usize = 256 * 1024;

/// Whether a sender repeats messages of this stream. Each attempt of a request has an ID of its own.
fn remembers(stream: &str) -> bool {
    !stream.ends_with(requests::REQUESTS) && !stream.ends_with(requests::ANSWERS)
}

/// Refuses a message that is too long for the others of its stream.
fn check_length(message: &Message) -> Result<(), Failure> {
    let length = serde_json::to_vec(message).map_or(usize::MAX, |bytes| bytes.len());
    if length > LONGEST {
        let text =
            format!("a message of {length} bytes is refused: must be at most {LONGEST} bytes");
        return Err(Failure::new(Code::Invalid, text));
    }
    Ok(())
}

/// The stream of messages that could not be handled.
#[must_use]
pub fn dead_letters(stream: &str) -> String {
    format!("{stream}.dead")
}

/// The dead letter of a message: it can die once in each group.
fn dead_letter(message: &Message, group: &str, reason: &str) -> Message {
    let mut letter = message.clone();
    letter
        .context
        .insert("dead-in".to_owned(), group.to_owned());
    letter
        .context
        .insert("dead-because".to_owned(), reason.to_owned());
    letter.id = format!("{}@{group}", letter.id);
    letter
}
