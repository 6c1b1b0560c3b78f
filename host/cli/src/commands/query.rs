//! `lakehost query SQL`: one read-only statement over the tables, now or as they were.

use std::io::IsTerminal;

use arrow::array::RecordBatch;
use arrow::datatypes::SchemaRef;
use lakehost_models::trino::{Statement, is_read};
use lakehost_pipeline::Fault;
use lakehost_query::{AsOf, Session};

use crate::args::{Engine, QueryArguments, RowFormat};
use crate::config::resolve;
use crate::config::resolve::Where;
use crate::error::Error;
use crate::rows::Layout;
use crate::trino::Connection;
use crate::warehouse::Warehouse;
use crate::{exit_code, progress, rows};

/// Rows of a table on a terminal, when nobody says otherwise.
const TERMINAL_ROWS: usize = 100;
/// Rows of a table elsewhere: it is laid out in memory.
const TABLE_ROWS: usize = 10_000;

/// Runs the statement and prints its rows.
pub fn run(arguments: &QueryArguments) -> Result<u8, Fault> {
    check_output(arguments)?;
    let place = resolve::place(&arguments.place, arguments.memory.as_deref())?;
    let as_of = arguments.as_of.as_deref().map(|text| AsOf::parse(text, progress::now_ms())).transpose()?;
    match arguments.engine {
        Engine::Embedded => {
            let tables = Warehouse::open_existing(&place)?.tables_as_of(as_of);
            let session = Session::new(tables, usize::try_from(place.memory_bytes).ok())?;
            let answer = session.query(&arguments.sql)?;
            let schema = answer.schema().clone();
            print(arguments, &place, &schema, answer)
        }
        Engine::Trino => by_trino(arguments, &place, as_of.as_ref()),
    }
}

fn by_trino(arguments: &QueryArguments, place: &Where, as_of: Option<&AsOf>) -> Result<u8, Fault> {
    if !is_read(&arguments.sql) {
        return Err(Error::Usage {
            message: "`query` only reads, and this statement may change something".to_owned(),
            hint: Some(
                "begin it with SELECT, WITH, VALUES, SHOW, DESCRIBE or EXPLAIN; others are for Trino's own client"
                    .to_owned(),
            ),
        }
        .into());
    }
    let sql = match as_of {
        Some(as_of) => as_of.written_into(&arguments.sql)?,
        None => arguments.sql.clone(),
    };
    let rows = Connection::open(place)?.query(&Statement::new(&sql))?;
    let schema = rows.schema();
    print(arguments, place, &schema, rows)
}

fn print(
    arguments: &QueryArguments,
    place: &Where,
    schema: &SchemaRef,
    answer: impl Iterator<Item = Result<RecordBatch, Fault>>,
) -> Result<u8, Fault> {
    let limit = match (arguments.limit, arguments.format) {
        (Some(0), _) => usize::MAX,
        (Some(limit), _) => limit,
        (None, RowFormat::Table) if std::io::stdout().is_terminal() && arguments.output.is_none() => TERMINAL_ROWS,
        (None, RowFormat::Table) => TABLE_ROWS,
        (None, _) => usize::MAX,
    };
    let layout = Layout { format: arguments.format, limit, memory_bytes: place.memory_bytes };
    if let Some(path) = &arguments.output {
        rows::write_file(path, schema, answer, layout)?;
        return Ok(exit_code::SUCCESS);
    }
    match rows::write(schema, answer, layout) {
        Ok(()) => Ok(exit_code::SUCCESS),
        // A reader that went away has its rows; a query on a server has been ended with them.
        Err((fault, _)) if fault.downcast_ref::<Error>().is_some_and(Error::is_broken_pipe) => Ok(exit_code::SUCCESS),
        // An object behind half an array would be no JSON either: the array stays open, and the exit code tells.
        Err((fault, true)) if arguments.format != RowFormat::Jsonl => {
            crate::show(&fault);
            Ok(exit_code::of_fault(&fault))
        }
        Err((fault, _)) => Err(fault),
    }
}

/// Parquet and Arrow are nothing to look at.
fn check_output(arguments: &QueryArguments) -> Result<(), Error> {
    let binary = matches!(arguments.format, RowFormat::Parquet | RowFormat::Arrow);
    if binary && arguments.output.is_none() && std::io::stdout().is_terminal() {
        return Err(Error::Usage {
            message: "rows in this format are bytes, and this is a terminal".to_owned(),
            hint: Some("add --output FILE, or pipe them into another program".to_owned()),
        });
    }
    Ok(())
}
