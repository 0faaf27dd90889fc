//! Settings in a file that is watched: changes take effect while calls run.
//!
//! ```text
//! cargo run --example live_config
//! cargo run --example live_config settings.toml   # runs until Ctrl-C: edit the file yourself
//! ```
//!
//! Without an argument it plays four edits of a file: a limit is halved, a file with an error is
//! refused, a rate limit is tried in shadow mode, and then enforced. Meanwhile 12 callers call
//! without a pause, and it counts the calls that fail.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use mainstay::registry::Registry;
use notify::{RecursiveMode, Watcher};
use tokio::sync::mpsc;
use tokio::time::sleep;
use tower::{Service, ServiceExt, service_fn};

const FIRST: &str = r#"
[prices]
timeout = "2s"
bulkhead = { limit = 16, queue = { calls = 64, max_wait = "1s" } }
"#;

const HALVED: &str = r#"
[prices]
timeout = "2s"
bulkhead = { limit = 8, queue = { calls = 64, max_wait = "1s" } }
"#;

const WRONG: &str = r#"
[prices]
timeout = "2s"
bulkhead = { limit = 0 }
"#;

const SHADOW: &str = r#"
[prices]
timeout = "2s"
bulkhead = { limit = 8, queue = { calls = 64, max_wait = "1s" } }
rate_limit = { mode = "shadow", permits = 100 }
"#;

/// Reads the file and puts its settings in force, for all stacks that it names.
fn reload(path: &Path) -> Result<(), Box<dyn Error>> {
    let text = std::fs::read_to_string(path)?;
    let changes = Registry::global().configure(toml::Deserializer::parse(&text)?)?;
    for (stack, changes) in changes {
        println!("  {stack}: {changes}");
    }
    Ok(())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let stack = mainstay::client("prices").build()?;
    let client = stack.wrap(service_fn(|symbol: u64| async move {
        sleep(Duration::from_millis(5)).await;
        Ok::<_, std::io::Error>(symbol)
    }));

    let argument = std::env::args().nth(1).map(PathBuf::from);
    let directory = std::env::temp_dir().join(format!("live_config_{}", std::process::id()));
    std::fs::create_dir_all(&directory)?;
    let path = argument
        .clone()
        .unwrap_or_else(|| directory.join("settings.toml"));
    if argument.is_none() {
        std::fs::write(&path, FIRST)?;
    }
    println!("the program starts with {}", path.display());
    reload(&path)?;

    // Editors replace a file by another one, so the directory is watched and not the file.
    let (changed, mut events) = mpsc::unbounded_channel();
    let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| !event.kind.is_access()) {
            let _ = changed.send(());
        }
    })?;
    let parent = path.canonicalize()?.parent().map(Path::to_owned);
    watcher.watch(&parent.unwrap_or_default(), RecursiveMode::NonRecursive)?;
    let watched = path.clone();
    let watching = tokio::spawn(async move {
        while events.recv().await.is_some() {
            // A save is several events.
            sleep(Duration::from_millis(50)).await;
            while events.try_recv().is_ok() {}
            if let Err(error) = reload(&watched) {
                println!("  refused, the old settings go on: {error}");
            }
        }
    });

    let is_over = Arc::new(AtomicBool::new(false));
    let (answered, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let callers: Vec<_> = (0..12)
        .map(|caller| {
            let (mut client, is_over) = (client.clone(), Arc::clone(&is_over));
            let (answered, failed) = (Arc::clone(&answered), Arc::clone(&failed));
            tokio::spawn(async move {
                while !is_over.load(Ordering::Relaxed) {
                    let result = match client.ready().await {
                        Ok(client) => client.call(caller).await,
                        Err(error) => Err(error),
                    };
                    let count = if result.is_ok() { &answered } else { &failed };
                    count.fetch_add(1, Ordering::Relaxed);
                    if result.is_err() {
                        sleep(Duration::from_millis(5)).await;
                    }
                }
            })
        })
        .collect();
    let report = |step: &str| {
        println!(
            "{step}: {} calls answered, {} failed; {}",
            answered.swap(0, Ordering::Relaxed),
            failed.load(Ordering::Relaxed),
            stack.bulkhead().snapshot(),
        );
    };

    if argument.is_some() {
        println!("edit the file; Ctrl-C ends the program");
        tokio::signal::ctrl_c().await?;
    } else {
        sleep(Duration::from_millis(500)).await;
        report("before");
        for (step, text) in [("halved", HALVED), ("wrong", WRONG), ("shadow", SHADOW)] {
            println!("a new file: {step}");
            std::fs::write(&path, text)?;
            sleep(Duration::from_millis(600)).await;
            report(step);
        }
        let shadow = stack.rate_limit().snapshot().would_reject;
        println!(
            "the rate limit would have rejected {} calls: it is too low",
            shadow.total()
        );
        println!("a new file: a higher rate, enforced");
        std::fs::write(
            &path,
            SHADOW.replace("shadow", "enforce").replace("100", "100000"),
        )?;
        sleep(Duration::from_millis(600)).await;
        report("enforced");
    }
    is_over.store(true, Ordering::Relaxed);
    for caller in callers {
        caller.await?;
    }
    watching.abort();
    std::fs::remove_dir_all(&directory)?;
    match failed.load(Ordering::Relaxed) {
        0 => Ok(()),
        failed => Err(format!("{failed} calls failed").into()),
    }
}
