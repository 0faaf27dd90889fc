//! The result in words and numbers, on standard output.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use serde::Serialize;

use crate::{phase::Phase, run::Run, stats::Summary};

/// Both runs as one JSON object.
pub(crate) fn json(without: &Run, with: &Run) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct Report<'a> {
        with: &'a Summary,
        without: &'a Summary,
    }
    serde_json::to_string(&Report {
        with: &with.summary,
        without: &without.summary,
    })
}

/// A table per run, and what changed between them.
pub(crate) fn text(without: &Run, with: &Run) -> String {
    let mut text = String::new();
    for run in [without, with] {
        let Run { stack, summary, .. } = run;
        let back = match summary.recovered_after_s {
            Some(after) => {
                format!("All calls succeed again {after:.1} s after the upstream came back.")
            }
            None => "Calls still failed when the run ended.".to_owned(),
        };
        writeln!(
            text,
            "\n{} the stack\n{}\n{back}",
            stack.title(),
            table(summary)
        )
        .expect("a string takes anything");
    }
    text + &comparison(&without.summary, &with.summary)
}

fn table(summary: &Summary) -> Table {
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED).set_header([
        "phase",
        "calls",
        "success",
        "p50",
        "p99",
        "upstream calls",
        "peak in flight",
    ]);
    for (phase, row) in Phase::ALL.iter().zip(&summary.phases) {
        table.add_row([
            phase.name().to_owned(),
            row.calls.to_string(),
            percent(row.success_rate),
            latency(row.p50_ms),
            latency(row.p99_ms),
            row.upstream_calls.to_string(),
            row.peak_in_flight.to_string(),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn comparison(without: &Summary, with: &Summary) -> String {
    let slow = |run: &Summary| run.phase(Phase::Slow).p50_ms;
    let (wasted, still_wasted) = (without.wasted_calls(), with.wasted_calls());
    let change = match wasted {
        0 => String::new(),
        _ => format!(
            " ({:+.0} %)",
            (still_wasted as f64 / wasted as f64 - 1.0) * 100.0
        ),
    };
    format!(
        "\nFrom without to with:\n\
         \x20 median latency while the upstream was slow   {} -> {}\n\
         \x20 calls sent to an upstream that was unwell    {wasted} -> {still_wasted}{change}\n\
         \x20 most calls in flight in the gateway          {} -> {}\n",
        latency(slow(without)),
        latency(slow(with)),
        without.peak_in_flight(),
        with.peak_in_flight(),
    )
}

/// Rounded down, so that "100.0 %" means that not one call failed.
fn percent(rate: f64) -> String {
    format!("{:.1} %", (rate * 1000.0).floor() / 10.0)
}

fn latency(ms: f64) -> String {
    if ms < 1000.0 {
        format!("{ms:.1} ms")
    } else {
        format!("{:.2} s", ms / 1e3)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_all_is_a_hundred_percent() {
        assert_eq!(percent(1.0), "100.0 %");
        assert_eq!(percent(0.99999), "99.9 %");
        assert_eq!(percent(0.0), "0.0 %");
    }
}
