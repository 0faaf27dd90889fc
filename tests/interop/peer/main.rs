//! One side of the interoperability tests: servers and clients behind the layers, for `tests/interop/run.sh` to set against clients and
//! servers that know nothing of them.
//!
//! A server listens on free ports of the loopback interface, prints their addresses as one line of JSON, and serves until it is told to
//! end, but no longer than five minutes. A client prints one line of JSON for each case.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use mainstay::BoxError;

mod cases;
mod echo;
mod grpc_client;
mod grpc_server;
mod http_client;
mod http_server;
mod journal;
mod stacks;
mod upstream;

#[allow(missing_docs, unreachable_pub, clippy::all, reason = "generated")]
mod proto {
    include!("../echo.rs");
}

/// Nothing that these tests start lives longer.
const LONGEST: Duration = Duration::from_secs(300);

#[derive(Debug, Parser)]
#[command(about = "One side of the interoperability tests. See tests/interop/run.sh.")]
struct Arguments {
    #[command(subcommand)]
    role: Role,
}

#[derive(Debug, Subcommand)]
enum Role {
    /// A tonic server behind the layers.
    GrpcServer,
    /// A tonic client behind the layers, against servers that are not.
    GrpcClient {
        /// The server's address.
        server: String,
        /// The addresses of servers that are killed.
        victims: Vec<String>,
    },
    /// An axum server behind the layers.
    HttpServer,
    /// A reqwest client behind the layers, against a proxy.
    HttpClient {
        /// The proxy's address.
        proxy: String,
        /// Where the proxy writes down what it was asked.
        access_log: PathBuf,
    },
    /// What the proxy stands in front of.
    Upstream,
}

#[tokio::main]
async fn main() -> ExitCode {
    let role = Arguments::parse().role;
    match tokio::time::timeout(LONGEST, run(role)).await {
        Ok(Ok(())) => ExitCode::SUCCESS,
        Ok(Err(error)) => {
            eprintln!("interop-peer: {error}");
            ExitCode::FAILURE
        }
        Err(_) => {
            eprintln!("interop-peer: told nothing for {LONGEST:?}");
            ExitCode::FAILURE
        }
    }
}

async fn run(role: Role) -> Result<(), BoxError> {
    match role {
        Role::GrpcServer => grpc_server::run().await,
        Role::GrpcClient { server, victims } => grpc_client::run(&server, victims).await,
        Role::HttpServer => http_server::run().await,
        Role::HttpClient { proxy, access_log } => http_client::run(&proxy, access_log).await,
        Role::Upstream => upstream::run().await,
    }
}
