//! Settings of single calls that replace those of the layers.

use std::cell::{Cell, RefCell};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use crate::runtime::opaque::opaque_future;
use crate::runtime::scoped::{Scope, Scoped};
use crate::vocabulary::context::{self, PriorityScope};
use crate::vocabulary::priority::Priority;

thread_local! {
    static CURRENT: Cell<CallSettings> = const { Cell::new(CallSettings::NONE) };
    /// The keys that scopes set, the innermost last.
    static KEYS: RefCell<Vec<Arc<KeyOf>>> = const { RefCell::new(Vec::new()) };
    /// Whether there is a scope. Few calls are in one, and this is cheaper to read.
    static IS_SCOPED: Cell<bool> = const { Cell::new(false) };
    /// Whether a scope sets a key.
    static HAS_KEY: Cell<bool> = const { Cell::new(false) };
}

/// Settings of one call that replace those of the layers: its time limit, whether it is retried,
/// its priority and its key. Empty by default.
///
/// ```
/// use mainstay::Overrides;
/// use std::time::Duration;
///
/// let report = Overrides::new().timeout(Duration::from_secs(120)).no_retry();
/// let mut request = http::Request::new(());
/// request.extensions_mut().insert(report);
/// ```
///
/// # How a call gets them
///
/// - As an extension of an `http::Request`, or of a tonic `Request`, which keeps its extensions
///   when it is sent. They are for this request alone. The HTTP and gRPC layers read them:
///   [`http::timeout`](crate::http::timeout()), [`http::retry`](crate::http::retry),
///   [`grpc::retry`](crate::grpc::retry), keys such as
///   [`http::by_authority`](crate::http::by_authority) and the standard stacks. A copy of the
///   request has them, too: a proxy that forwards the extensions of a request forwards them.
/// - By a [`scope`](Self::scope), for every call that is made in it, of any type, to any layer.
///   `reqwest::Request` does not show its extensions, so use this one there. Other tasks are not
///   part of the scope, neither a spawned one nor the worker of a buffer. A call is made when
///   `call` runs, so use `scope(async { service.call(request).await })` or `oneshot`.
///
/// A setting of an extension takes precedence over the same setting of a scope. On a server, put
/// them into the request before it reaches the stack.
///
/// # What they replace
///
/// | setting | replaces |
/// |---|---|
/// | [`timeout`](Self::timeout), [`no_timeout`](Self::no_timeout) | `timeout` of a stack, or the limit of a timeout layer outside of a retry; also its limits for gRPC methods |
/// | [`attempt_timeout`](Self::attempt_timeout), [`no_attempt_timeout`](Self::no_attempt_timeout) | `attempt_timeout` of a stack, or the limit of a timeout layer inside of a retry |
/// | [`no_retry`](Self::no_retry) | the number of attempts, with one |
/// | [`idempotent`](Self::idempotent) | the rule of the HTTP and gRPC policies that only certain requests may be repeated |
/// | [`priority`](Self::priority) | the priority of the [`Context`](crate::Context) |
/// | [`key`](Self::key) | the key of the request in one [layer or stack with keys](crate::keyed) |
///
/// A limit that is set also applies in a stack where this limit is off, as `attempt_timeout` is by
/// default, and in [shadow mode](crate::Mode::Shadow). The caller's deadline and the context's still end a call that has a longer limit here.
/// An override is not sent to other services; the resulting deadline is. Retries still use the
/// budget.
///
/// A limit shorter than the layer's is the caller's choice, like a deadline: a call that it ends is
/// not evidence of a fault on its own. Limits that a circuit breaker derives from a stack, such as
/// the life of a probe, follow the configured limits.
///
/// # Cost
///
/// A layer reads one or two thread-local values for each call. An extension allocates when it is
/// inserted, a key when it is set, and a call whose extension sets the priority.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Overrides {
    settings: CallSettings,
    priority: Option<Priority>,
    key: Option<Arc<KeyOf>>,
}

/// The key of a call in the instances with this name.
#[derive(Debug, PartialEq, Eq)]
struct KeyOf {
    name: Box<str>,
    key: Arc<str>,
}

/// The settings that replace those of a layer. They are plain values, which most layers read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct CallSettings {
    timeout: LimitOverride,
    attempt_timeout: LimitOverride,
    never_retries: bool,
    is_idempotent: bool,
}

/// A time limit for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum LimitOverride {
    /// The layer's limit.
    #[default]
    AsSet,
    None,
    Of(Duration),
}

impl CallSettings {
    const NONE: Self = Self {
        timeout: LimitOverride::AsSet,
        attempt_timeout: LimitOverride::AsSet,
        never_retries: false,
        is_idempotent: false,
    };

    /// The settings of the current scope.
    #[inline]
    pub(crate) fn current() -> Self {
        if IS_SCOPED.get() {
            CURRENT.get()
        } else {
            Self::NONE
        }
    }

    /// The settings of a request with these overrides, and of the current scope.
    #[cfg(feature = "http")]
    #[inline]
    pub(crate) fn of(own: Option<&Overrides>) -> Self {
        let scope = Self::current();
        match own {
            Some(own) => own.settings.or(scope),
            None => scope,
        }
    }

    /// Combines them with the settings of an outer scope: a limit that is set here takes precedence.
    fn or(self, outer: Self) -> Self {
        Self {
            timeout: self.timeout.or(outer.timeout),
            attempt_timeout: self.attempt_timeout.or(outer.attempt_timeout),
            never_retries: self.never_retries || outer.never_retries,
            is_idempotent: self.is_idempotent || outer.is_idempotent,
        }
    }

    /// The limit of whole calls, for the outermost layer of a stack.
    #[inline]
    pub(crate) fn call_limit(&self) -> LimitOverride {
        self.timeout
    }

    /// The limit of attempts, for the innermost layer of a stack.
    #[cfg(feature = "http")]
    #[inline]
    pub(crate) fn attempt_limit(&self) -> LimitOverride {
        self.attempt_timeout
    }

    /// The limit for a timeout layer outside of stacks: inside of a retry it is one for attempts.
    #[inline]
    pub(crate) fn limit(&self) -> LimitOverride {
        if context::attempt() == 0 {
            self.timeout
        } else {
            self.attempt_timeout
        }
    }

    #[inline]
    pub(crate) fn never_retries(&self) -> bool {
        self.never_retries
    }

    #[cfg(feature = "http")]
    #[inline]
    pub(crate) fn is_idempotent(&self) -> bool {
        self.is_idempotent
    }
}

impl Overrides {
    /// Overrides nothing.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            settings: CallSettings::NONE,
            priority: None,
            key: None,
        }
    }

    /// The time limit of the call, instead of the layer's, longer or shorter. It is strict, as a
    /// limit that is set in a builder: it also ends an upload that makes progress, and it is
    /// propagated as the deadline.
    ///
    /// Every value is accepted: with zero the call ends at once, and a value too long for the clock
    /// is no limit.
    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.settings.timeout = LimitOverride::Of(timeout);
        self
    }

    /// No time limit of the layer's own. The deadlines of the caller and of the context remain, and
    /// so does the idle limit of bodies.
    #[must_use]
    pub const fn no_timeout(mut self) -> Self {
        self.settings.timeout = LimitOverride::None;
        self
    }

    /// The time limit of each attempt, instead of the layer's. Every value is accepted, as in
    /// [`timeout`](Self::timeout).
    #[must_use]
    pub const fn attempt_timeout(mut self, timeout: Duration) -> Self {
        self.settings.attempt_timeout = LimitOverride::Of(timeout);
        self
    }

    /// No time limit for single attempts.
    #[must_use]
    pub const fn no_attempt_timeout(mut self) -> Self {
        self.settings.attempt_timeout = LimitOverride::None;
        self
    }

    /// Sends the call once, whatever happens to it. A retry with a policy of your own sees it only
    /// in a [`scope`](Self::scope).
    #[must_use]
    pub const fn no_retry(mut self) -> Self {
        self.settings.never_retries = true;
        self
    }

    /// Declares that the call may be repeated, although its method does not say so.
    ///
    /// In HTTP it is retried like a GET. In gRPC a rule that [never](crate::grpc::GrpcRetry::never)
    /// retries its method does not apply, and the call is also retried after an attempt that timed
    /// out, that the server cancelled, or that lost its connection. A policy of your own decides
    /// without it.
    #[must_use]
    pub const fn idempotent(mut self) -> Self {
        self.settings.is_idempotent = true;
        self
    }

    /// How important the call is, for load shedders and for the queues of bulkheads: see
    /// [`Priority`]. It becomes the priority of the [`Context`](crate::Context), so calls made
    /// within this call have it, too.
    ///
    /// From an extension, the [standard stacks](crate::stack) and
    /// [`http::timeout`](crate::http::timeout()) set it in the context of the layers inside them,
    /// also while the time limit is off. Each such call allocates.
    ///
    /// ```
    /// use mainstay::{Limit, LoadShedLayer, Overrides, Priority};
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() {
    /// let service = ServiceBuilder::new()
    ///     .layer(LoadShedLayer::new(Limit::fixed(0)))
    ///     .service(service_fn(|()| async { Ok::<_, std::io::Error>(()) }));
    ///
    /// let batch = Overrides::new().priority(Priority::Sheddable);
    /// let error = batch.scope(service.oneshot(())).await.unwrap_err();
    /// assert_eq!(error.as_rejection().unwrap().priority(), Priority::Sheddable);
    /// # }
    /// ```
    #[must_use]
    pub const fn priority(mut self, priority: Priority) -> Self {
        self.priority = Some(priority);
        self
    }

    /// The key of the call in the layer or stack with this name, instead of the key that its key
    /// function returns.
    ///
    /// The call has its circuit, its permits and its rate from the instance of this key. An empty
    /// key is no key: see [`keyed`](crate::keyed#which-key). Layers and stacks with other names
    /// ignore it, so it does not reach the clients that a handler calls: those still have an instance
    /// for each of their hosts. So does a layer with one instance for all calls. Outside of the
    /// standard stacks, a layer with a closure or a [`Key`](crate::keyed::Key) of your own sees it
    /// only in a [`scope`](Self::scope).
    ///
    /// ```
    /// use mainstay::{BulkheadLayer, Overrides};
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), mainstay::BoxError> {
    /// let layer = BulkheadLayer::builder()
    ///     .name("jobs")
    ///     .limit(8)
    ///     .keyed(|job: &String| job.as_str().into())
    ///     .build()?;
    /// let bulkheads = layer.handle();
    /// let jobs = ServiceBuilder::new()
    ///     .layer(layer)
    ///     .service(service_fn(|job: String| async move { Ok::<_, std::io::Error>(job.len()) }));
    ///
    /// let of_tenant = Overrides::new().key("jobs", "tenant-7");
    /// of_tenant.scope(jobs.oneshot("report".to_owned())).await?;
    /// assert_eq!(bulkheads.keys(), ["tenant-7"]);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn key(mut self, name: impl Into<Box<str>>, key: impl Into<Arc<str>>) -> Self {
        let (name, key) = (name.into(), key.into());
        self.key = Some(Arc::new(KeyOf { name, key }));
        self
    }

    /// Wraps a future, so that every call that is made while it is polled has these settings. What
    /// an outer scope sets, and this one does not, stays.
    ///
    /// ```
    /// use mainstay::{Overrides, TimeoutLayer};
    /// use std::time::Duration;
    /// use tower::{ServiceBuilder, ServiceExt, service_fn};
    ///
    /// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() {
    /// let reports = ServiceBuilder::new()
    ///     .layer(TimeoutLayer::new(Duration::from_secs(2)))
    ///     .service(service_fn(|name: String| async move {
    ///         tokio::time::sleep(Duration::from_secs(60)).await;
    ///         Ok::<_, std::io::Error>(name.len())
    ///     }));
    ///
    /// let patient = Overrides::new().timeout(Duration::from_secs(120));
    /// assert_eq!(patient.scope(reports.clone().oneshot("yearly".to_owned())).await.unwrap(), 6);
    /// assert!(reports.oneshot("yearly".to_owned()).await.is_err());
    /// # }
    /// ```
    ///
    /// # Cancel safety
    ///
    /// Dropping it drops the future.
    pub fn scope<F: Future>(&self, future: F) -> OverridesFuture<F> {
        OverridesFuture::new(Scoped::new(future, self.clone()))
    }

    /// The key of a request with these overrides, or of the current scope, in an instance.
    #[cfg(feature = "http")]
    #[inline]
    pub(crate) fn key_of(own: Option<&Self>, name: &str) -> Option<Arc<str>> {
        match own {
            Some(own) => own.own_key(name).or_else(|| Self::current_key(name)),
            None => Self::current_key(name),
        }
    }

    #[cfg(feature = "http")]
    #[cold]
    fn own_key(&self, name: &str) -> Option<Arc<str>> {
        let own = self.key.as_ref().filter(|own| *own.name == *name);
        own.map(|own| Arc::clone(&own.key))
    }

    /// The key of the current scope in an instance.
    #[inline]
    pub(crate) fn current_key(name: &str) -> Option<Arc<str>> {
        if HAS_KEY.get() {
            key_of_scope(name)
        } else {
            None
        }
    }

    /// The priority of a request with these overrides. That of a scope is in the context already.
    #[cfg(feature = "http")]
    #[inline]
    pub(crate) fn priority_of(own: Option<&Self>) -> Option<Priority> {
        own.and_then(|own| own.priority)
    }
}

/// The settings of a call for a time limit. It also sets the priority, because it is the outermost
/// layer that reads the extension of a request.
#[derive(Debug, Clone, Copy)]
pub struct CallOverrides {
    pub(crate) limit: LimitOverride,
    pub(crate) priority: Option<Priority>,
}

impl From<LimitOverride> for CallOverrides {
    #[inline]
    fn from(limit: LimitOverride) -> Self {
        Self {
            limit,
            priority: None,
        }
    }
}

impl LimitOverride {
    fn or(self, outer: Self) -> Self {
        match self {
            Self::AsSet => outer,
            set => set,
        }
    }
}

#[cold]
fn key_of_scope(name: &str) -> Option<Arc<str>> {
    let find = |keys: &RefCell<Vec<Arc<KeyOf>>>| {
        let keys = keys.borrow();
        let mut keys = keys.iter().rev();
        let key = keys.find(|of| *of.name == *name);
        key.map(|of| Arc::clone(&of.key))
    };
    // A thread that ends has no scope.
    KEYS.try_with(find).ok().flatten()
}

/// Restores the outer scope when it is dropped.
#[derive(Debug)]
pub(crate) struct OverridesScope {
    outer: CallSettings,
    was_scoped: bool,
    _key: Option<KeyScope>,
    _priority: Option<PriorityScope>,
}

/// Removes the key when it is dropped: scopes end in the reverse order.
#[derive(Debug)]
struct KeyScope;

impl KeyScope {
    #[cold]
    fn enter(key: &Arc<KeyOf>) -> Self {
        HAS_KEY.set(true);
        let _ = KEYS.try_with(|keys| keys.borrow_mut().push(Arc::clone(key)));
        Self
    }
}

impl Scope for Overrides {
    type Entered<'a> = OverridesScope;

    fn enter(&self) -> OverridesScope {
        let outer = CURRENT.get();
        CURRENT.set(self.settings.or(outer));
        OverridesScope {
            outer,
            was_scoped: IS_SCOPED.replace(true),
            _key: self.key.as_ref().map(KeyScope::enter),
            _priority: self.priority.map(PriorityScope::enter),
        }
    }
}

impl Drop for OverridesScope {
    fn drop(&mut self) {
        CURRENT.set(self.outer);
        IS_SCOPED.set(self.was_scoped);
    }
}

impl Drop for KeyScope {
    fn drop(&mut self) {
        let left = KEYS.try_with(|keys| {
            let mut keys = keys.borrow_mut();
            (keys.pop(), keys.is_empty())
        });
        HAS_KEY.set(matches!(left, Ok((_, false))));
    }
}

opaque_future! {
    /// A future whose calls have [`Overrides`]: see [`Overrides::scope`].
    pub struct OverridesFuture<F> = Scoped<F, Overrides>;
    impl<> [F: Future] for Output = F::Output
}
