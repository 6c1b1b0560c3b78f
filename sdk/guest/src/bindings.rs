//! The contract of `wit/plugin@0.1.0` as Rust, generated.
//!
//! Plugins use the traits of this crate instead. What is here serves those who need the bare contract: fixtures that break it on
//! purpose, and tools. The cleaner world shares the source world's imports, so a batch is one type in both.

#![allow(missing_docs, reason = "the text of the WIT files becomes the documentation")]

/// The world `source-plugin`.
pub mod source {
    wit_bindgen::generate!({
        path: "../../wit/plugin@0.1.0",
        world: "source-plugin",
        pub_export_macro: true,
        generate_all,
        additional_type_attributes: {
            "lakehost:plugin/types@0.1.0/window": [#[derive(PartialEq, Eq)]],
            "lakehost:plugin/types@0.1.0/retry": [#[derive(PartialEq, Eq)]],
            "lakehost:plugin/source@0.1.0/ask": [#[derive(PartialEq, Eq)]],
            "lakehost:plugin/blobs@0.1.0/entry": [#[derive(PartialEq, Eq)]],
            "lakehost:plugin/readers@0.1.0/column-map": [#[derive(PartialEq, Eq)]],
        },
    });
}

/// The world `cleaner-plugin`.
pub mod cleaner {
    wit_bindgen::generate!({
        path: "../../wit/plugin@0.1.0",
        world: "cleaner-plugin",
        pub_export_macro: true,
        with: {
            "lakehost:plugin/types@0.1.0": crate::bindings::source::lakehost::plugin::types,
            "lakehost:plugin/batches@0.1.0": crate::bindings::source::lakehost::plugin::batches,
            "lakehost:plugin/telemetry@0.1.0": crate::bindings::source::lakehost::plugin::telemetry,
        },
        additional_type_attributes: {
            "lakehost:plugin/cleaner@0.1.0/rule": [#[derive(PartialEq, Eq)]],
        },
    });
}

/// The values that both worlds share.
pub use source::lakehost::plugin::{batches, blobs, readers, telemetry, types};
