//! `lakehost rejects list|show`: what a rule, a cast or a contract took out of the tables' present loads.

use std::collections::BTreeMap;

use arrow::array::{Array, AsArray, RecordBatch};
use arrow::datatypes::Int64Type;
use lakehost_lake::GRANULARITY;
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

/// As wide as a terminal that nobody made wider.
const LINE_WIDTH: usize = 80;

/// Rejected rows of one table.
pub struct Rejected<'a> {
    pub warehouse: &'a Warehouse,
    pub memory_bytes: u64,
    pub main: TableName,
}

impl Rejected<'_> {
    /// The condition that a row is of a load that the table has now.
    fn present(&self) -> Result<String, Fault> {
        // Load ids are ours: 64 digits. Whatever is not is none.
        let ids: Vec<String> = (self.warehouse.lake.present_loads(&self.main)?.into_iter())
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

    /// Whether the table has one beside it for rejected rows.
    fn has_any(&self) -> bool {
        let Ok(table) = rejects::table_of(&self.main) else { return false };
        self.warehouse.lake.table_names(Some(&self.main.namespace)).is_ok_and(|known| known.contains(&table))
    }

    /// The windows with rejected rows, as their start is written.
    pub fn windows(&self) -> Result<Vec<String>, Fault> {
        self.warehouse.lake.describe(&self.main).map_err(|error| self.warehouse.fault(error))?;
        if !self.has_any() {
            return Ok(Vec::new());
        }
        let batches = self.query(&format!("distinct \"{WINDOW_COLUMN}\""), &[], "")?;
        Ok(batches.iter().flat_map(|batch| (0..batch.num_rows()).filter_map(|row| text(batch, 0, row))).collect())
    }

    /// Rows by window and rule; one window without a name where the table has none.
    fn by_rule(&self) -> Result<BTreeMap<String, BTreeMap<String, u64>>, Fault> {
        let table = rejects::table_of(&self.main).map_err(|message| Error::Usage { message, hint: None })?;
        let info = self.warehouse.lake.table(&table)?;
        let windowed = info.as_ref().is_some_and(|info| info.schema.field_with_name(WINDOW_COLUMN).is_ok());
        // A label is as long as the windows are wide.
        let width = info.and_then(|info| info.properties.get(GRANULARITY).map(|word| label_width(word)));
        let window = if windowed { format!("\"{WINDOW_COLUMN}\"") } else { "''".to_owned() };
        let select = format!("{window} as w, {}, count(*) as n", rejects::RULE);
        let batches = self.query(&select, &[], "group by 1, 2")?;
        let mut windows: BTreeMap<String, BTreeMap<String, u64>> = BTreeMap::new();
        for batch in &batches {
            let counts = batch.column(2).as_primitive::<Int64Type>();
            for (row, count) in counts.values().iter().enumerate() {
                let start = text(batch, 0, row).unwrap_or_default();
                let label = width.and_then(|width| start.get(..width)).unwrap_or(&start).to_owned();
                let rules = windows.entry(label).or_default();
                rules.insert(text(batch, 1, row).unwrap_or_default(), u64::try_from(*count).unwrap_or(0));
            }
        }
        Ok(windows)
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
                .map(|(table, windows)| {
                    let rules = all_windows(windows);
                    let windows: Vec<Value> = (windows.iter().filter(|(window, _)| !window.is_empty()))
                        .map(|(window, rules)| json!({ "window": window, "rules": rules }))
                        .collect();
                    let rows = rules.values().sum::<u64>();
                    json!({ "table": table.to_string(), "rows": rows, "rules": rules, "windows": windows })
                })
                .collect();
            super::print_json(&json!({ "tables": tables }))?;
        }
        ReportFormat::Text => {
            // Of one table the windows, of several the sums.
            let first = if wanted.is_some() { "window" } else { "table" };
            let mut shown = TextTable::new([(first, Align::Left), ("rule", Align::Left), ("rows", Align::Right)]);
            for (table, windows) in &tables {
                let sums = [(table.to_string(), all_windows(windows))].into();
                for (name, rules) in if wanted.is_some() { windows } else { &sums } {
                    for (rule, rows) in rules {
                        shown.row([name.clone(), line(rule).to_string(), grouped(*rows)]);
                    }
                }
            }
            super::print(&if tables.is_empty() { "no rejected rows\n".to_owned() } else { shown.render() })?;
        }
    }
    Ok(exit_code::SUCCESS)
}

/// How long the label of a window of this width is.
fn label_width(word: &str) -> usize {
    let widths = [Granularity::Year, Granularity::Month, Granularity::Day, Granularity::Hour];
    widths.into_iter().find(|width| width.word() == word).map_or(usize::MAX, |width| width.example().len())
}

/// Rows by rule, whatever their window.
fn all_windows(windows: &BTreeMap<String, BTreeMap<String, u64>>) -> BTreeMap<String, u64> {
    let mut sums = BTreeMap::new();
    for (rule, rows) in windows.values().flatten() {
        *sums.entry(rule.clone()).or_default() += rows;
    }
    sums
}

/// Rejected rows as they came.
pub fn show(arguments: &RejectsShowArguments) -> Result<u8, Fault> {
    let place = resolve::place(&arguments.place, None)?;
    let warehouse = Warehouse::open_existing(&place)?;
    let main = resolve::table_name(&arguments.table)?;
    warehouse.lake.describe(&main).map_err(|error| warehouse.fault(error))?;
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
    let batches =
        if rejected.has_any() { rejected.query(&columns.join(", "), &conditions, &rest)? } else { Vec::new() };
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
                        "{} row {}: {}\n  {}, says {}\n{}",
                        line(file),
                        line(at),
                        line(rule),
                        line(reason),
                        line(plugin),
                        values(row)
                    ));
                }
            }
            super::print(&if rows.is_empty() { "no rejected rows\n".to_owned() } else { text })?;
        }
    }
    Ok(exit_code::SUCCESS)
}

/// The values of a row that are there, in lines that a narrow terminal does not break.
fn values(row: &str) -> String {
    let Ok(Value::Object(values)) = serde_json::from_str(row) else { return format!("  {}\n", line(row)) };
    let (mut text, mut width) = (String::new(), 0);
    for (key, value) in values.iter().filter(|(_, value)| !value.is_null()) {
        let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        let cell = format!("{}={}", line(key), line(&value));
        let length = cell.chars().count() + 2;
        if width > 0 && width + length > LINE_WIDTH {
            text.push('\n');
            width = 0;
        }
        text.push_str(&format!("  {cell}"));
        width += length;
    }
    text.push('\n');
    text
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_fit_a_narrow_terminal() {
        let row = format!("{{\"a\":1,\"none\":null,\"t\":\"2024-01-01T00:00:00\",\"long\":\"{}\"}}", "x".repeat(60));
        let text = values(&row);
        assert_eq!(text, format!("  a=1  t=2024-01-01T00:00:00\n  long={}\n", "x".repeat(60)));
        assert!(text.lines().all(|line| line.len() <= LINE_WIDTH));
        assert_eq!(values("no row"), "  no row\n");
    }
}
