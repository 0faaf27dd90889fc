//! The public futures of the layers that admit or reject calls.

/// Defines the future of a layer that admits or rejects calls, with the state `$state`.
macro_rules! admitted_future {
    (
        $(#[$attribute:meta])*
        pub struct $name:ident<F $(, $policy:ident: $bound:ident)?> of $state:ty
    ) => {
        $crate::runtime::opaque::opaque_future! {
            $(#[$attribute])*
            pub struct $name<F, $($policy,)? T = $crate::call::track::AtResponse>
                $([where $policy: $bound])?
                = $crate::layers::admission::Admitted<F, $state, T>;
            impl<Res, E> [
                F: std::future::Future<Output = Result<Res, E>>,
                E: $crate::vocabulary::error::WithRejection,
                T: $crate::call::track::Track<Res, $crate::vocabulary::error::Grown<E>>,
            ] for Output = Result<T::Response, $crate::vocabulary::error::Grown<E>>
        }
    };
}

/// Defines the future of a layer whose calls may queue, with the state `$state`.
macro_rules! queued_future {
    ($(#[$attribute:meta])* pub struct $name:ident<S, Req> of $state:ty) => {
        $crate::runtime::opaque::opaque_future! {
            $(#[$attribute])*
            pub struct $name<S, Req, T = $crate::call::track::AtResponse>
                [where S: tower_service::Service<Req>]
                = $crate::layers::admission::WaitingFuture<S, Req, $state, T>;
            impl<> [
                S::Error: $crate::vocabulary::error::WithRejection,
                T: $crate::call::track::Track<S::Response, $crate::vocabulary::error::Grown<S::Error>>,
            ] for Output = Result<T::Response, $crate::vocabulary::error::Grown<S::Error>>
        }
    };
}

pub(crate) use {admitted_future, queued_future};
