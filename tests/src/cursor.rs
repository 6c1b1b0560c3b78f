//! Sources with a state: what came since is read, once, whatever happens in between.

use anyhow::{Context, Result};

use crate::feed::{Feed, properties, rows};
use crate::support::{Bench, expect, python};

type Change = (Option<i64>, String, i64);

/// Changes of some ids at one time.
fn changes(ids: std::ops::Range<i64>, at: i64) -> Vec<Change> {
    ids.map(|id| (Some(id), format!("name {id} at {at}"), at)).collect()
}

fn state(bench: &Bench, table: &str) -> Result<String> {
    let properties = properties(bench, table)?;
    Ok(properties["lakehost.state.change_feed/orders"].as_str().unwrap_or("none").to_owned())
}

#[test]
fn a_feed_is_merged_and_read_on_from_where_it_was() -> Result<()> {
    let python = python()?;
    let bench = Bench::serving(&[])?;
    let mut feed = Feed::new(&bench, "orders")?;
    // Nothing upstream, and no table yet.
    expect(&feed.load(&bench, "raw.orders", "merge", &[])?, 0, &["no-data"]);
    feed.add(&changes(0..10, 1_000))?;
    feed.add(&changes(5..12, 2_000))?;
    let first = feed.load(&bench, "raw.orders", "merge", &[])?;
    expect(&first, 0, &["loaded"]);
    let merge = &first.json()?["windows"][0]["merge"];
    assert_eq!(*merge, serde_json::json!({ "inserted": 12, "updated": 0, "unchanged": 0, "duplicate_keys": 5 }));
    assert_eq!(state(&bench, "raw.orders")?, r#"{"parts":2,"last":"part-000002.jsonl"}"#);
    let cursor = properties(&bench, "raw.orders")?["lakehost.cursor.change_feed/orders"].to_string();
    assert!(cursor.contains("1970-01-01 00:00:00.002"), "{cursor}");
    // Nothing came: nothing is committed.
    expect(&feed.load(&bench, "raw.orders", "merge", &[])?, 0, &["no-data"]);
    feed.add(&changes(10..14, 3_000))?;
    let second = feed.load(&bench, "raw.orders", "merge", &[])?;
    expect(&second, 0, &["loaded"]);
    let window = &second.json()?["windows"][0];
    assert_eq!(window["rows_read"], 4, "only the new part is read");
    assert_eq!((&window["merge"]["inserted"], &window["merge"]["updated"]), (&2.into(), &2.into()));
    let seen = rows(&bench, &python, "raw.orders")?;
    let at = |id: i64| {
        if id < 5 {
            1_000
        } else if id < 10 {
            2_000
        } else {
            3_000
        }
    };
    let wanted: Vec<_> = (0..14).map(|id| (id, format!("name {id} at {}", at(id)), at(id))).collect();
    assert_eq!(seen, wanted);

    // Back to the first load: its state is back, too, and the run reads what is missing again.
    let snapshots = bench.run(&["snapshots", "raw.orders", "--format", "json"])?.json()?;
    assert_eq!(snapshots["snapshots"][0]["merge"]["updated"], 2);
    let oldest = snapshots["snapshots"][1]["snapshot_id"].as_str().context("no id")?.to_owned();
    let back = bench.run(&["table", "rollback", "raw.orders", &oldest, "--yes", "--format", "json"])?;
    assert_eq!(back.code, 0, "{}", back.stderr);
    assert_eq!(state(&bench, "raw.orders")?, r#"{"parts":2,"last":"part-000002.jsonl"}"#);
    expect(&feed.load(&bench, "raw.orders", "merge", &[])?, 0, &["loaded"]);
    assert_eq!(rows(&bench, &python, "raw.orders")?, wanted);

    // A part without a row moves the state all the same, and a key that is null costs its row.
    feed.add(&[])?;
    let empty = feed.load(&bench, "raw.orders", "merge", &[])?;
    expect(&empty, 0, &["loaded"]);
    assert_eq!(empty.json()?["windows"][0]["rows_read"], 0);
    feed.add(&[(None, "nobody".to_owned(), 9_000), (Some(3), "name 3 at 9000".to_owned(), 9_000)])?;
    let refused = feed.load(&bench, "raw.orders", "merge", &["--no-quarantine"])?;
    assert_eq!((refused.code, refused.error_code().as_str()), (5, "LH0407"), "{}", refused.stderr);
    let rejected = feed.load(&bench, "raw.orders", "merge", &[])?;
    expect(&rejected, 0, &["loaded"]);
    let window = &rejected.json()?["windows"][0];
    assert_eq!(window["rows_rejected"], serde_json::json!({ "merge:null-key": 1 }));
    assert_eq!((&window["rows_read"], &window["rows_written"]), (&2.into(), &1.into()));
    assert_eq!(rows(&bench, &python, "raw.orders")?.len(), 14);
    // Read from the beginning on request: every row is as it is but those that later parts changed, and the last one counts.
    let all = feed.load(&bench, "raw.orders", "merge", &["--force"])?;
    expect(&all, 0, &["loaded"]);
    let merge = &all.json()?["windows"][0]["merge"];
    assert_eq!((&merge["unchanged"], &merge["updated"]), (&14.into(), &0.into()));
    Ok(())
}

#[test]
fn appended_changes_are_there_once_whatever_happens_in_between() -> Result<()> {
    let python = python()?;
    let bench = Bench::serving(&[])?;
    let mut feed = Feed::new(&bench, "orders")?;
    let mut wanted = Vec::new();
    let mut grow = |feed: &mut Feed, at: i64| -> Result<()> {
        let part = changes(at..at + 10, at);
        wanted.extend(part.iter().map(|(id, name, at)| (id.unwrap_or(-1), name.clone(), *at)));
        feed.add(&part)
    };
    grow(&mut feed, 100)?;
    expect(&feed.load(&bench, "raw.orders", "append", &[])?, 0, &["loaded"]);
    // The machine's own folders are lost, and the snapshot that brought the state expires.
    grow(&mut feed, 200)?;
    expect(&feed.load(&bench, "raw.orders", "append", &[])?, 0, &["loaded"]);
    std::fs::remove_dir_all(bench.dir.path().join("warehouse/_lakehost")).ok();
    std::fs::remove_dir_all(bench.dir.path().join("home")).ok();
    let expired = bench.run(&["table", "expire", "raw.orders", "--older-than", "0 days", "--keep", "1"])?;
    assert_eq!(expired.code, 0, "{}", expired.stderr);
    expect(&feed.load(&bench, "raw.orders", "append", &[])?, 0, &["no-data"]);
    // Two hosts at once, again and again: one of them loads a part, the other finds it loaded, gone from the plan, or lost the race.
    for round in 3..9 {
        grow(&mut feed, round * 100)?;
        let args = feed.args(&bench, "raw.orders", "append");
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let mut hosts = Vec::new();
        for _ in 0..2 {
            let output = std::process::Stdio::piped;
            hosts.push(bench.command(&args).stdout(output()).stderr(output()).spawn()?);
        }
        for host in hosts {
            let done = crate::support::done(host.wait_with_output()?)?;
            let ended = done.statuses()?.join(",");
            let lost = done.code == 7 && done.error_code() == "LH0602";
            assert!(done.code == 0 || lost, "{ended}\n{}\n{}", done.stdout, done.stderr);
        }
    }
    expect(&feed.load(&bench, "raw.orders", "append", &[])?, 0, &["no-data"]);
    assert_eq!(rows(&bench, &python, "raw.orders")?, wanted);
    // All at once replaces all, and those that follow read on.
    expect(&feed.load(&bench, "raw.orders", "full-refresh", &[])?, 0, &["loaded"]);
    expect(&feed.load(&bench, "raw.orders", "append", &[])?, 0, &["no-data"]);
    assert_eq!(rows(&bench, &python, "raw.orders")?, wanted);
    // Another feed under the same name is refused: nobody reads on from a place that it does not have.
    let other = Bench::serving(&[])?;
    let mut begun_anew = Feed::new(&other, "orders")?;
    begun_anew.add(&changes(0..3, 1))?;
    let url = format!("base_url={}orders/", other.url());
    let allow = format!("{}orders/", other.url());
    let refused = feed.load(&bench, "raw.orders", "append", &["--config", &url, "--allow", &allow])?;
    assert_eq!(refused.code, 4, "{}\n{}", refused.stdout, refused.stderr);
    assert!(refused.stderr.contains("it is another feed, or was begun anew"), "{}", refused.stderr);
    Ok(())
}
