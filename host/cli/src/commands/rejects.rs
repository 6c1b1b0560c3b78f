//! `lakehost rejects list|show`: what a rule, a cast or a contract took out of the tables' present loads.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use lakehost_lake::LOADED;
use lakehost_pipeline::ports::{Lake, TableName};
use lakehost_pipeline::{Fault, Granularity, WINDOW_COLUMN, Window, rejects};
use lakehost_query::Session;
use serde_json::{Value, json};

use crate::args::{RejectsListArguments, RejectsShowArguments, ReportFormat};
use crate::checker::Present;
use crate::config::resolve;
use crate::error::Error;
use crate::exit_code;
use crate::render::line;
use crate::table::{Align, TextTable, grouped};
use crate::warehouse::Warehouse;

/// Rejected rows of one table.
struct Rejected<'a> {
    warehouse: &'a Warehouse,
    memory_bytes: u64,
    main: TableName,
}

impl Rejected<'_> {
    /// The condition that a row is of a load that the table has now.
    fn present(&self) -> Result<String, Fault> {
        let info = self.warehouse.lake.table(&self.main)?;
        let loads = info.into_iter().flat_map(|info| info.properties).filter(|(key, _)| key.starts_with(LOADED));
        // Load ids are ours: 64 digits. Whatever is not is none.
        let ids: Vec<String> = loads
            .filter_map(|(_, value)| value.split(':').next().map(str::to_owned))
            .filter(|id| !id.is_empty() && id.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-'))
            .map(|id| format!("'{id}'"))
            .collect();
        Ok(if ids.is_empty() { "false".to_owned() } else { format!("{} in ({})", rejects::LOAD_ID, ids.join(", ")) })
    }

    fn query(&self, select: &str, more: &[String], rest: &str) -> Result<Vec<RecordBatch>, Fault> {
        let table = rejects::table_of(&self.main).map_err(|message| Error::Usage { message, hint: None })?;
        let mut conditions = vec![self.present()?];
        conditions.extend(more.iter().cloned());
        let sql = format!(
            "select {select} from \"{}\".\"{}\" where {} {rest}",
            table.namespace,
            table.name,
            conditions.join(" and ")
        );
        let session = Session::new(Present(&self.warehouse.lake), usize::try_from(self.memory_bytes).ok())?;
        session.query(&sql)?.collect()
    }

    /// Rows by rule.
    fn by_rule(&self) -> Result<BTreeMap<String, u64>, Fault> {
        let select = format!("{}, count(*) as n", rejects::RULE);
        let batches = self.query(&select, &[], &format!("group by {}", rejects::RULE))?;
        let mut rules = BTreeMap::new();
        for batch in &batches {
            let counts = batch.column(1).as_primitive::<Int64Type>();
            for (row, count) in counts.values().iter().enumerate() {
                rules.insert(text(batch, 0, row).unwrap_or_default(), u64::try_from(*count).unwrap_or(0));
            }
        }
        Ok(rules)
    }
}

fn text(batch: &RecordBatch, column: usize, row: usize) -> Option<String> {
    arrow::util::display::array_value_to_string(batch.column(column), row)
        .ok()
        .filter(|_| batch.column(column).is_valid(row))
}

/// Text as SQL has it.
fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The tables that have rejected rows.
pub fn list(arguments: &RejectsListArguments) -> Result<u8, Fault> {
    let place = resolve::place(&arguments.place, None)?;
    let warehouse = Warehouse::open_existing(&place)?;
    let wanted = arguments.table.as_deref().map(resolve::table_name).transpose()?;
    let mut tables = Vec::new();
    for name in warehouse.lake.table_names(None)? {
        let Some(main) = rejects::main_of(&name).filter(|main| wanted.as_ref().is_none_or(|wanted| wanted == main))
        else {
            continue;
        };
        let rejected = Rejected { warehouse: &warehouse, memory_bytes: place.memory_bytes, main: main.clone() };
        tables.push((main, rejected.by_rule()?));
    }
    match arguments.format {
        ReportFormat::Json => {
            let tables: Vec<Value> = tables
                .iter()
                .map(|(table, rules)| {
                    json!({ "table": table.to_string(), "rows": rules.values().sum::<u64>(), "rules": rules })
                })
                .collect();
            super::print_json(&json!({ "tables": tables }))?;
        }
        ReportFormat::Text => {
            let mut shown = TextTable::new([("table", Align::Left), ("rule", Align::Left), ("rows", Align::Right)]);
            for (table, rules) in &tables {
                for (rule, rows) in rules {
                    shown.row([table.to_string(), line(rule).to_string(), grouped(*rows)]);
                }
            }
            super::print(&if tables.is_empty() { "no rejected rows\n".to_owned() } else { shown.render() })?;
        }
    }
    Ok(exit_code::SUCCESS)
}

/// Rejected rows as they came.
pub fn show(arguments: &RejectsShowArguments) -> Result<u8, Fault> {
    let place = resolve::place(&arguments.place, None)?;
    let warehouse = Warehouse::open_existing(&place)?;
    let main = resolve::table_name(&arguments.table)?;
    warehouse.lake.describe(&main).map_err(|error| warehouse.fault(error))?;
    let has_any = rejects::table_of(&main)
        .is_ok_and(|table| warehouse.lake.table_names(Some(&main.namespace)).is_ok_and(|known| known.contains(&table)));
    let mut conditions = Vec::new();
    if let Some(window) = &arguments.window {
        conditions.push(format!("\"{WINDOW_COLUMN}\" = {}", start(window)?));
    }
    if let Some(rule) = &arguments.rule {
        conditions.push(format!("{} = {}", rejects::RULE, literal(rule)));
    }
    let rejected = Rejected { warehouse: &warehouse, memory_bytes: place.memory_bytes, main };
    let columns =
        [rejects::RULE, rejects::REASON, rejects::PLUGIN, rejects::SOURCE_FILE, rejects::SOURCE_ROW, rejects::ROW];
    let limit = if arguments.limit == 0 { String::new() } else { format!("limit {}", arguments.limit) };
    let rest = format!("order by {}, {} {limit}", rejects::SOURCE_FILE, rejects::SOURCE_ROW);
    let batches = if has_any { rejected.query(&columns.join(", "), &conditions, &rest)? } else { Vec::new() };
    let mut rows = Vec::new();
    for batch in &batches {
        for row in 0..batch.num_rows() {
            rows.push(
                columns.iter().enumerate().map(|(at, _)| text(batch, at, row).unwrap_or_default()).collect::<Vec<_>>(),
            );
        }
    }
    match arguments.format {
        ReportFormat::Json => {
            let rows: Vec<Value> = rows.iter().map(|row| json_row(row)).collect();
            super::print_json(&json!({ "table": rejected.main.to_string(), "rows": rows }))?;
        }
        ReportFormat::Text => {
            let mut text = String::new();
            for row in &rows {
                if let [rule, reason, plugin, file, at, row] = row.as_slice() {
                    text.push_str(&format!(
                        "{} row {}: {} ({}, by {})\n  {}\n",
                        line(file),
                        line(at),
                        line(rule),
                        line(reason),
                        line(plugin),
                        line(row)
                    ));
                }
            }
            super::print(&if rows.is_empty() { "no rejected rows\n".to_owned() } else { text })?;
        }
    }
    Ok(exit_code::SUCCESS)
}

fn json_row(row: &[String]) -> Value {
    let [rule, reason, plugin, file, at, row] = row else { return Value::Null };
    let number: Value = at.parse::<i64>().map_or(Value::Null, Value::from);
    let row: Value = serde_json::from_str(row).unwrap_or_else(|_| Value::from(row.as_str()));
    json!({ "rule": rule, "reason": reason, "plugin": plugin, "source_file": file, "source_row": number, "row": row })
}

/// The start of a window as SQL has it; its form says how wide it is.
fn start(label: &str) -> Result<String, Fault> {
    for width in [Granularity::Day, Granularity::Month, Granularity::Year, Granularity::Hour] {
        if let Ok(window) = Window::parse(width, label) {
            let kind = if width == Granularity::Hour { "timestamp" } else { "date" };
            let day = crate::time::utc(u64::try_from(window.start_micros() / 1_000).unwrap_or_default());
            let text = if width == Granularity::Hour { day } else { day.chars().take(10).collect() };
            return Ok(format!("{kind} '{text}'"));
        }
    }
    Err(Error::Usage {
        message: format!("`{}` is not a window", label.escape_debug()),
        hint: Some("write it as 2024, 2024-01, 2024-01-31 or 2024-01-31T13".to_owned()),
    }
    .into())
}
