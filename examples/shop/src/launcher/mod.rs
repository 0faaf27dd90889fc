//! Starts a whole shop on this machine, one process for each service.

mod addresses;
mod child;
mod log;
mod redis;
mod system;

use std::path::{Path, PathBuf};

use clap::Args;
use mainstay::BoxError;
use mainstay::shutdown::Shutdown;
use tokio::sync::mpsc;

pub use self::addresses::Addresses;
pub use self::child::Notice;
pub use self::redis::with_parent;
pub use self::system::{Broker, Settings, System};
use crate::config::Name;

/// The default of `--port`.
const PORT: u16 = 8080;
/// The default of `--data`.
const DATA: &str = "shop-data";

/// How a shop is started.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// Port of the gateway. The others follow: users +1, catalog +2, payments +3, stock +4,
    /// orders +5, notifications +6, broker +7; admin ports +100. 0 chooses free ports
    #[arg(long, default_value_t = PORT)]
    pub port: u16,
    /// Folder for databases and logs; not deleted at the end
    #[arg(long, default_value = DATA)]
    pub data: PathBuf,
    /// The broker.
    #[command(flatten)]
    pub broker: BrokerOptions,
    /// Database of orders, instead of a file: postgres://USER:PASSWORD@HOST:PORT/NAME
    #[arg(long, value_name = "URL")]
    pub postgres: Option<String>,
}

/// The choice of the broker. The default is the embedded one.
#[derive(Debug, Clone, Args)]
pub struct BrokerOptions {
    /// Use this Redis server as the broker: redis://HOST:PORT/
    #[arg(long, value_name = "URL", conflicts_with = "redis_server")]
    pub redis: Option<String>,
    /// Start Debian's redis-server as the broker
    #[arg(long)]
    pub redis_server: bool,
    /// Let orders call stock over the broker instead of TCP
    #[arg(long)]
    pub stock_by_broker: bool,
}

impl BrokerOptions {
    /// Which one was chosen.
    #[must_use]
    pub fn chosen(&self) -> Broker {
        match &self.redis {
            Some(url) => Broker::Redis(url.clone()),
            None if self.redis_server => Broker::RedisServer,
            None => Broker::Embedded,
        }
    }
}

/// Runs a shop until Ctrl-C or SIGTERM.
///
/// # Errors
///
/// In one sentence: why it has not started.
pub async fn run(options: Options) -> Result<(), BoxError> {
    let shutdown = Shutdown::builder()
        .drain(std::time::Duration::ZERO)
        .on_signal()?;
    let again = again(&options);
    let settings = Settings {
        addresses: Addresses::from_base(options.port)?,
        stock_by_broker: options.broker.stock_by_broker,
        without_stacks: false,
        broker: options.broker.chosen(),
        data: options.data,
        postgres: options.postgres,
    };
    let count = match settings.broker {
        Broker::Embedded => "eight",
        Broker::RedisServer | Broker::Redis(_) => "seven",
    };
    println!("Starting {count} services.");
    let (sender, mut notices) = mpsc::unbounded_channel();
    let system = tokio::select! {
        () = shutdown.begun() => return Ok(()),
        started = System::start(settings, sender) => started?,
    };
    println!("{}", guide(&system, &again));
    loop {
        tokio::select! {
            () = shutdown.begun() => break,
            notice = notices.recv() => match notice {
                Some(notice) => println!("{}", sentence(&notice)),
                None => break,
            },
        }
    }
    println!("Stopping. Ctrl-C again kills all processes.");
    tokio::select! {
        killed = system.stop() => {
            for name in killed {
                println!("{name} did not end and was killed.");
            }
            println!("Stopped.");
        }
        _ = tokio::signal::ctrl_c() => println!("Killed."),
    }
    Ok(())
}

fn sentence(notice: &Notice) -> String {
    match notice {
        Notice::Died { name, why, pause } => {
            let pause = pause.as_secs();
            format!("{name} has ended and restarts in {pause} s: {why}")
        }
        Notice::Restarted { name, pid } => format!("{name} has restarted: process {pid}"),
    }
}

/// The options of this shop, for a command that starts it again.
fn again(options: &Options) -> String {
    let mut again = String::new();
    if options.port != PORT {
        again.push_str(&format!(" --port {}", options.port));
    }
    if options.data != Path::new(DATA) {
        again.push_str(&format!(" --data {}", options.data.display()));
    }
    let broker = &options.broker;
    // The URLs may have passwords.
    for (is_set, flag) in [
        (broker.redis.is_some(), " --redis URL"),
        (broker.redis_server, " --redis-server"),
        (broker.stock_by_broker, " --stock-by-broker"),
        (options.postgres.is_some(), " --postgres URL"),
    ] {
        if is_set {
            again.push_str(flag);
        }
    }
    if again.is_empty() {
        again
    } else {
        format!(" --{again}")
    }
}

/// The addresses, and commands to try.
fn guide(system: &System, again: &str) -> String {
    use std::fmt::Write as _;

    let Settings {
        data, addresses, ..
    } = system.settings();
    let mut text = String::from("The shop is running.\n\n");
    let row = ["service", "address", "admin address", "process"];
    let mut rows = vec![row.map(str::to_owned)];
    for name in Name::ALL.into_iter().rev() {
        let Some(pid) = system.pid(name) else {
            rows.push([
                name.to_string(),
                system.broker_url(),
                String::new(),
                String::new(),
            ]);
            continue;
        };
        let admin = match (name, &system.settings().broker) {
            (Name::Broker, Broker::RedisServer) => "redis-server".to_owned(),
            _ => addresses.admin(name).to_string(),
        };
        let calls = addresses.calls(name).to_string();
        rows.push([name.to_string(), calls, admin, pid.to_string()]);
    }
    for [name, calls, admin, pid] in rows {
        let _ = writeln!(text, "  {name:14} {calls:22} {admin:22} {pid}");
    }
    let data = data.display();
    let gateway = format!("http://{}", addresses.calls(Name::Gateway));
    let catalog = addresses.admin(Name::Catalog);
    let payments = system.pid(Name::Payments).unwrap_or_default();
    let _ = write!(
        text,
        "
Databases are in {data}, logs in {data}/logs. Try in another terminal:

  # The products, as user u000.
  curl -s {gateway}/products -H 'x-api-key: key-u000'

  # Place an order, with your own correlation ID and idempotency key. Repeat the command: the
  # answer is the same order.
  curl -i {gateway}/orders -H 'x-api-key: key-u000' -H 'x-correlation-id: my-first' \\
    -H 'idempotency-key: 1' -H 'content-type: application/json' \\
    -d '{{\"items\":[{{\"product\":\"tea-pot\",\"quantity\":2}}]}}'

  # The log lines of all services for it.
  cargo run --release -p shop -- trace my-first --data {data}

  # Notifications, as they happen.
  curl -N {gateway}/notifications -H 'x-api-key: key-u000'

  # Kill payments and place an order with another key: the answer is 202, and names the reason. Read
  # the order at the location of the answer: it is confirmed when payments has restarted.
  kill -9 {payments}; curl -i {gateway}/orders -H 'x-api-key: key-u000' \\
    -H 'idempotency-key: 2' -H 'content-type: application/json' \\
    -d '{{\"items\":[{{\"product\":\"kettle\",\"quantity\":1}}]}}'

  # Slow down catalog, and read the products again: the answer is 504 and names catalog. Then clear
  # the fault.
  curl -X PUT http://{catalog}/fault -H 'content-type: application/json' -d '{{\"delay_ms\":5000}}'
  curl -X PUT http://{catalog}/fault -H 'content-type: application/json' -d '{{}}'

  # The health of all services.
  curl -s {gateway}/health

  # A tenant has a rate limit. Stop this shop, start it with a lower limit, and read the products
  # twice in a second: the second answer is 429.
  SHOP_TENANT_RATE=1 cargo run --release -p shop{again}

Ctrl-C ends it.
"
    );
    text
}
