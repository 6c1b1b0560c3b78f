//! Names and types of a schema message, built here rather than by Arrow, whose conversion panics on what it does not know.

use std::collections::HashSet;
use std::sync::Arc;

use arrow_ipc::{DateUnit, Endianness, Precision, Type};
use arrow_schema::{DataType, Field, FieldRef, Fields, IntervalUnit, Schema, TimeUnit};

use crate::error::{WireError, shown};
use crate::limits::Limits;

/// All fields of a schema, nested ones included, as a multiple of its columns' limit.
const FIELDS_PER_COLUMN: usize = 4;

pub(super) fn schema(header: &arrow_ipc::Schema<'_>, limits: &Limits) -> Result<Schema, WireError> {
    if header.endianness() != Endianness::Little {
        return Err(WireError::Framing { at: 0, detail: "the schema is not little-endian".to_owned() });
    }
    let Some(fields) = header.fields() else {
        return Err(WireError::Framing { at: 0, detail: "the schema has no list of fields".to_owned() });
    };
    if fields.len() > limits.columns {
        return Err(WireError::TooLarge { what: "columns", found: fields.len() as u64, limit: limits.columns as u64 });
    }
    let mut walk = Walk { limits, fields: 0, path: Vec::new() };
    let fields = walk.fields(fields)?;
    for field in &fields {
        if field.name().is_empty() {
            return Err(WireError::Schema { column: String::new(), detail: "a column has no name".to_owned() });
        }
    }
    Ok(Schema::new(fields))
}

struct Walk<'a> {
    limits: &'a Limits,
    fields: usize,
    path: Vec<String>,
}

type FieldVector<'a> = flatbuffers::Vector<'a, flatbuffers::ForwardsUOffset<arrow_ipc::Field<'a>>>;

impl Walk<'_> {
    fn wrong(&self, detail: impl Into<String>) -> WireError {
        WireError::Schema { column: self.path.join("."), detail: detail.into() }
    }

    /// Sibling fields: their names differ.
    fn fields(&mut self, children: FieldVector<'_>) -> Result<Fields, WireError> {
        let mut names = HashSet::new();
        let mut fields: Vec<FieldRef> = Vec::new();
        for child in children {
            let field = self.field(&child)?;
            if !names.insert(field.name().clone()) {
                return Err(self.wrong(format!("`{}` is there twice", shown(field.name(), 80))));
            }
            fields.push(Arc::new(field));
        }
        Ok(fields.into())
    }

    fn field(&mut self, field: &arrow_ipc::Field<'_>) -> Result<Field, WireError> {
        let name = field.name().unwrap_or_default();
        self.fields += 1;
        let field_limit = self.limits.columns.saturating_mul(FIELDS_PER_COLUMN);
        for (what, found, limit) in [
            ("fields", self.fields, field_limit),
            ("bytes of a field name", name.len(), self.limits.field_name_bytes),
            ("nesting", self.path.len() + 1, self.limits.nesting),
        ] {
            if found > limit {
                return Err(WireError::TooLarge { what, found: found as u64, limit: limit as u64 });
            }
        }
        self.path.push(shown(name, 80));
        if name.chars().any(|character| character.is_control() || is_direction_control(character)) {
            return Err(self.wrong("the name holds control characters"));
        }
        if field.dictionary().is_some() {
            return Err(self.wrong("dictionaries are not part of the contract"));
        }
        let data_type = self.data_type(field)?;
        self.path.pop();
        Ok(Field::new(name, data_type, field.nullable()))
    }

    fn only_child(&mut self, field: &arrow_ipc::Field<'_>) -> Result<FieldRef, WireError> {
        match field.children() {
            Some(children) if children.len() == 1 => Ok(Arc::new(self.field(&children.get(0))?)),
            _ => Err(self.wrong("a list or map type has exactly one child")),
        }
    }

    fn data_type(&mut self, field: &arrow_ipc::Field<'_>) -> Result<DataType, WireError> {
        let tag = field.type_type();
        let nested = matches!(tag, Type::List | Type::LargeList | Type::FixedSizeList | Type::Map | Type::Struct_);
        if !nested && field.children().is_some_and(|children| !children.is_empty()) {
            return Err(self.wrong("a plain type has children"));
        }
        let found = match tag {
            Type::Null => Some(DataType::Null),
            Type::Bool => Some(DataType::Boolean),
            Type::Utf8 => Some(DataType::Utf8),
            Type::LargeUtf8 => Some(DataType::LargeUtf8),
            Type::Utf8View => Some(DataType::Utf8View),
            Type::Binary => Some(DataType::Binary),
            Type::LargeBinary => Some(DataType::LargeBinary),
            Type::BinaryView => Some(DataType::BinaryView),
            Type::Int => field.type_as_int().and_then(|int| {
                Some(match (int.bitWidth(), int.is_signed()) {
                    (8, true) => DataType::Int8,
                    (16, true) => DataType::Int16,
                    (32, true) => DataType::Int32,
                    (64, true) => DataType::Int64,
                    (8, false) => DataType::UInt8,
                    (16, false) => DataType::UInt16,
                    (32, false) => DataType::UInt32,
                    (64, false) => DataType::UInt64,
                    _ => return None,
                })
            }),
            Type::FloatingPoint => field.type_as_floating_point().and_then(|float| match float.precision() {
                Precision::HALF => Some(DataType::Float16),
                Precision::SINGLE => Some(DataType::Float32),
                Precision::DOUBLE => Some(DataType::Float64),
                _ => None,
            }),
            Type::Date => field.type_as_date().and_then(|date| match date.unit() {
                DateUnit::DAY => Some(DataType::Date32),
                DateUnit::MILLISECOND => Some(DataType::Date64),
                _ => None,
            }),
            Type::Time => field.type_as_time().and_then(|time| match (time.bitWidth(), time_unit(time.unit())?) {
                (32, unit @ (TimeUnit::Second | TimeUnit::Millisecond)) => Some(DataType::Time32(unit)),
                (64, unit @ (TimeUnit::Microsecond | TimeUnit::Nanosecond)) => Some(DataType::Time64(unit)),
                _ => None,
            }),
            Type::Timestamp => match field.type_as_timestamp() {
                Some(timestamp) => {
                    let zone = timestamp.timezone().filter(|zone| !zone.is_empty());
                    if zone.is_some_and(|zone| zone.len() > 64 || !zone.chars().all(|c| c.is_ascii_graphic())) {
                        return Err(self.wrong("the time zone is not a name or an offset"));
                    }
                    time_unit(timestamp.unit()).map(|unit| DataType::Timestamp(unit, zone.map(Into::into)))
                }
                None => None,
            },
            Type::Duration => {
                field.type_as_duration().and_then(|duration| time_unit(duration.unit())).map(DataType::Duration)
            }
            Type::Interval => field.type_as_interval().and_then(|interval| match interval.unit() {
                arrow_ipc::IntervalUnit::YEAR_MONTH => Some(DataType::Interval(IntervalUnit::YearMonth)),
                arrow_ipc::IntervalUnit::DAY_TIME => Some(DataType::Interval(IntervalUnit::DayTime)),
                arrow_ipc::IntervalUnit::MONTH_DAY_NANO => Some(DataType::Interval(IntervalUnit::MonthDayNano)),
                _ => None,
            }),
            Type::Decimal => field.type_as_decimal().and_then(|decimal| decimal_type(&decimal)),
            Type::FixedSizeBinary => field
                .type_as_fixed_size_binary()
                .map(|binary| binary.byteWidth())
                .filter(|width| *width > 0)
                .map(DataType::FixedSizeBinary),
            Type::List => Some(DataType::List(self.only_child(field)?)),
            Type::LargeList => Some(DataType::LargeList(self.only_child(field)?)),
            Type::FixedSizeList => {
                let size = field.type_as_fixed_size_list().map(|list| list.listSize()).filter(|size| *size > 0);
                let child = self.only_child(field)?;
                size.map(|size| DataType::FixedSizeList(child, size))
            }
            Type::Map => {
                let sorted = field.type_as_map().is_some_and(|map| map.keysSorted());
                let entries = self.only_child(field)?;
                match entries.data_type() {
                    DataType::Struct(fields) if fields.len() == 2 => Some(DataType::Map(entries, sorted)),
                    _ => return Err(self.wrong("the entries of a map are pairs")),
                }
            }
            Type::Struct_ => match field.children() {
                Some(children) if !children.is_empty() => Some(DataType::Struct(self.fields(children)?)),
                _ => return Err(self.wrong("a struct has at least one field")),
            },
            _ => {
                return Err(WireError::Unsupported {
                    column: self.path.join("."),
                    found: tag.variant_name().map_or_else(|| format!("number {}", tag.0), str::to_owned),
                });
            }
        };
        found.ok_or_else(|| self.wrong("the parameters of its type are not ones that Arrow has"))
    }
}

fn time_unit(unit: arrow_ipc::TimeUnit) -> Option<TimeUnit> {
    match unit {
        arrow_ipc::TimeUnit::SECOND => Some(TimeUnit::Second),
        arrow_ipc::TimeUnit::MILLISECOND => Some(TimeUnit::Millisecond),
        arrow_ipc::TimeUnit::MICROSECOND => Some(TimeUnit::Microsecond),
        arrow_ipc::TimeUnit::NANOSECOND => Some(TimeUnit::Nanosecond),
        _ => None,
    }
}

fn decimal_type(decimal: &arrow_ipc::Decimal<'_>) -> Option<DataType> {
    let precision = u8::try_from(decimal.precision()).ok()?;
    let scale = i8::try_from(decimal.scale()).ok()?;
    let (most, data_type) = match decimal.bitWidth() {
        32 => (9, DataType::Decimal32(precision, scale)),
        64 => (18, DataType::Decimal64(precision, scale)),
        128 => (38, DataType::Decimal128(precision, scale)),
        256 => (76, DataType::Decimal256(precision, scale)),
        _ => return None,
    };
    ((1..=most).contains(&precision) && scale.unsigned_abs() <= precision).then_some(data_type)
}

/// Characters that turn text around on a terminal.
fn is_direction_control(character: char) -> bool {
    matches!(character, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{061c}')
}
