//! The history of a table as a page with charts: rows, growth and bytes of each snapshot, and the present against an earlier one.

use std::fmt::Write as _;

use lakehost_lake::{Diff, SnapshotInfo};
use lakehost_pipeline::ports::TableName;

use super::{growth, merge_text, plugins, signed, source};
use crate::html::chart::{Chart, Step};
use crate::html::{page, text};
use crate::memory;
use crate::table::grouped;
use crate::time::utc;

/// So many windows of a comparison are listed; the rest is counted.
const WINDOWS: usize = 200;

/// The page. Snapshots come newest first.
pub fn html(name: &TableName, snapshots: &[SnapshotInfo], against: Option<&Diff>) -> String {
    let main: Vec<&SnapshotInfo> = snapshots.iter().rev().filter(|snapshot| snapshot.on_main).collect();
    let mut body = format!("<h1>{}</h1>\n<p>{}</p>\n", text(&name.to_string()), text(&span(&main, snapshots.len())));
    if let Some(newest) = main.last() {
        body.push_str(&tiles(newest, &main));
        body.push_str(&charts(&main));
    }
    if let Some(diff) = against {
        body.push_str(&compared(diff, snapshots));
    }
    if !snapshots.is_empty() {
        body.push_str(&listed(snapshots));
    }
    page(&format!("{name}: snapshots"), &body)
}

fn time(snapshot: &SnapshotInfo) -> String {
    utc(u64::try_from(snapshot.timestamp_ms).unwrap_or_default())
}

fn span(main: &[&SnapshotInfo], all: usize) -> String {
    let (Some(first), Some(last)) = (main.first(), main.last()) else {
        return "This table has no snapshots yet.".to_owned();
    };
    let count = if all == 1 { "1 snapshot".to_owned() } else { format!("{} snapshots", grouped(all as u64)) };
    match first.snapshot_id == last.snapshot_id {
        true => format!("{count}, committed {} UTC", time(first)),
        false => format!("{count}, from {} to {} UTC", time(first), time(last)),
    }
}

fn tiles(newest: &SnapshotInfo, main: &[&SnapshotInfo]) -> String {
    let unknown = || "not known".to_owned();
    let windows: std::collections::BTreeSet<&String> =
        main.iter().filter_map(|snapshot| snapshot.load.get("window")).collect();
    let tiles = [
        ("rows now", newest.rows.map_or_else(unknown, grouped)),
        ("by the newest snapshot", signed(growth(newest))),
        ("data and delete files", newest.files.map_or_else(unknown, grouped)),
        ("in all files", newest.bytes.map_or_else(unknown, memory::shown)),
        ("windows loaded", grouped(windows.len() as u64)),
    ];
    let tile = |(about, value): &(&str, String)| {
        format!("<div class=\"tile\"><b>{}</b><span>{about}</span></div>\n", text(value))
    };
    format!("<div class=\"tiles\">\n{}</div>\n", tiles.iter().map(tile).collect::<String>())
}

/// What stands under a snapshot's place in a chart.
fn label(snapshot: &SnapshotInfo) -> String {
    let named = snapshot.load.get("window").or_else(|| snapshot.load.get("action"));
    named.cloned().unwrap_or_else(|| snapshot.operation.clone())
}

fn steps(
    main: &[&SnapshotInfo],
    value: impl Fn(&SnapshotInfo) -> Option<f64>,
    shown: impl Fn(&SnapshotInfo) -> String,
) -> Vec<Step> {
    let step = |snapshot: &&SnapshotInfo| Step {
        label: label(snapshot),
        about: format!(
            "{}: {}, {} UTC, snapshot {}",
            label(snapshot),
            shown(snapshot),
            time(snapshot),
            snapshot.snapshot_id
        ),
        value: value(snapshot),
    };
    main.iter().map(step).collect()
}

fn charts(main: &[&SnapshotInfo]) -> String {
    let float = |count: u64| count as f64;
    let rows = Chart {
        about: "Rows of the table after each snapshot",
        steps: steps(
            main,
            |one| one.rows.map(float),
            |one| format!("{} rows", one.rows.map_or_else(String::new, grouped)),
        ),
        width: 1_000.0,
        height: 260.0,
        shown: compact,
        bytes: false,
    };
    let grown = Chart {
        about: "Rows that each snapshot added more than it took away",
        steps: steps(main, |one| Some(growth(one) as f64), |one| format!("{} rows", signed(growth(one)))),
        width: 500.0,
        height: 210.0,
        shown: compact,
        bytes: false,
    };
    let bytes = Chart {
        about: "Bytes in all files after each snapshot",
        steps: steps(main, |one| one.bytes.map(float), |one| one.bytes.map_or_else(String::new, memory::shown)),
        width: 500.0,
        height: 210.0,
        shown: size,
        bytes: true,
    };
    let card = |class: &str, title: &str, about: &str, svg: String| {
        format!("<div class=\"card {class}\"><h3>{title} <small>{about}</small></h3>{svg}</div>\n")
    };
    format!(
        "{}<div class=\"pair\">\n{}{}</div>\n",
        card("wide", "Rows", "in the table after each snapshot of main", rows.level()),
        card("", "Growth", "rows added less rows taken away", grown.bars()),
        card("", "Size", "of all files", bytes.level())
    )
}

/// `2.5 M`; all of an axis in one unit.
fn compact(value: f64, most: f64) -> String {
    let size = value.abs();
    let sign = if value < 0.0 { "−" } else { "" };
    let (scaled, unit) = match most {
        most if most >= 1e9 => (size / 1e9, " bn"),
        most if most >= 1e6 => (size / 1e6, " M"),
        most if most >= 2e4 => (size / 1e3, " k"),
        _ => (size, ""),
    };
    let digits = if unit.is_empty() { grouped(scaled as u64) } else { format!("{scaled:.1}") };
    let unit = if value == 0.0 { "" } else { unit };
    format!("{sign}{}{unit}", digits.strip_suffix(".0").unwrap_or(&digits))
}

fn size(value: f64, _most: f64) -> String {
    if value == 0.0 { "0".to_owned() } else { memory::shown(value.max(0.0) as u64).replace(".0 ", " ") }
}

/// The present beside an earlier state, window by window.
fn compared(diff: &Diff, snapshots: &[SnapshotInfo]) -> String {
    let of = |id: i64| match snapshots.iter().find(|snapshot| snapshot.snapshot_id == id) {
        Some(snapshot) => format!("{id}, {} UTC", time(snapshot)),
        None => id.to_string(),
    };
    let change = i128::from(diff.rows_after) - i128::from(diff.rows_before);
    let mut html = format!(
        "<h2>Now against an earlier snapshot: {} → {} ({}) rows</h2>\n<p>Then: snapshot {}<br>Now: snapshot {}</p>\n",
        grouped(diff.rows_before),
        grouped(diff.rows_after),
        signed(change),
        text(&of(diff.from)),
        text(&of(diff.to))
    );
    if diff.windows.is_empty() {
        html.push_str("<p>The files are the same.</p>\n");
        return html;
    }
    if diff.same_rows {
        html.push_str("<p>The rows are the same: compaction put them into other files.</p>\n");
    }
    html.push_str(
        "<div class=\"card\"><table>\n<thead><tr><th>window</th><th class=\"number\">rows then</th><th class=\"number\">rows now</th>\
         <th class=\"number\">change</th><th>then (pale) and now</th><th class=\"number\">files added</th><th class=\"number\">files removed</th></tr></thead>\n<tbody>\n",
    );
    let most = diff.windows.iter().map(|window| window.rows_before.max(window.rows_after)).max().unwrap_or(0).max(1);
    for window in diff.windows.iter().take(WINDOWS) {
        let change = i128::from(window.rows_after) - i128::from(window.rows_before);
        let _ = writeln!(
            html,
            "<tr><td class=\"short\">{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td><td class=\"number {}\">{}</td>\
             <td class=\"bars\">{}</td><td class=\"number\">{}</td><td class=\"number\">{}</td></tr>",
            text(&window.window),
            grouped(window.rows_before),
            grouped(window.rows_after),
            direction(change),
            signed(change),
            two_bars(window.rows_before, window.rows_after, most),
            grouped(window.files_added),
            grouped(window.files_removed)
        );
    }
    html.push_str("</tbody></table></div>\n");
    if let Some(more) = diff.windows.len().checked_sub(WINDOWS).filter(|more| *more > 0) {
        let _ =
            writeln!(html, "<p>{} more windows differ; `lakehost table diff` lists them.</p>", grouped(more as u64));
    }
    html
}

/// Iceberg's word, and lakehost's where it says more: `overwrite (delete)`.
fn operation(snapshot: &SnapshotInfo) -> String {
    match snapshot.load.get("action").filter(|action| *action != "load" && **action != snapshot.operation) {
        Some(action) => format!("{} ({action})", snapshot.operation),
        None => snapshot.operation.clone(),
    }
}

fn direction(change: i128) -> &'static str {
    match change {
        0 => "",
        change if change < 0 => "less",
        _ => "more",
    }
}

fn two_bars(before: u64, after: u64, most: u64) -> String {
    let share = |rows: u64| 200.0 * rows as f64 / most as f64;
    format!(
        "<svg viewBox=\"0 0 200 16\" preserveAspectRatio=\"none\" aria-hidden=\"true\"><rect class=\"area\" width=\"{:.1}\" height=\"7\"/>\
         <rect class=\"bar\" y=\"8\" width=\"{:.1}\" height=\"7\"/></svg>",
        share(before),
        share(after)
    )
}

fn listed(snapshots: &[SnapshotInfo]) -> String {
    let mut html = "<h2>Snapshots</h2>\n<p>Newest first.</p>\n<div class=\"card\"><table>\n<thead><tr><th>committed (UTC)</th><th>operation</th>\
         <th>window</th><th class=\"number\">rows</th><th class=\"number\">growth</th><th class=\"number\">size</th><th>snapshot and run</th>\
         <th>source and plugins</th></tr></thead>\n<tbody>\n"
        .to_owned();
    for snapshot in snapshots {
        let load = |key: &str| snapshot.load.get(key).map_or("", String::as_str);
        let aside = if snapshot.on_main { "" } else { " <span class=\"chip\">not on main</span>" };
        let _ = writeln!(
            html,
            "<tr><td class=\"short\">{}</td><td>{}{}{aside}</td><td class=\"short\">{}</td><td class=\"number\">{}</td><td class=\"number {}\">{}</td>\
             <td class=\"number\">{}</td><td><code>{}</code><br><code class=\"soft\">{}</code></td><td class=\"long\">{}<br><span class=\"soft\">{}</span></td></tr>",
            text(&time(snapshot)),
            text(&operation(snapshot)),
            text(&merge_text(snapshot)),
            text(load("window")),
            snapshot.rows.map(grouped).unwrap_or_default(),
            direction(growth(snapshot)),
            signed(growth(snapshot)),
            snapshot.bytes.map(memory::shown).unwrap_or_default(),
            snapshot.snapshot_id,
            text(load("run-id")),
            text(&source(load("source"))),
            text(&plugins(load("plugins")))
        );
    }
    html.push_str("</tbody></table></div>\n");
    html
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use lakehost_lake::WindowDelta;

    use super::*;

    fn snapshot(id: i64, load: &[(&str, &str)]) -> SnapshotInfo {
        SnapshotInfo {
            snapshot_id: id,
            parent_id: None,
            sequence_number: id,
            timestamp_ms: 1_706_725_800_000,
            operation: "append".to_owned(),
            on_main: true,
            rows: Some(1_703),
            rows_added: 1_703,
            rows_deleted: 0,
            files: Some(1),
            files_added: 1,
            files_deleted: 0,
            bytes: Some(49_537),
            load: load
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect::<BTreeMap<_, _>>(),
        }
    }

    #[test]
    fn hostile_names_are_text_wherever_they_stand() {
        let evil = "\"><script>alert(1)</script><img src=x onerror=alert(2)>";
        let keys = ["window", "run-id", "plugins", "source", "pipeline"].map(|key| (key, evil));
        let name = TableName { namespace: evil.to_owned(), name: "x' onmouseover='y".to_owned() };
        let diff = Diff {
            from: 1,
            to: 2,
            windows: vec![WindowDelta { window: evil.to_owned(), files_added: 1, ..WindowDelta::default() }],
            ..Diff::default()
        };
        let mut odd = snapshot(2, &keys);
        odd.operation = evil.to_owned();
        odd.on_main = false;
        let page = html(&name, &[odd, snapshot(1, &keys)], Some(&diff));
        assert!(!page.contains("<script") && !page.contains("<img") && !page.contains("x' on"), "{page}");
        assert_eq!(page.matches("alert(1)").count(), page.matches("&lt;script&gt;alert(1)").count());
        for outside in ["http://", "https://", "src=", "url(", "@import"] {
            let ours = page.replace(&text(evil), "");
            assert!(!ours.contains(outside), "{outside}");
        }
    }

    #[test]
    fn a_table_without_snapshots_has_a_page() {
        let name = TableName::parse("raw.t").unwrap();
        assert!(html(&name, &[], None).contains("no snapshots yet"));
        let one = html(&name, &[snapshot(1, &[("window", "2024-01")])], None);
        for part in ["1,703", "48.4 KiB", "2024-01-31 18:30:00", "class=\"line\"", "class=\"more\""] {
            assert!(one.contains(part), "{part}");
        }
    }

    #[test]
    fn the_axis_speaks_short() {
        for (value, most, expected) in [
            (0.0, 3e9, "0"),
            (2_500.0, 10_000.0, "2,500"),
            (2_500.0, 25_000.0, "2.5 k"),
            (-2.5e6, 5e6, "−2.5 M"),
            (3e9, 3e9, "3 bn"),
        ] {
            assert_eq!(compact(value, most), expected);
        }
        assert_eq!((size(51_200.0, 1e6).as_str(), size(0.0, 1e6).as_str()), ("50 KiB", "0"));
    }
}
