//! `[[pipeline.NAME.check]]`: one kind of check a section, as it is written and as the pipeline wants it.

use std::path::Path;

use lakehost_pipeline::checks::{Check, CheckKind, Severity};
use lakehost_pipeline::ports::TableName;
use lakehost_pipeline::span_ms;
use serde::Deserialize;
use serde_json::Value;

use super::file::Share;

/// One section. Exactly one kind belongs in it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckSection {
    /// How reports call it; else kind and columns.
    pub name: Option<String>,
    /// `warn` publishes and says so.
    pub severity: Option<SeverityWord>,
    /// Columns without nulls.
    pub not_null: Option<Names>,
    /// Columns that are a key together.
    pub unique: Option<Names>,
    /// The only values of a column.
    pub accepted_values: Option<Accepted>,
    /// Bounds of a column.
    pub range: Option<Bounds>,
    /// What a text matches.
    pub regex: Option<Pattern>,
    /// Rows against those of the window before.
    pub row_count: Option<RowCount>,
    /// How old the newest value may be.
    pub freshness: Option<Freshness>,
    /// The column of another table that has every value.
    pub foreign_key: Option<ForeignKey>,
    /// A statement without rows.
    pub sql: Option<String>,
    /// Tests of a dbt project.
    pub dbt: Option<DbtTests>,
}

/// Tests by dbt's own words, of the pipeline's project or another one.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged, expecting = "dbt's words for --select, or { project, select, exclude }")]
pub enum DbtTests {
    Select(String),
    Of(DbtChoice),
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DbtChoice {
    pub project: Option<String>,
    pub select: String,
    pub exclude: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SeverityWord {
    Error,
    Warn,
}

/// One column or several.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(untagged, expecting = "a column, or a list of columns")]
pub enum Names {
    One(String),
    Many(Vec<String>),
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Accepted {
    pub column: String,
    pub values: Vec<toml::Value>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    pub column: String,
    pub min: Option<toml::Value>,
    pub max: Option<toml::Value>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pattern {
    pub column: String,
    pub pattern: String,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RowCount {
    pub within: Share,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Freshness {
    pub column: String,
    pub max_age: String,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ForeignKey {
    pub column: String,
    pub references: String,
}

/// The checks of a pipeline. `models`: its dbt project, relative to `folder`, as other names of the file are. Fails with a sentence that names
/// the check.
pub fn resolve(sections: &[CheckSection], models: Option<&str>, folder: &Path) -> Result<Vec<Check>, String> {
    let mut checks: Vec<Check> = Vec::with_capacity(sections.len());
    for (section, number) in sections.iter().zip(1..) {
        let kind =
            kind(section, &|project| found(project.or(models), folder)).map_err(|reason| match &section.name {
                Some(name) => format!("check `{}`: {reason}", name.escape_debug()),
                None => format!("check {number}: {reason}"),
            })?;
        let name = section.name.clone().unwrap_or_else(|| kind.default_name());
        if checks.iter().any(|known| known.name == name) {
            return Err(format!("two checks are called `{}`: give one another `name`", name.escape_debug()));
        }
        let severity = match section.severity {
            Some(SeverityWord::Warn) => Severity::Warn,
            Some(SeverityWord::Error) | None => Severity::Error,
        };
        checks.push(Check { name, kind, severity });
    }
    Ok(checks)
}

/// The folder of a dbt project.
fn found(project: Option<&str>, folder: &Path) -> Result<String, String> {
    let project = project
        .ok_or("dbt needs a project: name its folder with `models` of the pipeline, or as { project, select }")?;
    let wanted = folder.join(project);
    match std::path::absolute(&wanted) {
        Ok(path) if path.join("dbt_project.yml").is_file() => Ok(path.display().to_string()),
        _ => Err(format!("dbt names {}, which is no dbt project: it has no dbt_project.yml", wanted.display())),
    }
}

type FindProject<'a> = dyn Fn(Option<&str>) -> Result<String, String> + 'a;

/// Tests of a project.
fn dbt_tests(tests: &DbtTests, project: &FindProject<'_>) -> Result<CheckKind, String> {
    let (named, select, exclude) = match tests {
        DbtTests::Select(select) => (None, select.as_str(), ""),
        DbtTests::Of(choice) => {
            (choice.project.as_deref(), choice.select.as_str(), choice.exclude.as_deref().unwrap_or_default())
        }
    };
    let words = |text: &str| text.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let (select, exclude) = (words(select), words(exclude));
    if select.is_empty() {
        return Err("dbt selects nothing: say which tests, as in \"source:raw.yellow_trips\"".to_owned());
    }
    if let Some(flag) = select.iter().chain(&exclude).find(|word| word.starts_with('-')) {
        return Err(format!("dbt selects by names, and `{}` is a flag", flag.escape_debug()));
    }
    Ok(CheckKind::Dbt { project: project(named)?, select, exclude })
}

fn kind(section: &CheckSection, project: &FindProject<'_>) -> Result<CheckKind, String> {
    let mut kinds = Vec::new();
    if let Some(names) = &section.not_null {
        kinds.push(CheckKind::NotNull(columns(names)?));
    }
    if let Some(names) = &section.unique {
        kinds.push(CheckKind::Unique(columns(names)?));
    }
    if let Some(Accepted { column, values }) = &section.accepted_values {
        if values.is_empty() {
            return Err("accepted_values accepts nothing: list the values".to_owned());
        }
        let values = values.iter().map(value).collect::<Result<_, _>>()?;
        kinds.push(CheckKind::AcceptedValues { column: column.clone(), values });
    }
    if let Some(Bounds { column, min, max }) = &section.range {
        if min.is_none() && max.is_none() {
            return Err("range has neither min nor max".to_owned());
        }
        let bound = |bound: &Option<toml::Value>| bound.as_ref().map(value).transpose();
        kinds.push(CheckKind::Range { column: column.clone(), min: bound(min)?, max: bound(max)? });
    }
    if let Some(Pattern { column, pattern }) = &section.regex {
        kinds.push(CheckKind::Regex { column: column.clone(), pattern: pattern.clone() });
    }
    if let Some(RowCount { within }) = &section.row_count {
        kinds.push(CheckKind::RowCount { within: within.0 });
    }
    if let Some(Freshness { column, max_age }) = &section.freshness {
        let max_age_ms = span_ms(max_age).ok_or_else(|| {
            format!(
                "max_age `{}` is not a span of time: write it as \"2 days\" or \"90 minutes\"",
                max_age.escape_debug()
            )
        })?;
        kinds.push(CheckKind::Freshness { column: column.clone(), max_age_ms });
    }
    if let Some(ForeignKey { column, references }) = &section.foreign_key {
        let wrong = || format!("references `{}` is not NAMESPACE.TABLE.COLUMN", references.escape_debug());
        let (table, to) = references
            .match_indices('.')
            .nth(1)
            .and_then(|(dot, _)| Some((references.get(..dot)?, references.get(dot + 1..)?)))
            .filter(|(_, to)| !to.is_empty())
            .ok_or_else(wrong)?;
        let table = TableName::parse(table).map_err(|_| wrong())?;
        kinds.push(CheckKind::ForeignKey { column: column.clone(), table, to: to.to_owned() });
    }
    if let Some(sql) = &section.sql {
        kinds.push(CheckKind::Sql(sql.clone()));
    }
    if let Some(tests) = &section.dbt {
        kinds.push(dbt_tests(tests, project)?);
    }
    let words: Vec<&str> = kinds.iter().map(CheckKind::word).collect();
    match (kinds.pop(), words.as_slice()) {
        (Some(kind), [_]) => Ok(kind),
        (None, _) => Err("it says not what to look at: not_null, unique, accepted_values, range, regex, row_count, \
                          freshness, foreign_key, sql or dbt"
            .to_owned()),
        (Some(_), words) => Err(format!("{} belong in sections of their own", words.join(" and "))),
    }
}

fn columns(names: &Names) -> Result<Vec<String>, String> {
    let names = match names {
        Names::One(name) => vec![name.clone()],
        Names::Many(names) => names.clone(),
    };
    if names.is_empty() { Err("its list of columns is empty".to_owned()) } else { Ok(names) }
}

/// A value as JSON has it; dates and times by their text.
fn value(value: &toml::Value) -> Result<Value, String> {
    Ok(match value {
        toml::Value::String(text) => Value::from(text.as_str()),
        toml::Value::Integer(number) => Value::from(*number),
        toml::Value::Float(number) => Value::from(*number),
        toml::Value::Boolean(flag) => Value::from(*flag),
        toml::Value::Datetime(time) => Value::from(time.to_string()),
        toml::Value::Array(_) | toml::Value::Table(_) => {
            return Err("a value is a text, a number, true, false, a date or a time".to_owned());
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Check>, String> {
        #[derive(Deserialize)]
        struct Sections {
            check: Vec<CheckSection>,
        }
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        resolve(&toml::from_str::<Sections>(text).unwrap().check, None, &root)
    }

    #[test]
    fn every_kind_is_read() {
        let checks = read(
            r#"
[[check]]
not_null = "a"
[[check]]
unique = ["a", "b"]
severity = "warn"
[[check]]
accepted_values = { column = "kind", values = ["Y", 1, 2.5, true, 2024-01-31] }
[[check]]
range = { column = "fare", min = 0, max = 99.5 }
[[check]]
regex = { column = "code", pattern = "^[A-Z]+$" }
[[check]]
row_count = { within = "20%" }
[[check]]
freshness = { column = "at", max_age = "2 days" }
[[check]]
foreign_key = { column = "zone", references = "ref.zones.Location.ID" }
[[check]]
name = "no ghosts"
sql = "select * from {table} where a < 0"
[[check]]
dbt = { project = "dbt_project", select = "source:raw.a  tag:b", exclude = "c" }
"#,
        )
        .unwrap();
        let names: Vec<&str> = checks.iter().map(|check| check.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "not_null(a)",
                "unique(a, b)",
                "accepted_values(kind)",
                "range(fare)",
                "regex(code)",
                "row_count",
                "freshness(at)",
                "foreign_key(zone)",
                "no ghosts",
                "dbt(source:raw.a tag:b)"
            ]
        );
        assert_eq!(checks.iter().filter(|check| check.severity == Severity::Warn).count(), 1);
        let values = ["Y".into(), 1.into(), 2.5.into(), true.into(), "2024-01-31".into()].to_vec();
        assert_eq!(checks[2].kind, CheckKind::AcceptedValues { column: "kind".to_owned(), values });
        assert_eq!(checks[5].kind, CheckKind::RowCount { within: 0.2 });
        assert_eq!(checks[6].kind, CheckKind::Freshness { column: "at".to_owned(), max_age_ms: 172_800_000 });
        let table = TableName::parse("ref.zones").unwrap();
        let key = CheckKind::ForeignKey { column: "zone".to_owned(), table, to: "Location.ID".to_owned() };
        assert_eq!(checks[7].kind, key);
        let CheckKind::Dbt { project, select, exclude } = &checks[9].kind else { panic!("{:?}", checks[9]) };
        assert!(Path::new(project).is_absolute() && project.ends_with("dbt_project"), "{project}");
        assert_eq!((select.len(), exclude.as_slice()), (2, ["c".to_owned()].as_slice()));
    }

    #[test]
    fn what_is_no_check_is_named() {
        for (text, expected) in [
            (
                "[[check]]\nname = \"x\"\n",
                "check `x`: it says not what to look at: not_null, unique, accepted_values, range, regex, row_count, freshness, foreign_key, sql or dbt",
            ),
            ("[[check]]\nnot_null = \"a\"\nsql = \"s\"\n", "check 1: not_null and sql belong in sections of their own"),
            (
                "[[check]]\ndbt = \"source:a.b\"\n",
                "check 1: dbt needs a project: name its folder with `models` of the pipeline, or as { project, select }",
            ),
            (
                "[[check]]\ndbt = { project = \"dbt_project\", select = \" \" }\n",
                "check 1: dbt selects nothing: say which tests, as in \"source:raw.yellow_trips\"",
            ),
            (
                "[[check]]\ndbt = { project = \"dbt_project\", select = \"a --full-refresh\" }\n",
                "check 1: dbt selects by names, and `--full-refresh` is a flag",
            ),
            ("[[check]]\nunique = []\n", "check 1: its list of columns is empty"),
            ("[[check]]\nrange = { column = \"a\" }\n", "check 1: range has neither min nor max"),
            (
                "[[check]]\nfreshness = { column = \"a\", max_age = \"soon\" }\n",
                "check 1: max_age `soon` is not a span of time: write it as \"2 days\" or \"90 minutes\"",
            ),
            (
                "[[check]]\nforeign_key = { column = \"a\", references = \"zones.id\" }\n",
                "check 1: references `zones.id` is not NAMESPACE.TABLE.COLUMN",
            ),
            (
                "[[check]]\nsql = \"a\"\n[[check]]\nsql = \"b\"\n",
                "two checks are called `sql`: give one another `name`",
            ),
        ] {
            assert_eq!(read(text).unwrap_err(), expected);
        }
    }
}
