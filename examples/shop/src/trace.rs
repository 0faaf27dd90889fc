//! The log lines of all services for one order, or for one correlation ID.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use mainstay::BoxError;
use serde_json::{Map, Value};

/// The most frequent mistake.
const HINT: &str = "is --data the folder of the shop?";

/// The ID to look for, and the logs.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// ID of an order, or correlation ID: x-correlation-id of the gateway's answer
    pub id: String,
    /// Folder of the shop: its --data
    #[arg(long, default_value = "shop-data")]
    pub data: PathBuf,
}

/// A line of a log.
#[derive(Debug, Clone, PartialEq)]
struct Line {
    service: String,
    event: Value,
}

/// Prints the lines in the order of time.
///
/// # Errors
///
/// In one sentence: there are no logs, or they know no such ID.
pub fn run(options: &Options) -> Result<(), BoxError> {
    let logs = options.data.join("logs");
    let lines = find(&logs, &options.id)?;
    if lines.is_empty() {
        let (id, logs) = (&options.id, logs.display());
        return Err(format!("no line of {logs} is about {id}: {HINT}").into());
    }
    let mut out = io::stdout().lock();
    for line in &lines {
        match writeln!(out, "{}", line.render()) {
            // Whoever reads it has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => break,
            written => written?,
        }
    }
    Ok(())
}

fn find(logs: &Path, id: &str) -> Result<Vec<Line>, BoxError> {
    let mut ids = BTreeSet::from([id.to_owned()]);
    // An order was placed by a call with a correlation ID, or by several that repeat it.
    read(logs, &BTreeSet::from([id.to_owned()]), |line| {
        if line.ids().any(|own| own == id) {
            ids.extend(line.ids().map(str::to_owned));
        }
    })?;
    let mut lines = Vec::new();
    read(logs, &ids, |line| {
        if line.ids().any(|own| ids.contains(own)) {
            lines.push(line);
        }
    })?;
    lines.sort_by(|a, b| a.time().cmp(b.time()));
    Ok(lines)
}

/// Reads the lines that contain one of these IDs anywhere.
fn read(logs: &Path, ids: &BTreeSet<String>, mut each: impl FnMut(Line)) -> Result<(), BoxError> {
    let unreadable =
        |error: io::Error| format!("{} cannot be read: {error}: {HINT}", logs.display());
    let files = std::fs::read_dir(logs).map_err(unreadable)?;
    let files: Result<Vec<_>, _> = files.map(|file| file.map(|file| file.path())).collect();
    let mut files = files.map_err(unreadable)?;
    files.sort();
    for path in files {
        let Some(service) = path.file_stem().and_then(|stem| stem.to_str()) else {
            continue;
        };
        let mut file = BufReader::new(File::open(&path)?);
        let mut bytes = Vec::new();
        while file.read_until(b'\n', &mut bytes)? > 0 {
            let text = String::from_utf8_lossy(&bytes);
            if ids.iter().any(|id| text.contains(id.as_str()))
                // The last line of a process that was killed may be cut.
                && let Ok(event) = serde_json::from_str(&text)
            {
                let service = service.to_owned();
                each(Line { service, event });
            }
            bytes.clear();
        }
    }
    Ok(())
}

impl Line {
    /// The values of a field: of the event itself, then of its spans, inner ones first.
    fn values<'a>(&'a self, field: &'a str) -> impl Iterator<Item = &'a str> {
        self.scopes()
            .filter_map(move |scope| scope.get(field).and_then(Value::as_str))
    }

    /// What the line is about.
    fn ids(&self) -> impl Iterator<Item = &str> {
        self.values("correlation_id").chain(self.values("order"))
    }

    fn scopes(&self) -> impl Iterator<Item = &Map<String, Value>> {
        let event = self.event.get("fields");
        let spans = self.event.get("spans").and_then(Value::as_array);
        let spans = spans.into_iter().flatten().rev();
        event.into_iter().chain(spans).filter_map(Value::as_object)
    }

    fn time(&self) -> &str {
        let time = self.event.get("timestamp").and_then(Value::as_str);
        time.unwrap_or_default()
    }

    /// Time, service, level, message, and the fields of the event.
    fn render(&self) -> String {
        let clock = self.time().split('T').nth(1).unwrap_or_default();
        let clock = clock.get(..12).unwrap_or(clock);
        let level = self.event.get("level").and_then(Value::as_str);
        let fields = self.event.get("fields").and_then(Value::as_object);
        let message = fields.and_then(|fields| fields.get("message"));
        let message = message.and_then(Value::as_str).unwrap_or_default();
        let mut text = format!(
            "{clock}  {:13}  {:5}  {message}",
            self.service,
            level.unwrap_or_default()
        );
        for (name, value) in fields.into_iter().flatten() {
            if name == "message" {
                continue;
            }
            let shown = value
                .as_str()
                .map_or_else(|| value.to_string(), str::to_owned);
            text.push_str(&format!("  {name}={shown}"));
        }
        // Which order the line is about is often said by a span.
        let has_own = fields.is_some_and(|fields| fields.contains_key("order"));
        if let (false, Some(order)) = (has_own, self.values("order").next()) {
            text.push_str(&format!("  order={order}"));
        }
        text
    }
}

#[cfg(test)]
#[path = "trace_tests.rs"]
mod tests;
