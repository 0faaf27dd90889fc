//! The result of a drill: a JSON object, or tables.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::time::Duration;

use comfy_table::presets::UTF8_FULL_CONDENSED;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use super::books::{Books, End, Facts};
use super::faults::Broken;
use super::load::{Call, Kind, MARGIN};

/// How many deviations of a book are shown.
const SHOWN: usize = 5;

/// Everything that a drill has found.
#[derive(Debug)]
pub(super) struct Report {
    /// How many orders were to be placed.
    pub(super) orders: u64,
    pub(super) facts: Facts,
    pub(super) books: Books,
    pub(super) calls: Vec<Call>,
    /// Answers that name a full disk as the cause.
    pub(super) full: u64,
    /// What should not have happened besides.
    pub(super) failures: Vec<String>,
    pub(super) broken: Broken,
    pub(super) broker: &'static str,
    /// Of the load.
    pub(super) seconds: Duration,
    /// From then until the last saga and the last event.
    pub(super) settled: Duration,
}

#[derive(Serialize)]
struct Summary {
    orders: u64,
    answered: usize,
    confirmed: usize,
    compensated: usize,
    lost: usize,
    charged_twice: usize,
    stock_wrong: usize,
    late_answers: usize,
    sagas_open: usize,
    broker: &'static str,
    kills: u64,
    seconds: f64,
}

impl Report {
    /// How many orders have an answer that stores them.
    fn answered(&self) -> usize {
        let promises = self.facts.promises.iter();
        let mut keys: Vec<_> = promises.map(|one| (&one.user, &one.key)).collect();
        keys.sort_unstable();
        keys.dedup();
        keys.len()
    }

    /// Of the orders that callers were told about: those whose callers hung up are not among them.
    fn ended(&self, as_end: End) -> usize {
        let promises = self.facts.promises.iter();
        let told: HashSet<_> = promises.map(|one| &*one.order).collect();
        let orders = self.facts.orders.iter();
        let orders = orders.filter(|order| told.contains(&*order.id));
        orders.filter(|order| order.end == Some(as_end)).count()
    }

    /// Whether all that should hold does.
    pub(super) fn is_good(&self) -> bool {
        self.books.are_balanced()
            && self.failures.is_empty()
            && self.answered() as u64 == self.orders
    }

    /// One object.
    pub(super) fn json(&self) -> serde_json::Result<String> {
        let books = &self.books;
        serde_json::to_string(&Summary {
            orders: self.orders,
            answered: self.answered(),
            confirmed: self.ended(End::Confirmed),
            compensated: self.ended(End::Compensated),
            lost: books.lost.len(),
            charged_twice: books.charged_twice.len(),
            stock_wrong: books.stock_wrong.len(),
            late_answers: books.late_answers.len(),
            sagas_open: books.sagas_open.len(),
            broker: self.broker,
            kills: self.broken.kills,
            seconds: (self.seconds.as_secs_f64() * 10.0).round() / 10.0,
        })
    }

    /// What has happened, and the books.
    pub(super) fn table(&self) -> String {
        let mut table = Table::new();
        table.load_preset(UTF8_FULL_CONDENSED);
        let mut row = |name: &str, value: String| {
            table.add_row([name.to_owned(), value]);
        };
        row("broker", self.broker.to_owned());
        row("orders", self.orders.to_string());
        row("answered", self.answered().to_string());
        row("confirmed", self.ended(End::Confirmed).to_string());
        row("compensated", self.ended(End::Compensated).to_string());
        let of = |kind| self.calls.iter().filter(|call| call.kind == kind).count();
        row("calls", self.calls.len().to_string());
        row(
            "  accepted, not yet ended (202)",
            of(Kind::Accepted).to_string(),
        );
        row("  refused, and repeated", of(Kind::Refused).to_string());
        row(
            "  without an answer, and repeated",
            of(Kind::Unanswered).to_string(),
        );
        row("  answers with `disk is full`", self.full.to_string());
        row("latency: median, p99, longest", self.latencies());
        row("kills", self.broken.kills.to_string());
        row(
            "open sagas when `orders` was killed",
            self.broken.cut.to_string(),
        );
        row("time of the load", seconds(self.seconds));
        row("time to settle", seconds(self.settled));
        align(&mut table);
        let mut books = Table::new();
        books
            .load_preset(UTF8_FULL_CONDENSED)
            .set_header(["book", "wrong", "what must hold"]);
        for (name, rule, book) in self.books.all() {
            books.add_row([name.to_owned(), book.len().to_string(), rule.to_owned()]);
        }
        align(&mut books);
        format!(
            "{table}\n{books}\nAn answer is late if it comes more than {} ms after its deadline: \
             the callers and all services share one machine.",
            MARGIN.as_millis(),
        )
    }

    fn latencies(&self) -> String {
        let mut all: Vec<_> = self.calls.iter().map(|call| call.took).collect();
        all.sort_unstable();
        let at = |part: usize| {
            let place = (all.len() * part / 1_000).min(all.len().saturating_sub(1));
            let found = all.get(place).copied().unwrap_or_default();
            format!("{} ms", found.as_millis())
        };
        format!("{}, {}, {}", at(500), at(990), at(1_000))
    }

    /// What is wrong, in sentences.
    pub(super) fn complaints(&self) -> String {
        let mut text = String::new();
        let books = self.books.all();
        let books = books.iter().map(|(name, _, book)| (*name, *book));
        for (name, book) in books.chain([("failures", &self.failures)]) {
            for one in book.iter().take(SHOWN) {
                let _ = writeln!(text, "{name}: {one}");
            }
            if book.len() > SHOWN {
                let _ = writeln!(text, "{name}: and {} more", book.len() - SHOWN);
            }
        }
        text
    }
}

/// Numbers are aligned right.
fn align(table: &mut Table) {
    if let Some(column) = table.column_mut(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.1} s", duration.as_secs_f64())
}
