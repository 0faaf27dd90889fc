//! The JSON Schema of settings.

use schemars::{Schema, SchemaGenerator, json_schema};

use super::{Fields, Value};

/// A field with its description.
pub(crate) struct FieldSchema {
    pub(crate) name: &'static str,
    pub(crate) description: &'static str,
    pub(crate) schema: Schema,
    /// `{ "default": .. }`
    pub(crate) default: Schema,
}

/// A duration as people write it.
pub(super) fn duration() -> Schema {
    json_schema!({
        "type": "string",
        "pattern": r"^\s*\d+(\.\d+)?\s*[a-zA-Zµ]+(\s*\d+(\.\d+)?\s*[a-zA-Zµ]+)*\s*$",
        "examples": ["250ms", "2s"],
    })
}

/// The schema of a value, or a word.
pub(super) fn optional<T: Value>(
    value: Option<&T>,
    word: &str,
    generator: &mut SchemaGenerator,
) -> Schema {
    let schema = match value {
        Some(value) => value.schema(generator),
        None => T::schema_of(generator),
    };
    json_schema!({ "anyOf": [{ "const": word }, schema] })
}

/// The schema of a table with a value for each name.
pub(super) fn map<T: Value>(generator: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "object", "additionalProperties": T::schema_of(generator) })
}

/// The schema of a struct whose absent fields keep the values of `settings`.
pub(crate) fn struct_schema<T: Fields>(settings: &T, generator: &mut SchemaGenerator) -> Schema {
    let mut short = None;
    let mut properties = Properties(Vec::new());
    for field in settings.field_schemas(generator) {
        if T::SHORT == Some(field.name) {
            short = Some(field.schema.clone());
        }
        let lines = field.description.trim().lines().map(str::trim);
        let description = lines.collect::<Vec<_>>().join("\n");
        let mut schema = json_schema!({ "description": description });
        for (key, value) in field.schema.as_object().into_iter().flatten() {
            schema.insert(key.clone(), value.clone());
        }
        for (key, value) in field.default.as_object().into_iter().flatten() {
            schema.insert(key.clone(), value.clone());
        }
        properties.0.push((field.name, schema));
    }
    let table = json_schema!({
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    });
    // A mode alone, or the most important setting alone, stands for a table.
    let mode = json_schema!({ "enum": ["enforce", "shadow", "off"] });
    let mode = T::NAMES.contains(&"mode").then_some(mode);
    let forms: Vec<_> = short
        .into_iter()
        .chain(mode)
        .chain([table.clone()])
        .collect();
    match forms.len() {
        1 => table,
        _ => json_schema!({ "anyOf": forms }),
    }
}

/// The fields of a struct, in their order.
struct Properties(Vec<(&'static str, Schema)>);

impl serde::Serialize for Properties {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.0.iter().map(|(name, schema)| (name, schema)))
    }
}
