//! Partition values as people read them: `_lakehost_window=2024-01-01/id_bucket_16=3`, and windows by their label.

use iceberg::spec::{
    Datum, FieldSummary, Literal, PartitionSpec, PrimitiveLiteral, PrimitiveType, Schema, Struct, StructType,
    TableMetadata, Transform, Type,
};
use lakehost_pipeline::WINDOW_COLUMN;

use crate::properties::GRANULARITY;

/// A value without the quotes that text has in a predicate.
pub fn value_text(value: &Datum) -> String {
    match value.literal() {
        PrimitiveLiteral::String(text) => text.clone(),
        _ => value.to_string(),
    }
}

/// The types of a spec's values. A spec may name a column that the present schema has dropped: then an older one still has it.
fn types(metadata: &TableMetadata, spec: &PartitionSpec) -> Option<StructType> {
    let current: &Schema = metadata.current_schema();
    spec.partition_type(current)
        .ok()
        .or_else(|| metadata.schemas_iter().find_map(|schema| spec.partition_type(schema).ok()))
}

/// The partition of a file; empty for none.
pub fn partition_text(metadata: &TableMetadata, spec: &PartitionSpec, partition: &Struct) -> String {
    let types = types(metadata, spec);
    let parts: Vec<String> = spec
        .fields()
        .iter()
        .enumerate()
        .filter(|(_, field)| field.transform != Transform::Void)
        .map(|(position, field)| {
            let kind = types.as_ref().and_then(|types| types.fields().get(position));
            let kind = kind.and_then(|kind| kind.field_type.as_primitive_type());
            let value = partition.fields().get(position).and_then(Option::as_ref);
            format!("{}={}", field.name, transformed(field.transform, kind, value))
        })
        .collect();
    parts.join("/")
}

fn transformed(transform: Transform, kind: Option<&PrimitiveType>, value: Option<&Literal>) -> String {
    let Some(Literal::Primitive(value)) = value else { return "null".to_owned() };
    match (transform, value) {
        (Transform::Year, PrimitiveLiteral::Int(years)) => (1970 + i64::from(*years)).to_string(),
        (Transform::Month, PrimitiveLiteral::Int(months)) => {
            format!("{}-{:02}", 1970 + months.div_euclid(12), months.rem_euclid(12) + 1)
        }
        (Transform::Hour, PrimitiveLiteral::Int(hours)) => {
            let text = Datum::timestamp_micros(i64::from(*hours) * 3_600_000_000).to_string();
            text.get(..13).unwrap_or(&text).to_owned()
        }
        _ => match kind {
            Some(kind) => {
                transform.to_human_string(&Type::Primitive(kind.clone()), Some(&Literal::Primitive(value.clone())))
            }
            None => format!("{value:?}"),
        },
    }
}

/// Between which values the files of a manifest lie: `_lakehost_window 2024-01-01..2024-03-01`.
pub fn bounds_text(metadata: &TableMetadata, spec: &PartitionSpec, summaries: &[FieldSummary]) -> String {
    let types = types(metadata, spec);
    let parts: Vec<String> = spec
        .fields()
        .iter()
        .zip(summaries)
        .enumerate()
        .map(|(position, (field, summary))| {
            let kind = types.as_ref().and_then(|types| types.fields().get(position));
            let kind = kind.and_then(|kind| kind.field_type.as_primitive_type());
            let bound = |bytes: Option<&[u8]>| -> String {
                let datum = bytes.zip(kind).and_then(|(bytes, kind)| Datum::try_from_bytes(bytes, kind.clone()).ok());
                let literal = datum.map(|datum| Literal::Primitive(datum.literal().clone()));
                transformed(field.transform, kind, literal.as_ref())
            };
            let lower = bound(summary.lower_bound.as_deref().map(Vec::as_slice));
            let upper = bound(summary.upper_bound.as_deref().map(Vec::as_slice));
            format!("{} {lower}..{upper}", field.name)
        })
        .collect();
    parts.join(", ")
}

/// How the windows of one table are written.
#[derive(Clone, Debug)]
pub struct Labels {
    field_id: Option<i32>,
    timestamp: bool,
    /// Characters of `2024-01-31T13` that name a window; `None`: the table does not say how wide its windows are.
    width: Option<usize>,
}

impl Labels {
    /// Those of a table.
    pub fn of(metadata: &TableMetadata) -> Self {
        let field = metadata.current_schema().field_by_name(WINDOW_COLUMN);
        let kind = field.and_then(|field| field.field_type.as_primitive_type());
        Self {
            field_id: field.map(|field| field.id),
            timestamp: kind == Some(&PrimitiveType::Timestamp),
            width: metadata.properties().get(GRANULARITY).and_then(|word| match word.as_str() {
                "year" => Some(4),
                "month" => Some(7),
                "day" => Some(10),
                "hour" => Some(13),
                _ => None,
            }),
        }
    }

    /// Where the window stands in a spec.
    pub fn position(&self, spec: &PartitionSpec) -> Option<usize> {
        let id = self.field_id?;
        spec.fields().iter().position(|field| field.source_id == id && field.transform == Transform::Identity)
    }

    /// The window of a file, as `--month` and its like take it; `None`: its partition does not say.
    pub fn window(&self, spec: &PartitionSpec, partition: &Struct) -> Option<String> {
        let value = partition.fields().get(self.position(spec)?).and_then(Option::as_ref);
        let text = match value {
            Some(Literal::Primitive(PrimitiveLiteral::Int(days))) => Datum::date(*days).to_string(),
            Some(Literal::Primitive(PrimitiveLiteral::Long(micros))) if self.timestamp => {
                Datum::timestamp_micros(*micros).to_string().replacen(' ', "T", 1)
            }
            _ => return None,
        };
        Some(self.width.and_then(|width| text.get(..width)).map_or_else(|| text.clone(), str::to_owned))
    }
}
