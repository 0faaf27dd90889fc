//! Headers one by one.

use http::{HeaderMap, HeaderName, HeaderValue};

/// Up to so many, it takes less time to compare their names one by one than to hash the one that is looked for.
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

/// How often a header is given.
pub(crate) enum Given<'a> {
    Not,
    Once(&'a HeaderValue),
    /// Nobody can say which one is meant.
    Repeatedly,
}

impl<'a> Given<'a> {
    #[inline]
    pub(crate) fn of(headers: &'a HeaderMap, name: &HeaderName) -> Self {
        if headers.len() > FEW {
            return Self::one_of(headers.get_all(name).iter());
        }
        Self::one_of(
            headers
                .iter()
                .filter_map(|(given, value)| (given == name).then_some(value)),
        )
    }

    #[inline]
    pub(crate) fn one_of(mut values: impl Iterator<Item = &'a HeaderValue>) -> Self {
        match (values.next(), values.next()) {
            (None, _) => Self::Not,
            (Some(value), None) => Self::Once(value),
            (Some(_), Some(_)) => Self::Repeatedly,
        }
    }
}

/// For a value that is another one in every message, over HTTP/2.
///
/// Both ends of a connection keep a table of the headers that went over it, so that one that comes again takes a byte (RFC 7541, 2.3.2). Such a value
/// never comes again: it would drive out those that do, and each new one would be compared with all of its name that are there.
/// The crate `http` calls values sensitive that stay out of the table.
#[inline]
pub(crate) fn never_indexed(mut value: HeaderValue) -> HeaderValue {
    value.set_sensitive(true);
    value
}

/// Sets a header, in place of all that the message has of this name.
///
/// A map of the crate `http` holds some 24 000 names, and `insert` panics where it is full. Then the message goes on without this header.
#[inline]
pub(crate) fn set(headers: &mut HeaderMap, name: &HeaderName, value: HeaderValue) {
    /// No map that has fewer names is full.
    const MANY: usize = 8_192;
    if headers.keys_len() >= MANY {
        // A full map refuses even a name that it has.
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
mod tests {
    use super::*;
    use http::header::ACCEPT;

    /// A map with so many other headers, and this one so often.
    fn headers(others: usize, times: usize) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for n in 0..others {
            let name = HeaderName::from_bytes(format!("x-{n}").as_bytes()).unwrap();
            headers.append(name, HeaderValue::from_static("other"));
        }
        for n in 0..times {
            headers.append(ACCEPT, HeaderValue::from(n));
        }
        headers
    }

    #[test]
    fn many_headers_or_few() {
        for others in [0, 1, FEW - 1, FEW, FEW + 1, 100] {
            assert_eq!(first(&headers(others, 0), &ACCEPT), None);
            assert_eq!(first(&headers(others, 1), &ACCEPT).unwrap(), "0");
            assert_eq!(first(&headers(others, 2), &ACCEPT).unwrap(), "0");

            assert!(matches!(
                Given::of(&headers(others, 0), &ACCEPT),
                Given::Not
            ));
            assert!(
                matches!(Given::of(&headers(others, 1), &ACCEPT), Given::Once(value) if value == "0")
            );
            for times in [2, 3, 20] {
                assert!(matches!(
                    Given::of(&headers(others, times), &ACCEPT),
                    Given::Repeatedly
                ));
            }
        }
    }

    #[test]
    fn a_full_map_takes_no_new_name_and_replaces_one_that_it_has() {
        let mut headers = HeaderMap::new();
        headers.append(ACCEPT, HeaderValue::from_static("a"));
        headers.append(ACCEPT, HeaderValue::from_static("b"));
        fill(&mut headers);
        let all = headers.keys_len();
        set(
            &mut headers,
            &http::header::RETRY_AFTER,
            HeaderValue::from_static("1"),
        );
        assert_eq!(
            (headers.keys_len(), headers.get("retry-after")),
            (all, None)
        );
        set(&mut headers, &ACCEPT, HeaderValue::from_static("c"));
        assert_eq!(headers.keys_len(), all);
        assert!(headers.get_all(ACCEPT).iter().eq(["c"]));
    }
}
