//! The orders in PostgreSQL.

use std::fmt;
use std::time::Duration;

use deadpool_postgres::{Manager, ManagerConfig, Object, Pool, Runtime};
use tokio_postgres::{NoTls, Row};

use super::{Order, Unsent, internal};
use crate::message::{Code, Failure};
use crate::saga::State;

/// In the order of versions. Those that were applied before must stay as they are.
const MIGRATIONS: &[&str] = &["
    create table orders (
        id text not null primary key,
        \"user\" text not null,
        key text not null,
        state text not null,
        total bigint not null,
        items text not null,
        reason text,
        correlation_id text not null,
        placed_at bigint not null,
        unique (\"user\", key)
    );
    create index unfinished on orders (placed_at)
        where state not in ('confirmed', 'compensated');
    create table outbox (
        seq bigint generated always as identity primary key,
        event text not null
    );
"];

const CONNECTIONS: usize = 8;
/// To connect, and to wait for a connection or for a server that does not acknowledge.
const LIMIT: Duration = Duration::from_secs(5);

const COLUMNS: &str = "id, \"user\", key, state, total, items, reason, correlation_id, placed_at";

/// Connections to a server. Clones share them.
#[derive(Clone)]
pub struct Postgres(Pool);

impl fmt::Debug for Postgres {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Postgres").field(&self.0.status()).finish()
    }
}

impl Postgres {
    pub(super) async fn connect(url: &str) -> Result<Self, Failure> {
        let refuse = |error: &dyn fmt::Display| {
            Failure::new(Code::Invalid, format!("database is refused: {error}"))
        };
        let mut server: tokio_postgres::Config = url
            .parse()
            .map_err(|error: tokio_postgres::Error| refuse(&error))?;
        server.connect_timeout(LIMIT).tcp_user_timeout(LIMIT);
        // A host that is gone without a word answers no statement that it has received.
        server.keepalives_idle(LIMIT).keepalives_retries(3);
        server.keepalives_interval(Duration::from_secs(1));
        if server.get_options().is_none() {
            // A server that hangs fails the statement, which is tried again. A process that is gone in
            // the middle of a transaction holds its locks no longer than this.
            server.options(
                "-c statement_timeout=5000 -c lock_timeout=3000 \
                 -c idle_in_transaction_session_timeout=5000",
            );
        }
        let manager = Manager::from_config(server, NoTls, ManagerConfig::default());
        let pool = Pool::builder(manager)
            .max_size(CONNECTIONS)
            .wait_timeout(Some(LIMIT))
            .create_timeout(Some(LIMIT))
            .recycle_timeout(Some(LIMIT))
            .runtime(Runtime::Tokio1)
            .build()
            .map_err(|error| refuse(&error))?;
        let server = Self(pool);
        server.migrate().await?;
        Ok(server)
    }

    async fn connection(&self) -> Result<Object, Failure> {
        self.0.get().await.map_err(|error| {
            let text = format!("the database of orders cannot be reached: {error}");
            Failure::new(Code::NotSent, text)
        })
    }

    async fn migrate(&self) -> Result<(), Failure> {
        let mut connection = self.connection().await?;
        let change = connection.transaction().await.map_err(failure)?;
        // One process at a time.
        let begin = "select pg_advisory_xact_lock(7461);
            create table if not exists versions (version int not null primary key)";
        change.batch_execute(begin).await.map_err(failure)?;
        let newest = "select coalesce(max(version), 0) from versions";
        let row = change.query_one(newest, &[]).await.map_err(failure)?;
        let version = usize::try_from(row.get::<_, i32>(0)).unwrap_or(0);
        if version > MIGRATIONS.len() {
            let newest = MIGRATIONS.len();
            return Err(internal(format_args!(
                "its version {version} is later than {newest}, which this program knows"
            )));
        }
        for (number, migration) in (1_i32..).zip(MIGRATIONS).skip(version) {
            change.batch_execute(migration).await.map_err(failure)?;
            let add = "insert into versions values ($1)";
            change.execute(add, &[&number]).await.map_err(failure)?;
        }
        change.commit().await.map_err(failure)
    }

    pub(super) async fn place(&self, order: Order) -> Result<Order, Failure> {
        let mut connection = self.connection().await?;
        let change = connection.transaction().await.map_err(failure)?;
        let add = "insert into orders values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
            on conflict (\"user\", key) do nothing";
        let add = change.prepare_cached(add).await.map_err(failure)?;
        let items = serde_json::to_string(&order.items).map_err(internal)?;
        let state = order.state.as_str();
        let added = change
            .execute(
                &add,
                &[
                    &order.id,
                    &order.user,
                    &order.key,
                    &state,
                    &order.total,
                    &items,
                    &order.reason,
                    &order.correlation_id,
                    &order.placed_at,
                ],
            )
            .await
            .map_err(failure)?;
        if added == 0 {
            drop(change);
            drop(connection);
            let known = self.with_key(&order.user, &order.key).await?;
            return known.ok_or_else(|| internal("an order was there, and is gone"));
        }
        add_event(&change, &order).await?;
        change.commit().await.map_err(failure)?;
        Ok(order)
    }

    pub(super) async fn with_key(&self, user: &str, key: &str) -> Result<Option<Order>, Failure> {
        let find = format!("select {COLUMNS} from orders where \"user\" = $1 and key = $2");
        let rows = self.query(&find, &[&user, &key]).await?;
        rows.first().map(read).transpose()
    }

    pub(super) async fn get(&self, id: &str) -> Result<Option<Order>, Failure> {
        let find = format!("select {COLUMNS} from orders where id = $1");
        let rows = self.query(&find, &[&id]).await?;
        rows.first().map(read).transpose()
    }

    pub(super) async fn of_user(&self, user: &str, most: u32) -> Result<Vec<Order>, Failure> {
        let find = format!(
            "select {COLUMNS} from orders where \"user\" = $1
                order by placed_at desc, id desc limit $2"
        );
        let rows = self.query(&find, &[&user, &i64::from(most)]).await?;
        rows.iter().map(read).collect()
    }

    pub(super) async fn unfinished(&self) -> Result<Vec<Order>, Failure> {
        let find = format!(
            "select {COLUMNS} from orders where state not in ('confirmed', 'compensated')
                order by placed_at"
        );
        let rows = self.query(&find, &[]).await?;
        rows.iter().map(read).collect()
    }

    pub(super) async fn advance(&self, order: Order, from: State) -> Result<bool, Failure> {
        let mut connection = self.connection().await?;
        let change = connection.transaction().await.map_err(failure)?;
        let set = "update orders set state = $1, reason = $2 where id = $3 and state = $4";
        let set = change.prepare_cached(set).await.map_err(failure)?;
        let (state, from) = (order.state.as_str(), from.as_str());
        let row: [Parameter<'_>; 4] = [&state, &order.reason, &order.id, &from];
        if change.execute(&set, &row).await.map_err(failure)? == 0 {
            return Ok(false);
        }
        add_event(&change, &order).await?;
        change.commit().await.map_err(failure)?;
        Ok(true)
    }

    pub(super) async fn unsent(&self, most: u32) -> Result<Vec<Unsent>, Failure> {
        let find = "select seq, event from outbox order by seq limit $1";
        let rows = self.query(find, &[&i64::from(most)]).await?;
        let rows = rows.iter().map(|row| {
            let event: &str = row.get(1);
            let event = serde_json::from_str(event).map_err(internal)?;
            let seq = row.get(0);
            Ok(Unsent { seq, event })
        });
        rows.collect()
    }

    pub(super) async fn sent(&self, sent: &[i64]) -> Result<(), Failure> {
        let remove = "delete from outbox where seq = any($1)";
        self.query(remove, &[&sent]).await.map(drop)
    }

    async fn query(&self, query: &str, parameters: &[Parameter<'_>]) -> Result<Vec<Row>, Failure> {
        let connection = self.connection().await?;
        let query = connection.prepare_cached(query).await.map_err(failure)?;
        let rows = connection.query(&query, parameters).await;
        rows.map_err(failure)
    }
}

type Parameter<'a> = &'a (dyn tokio_postgres::types::ToSql + Sync);

async fn add_event(
    change: &deadpool_postgres::Transaction<'_>,
    order: &Order,
) -> Result<(), Failure> {
    let Some(event) = order.event() else {
        return Ok(());
    };
    let event = serde_json::to_string(&event).map_err(internal)?;
    let add = "insert into outbox (event) values ($1)";
    let add = change.prepare_cached(add).await.map_err(failure)?;
    change.execute(&add, &[&event]).await.map_err(failure)?;
    Ok(())
}

fn read(row: &Row) -> Result<Order, Failure> {
    let (state, items): (&str, &str) = (row.get(3), row.get(5));
    let unknown = || internal(format_args!("{state:?} is no state of an order"));
    Ok(Order {
        id: row.get(0),
        user: row.get(1),
        key: row.get(2),
        state: State::of(state).ok_or_else(unknown)?,
        total: row.get(4),
        items: serde_json::from_str(items).map_err(internal)?,
        reason: row.get(6),
        correlation_id: row.get(7),
        placed_at: row.get(8),
    })
}

/// Whether a lost connection had an effect is unknown. Callers read what is `Overloaded`.
fn failure(error: tokio_postgres::Error) -> Failure {
    let state = error.code().map_or("", |state| state.code());
    let whole = error.to_string();
    let (code, text) = match state {
        _ if error.is_closed() => (Code::Lost, &*whole),
        // It stops.
        "57P01" | "57P02" => (Code::Lost, &*whole),
        // Class 53 is no disk, no memory, or too many connections. Then: locks, time, start.
        "55P03" | "57014" | "57P03" => (Code::Overloaded, "it has too much to do"),
        state if state.starts_with("53") => (Code::Overloaded, "it has no room"),
        _ => (Code::Internal, &*whole),
    };
    tracing::warn!(%error, state, "the database has failed");
    Failure::new(code, format!("the database of orders: {text}"))
}
