//! The drill: orders through the gateway while services are killed, disks fill and the catalogue is
//! slow. Then the books.

mod books;
mod faults;
mod ledger;
mod load;
mod plot;
mod report;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use clap::builder::RangedU64ValueParser;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mainstay::BoxError;
use mainstay::shutdown::Shutdown;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use self::books::Books;
use self::faults::{Broken, Progress};
use self::load::{Callers, Seen};
use self::report::Report;
use crate::config::Name;
use crate::launcher::{Addresses, Broker, BrokerOptions, Notice, Settings, System};

/// When nothing is broken any more, a saga or an event comes to its end at least this often, until
/// all have.
const SETTLE: Duration = Duration::from_secs(60);

/// Of so many orders, some meet each fault.
const MANY: u64 = 5_000;

/// Starts a shop of its own in a temporary folder and on free ports, places orders, kills its
/// services meanwhile, and checks the books in the end. Exits with 1 if they are wrong.
#[derive(Debug, Clone, Args)]
pub struct Options {
    /// How many orders are placed
    #[arg(long, default_value_t = 10_000,
          value_parser = RangedU64ValueParser::<u64>::new().range(1..=1_000_000))]
    orders: u64,
    /// How many callers place them at a time
    #[arg(long, default_value_t = 32,
          value_parser = RangedU64ValueParser::<u64>::new().range(1..=1_000))]
    callers: u64,
    /// Print one JSON object on standard output, and nothing else there
    #[arg(long)]
    json: bool,
    /// The file for the plot [default: shop-drill.svg, or none with --json]
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// The broker.
    #[command(flatten)]
    broker: BrokerOptions,
    /// Of the random users, products and deadlines
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Keep the databases and logs also if the books are right
    #[arg(long)]
    keep: bool,
}

/// Runs a drill. Fails if the books are wrong.
///
/// # Errors
///
/// In one sentence: the shop has not started, or has not come back.
pub async fn run(options: Options) -> Result<ExitCode, BoxError> {
    let shutdown = Shutdown::builder().drain(Duration::ZERO).on_signal()?;
    let mut folder = Folder::new()?;
    let report = match drill(&options, &folder.path, &shutdown).await {
        Ok(report) => report,
        Err(error) if shutdown.has_begun() => return Err(error),
        Err(error) => {
            folder.keep();
            let folder = folder.path.display();
            return Err(format!("{error} (databases and logs are kept in {folder})").into());
        }
    };
    if let Some(file) = svg(&options) {
        plot::write(&file, &report)?;
        if !options.json {
            eprintln!("wrote {}", file.display());
        }
    }
    if options.json {
        println!("{}", report.json()?);
    } else {
        println!("{}", report.table());
    }
    if options.keep || !report.is_good() {
        folder.keep();
        eprint!("{}", report.complaints());
        let folder = folder.path.display();
        eprintln!("databases and logs are in {folder}; try: shop trace ORDER --data {folder}");
    }
    Ok(if report.is_good() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn svg(options: &Options) -> Option<PathBuf> {
    let default = || (!options.json).then(|| "shop-drill.svg".into());
    options.svg.clone().or_else(default)
}

async fn drill(options: &Options, data: &Path, shutdown: &Shutdown) -> Result<Report, BoxError> {
    let bar = bar(options);
    let (sender, notices) = mpsc::unbounded_channel();
    let settings = Settings {
        data: data.to_owned(),
        addresses: Addresses::from_base(0)?,
        broker: options.broker.chosen(),
        postgres: None,
        stock_by_broker: options.broker.stock_by_broker,
        without_stacks: false,
    };
    bar.set_message("starting");
    let interrupted = || BoxError::from("the drill was interrupted");
    let system = tokio::select! {
        () = shutdown.begun() => return Err(interrupted()),
        system = System::start(settings, sender) => system?,
    };
    let began = Instant::now();
    let done = tokio::select! {
        () = shutdown.begun() => Err(interrupted()),
        done = load_and_settle(options, &system, began, &bar) => done,
    };
    bar.set_message("stopping");
    let unstopped = system.stop().await;
    let died = died(notices);
    let (seen, broken, seconds, settled) = done.map_err(|error| {
        let also: String = died.iter().map(|one| format!("; {one}")).collect();
        format!("{error}{also}")
    })?;
    let mut facts = ledger::read(data)?;
    facts.promises = seen.promises;
    facts.late = seen.late;
    bar.finish_and_clear();
    let mut failures = seen.unexpected;
    failures.extend(died);
    if options.orders >= MANY {
        for (what, count) in [
            ("no answer told of a full disk", seen.full),
            ("no saga was open when `orders` was killed", broken.cut),
        ] {
            if count == 0 {
                failures.push(format!("{what}: a fault had no effect"));
            }
        }
    }
    let unstopped = unstopped.iter();
    failures.extend(unstopped.map(|name| format!("{name} did not end by itself")));
    Ok(Report {
        orders: options.orders,
        books: Books::of(&facts),
        facts,
        calls: seen.calls,
        full: seen.full,
        failures,
        broken,
        broker: match options.broker.chosen() {
            Broker::Embedded => "embedded",
            Broker::RedisServer | Broker::Redis(_) => "redis",
        },
        seconds,
        settled,
    })
}

/// Places all orders, and waits for all ends. Returns how long each of the two took, too.
async fn load_and_settle(
    options: &Options,
    system: &System,
    began: Instant,
    bar: &ProgressBar,
) -> Result<(Seen, Broken, Duration, Duration), BoxError> {
    let (seen, broken) = load(options, system, began, bar).await?;
    let seconds = began.elapsed();
    bar.set_message("waiting for the ends");
    settle(&system.settings().data).await?;
    Ok((seen, broken, seconds, began.elapsed() - seconds))
}

/// Places all orders, and breaks the shop meanwhile.
async fn load(
    options: &Options,
    system: &System,
    began: Instant,
    bar: &ProgressBar,
) -> Result<(Seen, Broken), BoxError> {
    let plan = faults::plan(options.orders);
    let (gate, waiting) = watch::channel(0);
    let (answered, progress) = watch::channel(0);
    let progress = Progress {
        began,
        callers: options.callers,
        answered: progress,
        gate,
    };
    progress.open(plan.first().map(|(after, _)| *after));
    let gateway = system.settings().addresses.calls(Name::Gateway);
    let callers = Callers {
        http: reqwest::Client::builder().no_proxy().build()?,
        gateway: format!("http://{gateway}"),
        seed: options.seed,
        orders: options.orders,
        began,
        next: Arc::default(),
        gate: waiting,
        answered: Arc::new(answered),
    };
    let mut running = JoinSet::new();
    for _ in 0..options.callers {
        running.spawn(callers.clone().run());
    }
    let moving = bar.clone();
    let mut position = progress.answered.clone();
    running.spawn(async move {
        let orders = moving.length().unwrap_or_default();
        let shown = position.wait_for(|answered| {
            moving.set_position(*answered);
            *answered >= orders
        });
        let _ = shown.await;
        Seen::default()
    });
    let say = |what: &str| {
        bar.set_message(what.to_owned());
        if bar.is_hidden() && !options.json {
            eprintln!("{:6.1} s  {what}", began.elapsed().as_secs_f64());
        }
    };
    let broken = faults::execute(system, plan, progress, say).await?;
    bar.set_message("all faults are over");
    let mut seen = Seen::default();
    while let Some(of_caller) = running.join_next().await {
        seen.add(of_caller?);
    }
    Ok((seen, broken))
}

/// Waits until all sagas are at an end and all events were consumed. If none is for too long, the
/// books will say so.
async fn settle(data: &Path) -> Result<(), BoxError> {
    let mut last = None;
    let mut since = Instant::now();
    loop {
        let open = ledger::open(data)?;
        if open.sagas == 0 && open.events == 0 {
            return Ok(());
        }
        if last.replace(open) != Some(open) {
            since = Instant::now();
        }
        if since.elapsed() > SETTLE {
            return Ok(());
        }
        sleep(Duration::from_millis(200)).await;
    }
}

/// The processes that have ended by themselves: none should.
fn died(mut notices: mpsc::UnboundedReceiver<Notice>) -> Vec<String> {
    let mut died = Vec::new();
    while let Ok(notice) = notices.try_recv() {
        if let Notice::Died { name, why, .. } = notice {
            died.push(format!("{name} has ended by itself: {why}"));
        }
    }
    died
}

fn bar(options: &Options) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {pos:>6} of {len} orders  {msg}");
    let style = style.unwrap_or_else(|_| ProgressStyle::default_bar());
    let target = if options.json {
        ProgressDrawTarget::hidden()
    } else {
        ProgressDrawTarget::stderr()
    };
    ProgressBar::with_draw_target(Some(options.orders), target)
        .with_style(style.progress_chars("=> "))
}

/// A temporary folder, which is removed at the end.
struct Folder {
    path: PathBuf,
    is_kept: bool,
}

impl Folder {
    fn new() -> Result<Self, BoxError> {
        let path = std::env::temp_dir().join(format!("shop-drill-{}", uuid::Uuid::now_v7()));
        std::fs::create_dir(&path)
            .map_err(|error| format!("the folder {} cannot be made: {error}", path.display()))?;
        Ok(Self {
            path,
            is_kept: false,
        })
    }

    fn keep(&mut self) {
        self.is_kept = true;
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // A process that was just killed may write its last file.
        for _ in 0..10 {
            if self.is_kept || std::fs::remove_dir_all(&self.path).is_ok() || !self.path.exists() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}
