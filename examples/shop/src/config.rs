//! The configuration of a service, from options or the environment.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};

/// A service of the shop.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, ValueEnum)]
pub enum Name {
    /// The embedded broker.
    Broker,
    /// Users and their API keys, over gRPC.
    Users,
    /// Products and prices, over gRPC.
    Catalog,
    /// Charges and refunds, over TCP.
    Payments,
    /// Reservations, over TCP or the broker.
    Stock,
    /// Orders and their sagas, over HTTP.
    Orders,
    /// Notifies users of their orders.
    Notifications,
    /// The HTTP gateway.
    Gateway,
}

impl Name {
    /// In the order in which they are started.
    pub const ALL: [Self; 8] = [
        Self::Broker,
        Self::Users,
        Self::Catalog,
        Self::Payments,
        Self::Stock,
        Self::Orders,
        Self::Notifications,
        Self::Gateway,
    ];

    /// The name in commands, log lines and file names.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Broker => "broker",
            Self::Users => "users",
            Self::Catalog => "catalog",
            Self::Payments => "payments",
            Self::Stock => "stock",
            Self::Orders => "orders",
            Self::Notifications => "notifications",
            Self::Gateway => "gateway",
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The configuration of a service. Each service uses a part of it.
#[derive(Debug, Clone, Args)]
pub struct Config {
    /// Address for calls.
    #[arg(long, env = "SHOP_LISTEN", default_value = "127.0.0.1:0")]
    pub listen: SocketAddr,
    /// Admin address, for /livez, /readyz and /metrics.
    #[arg(long, env = "SHOP_ADMIN", default_value = "127.0.0.1:0")]
    pub admin: SocketAddr,
    /// Folder for the database.
    #[arg(long, env = "SHOP_DATA", default_value = "shop-data")]
    pub data: PathBuf,
    /// URL of the broker: `tcp://HOST:PORT` for the embedded broker, or `redis://HOST:PORT/`.
    #[arg(long, env = "SHOP_BROKER", default_value = "tcp://127.0.0.1:8087")]
    pub broker: String,
    /// The addresses of the other services.
    #[command(flatten)]
    pub upstreams: Upstreams,
    /// Database of `orders`, instead of a file: `postgres://USER:PASSWORD@HOST:PORT/NAME`.
    #[arg(long, env = "SHOP_DATABASE")]
    pub database: Option<String>,
    /// Requests per second for all users of the tenant `pro`; the tenant `free` has half of it.
    #[arg(long, env = "SHOP_TENANT_RATE", default_value_t = 2_000)]
    pub tenant_rate: u32,
    /// Accept faults by PUT /fault at the admin address.
    #[arg(long, env = "SHOP_FAULTS")]
    pub faults: bool,
    /// Use no stacks, to measure their cost: no time limits, no retries, no circuit breakers.
    #[arg(long, env = "SHOP_WITHOUT_STACKS", hide = true)]
    pub without_stacks: bool,
    /// Seconds for which the service still accepts calls after SIGTERM.
    #[arg(long, env = "SHOP_DRAIN", default_value_t = 1.0)]
    pub drain: f64,
    /// Stop when the standard input ends, as it does when the parent process ends.
    #[arg(long, env = "SHOP_WITH_PARENT")]
    pub with_parent: bool,
}

/// The addresses of the services, HOST:PORT each.
#[derive(Debug, Clone, Args)]
pub struct Upstreams {
    /// Address of `users`, HOST:PORT.
    #[arg(long, env = "SHOP_USERS", default_value = "127.0.0.1:8081")]
    pub users: String,
    /// Address of `catalog`, HOST:PORT.
    #[arg(long, env = "SHOP_CATALOG", default_value = "127.0.0.1:8082")]
    pub catalog: String,
    /// Address of `payments`, HOST:PORT.
    #[arg(long, env = "SHOP_PAYMENTS", default_value = "127.0.0.1:8083")]
    pub payments: String,
    /// Address of `stock`, HOST:PORT, or `broker` for requests over the broker.
    #[arg(long, env = "SHOP_STOCK", default_value = "127.0.0.1:8084")]
    pub stock: String,
    /// Address of `orders`, HOST:PORT.
    #[arg(long, env = "SHOP_ORDERS", default_value = "127.0.0.1:8085")]
    pub orders: String,
    /// Address of `notifications`, HOST:PORT.
    #[arg(long, env = "SHOP_NOTIFICATIONS", default_value = "127.0.0.1:8086")]
    pub notifications: String,
    /// Admin addresses of all services, for `GET /health`: `NAME=HOST:PORT`, separated by commas.
    #[arg(long, env = "SHOP_ADMINS", value_delimiter = ',')]
    pub admins: Vec<String>,
}
