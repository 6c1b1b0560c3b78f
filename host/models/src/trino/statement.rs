//! What is sent: the text of one statement, and whether it only reads.

/// One statement, with the session properties that it runs under.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statement {
    pub sql: String,
    /// `lake.target_max_file_size` and its like, with their values.
    pub session: Vec<(String, String)>,
}

impl Statement {
    /// A statement under Trino's own settings. Its text may end in semicolons, which the protocol does not take.
    #[must_use]
    pub fn new(sql: &str) -> Self {
        Self { sql: sql.trim_end_matches(|c: char| c == ';' || c.is_whitespace()).to_owned(), session: Vec::new() }
    }

    /// The same under a session property.
    #[must_use]
    pub fn with(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.session.push((name.into(), value.into()));
        self
    }
}

/// Whether a statement changes nothing, so that it may be sent again. What is not known to read is taken to write.
#[must_use]
pub fn is_read(sql: &str) -> bool {
    let rest = behind_comments(sql);
    let (word, behind) = first_word(rest);
    match word.to_ascii_uppercase().as_str() {
        "SELECT" | "WITH" | "VALUES" | "TABLE" | "SHOW" | "DESCRIBE" | "DESC" => true,
        "" => rest.strip_prefix('(').is_some_and(is_read),
        "EXPLAIN" => {
            let (next, behind) = first_word(behind_comments(behind));
            if !next.eq_ignore_ascii_case("ANALYZE") {
                // A plan alone runs nothing, whatever it is of.
                return true;
            }
            let (verbose, further) = first_word(behind_comments(behind));
            is_read(if verbose.eq_ignore_ascii_case("VERBOSE") { further } else { behind })
        }
        _ => false,
    }
}

/// A name in double quotes, as SQL takes any name.
#[must_use]
pub fn quoted(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text in single quotes.
#[must_use]
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

/// The text from its first word or sign on.
fn behind_comments(sql: &str) -> &str {
    let mut rest = sql.trim_start();
    loop {
        let behind = if let Some(comment) = rest.strip_prefix("--") {
            comment.split_once('\n').map_or("", |(_, behind)| behind)
        } else if let Some(comment) = rest.strip_prefix("/*") {
            comment.split_once("*/").map_or("", |(_, behind)| behind)
        } else {
            return rest;
        };
        rest = behind.trim_start();
    }
}

fn first_word(text: &str) -> (&str, &str) {
    let end = text.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_')).unwrap_or(text.len());
    text.split_at(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_are_told_from_writes() {
        for read in [
            "select 1",
            "  -- a comment\n/* and\none more */ SELECT 1",
            "((select 1) union all (select 2))",
            "WITH a AS (SELECT 1) SELECT * FROM a",
            "values (1), (2)",
            "TABLE raw.t",
            "show catalogs",
            "DESCRIBE raw.t",
            "explain insert into raw.t values (1)",
            "EXPLAIN ANALYZE VERBOSE select 1",
            "explain /* x */ analyze (select 1)",
        ] {
            assert!(is_read(read), "{read}");
        }
        for write in [
            "",
            ";",
            "-- select 1",
            "/* select 1",
            "insert into raw.t select 1",
            "selection",
            "EXPLAIN ANALYZE DELETE FROM raw.t",
            "explain analyze verbose insert into t values (1)",
            "CALL system.rollback()",
            "EXECUTE p",
            "alter table t execute optimize",
            "MERGE INTO t USING s ON false WHEN NOT MATCHED THEN INSERT VALUES (1)",
            "(delete from t)",
        ] {
            assert!(!is_read(write), "{write}");
        }
    }

    #[test]
    fn names_and_texts_are_quoted() {
        assert_eq!(quoted("a\"b; drop"), "\"a\"\"b; drop\"");
        assert_eq!(literal("it's"), "'it''s'");
        assert_eq!(Statement::new("select 1 ;\n; ").sql, "select 1");
    }
}
