//! Parsed metadata files. They never change once written, so what was parsed or written here need not be read again.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use iceberg::spec::TableMetadataRef;

/// Enough for the tables of one run; metadata of a table with a thousand snapshots takes a few MB.
const ENTRIES: usize = 4;

/// The last few metadata files, by location.
#[derive(Debug, Default)]
pub struct MetadataCache {
    entries: Mutex<VecDeque<(String, TableMetadataRef)>>,
}

impl MetadataCache {
    pub fn get(&self, location: &str) -> Option<TableMetadataRef> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.iter().find(|(known, _)| known == location).map(|(_, metadata)| metadata.clone())
    }

    pub fn put(&self, location: &str, metadata: TableMetadataRef) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.iter().any(|(known, _)| known == location) {
            return;
        }
        if entries.len() >= ENTRIES {
            entries.pop_front();
        }
        entries.push_back((location.to_owned(), metadata));
    }
}
