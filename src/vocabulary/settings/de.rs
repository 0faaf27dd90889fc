//! Reads settings. Every error begins with the path of the field.

use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;
use std::time::Duration;

use serde::de::value::{
    BoolDeserializer, F64Deserializer, I64Deserializer, MapAccessDeserializer, StrDeserializer,
    U64Deserializer,
};
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Unexpected, Visitor};

use super::{Fields, Value};
use crate::vocabulary::config::ConfigError;

/// Puts a field in front of an error that may begin with a path within the field.
pub(crate) fn located(field: &str, error: &impl fmt::Display) -> String {
    let error = error.to_string();
    // `timeout.timeout_for."shop.Orders"`
    let is_path = |text: &str| {
        let plain = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_.".contains(&b);
        let is_closed = text.matches('"').count().is_multiple_of(2);
        let mut parts = text.split('"').enumerate();
        !text.is_empty()
            && is_closed
            && parts.all(|(n, part)| n % 2 == 1 || part.bytes().all(plain))
    };
    match error.split_once(": ") {
        Some((path, _)) if is_path(path) => format!("{field}.{error}"),
        _ => format!("{field}: {error}"),
    }
}

/// A refused value, with its path within the struct.
pub(crate) fn refused<E: Error>(error: &ConfigError) -> E {
    let (field, value, rule) = (error.field(), error.value(), error.rule());
    E::custom(format_args!("{field}: {value} is refused: {rule}"))
}

/// Reads a struct over its present values, and checks it.
pub(crate) fn read_struct<'de, T: Fields, D: Deserializer<'de>>(
    settings: &mut T,
    from: D,
) -> Result<(), D::Error> {
    if from.is_human_readable() {
        from.deserialize_any(Table(&mut *settings))?;
    } else {
        from.deserialize_struct(T::COMPONENT, T::NAMES, Fixed(Table(&mut *settings)))?;
    }
    settings.check().map_err(|error| refused(&error))
}

struct Table<'a, T>(&'a mut T);

/// Reads one field.
struct Field<'a, T> {
    settings: &'a mut T,
    name: &'a str,
}

impl<'de, T: Fields> DeserializeSeed<'de> for Field<'_, T> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<(), D::Error> {
        let read = self.settings.read_field(self.name, from);
        read.map_err(|error| D::Error::custom(located(self.name, &error)))
    }
}

impl<T: Fields> Table<'_, T> {
    /// Reads a value that is no table as the value of the short field.
    fn read_short<'de, D: Deserializer<'de>, E: Error>(
        self,
        from: D,
        unexpected: Unexpected<'_>,
    ) -> Result<(), E> {
        let Some(name) = T::SHORT else {
            return Err(E::invalid_type(unexpected, &self));
        };
        let read = self.0.read_field(name, from);
        read.map_err(|error| E::custom(located(name, &error)))
    }
}

macro_rules! visit_short {
    ($($visit:ident($type:ty) as $Deserializer:ident, $Unexpected:ident;)*) => {$(
        fn $visit<E: Error>(self, value: $type) -> Result<(), E> {
            let from = $Deserializer::<E>::new(value);
            self.read_short(from, Unexpected::$Unexpected(value.into()))
        }
    )*};
}

impl<'de, T: Fields> Visitor<'de> for Table<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table with ")?;
        for (i, name) in T::NAMES.iter().enumerate() {
            write!(f, "{}`{name}`", if i == 0 { "" } else { ", " })?;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = vec![false; T::NAMES.len()];
        while let Some(name) = map.next_key::<String>()? {
            let Some(at) = T::NAMES.iter().position(|known| *known == name) else {
                return Err(A::Error::unknown_field(&name, T::NAMES));
            };
            if std::mem::replace(&mut seen[at], true) {
                return Err(A::Error::duplicate_field(T::NAMES[at]));
            }
            map.next_value_seed(Field {
                settings: &mut *self.0,
                name: &name,
            })?;
        }
        Ok(())
    }

    visit_short! {
        visit_bool(bool) as BoolDeserializer, Bool;
        visit_u64(u64) as U64Deserializer, Unsigned;
        visit_i64(i64) as I64Deserializer, Signed;
        visit_f64(f64) as F64Deserializer, Float;
    }

    /// A mode alone is a table with this mode and otherwise unchanged.
    fn visit_str<E: Error>(self, value: &str) -> Result<(), E> {
        let from = || StrDeserializer::<E>::new(value);
        let has_mode = T::NAMES.contains(&"mode");
        if has_mode && matches!(value, "enforce" | "shadow") {
            return self.0.read_field("mode", from());
        }
        let Self(settings) = self;
        match Table(&mut *settings).read_short(from(), Unexpected::Str(value)) {
            Err(_) if has_mode && value == "off" => settings.read_field("mode", from()),
            read => read,
        }
    }
}

/// A struct in a format that is not for people, which may write only the values.
struct Fixed<'a, T>(Table<'a, T>);

impl<'de, T: Fields> Visitor<'de> for Fixed<'_, T> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.expecting(f)
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        self.0.visit_map(map)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut fields: A) -> Result<(), A::Error> {
        for (at, name) in T::NAMES.iter().enumerate() {
            let field = Field {
                settings: &mut *self.0.0,
                name,
            };
            if fields.next_element_seed(field)?.is_none() {
                return Err(A::Error::invalid_length(at, &self));
            }
        }
        Ok(())
    }
}

/// Reads a value over `before` (absent fields of a struct keep it), or a word for `None`.
pub(super) fn optional<'de, T: Value, D: Deserializer<'de>>(
    before: Option<T>,
    word: &'static str,
    from: D,
) -> Result<Option<T>, D::Error> {
    let optional = Optional { before, word };
    if from.is_human_readable() {
        from.deserialize_any(optional)
    } else {
        from.deserialize_option(optional)
    }
}

struct Optional<T> {
    before: Option<T>,
    word: &'static str,
}

impl<T: Value> Optional<T> {
    fn read<'de, D: Deserializer<'de>>(self, from: D) -> Result<Option<T>, D::Error> {
        match self.before {
            Some(mut value) => {
                value.read_over(from)?;
                Ok(Some(value))
            }
            None => T::read(from).map(Some),
        }
    }
}

impl<'de, T: Value> Visitor<'de> for Optional<T> {
    type Value = Option<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a value or `{}`", self.word)
    }

    fn visit_none<E: Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_unit<E: Error>(self) -> Result<Option<T>, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'de>>(self, from: D) -> Result<Option<T>, D::Error> {
        self.read(from)
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<Option<T>, E> {
        if value == self.word {
            return Ok(None);
        }
        self.read(StrDeserializer::<E>::new(value))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<Option<T>, E> {
        self.read(BoolDeserializer::<E>::new(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<Option<T>, E> {
        self.read(U64Deserializer::<E>::new(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<Option<T>, E> {
        self.read(I64Deserializer::<E>::new(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Option<T>, E> {
        self.read(F64Deserializer::<E>::new(value))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Option<T>, A::Error> {
        self.read(MapAccessDeserializer::new(map))
    }
}

/// Reads a table with a value for each name.
pub(super) fn map<'de, T: Value, D: Deserializer<'de>>(
    from: D,
) -> Result<BTreeMap<String, T>, D::Error> {
    struct Entries<T>(PhantomData<T>);
    struct Entry<'a, T>(&'a str, PhantomData<T>);

    impl<'de, T: Value> DeserializeSeed<'de> for Entry<'_, T> {
        type Value = T;

        fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<T, D::Error> {
            let name = format!("{:?}", self.0);
            T::read(from).map_err(|error| D::Error::custom(located(&name, &error)))
        }
    }

    impl<'de, T: Value> Visitor<'de> for Entries<T> {
        type Value = BTreeMap<String, T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a table with a value for each name")
        }

        fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
            let mut entries = BTreeMap::new();
            while let Some(name) = map.next_key::<String>()? {
                let value = map.next_value_seed(Entry(&name, PhantomData))?;
                if entries.contains_key(&name) {
                    return Err(A::Error::custom(format_args!("{name:?}: is there twice")));
                }
                entries.insert(name, value);
            }
            Ok(entries)
        }
    }

    from.deserialize_map(Entries(PhantomData))
}

/// Reads a duration with its unit.
pub(super) fn duration<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
    struct WithUnit;

    impl Visitor<'_> for WithUnit {
        type Value = Duration;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a duration with its unit, such as \"250ms\" or \"2s\"")
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<Duration, E> {
            humantime::parse_duration(text).map_err(|error| {
                E::custom(format_args!(
                    "{text:?} is refused: must be a duration with its unit, such as \"250ms\" or \
                     \"2s\" ({error})"
                ))
            })
        }
    }

    from.deserialize_str(WithUnit)
}

/// A duration as people write it, if it is one.
pub(crate) fn parse_duration(text: &str) -> Option<Duration> {
    humantime::parse_duration(text).ok()
}

/// Reads a value that is written as a text, and checks it.
pub(crate) fn read_text<'de, T, D: Deserializer<'de>>(
    from: D,
    expected: &'static str,
    parse: fn(&str) -> Option<T>,
    check: fn(&T) -> Result<(), ConfigError>,
) -> Result<T, D::Error> {
    struct Text<T> {
        expected: &'static str,
        parse: fn(&str) -> Option<T>,
        check: fn(&T) -> Result<(), ConfigError>,
    }

    impl<T> Visitor<'_> for Text<T> {
        type Value = T;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str(self.expected)
        }

        fn visit_str<E: Error>(self, text: &str) -> Result<T, E> {
            let Some(value) = (self.parse)(text) else {
                let expected = self.expected;
                let error = format_args!("{text:?} is refused: must be {expected}");
                return Err(E::custom(error));
            };
            let Err(error) = (self.check)(&value) else {
                return Ok(value);
            };
            let (field, value, rule) = (error.field(), error.value(), error.rule());
            Err(if value == text {
                E::custom(format_args!("{text} is refused: {rule}"))
            } else {
                E::custom(format_args!(
                    "{text:?} is refused: {field} = {value}, but {rule}"
                ))
            })
        }

        fn visit_u64<E: Error>(self, number: u64) -> Result<T, E> {
            self.visit_str(&number.to_string())
        }

        fn visit_i64<E: Error>(self, number: i64) -> Result<T, E> {
            self.visit_str(&number.to_string())
        }
    }

    let text = Text {
        expected,
        parse,
        check,
    };
    if from.is_human_readable() {
        from.deserialize_any(text)
    } else {
        from.deserialize_str(text)
    }
}
