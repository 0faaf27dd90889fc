//! Access to single headers.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Up to this many headers, comparing names one by one is faster than hashing the name.
const FEW: usize = 4;

/// The first value of a header.
#[inline]
pub(crate) fn first<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a HeaderValue> {
    if headers.len() > FEW {
        return headers.get(name);
    }
    headers
        .iter()
        .find_map(|(given, value)| (given == name).then_some(value))
}

/// The value of a header that must not be repeated.
pub(crate) enum Single<'a> {
    Missing,
    Value(&'a HeaderValue),
    /// There are several values, so none of them counts.
    Repeated,
}

impl<'a> Single<'a> {
    #[inline]
    pub(crate) fn of(headers: &'a HeaderMap, name: &HeaderName) -> Self {
        if headers.len() > FEW {
            return Self::of_values(headers.get_all(name).iter());
        }
        Self::of_values(
            headers
                .iter()
                .filter_map(|(given, value)| (given == name).then_some(value)),
        )
    }

    #[inline]
    pub(crate) fn of_values(mut values: impl Iterator<Item = &'a HeaderValue>) -> Self {
        match (values.next(), values.next()) {
            (None, _) => Self::Missing,
            (Some(value), None) => Self::Value(value),
            (Some(_), Some(_)) => Self::Repeated,
        }
    }
}

/// Keeps a value that differs in every message out of HTTP/2's table of headers.
///
/// Both ends of a connection keep the headers that they sent, so that a repeated header takes one
/// byte (RFC 7541, 2.3.2). A value that never repeats would only evict others. The crate `http`
/// marks values that stay out of the table as sensitive.
#[inline]
pub(crate) fn never_indexed(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}

/// Sets a header and replaces all its values.
///
/// `HeaderMap` holds some 24 000 names, and its `insert` panics when it is full. A message with a
/// full map stays without this header.
#[inline]
pub(crate) fn set(headers: &mut HeaderMap, name: &HeaderName, value: HeaderValue) {
    /// A map with fewer names is never full.
    const MANY: usize = 8_192;
    if headers.keys_len() >= MANY {
        // A full map refuses even a name that it holds.
        headers.remove(name);
    }
    let _ = headers.try_insert(name, value);
}

/// Adds headers until the map is full.
#[cfg(test)]
pub(crate) fn fill(headers: &mut HeaderMap) {
    let mut names = (0..).map(|n| HeaderName::from_bytes(format!("x-fill-{n}").as_bytes()));
    while let Some(Ok(name)) = names.next()
        && headers
            .try_append(name, HeaderValue::from_static(""))
            .is_ok()
    {}
}

#[cfg(test)]
#[path = "header_tests.rs"]
mod tests;
