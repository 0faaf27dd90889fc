//! A gateway whose upstreams you can break.
//!
//! ```text
//! cargo run --release -p gateway
//! ```
//!
//! An axum gateway calls two upstreams, one by HTTP and one by gRPC. Every server and every client
//! has a standard stack. Everything runs in one process on loopback, and the program also sends
//! requests. Break an upstream with curl, and watch its circuit open and close in the
//! log, in `/metrics` and in `/snapshot`. The program prints the commands to try, and runs until
//! Ctrl-C.
//!
//! `dashboards/` has a dashboard and alerts for its metrics.
//!
//! - `gateway.rs`: the routes and the stack of the gateway
//! - `clients.rs`: how the gateway calls the two upstreams
//! - `upstream.rs`, `fault.rs`: the two upstreams and their faults
//! - `telemetry.rs`, `snapshot.rs`, `admin.rs`: metrics, log lines, snapshots
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
mod snapshot;
mod story;
mod telemetry;
mod upstream;

#[allow(missing_docs, unreachable_pub, reason = "generated")]
mod proto {
    include!("../../proto/pricing.rs");
}

use std::io;
use std::net::Ipv4Addr;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use args::Args;
use clap::Parser;
use clients::{Catalog, Pricing};
use mainstay::BoxError;
use snapshot::Sources;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tracing::info;
use upstream::Upstream;

/// How long requests in flight have when the program ends: longer than a request may take.
const LAST_REQUESTS: Duration = Duration::from_secs(5);

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
    let stack = gateway::stack()?;
    let servers = [&stack, &upstreams[0].stack, &upstreams[1].stack];
    let sources = Sources {
        catalog: catalog.clone(),
        pricing: pricing.clone(),
        servers: servers.map(Clone::clone).into(),
    };
    let app = gateway::routes(stack, catalog, pricing).merge(admin::routes(
        metrics,
        sources,
        Arc::clone(&upstreams),
    ));
    story::print(address, &upstreams, args.load);

    let (stop, stopped) = watch::channel(false);
    let load = tokio::spawn(load::run(
        format!("http://{address}"),
        args.load,
        stopped.clone(),
    ));
    let mut is_stopped = stopped;
    let server = tokio::spawn(
        axum::serve(listener, app)
            .with_graceful_shutdown(async move {
                let _ = is_stopped.wait_for(|stop| *stop).await;
            })
            .into_future(),
    );

    ended(args.ends_after()).await?;
    info!("stopping: no new requests are accepted, requests in flight are answered");
    stop.send_replace(true);
    let ending = async { (load.await, server.await) };
    let (load, server) = tokio::time::timeout(LAST_REQUESTS, ending)
        .await
        .map_err(|_| format!("requests were still in flight after {LAST_REQUESTS:?}"))?;
    load??;
    server??;
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

/// Waits for Ctrl-C, for SIGTERM, or for the time of `--for`.
async fn ended(after: Option<Duration>) -> io::Result<()> {
    let time = async {
        match after {
            Some(after) => tokio::time::sleep(after).await,
            None => std::future::pending().await,
        }
    };
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        terminated = terminated() => terminated,
        () = time => Ok(()),
    }
}

#[cfg(unix)]
async fn terminated() -> io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    signal(SignalKind::terminate())?.recv().await;
    Ok(())
}

#[cfg(not(unix))]
async fn terminated() -> io::Result<()> {
    std::future::pending().await
}
