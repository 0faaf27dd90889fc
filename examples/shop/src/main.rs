//! The shop: `cargo run --release -p shop`.

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Parser, Subcommand};
use shop::config::{Config, Name};
use shop::{bench, drill, launcher, trace};

/// A system of microservices on mainstay. Without a command, it starts all services on this machine
/// and runs until Ctrl-C.
#[derive(Parser)]
#[command(args_conflicts_with_subcommands = true)]
struct Args {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    launch: launcher::Options,
}

#[derive(Subcommand)]
enum Command {
    /// Run one service until SIGTERM.
    Service {
        /// The service to run.
        name: Name,
        #[command(flatten)]
        config: Box<Config>,
    },
    /// Kill services under load, then check the books: no order is lost or charged twice.
    Drill(drill::Options),
    /// Measure the cost of the stacks.
    Bench(bench::Options),
    /// Print the log lines of all services for an order or a correlation ID.
    Trace(trace::Options),
    /// Check the health of a service, for containers without a shell: exits with 0 for 2xx, else 1.
    Healthy {
        /// The URL to check, such as `http://127.0.0.1:8180/readyz`.
        url: String,
    },
    /// Replace this process by a program that ends with the launcher.
    #[command(hide = true)]
    WithParent {
        parent: u32,
        program: String,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<OsString>,
    },
}

#[tokio::main]
async fn main() -> ExitCode {
    let Args { command, launch } = Args::parse();
    let done = match command {
        None => launcher::run(launch).await.map(|()| ExitCode::SUCCESS),
        Some(Command::Service { name, config }) => {
            let done = shop::services::run(name, *config).await;
            done.map(|()| ExitCode::SUCCESS)
                .map_err(|error| format!("{name}: {error}").into())
        }
        Some(Command::Drill(options)) => drill::run(options).await,
        Some(Command::Bench(options)) => bench::run(&options).await,
        Some(Command::Trace(options)) => trace::run(&options).map(|()| ExitCode::SUCCESS),
        Some(Command::Healthy { url }) => healthy(&url).await,
        Some(Command::WithParent {
            parent,
            program,
            args,
        }) => Err(launcher::with_parent(parent, &program, &args)),
    };
    done.unwrap_or_else(|error| {
        eprintln!("error: {error}");
        ExitCode::FAILURE
    })
}

/// Without a proxy, and sooner than any prober gives up.
async fn healthy(url: &str) -> Result<ExitCode, mainstay::BoxError> {
    let client = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(2))
        .build()?;
    let response = client.get(url).send().await?;
    if response.status().is_success() {
        return Ok(ExitCode::SUCCESS);
    }
    Err(format!("{}: {}", response.status(), response.text().await?).into())
}
