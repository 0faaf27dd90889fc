//! What all transports carry.

use std::collections::BTreeMap;
use std::fmt;

use mainstay::Carry;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use uuid::Uuid;

/// The version that this program writes. It reads this one and all before.
pub const VERSION: u32 = 1;

/// A message on any transport.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Message {
    /// See [`VERSION`].
    #[serde(default = "first", skip_serializing_if = "is_first")]
    pub version: u32,
    /// Unique. A message that comes twice has the same one both times.
    pub id: String,
    /// What to do, such as `payments.charge`, or what happened, such as `order.confirmed`.
    pub pattern: String,
    /// What the sender expects.
    pub kind: Kind,
    /// The content, which the receiver of this pattern understands.
    #[serde(default)]
    pub payload: Value,
    /// The correlation ID, the time that is left, the attempt: what mainstay propagates.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub context: BTreeMap<String, String>,
    /// Fields of later versions, which are passed on as they are.
    #[serde(flatten)]
    pub others: BTreeMap<String, Value>,
}

/// What the sender expects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// One answer.
    Request,
    /// Any number of answers.
    Stream,
    /// None.
    Event,
}

fn first() -> u32 {
    1
}

fn is_first(version: &u32) -> bool {
    *version == 1
}

impl Message {
    /// A message with a new ID.
    pub fn new(kind: Kind, pattern: impl Into<String>, payload: Value) -> Self {
        Self {
            version: VERSION,
            // In the order of time, so that databases append to their index.
            id: Uuid::now_v7().to_string(),
            pattern: pattern.into(),
            kind,
            payload,
            context: BTreeMap::new(),
            others: BTreeMap::new(),
        }
    }

    /// A message that has one answer.
    pub fn request(pattern: impl Into<String>, payload: Value) -> Self {
        Self::new(Kind::Request, pattern, payload)
    }

    /// A message that has no answer.
    pub fn event(pattern: impl Into<String>, payload: Value) -> Self {
        Self::new(Kind::Event, pattern, payload)
    }

    /// Reads the payload as a type.
    ///
    /// # Errors
    ///
    /// The payload has another form.
    pub fn read<T: serde::de::DeserializeOwned>(&self) -> Result<T, Failure> {
        let read = T::deserialize(&self.payload);
        read.map_err(|error| Failure::new(Code::Invalid, format!("{}: {error}", self.pattern)))
    }

    /// Refuses a message that this program cannot understand.
    ///
    /// # Errors
    ///
    /// The message is of a later version, or has no ID or no pattern, or a very long one.
    pub fn check(&self) -> Result<(), Failure> {
        let refuse = |rule: String| Err(Failure::new(Code::Invalid, rule));
        if self.version > VERSION {
            let version = self.version;
            return refuse(format!(
                "version = {version} is refused: must be at most {VERSION}; update this service first"
            ));
        }
        for (field, value, longest) in [("id", &self.id, 64), ("pattern", &self.pattern, 128)] {
            if value.is_empty() || value.len() > longest {
                let length = value.len();
                return refuse(format!(
                    "{field} of {length} bytes is refused: must have from 1 to {longest}"
                ));
            }
        }
        Ok(())
    }
}

impl Carry for Message {
    fn get(&self, field: &str) -> Option<&[u8]> {
        self.context.get(field).map(String::as_bytes)
    }

    fn set(&mut self, field: &str, value: &str) {
        self.context.insert(field.to_owned(), value.to_owned());
    }
}

/// Why a message has no answer, on the wire and in the program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What kind of failure it is.
    pub code: Code,
    /// One sentence for people.
    pub message: String,
    /// When a new attempt can succeed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_after_ms: Option<u64>,
}

/// A kind of failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Code {
    /// The message cannot be understood. It never can, so it is not repeated.
    Invalid,
    /// No handler has this pattern.
    UnknownPattern,
    /// What it is about does not exist.
    NotFound,
    /// The answer of the business: no money, no stock.
    Declined,
    /// The receiver has too much to do. The message was not handled.
    Overloaded,
    /// The receiver is about to end, or could not be reached. The message was not handled.
    NotSent,
    /// The connection was lost. Whether the message was handled is unknown.
    Lost,
    /// The time is over.
    DeadlineExceeded,
    /// The handler failed.
    Internal,
    /// A code of a later version.
    #[serde(other)]
    Unknown,
}

impl Code {
    /// Whether a new attempt can have another result.
    pub fn is_transient(self) -> bool {
        match self {
            Self::Overloaded | Self::NotSent | Self::Lost | Self::DeadlineExceeded => true,
            Self::Internal | Self::Unknown => true,
            Self::Invalid | Self::UnknownPattern | Self::NotFound | Self::Declined => false,
        }
    }

    /// Whether the message certainly had no effect.
    pub fn had_no_effect(self) -> bool {
        matches!(self, Self::Overloaded | Self::NotSent)
    }
}

impl Failure {
    /// A failure without a hint for the next attempt.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            retry_after_ms: None,
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}
