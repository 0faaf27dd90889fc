//! A limit as a text in a configuration: its algorithm, and the algorithm's settings.

use super::{AimdBuilder, Gradient2Builder, Kind, Limit};
use crate::vocabulary::settings::Value;
#[cfg(feature = "serde")]
use crate::vocabulary::settings::{parse_duration, read_text};

#[cfg(feature = "serde")]
const EXPECTED: &str = "`scheduler_lag`, a number of calls, or `aimd` or `gradient2` with their \
                        settings, such as `aimd max=100 timeout=2s`";

impl Value for Limit {
    fn shown(&self) -> String {
        match &self.0 {
            Kind::Fixed(limit) => limit.to_string(),
            Kind::SchedulerLag => "scheduler_lag".to_owned(),
            Kind::Aimd(AimdBuilder {
                initial,
                min,
                max,
                backoff,
                timeout,
            }) => format!(
                "aimd initial={initial} min={min} max={max} backoff={backoff} timeout={timeout:?}"
            ),
            Kind::Gradient2(Gradient2Builder {
                initial,
                min,
                max,
                smoothing,
                queue,
                long_window,
                tolerance,
            }) => format!(
                "gradient2 initial={initial} min={min} max={max} smoothing={smoothing} \
                 queue={queue} long_window={long_window} tolerance={tolerance}"
            ),
        }
    }

    #[cfg(feature = "serde")]
    fn write<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Kind::Fixed(limit) if to.is_human_readable() => to.serialize_u32(*limit),
            _ => to.serialize_str(&self.shown()),
        }
    }

    #[cfg(feature = "serde")]
    fn read<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        read_text(from, EXPECTED, parse, Limit::check)
    }

    #[cfg(feature = "schemars")]
    fn schema_of(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "anyOf": [
            { "type": "integer", "minimum": 1 },
            { "type": "string", "pattern": r"^(scheduler_lag|\d+|(aimd|gradient2)( \w+=\S+)*)$" },
        ] })
    }
}

#[cfg(feature = "serde")]
fn parse(text: &str) -> Option<Limit> {
    let mut words = text.split_whitespace();
    match words.next()? {
        "aimd" => {
            let mut aimd = Limit::aimd();
            for word in words {
                let (name, value) = word.split_once('=')?;
                match name {
                    "initial" => aimd.initial = value.parse().ok()?,
                    "min" => aimd.min = value.parse().ok()?,
                    "max" => aimd.max = value.parse().ok()?,
                    "backoff" => aimd.backoff = value.parse().ok()?,
                    "timeout" => aimd.timeout = parse_duration(value)?,
                    _ => return None,
                }
            }
            Some(Limit(Kind::Aimd(aimd)))
        }
        "gradient2" => {
            let mut gradient2 = Limit::gradient2();
            for word in words {
                let (name, value) = word.split_once('=')?;
                match name {
                    "initial" => gradient2.initial = value.parse().ok()?,
                    "min" => gradient2.min = value.parse().ok()?,
                    "max" => gradient2.max = value.parse().ok()?,
                    "smoothing" => gradient2.smoothing = value.parse().ok()?,
                    "queue" => gradient2.queue = value.parse().ok()?,
                    "long_window" => gradient2.long_window = value.parse().ok()?,
                    "tolerance" => gradient2.tolerance = value.parse().ok()?,
                    _ => return None,
                }
            }
            Some(Limit(Kind::Gradient2(gradient2)))
        }
        "scheduler_lag" if words.next().is_none() => Some(Limit::scheduler_lag()),
        limit if words.next().is_none() => limit.parse().ok().map(Limit::fixed),
        _ => None,
    }
}
