//! The orders in a file.

use rusqlite::types::Type;
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use super::{Order, Unsent};
use crate::message::{Failure, Message};
use crate::saga::State;
use crate::store::{Error, Store};

pub(super) const MIGRATIONS: &[&str] = &["
    create table orders (
        id text not null primary key,
        user text not null,
        key text not null,
        state text not null,
        total integer not null,
        items text not null,
        reason text,
        correlation_id text not null,
        placed_at integer not null,
        unique (user, key)
    ) without rowid;
    create index unfinished on orders (placed_at)
        where state not in ('confirmed', 'compensated');
    create table outbox (
        seq integer primary key autoincrement,
        event text not null
    );
"];

const COLUMNS: &str = "id, user, key, state, total, items, reason, correlation_id, placed_at";

pub(super) async fn place(store: &Store, order: Order) -> Result<Order, Failure> {
    store
        .run(move |connection| {
            let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            if let Some(known) = find_by_key(&change, &order.user, &order.key)? {
                return Ok(known);
            }
            let add = "insert into orders values (?, ?, ?, ?, ?, ?, ?, ?, ?)";
            let items = serde_json::to_string(&order.items).map_err(not_written)?;
            let row = params![
                order.id,
                order.user,
                order.key,
                order.state.as_str(),
                order.total,
                items,
                order.reason,
                order.correlation_id,
                order.placed_at,
            ];
            change.execute(add, row)?;
            add_event(&change, &order)?;
            change.commit()?;
            Ok(order)
        })
        .await
}

pub(super) async fn with_key(
    store: &Store,
    user: &str,
    key: &str,
) -> Result<Option<Order>, Failure> {
    let (user, key) = (user.to_owned(), key.to_owned());
    let find = move |connection: &mut Connection| find_by_key(connection, &user, &key);
    store.run(find).await
}

fn find_by_key(connection: &Connection, user: &str, key: &str) -> Result<Option<Order>, Error> {
    let find = format!("select {COLUMNS} from orders where user = ? and key = ?");
    let mut find = connection.prepare_cached(&find)?;
    find.query_row(params![user, key], read).optional()
}

pub(super) async fn get(store: &Store, id: &str) -> Result<Option<Order>, Failure> {
    let id = id.to_owned();
    store
        .run(move |connection| {
            let find = format!("select {COLUMNS} from orders where id = ?");
            let mut find = connection.prepare_cached(&find)?;
            find.query_row(params![id], read).optional()
        })
        .await
}

pub(super) async fn of_user(store: &Store, user: &str, most: u32) -> Result<Vec<Order>, Failure> {
    let user = user.to_owned();
    store
        .run(move |connection| {
            let find = format!(
                "select {COLUMNS} from orders where user = ? order by placed_at desc, id desc limit ?"
            );
            let mut find = connection.prepare_cached(&find)?;
            find.query_map(params![user, most], read)?.collect()
        })
        .await
}

pub(super) async fn unfinished(store: &Store) -> Result<Vec<Order>, Failure> {
    store
        .run(|connection| {
            let find = format!(
                "select {COLUMNS} from orders where state not in ('confirmed', 'compensated')
                    order by placed_at"
            );
            let mut find = connection.prepare_cached(&find)?;
            find.query_map([], read)?.collect()
        })
        .await
}

pub(super) async fn advance(store: &Store, order: Order, from: State) -> Result<bool, Failure> {
    store
        .run(move |connection| {
            let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            let set = "update orders set state = ?, reason = ? where id = ? and state = ?";
            let row = params![order.state.as_str(), order.reason, order.id, from.as_str()];
            if change.execute(set, row)? == 0 {
                return Ok(false);
            }
            add_event(&change, &order)?;
            change.commit()?;
            Ok(true)
        })
        .await
}

fn add_event(change: &Transaction<'_>, order: &Order) -> Result<(), Error> {
    let Some(event) = order.event() else {
        return Ok(());
    };
    let event = serde_json::to_string(&event).map_err(not_written)?;
    let add = "insert into outbox (event) values (?)";
    change.execute(add, params![event]).map(drop)
}

pub(super) async fn unsent(store: &Store, most: u32) -> Result<Vec<Unsent>, Failure> {
    store
        .run(move |connection| {
            let find = "select seq, event from outbox order by seq limit ?";
            let mut find = connection.prepare_cached(find)?;
            let rows = find.query_map(params![most], |row| {
                let event: String = row.get(1)?;
                let event: Message = serde_json::from_str(&event).map_err(not_read)?;
                let seq = row.get(0)?;
                Ok(Unsent { seq, event })
            })?;
            rows.collect()
        })
        .await
}

pub(super) async fn sent(store: &Store, events: Vec<i64>) -> Result<(), Failure> {
    store
        .run(move |connection| {
            let change = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            for seq in events {
                let mut remove = change.prepare_cached("delete from outbox where seq = ?")?;
                remove.execute(params![seq])?;
            }
            change.commit()
        })
        .await
}

fn read(row: &Row<'_>) -> Result<Order, Error> {
    let (state, items): (String, String) = (row.get(3)?, row.get(5)?);
    let unknown = || not_read(format!("{state:?} is no state of an order"));
    Ok(Order {
        id: row.get(0)?,
        user: row.get(1)?,
        key: row.get(2)?,
        state: State::of(&state).ok_or_else(unknown)?,
        total: row.get(4)?,
        items: serde_json::from_str(&items).map_err(not_read)?,
        reason: row.get(6)?,
        correlation_id: row.get(7)?,
        placed_at: row.get(8)?,
    })
}

fn not_read(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::FromSqlConversionFailure(0, Type::Text, error.into())
}

fn not_written(error: serde_json::Error) -> Error {
    Error::ToSqlConversionFailure(error.into())
}
