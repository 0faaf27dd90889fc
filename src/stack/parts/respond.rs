use crate::protocol::respond::RespondLayer;
use crate::stack::part::{Part, Setting, Stack};
use crate::vocabulary::config::ConfigError;

/// The layer of a server stack that turns rejections into responses.
pub(in crate::stack) struct Respond;

impl<T, Q> Part<T, Q> for Respond {
    const NAME: &'static str = "respond";
    type Settings = RespondLayer;
    type Layer = RespondLayer;

    fn standard() -> Option<RespondLayer> {
        Some(RespondLayer::new())
    }

    fn describe(settings: &RespondLayer) -> Vec<Setting> {
        vec![
            ("full_as", settings.style.full.as_u16().to_string()),
            ("show_names", settings.style.names.to_string()),
        ]
    }

    fn build(
        settings: Option<RespondLayer>,
        _: &Stack<'_, T, Q>,
    ) -> Result<RespondLayer, ConfigError> {
        Ok(settings.unwrap_or_default())
    }
}
