//! A condition in SQL as a test of rows: `fare < 0 or trip_distance is null`, for `table delete --where`.
//!
//! The engine that answers queries also decides here, so a condition means the same in both. What of it the bounds of a file can be asked comes
//! out as a [`RowFilter`](lakehost_pipeline::filter::RowFilter) beside it ([`mod@bounds`]).

mod bounds;

use std::sync::Arc;

use arrow_array::{BooleanArray, RecordBatch};
use arrow_schema::{DataType, Schema};
use datafusion::arrow::array::AsArray;
use datafusion::common::{Column, DFSchema};
use datafusion::execution::context::SessionContext;
use datafusion::execution::session_state::SessionState;
use datafusion::logical_expr::execution_props::ExecutionProps;
use datafusion::logical_expr::expr::Expr;
use datafusion::logical_expr::simplify::SimplifyContext;
use datafusion::logical_expr::{ExprSchemable, lit};
use datafusion::optimizer::simplify_expressions::ExprSimplifier;
use datafusion::physical_expr::PhysicalExpr;
use datafusion::sql::TableReference;
use datafusion::sql::parser::DFParser;
use datafusion::sql::sqlparser::ast;
use lakehost_lake::{BoundTest, RowTest, TableState};
use lakehost_pipeline::Fault;
use lakehost_pipeline::filter::RowFilter;

use crate::Result;
use crate::error::{Error, from_engine};
use crate::identifiers::spell_columns_of;
use crate::refusal;

/// A condition as it was written, parsed.
#[derive(Clone, Debug)]
pub struct Condition {
    sql: String,
    parsed: ast::Expr,
}

impl Condition {
    /// Reads one expression, such as `fare < 0`.
    ///
    /// # Errors
    /// `LH0107` when it is none, or one that no row alone can answer.
    pub fn parse(sql: &str) -> Result<Self> {
        if sql.trim().is_empty() {
            return Err(wrong("the condition is empty", Some("write one such as \"fare_amount < 0\"")).into());
        }
        let parsed = DFParser::parse_sql_into_expr(sql).map_err(|error| match error.find_root() {
            datafusion::error::DataFusionError::SQL(parser, _) => refusal::of_condition(sql, &parser.to_string()),
            _ => from_engine(&error, &[]),
        })?;
        if let Some(alias) = parsed.alias {
            let message = format!("the condition ends at `{}`, which is not part of it", alias.value.escape_debug());
            return Err(Error::Sql { message, hint: Some(refusal::CONDITION.to_owned()) }.into());
        }
        if refusal::has_subquery(&parsed.expr) {
            let hint = "list the values, or ask `lakehost query` for them first";
            return Err(wrong("the condition has a query in it, and must be about one row", Some(hint)).into());
        }
        Ok(Self { sql: sql.trim().to_owned(), parsed: parsed.expr })
    }

    /// Whether every row is meant, in so many words.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.sql.eq_ignore_ascii_case("true")
    }

    fn plan(&self, state: &SessionState, schema: &DFSchema, columns: &[String]) -> Result<Expr> {
        let planned = |parsed: &ast::Expr| {
            let whole = ast::ExprWithAlias { expr: parsed.clone(), alias: None };
            state.create_logical_expr_from_sql_expr(whole, schema)
        };
        // As in a query: names are spelled as the table does only when they are wrong as written.
        let found = planned(&self.parsed).or_else(|error| {
            let mut spelled = self.parsed.clone();
            if spell_columns_of(&mut spelled, columns) { planned(&spelled) } else { Err(error) }
        });
        Ok(found.map_err(|error| from_engine(&error, columns))?)
    }
}

impl RowTest for Condition {
    fn bind(&self, table: &TableState, columns: &Schema) -> Result<Box<dyn BoundTest + '_>> {
        let names: Vec<String> = columns.fields().iter().map(|field| field.name().clone()).collect();
        let engine = |error| from_engine(&error, &names);
        let reference = TableReference::partial(table.name.namespace.as_str(), table.name.name.as_str());
        let schema = Arc::new(DFSchema::try_from_qualified_schema(reference.clone(), columns).map_err(engine)?);
        let state = SessionContext::new().state();
        let planned = self.plan(&state, &schema, &names)?;
        check_row_wise(&planned)?;
        let mut properties = ExecutionProps::new();
        properties.mark_start_execution(Arc::clone(state.config_options()));
        let context = SimplifyContext::default()
            .with_schema(Arc::clone(&schema))
            .with_config_options(Arc::clone(state.config_options()))
            // One moment for all rows of all files.
            .with_query_execution_start_time(properties.query_execution_start_time);
        let simplifier = ExprSimplifier::new(context);
        let coerced = simplifier.coerce(planned, &schema).map_err(engine)?;
        match coerced.get_type(schema.as_ref()).map_err(engine)? {
            DataType::Boolean | DataType::Null => {}
            other => {
                let message = format!("`{}` is {other}, and not true or false", self.sql.escape_debug());
                return Err(Error::Sql { message, hint: Some("compare it with something".to_owned()) }.into());
            }
        }
        let simple = simplifier.simplify(coerced).map_err(engine)?;
        if simple == lit(true) && !self.is_all() {
            let message = format!("`{}` is true for every row", self.sql.escape_debug());
            return Err(wrong(&message, Some("when every row is meant, write --where true")).into());
        }
        let simple = if matches!(&simple, Expr::Literal(value, _) if value.is_null()) { lit(false) } else { simple };
        let bounds = bounds::of(&simple, columns);
        let mut used: Vec<String> =
            simple.column_refs().into_iter().map(|column: &Column| column.name.clone()).collect();
        used.sort_unstable();
        used.dedup();
        if used.is_empty() {
            used.extend(names.first().cloned());
        }
        // What is evaluated sees those columns alone, in this order.
        let positions: Vec<usize> = used.iter().filter_map(|name| columns.index_of(name).ok()).collect();
        let narrow = columns.project(&positions).map_err(|error| engine(error.into()))?;
        let narrow = DFSchema::try_from_qualified_schema(reference, &narrow).map_err(engine)?;
        let physical = state.create_physical_expr(simple, &narrow).map_err(engine)?;
        Ok(Box::new(Bound { sql: &self.sql, columns: used, physical, bounds }))
    }

    fn text(&self) -> String {
        self.sql.clone()
    }
}

/// Nothing in it needs other rows, or is another value each time.
fn check_row_wise(planned: &Expr) -> Result<()> {
    let mut found = None;
    let looked = datafusion::common::tree_node::TreeNode::apply(planned, |expr| {
        found = match expr {
            Expr::AggregateFunction(function) => Some(format!("{}() is about many rows", function.func.name())),
            Expr::WindowFunction(_) => Some("a window function is about many rows".to_owned()),
            Expr::ScalarFunction(function) if expr.is_volatile_node() => {
                Some(format!("{}() is another value each time", function.name()))
            }
            _ => None,
        };
        Ok(match found {
            Some(_) => datafusion::common::tree_node::TreeNodeRecursion::Stop,
            None => datafusion::common::tree_node::TreeNodeRecursion::Continue,
        })
    });
    looked.map_err(|error| from_engine(&error, &[]))?;
    match found {
        Some(what) => Err(wrong(&format!("{what}, and the condition must be about one row"), None).into()),
        None => Ok(()),
    }
}

fn wrong(message: &str, hint: Option<&str>) -> Error {
    Error::Sql { message: message.to_owned(), hint: Some(hint.unwrap_or(refusal::CONDITION).to_owned()) }
}

/// A condition on the columns of one table.
struct Bound<'a> {
    sql: &'a str,
    columns: Vec<String>,
    physical: Arc<dyn PhysicalExpr>,
    bounds: Option<(RowFilter, bool)>,
}

impl BoundTest for Bound<'_> {
    fn columns(&self) -> Vec<&str> {
        self.columns.iter().map(String::as_str).collect()
    }

    fn rows(&self, batch: &RecordBatch) -> Result<BooleanArray> {
        let failed = |error: datafusion::error::DataFusionError| match from_engine(&error, &self.columns) {
            Error::Sql { message, hint } => {
                let message = format!("`{}` cannot be worked out for every row: {message}", self.sql.escape_debug());
                Fault::new(Error::Sql { message, hint })
            }
            other => other.into(),
        };
        let positions = self.columns.iter().map(|name| batch.schema_ref().index_of(name));
        let narrow = positions.collect::<std::result::Result<Vec<_>, _>>().and_then(|found| batch.project(&found));
        let narrow = narrow.map_err(|error| failed(error.into()))?;
        let value = self.physical.evaluate(&narrow).map_err(failed)?;
        let array = value.into_array(narrow.num_rows()).map_err(failed)?;
        match array.as_boolean_opt() {
            Some(mask) => Ok(mask.clone()),
            // A condition that is null everywhere.
            None => Ok(BooleanArray::from(vec![false; narrow.num_rows()])),
        }
    }

    fn bounds(&self) -> Option<(&RowFilter, bool)> {
        self.bounds.as_ref().map(|(filter, exact)| (filter, *exact))
    }
}

#[cfg(test)]
mod tests;
