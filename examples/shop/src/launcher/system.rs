//! All processes of a shop.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mainstay::BoxError;
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, Signal, kill_process};
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep};

use super::addresses::Addresses;
use super::child::{Notice, Running, Spec, Supervised};
use super::redis;
use crate::config::Name;
use crate::process::Faults;

/// Until a shop is ready.
pub(super) const LIMIT: Duration = Duration::from_secs(30);

/// How often readiness is asked for.
const STEP: Duration = Duration::from_millis(50);

/// Which broker a shop has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Broker {
    /// The shop's own.
    Embedded,
    /// Debian's `redis-server`, which is started.
    RedisServer,
    /// The Redis server at this URL.
    Redis(String),
}

/// What a shop is made of.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The folder of its databases and logs.
    pub data: PathBuf,
    /// Where its processes listen.
    pub addresses: Addresses,
    /// Its broker.
    pub broker: Broker,
    /// The database of `orders`, instead of a file.
    pub postgres: Option<String>,
    /// Whether `orders` calls `stock` by the broker, and not by TCP.
    pub stock_by_broker: bool,
    /// Whether the services have no stacks, to measure what they cost.
    pub without_stacks: bool,
}

/// A shop that runs. Its processes are killed if it is dropped.
#[derive(Debug)]
pub struct System {
    settings: Settings,
    processes: Vec<Supervised>,
    http: reqwest::Client,
    /// Locked, so that no other shop uses the folder.
    _lock: File,
}

impl System {
    /// Starts all processes, and waits until they are ready. From then on, a process that dies is
    /// started again.
    ///
    /// # Errors
    ///
    /// In one sentence: which process has not started, and why. The others are ended.
    pub async fn start(
        settings: Settings,
        notices: mpsc::UnboundedSender<Notice>,
    ) -> Result<Self, BoxError> {
        let lock = lock(&settings.data)?;
        let mut system = Self {
            settings,
            processes: Vec::new(),
            // Not by a proxy that the environment names.
            http: reqwest::Client::builder().no_proxy().build()?,
            _lock: lock,
        };
        let mut started = system.start_broker().await?;
        let first = started.len();
        for name in Name::ALL.into_iter().filter(|name| *name != Name::Broker) {
            let spec = system.spec(name)?;
            let running = start(&spec)?;
            started.push((spec, running));
        }
        if let Some(others) = started.get_mut(first..) {
            system.wait_for(others).await?;
        }
        for (spec, running) in started {
            let process = Supervised::new(spec, running, notices.clone());
            system.processes.push(process);
        }
        Ok(system)
    }

    /// Nothing that is not ours to start. It is ready: the others connect to it at their start.
    async fn start_broker(&self) -> Result<Vec<(Spec, Running)>, BoxError> {
        let spec = match &self.settings.broker {
            Broker::Redis(url) => {
                redis::answers(url, None).await?;
                return Ok(Vec::new());
            }
            Broker::Embedded => self.spec(Name::Broker)?,
            Broker::RedisServer => {
                let port = self.settings.addresses.calls(Name::Broker).port();
                redis::spec(&self.settings.data, port)?
            }
        };
        let running = start(&spec)?;
        let mut started = vec![(spec, running)];
        if self.settings.broker == Broker::Embedded {
            self.wait_for(&mut started).await?;
        } else if let Some((_, running)) = started.first_mut() {
            redis::answers(&self.broker_url(), Some(running)).await?;
        }
        Ok(started)
    }

    async fn wait_for(&self, processes: &mut [(Spec, Running)]) -> Result<(), BoxError> {
        let until = Instant::now() + LIMIT;
        for (spec, running) in processes {
            let name = spec.name;
            loop {
                if let Some(why) = running.ended() {
                    // Which the service itself has written into its error.
                    let own = format!("{name}: ");
                    let why = why.strip_prefix(&own).unwrap_or(&why);
                    return Err(format!("{name} has not started: {why}").into());
                }
                let Err(not_ready) = self.readiness(name).await else {
                    break;
                };
                if Instant::now() >= until {
                    let error = running.last_error();
                    let error = error.map_or(String::new(), |error| format!(" ({error})"));
                    let text = format!("{name} is not ready after {LIMIT:?}: {not_ready}{error}");
                    return Err(text.into());
                }
                sleep(STEP).await;
            }
        }
        Ok(())
    }

    /// Asks a process whether it is ready.
    async fn readiness(&self, name: Name) -> Result<(), String> {
        let url = format!("http://{}/readyz", self.settings.addresses.admin(name));
        let request = self.http.get(url).timeout(Duration::from_secs(3));
        match request.send().await {
            Ok(answer) if answer.status().is_success() => Ok(()),
            Ok(answer) => {
                let status = answer.status();
                let text = answer.text().await.unwrap_or_default();
                let text = text.trim();
                Err(if text.is_empty() {
                    status.to_string()
                } else {
                    text.to_owned()
                })
            }
            Err(_) => Err("its admin address does not answer".to_owned()),
        }
    }

    fn spec(&self, name: Name) -> Result<Spec, BoxError> {
        Ok(Spec {
            name,
            program: std::env::current_exe()?,
            args: ["service", name.as_str()].map(Into::into).to_vec(),
            env: self.environment(name),
            log: self.settings.data.join("logs").join(format!("{name}.log")),
        })
    }

    fn environment(&self, name: Name) -> Vec<(&'static str, String)> {
        let addresses = &self.settings.addresses;
        let calls = |name| addresses.calls(name).to_string();
        let admins = Name::ALL.into_iter();
        let admins = admins.filter(|name| *name != Name::Broker || self.has_own_broker());
        let admins: Vec<_> = admins
            .map(|name| format!("{name}={}", addresses.admin(name)))
            .collect();
        let stock = if self.settings.stock_by_broker {
            "broker".to_owned()
        } else {
            calls(Name::Stock)
        };
        let mut environment = vec![
            ("SHOP_LISTEN", calls(name)),
            ("SHOP_ADMIN", addresses.admin(name).to_string()),
            ("SHOP_DATA", self.settings.data.display().to_string()),
            ("SHOP_BROKER", self.broker_url()),
            ("SHOP_USERS", calls(Name::Users)),
            ("SHOP_CATALOG", calls(Name::Catalog)),
            ("SHOP_PAYMENTS", calls(Name::Payments)),
            ("SHOP_STOCK", stock),
            ("SHOP_ORDERS", calls(Name::Orders)),
            ("SHOP_NOTIFICATIONS", calls(Name::Notifications)),
            ("SHOP_ADMINS", admins.join(",")),
            ("SHOP_FAULTS", "true".to_owned()),
            ("SHOP_WITH_PARENT", "true".to_owned()),
            (
                "SHOP_WITHOUT_STACKS",
                self.settings.without_stacks.to_string(),
            ),
        ];
        // Nothing routes calls to them by their readiness.
        environment.push(("SHOP_DRAIN", "0".to_owned()));
        if let (Name::Orders, Some(url)) = (name, &self.settings.postgres) {
            environment.push(("SHOP_DATABASE", url.clone()));
        }
        environment
    }

    fn has_own_broker(&self) -> bool {
        self.settings.broker == Broker::Embedded
    }

    /// What the services connect to.
    #[must_use]
    pub fn broker_url(&self) -> String {
        let address = self.settings.addresses.calls(Name::Broker);
        match &self.settings.broker {
            Broker::Embedded => format!("tcp://{address}"),
            Broker::RedisServer => format!("redis://{address}/"),
            Broker::Redis(url) => url.clone(),
        }
    }

    /// Of what it was started.
    #[must_use]
    pub const fn settings(&self) -> &Settings {
        &self.settings
    }

    /// The process of a service, while it runs.
    #[must_use]
    pub fn pid(&self, name: Name) -> Option<u32> {
        self.process(name)?.pid()
    }

    /// The processes of this shop.
    pub fn names(&self) -> impl Iterator<Item = Name> {
        self.processes.iter().map(|process| process.name)
    }

    fn process(&self, name: Name) -> Option<&Supervised> {
        self.processes.iter().find(|process| process.name == name)
    }

    /// Stops a process, as `kill -STOP` does: its connections stay open. Or lets it go on.
    pub fn freeze(&self, name: Name, frozen: bool) {
        let signal = if frozen { Signal::STOP } else { Signal::CONT };
        let pid = self.pid(name).and_then(|pid| i32::try_from(pid).ok());
        if let Some(pid) = pid.and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }

    /// Kills a process, as `kill -9` does. It stays down until [`revive`](Self::revive). Returns
    /// whether it is one of this shop.
    pub async fn kill(&self, name: Name) -> bool {
        let Some(process) = self.process(name) else {
            return false;
        };
        process.kill().await;
        true
    }

    /// Starts a process that was killed, and waits until it is ready.
    ///
    /// # Errors
    ///
    /// In one sentence: it is not ready in time.
    pub async fn revive(&self, name: Name) -> Result<(), BoxError> {
        if let Some(process) = self.process(name) {
            process.start().await;
        }
        let until = Instant::now() + LIMIT;
        loop {
            let ready = if name == Name::Broker && !self.has_own_broker() {
                let answers = redis::answers(&self.broker_url(), None).await;
                answers.map_err(|error| error.to_string())
            } else {
                self.readiness(name).await
            };
            match ready {
                Ok(()) => return Ok(()),
                Err(why) if Instant::now() >= until => {
                    return Err(format!("{name} has not come back: {why}").into());
                }
                Err(_) => sleep(STEP).await,
            }
        }
    }

    /// Breaks a service as operators do, by PUT /fault.
    ///
    /// # Errors
    ///
    /// The service does not answer.
    pub async fn set_faults(&self, name: Name, faults: Faults) -> Result<(), BoxError> {
        let url = format!("http://{}/fault", self.settings.addresses.admin(name));
        let request = self.http.put(url).json(&faults);
        let answer = request.timeout(Duration::from_secs(5)).send().await?;
        answer.error_for_status()?;
        Ok(())
    }

    /// Ends all processes: first the gateway, so that no new calls come, and the broker last.
    /// Returns those that had to be killed.
    pub async fn stop(self) -> Vec<Name> {
        let groups: [&[Name]; 4] = [
            &[Name::Gateway],
            &[Name::Orders],
            &[
                Name::Users,
                Name::Catalog,
                Name::Payments,
                Name::Stock,
                Name::Notifications,
            ],
            &[Name::Broker],
        ];
        let mut killed = Vec::new();
        for group in groups {
            let processes = self.processes.iter();
            let processes = processes.filter(|process| group.contains(&process.name));
            let stopping = processes.map(async |process| (process.name, process.stop().await));
            for (name, was_killed) in futures_util::future::join_all(stopping).await {
                if was_killed {
                    killed.push(name);
                }
            }
        }
        killed
    }
}

fn start(spec: &Spec) -> Result<Running, BoxError> {
    let started = spec.start();
    started.map_err(|error| format!("{} cannot be started: {error}", spec.name).into())
}

/// Makes the folder, and locks it until the file is dropped.
fn lock(folder: &Path) -> Result<File, BoxError> {
    let logs = folder.join("logs");
    std::fs::create_dir_all(&logs)
        .map_err(|error| format!("the folder {} cannot be made: {error}", logs.display()))?;
    let path = folder.join("lock");
    let file = File::create(&path)
        .map_err(|error| format!("{} cannot be written: {error}", path.display()))?;
    flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
        let folder = folder.display();
        format!("{folder} belongs to a shop that runs: stop it, or choose another folder by --data")
    })?;
    Ok(file)
}
