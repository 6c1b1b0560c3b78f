//! Which files are put together: small ones of one partition, as many as make a file of the wanted size.

use std::collections::{BTreeMap, HashSet};

use iceberg::spec::{DataContentType, PartitionSpecRef, Struct};

use crate::catalog::TableState;
use crate::inspect::{Labels, LiveFile, partition_text};

/// A file of at least this share of the wanted size is left alone.
const LARGE_ENOUGH: (u64, u64) = (3, 4);

/// Files that become one.
#[derive(Clone, Debug)]
pub struct Bin {
    pub spec: PartitionSpecRef,
    pub partition: Struct,
    /// In the order in which they were added.
    pub files: Vec<LiveFile>,
}

impl Bin {
    pub fn rows(&self) -> u64 {
        self.files.iter().map(|live| live.file.record_count()).sum()
    }

    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|live| live.file.file_size_in_bytes()).sum()
    }
}

/// What is to be put together.
#[derive(Clone, Copy, Debug)]
pub struct Wish<'a> {
    /// One window, by its label.
    pub window: Option<&'a str>,
    pub target_bytes: u64,
    /// Fewer files are not worth a snapshot, unless deletes go with them.
    pub min_files: usize,
    /// Also files that are large enough: their rows are to be sorted.
    pub all: bool,
    /// Files that delete files count for.
    pub deleted_from: &'a HashSet<String>,
}

/// The bins of a table, partition by partition.
pub fn bins(state: &TableState, files: Vec<LiveFile>, wish: Wish<'_>) -> Vec<Bin> {
    let labels = Labels::of(&state.metadata);
    let mut partitions: BTreeMap<(i32, String), Vec<LiveFile>> = BTreeMap::new();
    for live in files {
        let of_window = wish
            .window
            .is_none_or(|wanted| labels.window(&live.spec, live.file.partition()).as_deref() == Some(wanted));
        let large = live.file.file_size_in_bytes().saturating_mul(LARGE_ENOUGH.1)
            >= wish.target_bytes.saturating_mul(LARGE_ENOUGH.0);
        let wanted = wish.all || !large || wish.deleted_from.contains(live.file.file_path());
        if live.file.content_type() == DataContentType::Data && of_window && wanted {
            let partition = partition_text(&state.metadata, &live.spec, live.file.partition());
            partitions.entry((live.spec.spec_id(), partition)).or_default().push(live);
        }
    }
    partitions.into_values().flat_map(|files| pack(files, wish)).collect()
}

/// First fit, largest first.
fn pack(mut files: Vec<LiveFile>, wish: Wish<'_>) -> Vec<Bin> {
    files.sort_by_key(|live| std::cmp::Reverse(live.file.file_size_in_bytes()));
    let mut bins: Vec<(u64, Bin)> = Vec::new();
    for live in files {
        let bytes = live.file.file_size_in_bytes();
        match bins.iter_mut().find(|(filled, _)| filled.saturating_add(bytes) <= wish.target_bytes) {
            Some((filled, bin)) => {
                *filled += bytes;
                bin.files.push(live);
            }
            None => {
                let bin = Bin { spec: live.spec.clone(), partition: live.file.partition().clone(), files: vec![live] };
                bins.push((bytes, bin));
            }
        }
    }
    let worth = |bin: &Bin| {
        wish.all
            || bin.files.len() >= wish.min_files.max(2)
            || bin.files.iter().any(|live| wish.deleted_from.contains(live.file.file_path()))
    };
    bins.into_iter()
        .map(|(_, mut bin)| {
            bin.files.sort_by(|left, right| {
                (left.sequence_number, left.file.file_path()).cmp(&(right.sequence_number, right.file.file_path()))
            });
            bin
        })
        .filter(worth)
        .collect()
}
