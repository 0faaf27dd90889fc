//! Writes the JSON Schema of the settings of all standard stacks to `docs/settings.schema.json`.
//!
//! ```text
//! cargo run --example settings_schema
//! ```
//!
//! Editors that know the schema complete and check a configuration file. A program whose own
//! configuration contains the settings derives `schemars::JsonSchema` for its struct, and needs no
//! such file.

use mainstay::http::{ClientSettings, ServerSettings};
use mainstay::stack::{AnyClientSettings, AnyServerSettings};
use schemars::SchemaGenerator;
use schemars::generate::SchemaSettings;
use serde_json::json;

/// The schema, with a definition for each kind of stack.
pub(crate) fn schema() -> String {
    let mut generator = SchemaGenerator::new(SchemaSettings::draft2020_12());
    let schema = json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Settings of mainstay's standard stacks",
        "$defs": {
            "http_client": generator.root_schema_for::<ClientSettings>(),
            "http_server": generator.root_schema_for::<ServerSettings>(),
            "client": generator.root_schema_for::<AnyClientSettings>(),
            "server": generator.root_schema_for::<AnyServerSettings>(),
        },
    });
    let mut text = serde_json::to_string_pretty(&schema).expect("it has only string keys");
    text.push('\n');
    text
}

#[allow(dead_code, reason = "a test calls `schema` alone")]
fn main() -> std::io::Result<()> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/settings.schema.json");
    std::fs::write(path, schema())?;
    println!("wrote {path}");
    Ok(())
}
