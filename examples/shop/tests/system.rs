//! The whole shop: real processes, which are killed.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

const LONG: Duration = Duration::from_secs(60);

/// One shop at a time: several are slower than their deadlines on a small machine.
static ONE: Mutex<()> = Mutex::new(());

fn shop() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_shop"));
    command.stdin(Stdio::null());
    command
}

/// A folder that is removed at the end.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        let path = std::env::temp_dir().join(format!("shop-system-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A shop that runs, and what it has printed of its services: name, address, address for operators,
/// process.
struct Running {
    launcher: Child,
    rows: Vec<Vec<String>>,
    http: reqwest::Client,
    folder: Folder,
    _one: MutexGuard<'static, ()>,
}

impl Running {
    fn start() -> Self {
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let folder = Folder::new();
        let mut launcher = shop()
            .args(["--port", "0", "--data"])
            .arg(&folder.0)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(launcher.stdout.take().unwrap()).lines();
        let mut rows = Vec::new();
        for line in &mut lines {
            let line = line.unwrap();
            let row: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
            if line.contains("Ctrl-C ends it") {
                break;
            }
            if row.len() == 4 && row[1].starts_with("127.0.0.1:") {
                rows.push(row);
            }
        }
        assert_eq!(rows.len(), 8, "the shop has not started");
        // Or it would wait until somebody reads on.
        std::thread::spawn(move || lines.for_each(drop));
        Self {
            launcher,
            rows,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            folder,
            _one: one,
        }
    }

    fn row(&self, name: &str) -> &[String] {
        self.rows.iter().find(|row| row[0] == name).unwrap()
    }

    fn addresses(&self) -> impl Iterator<Item = SocketAddr> {
        let all = self.rows.iter().flat_map(|row| &row[1..3]);
        all.map(|address| address.parse().unwrap())
    }

    fn signal(&self, process: u32, signal: Signal) {
        let process = Pid::from_raw(process.try_into().unwrap()).unwrap();
        kill_process(process, signal).unwrap();
    }

    async fn order(&self, key: &str) -> (u16, Value) {
        let url = format!("http://{}/orders", self.row("gateway")[1]);
        let request = self.http.post(url).header("x-api-key", "key-u001");
        let request = request.header("idempotency-key", key);
        let request = request.header("x-correlation-id", format!("test-{key}"));
        let body = json!({ "items": [{ "product": "tea-pot", "quantity": 2 }] });
        let answer = request.json(&body).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, answer.json().await.unwrap())
    }

    /// Waits until the order is at an end.
    async fn end(&self, id: &str) -> Value {
        let url = format!("http://{}/orders/{id}", self.row("gateway")[1]);
        let began = Instant::now();
        loop {
            let request = self.http.get(&url).header("x-api-key", "key-u001");
            let answer = request.send().await.unwrap();
            let order: Value = answer.json().await.unwrap();
            if order["state"] == "confirmed" || order["state"] == "compensated" {
                return order;
            }
            assert!(began.elapsed() < LONG, "no end: {order}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn trace(&self, id: &str) -> String {
        let mut trace = shop();
        let trace = trace.args(["trace", id, "--data"]).arg(&self.folder.0);
        String::from_utf8(trace.output().unwrap().stdout).unwrap()
    }

    /// Waits until nobody listens at any address.
    fn wait_for_silence(&self) {
        let began = Instant::now();
        for address in self.addresses() {
            while TcpStream::connect(address).is_ok() {
                assert!(began.elapsed() < LONG, "somebody listens at {address}");
                std::thread::sleep(Duration::from_millis(20));
            }
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Its children end with it.
        let _ = self.launcher.kill();
        let _ = self.launcher.wait();
        if !std::thread::panicking() {
            self.wait_for_silence();
        }
    }
}

#[tokio::test]
async fn an_order_and_its_trace() {
    let mut shop = Running::start();
    let (status, order) = shop.order("1").await;
    assert_eq!(
        (status, &order["state"]),
        (201, &json!("confirmed")),
        "{order}"
    );
    assert_eq!(order["total"], 7_800);
    let (_, again) = shop.order("1").await;
    assert_eq!(again["id"], order["id"]);

    let id = order["id"].as_str().unwrap();
    let began = Instant::now();
    loop {
        let lines = shop.trace("test-1");
        let services = ["gateway", "orders", "stock", "payments", "notifications"];
        // The last line of an order: no more come between two traces.
        let is_whole = lines.contains("pattern=order.confirmed");
        if is_whole && services.iter().all(|name| lines.contains(name)) {
            assert_eq!(
                lines,
                shop.trace(id),
                "an order leads to its correlation ID"
            );
            break;
        }
        assert!(began.elapsed() < LONG, "the trace is not whole:\n{lines}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    shop.signal(shop.launcher.id(), Signal::TERM);
    assert!(shop.launcher.wait().unwrap().success());
    shop.wait_for_silence();
}

#[tokio::test]
async fn an_order_goes_on_after_payments_were_killed() {
    let shop = Running::start();
    let (status, _) = shop.order("1").await;
    assert_eq!(status, 201);
    shop.signal(shop.row("payments")[3].parse().unwrap(), Signal::KILL);
    let (status, order) = shop.order("2").await;
    assert!([201, 202].contains(&status), "{status}: {order}");
    let order = shop.end(order["id"].as_str().unwrap()).await;
    assert_eq!(order["state"], "confirmed", "{order}");
}

#[tokio::test]
async fn the_services_end_with_a_launcher_that_is_killed() {
    let mut shop = Running::start();
    shop.launcher.kill().unwrap();
    shop.launcher.wait().unwrap();
    shop.wait_for_silence();
}

#[test]
fn what_prevents_a_start_is_said_in_one_sentence() {
    let said = |command: &mut Command| {
        let output = command.output().unwrap();
        assert_eq!(output.status.code(), Some(1));
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(said.lines().count(), 1, "{said}");
        said
    };
    let folder = Folder::new();

    // Outgoing connections have no such ports.
    let mut ports = 10_000..14_000;
    let other = ports.find_map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok());
    let other = other.unwrap();
    // The address for operators of a gateway that has this port.
    let port = other.local_addr().unwrap().port() - 100;
    let text = said(
        shop()
            .args(["--port", &port.to_string(), "--data"])
            .arg(&folder.0),
    );
    assert!(text.contains("for gateway is in use"), "{text}");

    let newer = rusqlite::Connection::open(folder.0.join("payments.db")).unwrap();
    newer.pragma_update(None, "user_version", 99).unwrap();
    drop(newer);
    let text = said(shop().args(["--port", "0", "--data"]).arg(&folder.0));
    assert!(text.contains("payments has not started"), "{text}");
    assert!(
        text.contains("version 99 of the database is later"),
        "{text}"
    );

    let nobody = "redis://127.0.0.1:1/";
    let text = said(
        shop()
            .args(["--port", "0", "--redis", nobody, "--data"])
            .arg(&folder.0),
    );
    assert!(
        text.contains("no broker answers at redis://127.0.0.1:1/"),
        "{text}"
    );

    let text = said(shop().args(["trace", "nobody", "--data"]).arg(&folder.0));
    assert!(text.contains("is about nobody"), "{text}");
}

/// The object that a drill prints, and nothing else.
fn drill(arguments: &[&str]) -> Value {
    let _one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    let mut drill = shop();
    // With few callers, so that no answer is late for want of processors.
    let drill = drill.args(["drill", "--orders", "200", "--callers", "8", "--json"]);
    let Output {
        status,
        stdout,
        stderr,
    } = drill.args(arguments).output().unwrap();
    let stderr = String::from_utf8_lossy(&stderr);
    assert!(status.success(), "{stderr}");
    let object: Value = serde_json::from_slice(&stdout).unwrap();
    for book in [
        "lost",
        "charged_twice",
        "stock_wrong",
        "late_answers",
        "sagas_open",
    ] {
        assert_eq!(object[book], 0, "{object}");
    }
    assert_eq!(
        (&object["orders"], &object["answered"]),
        (&json!(200), &json!(200))
    );
    let ended = object["confirmed"].as_u64().unwrap() + object["compensated"].as_u64().unwrap();
    assert_eq!(ended, 200);
    assert!(object["compensated"].as_u64().unwrap() > 0, "{object}");
    assert!(object["kills"].as_u64().unwrap() >= 3, "{object}");
    object
}

#[test]
fn a_short_drill_with_the_embedded_broker() {
    assert_eq!(drill(&[])["broker"], "embedded");
}

#[test]
fn a_short_drill_with_redis() {
    if Command::new("redis-server")
        .arg("--version")
        .output()
        .is_err()
    {
        eprintln!("not tested: no redis-server is installed");
        return;
    }
    assert_eq!(drill(&["--redis-server"])["broker"], "redis");
}
