//! From the author's trait to the contract: the macros that end a plugin's file, and the adapters behind them.

#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod component;

/// Makes a [`Source`](crate::Source) the plugin of this component. Natively it only checks the type, so that the crate can be tested
/// and linked like any other.
#[macro_export]
macro_rules! export_source {
    ($plugin:ty) => {
        const _: () = $crate::export::is_source::<$plugin>();
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type Component = $crate::export::component::SourceComponent<$plugin>;
    $crate::bindings::source::export!(Component with_types_in $crate::bindings::source);
        };
    };
}

/// Makes a [`Cleaner`](crate::Cleaner) the plugin of this component. Natively it only checks the type.
#[macro_export]
macro_rules! export_cleaner {
    ($plugin:ty) => {
        const _: () = $crate::export::is_cleaner::<$plugin>();
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            type Component = $crate::export::component::CleanerComponent<$plugin>;
    $crate::bindings::cleaner::export!(Component with_types_in $crate::bindings::cleaner);
        };
    };
}

#[doc(hidden)]
pub const fn is_source<S: crate::Source>() {}

#[doc(hidden)]
pub const fn is_cleaner<C: crate::Cleaner>() {}
