//! Writes settings.

use std::marker::PhantomData;

use serde::ser::{Serialize, SerializeStruct as _, Serializer};

use super::{Fields, Form, Value};

/// A value in the form of its field.
pub(crate) struct Written<'a, F, T> {
    value: &'a T,
    form: PhantomData<F>,
}

impl<'a, F, T> Written<'a, F, T> {
    pub(crate) const fn new(value: &'a T) -> Self {
        Self {
            value,
            form: PhantomData,
        }
    }
}

impl<F: Form<T>, T> Serialize for Written<'_, F, T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        F::write(self.value, to)
    }
}

struct Some<'a, T>(&'a T);

impl<T: Value> Serialize for Some<'_, T> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        self.0.write(to)
    }
}

/// `None` is a word where people read it.
pub(super) fn optional<T: Value, S: Serializer>(
    value: Option<&T>,
    word: &str,
    to: S,
) -> Result<S::Ok, S::Error> {
    match (value, to.is_human_readable()) {
        (Option::Some(value), true) => value.write(to),
        (Option::Some(value), false) => to.serialize_some(&Some(value)),
        (None, true) => to.serialize_str(word),
        (None, false) => to.serialize_none(),
    }
}

pub(crate) fn write_struct<T: Fields, S: Serializer>(
    settings: &T,
    to: S,
) -> Result<S::Ok, S::Error> {
    let mut fields = to.serialize_struct(T::COMPONENT, T::NAMES.len())?;
    settings.write_fields(&mut fields)?;
    fields.end()
}
