//! Column names without quotes find their column whatever its case: `VendorID` and `vendorid` both mean `"VendorID"`.
//!
//! SQL folds unquoted names to lower case, and public data sets spell theirs in every case. A name that matches exactly one known column
//! only when case is ignored is replaced by that column's exact name, in quotes.

use std::collections::HashMap;
use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast::{Expr, Ident, visit_expressions_mut};

/// Spells the columns of a statement as the tables do. Answers whether anything changed.
pub(crate) fn spell_columns(statement: &mut Statement, columns: &[String]) -> bool {
    let spellings = Spellings::new(columns);
    let mut changed = false;
    visit(statement, &mut |expr| changed |= spellings.apply_to(expr));
    changed
}

/// The same for one expression.
pub(crate) fn spell_columns_of(expr: &mut Expr, columns: &[String]) -> bool {
    let spellings = Spellings::new(columns);
    let mut changed = false;
    let _: ControlFlow<()> = visit_expressions_mut(expr, |expr| {
        changed |= spellings.apply_to(expr);
        ControlFlow::Continue(())
    });
    changed
}

fn visit(statement: &mut Statement, action: &mut impl FnMut(&mut Expr)) {
    match statement {
        Statement::Statement(inner) => {
            let _: ControlFlow<()> = visit_expressions_mut(&mut **inner, |expr| {
                action(expr);
                ControlFlow::Continue(())
            });
        }
        Statement::Explain(explain) => visit(&mut explain.statement, action),
        _ => {}
    }
}

struct Spellings<'a> {
    /// Lower case → exact name; `None` when two columns differ in case alone.
    exact: HashMap<String, Option<&'a str>>,
}

impl<'a> Spellings<'a> {
    fn new(columns: &'a [String]) -> Self {
        let mut exact: HashMap<String, Option<&'a str>> = HashMap::new();
        for column in columns {
            exact
                .entry(column.to_lowercase())
                .and_modify(|known| {
                    if *known != Some(column) {
                        *known = None;
                    }
                })
                .or_insert(Some(column));
        }
        Self { exact }
    }

    fn apply_to(&self, expr: &mut Expr) -> bool {
        let ident = match expr {
            Expr::Identifier(ident) => Some(ident),
            Expr::CompoundIdentifier(parts) => parts.last_mut(),
            _ => None,
        };
        ident.is_some_and(|ident| self.apply(ident))
    }

    fn apply(&self, ident: &mut Ident) -> bool {
        if ident.quote_style.is_some() {
            return false;
        }
        let folded = ident.value.to_lowercase();
        match self.exact.get(&folded) {
            Some(Some(exact)) if *exact != folded => {
                ident.value = (*exact).to_owned();
                ident.quote_style = Some('"');
                true
            }
            _ => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use datafusion::sql::parser::DFParser;

    use super::*;

    #[test]
    fn names_take_the_spelling_of_the_table() {
        let columns: Vec<String> = ["VendorID", "fare", "A", "a"].iter().map(|name| (*name).to_owned()).collect();
        let table = [
            ("SELECT vendorid FROM t", "SELECT \"VendorID\" FROM t"),
            (
                "SELECT t.VENDORID, sum(Fare) FROM t GROUP BY t.VendorID",
                "SELECT t.\"VendorID\", sum(Fare) FROM t GROUP BY t.\"VendorID\"",
            ),
            ("SELECT \"vendorid\", A FROM t", "SELECT \"vendorid\", A FROM t"),
            ("EXPLAIN SELECT vendorid FROM t", "EXPLAIN SELECT \"VendorID\" FROM t"),
        ];
        for (sql, expected) in table {
            let mut statement = DFParser::parse_sql(sql).unwrap().pop_front().unwrap();
            spell_columns(&mut statement, &columns);
            assert_eq!(statement.to_string(), expected);
        }
    }
}
