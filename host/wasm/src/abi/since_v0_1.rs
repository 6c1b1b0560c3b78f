//! `lakehost:plugin@0.1.0`.

use lakehost_pipeline::{Granularity, Retry, Window};

use crate::error::{Category, Report};
use crate::grants::Ask;

/// World `source-plugin`; the imported interfaces are generated here once.
pub mod source_world {
    wasmtime::component::bindgen!({
        path: "../../wit/plugin@0.1.0",
        world: "source-plugin",
        imports: { default: trappable },
        with: {
            "lakehost:plugin/batches.batch": crate::services::batches::HostBatch,
            "lakehost:plugin/blobs.blob": crate::services::blobs::HostBlob,
            "lakehost:plugin/readers.batch-reader": crate::services::readers::HostReader,
        },
    });
}

/// World `cleaner-plugin`, over the same interfaces.
pub mod cleaner_world {
    wasmtime::component::bindgen!({
        path: "../../wit/plugin@0.1.0",
        world: "cleaner-plugin",
        imports: { default: trappable },
        with: {
            "lakehost:plugin/types": super::source_world::lakehost::plugin::types,
            "lakehost:plugin/batches": super::source_world::lakehost::plugin::batches,
            "lakehost:plugin/telemetry": super::source_world::lakehost::plugin::telemetry,
        },
    });
}

pub(crate) use cleaner_world::exports::lakehost::plugin::cleaner;
pub(crate) use cleaner_world::{CleanerPlugin, CleanerPluginPre};
pub(crate) use source_world::exports::lakehost::plugin::source;
pub(crate) use source_world::lakehost::plugin::{batches, blobs, readers, telemetry, types};
pub(crate) use source_world::{SourcePlugin, SourcePluginPre};

pub(crate) use types::PluginError;

impl From<types::ErrorCategory> for Category {
    fn from(category: types::ErrorCategory) -> Self {
        match category {
            types::ErrorCategory::Config => Self::Config,
            types::ErrorCategory::Unauthenticated => Self::Unauthenticated,
            types::ErrorCategory::Forbidden => Self::Forbidden,
            types::ErrorCategory::NotFound => Self::NotFound,
            types::ErrorCategory::NotYetAvailable => Self::NotYetAvailable,
            types::ErrorCategory::RateLimited => Self::RateLimited,
            types::ErrorCategory::Unavailable => Self::Unavailable,
            types::ErrorCategory::InvalidData => Self::InvalidData,
            types::ErrorCategory::SchemaMismatch => Self::SchemaMismatch,
            types::ErrorCategory::NotGranted => Self::NotGranted,
            types::ErrorCategory::Internal => Self::Internal,
        }
    }
}

impl From<Category> for types::ErrorCategory {
    fn from(category: Category) -> Self {
        match category {
            Category::Config => Self::Config,
            Category::Unauthenticated => Self::Unauthenticated,
            Category::Forbidden => Self::Forbidden,
            Category::NotFound => Self::NotFound,
            Category::NotYetAvailable => Self::NotYetAvailable,
            Category::RateLimited => Self::RateLimited,
            Category::Unavailable => Self::Unavailable,
            Category::InvalidData => Self::InvalidData,
            Category::SchemaMismatch => Self::SchemaMismatch,
            Category::NotGranted => Self::NotGranted,
            Category::Internal => Self::Internal,
        }
    }
}

impl From<PluginError> for Report {
    /// What a guest says; how far the damage reaches decides the pipeline.
    fn from(error: PluginError) -> Self {
        let retry = match error.retry {
            types::Retry::Never => Retry::Never,
            types::Retry::Backoff => Retry::Backoff,
            types::Retry::AfterMs(after_ms) => Retry::AfterMs(after_ms),
        };
        Self::of_guest(error.category.into(), retry, &error.message, &error.details)
    }
}

impl From<Report> for PluginError {
    /// What a service of the host says to a guest.
    fn from(report: Report) -> Self {
        let retry = match report.retry {
            Retry::Backoff => types::Retry::Backoff,
            Retry::AfterMs(after_ms) => types::Retry::AfterMs(after_ms),
            Retry::Never | Retry::LookFirst => types::Retry::Never,
        };
        let scope = match report.category {
            Category::SchemaMismatch | Category::InvalidData => types::ErrorScope::Split,
            _ => types::ErrorScope::Run,
        };
        Self { category: report.category.into(), scope, retry, message: report.message, details: report.details }
    }
}

impl From<source::Ask> for Ask {
    fn from(ask: source::Ask) -> Self {
        match ask {
            source::Ask::UrlPrefix(prefix) => Self::UrlPrefix(prefix),
            source::Ask::Clock => Self::Clock,
            source::Ask::Random => Self::Random,
        }
    }
}

/// The width of windows.
pub(crate) fn granularity(granularity: types::Granularity) -> Granularity {
    match granularity {
        types::Granularity::None => Granularity::None,
        types::Granularity::Hour => Granularity::Hour,
        types::Granularity::Day => Granularity::Day,
        types::Granularity::Month => Granularity::Month,
        types::Granularity::Year => Granularity::Year,
    }
}

/// A window as a guest sees it.
pub(crate) fn window(window: &Window) -> types::Window {
    types::Window { start: window.start(), end: window.end(), label: window.label().to_owned() }
}
