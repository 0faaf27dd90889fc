//! Servers on free ports of loopback, which tests kill and start again.

#![allow(dead_code, reason = "each test binary uses a part of it")]

use std::net::TcpListener as Ports;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use shop::broker::Broker;
use shop::broker::embedded::{BrokerService, Embedded};
use shop::broker::log::Log;
use shop::message::Failure;
use shop::tcp::{Client, Limits, serve};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// Longer than anything takes.
pub(crate) const LONG: Duration = Duration::from_secs(10);
/// A broker that can be killed and started again, with its files.
pub(crate) struct Server {
    is_redis: bool,
    port: u16,
    directory: PathBuf,
    running: Running,
}

enum Running {
    Nothing,
    Embedded(JoinHandle<std::io::Result<()>>),
    Redis(Child),
}

impl Server {
    /// `None` where no Redis server is installed.
    pub(crate) async fn start(is_redis: bool) -> Option<Self> {
        if is_redis
            && Command::new("redis-server")
                .arg("--version")
                .output()
                .is_err()
        {
            not_tested("redis-server");
            return None;
        }
        let directory = std::env::temp_dir().join(format!("shop-broker-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir(&directory).unwrap();
        let port = free_port();
        let mut server = Self {
            is_redis,
            port,
            directory,
            running: Running::Nothing,
        };
        server.run().await;
        Some(server)
    }

    pub(crate) async fn run(&mut self) {
        self.running = if self.is_redis {
            let mut command = Command::new("redis-server");
            command.args(["--bind", "127.0.0.1", "--port", &self.port.to_string()]);
            command.args([
                "--appendonly",
                "yes",
                "--appendfsync",
                "always",
                "--save",
                "",
            ]);
            command.arg("--dir").arg(&self.directory);
            command.stdout(Stdio::null()).stderr(Stdio::null());
            Running::Redis(command.spawn().unwrap())
        } else {
            let listener = TcpListener::bind(("127.0.0.1", self.port)).await.unwrap();
            let log = Log::open(&self.directory.join("broker.db")).unwrap();
            let service = BrokerService::new(log);
            let serving = serve(listener, service, Limits::default(), std::future::pending());
            Running::Embedded(tokio::spawn(serving))
        };
    }

    pub(crate) async fn kill(&mut self) {
        match std::mem::replace(&mut self.running, Running::Nothing) {
            Running::Redis(mut process) => {
                process.kill().unwrap();
                process.wait().unwrap();
            }
            Running::Embedded(task) => {
                task.abort();
                let _ = task.await;
            }
            Running::Nothing => {}
        }
    }

    /// Of a Redis server.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    pub(crate) async fn client(&self) -> Broker {
        if !self.is_redis {
            let client = Client::new(format!("127.0.0.1:{}", self.port), Limits::default());
            return Broker::Embedded(Embedded::new(client));
        }
        let broker = Broker::new(&self.url()).unwrap();
        until_done(async || broker.ping().await).await;
        broker
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Running::Redis(process) = &mut self.running {
            let _ = process.kill();
            let _ = process.wait();
        }
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Tries until the server is back.
pub(crate) async fn until_done<T>(mut act: impl AsyncFnMut() -> Result<T, Failure>) -> T {
    let began = Instant::now();
    loop {
        match act().await {
            Ok(done) => return done,
            Err(error) => assert!(
                began.elapsed() < LONG && error.code.is_transient(),
                "{error}"
            ),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Where everything must be tested, nothing is skipped.
fn not_tested(program: &str) {
    let is_needed = std::env::var_os("SHOP_TEST_ALL").is_some();
    assert!(!is_needed, "{program} is not installed");
    eprintln!("not tested: {program} is not installed");
}

/// A port that was free a moment ago, of those that systems do not give to outgoing connections, which
/// would take it while its server is killed.
pub(crate) fn free_port() -> u16 {
    loop {
        let port = rand::random_range(15_000..32_000);
        if Ports::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// A PostgreSQL server with an empty database.
pub(crate) struct Postgres {
    port: u16,
    directory: PathBuf,
    process: Child,
}

impl Postgres {
    /// `None` where no server is installed.
    pub(crate) async fn start() -> Option<Self> {
        let Some(programs) = postgres_programs() else {
            not_tested("PostgreSQL");
            return None;
        };
        let directory = std::env::temp_dir().join(format!("shop-pg-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir(&directory).unwrap();
        // The server refuses to run as root.
        let user = is_root().then_some(NOBODY);
        if let Some(user) = user {
            std::os::unix::fs::chown(&directory, Some(user), Some(user)).unwrap();
        }
        let command = |program: &str| {
            let mut command = Command::new(programs.join(program));
            if let Some(user) = user {
                command.uid(user).gid(user);
            }
            command
                .current_dir(&directory)
                .stdout(Stdio::null())
                .stderr(Stdio::null());
            command
        };
        let data = directory.join("data");
        let mut init = command("initdb");
        init.args([
            "--auth",
            "trust",
            "--username",
            "shop",
            "--no-sync",
            "--pgdata",
        ]);
        assert!(init.arg(&data).status().unwrap().success());
        let port = free_port();
        let mut server = command("postgres");
        server.args(["-h", "127.0.0.1", "-k", "", "-p", &port.to_string(), "-D"]);
        let process = server.arg(&data).spawn().unwrap();
        let server = Self {
            port,
            directory,
            process,
        };
        let began = Instant::now();
        while tokio_postgres::connect(&server.url(), tokio_postgres::NoTls)
            .await
            .is_err()
        {
            assert!(began.elapsed() < LONG, "PostgreSQL does not start");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Some(server)
    }

    pub(crate) fn url(&self) -> String {
        format!("postgres://shop@127.0.0.1:{}/postgres", self.port)
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// The user and the group without rights, on Debian and most others.
const NOBODY: u32 = 65_534;

fn is_root() -> bool {
    std::fs::metadata("/proc/self").is_ok_and(|process| process.uid() == 0)
}

/// Debian does not put them on the path.
fn postgres_programs() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let programs = versions.flatten().map(|version| version.path().join("bin"));
    programs
        .filter(|programs| programs.join("initdb").exists())
        .max()
}
