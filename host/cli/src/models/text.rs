//! A run of models as people read it.

use std::fmt::Write as _;

use lakehost_pipeline::models::{ModelsReport, ModelsStatus, NodeReport};

use crate::render::line;
use crate::screen;
use crate::table::grouped;

/// Characters of a row where there is no terminal.
const UNSEEN_WIDTH: usize = 160;
/// Nodes that are listed as skipped.
const SHOWN_SKIPPED: usize = 5;

/// One line as a node ends. `place`: its number, and how many there are.
pub fn ended(node: &NodeReport, (number, of): (u64, u64)) -> String {
    let name = node.table.as_deref().unwrap_or(&node.name);
    let width = of.to_string().len();
    let found = node.failures.filter(|_| node.status != "pass").map(|rows| format!("  {}", rows_of(rows)));
    format!(
        "  {number:>width$}/{of}  {:<8}  {:<8}  {}{}  {:.2} s\n",
        word(node),
        line(&node.kind.replace('_', " ")),
        line(name),
        found.unwrap_or_default(),
        node.seconds
    )
}

/// The whole report, a line for each table, and a block for what did not go well.
pub fn report(report: &ModelsReport) -> String {
    let mut text = String::new();
    let _ = writeln!(text, "{}{}  {}", line(&project(report)), on(report), summary(report));
    if !report.windows.is_empty() && report.status != ModelsStatus::Unchanged {
        let _ = writeln!(text, "  windows   {}", line(&report.windows.join(", ")));
    }
    if let Some(note) = &report.note {
        let _ = writeln!(text, "  {}", line(note));
    }
    let made = |node: &&NodeReport| node.table.is_some() && !node.failed() && node.status != "skipped";
    let width =
        report.nodes.iter().filter(made).filter_map(|node| node.table.as_ref()).map(String::len).max().unwrap_or(0);
    for node in report.nodes.iter().filter(made) {
        let rows = node.rows.map(|rows| format!("{:>14}", rows_of(rows))).unwrap_or_default();
        let table = line(node.table.as_deref().unwrap_or_default());
        let _ = writeln!(text, "  {:<8}  {table:<width$}{rows}  {:.2} s", node.kind, node.seconds);
    }
    let columns = screen::stdout_columns().unwrap_or(UNSEEN_WIDTH);
    for node in report.nodes.iter().filter(|node| node.failed() || node.status == "warn") {
        text.push_str(&trouble(node, columns));
    }
    let skipped: Vec<&str> = report
        .nodes
        .iter()
        .filter(|node| node.status == "skipped" && node.kind != "test")
        .map(|node| node.name.as_str())
        .collect();
    if !skipped.is_empty() {
        let more = skipped.len().saturating_sub(SHOWN_SKIPPED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let shown = skipped.iter().take(SHOWN_SKIPPED).copied().collect::<Vec<_>>().join(", ");
        let _ = writeln!(text, "  skipped   {}{more}", line(&shown));
    }
    text
}

/// The project's folder, without what leads there.
fn project(report: &ModelsReport) -> String {
    report.project.trim_end_matches('/').rsplit('/').next().unwrap_or_default().to_owned()
}

fn on(report: &ModelsReport) -> String {
    report.engine.as_deref().map(|engine| format!(" on {engine}")).unwrap_or_default()
}

/// `6 models, 1 seed, 19 tests: all well, 10.5 s`
fn summary(report: &ModelsReport) -> String {
    let word = match report.status {
        ModelsStatus::Built => "built",
        ModelsStatus::Unchanged => return "no models run".to_owned(),
        ModelsStatus::LeftOut => return "left out".to_owned(),
        ModelsStatus::Pending => "not run",
        ModelsStatus::Failed => "failed",
        ModelsStatus::Interrupted => "interrupted",
    };
    let mut parts = vec![word.to_owned()];
    for (kind, one, many) in [
        ("model", "model", "models"),
        ("seed", "seed", "seeds"),
        ("snapshot", "snapshot", "snapshots"),
        ("test", "test", "tests"),
        ("unit_test", "unit test", "unit tests"),
    ] {
        match report.nodes.iter().filter(|node| node.kind == kind).count() {
            0 => {}
            1 => parts.push(format!("1 {one}")),
            count => parts.push(format!("{count} {many}")),
        }
    }
    let count = |wanted: fn(&NodeReport) -> bool| report.nodes.iter().filter(|node| wanted(node)).count();
    for (count, word) in [
        (count(NodeReport::failed), "failed"),
        (count(|node| node.status == "warn"), "warned"),
        (count(|node| node.status == "skipped"), "skipped"),
    ] {
        if count > 0 {
            parts.push(format!("{count} {word}"));
        }
    }
    if let Some(error) = &report.error {
        parts.push(error.code.to_owned());
    }
    parts.push(format!("{:.1} s", report.seconds));
    parts.join(", ")
}

/// What failed: the model or test, its file, what was said, and rows.
fn trouble(node: &NodeReport, columns: usize) -> String {
    let mut text = String::new();
    let of = node.of.as_deref().map(|of| format!(" of {of}")).unwrap_or_default();
    let word = if node.failed() { "failed" } else { "warned" };
    let _ = writeln!(text, "  {word:<8}  {} {}{}", line(&node.kind.replace('_', " ")), line(&node.name), line(&of));
    let _ = writeln!(text, "            file      {}", line(&node.file));
    for (index, said) in node.message.iter().flat_map(|message| message.lines()).enumerate() {
        let _ = writeln!(text, "            {:<8}  {}", if index == 0 { "cause" } else { "" }, line(said));
    }
    if let Some(compiled) = &node.compiled {
        let _ = writeln!(text, "            compiled  {}", line(compiled));
    }
    for (index, row) in node.sample.iter().enumerate() {
        let cells: Vec<String> =
            row.iter().map(|(column, value)| format!("{}={}", line(column), line(&value.to_string()))).collect();
        let shown = format!("            {:<8}  {}", if index == 0 { "rows" } else { "" }, cells.join(" "));
        let _ = writeln!(text, "{}", crate::report::cut(&shown, columns));
    }
    text
}

fn rows_of(rows: u64) -> String {
    format!("{} {}", grouped(rows), if rows == 1 { "row" } else { "rows" })
}

fn word(node: &NodeReport) -> &'static str {
    match node.status.as_str() {
        "success" | "pass" => "ok",
        "warn" => "warning",
        "skipped" => "skipped",
        "no-op" => "no-op",
        _ => "FAILED",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(kind: &str, name: &str, status: &str) -> NodeReport {
        NodeReport {
            name: name.to_owned(),
            kind: kind.to_owned(),
            status: status.to_owned(),
            seconds: 0.25,
            ..NodeReport::default()
        }
    }

    #[test]
    fn people_see_tables_trouble_and_what_was_skipped() {
        let mut told = ModelsReport::new("/a/dbt_project".to_owned(), ModelsStatus::Failed, vec!["2024-03".to_owned()]);
        told.engine = Some("duckdb".to_owned());
        told.seconds = 9.87;
        let mut stg = node("model", "stg", "success");
        (stg.table, stg.rows) = (Some("silver.stg".to_owned()), Some(9_832));
        let mut test = node("test", "accepted_values", "fail");
        (test.of, test.file, test.failures) = (Some("stg".to_owned()), "models/stg.yml".to_owned(), Some(1));
        test.message = Some("Got 1 result".to_owned());
        test.sample.push(serde_json::from_str(r#"{"value_field": 2, "n": "a\u001b[2J"}"#).unwrap());
        told.nodes = vec![stg, test, node("model", "fct", "skipped")];
        assert_eq!(
            report(&told),
            "\
dbt_project on duckdb  failed, 2 models, 1 test, 1 failed, 1 skipped, 9.9 s
  windows   2024-03
  model     silver.stg    9,832 rows  0.25 s
  failed    test accepted_values of stg
            file      models/stg.yml
            cause     Got 1 result
            rows      value_field=2 n=\"a\\u001b[2J\"
  skipped   fct
"
        );
    }

    #[test]
    fn each_node_is_a_line_as_it_ends() {
        let mut test = node("test", "unique_a", "fail");
        test.failures = Some(1_200);
        assert_eq!(ended(&test, (3, 28)), "   3/28  FAILED    test      unique_a  1,200 rows  0.25 s\n");
        assert_eq!(ended(&node("model", "a", "success"), (12, 28)), "  12/28  ok        model     a  0.25 s\n");
    }

    #[test]
    fn nothing_to_do_is_one_line_and_why() {
        let mut told = ModelsReport::new("dbt_project".to_owned(), ModelsStatus::Unchanged, Vec::new());
        told.note = Some("nothing changed".to_owned());
        assert_eq!(report(&told), "dbt_project  no models run\n  nothing changed\n");
    }
}
