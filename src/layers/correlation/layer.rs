//! The layer and its settings.

use std::fmt;
use std::sync::Arc;

use tower_layer::Layer;

use super::service::Correlation;
use super::{Carry, CorrelationId, Encoded};
use crate::call::inner::Inner;
use crate::vocabulary::config::ConfigError;
use crate::vocabulary::kind::{Id, Kind};
use crate::vocabulary::name::InstanceName;

pub(crate) static KIND: Kind = Kind::new(Id::Correlation, &[], &[]);

const LAYER: &str = KIND.layer;

/// The fields that are read, in this order. The ID is written to the first one.
const DEFAULT_FIELDS: &[&str] = &["x-correlation-id", "x-request-id"];

/// Reads the ID from requests and writes it to responses.
#[derive(Debug, Clone, Copy, Default)]
pub struct Server;

/// Reads the ID from requests, whose responses carry none.
#[derive(Debug, Clone, Copy, Default)]
pub struct Consumer;

/// Writes the ID to requests.
#[derive(Debug, Clone, Copy, Default)]
pub struct Client;

/// Propagates the correlation ID: see the [module](crate::correlation).
#[derive(Clone)]
pub struct CorrelationLayer<D = Server> {
    pub(super) fields: Fields,
    pub(super) trusts: bool,
    pub(super) on: bool,
    pub(super) instance: Option<InstanceName>,
    direction: D,
}

impl CorrelationLayer {
    /// For servers: reads the ID from the request, sets it in the context and on a span, and writes
    /// it to the response.
    #[must_use]
    pub const fn server() -> Self {
        Self::of(Server)
    }

    /// For consumers of messages, and services whose responses carry no fields: reads the ID from
    /// the request, and sets it in the context and on a span.
    #[must_use]
    pub const fn consumer() -> CorrelationLayer<Consumer> {
        CorrelationLayer::of(Consumer)
    }

    /// For clients: writes the context's ID to the request. If the context has none, the request
    /// keeps its own valid ID, or gets a new one.
    #[must_use]
    pub const fn client() -> CorrelationLayer<Client> {
        CorrelationLayer::of(Client)
    }
}

impl<D> CorrelationLayer<D> {
    const fn of(direction: D) -> Self {
        Self {
            fields: Fields(None),
            trusts: true,
            on: true,
            instance: None,
            direction,
        }
    }

    /// Switches it off.
    #[cfg(feature = "http")]
    pub(crate) fn off(mut self) -> Self {
        self.on = false;
        self
    }

    /// Adds the name of the instance to the span.
    pub(crate) fn named(mut self, name: &str) -> Result<Self, ConfigError> {
        self.instance = Some(InstanceName::new(&KIND, Some(name))?);
        Ok(self)
    }

    pub(crate) fn field_names(&self) -> Vec<&str> {
        self.fields.iter().collect()
    }

    pub(crate) const fn trusts(&self) -> bool {
        self.trusts
    }

    /// Fields (headers) that are read in this order; the ID is written to the first. Default
    /// `x-correlation-id`, then `x-request-id`.
    ///
    /// # Errors
    ///
    /// When there are no or more than 8 fields, or a name is not 1 to 64 bytes of lower-case ASCII
    /// letters, digits and `-`, `_`, `.`.
    pub fn fields<I, F>(mut self, fields: I) -> Result<Self, ConfigError>
    where
        I: IntoIterator<Item = F>,
        F: Into<String>,
    {
        let fields: Vec<String> = fields.into_iter().take(9).map(Into::into).collect();
        if fields.is_empty() || fields.len() > 8 {
            let rule = "must be 1 to 8 names";
            return Err(ConfigError::new(LAYER, "fields", fields.len(), rule));
        }
        for field in &fields {
            let plain = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
            if !(1..=64).contains(&field.len()) || !field.bytes().all(plain) {
                let shown: String = field.chars().take(64).collect();
                let rule = "must be 1 to 64 bytes of lower-case ASCII letters, digits and - _ .";
                let shown = format_args!("{shown:?}").to_string();
                return Err(ConfigError::new(LAYER, "fields", shown, rule));
            }
        }
        self.fields = Fields(Some(fields.into()));
        Ok(self)
    }

    /// Ignores inbound IDs. Default off; for the edge of a system, whose callers are not trusted.
    #[must_use]
    pub fn ignore_inbound(mut self) -> Self {
        self.trusts = false;
        self
    }
}

impl<S, D: Clone> Layer<S> for CorrelationLayer<D> {
    type Service = Correlation<S, D>;

    fn layer(&self, inner: S) -> Self::Service {
        Correlation {
            inner: Inner::new(inner),
            layer: self.clone(),
        }
    }
}

impl<D: fmt::Debug> fmt::Debug for CorrelationLayer<D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CorrelationLayer")
            .field("direction", &self.direction)
            .field("fields", &self.fields.iter().collect::<Vec<_>>())
            .field("trusts", &self.trusts)
            .finish()
    }
}

/// The names of the fields. The default needs no reference count.
#[derive(Clone)]
pub(super) struct Fields(Option<Arc<[String]>>);

impl Fields {
    fn iter(&self) -> impl Iterator<Item = &str> {
        let (own, default) = match &self.0 {
            Some(own) => (&**own, &[][..]),
            None => (&[][..], DEFAULT_FIELDS),
        };
        own.iter()
            .map(String::as_str)
            .chain(default.iter().copied())
    }

    /// The first valid ID of the request, or a new one, which is written to the request. Fields
    /// with another value are overwritten.
    #[cfg_attr(not(debug_assertions), inline(always))]
    pub(super) fn settle(
        &self,
        carrier: &mut impl Carry,
        trusts: bool,
        encoded: Option<&mut Encoded>,
        new: impl FnOnce() -> CorrelationId,
    ) -> CorrelationId {
        match &self.0 {
            Some(own) => settle(own, carrier, trusts, encoded, new),
            None => settle(DEFAULT_FIELDS, carrier, trusts, encoded, new),
        }
    }

    pub(super) fn write(
        &self,
        carrier: &mut impl Carry,
        id: &CorrelationId,
        encoded: Option<&mut Encoded>,
    ) {
        if let Some(field) = self.iter().next() {
            match encoded {
                Some(encoded) => carrier.set_id(field, id, encoded),
                None => carrier.set(field, id.encode(&mut [0; 36])),
            }
        }
    }
}

#[cfg_attr(not(debug_assertions), inline(always))]
fn settle(
    fields: &[impl AsRef<str>],
    carrier: &mut impl Carry,
    trusts: bool,
    encoded: Option<&mut Encoded>,
    new: impl FnOnce() -> CorrelationId,
) -> CorrelationId {
    let mut differs = false;
    let mut left = fields.iter();
    while let Some(field) = left.next() {
        let Some(value) = carrier.get(field.as_ref()) else {
            continue;
        };
        if trusts && let Ok(id) = CorrelationId::try_from(value) {
            let mut others = left.filter_map(|field| carrier.get(field.as_ref()));
            differs |= others.any(|other| other != value);
            if !differs {
                return id;
            }
            return overwrite(fields, carrier, Some(id), differs, encoded, new);
        }
        differs = true;
    }
    overwrite(fields, carrier, None, differs, encoded, new)
}

#[cold]
fn overwrite(
    fields: &[impl AsRef<str>],
    carrier: &mut impl Carry,
    found: Option<CorrelationId>,
    differs: bool,
    mut encoded: Option<&mut Encoded>,
    new: impl FnOnce() -> CorrelationId,
) -> CorrelationId {
    let is_new = found.is_none();
    let id = found.unwrap_or_else(new);
    for (n, field) in fields.iter().map(AsRef::as_ref).enumerate() {
        let is_given = is_new && n == 0;
        if is_given || (differs && carrier.get(field).is_some()) {
            match &mut encoded {
                Some(encoded) => carrier.set_id(field, &id, encoded),
                None => carrier.set(field, id.encode(&mut [0; 36])),
            }
        }
    }
    id
}
