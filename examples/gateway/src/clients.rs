//! How the gateway calls its upstreams: one through a standard stack around reqwest's client, the
//! other through a standard stack around tonic's channel.

use std::net::SocketAddr;
use std::time::Duration;

use mainstay::reqwest::{Client, SendThrough};
use mainstay::{BoxError, Error, Window, grpc, http};
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use crate::proto::PriceRequest;
use crate::proto::pricing_client::PricingClient;

/// The time limit of a call with all its attempts: less than the gateway's own limit.
const TIMEOUT: Duration = Duration::from_millis(1500);
/// The threshold for slow calls. A healthy call takes about ten milliseconds.
const SLOW: Duration = Duration::from_millis(300);
/// Short, so that you can watch: the circuit opens 2 seconds after an upstream breaks, and closes
/// at most 7 seconds after it is repaired. The defaults are 10 seconds for the window, and 5 to 60
/// seconds for the open time.
const WINDOW: Duration = Duration::from_secs(4);
const OPEN_FOR: Duration = Duration::from_secs(3);
const OPEN_MAX: Duration = Duration::from_secs(6);
/// The limit of the attempts in flight, the length of the queue, and the longest wait in it.
const IN_FLIGHT: u32 = 8;
const WAITING: u32 = 8;
const WAIT: Duration = Duration::from_millis(50);

/// The client of `catalog`.
#[derive(Clone)]
pub(crate) struct Catalog {
    http: reqwest::Client,
    url: String,
    client: Client,
}

impl Catalog {
    pub(crate) fn new(address: SocketAddr) -> Result<Self, BoxError> {
        let stack = mainstay::reqwest::client("catalog")
            .timeout(TIMEOUT)
            .retry(2)
            .circuit_breaker(
                http::circuit_breaker()
                    .slow_calls(SLOW, 0.5)
                    .window(Window::time(WINDOW))
                    .open_for(OPEN_FOR)
                    .open_max(OPEN_MAX),
            )
            .bulkhead(http::bulkhead().limit(IN_FLIGHT).queue(WAITING, WAIT))
            .build()?;
        let http = reqwest::Client::builder()
            .no_proxy()
            .retry(reqwest::retry::never())
            .build()?;
        Ok(Self {
            client: stack.wrap(http.clone()),
            url: format!("http://{address}/descriptions"),
            http,
        })
    }

    pub(crate) async fn describe(&self, product: &str) -> Result<String, Error<reqwest::Error>> {
        let response = self
            .http
            .get(format!("{}/{product}", self.url))
            .send_through(&self.client)
            .await?;
        Ok(response.error_for_status()?.text().await?)
    }
}

/// The client of `pricing`.
#[derive(Clone)]
pub(crate) struct Pricing {
    client: PricingClient<grpc::Client<Channel>>,
}

impl Pricing {
    pub(crate) fn new(address: SocketAddr) -> Result<Self, BoxError> {
        let stack = grpc::client("pricing")
            .timeout(TIMEOUT)
            .retry(2)
            .circuit_breaker(
                grpc::circuit_breaker()
                    .slow_calls(SLOW, 0.5)
                    .window(Window::time(WINDOW))
                    .open_for(OPEN_FOR)
                    .open_max(OPEN_MAX),
            )
            .bulkhead(grpc::bulkhead().limit(IN_FLIGHT).queue(WAITING, WAIT))
            .build()?;
        let channel = Endpoint::from_shared(format!("http://{address}"))?.connect_lazy();
        Ok(Self {
            client: PricingClient::new(stack.wrap(channel)),
        })
    }

    pub(crate) async fn price(&self, product: String) -> Result<u32, Status> {
        // A stub's methods take `&mut self`. A clone shares circuit, budget and bulkhead.
        let mut client = self.client.clone();
        let reply = client.price(PriceRequest { product }).await?;
        Ok(reply.into_inner().cents)
    }
}
