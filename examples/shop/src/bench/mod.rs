//! What the stacks cost: calls a second and percentiles, with and without them, side by side.

mod lap;
mod orders;
mod transports;

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use comfy_table::{CellAlignment, Table, presets};
use mainstay::BoxError;
use serde::Serialize;

use self::lap::{Ratio, Seen};
use crate::launcher::Broker;

/// The callers of each case.
const CALLERS: usize = 32;

/// How it is measured.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// About how long to measure each part, in seconds
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// Measure orders with Debian's redis-server, too
    #[arg(long)]
    redis_server: bool,
    /// Print one JSON object instead of tables
    #[arg(long)]
    json: bool,
}

/// A case, with and without the stacks.
#[derive(Debug, Serialize)]
struct Row {
    case: String,
    without: Numbers,
    with: Numbers,
    /// Throughput with the stacks over that without.
    ratio: Ratio,
}

#[derive(Debug, Serialize)]
struct Numbers {
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
}

impl From<&Seen> for Numbers {
    fn from(seen: &Seen) -> Self {
        Self {
            per_second: seen.rate(),
            p50_ms: seen.percentile(50.0),
            p99_ms: seen.percentile(99.0),
        }
    }
}

/// All results.
#[derive(Debug, Serialize)]
struct Report {
    callers: usize,
    /// One small call on one process.
    transports: Vec<Row>,
    /// An order: gateway, orders, stock and payments, with all their databases.
    orders: Vec<Row>,
}

/// Measures, and prints.
///
/// # Errors
///
/// In one sentence: a server has not started, or a call was not answered as it should be.
pub async fn run(options: &Options) -> Result<ExitCode, BoxError> {
    let time = Duration::from_secs(options.seconds);
    let folder = std::env::temp_dir().join(format!("shop-bench-{}", uuid::Uuid::now_v7()));
    let mut cases = vec![
        ("stock by TCP", Broker::Embedded, false),
        ("stock by the embedded broker", Broker::Embedded, true),
    ];
    if options.redis_server {
        cases.push(("stock by Redis", Broker::RedisServer, true));
    }
    let mut report = Report {
        callers: CALLERS,
        transports: transports::run(time).await?,
        orders: Vec::new(),
    };
    for (number, (case, broker, by_broker)) in cases.into_iter().enumerate() {
        let folder = folder.join(number.to_string());
        let row = orders::run(case, broker, by_broker, &folder, time).await;
        // Nobody needs the databases.
        let _ = std::fs::remove_dir_all(&folder);
        report.orders.push(row?);
    }
    let _ = std::fs::remove_dir_all(&folder);
    if options.json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        println!("{} callers\n", report.callers);
        println!("{}\n", table("calls", &report.transports));
        println!("{}", table("orders", &report.orders));
    }
    Ok(ExitCode::SUCCESS)
}

fn table(what: &str, rows: &[Row]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header([
        what,
        "stacks",
        "per second",
        "p50, ms",
        "p99, ms",
        "with / without",
        "least to most",
    ]);
    for row in rows {
        let number = |number: f64, digits| format!("{number:.digits$}");
        for (stacks, numbers) in [("without", &row.without), ("with", &row.with)] {
            let Ratio {
                median,
                least,
                most,
            } = row.ratio;
            let ratio = match stacks {
                "with" => [number(median, 2), format!("{least:.2} to {most:.2}")],
                _ => Default::default(),
            };
            let cells = [
                row.case.clone(),
                stacks.to_owned(),
                number(numbers.per_second, 0),
                number(numbers.p50_ms, 2),
                number(numbers.p99_ms, 2),
            ];
            table.add_row(cells.into_iter().chain(ratio));
        }
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}
