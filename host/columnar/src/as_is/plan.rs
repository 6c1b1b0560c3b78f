//! Whether a file can be taken as it is.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{DataType, TimeUnit};
use parquet::arrow::ArrowSchemaConverter;
use parquet::basic::{Compression, Encoding, Repetition};
use parquet::file::metadata::ColumnChunkMetaData;
use parquet::schema::types::{SchemaDescriptor, Type, TypePtr};

use super::AsIs;
use crate::cast::Cast;
use crate::mapping::{MappedColumn, ParquetScan};
use crate::output::{Constant, OutputSchema};

/// Plan to take the scan's file as it is.
///
/// # Errors
///
/// Why it cannot be: a sentence for the report. The caller then takes the rewrite path.
pub fn as_is_plan(scan: &ParquetScan, output: &OutputSchema) -> Result<AsIs, String> {
    let file = scan.file();
    let metadata = file.metadata();
    if metadata.row_groups().iter().any(|group| group.num_rows() == 0) || metadata.num_row_groups() == 0 {
        return Err("it has a row group without rows".to_owned());
    }
    let table =
        ArrowSchemaConverter::new().convert(&output.schema).map_err(|error| format!("the table schema: {error}"))?;
    let table: HashMap<&str, &TypePtr> =
        table.root_schema().get_fields().iter().map(|field| (field.name(), field)).collect();
    let by_root: HashMap<usize, &MappedColumn> =
        scan.columns().iter().filter_map(|column| Some((column.root?, column))).collect();
    let descriptor = metadata.file_metadata().schema_descr();
    let mut fields = Vec::new();
    for (root, found) in file.arrow_schema().fields().iter().enumerate() {
        let column = by_root.get(&root).ok_or_else(|| format!("column {} is not part of the source", found.name()))?;
        let name = column.field.name();
        let wanted = output.schema.field_with_name(name).map_err(|_| format!("column {name} is not in the table"))?;
        let (Some(leaf), Some(target)) = (column.leaf.filter(|_| !column.nested), table.get(name.as_str())) else {
            return Err(format!("column {name} is nested"));
        };
        if output.constant(name).is_some() {
            return Err(format!("it has a column {name} of its own"));
        }
        let source = descriptor.column(leaf).self_type_ptr();
        if column.cast != Cast::None
            || !same_type(found.data_type(), wanted.data_type())
            || !same_layout(&source, target)
        {
            return Err(format!("column {name} is {}, the table has {}", found.data_type(), wanted.data_type()));
        }
        let repetition = source.get_basic_info().repetition();
        if repetition != Repetition::REQUIRED && !wanted.is_nullable() {
            return Err(format!("column {name} may hold nulls, the table's may not"));
        }
        fields.push(field(target, repetition)?);
        for group in metadata.row_groups() {
            check_chunk(group.column(leaf)).map_err(|reason| format!("column {name} is {reason}"))?;
        }
    }
    let mut constants: Vec<Constant> = Vec::new();
    for wanted in output.schema.fields() {
        let name = wanted.name();
        if let Some(constant) = output.constant(name) {
            let target = table.get(name.as_str()).ok_or_else(|| format!("column {name} is not in the table"))?;
            fields.push(field(target, Repetition::REQUIRED)?);
            constants.push(constant.clone());
        } else if !wanted.is_nullable()
            && !scan.columns().iter().any(|column| column.field.name() == name && column.leaf.is_some())
        {
            return Err(format!("it lacks the required column {name}"));
        }
    }
    let root = Type::group_type_builder(descriptor.root_schema().name()).with_fields(fields).build();
    let root = root.map_err(|error| error.to_string())?;
    Ok(AsIs { file: file.clone(), schema: Arc::new(SchemaDescriptor::new(Arc::new(root))), constants })
}

/// The same values, whatever the zone's spelling.
fn same_type(found: &DataType, wanted: &DataType) -> bool {
    match (found, wanted) {
        (DataType::Timestamp(TimeUnit::Microsecond, a), DataType::Timestamp(TimeUnit::Microsecond, b)) => {
            a.is_some() == b.is_some()
        }
        // Readers of Iceberg take the unit from the table: Spark finds no row behind a filter on other units.
        (DataType::Timestamp(..), _) | (_, DataType::Timestamp(..)) => false,
        _ => found == wanted,
    }
}

/// The same bytes in a page.
fn same_layout(found: &Type, wanted: &Type) -> bool {
    match (found, wanted) {
        (
            Type::PrimitiveType { physical_type: a, type_length: length_a, .. },
            Type::PrimitiveType { physical_type: b, type_length: length_b, .. },
        ) => a == b && (*a != parquet::basic::Type::FIXED_LEN_BYTE_ARRAY || length_a == length_b),
        _ => false,
    }
}

/// The table's field with the file's repetition.
fn field(table: &Type, repetition: Repetition) -> Result<TypePtr, String> {
    let Type::PrimitiveType { basic_info, physical_type, type_length, scale, precision } = table else {
        return Err(format!("column {} is nested", table.name()));
    };
    if !basic_info.has_id() {
        return Err(format!("column {} has no field id", table.name()));
    }
    let field = Type::primitive_type_builder(basic_info.name(), *physical_type)
        .with_repetition(repetition)
        .with_converted_type(basic_info.converted_type())
        .with_logical_type(basic_info.logical_type_ref().cloned())
        .with_length(*type_length)
        .with_precision(*precision)
        .with_scale(*scale)
        .with_id(Some(basic_info.id()))
        .build();
    field.map(Arc::new).map_err(|error| error.to_string())
}

/// Whether every engine reads the chunk: old vectorised readers know neither the delta encodings nor the rarer codecs.
fn check_chunk(chunk: &ColumnChunkMetaData) -> Result<(), String> {
    use Compression as C;
    if !matches!(chunk.compression(), C::UNCOMPRESSED | C::SNAPPY | C::GZIP(_) | C::ZSTD(_)) {
        return Err(format!("compressed with {}", chunk.compression()));
    }
    #[expect(deprecated, reason = "old writers name BIT_PACKED, for levels that flat columns do not have")]
    let known = |encoding: &Encoding| {
        use Encoding as E;
        matches!(encoding, E::PLAIN | E::PLAIN_DICTIONARY | E::RLE_DICTIONARY | E::RLE | E::BIT_PACKED)
    };
    match chunk.encodings().find(|encoding| !known(encoding)) {
        Some(encoding) => Err(format!("encoded as {encoding}")),
        None => Ok(()),
    }
}
