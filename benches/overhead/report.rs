//! What was measured, for people and for programs.

use comfy_table::Table;
use serde_json::{Map, Value, json};

use crate::common::{median, right, round, spread, table, verdict};
use crate::measure::{Measured, paired};
use crate::threads::Scaled;

/// The ratios by the names they are known by, and the cases they are of.
const RATIOS: &[(&str, &str)] = &[
    ("circuit_breaker/tower_resilience", "circuit_breaker"),
    (
        "circuit_breaker_default/tower_resilience_time",
        "circuit_breaker_default",
    ),
    (
        "circuit_breaker_slow/tower_resilience_slow",
        "circuit_breaker_slow",
    ),
    (
        "circuit_breaker_open/tower_resilience_open",
        "circuit_breaker_open",
    ),
    (
        "circuit_breaker_100k_full/empty",
        "circuit_breaker_100k_full",
    ),
    ("bulkhead/tower", "bulkhead"),
    ("bulkhead_full/tower", "bulkhead_full"),
    ("timeout/tower", "timeout"),
    ("load_shed/tower", "load_shed"),
    ("load_shed_fixed/tower", "load_shed_fixed"),
    ("retry/tower", "retry"),
    ("six_layers/tower_three", "six_layers"),
    ("six_layers_yields/tower_three_yields", "six_layers_yields"),
    ("six_layers_recorded/six_layers", "six_layers_recorded"),
    ("six_layers/without_features", "six_layers_features"),
    (
        "six_layers_yields/without_snapshots",
        "six_layers_yields_snapshots",
    ),
    ("server_stack/by_hand", "server_stack"),
    ("client_stack/by_hand", "client_stack"),
    (
        "server_stack_recorded/server_stack",
        "server_stack_recorded",
    ),
];

/// The ratios of cases to their second peers, and to their third.
const SECOND: &[(&str, &str)] = &[
    (
        "circuit_breaker_default/seatbelt",
        "circuit_breaker_default",
    ),
    ("timeout/seatbelt", "timeout"),
    ("retry/seatbelt", "retry"),
];
const THIRD: &[(&str, &str)] = &[
    (
        "circuit_breaker_default/seatbelt_unboxed",
        "circuit_breaker_default",
    ),
    ("timeout/seatbelt_unboxed", "timeout"),
    ("retry/seatbelt_unboxed", "retry"),
];

/// The most that a ratio may be.
const AT_MOST: &[(&str, f64)] = &[
    ("circuit_breaker/tower_resilience", 1.0 / 6.0),
    ("bulkhead/tower", 1.0),
    ("timeout/tower", 1.0),
    ("timeout/seatbelt", 1.3),
    ("timeout/seatbelt_unboxed", 1.3),
    ("retry/seatbelt", 1.3),
    ("retry/seatbelt_unboxed", 1.3),
    ("six_layers/tower_three", 1.6),
    ("six_layers_recorded/six_layers", 2.0),
    ("six_layers/without_features", 1.1),
    ("server_stack/by_hand", 1.05),
    ("client_stack/by_hand", 1.05),
];
/// tower's load shedder does next to nothing, so that a ratio to it says little.
const LOAD_SHED_NS: f64 = 3.0;
/// What a layer may take that keeps a histogram of the last minute, and what else a snapshot tells; two of the six do.
const SNAPSHOT_NS: f64 = 20.0;
const KEEPERS: f64 = 2.0;
/// How the names of others begin.
const OTHERS: [&str; 4] = ["tower", "seatbelt", "by_hand", "prometheus"];
/// The part of the rounds that a spread leaves out at each end.
const ENDS: f64 = 0.1;

/// Everything that was measured.
pub(crate) struct Report {
    pub(crate) cases: Vec<Measured>,
    pub(crate) scaled: Vec<Scaled>,
}

impl Report {
    fn case(&self, name: &str) -> Option<&Measured> {
        self.cases.iter().find(|case| case.name == name)
    }

    /// The ratio of a case to this peer in each round, and by how much more it takes, in nanoseconds.
    fn to_peer(&self, case: &Measured, peer: &str) -> Option<(Vec<f64>, f64)> {
        let peer = self.case(peer)?;
        let ratios = paired(case, peer).map(|(ours, peer)| ours / peer).collect();
        let more: Vec<f64> = paired(case, peer).map(|(ours, peer)| ours - peer).collect();
        Some((ratios, median(&more)))
    }

    /// How often a call of it may allocate: others' as often as they like, a standard stack as often as its layers by hand, what is recorded as often as the same
    /// unrecorded, and ours never.
    fn allowed(&self, case: &Measured) -> f64 {
        if OTHERS.iter().any(|of| case.name.starts_with(of)) {
            return f64::MAX;
        }
        let same = |peer: &&str| peer.starts_with("by_hand") || case.name.ends_with("_recorded");
        let same = case.peers.first().filter(|peer| same(peer));
        let same = same.and_then(|peer| self.case(peer));
        same.map_or(0.0, |same| same.allocs)
    }

    fn ratios(&self) -> impl Iterator<Item = (&'static str, f64)> + '_ {
        let ratios = [RATIOS, SECOND, THIRD].into_iter().enumerate();
        let ratios = ratios.flat_map(|(nth, of)| of.iter().map(move |&ratio| (nth, ratio)));
        let to_peers = ratios.filter_map(|(nth, (ratio, case))| {
            let case = self.case(case)?;
            let (ratios, _) = self.to_peer(case, case.peers.get(nth)?)?;
            Some((ratio, median(&ratios)))
        });
        let scaled = self
            .scaled
            .iter()
            .map(|scaled| (scaled.name, scaled.ratio()));
        to_peers.chain(scaled)
    }

    /// One object on one line.
    pub(crate) fn json(&self) -> Value {
        let cases: Vec<_> = self
            .cases
            .iter()
            .map(|case| json!({"name": case.name, "ns": round(case.ns()), "allocs": case.allocs}))
            .collect();
        let ratios: Map<_, _> = self
            .ratios()
            .map(|(name, ratio)| (name.to_owned(), round(ratio).into()))
            .collect();
        json!({"cases": cases, "ratios": ratios})
    }

    pub(crate) fn print(&self, rounds: usize) {
        println!(
            "One call (poll_ready, call, poll until it is ready; no-op waker) of a service that is ready at once.\n\
             Median of {rounds} rounds in turn; 10 % and 90 % of the rounds took less than the spread's ends.\n\
             Counting makes every allocation about 3 ns slower: 4 to 5 % of what tower_resilience takes.\n"
        );
        println!("{}\n", self.table());
        println!(
            "Two threads on two cores, each with a clone of one service: calls a second over one thread's.\n"
        );
        println!("{}\n", self.scaling());
        println!("{}", self.targets());
    }

    fn table(&self) -> Table {
        let mut table = table(&[
            "case",
            "ns/call",
            "spread",
            "allocs/call",
            "peer",
            "ratio",
            "spread",
        ]);
        for case in &self.cases {
            let figures = [
                case.name.to_owned(),
                format!("{:.1}", case.ns()),
                spread_of(case),
                case.allocs.to_string(),
            ];
            let mut peers = case.peers.iter().filter_map(|&peer| {
                let (ratios, _) = self.to_peer(case, peer)?;
                let ratio = format!("{:.2}", median(&ratios));
                Some([peer.to_owned(), ratio, spread(&ratios, ENDS, 2)])
            });
            let first = peers.next().unwrap_or_default();
            table.add_row(figures.into_iter().chain(first));
            for peer in peers {
                let blank = <[String; 4]>::default();
                table.add_row(blank.into_iter().chain(peer));
            }
        }
        right(table, &[1, 2, 3, 5, 6])
    }

    fn scaling(&self) -> Table {
        let mut table = table(&["two threads over one", "ratio", "spread"]);
        for scaled in &self.scaled {
            let ratio = format!("{:.2}", scaled.ratio());
            table.add_row([scaled.name, &ratio, &spread(&scaled.rounds, ENDS, 2)]);
        }
        right(table, &[1, 2])
    }

    fn targets(&self) -> Table {
        let mut table = table(&["target", "measured", ""]);
        let mut row = |target: String, measured: String, met: bool| {
            table.add_row([target, measured, verdict(met).to_owned()]);
        };
        for (name, ratio) in self.ratios() {
            if let Some((_, most)) = AT_MOST.iter().find(|(of, _)| *of == name) {
                row(
                    format!("{name} at most {most:.2}"),
                    format!("{ratio:.2}"),
                    ratio <= *most,
                );
            } else if name == "breaker_two_threads/one" {
                row(
                    format!("{name} more than 1"),
                    format!("{ratio:.2}"),
                    ratio > 1.0,
                );
            }
        }
        let more = |case: &str| {
            let case = self.case(case)?;
            let (_, more) = self.to_peer(case, case.peers.first()?)?;
            Some(more)
        };
        if let Some(more) = more("load_shed") {
            let target = format!("load_shed at most {LOAD_SHED_NS} ns more than tower's");
            row(target, format!("{more:.1} ns"), more <= LOAD_SHED_NS);
        }
        if let Some(more) = more("six_layers_yields_snapshots") {
            let target =
                format!("snapshots at most {SNAPSHOT_NS} ns for each layer with a histogram");
            let each = more / KEEPERS;
            row(target, format!("{each:.1} ns"), each <= SNAPSHOT_NS);
        }
        let allocating: Vec<_> = self
            .cases
            .iter()
            .filter(|case| case.allocs > self.allowed(case))
            .map(|case| case.name)
            .collect();
        let none = allocating.is_empty();
        let measured = if none {
            "none".to_owned()
        } else {
            allocating.join(", ")
        };
        row(
            "our calls and rejections do not allocate, recorded or not, and stacks no more than by hand".to_owned(),
            measured,
            none,
        );
        table
    }
}

fn spread_of(case: &Measured) -> String {
    spread(&case.rounds, ENDS, 1)
}
