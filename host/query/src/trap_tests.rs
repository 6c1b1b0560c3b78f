//! Tables that others wrote or that changed after their files were written: the Iceberg library's own scan reads each of these wrongly.

use std::collections::HashMap;
use std::sync::Arc;

use arrow::util::pretty::pretty_format_batches;
use arrow_array::{ArrayRef, Date32Array, Int32Array, RecordBatch};
use arrow_schema::{DataType, Field, Schema as ArrowSchema};
use iceberg::spec::{
    DataContentType, DataFile, DataFileBuilder, DataFileFormat, Literal, PrimitiveType, Schema, Struct, TableMetadata,
    TableMetadataBuilder, Transform, UnboundPartitionSpec,
};
use iceberg::table::Table;
use iceberg::transaction::{ApplyTransactionAction, Transaction};
use iceberg::{Catalog, TableCreation};
use lakehost_pipeline::ports::TableName;
use parquet::arrow::ArrowWriter;

use crate::session::{OpenTable, Session, Tables};
use crate::test_tables::{catalog, field, runtime};

struct One(Table);

impl Tables for &One {
    fn open(&self, name: &TableName) -> crate::Result<Option<OpenTable>> {
        Ok((name.name == "t").then(|| OpenTable { table: self.0.clone(), snapshot_id: None }))
    }

    fn metadata(&self, name: &TableName, kind: &str) -> crate::Result<Option<RecordBatch>> {
        let ids: ArrayRef = Arc::new(Int32Array::from(vec![7, 8]));
        Ok((name.name == "t" && kind == "files").then(|| RecordBatch::try_from_iter([("id", ids)]).unwrap()))
    }

    fn names(&self) -> crate::Result<Vec<TableName>> {
        Ok(vec![TableName::parse("raw.t").unwrap()])
    }
}

/// Writes columns of one type under their field ids.
fn parquet(path: &str, columns: &[(i32, &str, ArrayRef)]) -> u64 {
    let fields: Vec<Field> = columns
        .iter()
        .map(|(id, name, array)| {
            let ids = HashMap::from([("PARQUET:field_id".to_owned(), id.to_string())]);
            Field::new(*name, array.data_type().clone(), true).with_metadata(ids)
        })
        .collect();
    let schema = Arc::new(ArrowSchema::new(fields));
    let arrays = columns.iter().map(|(_, _, array)| Arc::clone(array)).collect();
    let mut bytes = Vec::new();
    let mut writer = ArrowWriter::try_new(&mut bytes, Arc::clone(&schema), None).unwrap();
    writer.write(&RecordBatch::try_new(schema, arrays).unwrap()).unwrap();
    writer.close().unwrap();
    std::fs::write(path, &bytes).unwrap();
    bytes.len() as u64
}

fn data_file(path: String, bytes: u64, rows: u64, partition: Struct) -> DataFile {
    DataFileBuilder::default()
        .content(DataContentType::Data)
        .file_path(path)
        .file_format(DataFileFormat::Parquet)
        .partition(partition)
        .partition_spec_id(0)
        .record_count(rows)
        .file_size_in_bytes(bytes)
        .build()
        .unwrap()
}

/// A table with one file for each set of columns, and how its metadata looks in the end.
struct Made {
    one: One,
    _folder: tempfile::TempDir,
}

type Columns = Vec<(i32, &'static str, ArrayRef)>;

fn make(
    schema: Schema,
    spec: Option<UnboundPartitionSpec>,
    files: Vec<(Columns, Struct)>,
    later: impl FnOnce(TableMetadataBuilder) -> iceberg::Result<TableMetadataBuilder>,
) -> Made {
    let runtime = runtime();
    let folder = tempfile::tempdir().unwrap();
    let table = runtime.block_on(async {
        let (catalog, namespace) = catalog(folder.path()).await?;
        let creation = TableCreation::builder().name("t".to_owned()).schema(schema).partition_spec_opt(spec).build();
        let table = catalog.create_table(&namespace, creation).await?;
        let mut added = Vec::new();
        for (number, (columns, partition)) in files.into_iter().enumerate() {
            let path = folder.path().join(format!("{number}.parquet")).display().to_string();
            let rows = columns.first().map_or(0, |(_, _, array)| array.len() as u64);
            let bytes = parquet(&path, &columns);
            added.push(data_file(path, bytes, rows, partition));
        }
        let transaction = Transaction::new(&table);
        let transaction = transaction.fast_append().add_data_files(added).apply(transaction)?;
        transaction.commit(&catalog).await
    });
    let table: Table = table.unwrap();
    let built = later(TableMetadata::clone(table.metadata()).into_builder(None)).unwrap().build().unwrap();
    let changed = Table::builder()
        .identifier(table.identifier().clone())
        .file_io(table.file_io().clone())
        .metadata(built.metadata)
        .runtime(runtime_of(&runtime));
    Made { one: One(changed.build().unwrap()), _folder: folder }
}

fn runtime_of(runtime: &tokio::runtime::Runtime) -> iceberg::Runtime {
    let _inside = runtime.enter();
    iceberg::Runtime::current()
}

fn ints(values: Vec<i32>) -> ArrayRef {
    Arc::new(Int32Array::from(values))
}

fn answer(made: &Made, sql: &str) -> String {
    let session = Session::new(&made.one, None).unwrap();
    let rows = session.query(sql).and_then(|rows| rows.collect::<crate::Result<Vec<RecordBatch>>>());
    match rows {
        Ok(batches) => {
            let text = pretty_format_batches(&batches).unwrap().to_string();
            let lines = text.lines().filter(|line| line.starts_with('|')).skip(1);
            lines.map(|line| line.split_whitespace().collect::<String>()).collect::<Vec<_>>().join(" ")
        }
        Err(fault) => format!("{}: {fault}; {}", fault.code(), fault.hint().unwrap_or_default()),
    }
}

fn check(made: &Made, table: &[(&str, &str)]) {
    for (sql, expected) in table {
        assert_eq!(answer(made, sql), *expected, "{sql}");
    }
}

fn windowed() -> (Schema, UnboundPartitionSpec) {
    let schema = Schema::builder()
        .with_fields([field(1, "id", PrimitiveType::Int), field(2, "_lakehost_window", PrimitiveType::Date)])
        .build()
        .unwrap();
    let spec = UnboundPartitionSpec::builder()
        .add_partition_field(2, "_lakehost_window".to_owned(), Transform::Identity)
        .unwrap()
        .with_spec_id(0)
        .build();
    (schema, spec)
}

fn windows(with_column: bool) -> Vec<(Columns, Struct)> {
    [(19_723, vec![1, 2]), (19_754, vec![3])]
        .into_iter()
        .map(|(day, ids)| {
            let days: ArrayRef = Arc::new(Date32Array::from(vec![day; ids.len()]));
            let mut columns = vec![(1, "id", ints(ids))];
            if with_column {
                columns.push((2, "_lakehost_window", days));
            }
            (columns, Struct::from_iter([Some(Literal::date(day))]))
        })
        .collect()
}

const OF_WINDOWS: &[(&str, &str)] = &[
    ("select count(*) from raw.t", "|3|"),
    ("select _lakehost_window, count(*) from raw.t group by 1 order by 1", "|2024-01-01|2| |2024-02-01|1|"),
    ("select sum(id) from raw.t where _lakehost_window = date '2024-02-01'", "|3|"),
    ("select sum(id) from raw.t where _lakehost_window < date '2024-02-01' and id > 1", "|2|"),
    ("select count(*) from raw.t where _lakehost_window is null", "|0|"),
    ("select _lakehost_window from raw.t where id = 3", "|2024-02-01|"),
];

#[test]
fn a_partition_column_that_files_lack_is_read_from_the_partition() {
    for with_column in [true, false] {
        let (schema, spec) = windowed();
        check(&make(schema, Some(spec), windows(with_column), Ok), OF_WINDOWS);
    }
}

#[test]
fn each_file_is_read_under_its_own_spec() {
    let (schema, spec) = windowed();
    let made = make(schema, Some(spec), windows(false), |builder| {
        let by_id = UnboundPartitionSpec::builder()
            .add_partition_field(1, "id".to_owned(), Transform::Identity)?
            .with_spec_id(1)
            .build();
        builder.add_default_partition_spec(by_id)
    });
    check(&made, OF_WINDOWS);
    check(
        &made,
        &[("select id from raw.t order by id", "|1| |2| |3|"), ("select sum(id) from raw.t where id = 2", "|2|")],
    );
}

#[test]
fn a_column_that_came_after_the_last_snapshot_is_null() {
    let schema = Schema::builder().with_fields([field(1, "a", PrimitiveType::Int)]).build().unwrap();
    let files = vec![(vec![(1, "a", ints(vec![1, 2]))], Struct::empty())];
    let made = make(schema, None, files, |builder| {
        let wider = Schema::builder()
            .with_fields([field(1, "a", PrimitiveType::Int), field(2, "b", PrimitiveType::Int)])
            .build()?;
        builder.add_current_schema(wider)
    });
    check(
        &made,
        &[
            ("select a, b from raw.t order by a", "|1|| |2||"),
            // The library takes the one column of the file for the one that is asked for.
            ("select b from raw.t", "|| ||"),
            ("select count(*) from raw.t where b is null", "|2|"),
            ("select count(*) from raw.t where b = 1", "|0|"),
        ],
    );
}

#[test]
fn a_column_that_became_wider_or_was_renamed_is_read_and_filtered() {
    let schema = Schema::builder().with_fields([field(1, "a", PrimitiveType::Int)]).build().unwrap();
    let files = vec![(vec![(1, "a", ints(vec![1, 2, 3]))], Struct::empty())];
    let made = make(schema, None, files, |builder| {
        builder.add_current_schema(Schema::builder().with_fields([field(1, "c", PrimitiveType::Long)]).build()?)
    });
    check(
        &made,
        &[
            ("select sum(c) from raw.t", "|6|"),
            ("select c from raw.t where c in (2, 3) order by c", "|2| |3|"),
            ("select c from raw.t where c > 2", "|3|"),
        ],
    );
    assert!(answer(&made, "select a from raw.t").starts_with("LH0107: no column `a`"));
}

#[test]
fn columns_in_another_order_than_the_files_keep_their_values() {
    let schema = Schema::builder()
        .with_fields([field(1, "a", PrimitiveType::Int), field(2, "b", PrimitiveType::Int)])
        .build()
        .unwrap();
    let files = vec![(vec![(2, "b", ints(vec![20])), (1, "a", ints(vec![10]))], Struct::empty())];
    let made = make(schema, None, files, Ok);
    check(&made, &[("select a, b from raw.t", "|10|20|"), ("select b, a from raw.t", "|20|10|")]);
}

#[test]
fn metadata_tables_are_tables() {
    let (schema, spec) = windowed();
    let made = make(schema, Some(spec), windows(true), Ok);
    check(
        &made,
        &[
            ("select count(*) from raw.t$files", "|2|"),
            ("select sum(id) from raw.\"t$files\" where id > 7", "|8|"),
            ("select f.id from lakehost.raw.t$files f join raw.t on t.id = f.id - 6", "|7| |8|"),
        ],
    );
    let wrong = answer(&made, "select * from raw.t$fils");
    assert_eq!(
        wrong,
        "LH0107: no metadata table `raw.t$fils`; there are: $snapshots, $files, $partitions, $refs, $history, $manifests"
    );
}

#[test]
fn the_types_of_arrow_are_those_of_the_table() {
    let (schema, spec) = windowed();
    let made = make(schema, Some(spec), windows(false), Ok);
    let session = Session::new(&made.one, None).unwrap();
    let rows = session.query("select * from raw.t").unwrap();
    let types: Vec<DataType> = rows.schema().fields().iter().map(|field| field.data_type().clone()).collect();
    assert_eq!(types, [DataType::Int32, DataType::Date32]);
    for batch in rows {
        assert_eq!(batch.unwrap().column(1).data_type(), &DataType::Date32);
    }
}
