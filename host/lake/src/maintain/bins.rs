//! Which files are put together: small ones of one partition, as many as make a file of the wanted size. Files that are far too large are
//! taken apart, and files of another partition spec than the default are written anew under it.

use std::collections::{BTreeMap, HashSet};

use iceberg::spec::{DataContentType, Datum, Literal, PartitionSpecRef, PrimitiveLiteral, Struct};
use lakehost_columnar::PartitionField;
use lakehost_pipeline::WINDOW_COLUMN;

use crate::catalog::TableState;
use crate::inspect::{Labels, LiveFile, partition_text};
use crate::layout::{WindowValue, beyond_window, has_window};

/// A file of at least this share of the wanted size is left alone.
const LARGE_ENOUGH: (u64, u64) = (3, 4);
/// A file of more than this share of it is taken apart.
const TOO_LARGE: (u64, u64) = (9, 5);

/// Where the rows of a bin go.
#[derive(Clone, Debug)]
pub enum Destination {
    /// The partition that they are in.
    Same { spec: PartitionSpecRef, partition: Struct },
    /// The default spec, split by its fields beyond the window.
    Default { window: Option<WindowValue>, fields: Vec<PartitionField> },
}

/// Files that are written anew together.
#[derive(Clone, Debug)]
pub struct Bin {
    pub into: Destination,
    /// In the order in which they were added.
    pub files: Vec<LiveFile>,
    /// So many files of about the wanted size they make.
    pub pieces: u64,
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
    let moves = Moves::of(state);
    let mut partitions: BTreeMap<(i32, String), (Destination, Vec<LiveFile>)> = BTreeMap::new();
    for live in files {
        let of_window = wish
            .window
            .is_none_or(|wanted| labels.window(&live.spec, live.file.partition()).as_deref() == Some(wanted));
        let large = live.file.file_size_in_bytes().saturating_mul(LARGE_ENOUGH.1)
            >= wish.target_bytes.saturating_mul(LARGE_ENOUGH.0);
        if live.file.content_type() != DataContentType::Data || !of_window {
            continue;
        }
        let moved = moves.as_ref().and_then(|moves| moves.of_file(&live));
        let wanted = wish.all
            || moved.is_some()
            || !large
            || is_too_large(live.file.file_size_in_bytes(), wish.target_bytes)
            || wish.deleted_from.contains(live.file.file_path());
        if !wanted {
            continue;
        }
        let (key, into) = match moved {
            // Files of all old specs together, window by window.
            Some((window, into)) => ((-1, window), into),
            None => {
                let (spec, partition) = (live.spec.clone(), live.file.partition().clone());
                let text = partition_text(&state.metadata, &spec, &partition);
                ((spec.spec_id(), text), Destination::Same { spec, partition })
            }
        };
        partitions.entry(key).or_insert_with(|| (into, Vec::new())).1.push(live);
    }
    partitions.into_values().flat_map(|(into, files)| pack(&into, files, wish)).collect()
}

/// Whether a file is so much larger than wanted that it is taken apart.
pub fn is_too_large(bytes: u64, target_bytes: u64) -> bool {
    bytes.saturating_mul(TOO_LARGE.1) > target_bytes.saturating_mul(TOO_LARGE.0)
}

/// How files come under the default spec.
struct Moves<'a> {
    state: &'a TableState,
    labels: Labels,
    windowed: bool,
    fields: Vec<PartitionField>,
}

impl<'a> Moves<'a> {
    /// `None`: the default spec has a field that is not known here, so no file can be written under it.
    fn of(state: &'a TableState) -> Option<Self> {
        let (schema, spec) = (state.metadata.current_schema(), state.metadata.default_partition_spec());
        let fields = beyond_window(&state.name, schema, spec).ok()?;
        Some(Self { state, labels: Labels::of(&state.metadata), windowed: has_window(schema, spec), fields })
    }

    /// The file's window, and where its rows go; `None`: it is where it belongs, or its partition does not say which window it is of.
    fn of_file(&self, live: &LiveFile) -> Option<(String, Destination)> {
        let metadata = &self.state.metadata;
        let default = metadata.default_partition_spec();
        if live.spec.spec_id() == default.spec_id() || live.spec.fields() == default.fields() {
            return None;
        }
        let mut window = None;
        if self.windowed {
            let field_id = metadata.current_schema().field_by_name(WINDOW_COLUMN)?.id;
            let position = self.labels.position(&live.spec)?;
            let value = match live.file.partition().fields().get(position)? {
                None => None,
                Some(Literal::Primitive(PrimitiveLiteral::Int(days))) => Some(Datum::date(*days)),
                Some(Literal::Primitive(PrimitiveLiteral::Long(micros))) => Some(Datum::timestamp_micros(*micros)),
                Some(_) => return None,
            };
            window = value.map(|value| WindowValue { field_id, value });
        }
        let text = window.as_ref().map(|window| window.value.to_string()).unwrap_or_default();
        Some((text, Destination::Default { window, fields: self.fields.clone() }))
    }
}

/// First fit, largest first.
fn pack(into: &Destination, mut files: Vec<LiveFile>, wish: Wish<'_>) -> Vec<Bin> {
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
                let pieces = if is_too_large(bytes, wish.target_bytes) { bytes.div_ceil(wish.target_bytes) } else { 1 };
                let bin = Bin { into: into.clone(), files: vec![live], pieces };
                bins.push((bytes, bin));
            }
        }
    }
    let worth = |bin: &Bin| {
        wish.all
            || matches!(bin.into, Destination::Default { .. })
            || bin.pieces > 1
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
