//! The result in numbers, on standard output.

use std::fmt::Write as _;

use comfy_table::{CellAlignment, Table, presets::UTF8_FULL_CONDENSED};
use serde::Serialize;

use crate::{phase::Phase, route::Route, run::Run, stats::Summary};

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

/// A table for each run, and a comparison of the two.
pub(crate) fn text(without: &Run, with: &Run) -> String {
    let mut text = String::new();
    for run in [without, with] {
        let Run { stack, summary, .. } = run;
        writeln!(text, "\n{} the stack\n{}", stack.title(), table(summary))
            .expect("a string takes anything");
    }
    let (catalog, pricing) = (Route::Catalog.path(), Route::Pricing.path());
    write!(
        text,
        "A latency ends with the answer, or when the user gives up after one second.\n\
         The upstream of {catalog} is unhealthy in the phases slow, broken and refused.\n\
         The upstream of {pricing} is always healthy.\n\
         \n{}\n",
        comparison(&without.summary, &with.summary)
    )
    .expect("a string takes anything");
    text
}

fn table(summary: &Summary) -> Table {
    let (catalog, pricing) = (Route::Catalog.path(), Route::Pricing.path());
    let mut table = Table::new();
    table.load_preset(UTF8_FULL_CONDENSED).set_header([
        "phase".to_owned(),
        format!("{catalog}\nsuccess"),
        format!("{catalog}\np50"),
        format!("{catalog}\np99"),
        format!("{catalog}\nupstream calls"),
        format!("{pricing}\nsuccess"),
        "gateway\npeak in flight".to_owned(),
    ]);
    for (phase, row) in Phase::ALL.iter().zip(&summary.phases) {
        table.add_row([
            phase.name().to_owned(),
            percent(row.success_rate),
            latency(row.p50_ms),
            latency(row.p99_ms),
            row.upstream_calls.to_string(),
            percent(row.other_route_success_rate),
            row.peak_in_flight.to_string(),
        ]);
    }
    align(&mut table);
    table
}

fn comparison(without: &Summary, with: &Summary) -> Table {
    let (catalog, pricing) = (Route::Catalog.path(), Route::Pricing.path());
    let mut table = Table::new();
    table
        .load_preset(UTF8_FULL_CONDENSED)
        .set_header(["", "without", "with"]);
    let mut row = |title: String, figure: &dyn Fn(&Summary) -> String| {
        table.add_row([title, figure(without), figure(with)]);
    };
    row(format!("failed calls of {pricing}"), &|run| {
        run.other_route_failed().to_string()
    });
    for (of, rank) in [("median", 50), ("99th percentile", 99)] {
        row(
            format!("{of} latency of {catalog} while its upstream is slow"),
            &|run| {
                let slow = run.phase(Phase::Slow);
                latency(if rank == 50 { slow.p50_ms } else { slow.p99_ms })
            },
        );
    }
    row(
        format!("calls sent to the unhealthy upstream of {catalog}"),
        &|run| run.wasted_calls().to_string(),
    );
    row(
        "peak of the calls in flight in the gateway".to_owned(),
        &|run| run.peak_in_flight().to_string(),
    );
    row(
        format!("time from the recovery until all calls of {catalog} succeed"),
        &|run| match run.recovered_after_s {
            Some(after) if after < 0.05 => "0 s".to_owned(),
            Some(after) => format!("{after:.1} s"),
            None => "not in this run".to_owned(),
        },
    );
    align(&mut table);
    table
}

/// Numbers are aligned right.
fn align(table: &mut Table) {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

/// Rounded down, so that "100.0 %" means that no call failed.
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
