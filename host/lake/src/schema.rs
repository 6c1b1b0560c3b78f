//! Columns: from what a load wants to a table's schema, and back to what its data files hold.
//!
//! Field ids are given in column order, from 1. Columns are optional: an upstream month that lacks one must still fit. Types are those that
//! Iceberg has; the narrower Arrow integers widen to `int`, every timestamp becomes microseconds.

use std::collections::HashMap;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema as ArrowSchema, SchemaRef as ArrowSchemaRef, TimeUnit};
use iceberg::arrow::{arrow_schema_to_schema_auto_assign_ids, schema_to_arrow_schema};
use iceberg::spec::Schema;
use lakehost_pipeline::ports::TableName;

use crate::error::{Error, Result};

#[cfg(test)]
use lakehost_pipeline::WINDOW_COLUMN;

/// The Arrow type that a column of `data_type` has once it is in a table; `None`: Iceberg has none.
pub fn table_type(data_type: &DataType) -> Option<DataType> {
    use DataType as T;
    Some(match data_type {
        T::Boolean | T::Int32 | T::Int64 | T::Float32 | T::Float64 | T::Date32 | T::FixedSizeBinary(_) => {
            data_type.clone()
        }
        T::Int8 | T::Int16 | T::UInt8 | T::UInt16 => T::Int32,
        T::UInt32 => T::Int64,
        T::Float16 => T::Float32,
        T::Date64 => T::Date32,
        T::Decimal128(precision, scale) if *scale >= 0 => T::Decimal128(*precision, *scale),
        T::Time32(_) | T::Time64(_) => T::Time64(TimeUnit::Microsecond),
        T::Timestamp(_, None) => T::Timestamp(TimeUnit::Microsecond, None),
        T::Timestamp(_, Some(_)) => T::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())),
        T::Utf8 | T::LargeUtf8 | T::Utf8View => T::Utf8,
        T::Binary | T::LargeBinary | T::BinaryView => T::LargeBinary,
        T::Dictionary(_, value) => table_type(value)?,
        T::List(element) | T::LargeList(element) | T::FixedSizeList(element, _) => T::List(table_field(element)?),
        T::Struct(fields) => T::Struct(fields.iter().map(table_field).collect::<Option<Vec<_>>>()?.into()),
        _ => return None,
    })
}

fn table_field(field: &Arc<Field>) -> Option<Arc<Field>> {
    Some(Arc::new(Field::new(field.name(), table_type(field.data_type())?, true)))
}

/// The schema of a new table with these columns.
pub fn new_schema(table: &TableName, wanted: &ArrowSchema) -> Result<Schema> {
    let fields = wanted
        .fields()
        .iter()
        .map(|field| table_field(field).ok_or_else(|| no_type(table, field)))
        .collect::<Result<Vec<_>>>()?;
    arrow_schema_to_schema_auto_assign_ids(&ArrowSchema::new(fields)).map_err(Error::iceberg("lay out", table))
}

fn no_type(table: &TableName, field: &Field) -> Error {
    Error::Schema {
        table: table.clone(),
        column: field.name().clone(),
        wanted: format!("{}, for which Iceberg has no type", field.data_type()),
        found: None,
    }
}

/// The columns of a table, each field with its id as metadata `PARQUET:field_id`.
pub fn arrow_schema(table: &TableName, schema: &Schema) -> Result<ArrowSchemaRef> {
    schema_to_arrow_schema(schema).map(Arc::new).map_err(Error::iceberg("read the schema of", table))
}

/// Every wanted column is in the table, with that type or a wider one. What the table has beyond them is fine: it stays null.
pub fn check(table: &TableName, wanted: &ArrowSchema, present: &ArrowSchema) -> Result<()> {
    let by_name: HashMap<&str, &Field> =
        present.fields().iter().map(|field| (field.name().as_str(), field.as_ref())).collect();
    for field in wanted.fields() {
        let data_type = table_type(field.data_type()).ok_or_else(|| no_type(table, field))?;
        let found = by_name.get(field.name().as_str()).map(|found| found.data_type());
        if !found.is_some_and(|found| same_type(found, &data_type) || widens(&data_type, found)) {
            return Err(Error::Schema {
                table: table.clone(),
                column: field.name().clone(),
                wanted: type_word(&data_type),
                found: found.map(type_word),
            });
        }
    }
    Ok(())
}

/// Whether a column of `from` may have become one of `to`.
fn widens(from: &DataType, to: &DataType) -> bool {
    use DataType::{Decimal128, Float32, Float64, Int32, Int64};
    match (from, to) {
        (Int32, Int64) | (Float32, Float64) => true,
        (Decimal128(narrow, scale), Decimal128(wide, same)) => scale == same && narrow < wide,
        _ => false,
    }
}

/// Equal but for field ids, nullability and the names of list elements.
fn same_type(left: &DataType, right: &DataType) -> bool {
    match (left, right) {
        (DataType::List(left), DataType::List(right)) => same_type(left.data_type(), right.data_type()),
        (DataType::Struct(left), DataType::Struct(right)) => {
            left.len() == right.len()
                && left
                    .iter()
                    .zip(right)
                    .all(|(left, right)| left.name() == right.name() && same_type(left.data_type(), right.data_type()))
        }
        _ => left == right,
    }
}

/// The type in Iceberg's words, which are also those of every SQL engine's `DESCRIBE`.
pub fn type_word(data_type: &DataType) -> String {
    match iceberg::arrow::arrow_type_to_type(data_type) {
        Ok(found) => found.to_string(),
        Err(_) => data_type.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> TableName {
        TableName::parse("raw.t").unwrap()
    }

    fn schema(fields: &[(&str, DataType)]) -> ArrowSchema {
        ArrowSchema::new(fields.iter().map(|(name, kind)| Field::new(*name, kind.clone(), false)).collect::<Vec<_>>())
    }

    #[test]
    fn a_new_table_takes_ids_in_order_and_types_that_iceberg_has() {
        use DataType as T;
        let wanted = schema(&[
            ("id", T::UInt16),
            ("at", T::Timestamp(TimeUnit::Nanosecond, None)),
            ("seen", T::Timestamp(TimeUnit::Millisecond, Some("Europe/Berlin".into()))),
            ("name", T::LargeUtf8),
            ("flag", T::Dictionary(Box::new(T::Int8), Box::new(T::Utf8))),
            ("price", T::Decimal128(9, 2)),
            ("blob", T::Binary),
            (WINDOW_COLUMN, T::Date32),
        ]);
        let made = new_schema(&table(), &wanted).unwrap();
        let shown: Vec<String> = made
            .as_struct()
            .fields()
            .iter()
            .map(|field| format!("{} {} {} {}", field.id, field.name, field.field_type, field.required))
            .collect();
        assert_eq!(
            shown,
            [
                "1 id int false",
                "2 at timestamp false",
                "3 seen timestamptz false",
                "4 name string false",
                "5 flag string false",
                "6 price decimal(9, 2) false",
                "7 blob binary false",
                "8 _lakehost_window date false",
            ]
        );
        let present = arrow_schema(&table(), &made).unwrap();
        assert_eq!(present.field(3).metadata()["PARQUET:field_id"], "4");
        check(&table(), &wanted, &present).unwrap();
    }

    #[test]
    fn a_column_that_does_not_fit_is_named_with_both_types() {
        use lakehost_pipeline::Diagnostic;
        let made = new_schema(&table(), &schema(&[("a", DataType::Int64), ("b", DataType::Utf8)])).unwrap();
        let present = arrow_schema(&table(), &made).unwrap();
        for (wanted, cause) in [
            (schema(&[("a", DataType::Float64)]), "the load brings double, the table has long"),
            (schema(&[("c", DataType::Utf8)]), "the load brings string, the table has no such column"),
            (
                schema(&[("a", DataType::Null)]),
                "the load brings Null, for which Iceberg has no type, the table has no such column",
            ),
        ] {
            let error = check(&table(), &wanted, &present).unwrap_err();
            assert_eq!(error.cause().unwrap(), cause);
            assert_eq!(error.code().0, "LH0401");
        }
        check(&table(), &schema(&[("b", DataType::LargeUtf8)]), &present).unwrap();
    }
}
