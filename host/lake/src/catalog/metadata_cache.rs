//! Parsed metadata files. They never change once written, so what was parsed or written here need not be read again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use iceberg::spec::TableMetadataRef;

use super::metadata_text::MetadataText;

/// Enough for the tables of one run; metadata of a table with a thousand snapshots takes a few MB.
const ENTRIES: usize = 4;

/// One metadata file.
#[derive(Clone, Debug)]
pub struct Cached {
    pub metadata: TableMetadataRef,
    /// Where the next one can be built upon it.
    pub text: Option<Arc<MetadataText>>,
}

/// The last few metadata files, by location.
#[derive(Debug, Default)]
pub struct MetadataCache {
    entries: Mutex<VecDeque<(String, Cached)>>,
}

impl MetadataCache {
    pub fn get(&self, location: &str) -> Option<Cached> {
        let entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        entries.iter().find(|(known, _)| known == location).map(|(_, cached)| cached.clone())
    }

    pub fn put(&self, location: &str, cached: Cached) {
        let mut entries = self.entries.lock().unwrap_or_else(PoisonError::into_inner);
        if entries.iter().any(|(known, _)| known == location) {
            return;
        }
        if entries.len() >= ENTRIES {
            entries.pop_front();
        }
        entries.push_back((location.to_owned(), cached));
    }
}
