//! The command line.
//!
//! Every number has a range that is checked at the start. A run takes a minute, and an error at its
//! end would come a minute too late.

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use clap::{CommandFactory, Parser, error::ErrorKind};

/// Runs the same outage against the same gateway twice, without mainstay and with it, and shows the
/// difference.
///
/// A gateway has two routes, each with its own upstream. The upstream of /catalog becomes slow,
/// then returns errors, then refuses connections, then recovers. The upstream of /pricing is always
/// healthy. An open-loop load of HTTP requests calls both routes. Users give up after one second:
/// that is a failed call.
#[derive(Clone, Debug, Parser)]
#[command(name = "outage")]
pub(crate) struct Args {
    /// Requests to each route per second, whether or not earlier ones have finished
    #[arg(long, value_name = "PER_SECOND", default_value = "150", allow_hyphen_values = true,
          value_parser = |text: &str| number(text, 10.0, 1000.0))]
    pub(crate) rate: f64,

    /// Length of each of the five phases, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "5", allow_hyphen_values = true,
          value_parser = |text: &str| number(text, 1.0, 60.0))]
    phase_seconds: f64,

    /// How long the upstream takes to answer in its slow phase, in seconds
    #[arg(long, value_name = "SECONDS", default_value = "3", allow_hyphen_values = true,
          value_parser = |text: &str| number(text, 0.5, 9.0))]
    slow_seconds: f64,

    /// Calls that the gateway serves at a time, in both runs; it rejects the others with 503
    #[arg(long, value_name = "CALLS", default_value_t = 100,
          value_parser = clap::builder::RangedU64ValueParser::<usize>::new().range(1..=100_000))]
    pub(crate) room: usize,

    /// The file for the plot
    #[arg(long, value_name = "PATH", default_value = "outage.svg")]
    svg: PathBuf,

    /// Write no plot
    #[arg(long, conflicts_with = "svg")]
    no_svg: bool,

    /// Print one JSON object on standard output, and nothing else there
    #[arg(long)]
    pub(crate) json: bool,
}

impl Args {
    /// Reads the command line. On a mistake, prints it and exits with 2.
    pub(crate) fn from_command_line() -> Self {
        let args = Self::parse();
        if let Err(why) = args.check() {
            Self::command()
                .error(ErrorKind::ValueValidation, why)
                .exit();
        }
        args
    }

    pub(crate) fn phase(&self) -> Duration {
        Duration::from_secs_f64(self.phase_seconds)
    }

    pub(crate) fn slow(&self) -> Duration {
        Duration::from_secs_f64(self.slow_seconds)
    }

    pub(crate) fn svg(&self) -> Option<&Path> {
        (!self.no_svg).then_some(self.svg.as_path())
    }

    /// The rules that need the file system.
    fn check(&self) -> Result<(), String> {
        if let Some(path) = self.svg() {
            writable(path).map_err(|why| {
                format!(
                    "invalid value '{}' for '--svg <PATH>': {why}",
                    path.display()
                )
            })?;
        }
        Ok(())
    }
}

/// A number from `least` to `most`. `NaN` is in no range.
fn number(text: &str, least: f64, most: f64) -> Result<f64, String> {
    text.parse()
        .ok()
        .filter(|number| (least..=most).contains(number))
        .ok_or_else(|| format!("must be a number from {least} to {most}"))
}

/// Opens the file to check that it can be written. Its content stays as it is for now.
fn writable(path: &Path) -> Result<(), String> {
    let existed = path.exists();
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path)
        .map_err(|error| format!("must be a file that can be written ({error})"))?;
    if !existed {
        // Best effort: an empty file does no harm.
        let _ = fs::remove_file(path);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(line: &[&str]) -> String {
        let line = ["outage"].iter().chain(line);
        match Args::try_parse_from(line) {
            Err(error) => {
                assert_eq!(error.exit_code(), 2);
                error.to_string()
            }
            Ok(args) => args.check().expect_err("this command line makes no sense"),
        }
    }

    #[test]
    fn the_defaults_are_valid() {
        let args = Args::try_parse_from(["outage", "--no-svg"]).expect("no option is required");
        assert_eq!(args.check(), Ok(()));
        assert_eq!(args.svg(), None);
    }

    #[test]
    fn a_bad_number_is_refused_with_option_value_and_rule() {
        for option in ["--rate", "--phase-seconds", "--slow-seconds"] {
            for value in [
                "0",
                "-1",
                "NaN",
                "-NaN",
                "inf",
                "-inf",
                "1e300",
                "1e-300",
                "",
                "many",
                "18446744073709551616",
            ] {
                let why = refusal(&["--no-svg", option, value]);
                assert!(why.contains(option), "{why}");
                assert!(value.is_empty() || why.contains(value), "{why}");
                assert!(
                    why.contains("from") || why.contains("a value is required"),
                    "{why}"
                );
            }
        }
    }

    #[test]
    fn options_that_contradict_each_other_are_refused() {
        let why = refusal(&["--no-svg", "--svg", "a.svg"]);
        assert!(why.contains("--no-svg") && why.contains("--svg"), "{why}");
    }

    #[test]
    fn a_plot_that_cannot_be_written_is_refused_before_the_run() {
        for path in ["/no/such/folder/outage.svg", ".", ""] {
            let why = refusal(&["--svg", path]);
            assert!(why.contains("--svg"), "{why}");
        }
    }
}
