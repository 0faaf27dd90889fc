//! Public futures whose type shows nothing internal.

/// Defines a public future: a struct around an internal future, which stays private.
///
/// ```text
/// opaque_future! {
///     /// Documentation.
///     pub struct Name<F, T = AtResponse> [where T: Clone] = Internal<F, T>;
///     impl<Res> [F: Future<Output = Res>] for Output = Res
/// }
/// ```
macro_rules! opaque_future {
    (
        $(#[$attribute:meta])*
        pub struct $name:ident<$($parameter:ident $(= $default:ty)?),+>
            $([where $($bounds:tt)+])? = $inner:ty;
        impl<$($extra:ident),*> [$($conditions:tt)+] for Output = $output:ty
    ) => {
        pin_project_lite::pin_project! {
            $(#[$attribute])*
            #[must_use = "futures do nothing unless polled"]
            pub struct $name<$($parameter $(= $default)?),+>
            $(where $($bounds)+)?
            {
                #[pin]
                inner: $inner,
            }
        }

        impl<$($parameter),+> $name<$($parameter),+>
        $(where $($bounds)+)?
        {
            #[cfg_attr(not(debug_assertions), inline(always))]
            pub(crate) fn new(inner: $inner) -> Self {
                Self { inner }
            }
        }

        impl<$($parameter,)+ $($extra),*> std::future::Future for $name<$($parameter),+>
        where
            $($($bounds)+,)?
            $($conditions)+
        {
            type Output = $output;

            #[cfg_attr(not(debug_assertions), inline(always))]
            fn poll(
                self: std::pin::Pin<&mut Self>,
                cx: &mut std::task::Context<'_>,
            ) -> std::task::Poll<Self::Output> {
                self.project().inner.poll(cx)
            }
        }

        impl<$($parameter),+> std::fmt::Debug for $name<$($parameter),+>
        $(where $($bounds)+)?
        {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.debug_struct(stringify!($name)).finish_non_exhaustive()
            }
        }
    };
}

pub(crate) use opaque_future;
