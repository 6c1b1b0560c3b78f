use std::sync::Arc;

use arrow_array::cast::AsArray;
use arrow_array::types::Int64Type;
use arrow_array::{ArrayRef, Int64Array, RecordBatch};
use arrow_schema::{DataType, Field, FieldRef, Schema, SchemaRef};
use lakehost_columnar::RowStep;

use super::Chain;
use crate::diagnostic::Fault;
use crate::ports::{BoundCleaner, Cleaner, Patch, PluginId, Rule};
use crate::window::Window;

/// Rejects multiples of `divisor` in `reads` and writes `writes` = value + 1.
struct Divides {
    id: PluginId,
    divisor: i64,
    reads: &'static str,
    writes: &'static str,
}

struct Bound {
    divisor: i64,
    rules: Vec<Rule>,
    reads: Vec<String>,
    writes: Vec<FieldRef>,
}

impl Cleaner for Divides {
    fn plugin(&self) -> &PluginId {
        &self.id
    }
    fn config(&self) -> &str {
        "{}"
    }
    fn bind(&self, _schema: &SchemaRef, _window: Option<&Window>) -> Result<Box<dyn BoundCleaner>, Fault> {
        Ok(Box::new(Bound {
            divisor: self.divisor,
            rules: vec![Rule { id: format!("by_{}", self.divisor), description: String::new() }],
            reads: vec![self.reads.to_owned()],
            writes: vec![Arc::new(Field::new(self.writes, DataType::Int64, true))],
        }))
    }
}

impl BoundCleaner for Bound {
    fn rules(&self) -> &[Rule] {
        &self.rules
    }
    fn reads(&self) -> &[String] {
        &self.reads
    }
    fn writes(&self) -> &[FieldRef] {
        &self.writes
    }
    fn clean(&self, batch: &RecordBatch) -> Result<Patch, Fault> {
        let values = batch.column(0).as_primitive::<Int64Type>().values();
        let codes = values.iter().map(|value| u16::from(value % self.divisor == 0)).collect();
        let column: Int64Array = values.iter().map(|value| value + 1).collect();
        Ok(Patch { codes: Some(codes), columns: vec![Arc::new(column)] })
    }
}

fn cleaner(divisor: i64, reads: &'static str, writes: &'static str) -> Box<dyn Cleaner> {
    let id = PluginId { name: "divides".to_owned(), version: "1".to_owned(), sha256: String::new() };
    Box::new(Divides { id, divisor, reads, writes })
}

#[test]
fn a_cleaner_sees_only_kept_rows_and_the_columns_written_before_it() {
    let schema: SchemaRef = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]));
    let chain = Chain::bind(&[cleaner(2, "a", "b"), cleaner(5, "b", "c")], &schema, None).unwrap();
    assert_eq!(chain.reads(), ["a"]);
    let batch = RecordBatch::try_new(schema, vec![Arc::new(Int64Array::from_iter_values(1..=10)) as ArrayRef]).unwrap();
    let mut rejected = vec![0u16; 10];
    // Row 3 (value 4) failed a cast before: no cleaner may see or count it.
    rejected[3] = chain.cast_rule("a");
    let written = chain.apply(&batch, 0, &mut rejected).unwrap();
    let names: Vec<&str> =
        rejected.iter().map(|code| if *code == 0 { "kept" } else { chain.rule_name(*code) }).collect();
    // 9 is kept by the first, becomes 10 and is rejected by the second.
    assert_eq!(names, ["kept", "by_2", "kept", "cast:a", "kept", "by_2", "kept", "by_2", "by_5", "by_2"]);
    let c = written[1].as_primitive::<Int64Type>();
    let kept: Vec<i64> = (0..10).filter(|row| rejected[*row] == 0).map(|row| c.value(row)).collect();
    assert_eq!(kept, [3, 5, 7, 9]);
}

#[test]
fn a_missing_column_is_named() {
    let schema: SchemaRef = Arc::new(Schema::new(vec![Field::new("a", DataType::Int64, true)]));
    let fault = Chain::bind(&[cleaner(2, "absent", "b")], &schema, None).err().unwrap();
    assert_eq!(fault.code(), crate::codes::DATA_SCHEMA);
    assert!(fault.to_string().contains("absent"), "{fault}");
}
