//! A pipeline's checks, made over one state of a table that may not be published yet.
//!
//! Each check is a query plan: names of columns go in as column expressions and values as literals of the column's own type, never as text. A check
//! counts first and looks at rows only when there are some that do not pass. The one kind that is text, a statement of the user's, goes the way of
//! `lakehost query`, with `{table}` as the table's name.

use std::collections::BTreeMap;

use arrow_array::{Array, RecordBatch};
use arrow_schema::DataType;
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::functions::math::expr_fn::isnan;
use datafusion::functions_aggregate::expr_fn::{count, max, sum};
use datafusion::logical_expr::{Expr, JoinType, Operator, binary_expr, cast, ident, lit, when};
use datafusion::scalar::ScalarValue;
use iceberg::table::Table;
use lakehost_pipeline::checks::{Check, CheckKind, CheckOutcome, SAMPLE_ROWS};
use lakehost_pipeline::ports::TableName;
use lakehost_pipeline::{Fault, WINDOW_COLUMN, Window, rejects};
use serde_json::Value;

use crate::Result;
use crate::error::{Error, from_engine};
use crate::session::{OpenTable, Session, Tables, sql_name};

/// Rows of a key, in the answer of `unique`.
const ROWS: &str = "_lakehost_rows";
/// Those of them in the window.
const HERE: &str = "_lakehost_here";
/// The other table's column, for `foreign_key`.
const KEY: &str = "_lakehost_key";

/// The state of a table that checks look at.
pub struct Checked<'a> {
    pub name: &'a TableName,
    pub table: Table,
    pub snapshot_id: i64,
    /// The window that is about to be published; `None`: the table has none, and all rows are looked at.
    pub window: Option<&'a Window>,
    /// For `freshness`.
    pub now_ms: i64,
}

/// Makes all checks. `tables`: what statements and `foreign_key` name beside the table itself.
///
/// # Errors
/// LH0102 for a check that names what is not there or a value that its column cannot have; what a statement fails with; LH0501 and LH0502 for
/// unreadable tables. Rows that do not pass are no error.
pub fn run_checks<T: Tables>(
    tables: T,
    memory_bytes: Option<usize>,
    checked: &Checked<'_>,
    checks: &[Check],
) -> Result<Vec<CheckOutcome>> {
    let staged = Beside { tables, name: checked.name, table: &checked.table, snapshot_id: checked.snapshot_id };
    let looking = Looking { session: Session::new(staged, memory_bytes)?, checked };
    checks
        .iter()
        .map(|check| {
            let found = looking.look(check).map_err(|fault| fault.with("check", &check.name))?;
            let (name, severity) = (check.name.clone(), check.severity);
            let Found { failed, detail, sample, columns } = found;
            Ok(CheckOutcome { name, severity, failed, detail, sample, columns: first(check.kind.columns(), columns) })
        })
        .collect()
}

/// The tables as they are, but for one that is about to change.
struct Beside<'a, T> {
    tables: T,
    name: &'a TableName,
    table: &'a Table,
    snapshot_id: i64,
}

impl<T: Tables> Tables for Beside<'_, T> {
    fn open(&self, name: &TableName) -> Result<Option<OpenTable>> {
        if name == self.name {
            return Ok(Some(OpenTable { table: self.table.clone(), snapshot_id: Some(self.snapshot_id) }));
        }
        self.tables.open(name)
    }

    fn metadata(&self, name: &TableName, kind: &str) -> Result<Option<RecordBatch>> {
        self.tables.metadata(name, kind)
    }

    fn names(&self) -> Result<Vec<TableName>> {
        self.tables.names()
    }
}

/// What one check came to.
struct Found {
    failed: u64,
    detail: String,
    sample: Vec<BTreeMap<String, Value>>,
    /// Those of the sample, in the order of the table or statement.
    columns: Vec<String>,
}

impl Found {
    fn passed(detail: impl Into<String>) -> Self {
        Self { failed: 0, detail: detail.into(), sample: Vec::new(), columns: Vec::new() }
    }

    fn window(detail: String) -> Self {
        Self { failed: 1, ..Self::passed(detail) }
    }
}

/// What a check is about comes first, the rest in its order.
fn first(about: Vec<&str>, columns: Vec<String>) -> Vec<String> {
    let (mut ordered, rest): (Vec<String>, Vec<String>) =
        columns.into_iter().partition(|column| about.contains(&column.as_str()));
    ordered.extend(rest.into_iter().filter(|column| column != WINDOW_COLUMN));
    ordered
}

fn names(schema: &arrow_schema::Schema) -> Vec<String> {
    schema.fields().iter().map(|field| field.name().clone()).collect()
}

struct Looking<'a, T> {
    session: Session<Beside<'a, T>>,
    checked: &'a Checked<'a>,
}

impl<T: Tables> Looking<'_, T> {
    fn look(&self, check: &Check) -> Result<Found> {
        match &check.kind {
            CheckKind::NotNull(columns) => {
                let frame = self.window_rows()?;
                let fails = any(columns.iter().map(|column| Ok(known(&frame, column)?.0.is_null())))?;
                self.rows(frame, fails, |rows| format!("{rows} without {}", columns.join(" or ")))
            }
            CheckKind::AcceptedValues { column, values } => {
                let frame = self.window_rows()?;
                let (expr, kind) = known(&frame, column)?;
                let list = values.iter().map(|value| literal(column, &kind, value)).collect::<Result<Vec<_>>>()?;
                let fails = expr.clone().is_not_null().and(expr.in_list(list, true));
                self.rows(frame, fails, |rows| format!("{rows} with another value of {column}"))
            }
            CheckKind::Range { column, min, max } => self.range(column, min.as_ref(), max.as_ref()),
            CheckKind::Regex { column, pattern } => {
                let frame = self.window_rows()?;
                let (expr, kind) = known(&frame, column)?;
                if !matches!(kind, DataType::Utf8 | DataType::LargeUtf8 | DataType::Utf8View) {
                    return Err(wrong(format!("regex looks at text, and column {column} is {kind}")));
                }
                let fails = binary_expr(expr, Operator::RegexNotMatch, lit(pattern.as_str()));
                let say = |rows: &str| format!("{rows} with a {column} that does not match {pattern}");
                // The engine finds out at the first row, and takes it for a fault of its own.
                self.rows(frame, fails, say).map_err(|fault| match fault.cause() {
                    Some(cause) if cause.contains("egular expression") || cause.contains("egex") => {
                        wrong(format!("`{pattern}` is not a regular expression: {cause}"))
                    }
                    _ => fault,
                })
            }
            CheckKind::Unique(columns) => self.unique(columns),
            CheckKind::RowCount { within } => self.row_count(*within),
            CheckKind::Freshness { column, max_age_ms } => self.freshness(column, *max_age_ms),
            CheckKind::ForeignKey { column, table, to } => self.foreign_key(column, table, to),
            CheckKind::Sql(sql) => self.statement(sql),
            CheckKind::Dbt { .. } => Err(wrong("it is dbt that makes such a check, not the query engine".to_owned())),
        }
    }

    /// The whole table as it would be.
    fn table(&self) -> Result<DataFrame> {
        self.session.frames(&[self.checked.name])?.pop().ok_or_else(|| wrong("the table is not there".to_owned()))
    }

    /// The rows that are about to be published.
    fn window_rows(&self) -> Result<DataFrame> {
        let frame = self.table()?;
        match self.in_window(&frame)? {
            Some(inside) => frame.filter(inside).map_err(failed),
            None => Ok(frame),
        }
    }

    /// Whether a row is of the window; `None`: there is no window.
    fn in_window(&self, frame: &DataFrame) -> Result<Option<Expr>> {
        let Some(window) = self.checked.window else { return Ok(None) };
        let (expr, kind) = known(frame, WINDOW_COLUMN)?;
        Ok(Some(expr.eq(lit(start(window, &kind)))))
    }

    /// Rows for which `fails` is true.
    fn rows(&self, frame: DataFrame, fails: Expr, say: impl Fn(&str) -> String) -> Result<Found> {
        let columns = names(frame.schema().as_arrow());
        let bad = frame.filter(fails).map_err(failed)?;
        let failed_rows = self.count(bad.clone())?;
        if failed_rows == 0 {
            return Ok(Found::passed("every row passes"));
        }
        let sample = self.collect(bad.limit(0, Some(SAMPLE_ROWS)).map_err(failed)?)?;
        Ok(Found { failed: failed_rows, detail: say(&rows_text(failed_rows)), sample: maps(&sample)?, columns })
    }

    fn range(&self, column: &str, min: Option<&Value>, max: Option<&Value>) -> Result<Found> {
        let frame = self.window_rows()?;
        let (expr, kind) = known(&frame, column)?;
        let mut outside = Vec::new();
        if let Some(min) = min {
            outside.push(Ok(expr.clone().lt(literal(column, &kind, min)?)));
        }
        if let Some(max) = max {
            outside.push(Ok(expr.clone().gt(literal(column, &kind, max)?)));
        }
        if kind.is_floating() {
            outside.push(Ok(isnan(expr)));
        }
        let shown = |bound: Option<&Value>| {
            bound.map(|bound| bound.as_str().map_or_else(|| bound.to_string(), str::to_owned)).unwrap_or_default()
        };
        let bounds = match (min, max) {
            (Some(_), Some(_)) => format!("outside {} to {}", shown(min), shown(max)),
            (Some(_), None) => format!("below {}", shown(min)),
            _ => format!("above {}", shown(max)),
        };
        self.rows(frame, any(outside.into_iter())?, |rows| format!("{rows} with a {column} {bounds}"))
    }

    fn unique(&self, columns: &[String]) -> Result<Found> {
        let frame = self.table()?;
        let keys = columns.iter().map(|column| Ok(known(&frame, column)?.0)).collect::<Result<Vec<_>>>()?;
        let complete = keys.iter().map(|key| key.clone().is_not_null()).reduce(Expr::and);
        let here = match self.in_window(&frame)? {
            Some(inside) => when(inside, lit(1i64)).end().map_err(failed)?,
            None => lit(1i64),
        };
        let frame = match complete {
            Some(complete) => frame.filter(complete).map_err(failed)?,
            None => return Err(wrong("unique names no column".to_owned())),
        };
        let counts = vec![count(lit(1i64)).alias(ROWS), count(here).alias(HERE)];
        let repeated = frame
            .aggregate(keys, counts)
            .and_then(|frame| frame.filter(ident(ROWS).gt(lit(1i64)).and(ident(HERE).gt(lit(0i64)))))
            .map_err(failed)?;
        let surplus =
            repeated.clone().aggregate(Vec::new(), vec![sum(ident(ROWS)), count(lit(1i64))]).map_err(failed)?;
        let surplus = self.collect(surplus)?;
        let failed_rows = number(&surplus, 0)?.saturating_sub(number(&surplus, 1)?);
        if failed_rows == 0 {
            return Ok(Found::passed("every key is there once"));
        }
        let mut sample = columns.iter().map(|column| ident(column.as_str())).collect::<Vec<_>>();
        sample.push(ident(ROWS).alias("rows"));
        let sample = repeated.select(sample).and_then(|frame| frame.limit(0, Some(SAMPLE_ROWS))).map_err(failed)?;
        let detail = format!("{} with the {} of another row", rows_text(failed_rows), columns.join(", "));
        let sample = self.collect(sample)?;
        let columns = sample.first().map(|batch| names(&batch.schema())).unwrap_or_default();
        Ok(Found { failed: failed_rows, detail, sample: maps(&sample)?, columns })
    }

    fn row_count(&self, within: f64) -> Result<Found> {
        let rows = self.count(self.window_rows()?)?;
        let Some((before, label)) = self.rows_before()? else {
            return Ok(Found::passed(format!("{}, and none before to compare with", rows_text(rows))));
        };
        let allowed = within * before as f64;
        let detail = format!("{}, and {before} in {label}", rows_text(rows));
        if (rows as f64 - before as f64).abs() <= allowed {
            return Ok(Found::passed(detail));
        }
        Ok(Found::window(format!("{detail}: more than {}% apart", within * 100.0)))
    }

    /// Rows of the window before this one in the table; without windows, of the snapshot before.
    fn rows_before(&self) -> Result<Option<(u64, &'static str)>> {
        let Some(window) = self.checked.window else {
            let metadata = self.checked.table.metadata();
            let parent = metadata
                .snapshot_by_id(self.checked.snapshot_id)
                .and_then(|snapshot| metadata.snapshot_by_id(snapshot.parent_snapshot_id()?));
            let rows = parent
                .and_then(|parent| parent.summary().additional_properties.get("total-records")?.parse::<u64>().ok());
            return Ok(rows.map(|rows| (rows, "the table before")));
        };
        let frame = self.table()?;
        let (expr, kind) = known(&frame, WINDOW_COLUMN)?;
        let earlier = frame
            .clone()
            .filter(expr.clone().lt(lit(start(window, &kind))))
            .and_then(|frame| frame.aggregate(Vec::new(), vec![max(expr.clone())]))
            .map_err(failed)?;
        let newest = scalar(&self.collect(earlier)?)?;
        if newest.is_null() {
            return Ok(None);
        }
        let rows = self.count(frame.filter(expr.eq(lit(newest))).map_err(failed)?)?;
        Ok(Some((rows, "the window before")))
    }

    fn freshness(&self, column: &str, max_age_ms: i64) -> Result<Found> {
        let frame = self.table()?;
        let (expr, kind) = known(&frame, column)?;
        let newest = frame.aggregate(Vec::new(), vec![max(expr)]).map_err(failed)?;
        let newest = scalar(&self.collect(newest)?)?;
        let ms = match newest {
            ScalarValue::Date32(Some(days)) => i64::from(days) * 86_400_000,
            ScalarValue::TimestampMicrosecond(Some(micros), _) => micros.div_euclid(1_000),
            ScalarValue::TimestampNanosecond(Some(nanos), _) => nanos.div_euclid(1_000_000),
            _ if kind.is_temporal() => return Ok(Found::window(format!("no row has a {column}"))),
            _ => return Err(wrong(format!("freshness looks at dates and times, and column {column} is {kind}"))),
        };
        let detail = format!("the newest {column} is {newest}");
        if ms >= self.checked.now_ms.saturating_sub(max_age_ms) {
            return Ok(Found::passed(detail));
        }
        Ok(Found::window(format!("{detail}, older than {}", span(max_age_ms))))
    }

    fn foreign_key(&self, column: &str, table: &TableName, to: &str) -> Result<Found> {
        let mut frames = self.session.frames(&[self.checked.name, table])?.into_iter();
        let (Some(frame), Some(other)) = (frames.next(), frames.next()) else {
            return Err(wrong(format!("table {table} is not there")));
        };
        let (expr, kind) = known(&frame, column)?;
        let (key, key_kind) = known(&other, to).map_err(|fault| fault.with("table", table))?;
        let keys = other.select(vec![key.alias(KEY)]).and_then(DataFrame::distinct).map_err(failed)?;
        let frame = match self.in_window(&frame)? {
            Some(inside) => frame.filter(inside).map_err(failed)?,
            None => frame,
        };
        // Different types of one meaning, such as int and long, are compared as the wider; nothing is lost on the way.
        let left = if kind == key_kind { expr.clone() } else { cast(expr.clone(), wider(&kind, &key_kind)) };
        let right = if kind == key_kind { ident(KEY) } else { cast(ident(KEY), wider(&kind, &key_kind)) };
        let lost = frame
            .filter(expr.is_not_null())
            .and_then(|frame| frame.join_on(keys, JoinType::LeftAnti, [left.eq(right)]))
            .map_err(failed)?;
        self.rows(lost, lit(true), |rows| format!("{rows} with a {column} that {table} does not have as {to}"))
    }

    fn statement(&self, sql: &str) -> Result<Found> {
        let text = sql.replace("{table}", &sql_name(self.checked.name));
        let (mut failed_rows, mut sample) = (0u64, Vec::new());
        let answer = self.session.query(&text)?;
        let columns = names(answer.schema());
        for batch in answer {
            let batch = batch?;
            failed_rows += batch.num_rows() as u64;
            if sample.len() < SAMPLE_ROWS {
                sample.extend(maps(&[batch.slice(0, batch.num_rows().min(SAMPLE_ROWS - sample.len()))])?);
            }
        }
        if failed_rows == 0 {
            return Ok(Found::passed("no row came back"));
        }
        Ok(Found { failed: failed_rows, detail: format!("{} came back", rows_text(failed_rows)), sample, columns })
    }

    fn count(&self, frame: DataFrame) -> Result<u64> {
        let counted = frame.aggregate(Vec::new(), vec![count(lit(1i64))]).map_err(failed)?;
        number(&self.collect(counted)?, 0)
    }

    fn collect(&self, frame: DataFrame) -> Result<Vec<RecordBatch>> {
        self.session.block_on(frame.collect()).map_err(failed)
    }
}

/// A column of a frame, by its exact name, and its type.
fn known(frame: &DataFrame, column: &str) -> Result<(Expr, DataType)> {
    let schema = frame.schema().as_arrow();
    match schema.field_with_name(column) {
        Ok(field) => Ok((ident(column), field.data_type().clone())),
        Err(_) => {
            let names: Vec<&str> = schema.fields().iter().map(|field| field.name().as_str()).collect();
            let nearest = crate::error::nearest(column, names.iter().copied());
            let hint = nearest
                .map_or_else(|| format!("there are: {}", names.join(", ")), |name| format!("did you mean `{name}`?"));
            Err(Error::Check { message: format!("no column `{column}`"), hint: Some(hint) }.into())
        }
    }
}

/// A value of the file as one of exactly the column's type; a number that the type lacks, such as 0.5 among integers, stays a number.
fn literal(column: &str, kind: &DataType, value: &Value) -> Result<Expr> {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    match (ScalarValue::try_from_string(text, kind), value.as_f64()) {
        (Ok(scalar), _) => Ok(lit(scalar)),
        (Err(_), Some(number)) if kind.is_numeric() => Ok(lit(number)),
        (Err(_), _) => Err(wrong(format!("{value} is not a value of column {column}, which is {kind}"))),
    }
}

/// The start of a window as a value of the window column.
fn start(window: &Window, kind: &DataType) -> ScalarValue {
    match kind {
        DataType::Date32 => ScalarValue::Date32(Some(window.start_days())),
        _ => ScalarValue::TimestampMicrosecond(Some(window.start_micros()), None),
    }
}

fn wider(left: &DataType, right: &DataType) -> DataType {
    match (left.is_integer(), right.is_integer()) {
        (true, true) => DataType::Int64,
        _ if left.is_numeric() && right.is_numeric() => DataType::Float64,
        _ => DataType::Utf8,
    }
}

fn any(mut parts: impl Iterator<Item = Result<Expr>>) -> Result<Expr> {
    let first = parts.next().unwrap_or_else(|| Err(wrong("it names no column".to_owned())))?;
    parts.try_fold(first, |all, part| Ok(all.or(part?)))
}

fn wrong(message: String) -> Fault {
    Error::Check { message, hint: Some("correct the check in lakehost.toml".to_owned()) }.into()
}

fn failed(error: DataFusionError) -> Fault {
    from_engine(&error, &[]).into()
}

/// The value of a column of an aggregate's one row; null counts as 0.
fn number(batches: &[RecordBatch], column: usize) -> Result<u64> {
    let batch = batches.iter().find(|batch| batch.num_rows() > 0);
    let value = batch.map(|batch| ScalarValue::try_from_array(batch.column(column), 0)).transpose().map_err(failed)?;
    Ok(match value {
        Some(ScalarValue::Int64(Some(number))) => u64::try_from(number).unwrap_or(0),
        Some(ScalarValue::UInt64(Some(number))) => number,
        _ => 0,
    })
}

fn scalar(batches: &[RecordBatch]) -> Result<ScalarValue> {
    let batch = batches.iter().find(|batch| batch.num_rows() > 0);
    batch.map_or(Ok(ScalarValue::Null), |batch| ScalarValue::try_from_array(batch.column(0), 0)).map_err(failed)
}

/// Rows as reports show them, without the host's own columns.
fn maps(batches: &[RecordBatch]) -> Result<Vec<BTreeMap<String, Value>>> {
    let engine = |cause: String| Fault::from(Error::Engine { cause });
    let mut rows = Vec::new();
    for batch in batches {
        let text = rejects::rows_as_json(batch).map_err(|error| engine(error.to_string()))?;
        for row in (0..text.len()).map(|row| text.value(row)) {
            let mut row: BTreeMap<String, Value> =
                serde_json::from_str(row).map_err(|error| engine(error.to_string()))?;
            row.remove(WINDOW_COLUMN);
            rows.push(row);
        }
    }
    Ok(rows)
}

fn rows_text(rows: u64) -> String {
    if rows == 1 { "1 row".to_owned() } else { format!("{rows} rows") }
}

/// A span of time in its largest whole unit.
fn span(ms: i64) -> String {
    let units = [(86_400_000, "day"), (3_600_000, "hour"), (60_000, "minute"), (1_000, "second")];
    let (unit_ms, unit) = units.into_iter().find(|(unit_ms, _)| ms % unit_ms == 0).unwrap_or((1, "millisecond"));
    let count = ms / unit_ms;
    if count == 1 { format!("1 {unit}") } else { format!("{count} {unit}s") }
}

#[cfg(test)]
#[path = "checks_tests.rs"]
mod tests;
