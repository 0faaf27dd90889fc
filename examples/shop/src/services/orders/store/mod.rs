//! The orders and the events about them, in one database: an event is there exactly if its change is.

mod postgres;
mod sqlite;

use std::path::Path;

use postgres::Postgres;

use super::order::Order;
use crate::message::{Code, Failure, Message};
use crate::saga::State;
use crate::store::Store;

/// The database of the orders. Clones share it.
#[derive(Debug, Clone)]
pub enum Orders {
    /// A file.
    Sqlite(Store),
    /// A server.
    Postgres(Postgres),
}

/// An event that was not published yet.
#[derive(Debug, Clone)]
pub struct Unsent {
    /// Its place in the outbox.
    pub seq: i64,
    /// The event.
    pub event: Message,
}

impl Orders {
    /// Opens the file in this folder, or connects to the server.
    ///
    /// # Errors
    ///
    /// The file or the server cannot be used, or is of a later version than this program.
    pub async fn open(folder: &Path, url: Option<&str>) -> Result<Self, Failure> {
        match url {
            None => Store::open(folder, "orders", sqlite::MIGRATIONS).map(Self::Sqlite),
            Some(url) => Postgres::connect(url).await.map(Self::Postgres),
        }
    }

    /// Stores a new order with its event, unless its user has one with the same key. Returns the one
    /// that is there.
    ///
    /// # Errors
    ///
    /// The database failed. Nothing was stored, or, if the connection was lost, that is unknown.
    pub async fn place(&self, order: Order) -> Result<Order, Failure> {
        match self {
            Self::Sqlite(store) => sqlite::place(store, order).await,
            Self::Postgres(server) => server.place(order).await,
        }
    }

    /// The order of this user with this key.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub async fn with_key(&self, user: &str, key: &str) -> Result<Option<Order>, Failure> {
        match self {
            Self::Sqlite(store) => sqlite::with_key(store, user, key).await,
            Self::Postgres(server) => server.with_key(user, key).await,
        }
    }

    /// The order with this ID.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub async fn get(&self, id: &str) -> Result<Option<Order>, Failure> {
        match self {
            Self::Sqlite(store) => sqlite::get(store, id).await,
            Self::Postgres(server) => server.get(id).await,
        }
    }

    /// The newest orders of a user.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub async fn of_user(&self, user: &str, most: u32) -> Result<Vec<Order>, Failure> {
        match self {
            Self::Sqlite(store) => sqlite::of_user(store, user, most).await,
            Self::Postgres(server) => server.of_user(user, most).await,
        }
    }

    /// All orders whose saga goes on, the oldest first.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub async fn unfinished(&self) -> Result<Vec<Order>, Failure> {
        match self {
            Self::Sqlite(store) => sqlite::unfinished(store).await,
            Self::Postgres(server) => server.unfinished().await,
        }
    }

    /// Stores the new state of an order with its event. Returns false if its state is not `from`:
    /// somebody else has changed it.
    ///
    /// # Errors
    ///
    /// The database failed. The state has not changed, or, if the connection was lost, that is
    /// unknown.
    pub async fn advance(&self, order: &Order, from: State) -> Result<bool, Failure> {
        let order = order.clone();
        match self {
            Self::Sqlite(store) => sqlite::advance(store, order, from).await,
            Self::Postgres(server) => server.advance(order, from).await,
        }
    }

    /// The oldest events that were not published.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub async fn unsent(&self, most: u32) -> Result<Vec<Unsent>, Failure> {
        match self {
            Self::Sqlite(store) => sqlite::unsent(store, most).await,
            Self::Postgres(server) => server.unsent(most).await,
        }
    }

    /// Removes these events, which were published.
    ///
    /// # Errors
    ///
    /// The database failed. They are published again.
    pub async fn sent(&self, events: Vec<i64>) -> Result<(), Failure> {
        match self {
            Self::Sqlite(store) => sqlite::sent(store, events).await,
            Self::Postgres(server) => server.sent(&events).await,
        }
    }
}

fn internal(error: impl std::fmt::Display) -> Failure {
    Failure::new(Code::Internal, format!("the database of orders: {error}"))
}
