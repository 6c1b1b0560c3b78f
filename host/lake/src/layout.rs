//! Partition specs: the window field that every windowed table has, and what pipelines add to it.

use arrow_schema::Schema as ArrowSchema;
use iceberg::spec::{
    DataFile, Datum, Literal, ManifestFile, PartitionSpec, PrimitiveLiteral, PrimitiveType, Schema, Struct, Transform,
    UnboundPartitionSpec,
};
use lakehost_columnar::{PartitionField, PartitionValue, Transform as ColumnTransform};
use lakehost_pipeline::Window;
use lakehost_pipeline::ports::TableName;

use crate::error::{Error, Result};
use lakehost_pipeline::WINDOW_COLUMN;

/// The value of `_lakehost_window` for one window in one table, with the column's field id.
#[derive(Clone, Debug, PartialEq)]
pub struct WindowValue {
    pub field_id: i32,
    pub value: Datum,
}

impl WindowValue {
    /// What `window` is in a table with this schema.
    pub fn of(table: &TableName, schema: &Schema, window: &Window) -> Result<Self> {
        let Some(field) = schema.field_by_name(WINDOW_COLUMN) else {
            return Err(Error::TableShape {
                table: table.clone(),
                detail: format!("has no column {WINDOW_COLUMN}, so its windows cannot be told apart"),
                hint: Some("`--table NAMESPACE.NAME` loads into a table of its own".to_owned()),
            });
        };
        let value = match field.field_type.as_primitive_type() {
            Some(PrimitiveType::Date) => Datum::date(window.start_days()),
            Some(PrimitiveType::Timestamp) => Datum::timestamp_micros(window.start_micros()),
            _ => {
                return Err(Error::shape(
                    table,
                    format!("has a column {WINDOW_COLUMN} of type {}, not date or timestamp", field.field_type),
                ));
            }
        };
        Ok(Self { field_id: field.id, value })
    }

    /// Position of the window's identity field in a spec.
    fn position(&self, spec: &PartitionSpec) -> Option<usize> {
        spec.fields()
            .iter()
            .position(|field| field.source_id == self.field_id && field.transform == Transform::Identity)
    }

    /// Whether a manifest can list files of this window: by its partition bounds, else yes.
    pub fn may_be_in(&self, manifest: &ManifestFile, spec: &PartitionSpec) -> bool {
        let summary = self
            .position(spec)
            .and_then(|position| manifest.partitions.as_ref().and_then(|summaries| summaries.get(position)));
        let Some(summary) = summary else { return true };
        let bound = |bytes: Option<&Vec<u8>>| {
            bytes.and_then(|bytes| Datum::try_from_bytes(bytes, self.value.data_type().clone()).ok())
        };
        match (bound(summary.lower_bound.as_deref()), bound(summary.upper_bound.as_deref())) {
            (Some(lower), Some(upper)) => lower <= self.value && self.value <= upper,
            // No bounds at all: all values are null, so none is this window.
            (None, None) => false,
            _ => true,
        }
    }

    /// Whether a file belongs to this window, whatever spec it was written under.
    pub fn holds(&self, table: &TableName, file: &DataFile, spec: &PartitionSpec) -> Result<bool> {
        if let Some(position) = self.position(spec) {
            let value = file.partition().fields().get(position).and_then(Option::as_ref);
            return Ok(value == Some(&Literal::Primitive(self.value.literal().clone())));
        }
        // A spec without the window: the file's own bounds tell, when it holds one window or none of ours.
        let bounds = (file.lower_bounds().get(&self.field_id), file.upper_bounds().get(&self.field_id));
        match bounds {
            (Some(lower), Some(upper)) if *lower == self.value && *upper == self.value => Ok(true),
            (Some(lower), Some(upper)) if *upper < self.value || self.value < *lower => Ok(false),
            _ if file.null_value_counts().get(&self.field_id) == Some(&file.record_count()) => Ok(false),
            _ => Err(Error::TableShape {
                table: table.clone(),
                detail: format!("has a data file that may hold rows of several windows: {}", file.file_path()),
                hint: Some(
                    "rewrite the table partitioned by identity(_lakehost_window), or load with another `--table`"
                        .to_owned(),
                ),
            }),
        }
    }
}

fn to_iceberg(transform: ColumnTransform) -> Transform {
    match transform {
        ColumnTransform::Identity => Transform::Identity,
        ColumnTransform::Year => Transform::Year,
        ColumnTransform::Month => Transform::Month,
        ColumnTransform::Day => Transform::Day,
        ColumnTransform::Hour => Transform::Hour,
        ColumnTransform::Bucket(count) => Transform::Bucket(count),
        ColumnTransform::Truncate(width) => Transform::Truncate(width),
    }
}

fn from_iceberg(transform: Transform) -> Option<ColumnTransform> {
    Some(match transform {
        Transform::Identity => ColumnTransform::Identity,
        Transform::Year => ColumnTransform::Year,
        Transform::Month => ColumnTransform::Month,
        Transform::Day => ColumnTransform::Day,
        Transform::Hour => ColumnTransform::Hour,
        Transform::Bucket(count) => ColumnTransform::Bucket(count),
        Transform::Truncate(width) => ColumnTransform::Truncate(width),
        Transform::Void | Transform::Unknown => return None,
    })
}

/// The name of a partition field, as other Iceberg writers choose it.
fn field_name(field: &PartitionField) -> String {
    let column = &field.column;
    match field.transform {
        ColumnTransform::Identity => column.clone(),
        ColumnTransform::Year => format!("{column}_year"),
        ColumnTransform::Month => format!("{column}_month"),
        ColumnTransform::Day => format!("{column}_day"),
        ColumnTransform::Hour => format!("{column}_hour"),
        ColumnTransform::Bucket(count) => format!("{column}_bucket_{count}"),
        ColumnTransform::Truncate(width) => format!("{column}_trunc_{width}"),
    }
}

/// A partition field as the user writes it: `day(pickup)`.
fn written(field: &PartitionField) -> String {
    let column = &field.column;
    match field.transform {
        ColumnTransform::Identity => column.clone(),
        ColumnTransform::Bucket(count) => format!("bucket({count}, {column})"),
        ColumnTransform::Truncate(width) => format!("truncate({width}, {column})"),
        other => format!("{}({column})", to_iceberg(other)),
    }
}

/// The partition fields of a new table against the columns of its first load.
pub fn check_fields(columns: &ArrowSchema, schema: &Schema, partition: &[PartitionField]) -> Result<()> {
    for field in partition {
        let column = field.column.clone();
        let Some(source) = schema.field_by_name(&column) else {
            let problem = format!("the partition field {} names no column", written(field));
            return Err(Error::Partition { hint: nearest(columns, &column), column, problem });
        };
        let transform = to_iceberg(field.transform);
        if transform.result_type(&source.field_type).is_err() {
            let name = written(field);
            let name = name.split_once('(').map_or("identity", |(name, _)| name);
            let kind = columns
                .field_with_name(&column)
                .map_or_else(|_| source.field_type.to_string(), |field| field.data_type().to_string());
            return Err(Error::Partition {
                problem: format!("{name}() does not take column {column} of type {kind}"),
                column,
                hint: Some("name another column or another transform with --partition-by".to_owned()),
            });
        }
    }
    Ok(())
}

/// Advice on a column that is not there: the one that looks most like it, or all.
fn nearest(columns: &ArrowSchema, wanted: &str) -> Option<String> {
    let lower = wanted.to_lowercase();
    let names =
        || columns.fields().iter().map(|field| field.name().as_str()).filter(|name| !name.starts_with("_lakehost_"));
    let best = names()
        .map(|name| (strsim::jaro_winkler(&lower, &name.to_lowercase()), name))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|left, right| left.0.total_cmp(&right.0));
    match best {
        Some((_, name)) => Some(format!("did you mean `{name}`?")),
        None => {
            let all: Vec<&str> = names().collect();
            (!all.is_empty()).then(|| format!("there are: {}", all.join(", ")))
        }
    }
}

/// The spec of a table with these partition fields: the window first, when there is one.
pub fn new_spec(
    table: &TableName,
    schema: &Schema,
    windowed: bool,
    partition: &[PartitionField],
) -> Result<UnboundPartitionSpec> {
    let window = PartitionField { column: WINDOW_COLUMN.to_owned(), transform: ColumnTransform::Identity };
    let mut builder = UnboundPartitionSpec::builder();
    for field in windowed.then_some(&window).into_iter().chain(partition) {
        let source = schema.field_by_name(&field.column).ok_or_else(|| Error::Schema {
            table: table.clone(),
            column: field.column.clone(),
            wanted: format!("a partition by {:?} of it", field.transform),
            found: None,
        })?;
        builder = builder
            .add_partition_field(source.id, field_name(field), to_iceberg(field.transform))
            .map_err(|error| Error::shape(table, format!("cannot be partitioned so: {}", error.message())))?;
    }
    // Iceberg's own REST server wants the id to be there.
    Ok(builder.with_spec_id(0).build())
}

/// The partition fields of a spec beyond the window, in spec order.
pub fn beyond_window(table: &TableName, schema: &Schema, spec: &PartitionSpec) -> Result<Vec<PartitionField>> {
    let mut fields = Vec::new();
    for field in spec.fields() {
        let Some(column) = schema.name_by_field_id(field.source_id) else {
            return Err(Error::shape(
                table,
                format!("is partitioned by a column that it no longer has ({})", field.name),
            ));
        };
        if field.transform == Transform::Void || (column == WINDOW_COLUMN && field.transform == Transform::Identity) {
            continue;
        }
        let transform = from_iceberg(field.transform).ok_or_else(|| {
            Error::shape(table, format!("is partitioned by {}, which is not known here", field.transform))
        })?;
        fields.push(PartitionField { column: column.to_owned(), transform });
    }
    Ok(fields)
}

/// Whether the spec keeps windows apart.
pub fn has_window(schema: &Schema, spec: &PartitionSpec) -> bool {
    schema.field_by_name(WINDOW_COLUMN).is_some_and(|window| {
        spec.fields().iter().any(|field| field.source_id == window.id && field.transform == Transform::Identity)
    })
}

/// The partition tuple of a file: the window where the spec has it, `values` for the other fields in order.
pub fn partition_tuple(
    table: &TableName,
    schema: &Schema,
    spec: &PartitionSpec,
    window: Option<&WindowValue>,
    values: &[PartitionValue],
) -> Result<Struct> {
    let tuple_type = spec.partition_type(schema).map_err(Error::iceberg("partition", table))?;
    let mut values = values.iter();
    let mut tuple = Vec::with_capacity(spec.fields().len());
    for (field, typed) in spec.fields().iter().zip(tuple_type.fields()) {
        let literal = if field.transform == Transform::Void {
            None
        } else if let Some(window) =
            window.filter(|window| window.field_id == field.source_id && field.transform == Transform::Identity)
        {
            Some(window.value.literal().clone())
        } else if field.transform == Transform::Identity
            && schema.name_by_field_id(field.source_id) == Some(WINDOW_COLUMN)
        {
            None
        } else {
            let value =
                values.next().ok_or_else(|| Error::Internal(format!("a data file has no value for {}", field.name)))?;
            literal(value)
        };
        if let Some(literal) = &literal {
            let fits = typed.field_type.as_primitive_type().is_some_and(|kind| fits(kind, literal));
            if !fits {
                return Err(Error::Internal(format!(
                    "{literal:?} is not a value of partition field {} ({})",
                    field.name, typed.field_type
                )));
            }
        }
        tuple.push(literal.map(Literal::Primitive));
    }
    if values.next().is_some() {
        return Err(Error::Internal("a data file has more partition values than the table has fields".to_owned()));
    }
    Ok(Struct::from_iter(tuple))
}

fn literal(value: &PartitionValue) -> Option<PrimitiveLiteral> {
    Some(match value {
        PartitionValue::Null => return None,
        PartitionValue::Int(value) | PartitionValue::Date(value) => PrimitiveLiteral::Int(*value),
        PartitionValue::Long(value) | PartitionValue::TimestampMicros(value) => PrimitiveLiteral::Long(*value),
        PartitionValue::Text(value) => PrimitiveLiteral::String(value.clone()),
    })
}

/// The manifest writer trusts its caller, so the value is checked here.
fn fits(kind: &PrimitiveType, literal: &PrimitiveLiteral) -> bool {
    matches!(
        (kind, literal),
        (PrimitiveType::Int | PrimitiveType::Date, PrimitiveLiteral::Int(_))
            | (
                PrimitiveType::Long | PrimitiveType::Time | PrimitiveType::Timestamp | PrimitiveType::Timestamptz,
                PrimitiveLiteral::Long(_)
            )
            | (PrimitiveType::String, PrimitiveLiteral::String(_))
    )
}
