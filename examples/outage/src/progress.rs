//! The progress of a run, on standard error.

use std::{sync::Arc, time::Duration};

use indicatif::{ProgressBar, ProgressStyle};
use tokio::time::{Instant, sleep_until};

use crate::{
    gateway::Meter,
    phase::{Phase, Timeline},
    route::Route,
    stack::Stack,
    stats::Tally,
};

/// How often a bar moves.
const STEP: Duration = Duration::from_millis(100);

/// A bar for each phase, or a line for each phase if standard error is no terminal.
#[derive(Debug)]
pub(crate) struct Progress<'a> {
    stack: Stack,
    timeline: Timeline,
    meter: &'a Arc<Meter>,
    tally: &'a Arc<Tally>,
}

impl<'a> Progress<'a> {
    pub(crate) fn new(
        stack: Stack,
        timeline: Timeline,
        meter: &'a Arc<Meter>,
        tally: &'a Arc<Tally>,
    ) -> Self {
        Self {
            stack,
            timeline,
            meter,
            tally,
        }
    }

    /// Shows `phase` until it ends.
    pub(crate) async fn show(&self, phase: Phase) {
        let length = self.timeline.phase_length();
        let style =
            ProgressStyle::with_template("{prefix} {bar:30} {msg}").expect("the template is valid");
        let bar = ProgressBar::new(millis(length))
            .with_style(style.progress_chars("=> "))
            .with_prefix(format!("{:8} {:9}", self.stack.name(), phase.name()));
        let end = self.timeline.end(phase);
        while Instant::now() < end {
            bar.set_position(millis(self.timeline.begin(phase).elapsed()));
            bar.set_message(self.state(phase));
            sleep_until((Instant::now() + STEP).min(end)).await;
        }
        bar.set_position(millis(length));
        let state = self.state(phase);
        if bar.is_hidden() {
            eprintln!("{} {state}", bar.prefix());
        }
        bar.finish_with_message(state);
    }

    fn state(&self, phase: Phase) -> String {
        let [catalog, pricing] = Route::ALL.map(|route| {
            let (ok, done) = self.tally.read(route, phase);
            format!("{} {ok:4} of {done:4} succeeded", route.path())
        });
        format!(
            "{catalog}, {pricing}, {:4} in flight",
            self.meter.in_flight()
        )
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
