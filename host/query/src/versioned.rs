//! A statement for Trino with the state that it reads written behind each of its tables: `FROM raw.t FOR VERSION AS OF 42`.

use std::collections::BTreeSet;
use std::ops::ControlFlow;

use datafusion::sql::sqlparser::ast::{ObjectName, ObjectNamePart, visit_relations};
use datafusion::sql::sqlparser::dialect::GenericDialect;
use datafusion::sql::sqlparser::parser::Parser;
use datafusion::sql::sqlparser::tokenizer::Location;

use crate::error::Error;
use crate::time_travel::AsOf;

impl AsOf {
    /// The statement with each table as it was. Names of one part are left alone: they are those of `WITH`.
    ///
    /// # Errors
    /// `LH0107` for a statement that this process cannot read, and for one without a table.
    pub fn written_into(&self, sql: &str) -> Result<String, Error> {
        let clause = match self {
            Self::Snapshot(id) => format!(" FOR VERSION AS OF {id}"),
            Self::Reference(name) => format!(" FOR VERSION AS OF '{}'", name.replace('\'', "''")),
            Self::TimeMs(ms) => format!(" FOR TIMESTAMP AS OF from_unixtime_nanos({ms}000000)"),
        };
        let unable = |message: String| Error::Sql {
            message,
            hint: Some(format!("write `{}` behind each table yourself, without --as-of", clause.trim_start())),
        };
        let statements = Parser::parse_sql(&GenericDialect {}, sql).map_err(|error| {
            unable(format!("--as-of cannot be put into this statement, which only Trino can read ({error})"))
        })?;
        let mut ends = BTreeSet::new();
        let _: ControlFlow<()> = visit_relations(&statements, |name: &ObjectName| {
            if let ([_, .., ObjectNamePart::Identifier(last)], true) = (name.0.as_slice(), name.0.len() > 1) {
                ends.insert(last.span.end);
            }
            ControlFlow::Continue(())
        });
        if ends.is_empty() {
            return Err(unable("--as-of has no table to go with: tables are written as namespace.name".to_owned()));
        }
        let mut text = sql.to_owned();
        for end in ends.into_iter().rev() {
            let offset = offset(sql, end).ok_or_else(|| unable("a table's place cannot be told".to_owned()))?;
            text.insert_str(offset, &clause);
        }
        Ok(text)
    }
}

/// The byte before which a place lies; both its parts count from one.
fn offset(text: &str, place: Location) -> Option<usize> {
    let line = usize::try_from(place.line).ok()?.checked_sub(1)?;
    let start: usize = text.split_inclusive('\n').take(line).map(str::len).sum();
    let rest = text.get(start..)?;
    let column = usize::try_from(place.column).ok()?.checked_sub(1)?;
    Some(start + rest.char_indices().nth(column).map_or(rest.len(), |(offset, _)| offset))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_table_gets_its_state() {
        for (sql, expected) in [
            ("select * from raw.t", "select * from raw.t FOR VERSION AS OF 42"),
            (
                "with x as (select 'ä raw.t' a from raw.t b)\nselect * from x, \"raw\".\"t.ü\" as c\n join lake.raw.u on true where 1=1",
                "with x as (select 'ä raw.t' a from raw.t FOR VERSION AS OF 42 b)\nselect * from x, \"raw\".\"t.ü\" FOR VERSION AS OF 42 as c\n join lake.raw.u FOR VERSION AS OF 42 on true where 1=1",
            ),
            (
                "select (select count(*) from raw.t) from raw.u where a in (select b from raw.v)",
                "select (select count(*) from raw.t FOR VERSION AS OF 42) from raw.u FOR VERSION AS OF 42 where a in (select b from raw.v FOR VERSION AS OF 42)",
            ),
        ] {
            assert_eq!(AsOf::Snapshot(42).written_into(sql).unwrap(), expected);
        }
        assert_eq!(
            AsOf::Reference("audit/x".to_owned()).written_into("select 1 from a.b").unwrap(),
            "select 1 from a.b FOR VERSION AS OF 'audit/x'"
        );
        assert_eq!(
            AsOf::TimeMs(1_706_725_800_123).written_into("select 1 from a.b").unwrap(),
            "select 1 from a.b FOR TIMESTAMP AS OF from_unixtime_nanos(1706725800123000000)"
        );
        for wrong in ["select 1", "select * from t", "select from from"] {
            assert!(AsOf::Snapshot(1).written_into(wrong).is_err(), "{wrong}");
        }
    }
}
