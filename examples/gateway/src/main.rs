//! A gateway whose upstreams you can break.
//!
//! ```text
//! cargo run --release -p gateway
//! ```
//!
//! An axum gateway calls two upstreams, one by HTTP and one by gRPC. Every server and every client
//! has a standard stack. Everything runs in one process on loopback, and the program also sends
//! requests. Break an upstream with curl, and watch its circuit open and close in the
//! log, in `/metrics`, in `/snapshot` and in `/readyz`. The program prints the commands to try, and
//! runs until SIGTERM or Ctrl-C. Then it ends without failing a request.
//!
//! `dashboards/` has a dashboard and alerts for its metrics.
//!
//! - `gateway.rs`: the routes and the stack of the gateway
//! - `clients.rs`: how the gateway calls the two upstreams
//! - `upstream.rs`, `fault.rs`: the two upstreams and their faults
//! - `telemetry.rs`, `admin.rs`: metrics, log lines, snapshots, health checks
//! - `load.rs`: the users
//! - `args.rs`, `story.rs`: the command line, and what to try

mod admin;
mod args;
mod clients;
mod fault;
mod gateway;
mod load;
// From the outage example: a server that can be killed and started again on the same port.
#[path = "../../outage/src/server.rs"]
mod server;
mod story;
mod telemetry;
mod upstream;

#[allow(missing_docs, unreachable_pub, reason = "generated")]
mod proto {
    include!("../../proto/pricing.rs");
}

use std::future::IntoFuture as _;
use std::io;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::sync::Arc;

use args::Args;
use clap::Parser;
use clients::{Catalog, Pricing};
use mainstay::BoxError;
use mainstay::health::Health;
use mainstay::shutdown::Shutdown;
use tokio::net::TcpListener;
use upstream::Upstream;

#[tokio::main]
async fn main() -> ExitCode {
    match run(&Args::parse()).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn run(args: &Args) -> Result<(), BoxError> {
    let listener = listen(args.port).await?;
    let address = listener.local_addr()?;
    telemetry::log();
    let metrics = telemetry::record()?;

    let upstreams = Arc::new([Upstream::catalog().await?, Upstream::pricing().await?]);
    let catalog = Catalog::new(upstreams[0].address)?;
    let pricing = Pricing::new(upstreams[1].address)?;
    let shutdown = Shutdown::builder().drain(args.drain()).on_signal()?;
    let health = Health::global().shutdown(&shutdown).service();
    let app = gateway::routes(gateway::stack()?, catalog, pricing)
        .layer(shutdown.close_connections())
        .merge(admin::routes(metrics, health, Arc::clone(&upstreams)));
    story::print(address, &upstreams, args.load);

    let load = load::run(format!("http://{address}"), args.load, shutdown.begun());
    let load = tokio::spawn(load);
    if let Some(time) = args.ends_after() {
        let shutdown = shutdown.clone();
        tokio::spawn(async move {
            tokio::time::sleep(time).await;
            shutdown.begin();
        });
    }
    let server = axum::serve(listener, app).with_graceful_shutdown(shutdown.closing());
    shutdown.run(server.into_future()).await??;
    load.await??;
    // Nobody calls the upstreams any more. They end with this process.
    Ok(())
}

/// Listens on the port.
async fn listen(port: u16) -> Result<TcpListener, BoxError> {
    let listening = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await;
    listening.map_err(|error| match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "port {port} of 127.0.0.1 is in use: stop the program that listens there, or choose \
             another port with `--port PORT` (0 chooses a free one)"
        )
        .into(),
        _ => format!("cannot listen on port {port} of 127.0.0.1: {error}").into(),
    })
}
