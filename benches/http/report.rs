//! What was measured, for people and for programs.

use comfy_table::Table;
use serde_json::{Map, Value, json};

use crate::cases::CALLERS;
use crate::common::{median, quantile, right, round, spread, table, verdict};
use crate::measure::{Lap, Measured, middle, refused};

/// The least that may be left of a server's throughput.
const AT_LEAST: f64 = 0.97;
/// Those it is asked of.
const ASKED: &[&str] = &["axum", "tonic"];
/// The part of the rounds that a spread leaves out at each end.
const ENDS: f64 = 0.25;

/// Everything that was measured.
pub(crate) struct Report {
    pub(crate) pairs: Vec<Measured>,
    pub(crate) allocs: Vec<(&'static str, f64)>,
    /// Whether servers and callers had a core each.
    pub(crate) apart: bool,
}

impl Report {
    /// One object on one line.
    pub(crate) fn json(&self) -> Value {
        let allocs: Map<_, _> = self
            .allocs
            .iter()
            .map(|&(name, allocs)| (name.to_owned(), allocs.into()))
            .collect();
        json!({
            "ratios": self.of_pairs(|pair| round(median(&pair.by_throughput())).into()),
            "quartiles": self.of_pairs(|pair| quartiles(&pair.by_throughput())),
            "cpu_ratios": self.of_pairs(|pair| round(median(&pair.by_cpu())).into()),
            "cpu_quartiles": self.of_pairs(|pair| quartiles(&pair.by_cpu())),
            "throughput": self.of_cases(|laps| middle(laps, Lap::throughput)),
            "cpu_us_per_request": self.of_cases(|laps| middle(laps, Lap::cpu)),
            "busy": self.of_cases(|laps| middle(laps, Lap::load)),
            "refused": self.of_cases(refused),
            "allocs": allocs,
        })
    }

    fn of_pairs(&self, value: impl Fn(&Measured) -> Value) -> Map<String, Value> {
        let named = |pair: &Measured| (format!("{}_wrapped/bare", pair.name), value(pair));
        self.pairs.iter().map(named).collect()
    }

    fn of_cases(&self, of: fn(&[Lap]) -> f64) -> Map<String, Value> {
        let cases = self.pairs.iter().flat_map(Measured::cases);
        cases
            .map(|(name, laps)| (name, round(of(laps)).into()))
            .collect()
    }

    pub(crate) fn print(&self, rounds: usize) {
        let cores = if self.apart {
            "each on a core of its own"
        } else {
            "both on one core, which blurs everything"
        };
        println!(
            "{CALLERS} callers on one thread, all servers on another, {cores}; each caller waits for its answer.\n\
             axum and tonic: what the servers' thread does. tonic_client and reqwest: what the callers' does.\n\
             axum_tower: the same router behind the layers of tower and tower-http that come nearest.\n\
             axum_empty_layer: behind a layer that does nothing. axum_only_id, tonic_only_id: behind one, written by hand, that gives each\n\
             request an ID in both heads and does nothing else.\n\
             CPU is the time that this thread had a processor; busy is that over the time that passed. Where it is well below 100 %,\n\
             the other thread held it up, or another program, and only the CPU time tells what the layers cost.\n\
             Only calls that were served count; refused are those that a load shedder did not let through.\n\
             Medians of {rounds} rounds in turn.\n"
        );
        println!("{}\n", self.cases());
        println!(
            "With the layers over without. By throughput: calls a second over calls a second, of two laps after each other.\n\
             By CPU: the same, were this processor alone in short supply. Half of the rounds are within the quartiles.\n"
        );
        println!("{}\n", self.ratios());
        println!(
            "Allocations a call, without sockets; axum_empty_layer is the cost of `Router::layer` alone.\n"
        );
        println!("{}\n", self.allocations());
        println!("{}", self.targets());
    }

    fn cases(&self) -> Table {
        let mut table = table(&["case", "calls/s", "CPU us/call", "busy", "refused"]);
        for (name, laps) in self.pairs.iter().flat_map(Measured::cases) {
            table.add_row([
                name,
                format!("{:.0}", middle(laps, Lap::throughput)),
                format!("{:.2}", middle(laps, Lap::cpu)),
                format!("{:.0} %", middle(laps, Lap::load) * 100.0),
                format!("{:.1} %", refused(laps) * 100.0),
            ]);
        }
        right(table, &[1, 2, 3, 4])
    }

    fn ratios(&self) -> Table {
        let header = [
            "wrapped/bare",
            "by throughput",
            "quartiles",
            "by CPU",
            "quartiles",
        ];
        let mut table = table(&header);
        for pair in &self.pairs {
            let (throughput, cpu) = (pair.by_throughput(), pair.by_cpu());
            table.add_row([
                pair.name,
                &format!("{:.3}", median(&throughput)),
                &spread(&throughput, ENDS, 3),
                &format!("{:.3}", median(&cpu)),
                &spread(&cpu, ENDS, 3),
            ]);
        }
        right(table, &[1, 2, 3, 4])
    }

    fn allocations(&self) -> Table {
        let mut table = table(&["case", "allocs/call"]);
        for (name, allocs) in &self.allocs {
            table.add_row([*name, &allocs.to_string()]);
        }
        right(table, &[1])
    }

    fn targets(&self) -> Table {
        let mut table = table(&["target", "measured", ""]);
        for pair in self.pairs.iter().filter(|pair| ASKED.contains(&pair.name)) {
            let ratio = median(&pair.by_throughput());
            table.add_row([
                &format!("{}_wrapped/bare at least {AT_LEAST}", pair.name),
                &format!("{ratio:.3}"),
                verdict(ratio >= AT_LEAST),
            ]);
        }
        table
    }
}

fn quartiles(values: &[f64]) -> Value {
    let quartile = |part| round(quantile(values, part));
    json!([quartile(ENDS), quartile(1.0 - ENDS)])
}
