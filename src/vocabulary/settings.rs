//! Settings as data, and their changes while a program runs.
//!
//! Each layer has a plain struct of settings, such as
//! [`bulkhead::Settings`](crate::bulkhead::Settings). Its builder takes it (`settings(..)`), and its
//! handle returns it (`settings()`), replaces it (`update(..)`) and changes parts of it
//! (`change(..)`) while calls run.
//!
//! ```
//! use mainstay::{BulkheadLayer, Mode};
//!
//! let layer = BulkheadLayer::builder().name("stock").limit(64).build()?;
//! let bulkhead = layer.handle();
//!
//! let changes = bulkhead.change(|settings| {
//!     settings.limit = Some(32);
//!     settings.mode = Mode::Shadow;
//! })?;
//! assert_eq!(changes.to_string(), "mode: enforce -> shadow, limit: 64 -> 32");
//!
//! let error = bulkhead.change(|settings| settings.limit = Some(0)).unwrap_err();
//! assert_eq!(error.field(), "limit"); // and nothing has changed
//! # Ok::<_, mainstay::ConfigError>(())
//! ```
//!
//! # Stacks
//!
//! A standard stack has the settings of all its layers in one struct, such as
//! [`stack::AnyClientSettings`](crate::stack::AnyClientSettings). Its builder takes it, and the stack
//! returns and changes it. A stack derives values that were not set, such as a back-off that suits
//! the time limit. After a change they are derived anew. Settings that clash are refused, as in
//! `build()`.
//!
//! # Modes
//!
//! Every layer has a [`Mode`](crate::Mode): it enforces its decisions, only reports them (shadow), or
//! is off. So new settings can be tried on real traffic: their rejections are counted as
//! `would_reject` in snapshots and metrics, and no call is rejected.
//!
//! # State
//!
//! A change keeps all state that still means something: counters, permits in flight, waiting calls,
//! an open circuit and its time, the outcomes in a window. Calls in flight are not disturbed. The
//! docs of each handle's `update` say more.
//!
//! A change is an event ([`SettingsChanged`](crate::EventKind::SettingsChanged)) and a log line.
//!
//! # Errors
//!
//! `update` and `change` check settings as `build()` does. If a value is refused, nothing has
//! changed.
#![cfg_attr(
    feature = "serde",
    doc = "
# Configuration

One configuration sets all stacks of a program, by their names:
[`Registry::configure`](crate::registry::Registry::configure). It takes effect as a whole, or not at
all. `examples/live_config.rs` watches such a file.

With the feature `serde`, all settings are read from and written to any format. An absent field has its
default, and an unknown one is refused. Durations have a unit: `250ms`, `2s`, `1m 30s`. `off` stands
for `None`, and `auto` for a value that is derived from others. The most important setting or the mode
alone may stand for a table: `bulkhead = 64`, `circuit_breaker = \"shadow\"`. Every error begins with the path of the field:

```
use mainstay::bulkhead::Settings;

let error = serde_json::from_str::<Settings>(r#\"{ \"queue\": { \"calls\": 4, \"max_wait\": 50 } }\"#);
assert!(error.unwrap_err().to_string().starts_with(
    \"queue.max_wait: invalid type: integer `50`, expected a duration with its unit\"
));
```
"
)]

// `settings!` defines a struct from one list of fields. Everything with an item per field comes from
// that list: defaults, changes, serde and the JSON Schema. How a value is written is decided by its
// `Value` implementation.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::vocabulary::config::ConfigError;

#[cfg(feature = "serde")]
mod de;
#[cfg(feature = "schemars")]
mod schema;
#[cfg(feature = "serde")]
mod ser;

#[cfg(feature = "schemars")]
pub(crate) use self::schema::{FieldSchema, struct_schema};
#[cfg(feature = "serde")]
pub(crate) use self::{
    de::{located, parse_duration, read_struct, read_text, refused},
    ser::{Written, write_struct},
};

/// The changes of an update.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[must_use = "says what the update changed"]
pub struct Changes(Vec<Change>);

/// One changed setting.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Change {
    /// The path of the setting: `limit`, or in a stack `bulkhead.limit`.
    pub field: String,
    /// The old value.
    pub from: String,
    /// The new value.
    pub to: String,
}

impl Changes {
    /// Whether nothing changed.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The changed settings, in the order of the struct.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Change> {
        self.0.iter()
    }

    pub(crate) fn push(&mut self, field: &str, from: String, to: String) {
        self.0.push(Change {
            field: field.to_owned(),
            from,
            to,
        });
    }

    /// The changes from one struct of settings to another.
    pub(crate) fn between<T: Fields>(from: &T, to: &T) -> Self {
        let mut changes = Self::default();
        from.compare(to, "", &mut changes);
        changes
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {} -> {}", self.field, self.from, self.to)
    }
}

/// `limit: 64 -> 32, mode: enforce -> shadow`, or `no change`.
impl fmt::Display for Changes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no change");
        }
        for (i, change) in self.0.iter().enumerate() {
            write!(f, "{}{change}", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}

/// A struct of settings.
pub(crate) trait Fields: Sized + PartialEq {
    /// The component in errors: `bulkhead`.
    #[cfg_attr(
        not(feature = "serde"),
        allow(dead_code, reason = "only serde reads it")
    )]
    const COMPONENT: &'static str;

    /// The values of absent fields.
    fn initial() -> Self;

    /// Refuses invalid values.
    fn check(&self) -> Result<(), ConfigError>;

    /// Adds the fields that differ.
    fn compare(&self, to: &Self, path: &str, changes: &mut Changes);

    /// The names and values of all fields.
    fn shown_fields(&self) -> Vec<(&'static str, String)>;

    #[cfg(feature = "serde")]
    const NAMES: &'static [&'static str];

    /// The field that a value stands for that is no table.
    #[cfg(feature = "serde")]
    const SHORT: Option<&'static str>;

    #[cfg(feature = "serde")]
    fn write_fields<S: serde::ser::SerializeStruct>(&self, to: &mut S) -> Result<(), S::Error>;

    /// Replaces the field with this name.
    #[cfg(feature = "serde")]
    fn read_field<'de, D: serde::Deserializer<'de>>(
        &mut self,
        name: &str,
        from: D,
    ) -> Result<(), D::Error>;

    #[cfg(feature = "schemars")]
    fn field_schemas(&self, generator: &mut schemars::SchemaGenerator) -> Vec<FieldSchema>;
}

/// The value of a setting.
pub(crate) trait Value: Sized + PartialEq {
    /// As in error messages and changes.
    fn shown(&self) -> String;

    fn compare(&self, to: &Self, path: &str, changes: &mut Changes) {
        if self != to {
            changes.push(path, self.shown(), to.shown());
        }
    }

    #[cfg(feature = "serde")]
    fn write<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error>;

    #[cfg(feature = "serde")]
    fn read<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error>;

    /// Reads a value over this one: a struct keeps the fields that are absent.
    #[cfg(feature = "serde")]
    fn read_over<'de, D: serde::Deserializer<'de>>(&mut self, from: D) -> Result<(), D::Error> {
        *self = Self::read(from)?;
        Ok(())
    }

    /// The schema of any value.
    #[cfg(feature = "schemars")]
    fn schema_of(generator: &mut schemars::SchemaGenerator) -> schemars::Schema;

    /// The schema of a value that is read over this one.
    #[cfg(feature = "schemars")]
    fn schema(&self, generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        Self::schema_of(generator)
    }
}

/// How a field is written: as its [`Value`].
pub(crate) struct Plain;

/// A field whose value is derived from other settings unless it is set: `None` is `auto`.
pub(crate) struct Auto;

/// How a field of the type `T` is written.
pub(crate) trait Form<T> {
    fn shown(value: &T) -> String;

    fn compare(from: &T, to: &T, path: &str, changes: &mut Changes);

    #[cfg(feature = "serde")]
    fn write<S: serde::Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error>;

    #[cfg(feature = "serde")]
    fn read_over<'de, D: serde::Deserializer<'de>>(value: &mut T, from: D) -> Result<(), D::Error>;

    #[cfg(feature = "schemars")]
    fn schema(value: &T, generator: &mut schemars::SchemaGenerator) -> schemars::Schema;
}

impl<T: Value> Form<T> for Plain {
    fn shown(value: &T) -> String {
        value.shown()
    }

    fn compare(from: &T, to: &T, path: &str, changes: &mut Changes) {
        from.compare(to, path, changes);
    }

    #[cfg(feature = "serde")]
    fn write<S: serde::Serializer>(value: &T, to: S) -> Result<S::Ok, S::Error> {
        value.write(to)
    }

    #[cfg(feature = "serde")]
    fn read_over<'de, D: serde::Deserializer<'de>>(value: &mut T, from: D) -> Result<(), D::Error> {
        value.read_over(from)
    }

    #[cfg(feature = "schemars")]
    fn schema(value: &T, generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        value.schema(generator)
    }
}

impl<T: Value> Form<Option<T>> for Auto {
    fn shown(value: &Option<T>) -> String {
        let value = value.as_ref();
        value.map_or_else(|| AUTO.to_owned(), Value::shown)
    }

    fn compare(from: &Option<T>, to: &Option<T>, path: &str, changes: &mut Changes) {
        if from != to {
            changes.push(path, Self::shown(from), Self::shown(to));
        }
    }

    #[cfg(feature = "serde")]
    fn write<S: serde::Serializer>(value: &Option<T>, to: S) -> Result<S::Ok, S::Error> {
        ser::optional(value.as_ref(), AUTO, to)
    }

    #[cfg(feature = "serde")]
    fn read_over<'de, D: serde::Deserializer<'de>>(
        value: &mut Option<T>,
        from: D,
    ) -> Result<(), D::Error> {
        *value = de::optional(value.take(), AUTO, from)?;
        Ok(())
    }

    #[cfg(feature = "schemars")]
    fn schema(value: &Option<T>, generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schema::optional(value.as_ref(), AUTO, generator)
    }
}

/// The word for a value that is derived from others.
const AUTO: &str = "auto";
/// The word for `None`.
const OFF: &str = "off";

/// `None` is `off`.
impl<T: Value> Value for Option<T> {
    fn shown(&self) -> String {
        self.as_ref().map_or_else(|| OFF.to_owned(), Value::shown)
    }

    fn compare(&self, to: &Self, path: &str, changes: &mut Changes) {
        match (self, to) {
            (Some(from), Some(to)) => from.compare(to, path, changes),
            (None, None) => {}
            _ => changes.push(path, self.shown(), to.shown()),
        }
    }

    #[cfg(feature = "serde")]
    fn write<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        ser::optional(self.as_ref(), OFF, to)
    }

    #[cfg(feature = "serde")]
    fn read<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        de::optional(None, OFF, from)
    }

    #[cfg(feature = "serde")]
    fn read_over<'de, D: serde::Deserializer<'de>>(&mut self, from: D) -> Result<(), D::Error> {
        *self = de::optional(self.take(), OFF, from)?;
        Ok(())
    }

    #[cfg(feature = "schemars")]
    fn schema_of(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schema::optional::<T>(None, OFF, generator)
    }

    #[cfg(feature = "schemars")]
    fn schema(&self, generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schema::optional(self.as_ref(), OFF, generator)
    }
}

/// A duration with its unit: `250ms`, `2s`, `1m 30s`.
impl Value for Duration {
    fn shown(&self) -> String {
        format!("{self:?}")
    }

    #[cfg(feature = "serde")]
    fn write<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{self:?}"))
    }

    #[cfg(feature = "serde")]
    fn read<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        de::duration(from)
    }

    #[cfg(feature = "schemars")]
    fn schema_of(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schema::duration()
    }
}

/// A table with a value for each name.
impl<T: Value> Value for BTreeMap<String, T> {
    fn shown(&self) -> String {
        let entry = |(name, value): (&String, &T)| format!("{name} {}", value.shown());
        let entries: Vec<_> = self.iter().map(entry).collect();
        format!("{{{}}}", entries.join(", "))
    }

    fn compare(&self, to: &Self, path: &str, changes: &mut Changes) {
        const UNSET: &str = "unset";
        let shown = |value: Option<&T>| value.map_or_else(|| UNSET.to_owned(), Value::shown);
        let added = to.keys().filter(|name| !self.contains_key(*name));
        for name in self.keys().chain(added) {
            let (from, to) = (self.get(name), to.get(name));
            if from != to {
                changes.push(&format!("{path}.{name:?}"), shown(from), shown(to));
            }
        }
    }

    #[cfg(feature = "serde")]
    fn write<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(
            self.iter()
                .map(|(name, value)| (name, Written::<Plain, _>::new(value))),
        )
    }

    #[cfg(feature = "serde")]
    fn read<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        de::map(from)
    }

    #[cfg(feature = "schemars")]
    fn schema_of(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schema::map::<T>(generator)
    }
}

/// Numbers and flags are written as themselves.
macro_rules! plain_values {
    ($($type:ty),*) => {$(
        impl Value for $type {
            fn shown(&self) -> String {
                self.to_string()
            }

            #[cfg(feature = "serde")]
            fn write<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                serde::Serialize::serialize(self, to)
            }

            #[cfg(feature = "serde")]
            fn read<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                serde::Deserialize::deserialize(from)
            }

            #[cfg(feature = "schemars")]
            fn schema_of(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                <$type as schemars::JsonSchema>::json_schema(generator)
            }
        }
    )*};
}

plain_values!(bool, u32, usize, f64);

/// Implements [`Value`] for an enum whose variants are words.
macro_rules! words {
    ($type:ty, [$($variant:ident = $word:literal),* $(,)?]) => {
        impl $crate::vocabulary::settings::Value for $type {
            fn shown(&self) -> String {
                match self {
                    $(Self::$variant => $word,)*
                }
                .to_owned()
            }

            #[cfg(feature = "serde")]
            fn write<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(&self.shown())
            }

            #[cfg(feature = "serde")]
            fn read<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let word = <String as serde::Deserialize>::deserialize(from)?;
                match &*word {
                    $($word => Ok(Self::$variant),)*
                    _ => Err(serde::de::Error::unknown_variant(&word, &[$($word),*])),
                }
            }

            #[cfg(feature = "schemars")]
            fn schema_of(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "enum": [$($word),*] })
            }
        }
    };
}

/// Implements [`Value`] for a type that is written as a text. `shown` is its `Display`. A text with
/// several values is checked where it is read, so that the error is one of the text.
macro_rules! text {
    ($type:ty, expects $expected:expr, pattern $pattern:literal, $parse:path) => {
        text! { $type, expects $expected, pattern $pattern, $parse, |_| Ok(()) }
    };
    ($type:ty, expects $expected:expr, pattern $pattern:literal, $parse:path, $check:expr) => {
        impl $crate::vocabulary::settings::Value for $type {
            fn shown(&self) -> String {
                self.to_string()
            }

            #[cfg(feature = "serde")]
            fn write<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.collect_str(self)
            }

            #[cfg(feature = "serde")]
            fn read<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                $crate::vocabulary::settings::read_text(from, $expected, $parse, $check)
            }

            #[cfg(feature = "schemars")]
            fn schema_of(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": $pattern })
            }
        }
    };
}

/// The form of a field.
macro_rules! form {
    () => {
        $crate::vocabulary::settings::Plain
    };
    ($form:ident) => {
        $crate::vocabulary::settings::$form
    };
}

/// Defines a struct of settings. Its `check` must be an inherent method `checked`.
macro_rules! settings {
    (
        $(#[$attribute:meta])*
        pub struct $Settings:ident of $component:literal $(, short $short:ident)? {$(
            $(#[doc = $doc:literal])*
            $field:ident: $type:ty $(as $form:ident)? = $default:expr;
        )*}
    ) => {
        $(#[$attribute])*
        #[derive(Debug, Clone, PartialEq)]
        #[non_exhaustive]
        pub struct $Settings {$(
            $(#[doc = $doc])*
            pub $field: $type,
        )*}

        impl $crate::vocabulary::settings::Fields for $Settings {
            #[cfg_attr(not(feature = "serde"), allow(dead_code, reason = "only serde reads it"))]
    const COMPONENT: &'static str = $component;

            fn initial() -> Self {
                Self { $($field: $default,)* }
            }

            fn check(&self) -> Result<(), $crate::vocabulary::config::ConfigError> {
                self.checked()
            }

            fn compare(
                &self,
                to: &Self,
                path: &str,
                changes: &mut $crate::vocabulary::settings::Changes,
            ) {
                $(<$crate::vocabulary::settings::form!($($form)?)
                    as $crate::vocabulary::settings::Form<$type>>::compare(
                    &self.$field,
                    &to.$field,
                    &$crate::vocabulary::settings::path(path, stringify!($field)),
                    changes,
                );)*
            }

            fn shown_fields(&self) -> Vec<(&'static str, String)> {
                vec![$((
                    stringify!($field),
                    <$crate::vocabulary::settings::form!($($form)?)
                        as $crate::vocabulary::settings::Form<$type>>::shown(&self.$field),
                ),)*]
            }

            #[cfg(feature = "serde")]
            const NAMES: &'static [&'static str] = &[$(stringify!($field)),*];

            #[cfg(feature = "serde")]
            const SHORT: Option<&'static str> = {
                #[allow(unused_mut, unused_assignments)]
                let mut short = None;
                $(short = Some(stringify!($short));)?
                short
            };

            #[cfg(feature = "serde")]
            fn write_fields<S: serde::ser::SerializeStruct>(
                &self,
                to: &mut S,
            ) -> Result<(), S::Error> {
                $(to.serialize_field(
                    stringify!($field),
                    &$crate::vocabulary::settings::Written::<
                        $crate::vocabulary::settings::form!($($form)?), _,
                    >::new(&self.$field),
                )?;)*
                Ok(())
            }

            #[cfg(feature = "serde")]
            fn read_field<'de, D: serde::Deserializer<'de>>(
                &mut self,
                name: &str,
                from: D,
            ) -> Result<(), D::Error> {
                $(if name == stringify!($field) {
                    return <$crate::vocabulary::settings::form!($($form)?)
                        as $crate::vocabulary::settings::Form<$type>>::read_over(
                        &mut self.$field,
                        from,
                    );
                })*
                Err(serde::de::Error::unknown_field(name, Self::NAMES))
            }

            #[cfg(feature = "schemars")]
            fn field_schemas(
                &self,
                generator: &mut schemars::SchemaGenerator,
            ) -> Vec<$crate::vocabulary::settings::FieldSchema> {
                vec![$($crate::vocabulary::settings::FieldSchema {
                    name: stringify!($field),
                    description: concat!($($doc, "\n"),*),
                    schema: <$crate::vocabulary::settings::form!($($form)?)
                        as $crate::vocabulary::settings::Form<$type>>::schema(
                        &self.$field,
                        generator,
                    ),
                    default: schemars::json_schema!({
                        "default": $crate::vocabulary::settings::Written::<
                            $crate::vocabulary::settings::form!($($form)?), _,
                        >::new(&self.$field),
                    }),
                },)*]
            }
        }

        $crate::vocabulary::settings::struct_value!($Settings);
    };
}

/// A struct of settings is a value, too, and a type for serde.
macro_rules! struct_value {
    ($Settings:ty) => {
        impl $crate::vocabulary::settings::Value for $Settings {
            fn shown(&self) -> String {
                $crate::vocabulary::settings::shown_struct(self)
            }

            fn compare(
                &self,
                to: &Self,
                path: &str,
                changes: &mut $crate::vocabulary::settings::Changes,
            ) {
                $crate::vocabulary::settings::Fields::compare(self, to, path, changes);
            }

            #[cfg(feature = "serde")]
            fn write<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                serde::Serialize::serialize(self, to)
            }

            #[cfg(feature = "serde")]
            fn read<'de, D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                serde::Deserialize::deserialize(from)
            }

            #[cfg(feature = "serde")]
            fn read_over<'de, D: serde::Deserializer<'de>>(
                &mut self,
                from: D,
            ) -> Result<(), D::Error> {
                $crate::vocabulary::settings::read_struct(self, from)
            }

            #[cfg(feature = "schemars")]
            fn schema_of(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                let initial = <Self as $crate::vocabulary::settings::Fields>::initial();
                $crate::vocabulary::settings::struct_schema(&initial, generator)
            }

            #[cfg(feature = "schemars")]
            fn schema(&self, generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                $crate::vocabulary::settings::struct_schema(self, generator)
            }
        }

        #[cfg(feature = "serde")]
        impl serde::Serialize for $Settings {
            fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                $crate::vocabulary::settings::write_struct(self, to)
            }
        }

        #[cfg(feature = "serde")]
        impl<'de> serde::Deserialize<'de> for $Settings {
            fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let mut settings = $crate::vocabulary::settings::Fields::initial();
                $crate::vocabulary::settings::read_struct(&mut settings, from)?;
                Ok(settings)
            }
        }

        #[cfg(feature = "schemars")]
        impl schemars::JsonSchema for $Settings {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> std::borrow::Cow<'static, str> {
                <Self as $crate::vocabulary::settings::Fields>::COMPONENT.into()
            }

            fn json_schema(generator: &mut schemars::SchemaGenerator) -> schemars::Schema {
                <Self as $crate::vocabulary::settings::Value>::schema_of(generator)
            }
        }
    };
}

pub(crate) use {form, settings, struct_value, text, words};

/// The path of a field within the struct at `path`.
pub(crate) fn path(path: &str, field: &str) -> String {
    if path.is_empty() {
        field.to_owned()
    } else {
        format!("{path}.{field}")
    }
}

/// All fields of a struct: `calls = 64, max_wait = 50ms`.
pub(crate) fn shown_struct<T: Fields>(settings: &T) -> String {
    let fields = settings.shown_fields();
    let shown: Vec<_> = fields
        .iter()
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    format!("{{{}}}", shown.join(", "))
}
