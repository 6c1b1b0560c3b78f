//! The rejected rows of a load, looked through once before they are run again: how many there are, and which columns they have.

use std::collections::{BTreeMap, BTreeSet};

use arrow_array::cast::AsArray;
use arrow_array::{Array, RecordBatch, StringArray};
use arrow_schema::{DataType, Field, FieldRef, Schema};
use lakehost_columnar::BatchSource;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::contract::{Contract, OnDrift};
use crate::diagnostic::Fault;
use crate::drift::widens;
use crate::error::{Error, from_columns};
use crate::ports::TableName;
use crate::rejects;

/// Which of the kept rows are run again.
#[derive(Clone, Debug)]
pub(crate) struct Wanted {
    /// Those of this load; others do not count any more.
    pub load_id: String,
    /// Of one rule, or all.
    pub rule: Option<String>,
}

/// One batch of a table of rejected rows.
pub(super) struct Kept<'a> {
    pub load_ids: &'a StringArray,
    pub rules: &'a StringArray,
    pub files: &'a StringArray,
    pub rows: &'a StringArray,
}

impl<'a> Kept<'a> {
    pub fn of(batch: &'a RecordBatch) -> Result<Self, Fault> {
        let text = |name: &str| {
            let column = batch.column_by_name(name).and_then(|column| column.as_string_opt::<i32>());
            column.ok_or_else(|| {
                Fault::new(Error::LakeUnable { detail: format!("a table of rejected rows has no text column {name}") })
            })
        };
        Ok(Self {
            load_ids: text(rejects::LOAD_ID)?,
            rules: text(rejects::RULE)?,
            files: text(rejects::SOURCE_FILE)?,
            rows: text(rejects::ROW)?,
        })
    }

    pub fn is_wanted(&self, row: usize, wanted: &Wanted) -> bool {
        self.load_ids.is_valid(row)
            && self.load_ids.value(row) == wanted.load_id
            && wanted.rule.as_ref().is_none_or(|rule| self.rules.value(row) == rule)
    }
}

/// What the rows of a replay have in common.
#[derive(Debug, Default)]
pub(super) struct Survey {
    pub rows: u64,
    /// Of their JSON.
    pub bytes: u64,
    /// Of the rows themselves, in order.
    pub sha256: String,
    /// Where they came from.
    pub files: BTreeSet<String>,
    /// Keys of the rows, with what was seen there.
    seen: BTreeMap<String, Seen>,
}

/// What a column of unknown type holds.
#[derive(Clone, Copy, Debug, Default)]
struct Seen {
    bools: bool,
    /// Bare whole numbers, which 32 bits hold.
    small: bool,
    /// Whole numbers beyond that.
    large: bool,
    floats: bool,
    /// `NaN` and its like.
    odd_floats: bool,
    /// Texts that stand for nothing but themselves.
    texts: bool,
    /// Texts that could as well be a number or a time.
    doubtful: bool,
    nested: bool,
}

impl Seen {
    fn look(&mut self, value: &Value) {
        match value {
            Value::Null => {}
            Value::Bool(_) => self.bools = true,
            Value::Number(number) => match number.as_i64() {
                Some(whole) if i32::try_from(whole).is_ok() => self.small = true,
                _ if number.is_f64() => self.floats = true,
                _ => self.large = true,
            },
            Value::String(text) if ["NaN", "inf", "-inf"].contains(&text.as_str()) => self.odd_floats = true,
            Value::String(text) => {
                let like_number = text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.:TZ".contains(&byte));
                let doubtful = like_number && text.bytes().any(|byte| byte.is_ascii_digit());
                (self.doubtful, self.texts) = (self.doubtful || doubtful, self.texts || !doubtful);
            }
            Value::Array(_) | Value::Object(_) => self.nested = true,
        }
    }

    fn is_empty(self) -> bool {
        let Self { bools, small, large, floats, odd_floats, texts, doubtful, nested } = self;
        !(bools || small || large || floats || odd_floats || texts || doubtful || nested)
    }

    /// Nothing but texts, whatever they stand for.
    fn is_text(self) -> bool {
        let Self { bools, small, large, floats, nested, .. } = self;
        !(bools || small || large || floats || nested)
    }

    /// The one type that all values are of; `None`: more than one could be meant.
    fn kind(self) -> Option<DataType> {
        let Self { bools, small, large, floats, odd_floats, texts, doubtful, nested } = self;
        let numbers = small || large || floats;
        match (bools, numbers, texts || (odd_floats && !floats), doubtful || nested) {
            (true, false, false, false) if !odd_floats => Some(DataType::Boolean),
            (false, true, false, false) if floats => Some(DataType::Float64),
            (false, true, false, false) if large => Some(DataType::Int64),
            (false, true, false, false) => Some(DataType::Int32),
            // Among texts that are no numbers, one that looks like one is a text, too.
            (false, false, true, _) if texts && !nested => Some(DataType::Utf8),
            _ => None,
        }
    }
}

/// A column that rows are read into.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub field: FieldRef,
    /// What the rows call it.
    pub key: String,
}

/// What the columns are decided by.
pub(super) struct Sides<'a> {
    pub table: &'a TableName,
    /// What the source promises.
    pub promised: &'a Schema,
    /// The table's columns.
    pub present: &'a Schema,
    /// Columns that a cleaner reads: they stay as promised.
    pub reads: &'a [String],
    pub contract: &'a Contract,
    /// (new, old).
    pub renames: &'a [(String, String)],
}

impl Survey {
    /// Looks through the rows.
    pub fn of(mut source: Box<dyn BatchSource>, wanted: &Wanted) -> Result<Self, Fault> {
        let (mut survey, mut hash) = (Self::default(), Sha256::new());
        while let Some(batch) = source.next().map_err(|error| from_columns(lakehost_columnar::Error::Step(error)))? {
            let kept = Kept::of(&batch)?;
            for row in (0..batch.num_rows()).filter(|row| kept.is_wanted(*row, wanted)) {
                survey.rows += 1;
                survey.bytes += kept.rows.value(row).len() as u64;
                let file = kept.files.value(row);
                if !survey.files.contains(file) {
                    survey.files.insert(file.to_owned());
                }
                for text in [kept.rules.value(row), file, kept.rows.value(row)] {
                    hash.update((text.len() as u64).to_le_bytes());
                    hash.update(text.as_bytes());
                }
                let Ok(values) = serde_json::from_str::<Map<String, Value>>(kept.rows.value(row)) else { continue };
                for (key, value) in &values {
                    match survey.seen.get_mut(key) {
                        Some(seen) => seen.look(value),
                        None => {
                            let mut seen = Seen::default();
                            seen.look(value);
                            survey.seen.insert(key.clone(), seen);
                        }
                    }
                }
            }
        }
        survey.sha256 = hex::encode(hash.finalize());
        Ok(survey)
    }

    /// The columns to read the rows into: those that the source promises, then what else the rows have.
    ///
    /// # Errors
    /// LH0405 for a new column whose type the values do not tell.
    pub fn columns(&self, sides: &Sides<'_>) -> Result<Vec<Column>, Error> {
        let mut columns: Vec<Column> = Vec::new();
        for field in sides.promised.fields() {
            let name = field.name();
            let old = sides.renames.iter().find(|(new, _)| new == name).map(|(_, old)| old);
            let key = old.filter(|old| !self.seen.contains_key(name) && self.seen.contains_key(*old)).unwrap_or(name);
            let mut kind = field.data_type().clone();
            if !sides.reads.contains(name) {
                let present = sides.present.field_with_name(name).ok().map(Field::data_type);
                if let Some(present) = present.filter(|present| widens(&kind, present)) {
                    kind = present.clone();
                }
                let seen = self.seen.get(key).copied().unwrap_or_default();
                // Whole numbers of 64 bits are in quotes.
                let larger = (seen.large || seen.doubtful) && kind == DataType::Int32;
                if sides.contract.of(name) == OnDrift::Evolve && larger {
                    kind = DataType::Int64;
                }
            }
            let field = field.as_ref().clone().with_data_type(kind).with_nullable(true);
            columns.push(Column { field: field.into(), key: key.clone() });
        }
        for (key, seen) in self.seen.iter().filter(|(_, seen)| !seen.is_empty()) {
            if columns.iter().any(|column| column.key == *key) {
                continue;
            }
            let kind = match sides.present.field_with_name(key) {
                Ok(present) => present.data_type().clone(),
                Err(_) => match (seen.kind(), sides.contract.of(key)) {
                    (Some(kind), _) => kind,
                    (None, OnDrift::DiscardRow | OnDrift::DiscardValue) if seen.is_text() => DataType::Utf8,
                    (None, contract) => {
                        return Err(Error::ReplayColumn {
                            table: sides.table.to_string(),
                            column: key.clone(),
                            contract,
                        });
                    }
                },
            };
            columns.push(Column { field: Field::new(key, kind, true).into(), key: key.clone() });
        }
        Ok(columns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_type_is_told_only_where_one_alone_is_meant() {
        let table = [
            (json!([true, null]), Some(DataType::Boolean)),
            (json!([1, 2]), Some(DataType::Int32)),
            (json!([1, 3_000_000_000_u32]), Some(DataType::Int64)),
            (json!([1.5, 2, "NaN"]), Some(DataType::Float64)),
            (json!(["a", "7"]), Some(DataType::Utf8)),
            // 64-bit integers, decimals and times are in quotes, too.
            (json!(["7"]), None),
            (json!(["2024-01-31T10:00:00"]), None),
            (json!([1, "a"]), None),
            (json!([[1]]), None),
            (json!(["NaN"]), None),
        ];
        for (values, expected) in table {
            let mut seen = Seen::default();
            values.as_array().into_iter().flatten().for_each(|value| seen.look(value));
            assert_eq!(seen.kind(), expected, "{values}");
        }
    }
}
