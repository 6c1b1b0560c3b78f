//! The binary as people and scripts meet it: exit code, stdout and stderr of each verb, without any component or network.

#![allow(clippy::unwrap_used, reason = "a test that panics has failed")]

use std::fs;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

/// Exit code, stdout and stderr of one command line, started in `folder`.
fn lakehost(folder: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_lakehost"))
        .args(arguments)
        .current_dir(folder)
        .env_clear()
        .env("HOME", folder)
        .output()
        .expect("the binary starts");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("UTF-8");
    (output.status.code().unwrap_or(-1), text(output.stdout), text(output.stderr))
}

/// A warehouse without tables: to SQLite, an empty file is a database without any.
fn empty_warehouse(folder: &Path) {
    fs::create_dir(folder.join("warehouse")).unwrap();
    fs::write(folder.join("warehouse/catalog.db"), "").unwrap();
}

/// All of what a command line answers. `[DIR]` stands for the folder.
fn check(folder: &Path, arguments: &[&str], exit: i32, stdout: &str, stderr: &str) {
    let (code, out, err) = lakehost(folder, arguments);
    let named = |text: &str| text.replace(&folder.display().to_string(), "[DIR]");
    assert_eq!((named(&out).as_str(), named(&err).as_str(), code), (stdout, stderr, exit), "{arguments:?}");
}

#[test]
fn wrong_command_lines_exit_with_2() {
    let folder = tempfile::tempdir().unwrap();
    check(
        folder.path(),
        &["run", "trips", "--month", "2024-01"],
        2,
        "",
        "error[LH0103]: no pipeline `trips`\n  hint   there is no lakehost.toml here: `lakehost init` writes one, or name a source with --plugin\n",
    );
    check(
        folder.path(),
        &["run", "--plugin", "x.wasm", "--mont", "2024-01"],
        2,
        "",
        "error[LH0101]: unexpected argument `--mont` found\n  hint   a similar argument exists: `--month`\n",
    );
    check(
        folder.path(),
        &["runs", "waiting"],
        2,
        "",
        "error[LH0108]: publishing a whole run at once needs branches over all tables, which only a Nessie has\n  input  profile local\n  \
         hint   leave `publish` away: each window then passes its checks before readers see it; or name a profile whose catalog is a Nessie\n",
    );
    check(
        folder.path(),
        &["explain", "LH0399"],
        2,
        "",
        "error[LH0101]: there is no error code LH0399\n  hint   did you mean LH0301?\n",
    );
    for arguments in [vec![], vec!["table"], vec!["plugin"]] {
        let (code, out, err) = lakehost(folder.path(), &arguments);
        assert!(code == 2 && out.is_empty() && err.contains("Usage: lakehost"), "{arguments:?}: {err}");
    }
}

#[test]
fn a_run_answers_json_however_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let table = [
        (vec!["run", "--plugin", "none.wasm", "--month", "2024-01", "--format", "json"], 2, "LH0101"),
        (vec!["run", "--plugin", "none.wasm", "--month", "2024-01", "--bogus", "--format=json"], 2, "LH0101"),
        (vec!["run", "nobody", "--format", "json"], 2, "LH0103"),
        (vec!["run", "--plugin", "none.wasm", "--warehouse", "s3://a/b", "--format", "json"], 2, "LH0108"),
    ];
    for (arguments, exit, code) in table {
        let (status, out, err) = lakehost(folder.path(), &arguments);
        let report: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{arguments:?}: {error}: {out}"));
        assert_eq!(status, exit, "{arguments:?}");
        assert_eq!(report["totals"]["error"]["code"], code);
        assert_eq!(report["totals"]["status"], "failed");
        assert_eq!(report["windows"].as_array().map(Vec::len), Some(0));
        assert!(err.starts_with(&format!("error[{code}]: ")), "{err}");
    }
    assert!(!folder.path().join("warehouse").exists(), "a run that never began makes no warehouse");
}

#[test]
fn every_verb_answers_an_error_in_json() {
    let folder = tempfile::tempdir().unwrap();
    empty_warehouse(folder.path());
    let table = [
        ("query selekt --format json", 2, "LH0107"),
        ("query selekt --format jsonl", 2, "LH0107"),
        ("query nothing --as-of 2024-13-01 --format=json", 2, "LH0101"),
        ("runs --format json nope", 2, "LH0101"),
        ("runs --format json --warehouse nowhere", 2, "LH0101"),
        ("resolve nope --format json", 2, "LH0101"),
        ("table list --format json --warehouse nowhere", 2, "LH0101"),
        ("table show raw.none --format json", 7, "LH0604"),
        ("table drop raw.none --yes --format json", 7, "LH0604"),
        ("table adopt raw.none --format json", 7, "LH0604"),
        ("snapshots raw.none --format json", 7, "LH0604"),
        ("table files raw.none --format json", 7, "LH0604"),
        ("table files raw.none --as-of 1,2 --format json", 2, "LH0101"),
        ("table refs raw.none --format json", 7, "LH0604"),
        ("table diff raw.none 1..2 --format json", 7, "LH0604"),
        ("table diff raw.none 1 --format json", 2, "LH0101"),
        ("table provenance raw.none main --format json", 7, "LH0604"),
        ("table compact raw.none --format json", 7, "LH0604"),
        ("table compact raw.none --target-size much --format json", 2, "LH0101"),
        ("table expire raw.none --format json", 7, "LH0604"),
        ("table expire raw.none --older-than soon --format json", 2, "LH0101"),
        ("table orphans raw.none --format json", 7, "LH0604"),
        ("table orphans --older-than 1h --format json", 2, "LH0101"),
        ("table rewrite-manifests raw.none --format json", 7, "LH0604"),
        ("snapshots none --format json", 2, "LH0101"),
        ("plugin inspect none.wasm --format json", 2, "LH0101"),
        ("doctor --format json --profile none", 2, "LH0108"),
        ("table list --format json --bogus", 2, "LH0101"),
        ("run --plugin none.wasm --month 2024-01 --format json", 2, "LH0101"),
    ];
    for (line, exit, code) in table {
        let (status, out, err) = lakehost(folder.path(), &line.split_whitespace().collect::<Vec<_>>());
        let answer: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{line}: {error}: {out}"));
        assert_eq!((status, answer["error"]["code"].as_str()), (exit, Some(code)), "{line}");
        assert!(answer["error"]["message"].is_string() && answer["error"]["inputs"].is_object(), "{line}: {out}");
        assert!(err.starts_with(&format!("error[{code}]: ")), "{line}: {err}");
        assert!(!line.contains("jsonl") || out.lines().count() == 1, "{line}: {out}");
    }
    // An answer in another format has no room for an object.
    for line in ["query selekt --format csv", "query selekt", "snapshots raw.none"] {
        let (status, out, _) = lakehost(folder.path(), &line.split_whitespace().collect::<Vec<_>>());
        assert!(status != 0 && out.is_empty(), "{line}: {out}");
    }
}

#[test]
fn a_wrong_file_is_located() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("lakehost.toml"), "[pipeline.a]\nplugin = \"x.wasm\"\nverfy = \"pages\"\n").unwrap();
    check(
        folder.path(),
        &["run", "a", "--month", "2024-01"],
        2,
        "",
        "error[LH0102]: unknown key `verfy`\n  input  lakehost.toml:3:1\n  hint   did you mean `verify`?\n",
    );
}

#[test]
fn queries_answer_in_every_format() {
    let folder = tempfile::tempdir().unwrap();
    let sql = "select 1 as one, 'a b' as text, cast(null as int) as nothing union all select 2, 'c', 3 order by 1";
    check(
        folder.path(),
        &["query", sql],
        2,
        "",
        "error[LH0101]: there is no warehouse [DIR]/warehouse\n  hint   name its folder with --warehouse DIR; `lakehost run` makes a new one\n",
    );
    empty_warehouse(folder.path());
    check(
        folder.path(),
        &["query", sql],
        0,
        "one  text  nothing\n───  ────  ───────\n  1  a b      NULL\n  2  c           3\n",
        "2 rows\n",
    );
    check(
        folder.path(),
        &["query", sql, "--limit", "1"],
        0,
        "one  text  nothing\n───  ────  ───────\n  1  a b      NULL\n",
        "the first row; --limit 0 shows all, --format csv writes them\n",
    );
    check(folder.path(), &["query", sql, "--format", "csv"], 0, "one,text,nothing\n1,a b,\n2,c,3\n", "");
    check(
        folder.path(),
        &["query", sql, "--format", "json"],
        0,
        "[{\"one\":1,\"text\":\"a b\",\"nothing\":null},{\"one\":2,\"text\":\"c\",\"nothing\":3}]\n",
        "",
    );
    check(
        folder.path(),
        &["query", sql, "--format", "jsonl"],
        0,
        "{\"one\":1,\"text\":\"a b\",\"nothing\":null}\n{\"one\":2,\"text\":\"c\",\"nothing\":3}\n",
        "",
    );
    check(folder.path(), &["query", "select 1 as a where false", "--format", "csv"], 0, "a\n", "");
    check(folder.path(), &["query", "select 1 as a where false", "--format", "json"], 0, "[]\n", "");
    check(
        folder.path(),
        &["query", "select * from raw.trips"],
        2,
        "",
        "error[LH0107]: no table `raw.trips`\n  hint   this warehouse has no tables yet; `lakehost run` makes them\n",
    );
    // A limit holds in every format, and a file has what stdout would have had.
    check(folder.path(), &["query", sql, "--format", "csv", "--limit", "1"], 0, "one,text,nothing\n1,a b,\n", "");
    check(folder.path(), &["query", sql, "--format", "csv", "--output", "rows.csv"], 0, "", "");
    assert_eq!(fs::read_to_string(folder.path().join("rows.csv")).unwrap(), "one,text,nothing\n1,a b,\n2,c,3\n");
    check(folder.path(), &["query", sql, "--format", "parquet", "--output", "rows.parquet"], 0, "", "");
    let parquet = fs::read(folder.path().join("rows.parquet")).unwrap();
    assert!(parquet.starts_with(b"PAR1") && parquet.ends_with(b"PAR1"));
    check(
        folder.path(),
        &["query", "select 1", "--as-of", "in an hour"],
        2,
        "",
        "error[LH0101]: `in an hour` is not a point in time, a snapshot id or the name of a branch or tag\n  hint   write it as 2024-01-31, \
         \"2024-01-31 18:30\" (UTC), 2024-01-31T18:30:00+01:00, \"1 hour ago\", a snapshot id from `lakehost snapshots TABLE`, or the name \
         of a branch or tag\n",
    );
}

#[test]
fn verbs_on_nothing_say_so() {
    let folder = tempfile::tempdir().unwrap();
    check(folder.path(), &["runs"], 0, "no runs yet\n", "");
    check(folder.path(), &["table", "list"], 0, "no tables in [DIR]/warehouse\n", "");
    assert!(!folder.path().join("warehouse").exists(), "looking makes nothing");
    fs::create_dir(folder.path().join("warehouse")).unwrap();
    check(folder.path(), &["table", "list"], 0, "no tables in [DIR]/warehouse\n", "");
    let none = |name: &str| {
        format!(
            "error[LH0101]: there is no warehouse [DIR]/{name}\n  hint   name its folder with --warehouse DIR; `lakehost run` makes a new one\n"
        )
    };
    fs::write(folder.path().join("file"), "").unwrap();
    for name in ["nowhere", "file"] {
        check(folder.path(), &["runs", "--warehouse", name], 2, "", &none(name));
        check(folder.path(), &["table", "list", "--warehouse", name], 2, "", &none(name));
    }
    check(folder.path(), &["resolve"], 2, "", &none("warehouse"));
    assert!(!folder.path().join("warehouse/catalog.db").exists(), "reading makes no catalog");
    fs::remove_dir(folder.path().join("warehouse")).unwrap();
    empty_warehouse(folder.path());
    check(folder.path(), &["resolve"], 0, "nothing to resolve\n", "");
    check(
        folder.path(),
        &["resolve", "nope"],
        2,
        "",
        "error[LH0101]: no run nope in [DIR]/warehouse/_lakehost/runs\n  hint   `lakehost runs` lists the runs; `lakehost resolve` without an id looks at all that left work behind\n",
    );
    for arguments in
        [vec!["snapshots", "raw.none"], vec!["table", "show", "raw.none"], vec!["table", "drop", "raw.none", "--yes"]]
    {
        let (code, _, err) = lakehost(folder.path(), &arguments);
        assert_eq!(code, 7, "{arguments:?}: {err}");
        assert!(err.starts_with("error[LH0604]: no table raw.none\n"), "{err}");
    }
}

#[test]
fn verbs_without_a_warehouse_answer() {
    let folder = tempfile::tempdir().unwrap();
    let (code, out, _) = lakehost(folder.path(), &["--version"]);
    assert!(code == 0 && out.starts_with("lakehost 0.") && out.trim_end().ends_with(')'), "{out}");
    let (code, out, _) = lakehost(folder.path(), &["explain", "lh0301"]);
    assert!(code == 0 && out.starts_with("# LH0301: "), "{out}");
    let (code, out, _) = lakehost(folder.path(), &["completions", "bash"]);
    assert!(code == 0 && out.contains("lakehost"), "{out}");
    let (code, out, _) = lakehost(folder.path(), &["init", "--schema"]);
    assert!(code == 0 && serde_json::from_str::<Value>(&out).is_ok_and(|schema| schema["title"] == "lakehost.toml"));
    check(folder.path(), &["init"], 0, "wrote ./lakehost.toml\nnext: lakehost run green_trips --month 2024-01\n", "");
    check(
        folder.path(),
        &["init"],
        2,
        "",
        "error[LH0101]: ./lakehost.toml is there already\n  hint   edit it, or name another folder: `lakehost init DIR`\n",
    );
    let (code, out, err) = lakehost(folder.path(), &["doctor", "--format", "json"]);
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out} {err}"));
    assert_eq!(code, 0, "{out}");
    assert!(report["checks"].as_array().is_some_and(|checks| checks.len() >= 6));
}

#[test]
fn a_file_that_is_no_component_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("odd.wasm"), "<html>").unwrap();
    for arguments in [vec!["plugin", "inspect", "odd.wasm"], vec!["run", "--plugin", "odd.wasm", "--month", "2024-01"]]
    {
        let (code, _, err) = lakehost(folder.path(), &arguments);
        assert_eq!(code, 3, "{arguments:?}: {err}");
        assert!(err.starts_with("error[LH0206]: "), "{err}");
    }
    assert!(!folder.path().join("warehouse").exists());
}

#[test]
fn a_stack_that_was_never_started_says_so_and_leaves_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let (code, out, _) = lakehost(folder.path(), &["stack", "status", "--format", "json"]);
    let answer: Value = serde_json::from_str(&out).unwrap();
    assert_eq!(code, 0);
    let states = answer["services"].as_array().unwrap().iter().map(|service| service["state"].as_str().unwrap());
    assert_eq!(states.collect::<Vec<_>>(), ["down"; 5]);
    check(folder.path(), &["stack", "down"], 0, "nothing was running\n", "");
    check(
        folder.path(),
        &["stack", "logs", "trino", "--name", "a/b"],
        2,
        "",
        "error[LH0101]: `a/b` cannot be the name of a stack\n  hint   use letters, digits, - and _, at most 64\n",
    );
    check(
        folder.path(),
        &["stack", "logs", "trino"],
        2,
        "",
        "error[LH0101]: trino was not started yet by this stack: there is no [DIR]/.local/state/lakehost/stack/default/log/trino.log\n  \
         hint   `lakehost stack status` shows the services; --name or --home choose another stack\n",
    );
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "looking makes nothing");
}
