//! Cases: each has a name and fails with a reason, and one that hangs fails, too.

use std::fmt::Debug;
use std::future::Future;
use std::time::{Duration, Instant};

use mainstay::BoxError;
use serde_json::json;

pub(crate) type Outcome = Result<(), BoxError>;

const PATIENCE: Duration = Duration::from_secs(15);

/// Runs a case and prints what became of it.
pub(crate) async fn case(group: &str, name: &str, body: impl Future<Output = Outcome>) {
    let reason = match tokio::time::timeout(PATIENCE, body).await {
        Ok(Ok(())) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some(format!("did not end within {PATIENCE:?}")),
    };
    let line =
        json!({"case": format!("{group}: {name}"), "ok": reason.is_none(), "reason": reason});
    println!("{line}");
}

/// Fails unless both are the same.
pub(crate) fn same<L, R>(what: &str, found: L, expected: R) -> Outcome
where
    L: PartialEq<R> + Debug,
    R: Debug,
{
    if found == expected {
        return Ok(());
    }
    Err(format!("{what}: {found:?}, not {expected:?}").into())
}

/// Fails unless it holds.
pub(crate) fn holds(what: &str, holds: bool) -> Outcome {
    if holds {
        return Ok(());
    }
    Err(what.into())
}

/// Fails unless a duration is within these limits.
pub(crate) fn between(what: &str, found: Duration, least: u64, most: u64) -> Outcome {
    let range = Duration::from_millis(least)..=Duration::from_millis(most);
    holds(
        &format!("{what}: {found:?}, not {least} to {most} ms"),
        range.contains(&found),
    )
}

/// Waits until something holds.
pub(crate) async fn until(
    what: &str,
    mut holds: impl AsyncFnMut() -> Result<bool, BoxError>,
) -> Outcome {
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(5) {
        if holds().await? {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Err(format!("waited in vain until {what}").into())
}
