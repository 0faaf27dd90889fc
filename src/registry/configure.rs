//! Settings of all stacks from one configuration.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};

use super::Registry;
use super::stack::StackHandle;
use crate::vocabulary::settings::{Changes, located, refused};

impl Registry {
    /// Applies the settings in a configuration to the stacks that it names. Returns the changes of
    /// each stack.
    ///
    /// All of it is read and checked first. If anything is refused, nothing changes. Absent fields
    /// have the values with which the program built the stack. Stacks that the configuration does not
    /// name keep their settings.
    ///
    /// ```
    /// use mainstay::registry::Registry;
    /// use std::time::Duration;
    ///
    /// let registry = Registry::new();
    /// let stack = mainstay::client("payments").registry(&registry).build()?;
    /// let file = r#"{ "payments": { "timeout": "2s", "bulkhead": 64 } }"#;
    ///
    /// let changes = registry.configure(&mut serde_json::Deserializer::from_str(file))?;
    /// assert_eq!(
    ///     changes["payments"].to_string(),
    ///     "timeout.timeout: 30s -> 2s, circuit_breaker.probe_life: 30s -> 10s, bulkhead.limit: off -> 64"
    /// );
    ///
    /// let wrong = r#"{ "payments": { "timeout": "0s" } }"#;
    /// let error = registry.configure(&mut serde_json::Deserializer::from_str(wrong)).unwrap_err();
    /// assert!(error.to_string().starts_with("payments.timeout.timeout: 0ns is refused"));
    /// # drop(stack);
    /// # Ok::<_, Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// The configuration cannot be read, names a stack that does not exist or whose name several
    /// stacks have, or contains a refused value. The error of a refused value begins with its path.
    pub fn configure<'de, D: Deserializer<'de>>(
        &self,
        from: D,
    ) -> Result<BTreeMap<String, Changes>, D::Error> {
        let read = from.deserialize_map(Stacks(self))?;
        let mut changes = BTreeMap::new();
        for Read { stack, settings } in read {
            let updated = stack.update_any(&*settings).map_err(|error| {
                let error: D::Error = refused(&error);
                D::Error::custom(located(stack.name(), &error))
            })?;
            changes.insert(stack.name().to_owned(), updated);
        }
        Ok(changes)
    }

    /// The settings in force of all stacks, by name, to be written as a configuration. Of several
    /// stacks with one name, the last one built is in it.
    #[must_use]
    pub fn configuration(&self) -> impl Serialize + use<> {
        let stacks = self.stacks();
        let named = stacks
            .into_iter()
            .map(|stack| (stack.name().to_owned(), stack));
        let written = named.map(|(name, stack)| (name, Written(stack)));
        written.collect::<BTreeMap<_, _>>()
    }
}

/// A stack whose settings are written.
struct Written(StackHandle);

impl Serialize for Written {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.serialize_settings(to)
    }
}

/// Checked settings of a stack.
struct Read {
    stack: StackHandle,
    settings: Box<dyn Any>,
}

struct Stacks<'a>(&'a Registry);

impl<'de> Visitor<'de> for Stacks<'_> {
    type Value = Vec<Read>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table with the settings of each stack by its name")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Vec<Read>, A::Error> {
        let mut stacks: Vec<Read> = Vec::new();
        while let Some(name) = map.next_key::<String>()? {
            let stack = self.0.stack(&name).map_err(A::Error::custom)?;
            if stacks.iter().any(|read| read.stack.name() == name) {
                return Err(A::Error::custom(format_args!("{name}: is there twice")));
            }
            let settings = map.next_value_seed(OfStack(&stack))?;
            stacks.push(Read { stack, settings });
        }
        Ok(stacks)
    }
}

struct OfStack<'a>(&'a StackHandle);

impl<'de> DeserializeSeed<'de> for OfStack<'_> {
    type Value = Box<dyn Any>;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<Box<dyn Any>, D::Error> {
        let read = self.0.read_any(from);
        read.map_err(|error| D::Error::custom(located(self.0.name(), &error)))
    }
}
