//! One name for everything that is done on behalf of one request, across processes. It comes from outside
//! and ends up in headers and logs, so nothing is taken over that could do harm there.

use std::{error, fmt, str::FromStr, sync::Arc};

use uuid::{Builder, Uuid};

const MAX_LENGTH: usize = 128;
/// A UUID's text: 32 digits and 4 hyphens.
const UUID_LENGTH: usize = 36;

/// The name of a request, the same in every process that takes part in it.
///
/// One that is made here is a UUID of version 7, so that sorting by it sorts by time. One that comes from
/// elsewhere is taken as it is if it is 1 to 128 bytes of ASCII letters, digits and `. _ : / + = @ -`. That
/// covers UUIDs, ULIDs, Base64 and the identifiers of the well-known tracers, and leaves nothing that
/// could end a header line or a log entry.
///
/// Cloning one is cheap. A UUID in lower case takes no allocation, any other foreign text takes one.
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

/// A text has one representation only, so that what is equal as text is equal.
#[derive(Clone, PartialEq, Eq, Hash)]
enum Repr {
    /// What its lower-case hyphenated text says, as `Uuid::as_u64_pair`: words are copied faster than bytes, and this is
    /// copied with every poll.
    Uuid(u64, u64),
    /// Anything else that is valid.
    Foreign(Arc<str>),
}

/// What an ID is made of.
pub(crate) enum Parts<'a> {
    Uuid(u64, u64),
    Text(&'a Arc<str>),
}

impl CorrelationId {
    /// A new one: a UUID of version 7, from milliseconds since 1970 and 74 of these random bits.
    pub(crate) const fn new(unix_millis: u64, random: [u8; 10]) -> Self {
        let builder = Builder::from_unix_timestamp_millis(unix_millis, &random);
        let (high, low) = builder.into_uuid().as_u64_pair();
        Self(Repr::Uuid(high, low))
    }

    pub(crate) const fn of_uuid(high: u64, low: u64) -> Self {
        Self(Repr::Uuid(high, low))
    }

    /// From a text that came from [`parts`](Self::parts).
    pub(crate) const fn of_text(text: Arc<str>) -> Self {
        Self(Repr::Foreign(text))
    }

    /// What it is made of.
    #[inline]
    pub(crate) const fn parts(&self) -> Parts<'_> {
        match &self.0 {
            Repr::Uuid(high, low) => Parts::Uuid(*high, *low),
            Repr::Foreign(text) => Parts::Text(text),
        }
    }

    /// Its text, written without an allocation: to `buffer`, unless it is kept as a text anyway.
    pub(crate) fn encode<'a>(&'a self, buffer: &'a mut [u8; UUID_LENGTH]) -> &'a str {
        match &self.0 {
            Repr::Uuid(high, low) => Uuid::from_u64_pair(*high, *low)
                .hyphenated()
                .encode_lower(buffer),
            Repr::Foreign(text) => text,
        }
    }
}

impl TryFrom<&[u8]> for CorrelationId {
    type Error = InvalidCorrelationId;

    fn try_from(bytes: &[u8]) -> Result<Self, Self::Error> {
        if let Some(uuid) = uuid_of(bytes) {
            let (high, low) = uuid.as_u64_pair();
            return Ok(Self(Repr::Uuid(high, low)));
        }
        match bytes.len() {
            0 => return Err(InvalidCorrelationId(Rule::Empty)),
            // Before the bytes are looked at: there may be very many.
            length if length > MAX_LENGTH => {
                return Err(InvalidCorrelationId(Rule::TooLong { length }));
            }
            _ => {}
        }
        if let Some(at) = bytes.iter().position(|byte| !is_allowed(*byte)) {
            return Err(InvalidCorrelationId(Rule::Character { at }));
        }
        let Ok(text) = str::from_utf8(bytes) else {
            // Not reached: what is allowed is ASCII.
            return Err(InvalidCorrelationId(Rule::Character { at: 0 }));
        };
        Ok(Self(Repr::Foreign(Arc::from(text))))
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

/// The UUID that has exactly this text, in one pass. Other spellings of it must come out as they came in.
fn uuid_of(text: &[u8]) -> Option<Uuid> {
    /// Where the two digits of each byte are.
    const DIGITS: [usize; 16] = [0, 2, 4, 6, 9, 11, 14, 16, 19, 21, 24, 26, 28, 30, 32, 34];
    let text: &[u8; UUID_LENGTH] = text.try_into().ok()?;
    let mut bytes = [0; 16];
    let mut all = 0;
    for (byte, at) in bytes.iter_mut().zip(DIGITS) {
        let (high, low) = (digit(text[at]), digit(text[at + 1]));
        all |= high | low;
        *byte = high << 4 | low;
    }
    let hyphens = [8, 13, 18, 23].iter().all(|at| text[*at] == b'-');
    (all < 16 && hyphens).then(|| Uuid::from_bytes(bytes))
}

/// The value of a lower-case hexadecimal digit; more than 15 for anything else.
const fn digit(byte: u8) -> u8 {
    const VALUES: [u8; 256] = {
        let mut values = [u8::MAX; 256];
        let mut value = 0;
        while value < 16 {
            values[b"0123456789abcdef"[value as usize] as usize] = value;
            value += 1;
        }
        values
    };
    VALUES[byte as usize]
}

/// Why a text is not taken as a [`CorrelationId`]. It says which rule was broken, and where, and does not
/// repeat the text.
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
