//! Debian's `redis-server` as the broker of a shop.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use mainstay::BoxError;
use tokio::time::{sleep, timeout};

use super::child::{Running, Spec};
use super::system::LIMIT;
use crate::broker::Broker;
use crate::config::Name;

const PROGRAM: &str = "redis-server";

/// How it is started: what it has accepted is on the disk.
///
/// # Errors
///
/// In one sentence: it is not installed, or its folder cannot be made.
pub(super) fn spec(folder: &Path, port: u16) -> Result<Spec, BoxError> {
    if Command::new(PROGRAM).arg("--version").output().is_err() {
        let text = "redis-server is not installed: install it, or start without --redis-server";
        return Err(text.into());
    }
    let data = folder.join("redis");
    std::fs::create_dir_all(&data)
        .map_err(|error| format!("the folder {} cannot be made: {error}", data.display()))?;
    let parent = std::process::id().to_string();
    let port = port.to_string();
    let args = [
        "with-parent",
        &parent,
        PROGRAM,
        "--bind",
        "127.0.0.1",
        "--port",
        &port,
        "--appendonly",
        "yes",
        "--appendfsync",
        "always",
        "--save",
        "",
        "--dir",
    ];
    let mut args: Vec<OsString> = args.map(OsString::from).to_vec();
    args.push(data.into());
    Ok(Spec {
        name: Name::Broker,
        program: std::env::current_exe()?,
        args,
        env: Vec::new(),
        log: folder.join("logs").join("broker.log"),
    })
}

/// Waits until it answers.
///
/// # Errors
///
/// In one sentence: it has ended, or does not answer.
pub(super) async fn answers(url: &str, mut process: Option<&mut Running>) -> Result<(), BoxError> {
    let asking = async {
        loop {
            let asked = async { Broker::new(url)?.ping().await };
            let failure = match timeout(Duration::from_secs(3), asked).await {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(failure)) => failure.to_string(),
                Err(_) => "no answer".to_owned(),
            };
            match &mut process {
                // Of somebody else: it is there, or it is not.
                None => return Err(format!("no broker answers at {url}: {failure}").into()),
                Some(process) => {
                    if let Some(why) = process.ended() {
                        return Err(format!("redis-server has not started: {why}").into());
                    }
                }
            }
            sleep(Duration::from_millis(50)).await;
        }
    };
    let asked = timeout(LIMIT, asking).await;
    asked.unwrap_or_else(|_| Err(format!("redis-server has not answered for {LIMIT:?}").into()))
}

/// Becomes another program, which ends when the launcher does: it cannot watch its standard input
/// as our own services can.
///
/// # Errors
///
/// The program could not be started. Otherwise it does not return.
pub fn with_parent(parent: u32, program: &str, args: &[OsString]) -> BoxError {
    use std::os::unix::process::CommandExt;
    #[cfg(target_os = "linux")]
    {
        use rustix::process::{Signal, getppid, set_parent_process_death_signal};
        if let Err(error) = set_parent_process_death_signal(Some(Signal::TERM)) {
            return error.into();
        }
        let now = getppid().map(|pid| pid.as_raw_nonzero().get().unsigned_abs());
        if now != Some(parent) {
            return "the launcher has ended".into();
        }
    }
    #[cfg(not(target_os = "linux"))]
    let _ = parent;
    Command::new(program).args(args).exec().into()
}
