//! The identifier of a request, shared by all processes that work on it.
//!
//! It comes from outside and ends up in headers and logs, so only harmless characters are accepted.

use std::{error, fmt, str::FromStr, sync::Arc};

use uuid::Builder;

const MAX_LENGTH: usize = 128;
/// A UUID's text: 32 digits and 4 hyphens.
const UUID_LENGTH: usize = 36;

/// The identifier of a request, the same in every process that works on it.
///
/// A new ID is a UUID of version 7, which sorts by time. An inbound ID is accepted unchanged if it
/// is 1 to 128 bytes of ASCII letters, digits and `. _ : / + = @ -`. That covers UUIDs, ULIDs,
/// Base64 and the IDs of the well-known tracers. No such character can end a header line or a log
/// entry.
///
/// Clones are cheap. A UUID in lower case needs no allocation, any other inbound ID needs one.
///
/// ```
/// use mainstay::CorrelationId;
///
/// let id: CorrelationId = "order-4711".parse()?;
/// assert_eq!(id.to_string(), "order-4711");
/// assert!("two\nlines".parse::<CorrelationId>().is_err());
/// # Ok::<_, mainstay::InvalidCorrelationId>(())
/// ```
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct CorrelationId(Repr);

/// Each text has one representation, so that IDs with equal texts are equal.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Repr {
    /// A lower-case hyphenated UUID as `Uuid::as_u64_pair`. It is copied with every poll, and words
    /// are copied faster than bytes.
    Uuid(u64, u64),
    /// Any other valid text.
    Foreign(Arc<str>),
}

/// The content of an ID.
pub(crate) enum Parts<'a> {
    Uuid(u64, u64),
    Text(&'a Arc<str>),
}

impl CorrelationId {
    /// A UUID of version 7 from the milliseconds since 1970 and 74 of the random bits.
    pub(crate) const fn new(unix_millis: u64, random: [u8; 10]) -> Self {
        let builder = Builder::from_unix_timestamp_millis(unix_millis, &random);
        let (high, low) = builder.into_uuid().as_u64_pair();
        Self(Repr::Uuid(high, low))
    }

    pub(crate) const fn of_uuid(high: u64, low: u64) -> Self {
        Self(Repr::Uuid(high, low))
    }

    /// From a text of [`parts`](Self::parts).
    pub(crate) const fn of_text(text: Arc<str>) -> Self {
        Self(Repr::Foreign(text))
    }

    #[inline]
    pub(crate) const fn parts(&self) -> Parts<'_> {
        match &self.0 {
            Repr::Uuid(high, low) => Parts::Uuid(*high, *low),
            Repr::Foreign(text) => Parts::Text(text),
        }
    }

    /// The bytes of its text, if it is a UUID.
    #[cfg(feature = "http")]
    #[inline]
    pub(crate) fn uuid_text(&self) -> Option<[u8; UUID_LENGTH]> {
        match &self.0 {
            Repr::Uuid(high, low) => Some(text_of(*high, *low)),
            Repr::Foreign(_) => None,
        }
    }

    /// The text of the ID. A UUID is written to `buffer`, so nothing is allocated.
    pub(crate) fn encode<'a>(&'a self, buffer: &'a mut [u8; UUID_LENGTH]) -> &'a str {
        match &self.0 {
            Repr::Uuid(high, low) => {
                *buffer = text_of(*high, *low);
                // Digits, letters and hyphens always are a text.
                str::from_utf8(buffer).unwrap_or_default()
            }
            Repr::Foreign(text) => text,
        }
    }
}

impl TryFrom<&[u8]> for CorrelationId {
    type Error = InvalidCorrelationId;

    #[cfg_attr(not(debug_assertions), inline(always))]
    fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
        match uuid_of(bytes) {
            Some((high, low)) => Ok(Self(Repr::Uuid(high, low))),
            // `foreign` returns only the text: an ID written through a pointer could not stay in
            // registers, not even a UUID.
            None => foreign(bytes).map(|text| Self(Repr::Foreign(text))),
        }
    }
}

/// Checks the text of an inbound ID.
#[cold]
fn foreign(bytes: &[u8]) -> Result<Arc<str>, InvalidCorrelationId> {
    match bytes.len() {
        0 => return Err(InvalidCorrelationId(Rule::Empty)),
        // First, because the value may be very long.
        length if length > MAX_LENGTH => {
            return Err(InvalidCorrelationId(Rule::TooLong { length }));
        }
        _ => {}
    }
    if let Some(at) = bytes.iter().position(|byte| !is_allowed(*byte)) {
        return Err(InvalidCorrelationId(Rule::Character { at }));
    }
    match str::from_utf8(bytes) {
        Ok(text) => Ok(Arc::from(text)),
        // Not reached: allowed bytes are ASCII.
        Err(_) => Err(InvalidCorrelationId(Rule::Character { at: 0 })),
    }
}

impl FromStr for CorrelationId {
    type Err = InvalidCorrelationId;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::try_from(text.as_bytes())
    }
}

impl fmt::Display for CorrelationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.encode(&mut [0; UUID_LENGTH]))
    }
}

impl fmt::Debug for CorrelationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut buffer = [0; UUID_LENGTH];
        f.debug_tuple("CorrelationId")
            .field(&self.encode(&mut buffer))
            .finish()
    }
}

const fn is_allowed(byte: u8) -> bool {
    byte.is_ascii_alphanumeric()
        || matches!(byte, b'.' | b'_' | b':' | b'/' | b'+' | b'=' | b'@' | b'-')
}

/// Parses a UUID in exactly this spelling. Other spellings must be propagated unchanged.
///
/// Runs for every request, so it reads eight aligned bytes at a time. A load across two words that
/// were just written would stall the processor.
#[cfg_attr(not(debug_assertions), inline(always))]
fn uuid_of(text: &[u8]) -> Option<(u64, u64)> {
    let text: &[u8; UUID_LENGTH] = text.try_into().ok()?;
    let (&[a, b, c, d], last) = text.as_chunks() else {
        return None;
    };
    let last: [u8; 4] = last.try_into().ok()?;
    let [a, b, c, d] = [a, b, c, d].map(u64::from_be_bytes);
    // The four hyphens.
    if b & 0xff00_0000_00ff_0000 != 0x2d00_0000_002d_0000
        || c & 0x0000_ff00_0000_00ff != 0x0000_2d00_0000_002d
    {
        return None;
    }
    let second = (b & 0x00ff_ffff_ff00_0000) << 8 | (b & 0xffff) << 16 | c >> 48;
    let third = (c & 0x0000_00ff_ffff_ff00) << 24 | d >> 32;
    let fourth = d << 32 | u64::from(u32::from_be_bytes(last));
    let high = digits(a)? << 32 | digits(second)?;
    let low = digits(third)? << 32 | digits(fourth)?;
    Some((high, low))
}

/// Parses eight lower-case hexadecimal digits; the first one is in the highest byte.
#[cfg_attr(not(debug_assertions), inline(always))]
fn digits(text: u64) -> Option<u64> {
    /// This byte, eight times.
    const fn each(byte: u8) -> u64 {
        u64::from_ne_bytes([byte; 8])
    }
    // A letter has this bit, and its lower half counts from 1.
    let letters = (text >> 6) & each(1);
    let values = (text & each(0x0f)) + letters * 9;
    // Writing the digits again must give the same text, or else it was invalid.
    let above_nine = ((values + each(0x76)) >> 7) & each(1);
    let again = values + each(b'0') + above_nine * u64::from(b'a' - b'0' - 10);
    if again != text || values & each(0xf0) != 0 {
        return None;
    }
    let pairs = (values | values >> 4) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs | pairs >> 8) & 0x0000_ffff_0000_ffff;
    Some((fours | fours >> 16) & 0xffff_ffff)
}

/// The lower-case hyphenated text of a UUID: the reverse of [`uuid_of`].
#[inline]
fn text_of(high: u64, low: u64) -> [u8; UUID_LENGTH] {
    let [a, b, c, d] = [high >> 32, high, low >> 32, low].map(|word| text(word as u32));
    let [b0, b1, b2, b3, b4, b5, b6, b7] = b;
    let [c0, c1, c2, c3, c4, c5, c6, c7] = c;
    let mut all = [b'-'; UUID_LENGTH];
    all[..8].copy_from_slice(&a);
    all[9..13].copy_from_slice(&[b0, b1, b2, b3]);
    all[14..18].copy_from_slice(&[b4, b5, b6, b7]);
    all[19..23].copy_from_slice(&[c0, c1, c2, c3]);
    all[24..28].copy_from_slice(&[c4, c5, c6, c7]);
    all[28..].copy_from_slice(&d);
    all
}

/// Eight lower-case hexadecimal digits, all at once: the reverse of [`digits`].
#[inline]
const fn text(number: u32) -> [u8; 8] {
    /// This byte, eight times.
    const fn each(byte: u8) -> u64 {
        u64::from_ne_bytes([byte; 8])
    }
    let fours = number as u64;
    let fours = (fours | fours << 16) & 0x0000_ffff_0000_ffff;
    let pairs = (fours | fours << 8) & 0x00ff_00ff_00ff_00ff;
    let values = (pairs | pairs << 4) & each(0x0f);
    // Six more than nine carry into the upper half of the byte.
    let letters = ((values + each(6)) >> 4) & each(1);
    (values + each(b'0') + letters * (b'a' - b'0' - 10) as u64).to_be_bytes()
}

/// Why a text is no [`CorrelationId`]: the rule it breaks, and where. It does not repeat the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InvalidCorrelationId(Rule);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Rule {
    Empty,
    TooLong { length: usize },
    Character { at: usize },
}

impl fmt::Display for InvalidCorrelationId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("invalid correlation ID: ")?;
        match self.0 {
            Rule::Empty => f.write_str("it is empty"),
            Rule::TooLong { length } => {
                write!(f, "it is {length} bytes long, more than {MAX_LENGTH}")
            }
            Rule::Character { at } => write!(
                f,
                "byte {at} is none of the ASCII letters, the digits and . _ : / + = @ -"
            ),
        }
    }
}

impl error::Error for InvalidCorrelationId {}

#[cfg(test)]
mod tests;
