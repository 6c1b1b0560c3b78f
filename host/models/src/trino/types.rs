//! Trino's types as Arrow's. What has no counterpart comes as text, as Trino writes it.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::{DataType, Field, Fields, Schema, SchemaRef, TimeUnit};
use serde::Deserialize;
use serde_json::Value;

use super::error::{Error, Result};
use super::values::array;
use super::wire::{Argument, Column, NamedType, Signature};

/// Types nested deeper than this are text.
const DEPTH: usize = 16;

/// What a value is, in Trino's JSON and in Arrow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    Boolean,
    Int8,
    Int16,
    Int32,
    Int64,
    Float32,
    Float64,
    Decimal(u8, i8),
    Text,
    Binary,
    Date,
    /// Digits behind the second: 6, or 9.
    Time(u32),
    Timestamp(u32),
    /// In UTC.
    Instant(u32),
    List(Box<Kind>),
    /// Keys are text in JSON, whatever they were.
    Map(Box<Kind>),
    Row(Vec<(String, Kind)>),
}

/// The columns of an answer.
#[derive(Clone, Debug)]
pub struct Columns {
    pub schema: SchemaRef,
    /// With Trino's name of the type.
    kinds: Vec<(String, Kind, String)>,
}

/// The columns that Trino announces.
pub fn columns(announced: &[Column]) -> Columns {
    let of = |column: &Column| {
        let kind = column.type_signature.as_ref().map_or(Kind::Text, |signature| kind(signature, 0));
        (column.name.clone(), kind, column.shown.clone())
    };
    let kinds: Vec<_> = announced.iter().map(of).collect();
    let fields: Vec<Field> = kinds.iter().map(|(name, kind, _)| Field::new(name, kind.data_type(), true)).collect();
    Columns { schema: Arc::new(Schema::new(fields)), kinds }
}

impl Columns {
    /// Rows of JSON as a batch.
    ///
    /// # Errors
    /// `LH0721` naming the column and the value that its type cannot hold.
    pub fn batch(&self, rows: &[Vec<Value>]) -> Result<RecordBatch> {
        let arrays = self.kinds.iter().enumerate().map(|(index, (name, kind, shown))| {
            let values: Vec<&Value> = rows.iter().map(|row| row.get(index).unwrap_or(&Value::Null)).collect();
            array(kind, &values).map_err(|value| Error::Value {
                column: name.escape_debug().to_string(),
                kind: shown.clone(),
                value: value.escape_debug().to_string(),
                hint: kind.way_out(),
            })
        });
        let arrays = arrays.collect::<Result<Vec<_>>>()?;
        RecordBatch::try_new(self.schema.clone(), arrays).map_err(|error| Error::Value {
            column: String::new(),
            kind: "its type".to_owned(),
            value: error.to_string(),
            hint: "",
        })
    }
}

fn kind(signature: &Signature, depth: usize) -> Kind {
    let number = |index: usize| signature.arguments.get(index).and_then(|argument| argument.value.as_u64());
    let of = |index: usize| match signature.arguments.get(index) {
        Some(argument) if depth < DEPTH => nested(argument, depth + 1),
        _ => Kind::Text,
    };
    // Of a time without a number Trino means milliseconds.
    let digits = || match number(0).unwrap_or(3) {
        0..=6 => Some(6),
        7..=9 => Some(9),
        _ => None,
    };
    match signature.raw_type.as_str() {
        "boolean" => Kind::Boolean,
        "tinyint" => Kind::Int8,
        "smallint" => Kind::Int16,
        "integer" => Kind::Int32,
        "bigint" => Kind::Int64,
        "real" => Kind::Float32,
        "double" => Kind::Float64,
        "decimal" => match (number(0).and_then(|p| u8::try_from(p).ok()), number(1).and_then(|s| i8::try_from(s).ok()))
        {
            (Some(precision @ 1..=38), Some(scale)) if scale.unsigned_abs() <= precision => {
                Kind::Decimal(precision, scale)
            }
            _ => Kind::Text,
        },
        "varbinary" => Kind::Binary,
        "date" => Kind::Date,
        "time" => digits().map_or(Kind::Text, Kind::Time),
        "timestamp" => digits().map_or(Kind::Text, Kind::Timestamp),
        "timestamp with time zone" => digits().map_or(Kind::Text, Kind::Instant),
        "array" => Kind::List(Box::new(of(0))),
        "map" => Kind::Map(Box::new(of(1))),
        "row" if depth < DEPTH => {
            let parts = signature.arguments.iter().enumerate().map(|(index, argument)| {
                match NamedType::deserialize(&argument.value) {
                    Ok(named) => {
                        let name = named.field_name.map_or_else(|| format!("field{index}"), |name| name.name);
                        (name, kind(&named.type_signature, depth + 1))
                    }
                    Err(_) => (format!("field{index}"), Kind::Text),
                }
            });
            Kind::Row(parts.collect())
        }
        _ => Kind::Text,
    }
}

fn nested(argument: &Argument, depth: usize) -> Kind {
    if argument.kind != "TYPE" {
        return Kind::Text;
    }
    Signature::deserialize(&argument.value).map_or(Kind::Text, |signature| kind(&signature, depth))
}

/// The unit of so many digits behind the second.
fn unit(digits: u32) -> TimeUnit {
    if digits == 6 { TimeUnit::Microsecond } else { TimeUnit::Nanosecond }
}

impl Kind {
    pub fn data_type(&self) -> DataType {
        match self {
            Self::Boolean => DataType::Boolean,
            Self::Int8 => DataType::Int8,
            Self::Int16 => DataType::Int16,
            Self::Int32 => DataType::Int32,
            Self::Int64 => DataType::Int64,
            Self::Float32 => DataType::Float32,
            Self::Float64 => DataType::Float64,
            Self::Decimal(precision, scale) => DataType::Decimal128(*precision, *scale),
            Self::Text => DataType::Utf8,
            Self::Binary => DataType::Binary,
            Self::Date => DataType::Date32,
            Self::Time(digits) => DataType::Time64(unit(*digits)),
            Self::Timestamp(digits) => DataType::Timestamp(unit(*digits), None),
            Self::Instant(digits) => DataType::Timestamp(unit(*digits), Some("UTC".into())),
            Self::List(item) => DataType::List(Arc::new(Field::new_list_field(item.data_type(), true))),
            Self::Map(value) => {
                DataType::Map(Arc::new(Field::new("entries", DataType::Struct(map_fields(value)), false)), false)
            }
            Self::Row(parts) => DataType::Struct(row_fields(parts)),
        }
    }

    /// What to write when a value does not fit.
    fn way_out(&self) -> &'static str {
        match self {
            Self::Instant(_) => "select it AT TIME ZONE 'UTC'",
            Self::Timestamp(9) | Self::Time(9) => "cast it to timestamp(6)",
            _ => "cast it to varchar",
        }
    }
}

pub fn map_fields(value: &Kind) -> Fields {
    vec![Field::new("key", DataType::Utf8, false), Field::new("value", value.data_type(), true)].into()
}

pub fn row_fields(parts: &[(String, Kind)]) -> Fields {
    parts.iter().map(|(name, kind)| Field::new(name, kind.data_type(), true)).collect()
}
