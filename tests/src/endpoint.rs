//! The served catalog: other engines make, change and read tables through it, beside each other and beside lakehost.

use std::io::{BufRead, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::support::{Bench, done, expect, python, read, root};

pub const MONTH: &str = "green_tripdata_2024-01.parquet";
pub const ROWS: u64 = 56_551;
pub const TABLE: &str = "raw.green_trips";

/// A running `lakehost catalog serve`. It ends with this value.
pub struct Served {
    child: Child,
    pub uri: String,
    pub token: String,
    stdout: BufReader<std::process::ChildStdout>,
}

impl Served {
    pub fn start(bench: &Bench, more: &[&str]) -> Result<Self> {
        let args = [&["catalog", "serve", "--port", "0", "--format", "json"], more].concat();
        let mut child = bench.command(&args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
        let mut stdout = BufReader::new(child.stdout.take().context("no stdout")?);
        let mut line = String::new();
        stdout.read_line(&mut line)?;
        let Ok(told) = serde_json::from_str::<Value>(&line) else {
            let mut words = String::new();
            child.stderr.take().context("no stderr")?.read_to_string(&mut words)?;
            anyhow::bail!("{line}{words}");
        };
        let word = |key: &str| told[key].as_str().unwrap_or_default().to_owned();
        Ok(Self { child, uri: word("uri"), token: word("token"), stdout })
    }

    /// Ctrl-C: how it ended, and what else it said on stdout.
    fn stop(mut self) -> Result<(Option<i32>, String)> {
        interrupt(&self.child);
        let mut rest = String::new();
        self.stdout.read_to_string(&mut rest)?;
        Ok((self.child.wait()?.code(), rest))
    }

    /// A script that speaks to it.
    pub fn script(&self, python: &Path, script: &str, verb: &str, more: &[&str]) -> Result<Value> {
        read(python, script, &[&[verb, &self.uri, &self.token], more].concat())
    }

    fn script_beside(&self, python: &Path, script: &str, verb: &str, more: &[&str]) -> Result<Child> {
        let mut command = Command::new(python);
        command.arg(root().join("tests/python").join(script)).args([verb, &self.uri, &self.token]).args(more);
        Ok(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn interrupt(child: &Child) {
    // SAFETY: a signal to a child that was not waited for yet, so its id is still its own.
    unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGINT) };
}

/// A verb's JSON; it must succeed.
pub fn answer(bench: &Bench, args: &[&str]) -> Result<Value> {
    let done = bench.run(&[args, &["--format", "json"]].concat())?;
    assert_eq!(done.code, 0, "{args:?}\n{}\n{}", done.stdout, done.stderr);
    done.json()
}

pub fn orphans(bench: &Bench) -> Result<Value> {
    let answer = answer(bench, &["table", "orphans", "--older-than", "0 s", "--allow-younger-than-72h"])?;
    Ok(answer["orphans"].clone())
}

pub fn no_orphans(bench: &Bench) -> Result<()> {
    assert_eq!(orphans(bench)?, json!([]));
    Ok(())
}

#[test]
fn pyiceberg_makes_changes_and_reads_tables() -> Result<()> {
    let python = python()?;
    let bench = Bench::serving(&[])?;
    let served = Served::start(&bench, &[])?;
    let seen = served.script(&python, "through_pyiceberg.py", "tour", &[])?;
    let check = |key: &str, wanted: Value| assert_eq!(seen[key], wanted, "{key}");
    check("namespaces", json!([["gold"]]));
    let place = format!("file://{}/gold", Path::new(&bench.warehouse()).canonicalize()?.display());
    check("properties", json!({ "owner": "me", "location": place }));
    check("properties_after", json!({ "purpose": "reports", "location": place }));
    check("appended", json!([[1, "north"], [2, "north"], [3, "south"]]));
    check("overwritten", json!([[1, "north"], [2, "north"], [4, "south"], [5, "south"]]));
    check("deleted", json!([[2, "north"], [4, "south"], [5, "south"]]));
    check("upserted", json!([[2, "west"], [4, "south"], [5, "south"], [6, "west"]]));
    let evolved =
        json!([[2, "west", null], [4, "south", null], [5, "south", null], [6, "west", null], [7, "east", "new"]]);
    check("evolved", evolved);
    check("refs", json!(["first", "main", "trial"]));
    check("table_properties", json!({ "b": "2" }));
    check("rows", json!(6));
    check("on_tag", json!(2));
    check("staged_before", json!(false));
    check("staged", json!([[1, "here"], [2, "here"], [3, "here"]]));
    check("tables", json!(["renamed", "zones"]));
    check("back", json!([[1, "here"], [2, "here"], [3, "here"]]));
    check("gone", json!(true));
    let stale = seen["stale"].as_str().unwrap_or_default();
    assert!(stale.contains("assert-current-schema-id"), "{stale}");
    assert!(seen["unauthorized"].is_string(), "{seen}");
    // lakehost sees the same, and nothing lies about.
    let rows = answer(&bench, &["query", "select id, area from gold.zones order by id"])?;
    assert_eq!(rows.as_array().map(Vec::len), Some(6));
    assert_eq!(rows[0], json!({ "id": 2, "area": "west" }));
    no_orphans(&bench)?;
    let (code, rest) = served.stop()?;
    assert_eq!((code, rest.as_str()), (Some(0), ""));
    Ok(())
}

#[test]
fn duckdb_makes_changes_and_reads_tables() -> Result<()> {
    let python = python()?;
    let bench = Bench::serving(&[])?;
    let served = Served::start(&bench, &[])?;
    let seen = served.script(&python, "through_duckdb.py", "tour", &[])?;
    let check = |key: &str, wanted: Value| assert_eq!(seen[key], wanted, "{key}");
    check("inserted", json!([[1, "north", "1.50", "2024-01-01"], [2, "south", "2.50", null]]));
    check("ctas", json!([[1000, 999_000]]));
    check("changed", json!([[990, 979_020]]));
    check("merged", json!([[1, "north"], [2, "west"], [3, "east"]]));
    check("together", json!([[500, 4]]));
    check("rolled_back", json!([[500, 249_480]]));
    check("evolved", json!([[1, null], [2, null], [3, null], [99, null], [100, "new"]]));
    check("partitioned", json!([[1]]));
    check("tables", json!([["months"], ["numbers"], ["zones"]]));
    // The others see what it deleted as deleted.
    let counted = answer(&bench, &["query", "select count(*) as n, sum(twice) as s from gold.numbers"])?;
    assert_eq!((counted[0]["n"].as_u64(), counted[0]["s"].as_u64()), (Some(500), Some(249_480)));
    let with_pyiceberg = served.script(&python, "through_pyiceberg.py", "read", &["gold.numbers"])?;
    assert_eq!(with_pyiceberg["rows"], 500);
    no_orphans(&bench)?;
    Ok(())
}

/// What a script that ran beside others printed.
fn ended(child: Child) -> Result<Value> {
    let done = done(child.wait_with_output()?)?;
    ensure!(done.code == 0, "{}", done.stderr);
    done.json()
}

/// PyIceberg and DuckDB through a served profile whose tables lie in a bucket: each makes, changes and reads tables of its own and of the other, and
/// both write to one that lakehost loaded. They are handed the keys of the bucket.
pub fn two_libraries(python: &Path, bench: &Bench, profile: &str, namespace: &str) -> Result<()> {
    let table = format!("{namespace}.green_trips");
    expect(&bench.load("green", "2024-01", &["--profile", profile, "--table", &table])?, 0, &["loaded"]);
    let served = Served::start(bench, &["--profile", profile, "--delegate-keys"])?;
    for (script, made) in [("through_pyiceberg.py", "by_pyiceberg"), ("through_duckdb.py", "by_duckdb")] {
        let seen = served.script(python, script, "make", &[&format!("{namespace}.{made}"), "--delegated"])?;
        assert_eq!(seen["made"], json!([[1, "north"], [2, "south"]]), "{script}");
        assert_eq!(seen["changed"], json!([[2, "south"], [3, "west"]]), "{script}");
    }
    served.script(python, "through_pyiceberg.py", "append", &[&table, "2", "--delegated"])?;
    served.script(python, "through_duckdb.py", "insert", &[&table, "3", "--delegated"])?;
    let lakehost = |table: &str| -> Result<u64> {
        let sql = format!("select count(*) as n from {table}");
        answer(bench, &["query", &sql, "--profile", profile])?[0]["n"].as_u64().context("no count")
    };
    for (table, rows) in
        [(table.as_str(), ROWS + 5), (&format!("{namespace}.by_pyiceberg"), 2), (&format!("{namespace}.by_duckdb"), 2)]
    {
        let counted = [("through_pyiceberg.py", "read"), ("through_duckdb.py", "rows")]
            .map(|(script, verb)| served.script(python, script, verb, &[table, "--delegated"]));
        for seen in counted {
            assert_eq!(seen?["rows"], rows, "{table}");
        }
        assert_eq!(lakehost(table)?, rows, "{table}");
    }
    // What lakehost loads stays its own.
    let again = bench.load("green", "2024-01", &["--profile", profile, "--table", &table, "--force"])?;
    expect(&again, 0, &["loaded"]);
    assert_eq!(served.script(python, "through_duckdb.py", "rows", &[&table, "--delegated"])?["rows"], ROWS);
    assert_eq!(served.stop()?.0, Some(0));
    Ok(())
}

mod on_postgres_and_s3 {
    use super::*;
    use crate::support::bucket_profile;

    #[test]
    fn two_libraries_read_and_write() -> Result<()> {
        let python = python()?;
        let bench = Bench::serving(&[MONTH])?;
        let profile = bucket_profile("served");
        std::fs::write(bench.dir.path().join("lakehost.toml"), profile)?;
        two_libraries(&python, &bench, "cluster", "raw")
    }
}

#[test]
fn three_writers_at_one_table_lose_no_row_and_no_snapshot() -> Result<()> {
    let python = python()?;
    let bench = Bench::serving(&[MONTH])?;
    let append = ["--write-mode", "append", "--force"];
    expect(&bench.load("green", "2024-01", &append)?, 0, &["loaded"]);
    let served = Served::start(&bench, &[])?;
    const EACH: u64 = 8;
    let times = EACH.to_string();
    let others = [
        served.script_beside(&python, "through_pyiceberg.py", "append", &[TABLE, &times])?,
        served.script_beside(&python, "through_duckdb.py", "insert", &[TABLE, &times])?,
    ];
    const LOADS: u64 = 4;
    for _ in 0..LOADS {
        expect(&bench.load("green", "2024-01", &append)?, 0, &["loaded"]);
    }
    for other in others {
        ended(other)?;
    }
    let rows = (1 + LOADS) * ROWS + 2 * EACH;
    let counted = answer(&bench, &["query", &format!("select count(*) as n from {TABLE}")])?;
    assert_eq!(counted[0]["n"].as_u64(), Some(rows));
    assert_eq!(served.script(&python, "through_duckdb.py", "rows", &[TABLE])?["rows"], rows);
    let read = |served: &Served| served.script(&python, "through_pyiceberg.py", "read", &[TABLE]);
    let seen = read(&served)?;
    assert_eq!(seen["rows"], rows);
    // One line from the newest snapshot to the first, with all of them on it.
    let parents = seen["parents"].as_array().context("no snapshots")?;
    let (mut at, mut length) = (seen["head"].clone(), 0);
    while let Some(pair) = parents.iter().find(|pair| pair[0] == at) {
        (at, length) = (pair[1].clone(), length + 1);
    }
    assert_eq!((length, parents.len()), (1 + LOADS + 2 * EACH, (1 + LOADS + 2 * EACH) as usize));

    // lakehost's upkeep on what the others left: they keep the files of commits that they lost, and no metadata file is left by anybody.
    let left = answer(&bench, &["table", "orphans", "--older-than", "0 s", "--allow-younger-than-72h", "--delete"])?;
    let left = left["orphans"].as_array().context("no list")?.clone();
    assert!(left.iter().all(|orphan| orphan["kind"] != "metadata"), "{left:?}");
    assert_eq!(served.script(&python, "through_duckdb.py", "rows", &[TABLE])?["rows"], rows);
    assert_eq!(read(&served)?["rows"], rows);
    no_orphans(&bench)?;
    let resolved = answer(&bench, &["resolve"])?;
    assert_eq!(resolved["runs"], json!([]));
    let compacted = answer(&bench, &["table", "compact", TABLE])?;
    assert_eq!(compacted["rows"].as_u64(), Some(rows), "{compacted}");
    let expired = answer(&bench, &["table", "expire", TABLE, "--older-than", "0 days", "--keep", "1"])?;
    assert!(expired["files_deleted"].as_u64() > Some(2 * EACH), "{expired}");
    no_orphans(&bench)?;
    assert_eq!(read(&served)?["rows"], rows);
    Ok(())
}

#[test]
fn a_load_replaces_its_window_whoever_wrote_to_it() -> Result<()> {
    let python = python()?;
    let bench = Bench::serving(&[MONTH])?;
    expect(&bench.load("green", "2024-01", &[])?, 0, &["loaded"]);
    let served = Served::start(&bench, &[])?;
    // Another engine adds to the window: a re-run takes the place of what is there, whoever wrote it.
    served.script(&python, "through_pyiceberg.py", "append", &[TABLE, "2"])?;
    assert_eq!(served.script(&python, "through_duckdb.py", "rows", &[TABLE])?["rows"], ROWS + 2);
    expect(&bench.load("green", "2024-01", &[])?, 0, &["already-loaded"]);
    expect(&bench.load("green", "2024-01", &["--force"])?, 0, &["loaded"]);
    assert_eq!(served.script(&python, "through_duckdb.py", "rows", &[TABLE])?["rows"], ROWS);
    Ok(())
}

/// One request without a client library: the status line.
fn status(uri: &str, token: &str, host: &str) -> Result<String> {
    let mut stream = TcpStream::connect(uri.strip_prefix("http://").context("no http")?)?;
    let authorization = if token.is_empty() { String::new() } else { format!("Authorization: Bearer {token}\r\n") };
    write!(stream, "GET /v1/config HTTP/1.1\r\nHost: {host}\r\n{authorization}Connection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}

#[test]
fn the_token_comes_from_where_it_was_put_and_nobody_else_reads_it() -> Result<()> {
    let bench = Bench::serving(&[])?;
    let file = bench.dir.path().join("token");
    let path = file.display().to_string();
    let mut tokens = Vec::new();
    for _ in 0..2 {
        let served = Served::start(&bench, &["--token-file", &path])?;
        assert_eq!(served.token, "", "a token that is in a file is not printed");
        let token = std::fs::read_to_string(&file)?.trim().to_owned();
        assert!(status(&served.uri, &token, "localhost")?.contains(" 200 "));
        for (token, host, wanted) in
            [("", "localhost", 401), ("wrong", "localhost", 401), (&token, "evil.example", 403)]
        {
            let line = status(&served.uri, token, host)?;
            assert!(line.contains(&format!(" {wanted} ")), "{line}");
        }
        tokens.push(token);
        assert_eq!(served.stop()?.0, Some(0));
    }
    assert_eq!(tokens[0], tokens[1], "the file is kept");
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        assert_eq!(std::fs::metadata(&file)?.permissions().mode() & 0o777, 0o600);
    }
    // What people paste names the file and not the token.
    let mut child =
        bench.command(&["catalog", "serve", "--port", "0", "--token-file", &path]).stdout(Stdio::piped()).spawn()?;
    let mut stdout = BufReader::new(child.stdout.take().context("no stdout")?);
    let mut text = String::new();
    stdout.read_line(&mut text)?;
    interrupt(&child);
    stdout.read_to_string(&mut text)?;
    assert_eq!(child.wait()?.code(), Some(0));
    for part in [&format!("TOKEN stands for what is in the file {path}"), "ATTACH 'lakehost' AS lake", "load_catalog("]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
    assert!(!text.contains(&tokens[0]), "{text}");
    std::fs::write(&file, "short\n")?;
    let refused = bench.run(&["catalog", "serve", "--port", "0", "--token-file", &path])?;
    assert_eq!(refused.code, 2, "{}", refused.stderr);
    let mut command = bench.command(&["catalog", "serve", "--port", "0", "--format", "json"]);
    command.env("LAKEHOST_CATALOG_TOKEN", "0123456789abcdef").stdout(Stdio::piped());
    let mut child = command.stderr(Stdio::null()).spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("no stdout")?).read_line(&mut line)?;
    let told: Value = serde_json::from_str(&line)?;
    let served = status(told["uri"].as_str().unwrap_or_default(), "0123456789abcdef", "127.0.0.1");
    child.kill()?;
    child.wait()?;
    assert!(served?.contains(" 200 ") && told["token"].is_null(), "{told}");
    Ok(())
}

#[test]
fn what_cannot_be_served_is_said_with_the_way_out() -> Result<()> {
    let bench = Bench::serving(&[])?;
    let served = Served::start(&bench, &[])?;
    let port = served.uri.rsplit(':').next().context("no port")?.to_owned();
    let taken = bench.run(&["catalog", "serve", "--port", &port])?;
    assert_eq!(taken.code, 11, "{}", taken.stderr);
    assert!(taken.stderr.contains("error[LH1003]") && taken.stderr.contains("--port 0"), "{}", taken.stderr);
    let missing = bench.run(&["catalog", "serve", "--port", "0", "--warehouse", "nowhere"])?;
    assert_eq!(missing.code, 2, "{}", missing.stderr);
    assert!(!bench.dir.path().join("nowhere").exists());
    let keys = bench.run(&["catalog", "serve", "--port", "0", "--delegate-keys"])?;
    assert_eq!(keys.code, 2, "{}", keys.stderr);
    // A connection in the middle of a request does not keep it from ending.
    let mut idle = TcpStream::connect(served.uri.strip_prefix("http://").context("no http")?)?;
    idle.write_all(b"POST /v1/namespaces HTTP/1.1\r\nHost: localhost\r\n")?;
    let started = Instant::now();
    assert_eq!(served.stop()?.0, Some(0));
    assert!(started.elapsed() < Duration::from_secs(20), "{:?}", started.elapsed());
    Ok(())
}
