//! The products and their prices.

use std::path::Path;
use std::time::Duration;

use futures_util::stream::{self, BoxStream, StreamExt, TryStreamExt};
use mainstay::BoxError;
use mainstay::shutdown::Shutdown;
use rusqlite::{OptionalExtension, Row, params};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

use self::proto::catalog_client::CatalogClient;
use self::proto::catalog_server::CatalogServer;
use self::proto::{GetProductRequest, GetProductsReply, GetProductsRequest, ListRequest, Product};
use crate::config::Config;
use crate::message::Failure;
use crate::process::{Faults, Process, listen};
use crate::store::{Error, Store};
use crate::{demo, grpc};

#[allow(missing_docs, unreachable_pub, reason = "generated")]
pub mod proto {
    include!("../../proto/catalog.rs");
}

const MIGRATIONS: &[&str] = &["
    create table products (
        number integer primary key,
        id text not null unique,
        name text not null,
        price integer not null
    );
"];

/// How many products one call may ask for, and one read of the list has.
const PAGE: usize = 100;

/// A client of the service: a stub through mainstay's layers.
pub type Client = CatalogClient<grpc::Client>;

/// A client of the service at HOST:PORT, which connects when it is called.
///
/// # Errors
///
/// The address is none.
pub fn client(address: &str) -> Result<Client, BoxError> {
    let (timeout, attempt) = (Duration::from_secs(1), Duration::from_millis(400));
    let channel = grpc::client("catalog", address, timeout, attempt)?;
    Ok(CatalogClient::new(channel))
}

/// Runs until SIGTERM.
///
/// # Errors
///
/// The address is in use, or the database cannot be opened.
pub async fn run(config: Config, process: Process) -> Result<(), BoxError> {
    let catalog = Catalog::new(Store::open(&config.data, "catalog", MIGRATIONS)?);
    catalog.seed().await?;
    process.break_store(&catalog.store);
    let catalog = catalog.with_faults(process.watch_faults());
    let listener = listen(config.listen).await?;
    process.ready();
    serve(listener, catalog, process.shutdown()).await
}

/// Serves calls until the shutdown.
///
/// # Errors
///
/// The server failed, or had to be cut off.
pub async fn serve(
    listener: TcpListener,
    catalog: Catalog,
    shutdown: &Shutdown,
) -> Result<(), BoxError> {
    let routes = Routes::new(CatalogServer::new(catalog));
    grpc::serve("catalog", listener, routes, shutdown).await
}

/// The products, as a service. Clones share the database.
#[derive(Debug, Clone)]
pub struct Catalog {
    store: Store,
    faults: Option<watch::Receiver<Faults>>,
}

impl Catalog {
    const fn new(store: Store) -> Self {
        Self {
            store,
            faults: None,
        }
    }

    /// Opens the database of the service.
    ///
    /// # Errors
    ///
    /// See [`Store::open`].
    pub fn open(folder: &Path) -> Result<Self, Failure> {
        Store::open(folder, "catalog", MIGRATIONS).map(Self::new)
    }

    /// The same in memory, for tests.
    ///
    /// # Errors
    ///
    /// A migration failed.
    pub fn in_memory() -> Result<Self, Error> {
        Store::in_memory("catalog", MIGRATIONS).map(Self::new)
    }

    /// Each call waits as long as these faults say.
    #[must_use]
    pub fn with_faults(mut self, faults: watch::Receiver<Faults>) -> Self {
        self.faults = Some(faults);
        self
    }

    /// Adds the products of a new shop that are not there.
    ///
    /// # Errors
    ///
    /// The database cannot be written.
    pub async fn seed(&self) -> Result<(), Failure> {
        self.store
            .run(|connection| {
                let seeding = connection.transaction()?;
                for product in demo::PRODUCTS {
                    let add = "insert into products (id, name, price) values (?, ?, ?)
                        on conflict do nothing";
                    seeding.execute(add, params![product.id, product.name, product.price])?;
                }
                seeding.commit()
            })
            .await
    }

    async fn delay(&self) {
        if let Some(faults) = &self.faults {
            let now = *faults.borrow();
            now.delay().await;
        }
    }

    /// The product of each ID, unless it is unknown.
    async fn find(&self, ids: Vec<String>) -> Result<Vec<Option<Product>>, Failure> {
        self.delay().await;
        self.store
            .run(move |connection| {
                let find = "select number, id, name, price from products where id = ?";
                let mut find = connection.prepare_cached(find)?;
                let find = |id| {
                    let found = find.query_row([id], |row| Ok(product(row)?.1));
                    found.optional()
                };
                ids.into_iter().map(find).collect()
            })
            .await
    }

    /// The next products after this number, and their last number.
    async fn page(self, after: i64) -> Result<Vec<(i64, Product)>, Failure> {
        self.store
            .run(move |connection| {
                let list = "select number, id, name, price from products
                    where number > ? order by number limit ?";
                let mut list = connection.prepare_cached(list)?;
                list.query_map(params![after, PAGE], product)?.collect()
            })
            .await
    }
}

fn product(row: &Row<'_>) -> Result<(i64, Product), Error> {
    let product = Product {
        id: row.get(1)?,
        name: row.get(2)?,
        price: row.get(3)?,
    };
    Ok((row.get(0)?, product))
}

#[tonic::async_trait]
impl proto::catalog_server::Catalog for Catalog {
    async fn get_product(
        &self,
        request: Request<GetProductRequest>,
    ) -> Result<Response<Product>, Status> {
        let id = request.into_inner().id;
        let unknown = || Status::not_found(format!("the product {} is unknown", id.escape_debug()));
        let mut found = self.find(vec![id.clone()]).await?;
        let product = found.pop().flatten().ok_or_else(unknown)?;
        Ok(Response::new(product))
    }

    async fn get_products(
        &self,
        request: Request<GetProductsRequest>,
    ) -> Result<Response<GetProductsReply>, Status> {
        let ids = request.into_inner().ids;
        if ids.len() > PAGE {
            let text = format!(
                "ids = {} of them is refused: must be at most {PAGE}",
                ids.len()
            );
            return Err(Status::invalid_argument(text));
        }
        let found = self.find(ids).await?;
        let products: Vec<_> = found.into_iter().flatten().collect();
        tracing::info!(products = products.len(), "prices given");
        Ok(Response::new(GetProductsReply { products }))
    }

    type ListStream = BoxStream<'static, Result<Product, Status>>;

    async fn list(&self, _: Request<ListRequest>) -> Result<Response<Self::ListStream>, Status> {
        self.delay().await;
        let catalog = self.clone();
        let pages = stream::try_unfold(0, move |after| {
            let catalog = catalog.clone();
            async move {
                let page = catalog.page(after).await?;
                let last = page.last().map(|(number, _)| *number);
                Ok::<_, Failure>(last.map(|last| (page, last)))
            }
        });
        let products = pages
            .map_ok(|page| stream::iter(page).map(|(_, product)| Ok::<_, Failure>(product)))
            .try_flatten()
            .map_err(Status::from);
        Ok(Response::new(products.boxed()))
    }
}
