//! Nessie on a real server: a run's windows, rejected rows and models are seen at once or not at all, whatever happens in between.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context as _, Result};
use lakehost_server::{Match, Proxy, ProxyFault};
use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::models;
use crate::support::{Done, python, read, root};

const GREEN: &str = "green_tripdata_2024-01.parquet";
const YELLOW: [&str; 4] = [
    "yellow_tripdata_2024-01.parquet",
    "yellow_tripdata_2024-02.parquet",
    "yellow_tripdata_2024-03.parquet",
    "yellow_tripdata_2024-04.parquet",
];

/// A Nessie with its bucket, and a lakehost.toml whose profile `nessie` is both.
struct Branches {
    cluster: Cluster,
    python: PathBuf,
    /// Where Nessie answers, without `/iceberg`.
    at: String,
}

impl Branches {
    fn start(services: &str) -> Result<Self> {
        let python = python()?;
        let cluster = Cluster::start(&[&[GREEN][..], &YELLOW].concat(), services)?;
        let at = cluster.address("nessie")?.trim_end_matches("/iceberg").to_owned();
        let branches = Self { cluster, python, at };
        branches.point_at(&branches.at)?;
        Ok(branches)
    }

    /// Writes the lakehost.toml with a Nessie that is reached there.
    fn point_at(&self, nessie: &str) -> Result<()> {
        let stack = std::fs::read_to_string(self.cluster.file())?;
        let rest = stack.lines().find(|line| line.starts_with("uri = ")).context("no catalog")?.to_owned();
        let url = self.cluster.bench.url();
        let mut text = stack
            .replacen(&rest, &format!("uri = \"{nessie}/iceberg\"\nbranch = \"main\""), 1)
            .replace("lakehouse/warehouse", "lakehouse/nessie")
            .replace("catalog = \"lake\"", "catalog = \"nessie\"");
        if let Some(section) =
            text.split("[profile.stack.s3]").nth(1).filter(|_| text.contains("[profile.stack.trino]"))
        {
            let key = |name: &str| {
                let line = section.lines().find(|line| line.starts_with(name)).context("no key")?;
                Ok::<_, anyhow::Error>(line.split_once(" = ").context("no value")?.1.to_owned())
            };
            let (id, secret) = (key("access_key_id")?, key("secret_access_key")?);
            text.push_str(&format!(
                "\n[profile.stack.trino.branch_catalog]\n\"s3.aws-access-key\" = {id}\n\"s3.aws-secret-key\" = {secret}\n"
            ));
        }
        for (name, dataset, table, more) in [
            (
                "green",
                "green",
                "clean.green",
                "max_rejected = \"10%\"\n[[pipeline.green.cleaner]]\nplugin = \"trip_cleaner.wasm\"\n",
            ),
            ("yellow", "yellow", "more.yellow", ""),
            ("models", "yellow", "raw.yellow_trips", "models = \"dbt_project\"\n"),
            (
                "checked",
                "yellow",
                "more.checked",
                "[[pipeline.checked.check]]\nrange = { column = \"passenger_count\", min = 0, max = 5 }\n",
            ),
        ] {
            text.push_str(&format!(
                "[pipeline.{name}]\nplugin = \"nyc_tlc.wasm\"\nconfig = {{ dataset = \"{dataset}\", base_url = \"{url}\" }}\n\
                 allow = [\"{url}\"]\ntable = \"{table}\"\npublish = \"run\"\n{more}"
            ));
        }
        std::fs::write(self.cluster.bench.dir.path().join("lakehost.toml"), text)?;
        Ok(())
    }

    fn command(&self, args: &[&str]) -> Command {
        self.cluster.bench.command(&[args, &["--profile", "stack", "--format", "json"]].concat())
    }

    #[track_caller]
    fn ok(&self, code: i32, args: &[&str]) -> Result<Value> {
        self.ended(code, crate::support::done(self.command(args).output()?)?, args)
    }

    #[track_caller]
    fn ended(&self, code: i32, done: Done, args: &[&str]) -> Result<Value> {
        assert_eq!(done.code, code, "{args:?}\n{}\n{}", done.stdout, done.stderr);
        done.json()
    }

    /// The properties of the catalog that readers use, in PyIceberg's words.
    fn for_pyiceberg(&self) -> Result<String> {
        let mut properties = self.cluster.for_pyiceberg("nessie")?;
        properties["uri"] = format!("{}/iceberg", self.at).into();
        Ok(properties.to_string())
    }

    /// What readers of `main` see of a namespace.
    fn seen(&self, namespace: &str) -> Result<Value> {
        let stop = "/dev/null";
        let seen = read(&self.python, "watch_tables.py", &[&self.for_pyiceberg()?, namespace, stop])?;
        Ok(seen["seen"][0].clone())
    }

    fn waiting(&self) -> Result<Vec<Value>> {
        Ok(self.ok(0, &["runs", "waiting"])?["waiting"].as_array().cloned().unwrap_or_default())
    }

    /// Branches of Nessie that are there.
    fn names(&self) -> Result<Vec<String>> {
        let output = Command::new(&self.python)
            .arg("-c")
            .arg("import sys, urllib.request; print(urllib.request.urlopen(sys.argv[1]).read().decode())")
            .arg(format!("{}/api/v2/trees", self.at))
            .output()?;
        let answer: Value = serde_json::from_slice(&output.stdout)?;
        let references = answer["references"].as_array().context("no references")?;
        Ok(references.iter().filter_map(|reference| reference["name"].as_str().map(str::to_owned)).collect())
    }
}

/// A reader that looks at `main` all the time.
struct Watch {
    child: Child,
    out: BufReader<ChildStdout>,
    stop: PathBuf,
}

impl Watch {
    fn start(branches: &Branches, namespace: &str) -> Result<Self> {
        let stop = branches.cluster.bench.dir.path().join(format!("stop-{namespace}"));
        let script = root().join("tests/python/watch_tables.py");
        let mut child = Command::new(&branches.python)
            .arg(script)
            .args([branches.for_pyiceberg()?.as_str(), namespace])
            .arg(&stop)
            .stdout(Stdio::piped())
            .spawn()?;
        let mut out = BufReader::new(child.stdout.take().context("no stdout")?);
        // It has looked once.
        out.read_line(&mut String::new())?;
        Ok(Self { child, out, stop })
    }

    fn end(mut self) -> Result<Value> {
        std::fs::write(&self.stop, "")?;
        let seen = serde_json::from_reader(&mut self.out)?;
        self.child.wait()?;
        Ok(seen)
    }
}

#[test]
fn a_run_is_seen_at_once_or_not_at_all() -> Result<()> {
    let branches = Branches::start("nessie")?;
    at_once(&branches)?;
    failed_checks_wait(&branches)?;
    conflicts_publish_nothing(&branches)?;
    killed_runs_are_finished(&branches)?;
    lost_answers_are_looked_up(&branches)?;
    assert_eq!(branches.names()?, ["main"], "every branch is gone in the end");
    Ok(())
}

/// A table and that of its rejected rows come together; loaded again nothing changes.
fn at_once(branches: &Branches) -> Result<()> {
    let watch = Watch::start(branches, "clean")?;
    let report = branches.ok(0, &["run", "green", "--month", "2024-01"])?;
    assert_eq!(
        (&report["windows"][0]["status"], &report["publish"]["status"]),
        (&"loaded".into(), &"published".into())
    );
    let watched = watch.end()?;
    let both = json!({ "green": report["totals"]["rows_written"], "green__rejected": 3_039 });
    assert_eq!(watched["seen"], json!([{}, both]), "{watched:#}");
    assert!(watched["looks"].as_u64() > Some(3), "the reader looked while the run was at work: {watched:#}");

    let again = branches.ok(0, &["run", "green", "--month", "2024-01"])?;
    assert_eq!(
        (&again["windows"][0]["status"], &again["publish"]["status"]),
        (&"already-loaded".into(), &"unchanged".into())
    );
    // A branch of a table would be taken for the table itself.
    let refused = branches.ok(7, &["table", "tag", "clean.green", "x"])?;
    assert_eq!(refused["error"]["code"], "LH0607");
    assert_eq!(branches.seen("clean")?, both);
    // Files that other branches need are not for one of them to delete.
    assert_eq!(branches.ok(7, &["table", "orphans", "clean.green"])?["error"]["code"], "LH0603");
    Ok(())
}

/// Rows that fail a check wait on the branch; people decide.
fn failed_checks_wait(branches: &Branches) -> Result<()> {
    let failed = branches.ok(5, &["run", "checked", "--month", "2024-01"])?;
    assert_eq!((&failed["error"]["code"], &failed["publish"]["status"]), (&"LH0406".into(), &"kept".into()));
    let id = failed["run_id"].as_str().context("no id")?.to_owned();
    assert!(
        failed["error"]["hint"].as_str().is_some_and(|hint| hint.contains(&format!("runs publish {id}"))),
        "{failed:#}"
    );
    assert_eq!(branches.seen("more")?, json!({}));
    assert_eq!(branches.waiting()?[0]["run_id"], id.as_str());
    // Another run does not take it away.
    branches.ok(0, &["run", "green", "--month", "2024-01"])?;
    let rows = "select count(*) as n from more.checked";
    let on_branch = branches
        .command(&["query", rows])
        .env("LAKEHOST__PROFILE__STACK__CATALOG__BRANCH", format!("lakehost/{id}"))
        .output()?;
    assert_eq!(serde_json::from_slice::<Value>(&on_branch.stdout)?, json!([{ "n": 1_703 }]));

    assert_eq!(branches.ok(0, &["runs", "publish", &id])?["status"], "published");
    assert_eq!(branches.seen("more")?, json!({ "checked": 1_703 }));
    assert_eq!(branches.ok(2, &["runs", "publish", &id])?["error"]["code"], "LH0101", "it waits no more");
    let kept = branches.ok(0, &["runs", &id])?;
    assert_eq!(kept["publish"]["status"], "published");

    // Discarded, it is gone with its files. A failed check in a run by windows publishes nothing either.
    let other = branches.ok(5, &["run", "checked", "--month", "2024-02", "--table", "more.other"])?;
    let other = other["run_id"].as_str().context("no id")?.to_owned();
    assert_eq!(branches.ok(2, &["runs", "discard", &other])?["error"]["code"], "LH0101", "it asks");
    assert_eq!(branches.ok(0, &["runs", "discard", &other, "--yes"])?["status"], "dropped");
    branches.ok(5, &["run", "checked", "--month", "2024-02", "--publish", "window"])?;
    assert_eq!(branches.seen("more")?, json!({ "checked": 1_703 }));
    assert!(branches.waiting()?.is_empty());
    Ok(())
}

/// Somebody changes the same table meanwhile.
fn conflicts_publish_nothing(branches: &Branches) -> Result<()> {
    let failed = branches.ok(5, &["run", "checked", "--month", "2024-03"])?;
    let id = failed["run_id"].as_str().context("no id")?.to_owned();
    branches.ok(0, &["run", "yellow", "--month", "2024-04", "--table", "more.checked", "--publish", "window"])?;
    let conflict = branches.ok(7, &["runs", "publish", &id])?;
    assert_eq!(conflict["error"]["code"], "LH0608", "{conflict:#}");
    assert!(conflict["error"]["cause"].as_str().is_some_and(|cause| cause.contains("more.checked")), "{conflict:#}");
    assert_eq!(branches.seen("more")?, json!({ "checked": 1_703 + 1_648 }));
    assert_eq!(branches.waiting()?.len(), 1, "it is people's to discard");
    branches.ok(0, &["runs", "discard", &id, "--yes"])?;
    // A table that others changed beside it is no conflict.
    branches.ok(0, &["run", "yellow", "--month", "2024-01"])?;
    assert_eq!(branches.seen("more")?["yellow"], 1_703);
    Ok(())
}

/// A killed run shows nothing, and the next one finds its branch: published when it was, dropped when it was not.
fn killed_runs_are_finished(branches: &Branches) -> Result<()> {
    for (number, point) in ["file-finished", "after-sql-commit", "before-merge", "after-merge"].into_iter().enumerate()
    {
        let table = format!("killed.t{number}");
        let run = ["run", "yellow", "--month", "2024-01..2024-02", "--table", &table];
        let killed = branches.command(&run).env("LAKEHOST_FAIL_POINT", format!("{point}:1")).output()?;
        assert_eq!(killed.status.code(), None, "{point}: {}", String::from_utf8_lossy(&killed.stderr));
        let was_published = point == "after-merge";
        let seen = branches.seen("killed")?;
        assert_eq!(seen.get(format!("t{number}")).is_some(), was_published, "{point}: {seen}");
        assert_eq!(branches.waiting()?.len(), 1, "{point}");

        let next = branches.ok(0, &run)?;
        let expected = if was_published { "already-loaded" } else { "loaded" };
        assert_eq!(next["windows"][1]["status"], expected, "{point}: {next:#}");
        assert!(next["warnings"][0].as_str().is_some_and(|said| said.contains("died")), "{point}: {next:#}");
        assert_eq!(branches.seen("killed")?[format!("t{number}")], 1_703 + 1_593, "{point}");
        assert!(branches.waiting()?.is_empty(), "{point}");
    }
    Ok(())
}

/// The answer to a merge does not come: the history says what became of it, and nothing is merged twice.
fn lost_answers_are_looked_up(branches: &Branches) -> Result<()> {
    let proxy = Proxy::start(&branches.at)?;
    branches.point_at(&proxy.url())?;
    let cases = [
        ("answer", ProxyFault::DropAnswer, 1),
        ("request", ProxyFault::DropRequest, 2),
        ("gateway", ProxyFault::AnswerWith(502, "<html>".to_owned()), 1),
        ("unavailable", ProxyFault::Status(503, String::new()), 2),
    ];
    for (name, fault, merges) in cases {
        proxy.rule(Match::method("POST").on("/history/merge").times(1), fault);
        let before = proxy.seen().len();
        let report = branches.ok(0, &["run", "yellow", "--month", "2024-01", "--table", &format!("lost.{name}")])?;
        assert_eq!(report["publish"]["status"], "published", "{name}: {report:#}");
        assert_eq!(proxy.clear(), 1, "{name}");
        let sent = proxy.seen().iter().skip(before).filter(|request| request.path.ends_with("/history/merge")).count();
        assert_eq!(sent, merges, "{name}: sent again only when the history does not have it");
        assert_eq!(branches.seen("lost")?[name], 1_703);
    }
    // No answer at all: nobody knows, and it is said. Later it is looked up.
    proxy.rule(Match::method("POST").on("/history/merge"), ProxyFault::Html(502));
    let unknown = branches.ok(9, &["run", "yellow", "--month", "2024-01", "--table", "lost.unknown"])?;
    assert_eq!((&unknown["error"]["code"], &unknown["publish"]["status"]), (&"LH0651".into(), &"unknown".into()));
    proxy.clear();
    let id = unknown["run_id"].as_str().context("no id")?;
    assert_eq!(branches.ok(0, &["runs", "publish", id])?["status"], "published");
    assert_eq!(branches.seen("lost")?["unknown"], 1_703);
    assert!(branches.waiting()?.is_empty());
    branches.point_at(&branches.at)
}

/// Models are built and tested on the branch, and seen together with what they were made of.
fn models_are_seen_with_their_rows(branches: &Branches, engine: &str) -> Result<()> {
    let bench = &branches.cluster.bench;
    models::copy(&root().join("dbt_project"), &bench.dir.path().join("dbt_project"))?;
    let watch = Watch::start(branches, "gold")?;
    let report = branches.ok(0, &["run", "models", "--month", "2024-01..2024-02"])?;
    assert_eq!((&report["models"]["status"], &report["models"]["engine"]), (&"built".into(), &engine.into()));
    assert_eq!(report["publish"]["status"], "published");
    let watched = watch.end()?;
    let seen = watched["seen"].as_array().context("nothing")?;
    assert_eq!(seen.len(), 2, "nothing, then all: {watched:#}");
    assert!(seen[1].as_object().is_some_and(|tables| tables.len() >= 4), "{watched:#}");
    assert_eq!(branches.seen("raw")?["yellow_trips"], 1_703 + 1_593);

    // A test of the models fails: what was loaded and built stays on the branch.
    let gold = branches.seen("gold")?;
    let tests = bench.dir.path().join("dbt_project/tests/never.sql");
    std::fs::write(&tests, "select * from {{ ref('fct_daily_trips') }} limit 1\n")?;
    let failed = branches.ok(8, &["run", "models", "--month", "2024-03"])?;
    assert_eq!(
        (&failed["error"]["code"], &failed["publish"]["status"]),
        (&"LH0701".into(), &"kept".into()),
        "{failed:#}"
    );
    assert_eq!(branches.seen("raw")?["yellow_trips"], 1_703 + 1_593);
    assert_eq!(branches.seen("gold")?, gold);
    std::fs::remove_file(tests)?;
    branches.ok(0, &["runs", "discard", failed["run_id"].as_str().context("no id")?, "--yes"])?;
    let next = branches.ok(0, &["run", "models", "--month", "2024-03"])?;
    assert_eq!(
        (&next["models"]["windows"], &next["publish"]["status"]),
        (&json!(["2024-03"]), &"published".into()),
        "what was dropped is built again: {next:#}"
    );
    assert_eq!(branches.seen("raw")?["yellow_trips"], 1_703 + 1_593 + 1_702);
    assert!(branches.waiting()?.is_empty());
    Ok(())
}

#[test]
fn models_on_duckdb_are_published_with_their_rows() -> Result<()> {
    let branches = Branches::start("nessie")?;
    models_are_seen_with_their_rows(&branches, "duckdb")
}

mod takes_minutes {
    use super::*;

    #[test]
    fn models_on_trino_are_published_with_their_rows() -> Result<()> {
        let branches = Branches::start("trino,nessie")?;
        models_are_seen_with_their_rows(&branches, "trino")?;
        let left = branches.ok(0, &["query", "show catalogs", "--engine", "trino"])?;
        assert_eq!(left, json!([{ "Catalog": "lake" }, { "Catalog": "nessie" }, { "Catalog": "system" }]));
        // Keys are sent when the profile says so; else the run is refused before it makes a branch.
        let file = branches.cluster.bench.dir.path().join("lakehost.toml");
        let text = std::fs::read_to_string(&file)?;
        std::fs::write(&file, text.replace("\"s3.aws-access-key\"", "\"s3.aws-access-kex\""))?;
        let refused = branches.ok(2, &["run", "models", "--month", "2024-04"])?;
        assert_eq!((&refused["error"]["code"], &refused["publish"]), (&"LH0108".into(), &Value::Null), "{refused:#}");
        let hint = refused["error"]["hint"].as_str().unwrap_or_default();
        assert!(hint.contains("branch_catalog") && hint.contains("s3.aws-secret-key"), "{hint}");
        Ok(())
    }
}
