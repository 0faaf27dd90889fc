//! The standard stack around reqwest's client.

use crate::stack::{ClientBuilder, Http};

/// The standard stack around reqwest's client: correlation, timeout, retry, circuit breaker,
/// bulkhead, attempt timeout, deadline.
///
/// ```no_run
/// use mainstay::reqwest::SendThrough;
/// use std::time::Duration;
///
/// # async fn example(url: &str, order: String) -> Result<(), mainstay::BoxError> {
/// let client = reqwest::Client::builder()
///     .retry(reqwest::retry::never())
///     .build()?;
/// let payments: mainstay::reqwest::Client = mainstay::reqwest::client("payments")
///     .timeout(Duration::from_secs(2))
///     .retry(3)
///     .build()?
///     .wrap(client.clone());
///
/// let receipt = client.post(url).body(order).send_through(&payments).await?.text().await?;
/// # Ok(())
/// # }
/// ```
///
/// It is the same as [`http::client`](crate::http::client). [`mainstay::stack`](crate::stack)
/// describes its layers, and [`ClientBuilder`] its settings. Do not set reqwest's own `timeout`,
/// and disable its `retry` as above: see [reqwest's own
/// retries](crate::reqwest#reqwests-own-retries).
pub fn client(name: impl Into<String>) -> ClientBuilder<Http> {
    crate::stack::http::client(name)
}

/// reqwest's client in the stack of [`client`].
pub type Client = crate::stack::http::Client<::reqwest::Client>;
