//! The key of a request.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::{Arc, OnceLock};

use crate::vocabulary::overrides::Overrides;

/// The longest key that is kept as it is, in bytes.
const LONGEST: usize = 128;
/// The length of the hash that makes a changed key distinct, with its separator.
const MARK: usize = 17;

/// Returns the key of a request: see the [module](crate::keyed).
///
/// Closures that return a `Cow<str>` implement it. A type of its own can also say that a request has
/// no key.
///
/// ```
/// use std::borrow::Cow;
///
/// use mainstay::BulkheadLayer;
/// use mainstay::keyed::Key;
///
/// struct Job { tenant: Option<String> }
///
/// struct ByTenant;
///
/// impl Key<Job> for ByTenant {
///     fn key<'a>(&'a self, job: &'a Job) -> Option<Cow<'a, str>> {
///         job.tenant.as_deref().map(Cow::from)
///     }
/// }
///
/// let layer = BulkheadLayer::builder().limit(8).keyed_by(ByTenant).build()?;
/// # Ok::<_, mainstay::ConfigError>(())
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` returns no key for `{Req}`",
    note = "a key is a closure such as `|request: &Request| request.tenant.as_str().into()`, or a type that implements `mainstay::keyed::Key`"
)]
pub trait Key<Req: ?Sized> {
    /// The key, or `None` if the request has none: all requests without a key share one instance.
    ///
    /// An empty key is no key. The function runs for each call before the layer decides, outside of
    /// all locks. A panic propagates to the caller, and the call has no other effect.
    fn key<'a>(&'a self, request: &'a Req) -> Option<Cow<'a, str>>;

    /// The key that replaces it for this request, in the instance with this name: see
    /// [`Overrides::key`].
    #[doc(hidden)]
    #[inline]
    fn key_override(&self, _: &Req, name: &str) -> Option<Arc<str>> {
        Overrides::current_key(name)
    }

    /// The name of the key in the [description](crate::stack::Description) of a standard stack, such
    /// as `authority`. Default `key`.
    fn name(&self) -> Cow<'_, str> {
        "key".into()
    }
}

impl<Req: ?Sized, F> Key<Req> for F
where
    F: for<'a> Fn(&'a Req) -> Cow<'a, str>,
{
    #[inline]
    fn key<'a>(&'a self, request: &'a Req) -> Option<Cow<'a, str>> {
        Some(self(request))
    }
}

/// The key as it is stored and shown: without control characters, and at most [`LONGEST`] bytes
/// long. A key that is changed ends in a hash, which nobody can predict.
pub(super) fn clean(key: &str) -> Cow<'_, str> {
    static HASHER: OnceLock<RandomState> = OnceLock::new();
    // Most keys are of such bytes, which takes a fraction of the time of characters.
    let is_usual = || key.bytes().all(|byte| matches!(byte, b' '..=b'~'));
    if key.len() <= LONGEST && (is_usual() || key.chars().all(is_shown)) {
        return Cow::Borrowed(key);
    }
    let mut text = String::with_capacity(LONGEST);
    for c in key.chars() {
        let escaped = (!is_shown(c)).then(|| c.escape_unicode());
        let len = escaped
            .as_ref()
            .map_or(c.len_utf8(), ExactSizeIterator::len);
        if text.len() + len > LONGEST - MARK {
            break;
        }
        match escaped {
            Some(escaped) => text.extend(escaped),
            None => text.push(c),
        }
    }
    let hash = HASHER.get_or_init(RandomState::new).hash_one(key);
    // Writing to a string does not fail.
    let _ = write!(text, "~{hash:016x}");
    Cow::Owned(text)
}

/// Whether a character is shown as it is: no control character, nor one that breaks or reorders a
/// line.
fn is_shown(c: char) -> bool {
    !c.is_control()
        && !matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_keys_stay_as_they_are() {
        for key in [
            "",
            "api.example.com:8443",
            "[::1]:80",
            "münchen",
            &"x".repeat(128),
        ] {
            assert!(matches!(clean(key), Cow::Borrowed(_)), "{key}");
        }
    }

    #[test]
    fn odd_keys_are_escaped_bounded_and_distinct() {
        let long = "x".repeat(10_000);
        let odd = [
            "a\nb",
            "a\u{0}b",
            "\u{202e}a",
            &"ü\n".repeat(500),
            &long,
            &long[1..],
        ];
        let mut seen = std::collections::HashSet::new();
        for key in odd {
            let clean = clean(key);
            assert!(clean.len() <= LONGEST, "{clean}");
            assert!(clean.chars().all(is_shown), "{clean}");
            assert!(seen.insert(clean.into_owned()), "{key:?}");
        }
        assert!(clean("a\nb").starts_with("a\\u{a}b~"));
    }

    #[test]
    fn a_changed_key_is_the_same_each_time() {
        assert_eq!(clean("a\nb"), clean("a\nb"));
        assert_eq!(clean(&clean("a\nb")), clean("a\nb"));
    }
}
