//! `lakehost table files|partitions|refs|history`: the metadata tables of one table.

use arrow::array::RecordBatch;
use lakehost_lake::MetadataTable;
use lakehost_pipeline::Fault;
use lakehost_query::AsOf;
use serde_json::{Value, json};

use crate::args::{FilesArguments, LogArguments, PartitionsArguments, Place, ReportFormat};
use crate::batches::{Shown, counts, json_rows, text_table, texts};
use crate::config::resolve;
use crate::table::{Align, TextTable, grouped};
use crate::warehouse::{Warehouse, at_no_time, point};
use crate::{exit_code, memory, progress};

/// The rows of a metadata table.
fn batch(table: &str, place: &Place, which: MetadataTable, as_of: Option<&str>) -> Result<RecordBatch, Fault> {
    let name = resolve::table_name(table)?;
    let wanted = as_of.map(|text| AsOf::parse(text, progress::now_ms())).transpose()?;
    let warehouse = Warehouse::open_existing(&resolve::place(place, None)?)?;
    let at = wanted.as_ref().map(point);
    warehouse.lake.metadata_batch(&name, which, at.as_ref()).map_err(|error| match &wanted {
        Some(wanted) if matches!(error, lakehost_lake::Error::NoSnapshot { .. }) => at_no_time(error, &name, wanted),
        _ => warehouse.fault(error),
    })
}

/// Prints a metadata table; `nothing` where it has no rows.
fn print(
    table: &str,
    rows: &RecordBatch,
    format: ReportFormat,
    which: MetadataTable,
    columns: &[(&str, &str, Shown)],
    nothing: &str,
) -> Result<u8, Fault> {
    match format {
        ReportFormat::Json => {
            let all = json_rows(rows, &["metrics", "summary"])?;
            super::print_json(&json!({ "table": table, which.word(): all }))?;
        }
        ReportFormat::Text if rows.num_rows() == 0 => super::print(&format!("{table} {nothing}\n"))?,
        ReportFormat::Text => super::print(&text_table(rows, columns))?,
    }
    Ok(exit_code::SUCCESS)
}

/// Data and delete files.
pub fn files(arguments: &FilesArguments) -> Result<u8, Fault> {
    let which = MetadataTable::Files;
    let rows = batch(&arguments.table, &arguments.place, which, arguments.as_of.as_deref())?;
    if arguments.histogram {
        let histogram = histogram(&rows);
        match arguments.format {
            ReportFormat::Json => super::print_json(&json!({
                "table": arguments.table,
                "histogram": histogram.iter().map(Bucket::json).collect::<Vec<_>>(),
            }))?,
            ReportFormat::Text => super::print(&histogram_text(&histogram))?,
        }
        return Ok(exit_code::SUCCESS);
    }
    let columns = [
        ("partition", "partition", Shown::Text),
        ("content", "content", Shown::Text),
        ("record_count", "rows", Shown::Count),
        ("file_size_in_bytes", "size", Shown::Bytes),
        ("snapshot_id", "added by", Shown::Id),
        ("file_path", "file", Shown::Text),
    ];
    print(&arguments.table, &rows, arguments.format, which, &columns, "has no files")
}

/// Files summed up by partition.
pub fn partitions(arguments: &PartitionsArguments) -> Result<u8, Fault> {
    let which = MetadataTable::Partitions;
    let rows = batch(&arguments.table, &arguments.place, which, arguments.as_of.as_deref())?;
    let columns = [
        ("partition", "partition", Shown::Text),
        ("record_count", "rows", Shown::Count),
        ("file_count", "files", Shown::Count),
        ("total_data_file_size_in_bytes", "size", Shown::Bytes),
        ("delete_file_count", "delete files", Shown::Count),
        ("last_updated_at", "changed (UTC)", Shown::Time),
        ("last_updated_snapshot_id", "by", Shown::Id),
    ];
    print(&arguments.table, &rows, arguments.format, which, &columns, "has no files")
}

/// Branches and tags.
pub fn refs(arguments: &LogArguments) -> Result<u8, Fault> {
    let which = MetadataTable::Refs;
    let rows = batch(&arguments.table, &arguments.place, which, None)?;
    let columns = [
        ("name", "name", Shown::Text),
        ("type", "type", Shown::Text),
        ("snapshot_id", "snapshot", Shown::Id),
        ("committed_at", "committed (UTC)", Shown::Time),
        ("max_ref_age_ms", "kept (ms)", Shown::Count),
    ];
    print(&arguments.table, &rows, arguments.format, which, &columns, "has no branch and no tag yet")
}

/// What was current when.
pub fn history(arguments: &LogArguments) -> Result<u8, Fault> {
    let which = MetadataTable::History;
    let rows = batch(&arguments.table, &arguments.place, which, None)?;
    let columns = [
        ("made_current_at", "current since (UTC)", Shown::Time),
        ("snapshot_id", "snapshot", Shown::Id),
        ("parent_id", "parent", Shown::Id),
        ("is_current_ancestor", "on main", Shown::Text),
    ];
    print(&arguments.table, &rows, arguments.format, which, &columns, "has no snapshots yet")
}

/// Files of about one size.
#[derive(Debug, PartialEq, Eq)]
struct Bucket {
    from_bytes: u64,
    /// `None`: however large.
    to_bytes: Option<u64>,
    files: u64,
    rows: u64,
    bytes: u64,
}

impl Bucket {
    fn json(&self) -> Value {
        json!({
            "from_bytes": self.from_bytes,
            "to_bytes": self.to_bytes,
            "files": self.files,
            "rows": self.rows,
            "bytes": self.bytes,
        })
    }
}

/// Where a bucket ends. Files below 32 MiB cost readers more to open than to read.
const EDGES_BYTES: [u64; 6] = [1 << 20, 8 << 20, 32 << 20, 128 << 20, 512 << 20, u64::MAX];

/// The data files by size; deletes do not count.
fn histogram(files: &RecordBatch) -> Vec<Bucket> {
    let mut from_bytes = 0;
    let mut buckets: Vec<Bucket> = EDGES_BYTES
        .iter()
        .map(|edge| {
            let bucket =
                Bucket { from_bytes, to_bytes: (*edge != u64::MAX).then_some(*edge), files: 0, rows: 0, bytes: 0 };
            from_bytes = *edge;
            bucket
        })
        .collect();
    let (sizes, rows) = (counts(files, "file_size_in_bytes"), counts(files, "record_count"));
    for ((content, size), rows) in texts(files, "content").iter().zip(sizes).zip(rows) {
        if content != "data" {
            continue;
        }
        if let Some(bucket) = buckets.iter_mut().find(|bucket| bucket.to_bytes.is_none_or(|edge| size < edge)) {
            bucket.files += 1;
            bucket.rows += rows;
            bucket.bytes += size;
        }
    }
    buckets
}

/// Widest bar.
const BAR_CHARACTERS: u64 = 40;

fn histogram_text(buckets: &[Bucket]) -> String {
    let most = buckets.iter().map(|bucket| bucket.files).max().unwrap_or(0).max(1);
    let mut table = TextTable::new([
        ("file size", Align::Left),
        ("files", Align::Right),
        ("rows", Align::Right),
        ("together", Align::Right),
        ("", Align::Left),
    ]);
    for bucket in buckets {
        let name = match bucket.to_bytes {
            Some(edge) => format!("{} to {}", memory::shown(bucket.from_bytes), memory::shown(edge)),
            None => format!("from {}", memory::shown(bucket.from_bytes)),
        };
        let bar = (bucket.files * BAR_CHARACTERS).div_ceil(most);
        table.row([
            name,
            grouped(bucket.files),
            grouped(bucket.rows),
            memory::shown(bucket.bytes),
            "█".repeat(usize::try_from(bar).unwrap_or(0)),
        ]);
    }
    table.render()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use arrow::array::{ArrayRef, Int64Array, StringArray};

    use super::*;

    #[test]
    fn files_fall_into_buckets_by_size() {
        let sizes: Vec<i64> = vec![0, 1 << 20, (8 << 20) - 1, 600 << 20, 5];
        let rows = Int64Array::from(vec![1, 2, 3, 4, 5]);
        let content = StringArray::from(vec!["data", "data", "data", "data", "position-deletes"]);
        let files = RecordBatch::try_from_iter([
            ("content", Arc::new(content) as ArrayRef),
            ("file_size_in_bytes", Arc::new(Int64Array::from(sizes))),
            ("record_count", Arc::new(rows)),
        ])
        .unwrap();
        let found: Vec<(u64, u64)> = histogram(&files).iter().map(|bucket| (bucket.files, bucket.rows)).collect();
        assert_eq!(found, [(1, 1), (2, 5), (0, 0), (0, 0), (0, 0), (1, 4)]);
        let text = histogram_text(&histogram(&files));
        assert!(text.contains("1.0 MiB to 8.0 MiB") && text.contains(&"█".repeat(40)), "{text}");
    }
}
