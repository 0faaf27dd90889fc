//! The streams of the embedded broker, in SQLite: what is published is on the disk, and stays there
//! until every group has done its work on it.

use std::borrow::Borrow;
use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension, Transaction, TransactionBehavior, params};

use super::{REMEMBERED, dead_letter, dead_letters, remembers};
use crate::message::Message;
use crate::store::{self, Error};

const MIGRATIONS: &[&str] = &[
    "
    create table messages (
        stream text not null,
        seq integer not null,
        id text not null,
        at integer not null,
        body text not null,
        primary key (stream, seq),
        unique (stream, id)
    ) without rowid;
    create table groups (
        stream text not null,
        name text not null,
        next integer not null,
        primary key (stream, name)
    ) without rowid;
    create table pending (
        stream text not null,
        name text not null,
        seq integer not null,
        consumer text not null,
        due integer not null,
        tries integer not null,
        primary key (stream, name, seq)
    ) without rowid;
    create index pending_due on pending (stream, name, due);
    create table ends (
        stream text not null primary key,
        next integer not null
    ) without rowid;
",
    "
    create table known (
        stream text not null,
        id text not null,
        at integer not null,
        primary key (stream, id)
    ) without rowid;
    create index known_at on known (at);
",
];

/// The most bytes of messages that are delivered at once, so that they fit a frame. One message is
/// always delivered.
const BATCH: usize = 256 * 1024;

/// The streams.
#[derive(Debug)]
pub struct Log(Connection);

impl Borrow<Connection> for Log {
    fn borrow(&self) -> &Connection {
        &self.0
    }
}

/// A message for a consumer.
#[derive(Debug, Clone, PartialEq)]
pub struct Delivery {
    /// The place in its stream.
    pub seq: i64,
    /// How often it was delivered to this group, with this time.
    pub tries: u32,
    /// How long ago it was published, by the clock of the broker.
    pub age: Duration,
    /// What was published.
    pub message: Message,
}

impl Log {
    /// Opens the file of the broker.
    ///
    /// # Errors
    ///
    /// See [`store::open`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        store::open(path, MIGRATIONS).map(Self)
    }

    /// A log in memory, for tests.
    ///
    /// # Errors
    ///
    /// See [`store::in_memory`].
    pub fn in_memory() -> Result<Self, Error> {
        store::in_memory(MIGRATIONS).map(Self)
    }

    /// Appends a message. One with an ID that is in the stream already is not appended again: its
    /// sender did not know that it was. Returns whether it is new.
    ///
    /// # Errors
    ///
    /// The database failed. The message is not in the stream.
    pub fn publish(&mut self, stream: &str, message: &Message, now: u64) -> Result<bool, Error> {
        self.change(|log| append(log, stream, message, now))
    }

    /// Adds a group of consumers, if it does not exist. It begins with the oldest message.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub fn join(&mut self, stream: &str, group: &str) -> Result<(), Error> {
        self.change(|log| {
            let add = "insert into groups values (?, ?, 0) on conflict do nothing";
            log.execute(add, params![stream, group]).map(drop)
        })
    }

    /// Delivers up to `most` messages to a consumer of a group: first those that are due again,
    /// because their consumer is gone or has failed, then new ones. They are due again after
    /// `patience`.
    ///
    /// # Errors
    ///
    /// The database failed, or does not know the group
    /// ([`QueryReturnedNoRows`](Error::QueryReturnedNoRows)). Nothing was delivered.
    pub fn take(
        &mut self,
        (stream, group, consumer): (&str, &str, &str),
        most: u32,
        patience: Duration,
        now: u64,
    ) -> Result<Vec<Delivery>, Error> {
        let due = now.saturating_add(millis(patience));
        self.change(|log| {
            let next = "select next from groups where stream = ? and name = ?";
            let next: i64 = log.query_row(next, params![stream, group], |row| row.get(0))?;
            let found = "
                select * from (
                    select p.seq, length(m.body) from pending p
                    join messages m on m.stream = p.stream and m.seq = p.seq
                    where p.stream = ?1 and p.name = ?2 and p.due <= ?3
                    order by p.due, p.seq limit ?5
                ) union all select * from (
                    select seq, length(body) from messages where stream = ?1 and seq >= ?4
                    order by seq limit ?5
                )";
            let mut found = log.prepare_cached(found)?;
            let found = found.query_map(params![stream, group, now, next, most], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?;
            let (mut taken, mut room) = (Vec::<i64>::new(), BATCH);
            for row in found.take(most as usize) {
                let (seq, bytes): (i64, usize) = row?;
                if bytes > room && !taken.is_empty() {
                    break;
                }
                room = room.saturating_sub(bytes);
                taken.push(seq);
            }
            for seq in &taken {
                let take = "insert into pending values (?, ?, ?, ?, ?, 1) on conflict do update
                    set consumer = excluded.consumer, due = excluded.due, tries = tries + 1";
                let mut take = log.prepare_cached(take)?;
                take.execute(params![stream, group, seq, consumer, due])?;
            }
            if let Some(last) = taken.iter().max().filter(|last| **last >= next) {
                let advance = "update groups set next = ? where stream = ? and name = ?";
                log.execute(advance, params![last + 1, stream, group])?;
            }
            // Those that come again, and then the new ones.
            taken.sort_unstable();
            let read = "select m.at, m.body, p.tries from messages m
                join pending p on p.stream = m.stream and p.seq = m.seq
                where m.stream = ? and m.seq = ? and p.name = ?";
            let mut read = log.prepare_cached(read)?;
            taken
                .into_iter()
                .map(|seq| {
                    read.query_row(params![stream, seq, group], |row| {
                        let (at, body): (u64, String) = (row.get(0)?, row.get(1)?);
                        let message = serde_json::from_str(&body);
                        Ok(Delivery {
                            seq,
                            tries: row.get(2)?,
                            age: Duration::from_millis(now.saturating_sub(at)),
                            message: message.map_err(|error| {
                                Error::FromSqlConversionFailure(
                                    1,
                                    rusqlite::types::Type::Text,
                                    error.into(),
                                )
                            })?,
                        })
                    })
                })
                .collect()
        })
    }

    /// The work on a message is done. Returns whether it was still this group's to do.
    ///
    /// # Errors
    ///
    /// The database failed. The message is due again.
    pub fn ack(&mut self, stream: &str, group: &str, seq: i64) -> Result<bool, Error> {
        self.change(|log| {
            let is_done = done(log, stream, group, seq)?;
            forget(log, stream)?;
            Ok(is_done)
        })
    }

    /// The work on a message has failed. It is due again after a delay, or after so many tries goes
    /// to the stream of dead letters instead. Returns whether it went there.
    ///
    /// # Errors
    ///
    /// The database failed. The message is due again.
    pub fn fail(
        &mut self,
        (stream, group, seq): (&str, &str, i64),
        (most_tries, delay): (u32, Duration),
        reason: &str,
        now: u64,
    ) -> Result<bool, Error> {
        self.change(|log| {
            let find = "select p.tries, m.body from pending p
                join messages m on m.stream = p.stream and m.seq = p.seq
                where p.stream = ? and p.name = ? and p.seq = ?";
            let found: Option<(u32, String)> = log
                .query_row(find, params![stream, group, seq], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })
                .optional()?;
            let Some((tries, body)) = found else {
                return Ok(false);
            };
            if tries < most_tries {
                let due = now.saturating_add(millis(delay));
                let later = "update pending set due = ? where stream = ? and name = ? and seq = ?";
                log.execute(later, params![due, stream, group, seq])?;
                return Ok(false);
            }
            if let Ok(message) = serde_json::from_str::<Message>(&body) {
                let letter = dead_letter(&message, group, reason);
                append(log, &dead_letters(stream), &letter, now)?;
            }
            done(log, stream, group, seq)?;
            forget(log, stream)?;
            Ok(true)
        })
    }

    /// When the next message of a group is due again, in the same milliseconds; `None` if all are
    /// done.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub fn next_due(&self, stream: &str, group: &str) -> Result<Option<u64>, Error> {
        let next = "select min(due) from pending where stream = ? and name = ?";
        let mut next = self.0.prepare_cached(next)?;
        next.query_row(params![stream, group], |row| row.get(0))
    }

    /// The number of messages in a stream.
    ///
    /// # Errors
    ///
    /// The database failed.
    pub fn len(&self, stream: &str) -> Result<u64, Error> {
        let count = "select count(*) from messages where stream = ?";
        self.0.query_row(count, params![stream], |row| row.get(0))
    }

    fn change<T>(
        &mut self,
        change: impl FnOnce(&Transaction<'_>) -> Result<T, Error>,
    ) -> Result<T, Error> {
        let transaction = self
            .0
            .transaction_with_behavior(TransactionBehavior::Immediate)?;
        let result = change(&transaction)?;
        transaction.commit()?;
        Ok(result)
    }
}

fn append(log: &Transaction<'_>, stream: &str, message: &Message, now: u64) -> Result<bool, Error> {
    let body = serde_json::to_string(message)
        .map_err(|error| Error::ToSqlConversionFailure(error.into()))?;
    let next =
        "insert into ends values (?, 1) on conflict do update set next = next + 1 returning next";
    if remembers(stream) {
        let forget = "delete from known where at < ?";
        log.execute(forget, params![now.saturating_sub(millis(REMEMBERED))])?;
        let known = "insert into known values (?, ?, ?) on conflict do nothing";
        if log.execute(known, params![stream, message.id, now])? == 0 {
            return Ok(false);
        }
    }
    let seq: i64 = log.query_row(next, params![stream], |row| row.get(0))?;
    // It may be in the stream for longer than its ID is remembered.
    let add = "insert into messages values (?, ?, ?, ?, ?) on conflict do nothing";
    Ok(log.execute(add, params![stream, seq, message.id, now, body])? == 1)
}

fn done(log: &Transaction<'_>, stream: &str, group: &str, seq: i64) -> Result<bool, Error> {
    let done = "delete from pending where stream = ? and name = ? and seq = ?";
    Ok(log.execute(done, params![stream, group, seq])? > 0)
}

/// Removes messages that no group needs any more. Those of a stream without groups stay: a group may
/// join.
fn forget(log: &Transaction<'_>, stream: &str) -> Result<(), Error> {
    let forget = "delete from messages where stream = ?1
        and seq < (select min(next) from groups where stream = ?1)
        and seq < coalesce((select min(seq) from pending where stream = ?1), 9223372036854775807)";
    log.execute(forget, params![stream]).map(drop)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX >> 1)
}

#[cfg(test)]
#[path = "log_tests.rs"]
mod tests;
