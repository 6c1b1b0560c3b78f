//! What every part of a lake works with.

use std::fmt;
use std::sync::Arc;

use iceberg::io::FileIO;
use tokio::runtime::Handle;

use crate::catalog::CatalogRef;
use crate::fail_point::FailPoints;
use crate::location::Warehouse;
use crate::process::Process;
use crate::store::Store;

/// Milliseconds since 1970.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Shared by a lake and its loads.
pub struct Core {
    pub warehouse: Warehouse,
    pub store: Arc<dyn Store>,
    /// The store as the Iceberg library sees it, for reading.
    pub io: FileIO,
    pub catalog: CatalogRef,
    pub clock: Clock,
    pub fail_points: FailPoints,
    /// Who writes intent records here.
    pub process: Process,
    pub runtime: Handle,
    /// Rows of a merge whose keys are in memory at a time.
    pub keys_at_once: u64,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("warehouse", &self.warehouse)
            .field("catalog", &self.catalog)
            .finish_non_exhaustive()
    }
}

impl Core {
    /// Deletes files that nothing refers to; one that stays behind only wastes space.
    pub fn forget(&self, locations: impl IntoIterator<Item = String>) {
        for location in locations {
            if let Err(error) = self.store.delete(&location) {
                tracing::warn!(file = %location, %error, "a file that is not needed could not be deleted");
            }
        }
    }

    /// Waits for `work` on the runtime that the lake was opened with. Not for calls from inside a runtime.
    pub fn block_on<T>(&self, work: impl Future<Output = T>) -> T {
        self.runtime.block_on(work)
    }
}
