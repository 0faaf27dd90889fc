use crate::layers::correlation::CorrelationLayer;
use crate::stack::part::Setting;
#[cfg(feature = "http")]
use crate::{
    layers::correlation::{Client, Server},
    stack::part::{Part, Stack},
    vocabulary::config::ConfigError,
};

/// The correlation layer of a client stack.
#[cfg(feature = "http")]
pub(in crate::stack) struct ClientCorrelation;
/// The correlation layer of a server stack.
#[cfg(feature = "http")]
pub(in crate::stack) struct ServerCorrelation;

#[cfg(feature = "http")]
macro_rules! correlations {
    ($($part:ident of $direction:ident by $new:ident;)*) => {$(
        impl<T, Q> Part<T, Q> for $part {
            const NAME: &'static str = "correlation";
            type Settings = CorrelationLayer<$direction>;
            type Layer = CorrelationLayer<$direction>;

            fn standard() -> Option<Self::Settings> {
                Some(CorrelationLayer::$new())
            }

            fn describe(settings: &Self::Settings) -> Vec<Setting> {
                describe(settings)
            }

            fn build(
                settings: Option<Self::Settings>,
                stack: &Stack<'_, T, Q>,
            ) -> Result<Self::Layer, ConfigError> {
                let off = || CorrelationLayer::$new().off();
                settings.unwrap_or_else(off).named(stack.name)
            }
        }
    )*};
}

#[cfg(feature = "http")]
correlations! {
    ClientCorrelation of Client by client;
    ServerCorrelation of Server by server;
}

pub(in crate::stack) fn describe<D>(layer: &CorrelationLayer<D>) -> Vec<Setting> {
    let mut settings = vec![("fields", layer.field_names().join(" "))];
    if !layer.trusts() {
        settings.push(("ignore_inbound", "true".to_owned()));
    }
    settings
}
