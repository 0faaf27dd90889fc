//! The names of gRPC services and methods in settings.

use crate::vocabulary::config::ConfigError;

/// Refuses a text that names neither a service nor a method.
pub(crate) fn check(
    component: &'static str,
    field: &'static str,
    name: &str,
) -> Result<(), ConfigError> {
    if is_name(name) {
        return Ok(());
    }
    let rule =
        "must be the name of a service (`shop.Orders`) or of a method (`shop.Orders/Create`)";
    Err(ConfigError::new(component, field, name, rule))
}

fn is_name(name: &str) -> bool {
    let (service, method) = match name.split_once('/') {
        Some((service, method)) => (service, Some(method)),
        None => (name, None),
    };
    service.split('.').all(is_word) && method.is_none_or(is_word)
}

fn is_word(word: &str) -> bool {
    let is_letter = |byte: u8| byte.is_ascii_alphabetic() || byte == b'_';
    word.bytes().next().is_some_and(is_letter)
        && word
            .bytes()
            .all(|byte| is_letter(byte) || byte.is_ascii_digit())
}

/// The names that may stand for a path, `/service/method`, the most specific one first.
#[cfg(feature = "http")]
#[inline]
pub(crate) fn of_path(path: &str) -> Option<[&str; 2]> {
    let method = path.strip_prefix('/')?;
    let (service, _) = method.split_once('/')?;
    Some([method, service])
}
