//! The embedded broker as a service.

use mainstay::BoxError;

use crate::broker::embedded::BrokerService;
use crate::broker::log::Log;
use crate::config::Config;
use crate::process::{Process, listen};
use crate::tcp::{self, Limits};
use crate::{stacks, store};

/// Runs until SIGTERM.
///
/// # Errors
///
/// The address is in use, or the database cannot be opened.
pub async fn run(config: Config, process: Process) -> Result<(), BoxError> {
    let file = store::file(&config.data, "broker")?;
    let log = Log::open(&file)
        .map_err(|error| format!("the database {} cannot be opened: {error}", file.display()))?;
    let listener = listen(config.listen).await?;
    let service = stacks::server("broker", BrokerService::new(log))?;
    process.ready();
    let shutdown = process.shutdown();
    let serving = tcp::serve(listener, service, Limits::default(), shutdown.closing());
    shutdown.run(serving).await??;
    Ok(())
}
