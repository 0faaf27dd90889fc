//! The notifications in their database.

use std::path::Path;
use std::sync::Arc;

use rusqlite::params;
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::broadcast;

use crate::message::{Code, Failure, Message};
use crate::store::{self, Store};
use crate::tcp::message_service;

const MIGRATIONS: &[&str] = &["
    create table notifications (
        seq integer primary key autoincrement,
        message_id text not null unique,
        user text not null,
        pattern text not null,
        text text not null,
        payload text not null
    );
    create index notifications_of_users on notifications (user, seq);
"];

/// How many notifications are read at once.
const PAGE: u32 = 100;
/// How many a new reader gets from the time before.
const RECENT: u32 = 20;
/// How many names of users wait for a slow reader, before it looks for itself.
const NEWS: usize = 256;

/// The notifications, as a service of events. Clones share the database.
#[derive(Debug, Clone)]
pub struct Notifications {
    store: Store,
    /// Whose notifications have changed.
    news: broadcast::Sender<Arc<str>>,
}

/// What a user is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notification {
    /// Its number. Later ones have higher numbers.
    pub seq: i64,
    /// What happened, such as `order.confirmed`.
    pub pattern: String,
    /// One sentence for people.
    pub text: String,
    /// The payload of the event.
    pub payload: String,
}

/// The payload of an event about an order.
#[derive(Deserialize)]
struct Order {
    order: String,
    user: String,
    /// In cents.
    total: i64,
    reason: Option<String>,
}

impl Notifications {
    /// Opens the database of the service.
    ///
    /// # Errors
    ///
    /// See [`Store::open`].
    pub fn open(folder: &Path) -> Result<Self, Failure> {
        Store::open(folder, "notifications", MIGRATIONS).map(Self::new)
    }

    /// The same in memory, for tests.
    ///
    /// # Errors
    ///
    /// A migration failed.
    pub fn in_memory() -> Result<Self, store::Error> {
        Store::in_memory("notifications", MIGRATIONS).map(Self::new)
    }

    fn new(store: Store) -> Self {
        let news = broadcast::Sender::new(NEWS);
        Self { store, news }
    }

    /// The database, to limit its growth.
    #[must_use]
    pub const fn store(&self) -> &Store {
        &self.store
    }

    /// Whose notifications change from now on.
    pub(super) fn news(&self) -> broadcast::Receiver<Arc<str>> {
        self.news.subscribe()
    }

    /// The next notifications of a user after this number.
    ///
    /// # Errors
    ///
    /// The database cannot be read.
    pub async fn after(&self, user: &str, seq: i64) -> Result<Vec<Notification>, Failure> {
        let user = user.to_owned();
        self.store
            .run(move |connection| {
                let find = "select seq, pattern, text, payload from notifications
                    where user = ? and seq > ? order by seq limit ?";
                let mut find = connection.prepare_cached(find)?;
                let found = find.query_map(params![user, seq, PAGE], |row| {
                    Ok(Notification {
                        seq: row.get(0)?,
                        pattern: row.get(1)?,
                        text: row.get(2)?,
                        payload: row.get(3)?,
                    })
                })?;
                found.collect()
            })
            .await
    }

    /// The number after which a reader goes on that has read up to `last`. A new reader gets some
    /// notifications from before. So does one that has read a later number than there is: it has it
    /// from another database.
    pub(super) async fn start(&self, user: &str, last: Option<i64>) -> Result<i64, Failure> {
        let user = user.to_owned();
        self.store
            .run(move |connection| {
                let newest = "select coalesce(max(seq), 0) from notifications";
                let newest: i64 = connection.query_row(newest, [], |row| row.get(0))?;
                if let Some(last) = last.filter(|last| *last <= newest) {
                    return Ok(last);
                }
                let recent = "select coalesce(min(seq), 1) - 1 from (
                    select seq from notifications where user = ? order by seq desc limit ?)";
                connection.query_row(recent, params![user, RECENT], |row| row.get(0))
            })
            .await
    }

    /// Keeps an event once, however often it comes. Returns whether it is new.
    async fn keep(&self, event: Message) -> Result<bool, Failure> {
        event.check()?;
        let order: Order = event.read()?;
        let text = sentence(&event.pattern, &order)?;
        let user = Arc::<str>::from(order.user);
        let of_row = Arc::clone(&user);
        let is_new = self.store.run(move |connection| {
            // The ID of the message is stored with its effect: both are there, or none.
            let add = "insert into notifications (message_id, user, pattern, text, payload)
                values (?, ?, ?, ?, ?) on conflict (message_id) do nothing";
            let payload = event.payload.to_string();
            let row = params![event.id, of_row, event.pattern, text, payload];
            Ok(connection.prepare_cached(add)?.execute(row)? == 1)
        });
        let is_new = is_new.await?;
        if is_new {
            // Nobody may listen.
            let _ = self.news.send(user);
        }
        Ok(is_new)
    }
}

fn sentence(pattern: &str, order: &Order) -> Result<String, Failure> {
    let Order {
        order: id, total, ..
    } = order;
    let price = format!("{}.{:02}", total / 100, total % 100);
    Ok(match pattern {
        "order.placed" => format!("Your order {id} over {price} is placed."),
        "order.confirmed" => format!("Your order {id} over {price} is confirmed."),
        "order.compensated" => {
            let reason = order
                .reason
                .as_deref()
                .unwrap_or("it could not be fulfilled");
            format!("Your order {id} over {price} is cancelled: {reason}.")
        }
        other => {
            let text = format!("{other}: notifications knows no such event");
            return Err(Failure::new(Code::UnknownPattern, text));
        }
    })
}

impl Notifications {
    async fn handle(self, event: Message) -> Result<Value, Failure> {
        let (id, pattern) = (event.id.clone(), event.pattern.clone());
        let is_new = self.keep(event).await?;
        let result = if is_new { "stored" } else { "known" };
        metrics::counter!("shop_events_total", "result" => result).increment(1);
        tracing::info!(event = id, pattern, result, "event handled");
        Ok(json!(result))
    }
}

message_service!(Notifications);
