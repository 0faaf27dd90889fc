//! Several calls at a time over one TCP connection, as tower services.
//!
//! Each frame is four bytes of length and a JSON document. A client sends calls and cancels them; the
//! server sends their answers in any order. Before it ends, a server says goodbye: calls that come
//! later are answered as not sent, and the client opens another connection.

mod client;
mod frame;
mod server;

pub use client::Client;
pub use server::serve;

use std::fmt;
use std::pin::Pin;
use std::time::Duration;

use futures_util::Stream;
use serde_json::Value;

use crate::message::Failure;

/// What a handler returns.
pub enum Reply {
    /// The only answer.
    One(Value),
    /// Any number of answers.
    Stream(Items),
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::One(payload) => f.debug_tuple("One").field(payload).finish(),
            Self::Stream(_) => f.write_str("Stream(..)"),
        }
    }
}

/// The answers of a stream.
pub type Items = Pin<Box<dyn Stream<Item = Result<Value, Failure>> + Send>>;

/// The bounds of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The longest frame, in bytes.
    pub frame: usize,
    /// The most calls in flight on one connection.
    pub calls: usize,
    /// The most items of a stream that wait for their reader.
    pub items: usize,
    /// How long to connect, and to wait for a peer that does not read.
    pub patience: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            frame: 1 << 20,
            calls: 1_024,
            items: 256,
            patience: Duration::from_secs(5),
        }
    }
}

/// Makes a type that has `async fn handle(self, Message) -> Result<Value, Failure>` a service of
/// messages with one answer.
macro_rules! message_service {
    ($handlers:ty) => {
        impl tower::Service<$crate::message::Message> for $handlers {
            type Response = $crate::tcp::Reply;
            type Error = $crate::message::Failure;
            type Future =
                futures_util::future::BoxFuture<'static, Result<Self::Response, Self::Error>>;

            fn poll_ready(
                &mut self,
                _: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Result<(), Self::Error>> {
                std::task::Poll::Ready(Ok(()))
            }

            fn call(&mut self, call: $crate::message::Message) -> Self::Future {
                let handled = self.clone().handle(call);
                Box::pin(async move { handled.await.map($crate::tcp::Reply::One) })
            }
        }
    };
}

pub(crate) use message_service;
