//! The log file of a process, and why the process has ended.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use serde_json::Value;

/// How much of the end of a log is read.
const END: u64 = 64 * 1024;

/// Opens a log to append to it. Returns its length, too.
pub(super) fn append(path: &Path) -> io::Result<(File, u64)> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    let length = file.metadata()?.len();
    Ok((file, length))
}

/// The last error of a log after this length, in one line.
pub(super) fn last_error(path: &Path, from: u64) -> Option<String> {
    let mut file = File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    let from = from.max(length.saturating_sub(END));
    file.seek(SeekFrom::Start(from)).ok()?;
    let mut text = Vec::new();
    file.read_to_end(&mut text).ok()?;
    error_in(&String::from_utf8_lossy(&text))
}

fn error_in(text: &str) -> Option<String> {
    let mut other = None;
    for line in text.lines().rev() {
        if let Ok(Value::Object(event)) = serde_json::from_str(line) {
            if event.get("level").and_then(Value::as_str) == Some("ERROR") {
                let fields = event.get("fields")?;
                let message = fields.get("message").and_then(Value::as_str);
                let cause = fields.get("error").or_else(|| fields.get("failure"));
                return match (message, cause.and_then(Value::as_str)) {
                    (Some(message), Some(cause)) => Some(format!("{message}: {cause}")),
                    (message, cause) => message.or(cause).map(str::to_owned),
                };
            }
        } else if let Some(error) = line.strip_prefix("error: ") {
            return Some(error.to_owned());
        } else if other.is_none() && !line.trim().is_empty() && !line.starts_with("note: ") {
            // Of a panic, or of a program that is not ours.
            other = Some(line.trim().to_owned());
        }
    }
    other
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_error_is_found() {
        let event = r#"{"level":"ERROR","fields":{"message":"no money","error":"of u1"}}"#;
        let info = r#"{"level":"INFO","fields":{"message":"ready"}}"#;
        let found = |lines: &[&str]| error_in(&lines.join("\n"));
        assert_eq!(found(&[info]), None);
        assert_eq!(found(&[event, info]).unwrap(), "no money: of u1");
        assert_eq!(
            found(&[event, "error: users: no disk"]).unwrap(),
            "users: no disk"
        );
        let panic = [
            "thread 'main' panicked at a.rs:1:",
            "index out of bounds",
            "note: run with",
        ];
        assert_eq!(found(&panic).unwrap(), "index out of bounds");
    }
}
