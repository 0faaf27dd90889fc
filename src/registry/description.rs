//! The description of a standard stack.

use std::fmt;

/// The layers and settings of a standard stack: see
/// [`ServerStack::describe`](crate::http::ServerStack::describe).
///
/// Its `Display` is for a log line at start-up:
///
/// ```
/// let stack = mainstay::http::server("orders").build()?;
/// println!("{}", stack.describe()); // or just `stack`
/// # Ok::<_, mainstay::ConfigError>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Description {
    pub(crate) kind: &'static str,
    name: String,
    layers: Vec<DescribedLayer>,
    pub(crate) warnings: Vec<Warning>,
}

/// One layer of a [`Description`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DescribedLayer {
    layer: &'static str,
    /// `None` if the layer is off.
    settings: Option<Vec<(&'static str, String)>>,
    /// Those that never change.
    fixed: Vec<(&'static str, String)>,
}

/// Settings that never change: no struct of settings contains them.
const FIXED: [&str; 3] = ["header", "ignore_inbound", "field"];

/// A setting of a standard stack that works, but most likely not as intended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    pub(crate) fields: Vec<&'static str>,
    pub(crate) text: String,
}

impl Description {
    /// The kind of the stack: `http server`, `grpc server`, `http client`, `grpc client`, or
    /// `server` or `client` for any other request type.
    #[must_use]
    pub fn kind(&self) -> &str {
        self.kind
    }

    /// The name of the stack.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The layers, outermost first, including those that are off.
    #[must_use]
    pub fn layers(&self) -> &[DescribedLayer] {
        &self.layers
    }

    /// The warnings. They were logged when the stack was built (feature `tracing`).
    #[must_use]
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }

    pub(crate) fn new(kind: &'static str, name: &str) -> Self {
        Self {
            kind,
            name: name.to_owned(),
            layers: Vec::new(),
            warnings: Vec::new(),
        }
    }

    /// Logs the warnings.
    pub(crate) fn log(&self) {
        #[cfg(feature = "tracing")]
        for warning in &self.warnings {
            // The `tracing` subscriber is user code.
            crate::runtime::isolate::isolate(|| {
                tracing::warn!(target: "mainstay::stack", stack = self.name, kind = self.kind, "{warning}");
            });
        }
    }

    /// Replaces the settings of a layer that can change.
    pub(crate) fn replace(
        &mut self,
        layer: &'static str,
        settings: Option<Vec<(&'static str, String)>>,
    ) {
        if let Some(described) = self
            .layers
            .iter_mut()
            .find(|described| described.layer == layer)
        {
            described.settings = settings.map(|mut settings| {
                settings.extend(described.fixed.iter().cloned());
                settings
            });
        }
    }

    pub(crate) fn push(
        &mut self,
        layer: &'static str,
        settings: Option<Vec<(&'static str, String)>>,
    ) {
        let all = settings.iter().flatten();
        let fixed = all.filter(|(name, _)| FIXED.contains(name)).cloned();
        self.layers.push(DescribedLayer {
            layer,
            fixed: fixed.collect(),
            settings,
        });
    }

    /// Adds a setting that never changes to the newest layer.
    pub(crate) fn push_fixed(&mut self, setting: (&'static str, String)) {
        if let Some(layer) = self.layers.last_mut() {
            layer
                .settings
                .iter_mut()
                .for_each(|settings| settings.push(setting.clone()));
            layer.fixed.push(setting);
        }
    }
}

impl DescribedLayer {
    /// The name of the layer, as in rejections and events: `timeout`, `circuit_breaker`, ...
    #[must_use]
    pub fn layer(&self) -> &str {
        self.layer
    }

    /// Whether the layer is on. A layer that is off admits every call.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.settings.is_some()
    }

    /// The settings, by the names of their setters.
    pub fn settings(&self) -> impl Iterator<Item = (&str, &str)> {
        let settings = self.settings.iter().flatten();
        settings.map(|(name, value)| (*name, value.as_str()))
    }
}

impl Warning {
    /// The conflicting settings, by the names of their setters.
    #[must_use]
    pub fn fields(&self) -> &[&'static str] {
        &self.fields
    }
}

impl fmt::Display for Description {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} `{}`", self.kind, self.name)?;
        for layer in &self.layers {
            write!(f, "\n  {layer}")?;
        }
        for warning in &self.warnings {
            write!(f, "\n  warning: {warning}")?;
        }
        Ok(())
    }
}

impl fmt::Display for DescribedLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:<16}", self.layer)?;
        if !self.is_on() {
            return f.write_str("off");
        }
        for (n, (name, value)) in self.settings().enumerate() {
            let comma = if n == 0 { "" } else { ", " };
            write!(f, "{comma}{name} = {value}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}
