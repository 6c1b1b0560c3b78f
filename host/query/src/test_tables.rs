//! Real Iceberg tables for tests: a catalog in memory, files written by the iceberg crate's own writer.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use arrow_array::{ArrayRef, RecordBatch};
use iceberg::arrow::schema_to_arrow_schema;
use iceberg::io::LocalFsStorageFactory;
use iceberg::memory::{MEMORY_CATALOG_WAREHOUSE, MemoryCatalog, MemoryCatalogBuilder};
use iceberg::spec::{DataFileFormat, NestedField, PrimitiveType, Type};
use iceberg::table::Table;
use iceberg::transaction::{ApplyTransactionAction, Transaction};
use iceberg::writer::base_writer::data_file_writer::DataFileWriterBuilder;
use iceberg::writer::file_writer::ParquetWriterBuilder;
use iceberg::writer::file_writer::location_generator::{DefaultFileNameGenerator, DefaultLocationGenerator};
use iceberg::writer::file_writer::rolling_writer::RollingFileWriterBuilder;
use iceberg::writer::{IcebergWriter, IcebergWriterBuilder};
use iceberg::{Catalog, CatalogBuilder, NamespaceIdent};
use parquet::file::properties::WriterProperties;

/// A runtime for the time that a table is made in.
pub fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap()
}

/// A catalog over a folder, with the namespace `raw`.
pub async fn catalog(folder: &Path) -> iceberg::Result<(MemoryCatalog, NamespaceIdent)> {
    let catalog = MemoryCatalogBuilder::default()
        .with_storage_factory(Arc::new(LocalFsStorageFactory))
        .load("m", HashMap::from([(MEMORY_CATALOG_WAREHOUSE.to_owned(), folder.display().to_string())]))
        .await?;
    let namespace = NamespaceIdent::new("raw".to_owned());
    catalog.create_namespace(&namespace, HashMap::new()).await?;
    Ok((catalog, namespace))
}

/// An optional column.
pub fn field(id: i32, name: &str, kind: PrimitiveType) -> Arc<NestedField> {
    Arc::new(NestedField::optional(id, name, Type::Primitive(kind)))
}

/// The table with one more file, in one more snapshot.
pub async fn append(
    catalog: &impl Catalog,
    table: Table,
    name: &str,
    columns: Vec<ArrayRef>,
) -> iceberg::Result<Table> {
    let schema = table.metadata().current_schema().clone();
    let files = RollingFileWriterBuilder::new_with_default_file_size(
        ParquetWriterBuilder::new(WriterProperties::default(), schema.clone()),
        table.file_io().clone(),
        DefaultLocationGenerator::new(table.metadata())?,
        DefaultFileNameGenerator::new(name.to_owned(), None, DataFileFormat::Parquet),
    );
    let mut writer = DataFileWriterBuilder::new(files).build(None).await?;
    writer.write(RecordBatch::try_new(Arc::new(schema_to_arrow_schema(&schema)?), columns)?).await?;
    let transaction = Transaction::new(&table);
    let transaction = transaction.fast_append().add_data_files(writer.close().await?).apply(transaction)?;
    transaction.commit(catalog).await
}
