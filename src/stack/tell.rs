//! What each layer of a stack says of its settings, by the names of the builders' methods.

use std::time::Duration;

use super::refine::{StackBulkhead, StackLoadShed, StackTimeout};
use crate::correlation::CorrelationLayer;
use crate::policy::breaker::{Config, Mode, Recovery};
use crate::respond::RespondLayer;
use crate::retry::Settings;
use crate::snapshot::{ShownLimit, limited};

type Told = Vec<(&'static str, String)>;

fn shown(value: impl std::fmt::Debug) -> String {
    format!("{value:?}")
}

pub(super) fn correlation<D>(layer: &CorrelationLayer<D>) -> Told {
    let mut told = vec![("fields", layer.field_names().join(" "))];
    if !layer.trusts() {
        told.push(("ignore_inbound", "true".to_owned()));
    }
    told
}

pub(super) fn respond(layer: &RespondLayer) -> Told {
    vec![
        ("full_as", layer.look.full.as_u16().to_string()),
        ("show_names", layer.look.names.to_string()),
    ]
}

pub(super) fn timeout(builder: &StackTimeout) -> Told {
    let mut told = Vec::new();
    if let Some(own) = builder.policy.own {
        told.push(("timeout", shown(own)));
    }
    let body_idle = builder.cover.idle.map_or_else(|| "off".to_owned(), shown);
    told.push(("body_idle", body_idle));
    for (name, limit) in builder.policy.rules.iter().flat_map(|rules| rules.iter()) {
        let limit = limit.map_or_else(|| "none".to_owned(), shown);
        told.push(("timeout_for", format!("{name}: {limit}")));
    }
    if builder.cover.whole {
        told.push(("whole_body", "true".to_owned()));
    }
    if builder.policy.trusts {
        told.push(("header", builder.policy.header.clone()));
    } else {
        told.push(("ignore_inbound", "true".to_owned()));
    }
    told
}

pub(super) fn attempt_timeout(limit: Duration) -> Told {
    vec![("timeout", shown(limit))]
}

pub(super) fn load_shed(builder: &StackLoadShed) -> Told {
    vec![("limit", builder.limit.to_string())]
}

pub(super) fn bulkhead(builder: &StackBulkhead) -> Told {
    let queue = match builder.mode.max_wait {
        Some(wait) => format!("{} for {wait:?}", builder.queue),
        None => "none".to_owned(),
    };
    let limit = ShownLimit(limited(builder.limit)).to_string();
    vec![("limit", limit), ("queue", queue)]
}

pub(super) fn retry(settings: &Settings) -> Told {
    let budget = settings.budget.as_ref();
    vec![
        ("attempts", settings.attempts.to_string()),
        ("backoff", settings.backoff.to_string()),
        (
            "budget",
            budget.map_or_else(|| "none".to_owned(), ToString::to_string),
        ),
        ("replay_limit", settings.replay_limit.to_string()),
    ]
}

pub(super) fn circuit_breaker(config: &Config) -> Told {
    let mut told = Vec::new();
    if let Some(rate) = config.failure_rate {
        told.push(("failure_rate", rate.to_string()));
    }
    if let Some((threshold, rate)) = config.slow_calls {
        told.push(("slow_calls", format!("{rate} over {threshold:?}")));
    }
    if let Some(failures) = config.consecutive_failures {
        told.push(("consecutive_failures", failures.to_string()));
    }
    told.push(("min_calls", config.min_calls.to_string()));
    told.push(("window", config.window.to_string()));
    let (first, longest) = (config.open_for, config.open_max);
    told.push(("open_for", format!("{first:?} to {longest:?}")));
    told.push(("probes", config.probes.to_string()));
    told.push(("probe_life", shown(config.probe_life)));
    if let Recovery::Stepwise { steps, over } = config.recovery {
        told.push(("recovery", format!("{steps} steps over {over:?}")));
    }
    if config.mode != Mode::Enforce {
        told.push(("mode", shown(config.mode)));
    }
    told
}
