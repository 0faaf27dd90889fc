//! What the products of an order cost.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mainstay::BoxError;
use tokio::time::Instant;
use tower::util::BoxCloneSyncService;
use tower::{ServiceExt, service_fn};

use crate::message::{Code, Failure};
use crate::services::catalog;
use crate::services::catalog::proto::GetProductsRequest;
use crate::services::stock::Item;

/// Asks the catalogue for the prices of products, in cents.
pub type Catalog = BoxCloneSyncService<Vec<String>, HashMap<String, i64>, Failure>;

/// How long the last known price may be used while the catalogue does not answer.
const STALE: Duration = Duration::from_secs(300);

/// The prices, and the last known ones. Clones share them.
#[derive(Debug, Clone)]
pub struct Prices {
    catalog: Catalog,
    known: Arc<Mutex<HashMap<String, (i64, Instant)>>>,
}

impl Prices {
    /// Prices from this catalogue.
    #[must_use]
    pub fn new(catalog: Catalog) -> Self {
        Self {
            catalog,
            known: Arc::default(),
        }
    }

    /// Prices from the service `catalog` at HOST:PORT.
    ///
    /// # Errors
    ///
    /// The address is none.
    pub fn of_service(address: &str) -> Result<Self, BoxError> {
        let client = catalog::client(address)?;
        Ok(Self::new(Catalog::new(service_fn(move |ids| {
            let mut client = client.clone();
            async move {
                let reply = client.get_products(GetProductsRequest { ids }).await;
                let products = reply.map_err(failure)?.into_inner().products;
                let prices = products
                    .into_iter()
                    .map(|product| (product.id, product.price));
                Ok(prices.collect())
            }
        }))))
    }

    /// The price of all items together.
    ///
    /// # Errors
    ///
    /// A product is unknown, or the catalogue does not answer and a price is not known from the last
    /// minutes.
    pub async fn total(&self, items: &[Item]) -> Result<i64, Failure> {
        let products: Vec<_> = items.iter().map(|item| item.product.clone()).collect();
        let prices = match self.catalog.clone().oneshot(products).await {
            Ok(prices) => {
                let now = Instant::now();
                let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
                let fresh = prices.iter().map(|(id, price)| (id.clone(), (*price, now)));
                known.extend(fresh);
                prices
            }
            Err(failure) if failure.code.is_transient() => self.last_known(items).ok_or(failure)?,
            Err(failure) => return Err(failure),
        };
        let mut total = 0_i64;
        for Item { product, quantity } in items {
            let price = prices.get(product).ok_or_else(|| {
                let text = format!("product = {product:?} is not in the catalogue");
                Failure::new(Code::NotFound, text)
            })?;
            total = total.saturating_add(price.saturating_mul(i64::from(*quantity)));
        }
        Ok(total)
    }

    fn last_known(&self, items: &[Item]) -> Option<HashMap<String, i64>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let price = |item: &Item| {
            let (price, at) = known.get(&item.product)?;
            (at.elapsed() < STALE).then(|| (item.product.clone(), *price))
        };
        items.iter().map(price).collect()
    }
}

/// With a sentence that callers may read.
fn failure(status: tonic::Status) -> Failure {
    let mut failure = Failure::from(status);
    if failure.code.is_transient() {
        tracing::warn!(%failure, "no answer of catalog");
        "catalog gives no answer".clone_into(&mut failure.message);
    } else {
        failure.message = format!("catalog: {}", failure.message);
    }
    failure
}
