//! The same streams in Redis, with its consumer groups.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::sync::OnceCell;

use redis::aio::{ConnectionManager, ConnectionManagerConfig};
use redis::io::tcp::TcpSettings;
use redis::io::tcp::socket2::TcpKeepalive;
use redis::streams::{
    StreamAutoClaimOptions, StreamAutoClaimReply, StreamId, StreamPendingCountReply,
    StreamReadOptions, StreamReadReply,
};
use redis::{AsyncCommands, Client, ErrorKind, RedisError, Script};
use serde_json::json;

use super::{Delivery, REMEMBERED, dead_letters, remembers};
use crate::message::{Code, Failure, Message};

/// Appends a message once: its ID is remembered for some seconds. It is appended first, because a
/// script that fails is not undone.
const APPEND: &str = "
    if redis.call('exists', KEYS[2]) == 1 then return 0 end
    redis.call('xadd', KEYS[1], '*', 'message', ARGV[1])
    redis.call('set', KEYS[2], 1, 'ex', ARGV[2])
    return 1";

/// The same for a dead letter, which leaves its stream in the same step.
const BURY: &str = "
    if redis.call('exists', KEYS[2]) == 0 then
        redis.call('xadd', KEYS[1], '*', 'message', ARGV[1])
        redis.call('set', KEYS[2], 1, 'ex', ARGV[4])
    end
    return redis.call('xack', KEYS[3], ARGV[2], ARGV[3])";

/// Removes the messages that every group has done. Those of a stream without groups stay: a group may
/// join.
const TRIM: &str = "
    local function parts(id)
        local at, number = string.match(id, '(%d+)-(%d+)')
        return tonumber(at), tonumber(number)
    end
    local least, least_at, least_number
    for _, group in ipairs(redis.call('xinfo', 'groups', KEYS[1])) do
        local fields = {}
        for i = 1, #group, 2 do fields[group[i]] = group[i + 1] end
        local needed = fields['last-delivered-id']
        local pending = redis.call('xpending', KEYS[1], fields['name'], '-', '+', 1)
        if pending[1] then needed = pending[1][1] end
        local at, number = parts(needed)
        if not least or at < least_at or (at == least_at and number < least_number) then
            least, least_at, least_number = needed, at, number
        end
    end
    if not least then return 0 end
    return redis.call('xtrim', KEYS[1], 'minid', least)";

/// A stream is trimmed after so many acknowledgements.
const TRIM_EVERY: u32 = 256;

/// How long a call may take, besides the time for which it waits for messages.
const PATIENCE: Duration = Duration::from_secs(2);

/// A client of a Redis server. Clones share a connection; a consumer that waits has one of its own.
#[derive(Clone)]
pub struct Redis {
    client: Client,
    /// Connected by the first call that succeeds. It connects again after it was lost.
    shared: Arc<OnceCell<ConnectionManager>>,
    acks: Arc<AtomicU32>,
}

impl fmt::Debug for Redis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Redis")
            .field(self.client.get_connection_info())
            .finish()
    }
}

/// A connection on which one consumer waits. It connects again after it was lost.
pub struct Waiting(ConnectionManager);

impl fmt::Debug for Waiting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Waiting(..)")
    }
}

impl Redis {
    /// A client of a server, such as `redis://127.0.0.1:6379/`. It connects
    /// when it is called.
    ///
    /// # Errors
    ///
    /// The URL is none.
    pub fn new(url: &str) -> Result<Self, Failure> {
        let client = Client::open(url).map_err(|error| {
            Failure::new(Code::Invalid, format!("redis = {url} is refused: {error}"))
        })?;
        Ok(Self {
            client,
            shared: Arc::default(),
            acks: Arc::default(),
        })
    }

    async fn shared(&self) -> Result<ConnectionManager, Failure> {
        let connect = || manager(&self.client, PATIENCE);
        self.shared.get_or_try_init(connect).await.cloned()
    }

    /// A connection for a consumer that waits up to this long.
    ///
    /// # Errors
    ///
    /// The server cannot be reached.
    pub async fn waiting(&self, wait: Duration) -> Result<Waiting, Failure> {
        manager(&self.client, wait + PATIENCE).await.map(Waiting)
    }

    pub(super) async fn ping(&self) -> Result<(), Failure> {
        let mut connection = self.shared().await?;
        connection.ping().await.map_err(failure)
    }

    pub(super) async fn publish(&self, stream: &str, message: &Message) -> Result<bool, Failure> {
        let mut connection = self.shared().await?;
        if !remembers(stream) {
            let fields = [("message", body(message)?)];
            let added: Result<String, _> = connection.xadd(stream, "*", &fields).await;
            return added.map(|_| true).map_err(failure);
        }
        let added: u8 = Script::new(APPEND)
            .key(stream)
            .key(known(stream, &message.id))
            .arg(body(message)?)
            .arg(REMEMBERED.as_secs())
            .invoke_async(&mut connection)
            .await
            .map_err(failure)?;
        Ok(added == 1)
    }

    pub(super) async fn join(&self, stream: &str, group: &str) -> Result<(), Failure> {
        let mut connection = self.shared().await?;
        let joined: Result<(), RedisError> =
            connection.xgroup_create_mkstream(stream, group, "0").await;
        match joined {
            Err(error) if error.code() != Some("BUSYGROUP") => Err(failure(error)),
            _ => Ok(()),
        }
    }

    pub(super) async fn take(
        &self,
        waiting: &mut Waiting,
        (stream, group, consumer): (&str, &str, &str),
        most: u32,
        patience: Duration,
        wait: Duration,
    ) -> Result<Vec<Delivery>, Failure> {
        let connection = &mut waiting.0;
        let mut found = self
            .claim(connection, (stream, group, consumer), most, patience)
            .await?;
        if found.is_empty() {
            // Not longer than until the next one can be due again.
            let block = wait.min(patience).as_millis().max(1);
            let options = StreamReadOptions::default()
                .group(group, consumer)
                .count(most as usize)
                .block(usize::try_from(block).unwrap_or(usize::MAX));
            let new: Option<StreamReadReply> = connection
                .xread_options(&[stream], &[">"], &options)
                .await
                .map_err(failure)?;
            let new = new.into_iter().flat_map(|reply| reply.keys);
            let new = new.flat_map(|stream| stream.ids).map(|id| (id, 1));
            found.extend(new);
        }
        let now = time(connection).await?;
        let mut deliveries = Vec::with_capacity(found.len());
        for (id, tries) in found {
            match read(&id, tries, now) {
                Ok(delivery) => deliveries.push(delivery),
                Err(failure) => self.bury(stream, group, &id, &failure).await?,
            }
        }
        Ok(deliveries)
    }

    /// Messages of consumers that are gone or have failed, and how often each was delivered.
    async fn claim(
        &self,
        connection: &mut ConnectionManager,
        (stream, group, consumer): (&str, &str, &str),
        most: u32,
        patience: Duration,
    ) -> Result<Vec<(StreamId, u32)>, Failure> {
        let idle = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX);
        let options = StreamAutoClaimOptions::default().count(most as usize);
        let claimed: StreamAutoClaimReply = connection
            .xautoclaim_options(stream, group, consumer, idle, "0-0", options)
            .await
            .map_err(failure)?;
        let mut found = Vec::with_capacity(claimed.claimed.len());
        for id in claimed.claimed {
            let pending: StreamPendingCountReply = connection
                .xpending_count(stream, group, &id.id, &id.id, 1)
                .await
                .map_err(failure)?;
            let tries = pending.ids.first().map_or(1, |one| one.times_delivered);
            found.push((id, u32::try_from(tries).unwrap_or(u32::MAX)));
        }
        Ok(found)
    }

    pub(super) async fn ack(
        &self,
        stream: &str,
        group: &str,
        place: &str,
    ) -> Result<bool, Failure> {
        let mut connection = self.shared().await?;
        let done: u32 = connection
            .xack(stream, group, &[place])
            .await
            .map_err(failure)?;
        let acks = self.acks.fetch_add(1, Ordering::Relaxed);
        if acks % TRIM_EVERY == TRIM_EVERY - 1 {
            // It is done, whether or not this succeeds.
            let trim: Result<u64, RedisError> = Script::new(TRIM)
                .key(stream)
                .invoke_async(&mut connection)
                .await;
            if let Err(error) = trim {
                tracing::debug!(%error, stream, "not trimmed");
            }
        }
        Ok(done == 1)
    }

    pub(super) async fn fail(
        &self,
        (stream, group, delivery): (&str, &str, &Delivery),
        (most_tries, delay): (u32, Duration),
        patience: Duration,
        reason: &str,
    ) -> Result<bool, Failure> {
        let mut connection = self.shared().await?;
        if delivery.tries < most_tries {
            // It is due when it was idle for `patience`, so a part of that has passed already.
            let idle = patience.saturating_sub(delay).as_millis();
            let _: redis::Value = redis::cmd("XCLAIM")
                .arg(stream)
                .arg(group)
                .arg("failed")
                .arg(0)
                .arg(&delivery.place)
                .arg("IDLE")
                .arg(u64::try_from(idle).unwrap_or(u64::MAX))
                .arg("JUSTID")
                .query_async(&mut connection)
                .await
                .map_err(failure)?;
            return Ok(false);
        }
        let letter = super::dead_letter(&delivery.message, group, reason);
        self.bury_as(stream, group, &delivery.place, &letter)
            .await?;
        Ok(true)
    }

    /// Somebody else wrote it, and nobody can ever handle it. People may.
    async fn bury(
        &self,
        stream: &str,
        group: &str,
        unread: &StreamId,
        reason: &Failure,
    ) -> Result<(), Failure> {
        let fields = unread.map.keys().filter_map(|field| {
            let value: Option<Vec<u8>> = unread.get(field);
            let value = String::from_utf8_lossy(&value?).into_owned();
            Some((field.clone(), value))
        });
        let fields: BTreeMap<_, _> = fields.collect();
        let mut letter = Message::event("broker.unreadable", json!(fields));
        letter.id.clone_from(&unread.id);
        let letter = super::dead_letter(&letter, group, &reason.message);
        self.bury_as(stream, group, &unread.id, &letter).await
    }

    async fn bury_as(
        &self,
        stream: &str,
        group: &str,
        place: &str,
        letter: &Message,
    ) -> Result<(), Failure> {
        let mut connection = self.shared().await?;
        let dead = dead_letters(stream);
        let _: u32 = Script::new(BURY)
            .key(&dead)
            .key(known(&dead, &letter.id))
            .key(stream)
            .arg(body(letter)?)
            .arg(group)
            .arg(place)
            .arg(REMEMBERED.as_secs())
            .invoke_async(&mut connection)
            .await
            .map_err(failure)?;
        Ok(())
    }
}

async fn manager(client: &Client, patience: Duration) -> Result<ConnectionManager, Failure> {
    // A host that is gone without a word is noticed, so that the connection is replaced.
    let alive = TcpKeepalive::new()
        .with_time(PATIENCE)
        .with_interval(Duration::from_secs(1));
    let tcp = TcpSettings::default()
        .set_nodelay(true)
        .set_keepalive(alive);
    #[cfg(target_os = "linux")]
    let tcp = tcp.set_user_timeout(2 * PATIENCE);
    let config = ConnectionManagerConfig::new()
        .set_tcp_settings(tcp)
        .set_number_of_retries(1)
        .set_connection_timeout(PATIENCE)
        .set_response_timeout(patience);
    let manager = ConnectionManager::new_with_config(client.clone(), config).await;
    manager.map_err(|error| {
        let address = client.get_connection_info().addr.clone();
        let mut failure = failure(error);
        failure.message = format!("{address}: {}", failure.message);
        failure
    })
}

/// The clock of the server, in milliseconds. Those of senders and consumers may differ by hours.
async fn time(connection: &mut ConnectionManager) -> Result<u64, Failure> {
    let (seconds, micros): (u64, u64) = redis::cmd("TIME")
        .query_async(connection)
        .await
        .map_err(failure)?;
    Ok(seconds * 1_000 + micros / 1_000)
}

fn read(id: &StreamId, tries: u32, now: u64) -> Result<Delivery, Failure> {
    let invalid = |error: String| Failure::new(Code::Invalid, format!("{}: {error}", id.id));
    let body: String = id
        .get("message")
        .ok_or_else(|| invalid("no message".to_owned()))?;
    let message: Message =
        serde_json::from_str(&body).map_err(|error| invalid(error.to_string()))?;
    message.check()?;
    let at = id.id.split('-').next().and_then(|at| at.parse().ok());
    Ok(Delivery {
        place: id.id.clone(),
        tries,
        age: Duration::from_millis(now.saturating_sub(at.unwrap_or(now))),
        message,
    })
}

fn known(stream: &str, id: &str) -> String {
    format!("{stream}:known:{id}")
}

fn body(message: &Message) -> Result<String, Failure> {
    serde_json::to_string(message).map_err(|error| Failure::new(Code::Internal, error.to_string()))
}

fn failure(error: RedisError) -> Failure {
    let code = match error.kind() {
        ErrorKind::IoError if error.is_connection_refusal() => Code::NotSent,
        ErrorKind::IoError => Code::Lost,
        ErrorKind::BusyLoadingError | ErrorKind::TryAgain => Code::Overloaded,
        _ => Code::Internal,
    };
    Failure::new(code, format!("redis: {error}"))
}
