//! Statements that are refused or cannot be parsed: what the reader probably wanted, and how it is had here.

use std::ops::ControlFlow;

use datafusion::sql::parser::Statement;
use datafusion::sql::sqlparser::ast;

use crate::error::{Error, nearest_of};

/// Statements that are answered.
const ALLOWED: &str = "`query` reads: a statement begins with SELECT, WITH, VALUES or EXPLAIN";
/// Words that a statement is made of, for whoever mistyped one.
const KEYWORDS: &[&str] = &[
    "SELECT", "FROM", "WHERE", "GROUP", "ORDER", "HAVING", "LIMIT", "OFFSET", "JOIN", "LEFT", "INNER", "UNION", "WITH",
    "VALUES", "EXPLAIN", "DISTINCT", "BETWEEN", "CASE", "CAST", "COUNT",
];

/// What a statement that is no query would do.
pub(crate) fn of_statement(statement: &Statement) -> Error {
    let text = statement.to_string();
    let word = text.split_whitespace().next().unwrap_or("this").to_uppercase();
    // The table of `DESCRIBE raw.trips`, of `DROP TABLE raw.trips`: as it was written, for a line that can be run.
    let table = match statement {
        Statement::Statement(inner) => match &**inner {
            ast::Statement::ExplainTable { table_name, .. } => Some(table_name.to_string()),
            ast::Statement::ShowColumns { .. } => text.split_whitespace().last().map(str::to_owned),
            ast::Statement::Drop { object_type: ast::ObjectType::Table, names, .. } => {
                names.first().map(ToString::to_string)
            }
            _ => None,
        },
        _ => None,
    };
    let table = table.unwrap_or_else(|| "NAMESPACE.NAME".to_owned());
    let way = match word.as_str() {
        "DESCRIBE" | "DESC" => format!("`lakehost table show {table}` shows its columns"),
        "SHOW" if text.to_uppercase().starts_with("SHOW COLUMNS") => {
            format!("`lakehost table show {table}` shows its columns")
        }
        "SHOW" => {
            "`lakehost table list` shows the tables, `lakehost table show NAMESPACE.NAME` the columns of one".to_owned()
        }
        "DROP" => format!("`lakehost table drop {table}` removes a table"),
        "CREATE" => "tables are made by `lakehost run --table NAMESPACE.NAME`".to_owned(),
        "USE" => "write tables as namespace.name; `lakehost table list` shows them".to_owned(),
        "SET" | "RESET" => "`--memory` and `--as-of` are what a query can be given".to_owned(),
        "DELETE" => "`lakehost table delete NAMESPACE.NAME --where CONDITION` deletes rows".to_owned(),
        "INSERT" | "UPDATE" | "MERGE" | "COPY" | "TRUNCATE" => {
            "rows come and go by `lakehost run`, window by window".to_owned()
        }
        _ => "tables change through `lakehost run` and `lakehost table`".to_owned(),
    };
    Error::NotAQuery { what: word, hint: format!("{way}; {ALLOWED}") }
}

/// A statement that the parser does not take, in its own words, with the keyword that was probably meant.
pub(crate) fn of_parser(sql: &str, parser: &str) -> Error {
    unparsed(sql, parser, "the SQL statement", ALLOWED)
}

/// What a condition looks like.
pub(crate) const CONDITION: &str =
    "a condition is what stands behind WHERE: \"fare_amount < 0 and payment_type is null\"";

/// The same of a condition.
pub(crate) fn of_condition(sql: &str, parser: &str) -> Error {
    unparsed(sql, parser, "the condition", CONDITION)
}

/// Whether a query stands in an expression.
pub(crate) fn has_subquery(expr: &ast::Expr) -> bool {
    let found = ast::visit_expressions(expr, |expr| match expr {
        ast::Expr::Subquery(_) | ast::Expr::InSubquery { .. } | ast::Expr::Exists { .. } => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    });
    found.is_break()
}

fn unparsed(sql: &str, parser: &str, subject: &str, allowed: &str) -> Error {
    let sentence = parser.strip_prefix("sql parser error: ").unwrap_or(parser);
    let (what, place) = match sentence.rsplit_once(" at Line: ") {
        Some((what, place)) => (what, place.split_once(", Column: ")),
        None => (sentence, None),
    };
    let number = |text: &str| text.trim().parse::<usize>().ok();
    let place = place.and_then(|(line, column)| Some((number(line)?, number(column)?)));
    let mut message = format!("{subject} cannot be parsed: {}", lowered(what));
    if let Some((line, column)) = place {
        message.push_str(&format!(" (line {line}, column {column})"));
    }
    let meant = place.and_then(|(line, column)| keyword_meant(sql, line, column));
    let hint = match meant {
        Some((written, keyword)) => format!("did you mean {keyword} where `{written}` stands?"),
        None if what.ends_with("found: EOF") => format!("{} ends too early", subject.replace("SQL ", "")),
        None => allowed.to_owned(),
    };
    Error::Sql { message, hint: Some(hint) }
}

/// `Expected: end of statement, found: form` as a part of a sentence.
fn lowered(what: &str) -> String {
    match what.strip_prefix("Expected: ").and_then(|rest| rest.split_once(", found: ")) {
        Some((wanted, "EOF")) => format!("{wanted} is expected at its end"),
        Some((wanted, found)) => format!("{wanted} is expected, and there is `{found}`"),
        None => what.to_owned(),
    }
}

/// The keyword that the word at a place looks like, or the one before it: `wher x = 1` fails at the x.
fn keyword_meant(sql: &str, line: usize, column: usize) -> Option<(&str, &'static str)> {
    let mut words = Vec::new();
    for (index, text) in sql.lines().enumerate().take(line) {
        let mut start = None;
        let ends =
            text.char_indices().map(|(at, c)| (at, c.is_alphanumeric() || c == '_')).chain([(text.len(), false)]);
        for (at, inside) in ends {
            match (start, inside) {
                (None, true) => start = Some(at),
                (Some(from), false) => {
                    if index + 1 < line || from < column {
                        words.push(text.get(from..at)?);
                    }
                    start = None;
                }
                _ => {}
            }
        }
    }
    words.iter().rev().take(2).find_map(|word| {
        let upper = word.to_uppercase();
        let known = KEYWORDS.contains(&upper.as_str());
        nearest_of(word, KEYWORDS.iter().copied(), KEYWORD_LIKENESS).filter(|_| !known).map(|keyword| (*word, keyword))
    })
}

/// A column may well look a little like a keyword.
const KEYWORD_LIKENESS: f64 = 0.84;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_that_were_meant_are_found() {
        for (sql, line, column, expected) in [
            ("selekt 1", 1, 1, Some(("selekt", "SELECT"))),
            ("select * form raw.t", 1, 10, Some(("form", "FROM"))),
            ("select * from raw.t wher x = 1", 1, 26, Some(("wher", "WHERE"))),
            ("select *\nfrom raw.t\ngruop by x", 3, 7, Some(("gruop", "GROUP"))),
            ("select fare fare2 fare3 from t", 1, 19, None),
        ] {
            assert_eq!(keyword_meant(sql, line, column), expected, "{sql}");
        }
    }
}
