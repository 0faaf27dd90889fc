//! The services. Each has a module, a database of its own, and a process of its own.

pub mod broker;
pub mod catalog;
pub mod gateway;
pub mod notifications;
pub mod orders;
pub mod payments;
pub mod stock;
pub mod users;

use mainstay::BoxError;

use crate::config::{Config, Name};
use crate::process::Process;
use crate::stacks;

/// Runs a service until SIGTERM.
///
/// # Errors
///
/// In one sentence: an address is in use, or a database cannot be opened.
pub async fn run(name: Name, config: Config) -> Result<(), BoxError> {
    if config.without_stacks {
        stacks::remove();
    }
    let process = Process::begin(name, &config).await?;
    match name {
        Name::Broker => broker::run(config, process).await,
        Name::Users => users::run(config, process).await,
        Name::Catalog => catalog::run(config, process).await,
        Name::Payments => payments::run(config, process).await,
        Name::Stock => stock::run(config, process).await,
        Name::Orders => orders::run(config, process).await,
        Name::Notifications => notifications::run(config, process).await,
        Name::Gateway => gateway::run(config, process).await,
    }
}
