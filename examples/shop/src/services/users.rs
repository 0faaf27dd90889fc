//! The users and their API keys. It keeps only a hash of each key.

use std::path::Path;
use std::time::Duration;

use mainstay::BoxError;
use mainstay::shutdown::Shutdown;
use rusqlite::{OptionalExtension, params};
use sha2::{Digest, Sha256};
use tokio::net::TcpListener;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use self::proto::users_client::UsersClient;
use self::proto::users_server::UsersServer;
use self::proto::{AuthenticateRequest, GetRequest, User};
use crate::config::Config;
use crate::demo;
use crate::grpc;
use crate::message::Failure;
use crate::process::{Process, listen};
use crate::store::{self, Store};

#[allow(missing_docs, unreachable_pub, reason = "generated")]
pub mod proto {
    include!("../../proto/users.rs");
}

const MIGRATIONS: &[&str] = &["
    create table users (
        key_hash blob not null primary key,
        id text not null unique,
        tenant text not null
    ) without rowid;
"];

/// A client of the service: a stub through mainstay's layers.
pub type Client = UsersClient<grpc::Client>;

/// A client of the service at HOST:PORT, which connects when it is called.
///
/// # Errors
///
/// The address is none.
pub fn client(address: &str) -> Result<Client, BoxError> {
    let (timeout, attempt) = (Duration::from_secs(1), Duration::from_millis(400));
    let channel = grpc::client("users", address, timeout, attempt)?;
    Ok(UsersClient::new(channel))
}

/// Runs until SIGTERM.
///
/// # Errors
///
/// The address is in use, or the database cannot be opened.
pub async fn run(config: Config, process: Process) -> Result<(), BoxError> {
    let users = Users::open(&config.data)?;
    users.seed().await?;
    process.break_store(&users.0);
    let listener = listen(config.listen).await?;
    process.ready();
    serve(listener, users, process.shutdown()).await
}

/// Serves calls until the shutdown.
///
/// # Errors
///
/// The server failed, or had to be cut off.
pub async fn serve(
    listener: TcpListener,
    users: Users,
    shutdown: &Shutdown,
) -> Result<(), BoxError> {
    let routes = Routes::new(UsersServer::new(users));
    grpc::serve("users", listener, routes, shutdown).await
}

/// The users, as a service. Clones share the database.
#[derive(Debug, Clone)]
pub struct Users(Store);

impl Users {
    /// Opens the database of the service.
    ///
    /// # Errors
    ///
    /// See [`Store::open`].
    pub fn open(folder: &Path) -> Result<Self, Failure> {
        Store::open(folder, "users", MIGRATIONS).map(Self)
    }

    /// The same in memory, for tests.
    ///
    /// # Errors
    ///
    /// A migration failed.
    pub fn in_memory() -> Result<Self, store::Error> {
        Store::in_memory("users", MIGRATIONS).map(Self)
    }

    /// Adds the users of a new shop that are not there.
    ///
    /// # Errors
    ///
    /// The database cannot be written.
    pub async fn seed(&self) -> Result<(), Failure> {
        self.0
            .run(|connection| {
                let seeding = connection.transaction()?;
                for user in demo::users() {
                    let add = "insert into users values (?, ?, ?) on conflict do nothing";
                    seeding.execute(add, params![hash(&user.api_key), user.id, user.tenant])?;
                }
                seeding.commit()
            })
            .await
    }

    async fn find(
        &self,
        condition: &'static str,
        value: impl rusqlite::ToSql + Send + 'static,
    ) -> Result<Option<User>, Failure> {
        self.0
            .run(move |connection| {
                let find = format!("select id, tenant from users where {condition} = ?");
                let mut find = connection.prepare_cached(&find)?;
                let user = find.query_row([value], |row| {
                    let (id, tenant) = (row.get(0)?, row.get(1)?);
                    Ok(User { id, tenant })
                });
                user.optional()
            })
            .await
    }
}

/// A key is long and random, so a fast hash without salt is enough.
fn hash(api_key: &str) -> Vec<u8> {
    Sha256::digest(api_key).to_vec()
}

#[tonic::async_trait]
impl proto::users_server::Users for Users {
    async fn authenticate(
        &self,
        request: Request<AuthenticateRequest>,
    ) -> Result<Response<User>, Status> {
        let hash = hash(&request.into_inner().api_key);
        let user = self.find("key_hash", hash).await?;
        let user = user.ok_or_else(|| Status::unauthenticated("no user has this API key"))?;
        tracing::debug!(user = user.id, "authenticated");
        Ok(Response::new(user))
    }

    async fn get(&self, request: Request<GetRequest>) -> Result<Response<User>, Status> {
        let id = request.into_inner().id;
        let user = self.find("id", id.clone()).await?;
        let unknown = || Status::not_found(format!("the user {} is unknown", id.escape_debug()));
        user.map(Response::new).ok_or_else(unknown)
    }
}
