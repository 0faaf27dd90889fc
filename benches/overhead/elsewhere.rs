//! The six layers with metrics and tracing compiled in and nothing installed, next to the same without; and with snapshots next to the same without. In programs of their own,
//! because in one a crate is there only once, with the features that anybody asked for. The two of a pair differ in nothing else, and run in turn with the cases of this program.

use std::env;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::cases::Case;
use crate::sample::Sampled;

/// Both programs, by the package's features.
const PACKAGE: &str = "overhead-child";
/// A program is started anew after so many rounds, and from a new copy: where it happens to lie in memory makes a difference of some percent.
const ROUNDS: u32 = 10;
/// How long it runs before it counts: the load shedder has to learn how many calls there are.
const WARM: Duration = Duration::from_millis(100);
const WARM_CALLS: u64 = 4_000;

/// The cases with the features and with snapshots, to be compared with those without. Only calls that have to wait have a latency.
pub(crate) fn pairs() -> [Case; 4] {
    let features = "six_layers_without_features";
    let snapshots = "six_layers_yields_without_snapshots";
    let observed = ("observed", "");
    [
        Case::new("six_layers_features", Elsewhere::new(observed, "ready")).next_to(features),
        Case::new(features, Elsewhere::new(("", ""), "ready")),
        Case::new(
            "six_layers_yields_snapshots",
            Elsewhere::new(observed, "yields"),
        )
        .next_to(snapshots),
        Case::new(
            snapshots,
            Elsewhere::new(("observed", "mainstay_without_snapshots"), "yields"),
        ),
    ]
}

/// A feature of the package, and a `cfg`; or none.
type Build = (&'static str, &'static str);

/// A case in another process.
struct Elsewhere {
    build: Build,
    service: &'static str,
    program: PathBuf,
    running: Option<Running>,
}

struct Running {
    child: Child,
    answers: BufReader<ChildStdout>,
    rounds: u32,
}

impl Elsewhere {
    fn new(build: Build, service: &'static str) -> Self {
        Self {
            build,
            service,
            program: PathBuf::new(),
            running: None,
        }
    }

    fn ask(&mut self, what: &str, calls: u64) -> io::Result<u64> {
        self.running.take_if(|running| running.rounds == ROUNDS);
        let running = match &mut self.running {
            Some(running) => running,
            none => none.insert(Running::start(&self.program, self.service)?),
        };
        running.rounds += 1;
        running.ask(what, calls)
    }
}

impl Sampled for Elsewhere {
    fn prepare(&mut self) -> io::Result<()> {
        self.program = build(self.build, self.service)?;
        Ok(())
    }

    fn time(&mut self, calls: u64) -> Duration {
        Duration::from_nanos(self.ask("time", calls).expect("it answers"))
    }

    fn count(&mut self, calls: u64) -> u64 {
        self.ask("count", calls).expect("it answers")
    }
}

impl Running {
    fn start(program: &Path, service: &str) -> io::Result<Self> {
        let copy = program.with_extension(format!("copy{}", env::consts::EXE_SUFFIX));
        fs::copy(program, &copy)?;
        let mut child = Command::new(copy)
            .arg(service)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let answers = child.stdout.take().ok_or(io::ErrorKind::BrokenPipe)?;
        let mut running = Self {
            child,
            answers: BufReader::new(answers),
            rounds: 0,
        };
        let began = Instant::now();
        while began.elapsed() < WARM {
            running.ask("time", WARM_CALLS)?;
        }
        Ok(running)
    }

    fn ask(&mut self, what: &str, calls: u64) -> io::Result<u64> {
        let stdin = self.child.stdin.as_mut();
        writeln!(stdin.ok_or(io::ErrorKind::BrokenPipe)?, "{what} {calls}")?;
        let mut answer = String::new();
        self.answers.read_line(&mut answer)?;
        answer.trim_end().parse().map_err(io::Error::other)
    }
}

impl Drop for Running {
    /// It ends with its input, which is closed here first.
    fn drop(&mut self) {
        let _ = self.child.wait();
    }
}

/// Builds a program as this one was built, with the versions of the same `Cargo.lock`, and says where it is.
fn build((feature, cfg): Build, service: &str) -> io::Result<PathBuf> {
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let target = tmp.parent().unwrap_or(tmp);
    let mut flags = env::var("RUSTFLAGS").unwrap_or_default();
    // With other flags everything is built anew, and should not be in the way of the next build.
    let target = if cfg.is_empty() {
        target.to_owned()
    } else {
        flags += &format!(" --cfg {cfg}");
        tmp.join(cfg)
    };
    let output = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(["build", "--profile", "bench"])
        .args(["--package", PACKAGE, "--features", feature])
        // Whatever it needs, this program needed, too.
        .args(["--offline", "--locked"])
        .args(["--message-format", "json-render-diagnostics"])
        .arg("--target-dir")
        .arg(target)
        .envs((!cfg.is_empty()).then(|| ("RUSTFLAGS", flags.trim())))
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .stderr(Stdio::inherit())
        .output()?;
    let lines = output.stdout.split(|&byte| byte == b'\n');
    let program = lines
        .filter_map(|line| serde_json::from_slice::<Value>(line).ok())
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
        .filter(|_| output.status.success())
        .ok_or_else(|| io::Error::other(format!("{PACKAGE} was not built")))?;
    // The next one that is built is put in the same place.
    let name = [PACKAGE, service, feature, cfg].join("-");
    let kept = tmp.join(format!("{name}{}", env::consts::EXE_SUFFIX));
    fs::copy(program, &kept)?;
    Ok(kept)
}
