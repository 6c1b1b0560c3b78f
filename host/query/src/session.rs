//! One read-only SQL statement: which tables it names, its plan, its rows.

use std::sync::Arc;

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use datafusion::catalog::{
    CatalogProvider, MemTable, MemoryCatalogProvider, MemorySchemaProvider, SchemaProvider, TableProvider,
};
use datafusion::dataframe::DataFrame;
use datafusion::error::DataFusionError;
use datafusion::execution::SendableRecordBatchStream;
use datafusion::execution::context::{SQLOptions, SessionContext};
use datafusion::execution::runtime_env::RuntimeEnvBuilder;
use datafusion::logical_expr::LogicalPlan;
use datafusion::prelude::SessionConfig;
use datafusion::sql::TableReference;
use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast;
use futures::StreamExt;
use iceberg::table::Table;
use lakehost_pipeline::Fault;
use lakehost_pipeline::ports::TableName;
use tokio::runtime::Runtime;

use crate::Result;
use crate::error::{Error, from_engine, nearest, quoted};
use crate::identifiers::spell_columns;
use crate::provider::SnapshotTable;
use crate::refusal;

/// The catalog name under which every table can also be written in full: `lakehost.raw.green_trips`.
const CATALOG: &str = "lakehost";

/// What may stand behind a table's name.
const METADATA_TABLES: &str = "$snapshots, $files, $partitions, $refs, $history, $manifests";

/// A table to read, and which of its snapshots; `None` is the current one.
#[derive(Debug)]
pub struct OpenTable {
    pub table: Table,
    pub snapshot_id: Option<i64>,
}

/// Where a session finds the tables that a statement names.
pub trait Tables {
    /// The table, `None` when there is none of that name.
    fn open(&self, name: &TableName) -> Result<Option<OpenTable>>;
    /// The rows of a metadata table, such as `files` of a table: `"t$files"` in SQL. `None`: no such table, or none of that kind.
    fn metadata(&self, name: &TableName, kind: &str) -> Result<Option<RecordBatch>> {
        let _ = (name, kind);
        Ok(None)
    }
    /// All names, for advice when one is not found.
    fn names(&self) -> Result<Vec<TableName>>;
}

/// Plans and runs statements. Holds its own worker threads.
pub struct Session<T> {
    tables: T,
    runtime: Arc<Runtime>,
    memory_bytes: Option<usize>,
}

impl<T: Tables> Session<T> {
    /// `memory_bytes` bounds what sorts, joins and aggregates hold before they spill to disk.
    ///
    /// # Errors
    /// `LH0901` when no threads can be started.
    pub fn new(tables: T, memory_bytes: Option<usize>) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .thread_name("query")
            .build()
            .map_err(|error| Error::Engine { cause: error.to_string() })?;
        Ok(Self { tables, runtime: Arc::new(runtime), memory_bytes })
    }

    /// Plans one statement and starts it.
    ///
    /// # Errors
    /// `LH0107` for a wrong statement, with the nearest table or column; the faults of [`Tables::open`]; `LH0501` and `LH0502` for unreadable
    /// tables. Those of later rows come from [`Rows`].
    pub fn query(&self, sql: &str) -> Result<Rows> {
        let context = self.context()?;
        let state = context.state();
        let dialect = state.config().options().sql_parser.dialect;
        let mut statement = state.sql_to_statement(sql, &dialect).map_err(|error| match error.find_root() {
            DataFusionError::SQL(parser, _) => refusal::of_parser(sql, &parser.to_string()),
            _ => from_engine(&error, &[]),
        })?;
        check_reads(&statement)?;
        let named = state.resolve_table_references(&statement).map_err(|error| from_engine(&error, &[]))?;
        let columns = self.register(&context, named)?;

        let stream = self.runtime.block_on(async {
            let mut planned = plan(&context, statement.clone()).await;
            // A statement that is right as written stays as written; only one that is not gets its names spelled as the tables do.
            if planned.is_err() && spell_columns(&mut statement, &columns) {
                planned = plan(&context, statement).await;
            }
            let plan = planned.map_err(|error| from_engine(&error, &columns))?;
            let frame = context.execute_logical_plan(plan).await.map_err(|error| from_engine(&error, &columns))?;
            frame.execute_stream().await.map_err(|error| from_engine(&error, &columns))
        })?;
        // The plan as written still lacks the casts that the engine adds.
        let schema = stream.schema();
        Ok(Rows { schema, stream, columns, runtime: Arc::clone(&self.runtime) })
    }

    /// The named tables as frames of one context, for queries that are built rather than written.
    pub(crate) fn frames(&self, names: &[&TableName]) -> Result<Vec<DataFrame>> {
        let context = self.context()?;
        let reference = |name: &&TableName| TableReference::partial(name.namespace.as_str(), name.name.as_str());
        let mut distinct: Vec<&TableName> = names.to_vec();
        distinct.sort_unstable();
        distinct.dedup();
        self.register(&context, distinct.iter().map(reference).collect())?;
        let frames = names.iter().map(|name| self.runtime.block_on(context.table(reference(name))));
        frames.map(|frame| frame.map_err(|error| from_engine(&error, &[]).into())).collect()
    }

    /// Waits for work on this session's threads.
    pub(crate) fn block_on<F: Future>(&self, work: F) -> F::Output {
        self.runtime.block_on(work)
    }

    fn context(&self) -> Result<SessionContext> {
        let config = SessionConfig::new()
            .with_create_default_catalog_and_schema(false)
            .with_default_catalog_and_schema(CATALOG, "default")
            .with_information_schema(false);
        let mut builder = RuntimeEnvBuilder::new();
        if let Some(bytes) = self.memory_bytes {
            builder = builder.with_memory_limit(bytes, 1.0);
        }
        let environment = builder.build_arc().map_err(|error| from_engine(&error, &[]))?;
        Ok(SessionContext::new_with_config_rt(config, environment))
    }

    /// Opens the named tables and answers all their columns.
    fn register(&self, context: &SessionContext, named: Vec<TableReference>) -> Result<Vec<String>> {
        let catalog = Arc::new(MemoryCatalogProvider::new());
        let mut columns = Vec::new();
        for reference in named {
            let name = self.resolve(&reference)?;
            let provider = match self.provider(&name)? {
                Some(provider) => provider,
                None => return Err(self.unknown_table(&reference.to_string()).into()),
            };
            columns.extend(provider.schema().fields().iter().map(|field| field.name().clone()));
            let schema = match catalog.schema(&name.namespace) {
                Some(schema) => schema,
                None => {
                    let schema: Arc<dyn SchemaProvider> = Arc::new(MemorySchemaProvider::new());
                    catalog
                        .register_schema(&name.namespace, Arc::clone(&schema))
                        .map_err(|error| from_engine(&error, &[]))?;
                    schema
                }
            };
            schema.register_table(name.name, provider).map_err(|error| from_engine(&error, &[]))?;
        }
        context.register_catalog(CATALOG, catalog);
        Ok(columns)
    }

    /// The table, or the metadata table behind the last `$` of the name; `None`: there is neither.
    fn provider(&self, name: &TableName) -> Result<Option<Arc<dyn TableProvider>>> {
        if let Some(open) = self.tables.open(name)? {
            let table = self.on_own_threads(open.table)?;
            let provider = SnapshotTable::try_new(&name.to_string(), table, open.snapshot_id)
                .map_err(|error| Error::Read { table: name.to_string(), missing: true, cause: error.to_string() })?;
            return Ok(Some(Arc::new(provider)));
        }
        let Some((table, kind)) = name.name.rsplit_once('$') else { return Ok(None) };
        let table = TableName { namespace: name.namespace.clone(), name: table.to_owned() };
        let Some(batch) = self.tables.metadata(&table, kind)? else { return Ok(None) };
        let provider =
            MemTable::try_new(batch.schema(), vec![vec![batch]]).map_err(|error| from_engine(&error, &[]))?;
        Ok(Some(Arc::new(provider)))
    }

    fn resolve(&self, reference: &TableReference) -> Result<TableName> {
        match reference {
            TableReference::Full { catalog, schema, table } if &**catalog == CATALOG => {
                Ok(TableName { namespace: schema.to_string(), name: table.to_string() })
            }
            TableReference::Partial { schema, table } => {
                Ok(TableName { namespace: schema.to_string(), name: table.to_string() })
            }
            TableReference::Full { .. } | TableReference::Bare { .. } => {
                Err(self.unknown_table(&reference.to_string()).into())
            }
        }
    }

    fn unknown_table(&self, wanted: &str) -> Error {
        let known: Vec<TableName> = self.tables.names().unwrap_or_default();
        // What stands behind the `$` may be all that is wrong.
        if let Some((table, _)) = wanted.rsplit_once('$')
            && known.iter().any(|name| name.to_string() == table || format!("{CATALOG}.{name}") == table)
        {
            let message = format!("no metadata table `{wanted}`");
            return Error::Sql { message, hint: Some(format!("there are: {METADATA_TABLES}")) };
        }
        let bare = wanted.rsplit('.').next().unwrap_or(wanted);
        let same_name = known.iter().find(|name| name.name == bare).map(sql_name);
        let written: Vec<String> = known.iter().map(sql_name).collect();
        let by_bare_name = || {
            let found = nearest(bare, known.iter().map(|name| name.name.as_str()))?;
            known.iter().position(|name| name.name == found).and_then(|index| written.get(index)).map(String::as_str)
        };
        let whole = || nearest(wanted, written.iter().map(String::as_str));
        let hint = match same_name.as_deref().or_else(whole).or_else(by_bare_name) {
            Some(name) => format!("did you mean `{name}`?"),
            None if written.is_empty() => "this warehouse has no tables yet; `lakehost run` makes them".to_owned(),
            None => "`lakehost table list` shows all tables".to_owned(),
        };
        Error::Sql { message: format!("no table `{wanted}`"), hint: Some(hint) }
    }

    /// The same table with its work on this session's threads: the ones that it came with may be busy or gone.
    fn on_own_threads(&self, table: Table) -> Result<Table> {
        let mut builder = Table::builder()
            .identifier(table.identifier().clone())
            .file_io(table.file_io().clone())
            .metadata(table.metadata_ref())
            .readonly(true)
            .runtime(iceberg::Runtime::new(&self.runtime));
        if let Some(location) = table.metadata_location() {
            builder = builder.metadata_location(location);
        }
        builder.build().map_err(|error| Error::Engine { cause: error.to_string() }.into())
    }
}

/// Refuses by its kind what is no query, before its tables are looked for.
fn check_reads(statement: &Statement) -> std::result::Result<(), Error> {
    match statement {
        Statement::Statement(inner) if matches!(**inner, ast::Statement::Query(_)) => Ok(()),
        Statement::Explain(explain) => check_reads(&explain.statement),
        other => Err(refusal::of_statement(other)),
    }
}

async fn plan(context: &SessionContext, statement: Statement) -> std::result::Result<LogicalPlan, DataFusionError> {
    let plan = context.state().statement_to_plan(statement).await?;
    SQLOptions::new().with_allow_ddl(false).with_allow_dml(false).with_allow_statements(false).verify_plan(&plan)?;
    Ok(plan)
}

pub(crate) fn sql_name(name: &TableName) -> String {
    format!("{}.{}", quoted(&name.namespace), quoted(&name.name))
}

/// The rows of a query, batch by batch, as they are made.
pub struct Rows {
    schema: SchemaRef,
    stream: SendableRecordBatchStream,
    columns: Vec<String>,
    runtime: Arc<Runtime>,
}

impl Rows {
    /// Names and types of the answer.
    pub fn schema(&self) -> &SchemaRef {
        &self.schema
    }
}

impl Iterator for Rows {
    type Item = Result<RecordBatch>;

    fn next(&mut self) -> Option<Self::Item> {
        let next = self.runtime.block_on(self.stream.next())?;
        Some(next.map_err(|error| Fault::new(from_engine(&error, &self.columns))))
    }
}

#[cfg(test)]
#[path = "session_tests.rs"]
mod tests;
