//! A record batch, column by column.

use std::sync::Arc;

use arrow_array::{ArrayRef, BooleanArray, Int64Array, RecordBatch, StringArray, TimestampMicrosecondArray};
use arrow_schema::{DataType, Field, Schema, TimeUnit};

use crate::error::{Error, Result};

/// Columns of equal length, all nullable.
#[derive(Debug, Default)]
pub struct Columns {
    fields: Vec<Field>,
    arrays: Vec<ArrayRef>,
}

impl Columns {
    fn add(mut self, name: &str, kind: DataType, array: ArrayRef) -> Self {
        self.fields.push(Field::new(name, kind, true));
        self.arrays.push(array);
        self
    }

    pub fn longs(self, name: &str, values: impl Iterator<Item = Option<i64>>) -> Self {
        self.add(name, DataType::Int64, Arc::new(values.collect::<Int64Array>()))
    }

    /// Counts are signed in SQL, as every engine has them.
    pub fn counts(self, name: &str, values: impl Iterator<Item = Option<u64>>) -> Self {
        self.longs(name, values.map(|value| value.map(|value| i64::try_from(value).unwrap_or(i64::MAX))))
    }

    pub fn flags(self, name: &str, values: impl Iterator<Item = Option<bool>>) -> Self {
        self.add(name, DataType::Boolean, Arc::new(values.collect::<BooleanArray>()))
    }

    pub fn texts(self, name: &str, values: impl Iterator<Item = Option<String>>) -> Self {
        self.add(name, DataType::Utf8, Arc::new(values.collect::<StringArray>()))
    }

    /// Points in time, given in milliseconds since 1970.
    pub fn times(self, name: &str, values: impl Iterator<Item = Option<i64>>) -> Self {
        let micros = values.map(|value| value.map(|ms| ms.saturating_mul(1_000)));
        let array = micros.collect::<TimestampMicrosecondArray>().with_timezone("+00:00");
        self.add(name, DataType::Timestamp(TimeUnit::Microsecond, Some("+00:00".into())), Arc::new(array))
    }

    pub fn batch(self) -> Result<RecordBatch> {
        RecordBatch::try_new(Arc::new(Schema::new(self.fields)), self.arrays)
            .map_err(|error| Error::Internal(format!("a metadata table has uneven columns: {error}")))
    }
}
