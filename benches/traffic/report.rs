//! What is printed.

use serde_json::{Value, json};

use crate::common::{right, round, table};
use crate::overload::Measured;
use crate::tally::{Counts, Tally};

pub(crate) struct Mixed {
    pub(crate) without: Tally,
    pub(crate) with: Tally,
    /// The share of all processors that other programs took in the worst second.
    pub(crate) others: Option<f64>,
}

#[derive(Default)]
pub(crate) struct Report {
    pub(crate) mixed: Option<Mixed>,
    pub(crate) overload: Vec<Measured>,
}

impl Report {
    pub(crate) fn json(&self) -> Value {
        let mixed = self.mixed.as_ref().map(|mixed| {
            json!({
                "without": of_counts(&mixed.without.counts()),
                "with": of_counts(&mixed.with.counts()),
                "others": mixed.others.map(round),
            })
        });
        let overload = self.overload.iter().map(|measured| {
            json!({
                "server": measured.name,
                "capacity": round(measured.capacity),
                "goodput": round(measured.goodput),
                "of_capacity": round(measured.of_capacity),
                "median_ms": round(measured.median.as_secs_f64() * 1_000.0),
            })
        });
        json!({ "mixed": mixed, "overload": overload.collect::<Vec<_>>() })
    }

    pub(crate) fn print(&self) {
        if let Some(mixed) = &self.mixed {
            print_mixed(mixed);
        }
        let mut overload = table(&["3 x the capacity", "goodput/s", "of capacity", "median"]);
        for measured in &self.overload {
            overload.add_row([
                measured.name.to_owned(),
                format!("{:.0}", measured.goodput),
                format!("{:.2}", measured.of_capacity),
                format!("{:.0?}", measured.median),
            ]);
        }
        if !self.overload.is_empty() {
            println!("{}", right(overload, &[1, 2, 3]));
        }
    }
}

fn print_mixed(mixed: &Mixed) {
    let (without, with) = (mixed.without.counts(), mixed.with.counts());
    let mut calls = table(&["honest calls", "without", "failed", "with", "failed"]);
    for kind in without.calls.keys().chain([&"all"]) {
        let mut row = vec![(*kind).to_owned()];
        for counts in [&without, &with] {
            row.push(of_kind(counts, kind).0.to_string());
            row.push(of_kind(counts, kind).1.to_string());
        }
        calls.add_row(row);
    }
    println!("{}", right(calls, &[1, 2, 3, 4]));
    if let Some(others) = mixed.others {
        println!(
            "other programs took up to {:.0} % of the processors",
            others * 100.0
        );
    }
    for (which, counts) in [("without", &without), ("with", &with)] {
        for ((kind, why), calls) in &counts.failures {
            println!("{which}: {kind}: {why}: {calls}");
        }
    }
}

fn of_kind(counts: &Counts, kind: &str) -> (u64, u64) {
    if kind == "all" {
        return (counts.all_calls(), counts.all_failures());
    }
    let failures = counts.failures.iter().filter(|((of, _), _)| *of == kind);
    let calls = counts.calls.get(kind).copied().unwrap_or_default();
    (calls, failures.map(|(_, failures)| failures).sum())
}

fn of_counts(counts: &Counts) -> Value {
    let failures = counts.failures.iter();
    let failures = failures.map(|((kind, why), calls)| (format!("{kind}: {why}"), json!(calls)));
    json!({
        "calls": counts.all_calls(),
        "failed": counts.all_failures(),
        "failures": failures.collect::<serde_json::Map<_, _>>(),
    })
}
