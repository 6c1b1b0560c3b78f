//! A real Trino beside lakehost, on tables in a bucket behind an Iceberg REST catalog.

use std::process::Stdio;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use anyhow::Result;
use serde_json::Value;

use super::Cluster;
use crate::support::{Bench, Done, expect};

const MONTHS: [&str; 3] =
    ["yellow_tripdata_2024-01.parquet", "yellow_tripdata_2024-02.parquet", "yellow_tripdata_2024-03.parquet"];

/// A bench with two profiles on the same tables: `cluster`, and `kept`, which Trino maintains.
struct Both {
    bench: Bench,
    table: String,
}

impl Both {
    fn start() -> Result<Self> {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let cluster = Cluster::shared(&MONTHS)?;
        // The stack's own profile, under three names.
        let of_the_stack = std::fs::read_to_string(cluster.file())?;
        let profile = |name: &str| of_the_stack.replace("[profile.stack", &format!("[profile.{name}"));
        let kept = profile("kept").replace("[profile.kept]\n", "[profile.kept]\nmaintained_by = \"trino\"\n");
        let stranger = profile("stranger") + "user = \"ann\"\npassword = { file = \"secret\" }\n";
        assert!(kept.contains("maintained_by"), "{kept}");
        let bench = cluster.bench;
        std::fs::write(bench.dir.path().join("lakehost.toml"), profile("cluster") + &kept + &stranger)?;
        std::fs::write(bench.dir.path().join("secret"), "hunter2\n")?;
        // The tables of a test outlive it.
        Ok(Self { bench, table: format!("trino_test.t{}", NEXT.fetch_add(1, Ordering::Relaxed)) })
    }

    fn run(&self, args: &[&str], profile: &str) -> Result<Done> {
        self.bench.run(&[args, &["--profile", profile]].concat())
    }

    #[track_caller]
    fn json(&self, args: &[&str], profile: &str) -> Result<Value> {
        let done = self.run(&[args, &["--format", "json"]].concat(), profile)?;
        assert_eq!(done.code, 0, "{args:?}\n{}\n{}", done.stdout, done.stderr);
        done.json()
    }

    fn load(&self, month: &str, more: &[&str]) -> Result<Done> {
        self.bench.load("yellow", month, &[&["--profile", "cluster", "--table", &self.table], more].concat())
    }

    /// The same statement by both engines, with the same answer.
    #[track_caller]
    fn ask(&self, sql: &str, more: &[&str]) -> Result<Value> {
        let sql = sql.replace("{t}", &self.table);
        let by_trino = self.json(&[&["query", &sql, "--engine", "trino"], more].concat(), "cluster")?;
        let embedded = self.json(&[&["query", &sql], more].concat(), "cluster")?;
        assert_eq!(by_trino, embedded, "{sql}");
        Ok(by_trino)
    }
}

#[test]
fn trino_reads_and_keeps_what_lakehost_wrote() -> Result<()> {
    let both = Both::start()?;
    let doctor = both.json(&["doctor"], "cluster")?;
    let hop = doctor["checks"].as_array().unwrap().iter().find(|check| check["check"] == "trino").unwrap();
    assert_eq!(hop["status"], "ok", "{hop}");
    expect(&both.load("2024-01..2024-03", &["--raw-landing"])?, 0, &["loaded", "loaded", "loaded"]);
    let provenance = both.json(&["table", "provenance", &both.table, "main"], "cluster")?;
    assert!(provenance["objects"][0]["raw"].as_str().unwrap().ends_with("/2024-03/yellow_tripdata_2024-03.parquet"));

    both.ask("select count(*) as n, min(tpep_pickup_datetime) as first, max(total_amount) as most from {t}", &[])?;
    both.ask("select _lakehost_window as w, count(*) as n from {t} where fare_amount > 10 group by 1 order by 1", &[])?;
    let snapshots = both.json(&["snapshots", &both.table], "cluster")?;
    let by_trino = both.json(&["snapshots", &both.table, "--engine", "trino"], "cluster")?;
    assert_eq!(by_trino, snapshots);
    let first = snapshots["snapshots"][2]["snapshot_id"].as_str().unwrap().to_owned();
    let then = both.ask("with x as (select * from {t}) select count(*) as n from x", &["--as-of", &first])?;
    assert_eq!(then[0]["n"], 1_703);
    assert_eq!(both.run(&["table", "tag", &both.table, "v1", "--at", &first], "cluster")?.code, 0);
    assert_eq!(both.ask("select count(*) as n from {t}", &["--as-of", "v1"])?[0]["n"], 1_703);
    assert_eq!(both.ask("select count(*) as n from {t}", &["--as-of", "now"])?[0]["n"], 4_998);

    for (sql, profile, code, exit) in [
        ("select nosuch from {t}", "cluster", "LH0721", 8),
        ("delete from {t}", "cluster", "LH0101", 2),
        ("select 1", "stranger", "LH0723", 8),
    ] {
        let sql = sql.replace("{t}", &both.table);
        let done = both.run(&["query", &sql, "--engine", "trino", "--format", "json"], profile)?;
        let said = done.json()?;
        assert_eq!((done.code, said["error"]["code"].as_str()), (exit, Some(code)), "{}", done.stderr);
        assert!(!format!("{}{}", done.stdout, done.stderr).contains("hunter2"));
    }
    upkeep(&both)
}

/// Many small files, and Trino that puts them together, forgets what was and tidies up.
fn upkeep(both: &Both) -> Result<()> {
    let small = format!("{}_small", both.table);
    let append = || {
        let more = ["--profile", "cluster", "--table", &small, "--write-mode", "append", "--force"];
        both.bench.load("yellow", "2024-01", &more)
    };
    for _ in 0..3 {
        expect(&append()?, 0, &["loaded"]);
    }
    let compact = ["table", "compact", &small, "--window", "2024-01"];
    let would = both.json(&[&compact[..], &["--dry-run"]].concat(), "kept")?;
    assert_eq!((&would["after"], would["before"]["files"].as_i64()), (&Value::Null, Some(3)));
    let done = both.json(&compact, "kept")?;
    assert_eq!((done["by"].as_str(), done["after"]["files"].as_i64()), (Some("trino"), Some(1)), "{done}");
    let rows = both.json(&["query", &format!("select count(*) as n from {small}")], "cluster")?;
    assert_eq!(rows[0]["n"], 3 * 1_703);

    // The newest four stay, however young all are.
    let kept = both.json(&["table", "expire", &small, "--older-than", "0 s", "--keep", "4"], "kept")?;
    assert_eq!(kept["after"]["snapshots"], 4, "{kept}");
    std::thread::sleep(Duration::from_secs(6));
    expect(&append()?, 0, &["loaded"]);
    let expired = both.json(&["table", "expire", &small, "--older-than", "0 s", "--keep", "1"], "kept")?;
    assert_eq!(expired["after"]["snapshots"], 1, "{expired}");
    let tidied = both.json(&["table", "orphans", &small, "--delete"], "kept")?;
    assert_eq!(tidied["by"], "trino");
    both.json(&["table", "rewrite-manifests", &small], "kept")?;
    let rows = both.json(&["query", &format!("select count(*) as n from {small}")], "cluster")?;
    assert_eq!(rows[0]["n"], 4 * 1_703);
    Ok(())
}

#[test]
fn an_interrupted_query_ends_in_trino_too() -> Result<()> {
    let both = Both::start()?;
    let sql = "select count(*) from unnest(sequence(1, 10000)) a cross join unnest(sequence(1, 10000)) b \
               cross join unnest(sequence(1, 10000)) c";
    let mut command = both.bench.command(&["query", sql, "--engine", "trino", "--profile", "cluster"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    std::thread::sleep(Duration::from_secs(3));
    let interrupted = std::process::Command::new("kill").args(["-INT", &child.id().to_string()]).status()?;
    assert!(interrupted.success());
    let began = Instant::now();
    let done = crate::support::done(child.wait_with_output()?)?;
    assert!(done.code == 130 && began.elapsed() < Duration::from_secs(10), "{} {}", done.code, done.stderr);
    assert!(done.stderr.contains("ended on the server too"), "{}", done.stderr);
    // So does one whose first rows are all that was wanted.
    let many = "select * from unnest(sequence(1, 10000)) a cross join unnest(sequence(1, 10000)) b";
    let few = both.json(&["query", many, "--engine", "trino", "--limit", "3"], "cluster")?;
    assert_eq!(few.as_array().map(Vec::len), Some(3));
    let listed = "select count(*) as n from system.runtime.queries where state = 'RUNNING' and query like '%sequence(1, 10000)%' \
                  and query not like '%system.runtime%'";
    let running = both.json(&["query", listed, "--engine", "trino"], "cluster")?;
    assert_eq!(running[0]["n"], 0);
    Ok(())
}
