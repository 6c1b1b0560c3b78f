//! Delete files that have nothing left to delete from.
//!
//! Whoever deletes rows by position or by value leaves them in their data file and writes a delete file beside it. Once the data file is written
//! anew without them, the delete file counts for nothing, yet readers open it, and nobody can tell the table's rows from its counters. It may go
//! as soon as no data file is left that it could count for; where that is not certain, it stays.

use std::collections::{HashMap, HashSet};

use iceberg::spec::{DataContentType, DataFileFormat};

use crate::inspect::LiveFile;

/// The delete files among these that count for no data file once `removed` are gone. Files that come in their place have a greater sequence number
/// than any of them, so that none counts for those.
pub fn dangling(live: &[LiveFile], removed: &HashSet<String>) -> HashSet<String> {
    let is_data = |live: &LiveFile| live.file.content_type() == DataContentType::Data;
    if live.iter().all(is_data) {
        return HashSet::new();
    }
    let mut left = Left::default();
    for data in live.iter().filter(|live| is_data(live) && !removed.contains(live.file.file_path())) {
        left.add(data);
    }
    let (mut found, mut needed) = (HashSet::new(), HashSet::new());
    for delete in live.iter().filter(|live| !is_data(live)) {
        let path = delete.file.file_path().to_owned();
        // A file may hold the deletion vectors of several data files. A removal names files, not vectors, so such a file stays.
        let shared = delete.file.file_format() == DataFileFormat::Puffin && found.contains(&path);
        if left.may_count(delete) || shared {
            needed.insert(path)
        } else {
            found.insert(path)
        };
    }
    &found - &needed
}

/// Data files that stay, by what delete files go by.
#[derive(Default)]
struct Left<'a> {
    paths: HashSet<&'a str>,
    /// The least sequence number of each partition.
    partitions: HashMap<(i32, String), i64>,
    least: Option<i64>,
}

impl<'a> Left<'a> {
    fn add(&mut self, data: &'a LiveFile) {
        self.paths.insert(data.file.file_path());
        let least = self.partitions.entry(partition(data)).or_insert(i64::MAX);
        *least = data.sequence_number.min(*least);
        self.least = Some(self.least.map_or(data.sequence_number, |least| data.sequence_number.min(least)));
    }

    /// Whether a delete file may count for one of them.
    fn may_count(&self, delete: &LiveFile) -> bool {
        if let Some(path) = delete.file.referenced_data_file() {
            return self.paths.contains(path.as_str());
        }
        // One without a partition may be about the whole table.
        let least = match delete.spec.fields().is_empty() {
            true => self.least,
            false => self.partitions.get(&partition(delete)).copied(),
        };
        least.is_some_and(|least| match delete.file.content_type() {
            // It deletes from what was there before it, positions also from what came with it.
            DataContentType::EqualityDeletes => least < delete.sequence_number,
            _ => least <= delete.sequence_number,
        })
    }
}

fn partition(live: &LiveFile) -> (i32, String) {
    (live.spec.spec_id(), format!("{:?}", live.file.partition()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use iceberg::spec::{DataFileBuilder, Literal, PartitionSpec, Struct, Transform, UnboundPartitionSpec};

    use super::*;

    fn spec(partitioned: bool) -> Arc<PartitionSpec> {
        use iceberg::spec::{NestedField, PrimitiveType, Schema, Type};
        let field = NestedField::required(1, "month", Type::Primitive(PrimitiveType::Int)).into();
        let schema = Schema::builder().with_fields([field]).build().unwrap();
        let mut unbound = UnboundPartitionSpec::builder().with_spec_id(i32::from(partitioned));
        if partitioned {
            unbound = unbound.add_partition_field(1, "month", Transform::Identity).unwrap();
        }
        Arc::new(unbound.build().bind(schema).unwrap())
    }

    /// A file: content, path, month (none: a spec without partition), sequence number, the one data file that it is about.
    fn file(kind: DataContentType, path: &str, month: Option<i32>, sequence: i64, about: Option<&str>) -> LiveFile {
        let spec = spec(month.is_some());
        let format = if path.ends_with(".puffin") { DataFileFormat::Puffin } else { DataFileFormat::Parquet };
        let file = DataFileBuilder::default()
            .content(kind)
            .file_path(path.to_owned())
            .file_format(format)
            .partition(Struct::from_iter(month.map(|month| Some(Literal::int(month)))))
            .partition_spec_id(spec.spec_id())
            .record_count(1)
            .file_size_in_bytes(1)
            .referenced_data_file(about.map(str::to_owned))
            .build()
            .unwrap();
        LiveFile { file, spec, snapshot_id: 1, sequence_number: sequence }
    }

    #[test]
    fn a_delete_file_goes_with_the_last_data_file_that_it_may_count_for() {
        use DataContentType::{Data, EqualityDeletes, PositionDeletes};
        let data = |path: &str, month, sequence| file(Data, path, Some(month), sequence, None);
        let january = || vec![data("a", 1, 1), data("b", 1, 3), data("c", 2, 1)];
        for (delete, removed, goes) in [
            // By position: from files of its partition that are not younger than it.
            (file(PositionDeletes, "d", Some(1), 2, None), vec![], false),
            (file(PositionDeletes, "d", Some(1), 2, None), vec!["a"], true),
            (file(PositionDeletes, "d", Some(1), 3, None), vec!["a"], false),
            (file(PositionDeletes, "d", Some(1), 3, None), vec!["a", "b"], true),
            (file(PositionDeletes, "d", Some(2), 9, None), vec!["a", "b"], false),
            // From one file alone.
            (file(PositionDeletes, "d", Some(1), 9, Some("b")), vec!["a"], false),
            (file(PositionDeletes, "d", Some(1), 9, Some("b")), vec!["b"], true),
            // By value: from what was there before it.
            (file(EqualityDeletes, "d", Some(1), 3, None), vec!["a"], true),
            (file(EqualityDeletes, "d", Some(1), 4, None), vec!["a"], false),
            (file(EqualityDeletes, "d", Some(1), 1, None), vec![], true),
            // Without a partition it is about the whole table.
            (file(EqualityDeletes, "d", None, 2, None), vec!["a", "b"], false),
            (file(EqualityDeletes, "d", None, 2, None), vec!["a", "c"], true),
            (file(PositionDeletes, "d", None, 2, None), vec!["a", "b"], false),
        ] {
            let mut live = january();
            let told = format!("{:?} {removed:?}", (delete.file.content_type(), delete.sequence_number));
            live.push(delete);
            let removed: HashSet<String> = removed.into_iter().map(str::to_owned).collect();
            assert_eq!(dangling(&live, &removed).contains("d"), goes, "{told}");
        }
        assert!(dangling(&january(), &HashSet::from(["a".to_owned()])).is_empty());
    }

    #[test]
    fn a_file_of_several_deletion_vectors_stays() {
        let vector = |about| file(DataContentType::PositionDeletes, "v.puffin", Some(1), 5, Some(about));
        let data = |path| file(DataContentType::Data, path, Some(1), 1, None);
        let live = [data("a"), data("b"), vector("a"), vector("b")];
        let removed = |paths: &[&str]| paths.iter().map(|path| (*path).to_owned()).collect();
        assert!(dangling(&live, &removed(&["a"])).is_empty());
        assert!(dangling(&live, &removed(&["a", "b"])).is_empty(), "it cannot be told by its name which one goes");
        assert_eq!(dangling(&live[..3], &removed(&["a"])).len(), 1);
    }
}
