//! Every verb on a warehouse that is not a folder with a catalog in it: Postgres, a catalog that speaks HTTP, a bucket.

use anyhow::Result;
use serde_json::{Value, json};

use crate::support::{Bench, Done, expect, python, read};

const MONTH: &str = "green_tripdata_2024-01.parquet";
const ROWS: u64 = 56_551;
/// Stands in the file that the profile names; no answer may hold it.
const SECRET: &str = "hunter2-hunter2";

/// A bench with a `lakehost.toml` whose profile is `cluster`.
struct Cluster {
    bench: Bench,
    /// The catalog in PyIceberg's words.
    for_pyiceberg: Value,
}

impl Cluster {
    fn new(bench: Bench, profile: &str, for_pyiceberg: Value) -> Result<Self> {
        std::fs::write(bench.dir.path().join("secret"), format!("{SECRET}\n"))?;
        std::fs::write(bench.dir.path().join("lakehost.toml"), profile)?;
        Ok(Self { bench, for_pyiceberg })
    }

    /// Runs a verb on the profile and looks for the secret in what it says.
    fn run(&self, args: &[&str]) -> Result<Done> {
        let done = self.bench.run(&[args, &["--profile", "cluster"]].concat())?;
        assert!(!format!("{}{}", done.stdout, done.stderr).contains(SECRET), "{args:?}");
        Ok(done)
    }

    #[track_caller]
    fn ok(&self, args: &[&str]) -> Result<String> {
        let done = self.run(args)?;
        assert_eq!(done.code, 0, "{args:?}\n{}\n{}", done.stdout, done.stderr);
        Ok(done.stdout)
    }

    #[track_caller]
    fn json(&self, args: &[&str]) -> Result<Value> {
        Ok(serde_json::from_str(&self.ok(&[args, &["--format", "json"]].concat())?)?)
    }
}

/// All verbs, one after another, on one table.
fn every_verb(cluster: &Cluster) -> Result<()> {
    let doctor = cluster.json(&["doctor"])?;
    for check in doctor["checks"].as_array().unwrap() {
        assert_ne!(check["status"], "broken", "{check}");
    }
    let load = |more: &[&str]| {
        cluster.bench.load(
            "green",
            "2024-01",
            &[&["--profile", "cluster", "--cleaner", "trip_cleaner.wasm"], more].concat(),
        )
    };
    let dry = load(&["--dry-run"])?;
    assert_eq!(dry.code, 0, "{}{}", dry.stdout, dry.stderr);
    let first = load(&[])?;
    expect(&first, 0, &["loaded"]);
    let report = first.json()?;
    let written = report["totals"]["rows_written"].as_u64().unwrap();
    assert!(written < ROWS && written > ROWS / 2);
    expect(&load(&[])?, 0, &["already-loaded"]);
    expect(&load(&["--force"])?, 0, &["loaded"]);

    let count = cluster.json(&["query", "select count(*) as n from raw.green_trips"])?;
    assert_eq!(count[0]["n"], written);
    let snapshots = cluster.json(&["snapshots", "raw.green_trips"])?;
    let ids: Vec<&str> =
        snapshots["snapshots"].as_array().unwrap().iter().map(|s| s["snapshot_id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), 2);
    let tables = cluster.json(&["table", "list"])?;
    let names: Vec<&str> = tables["tables"].as_array().unwrap().iter().map(|t| t["table"].as_str().unwrap()).collect();
    assert_eq!(names, ["raw.green_trips", "raw.green_trips__rejected"]);
    cluster.ok(&["table", "show", "raw.green_trips"])?;
    for verb in ["files", "partitions", "refs", "history"] {
        cluster.ok(&["table", verb, "raw.green_trips"])?;
    }
    let rejected: u64 =
        cluster.json(&["query", "select count(*) as n from raw.green_trips__rejected"])?[0]["n"].as_u64().unwrap();
    assert_eq!(written + rejected, ROWS);
    assert!(cluster.ok(&["rejects", "list"])?.contains("raw.green_trips"));
    cluster.ok(&["rejects", "show", "raw.green_trips", "--limit", "3"])?;

    let (newest, oldest) = (ids[0], ids[1]);
    let (newest, oldest) =
        if snapshots["snapshots"][0]["parent_id"].is_null() { (oldest, newest) } else { (newest, oldest) };
    cluster.ok(&["table", "tag", "raw.green_trips", "first", "--at", oldest])?;
    cluster.ok(&["table", "rollback", "raw.green_trips", oldest, "--yes"])?;
    cluster.ok(&["table", "rollback", "raw.green_trips", newest, "--yes"])?;
    cluster.ok(&["table", "compact", "raw.green_trips"])?;
    cluster.ok(&["table", "rewrite-manifests", "raw.green_trips"])?;
    cluster.ok(&["table", "expire", "raw.green_trips", "--older-than", "1 day"])?;
    cluster.ok(&["table", "orphans", "raw.green_trips"])?;
    assert_eq!(cluster.ok(&["resolve"])?, "nothing to resolve\n");
    let runs = cluster.json(&["runs"])?;
    let runs = runs["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 3);
    let id = runs[0]["run_id"].as_str().unwrap();
    let one: Value = serde_json::from_str(&cluster.ok(&["runs", id])?)?;
    assert_eq!(one["run_id"], id);

    let seen = read(&python()?, "read_refs.py", &[&cluster.for_pyiceberg.to_string(), "raw.green_trips"])?;
    let main = &seen["refs"]["main"];
    assert_eq!(main["pyiceberg"], main["duckdb"]);
    assert_eq!(main["duckdb"].as_array().map(|rows| rows.len() as u64), Some(written));
    assert_eq!(seen["refs"]["first"]["kind"], "tag");
    cluster.ok(&["table", "drop", "raw.green_trips", "--yes"])?;
    assert_eq!(cluster.run(&["table", "show", "raw.green_trips"])?.code, 7);
    Ok(())
}

/// A run that is killed after its commit was asked for is looked after by the next.
fn killed(cluster: &Cluster) -> Result<()> {
    let args = cluster.bench.load_args("green", "2024-01", &["--profile", "cluster"]);
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    for point in ["file-finished", "before-sql-commit", "after-sql-commit"] {
        let output = cluster.bench.command(&args).env("LAKEHOST_FAIL_POINT", point).output()?;
        assert!(output.status.code().is_none(), "{point}: {}", String::from_utf8_lossy(&output.stderr));
        let resolved = cluster.json(&["resolve"])?;
        // The newest: an earlier one may still be waited for.
        let newest =
            resolved["runs"].as_array().and_then(|runs| runs.iter().max_by_key(|run| run["run_id"].to_string()));
        let status = newest.and_then(|run| run["status"].as_str()).unwrap_or_default().to_owned();
        let wanted: &[&str] = match point {
            "after-sql-commit" => &["landed"],
            "file-finished" => &["not-landed"],
            // A catalog behind HTTP may still get the request, for all that anybody knows.
            _ => &["not-landed", "waiting"],
        };
        assert!(wanted.contains(&status.as_str()), "{point}: {resolved}");
    }
    let done = cluster.bench.load("green", "2024-01", &["--profile", "cluster"])?;
    expect(&done, 0, &["already-loaded"]);
    let count = cluster.json(&["query", "select count(*) as n from raw.green_trips"])?;
    assert_eq!(count[0]["n"], ROWS);
    Ok(())
}

fn unique() -> u32 {
    static NEXT: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

mod on_postgres {
    use lakehost_server::programs;

    use super::*;

    fn cluster() -> Result<Cluster> {
        let port = programs::postgres();
        let (uri, name) = (format!("postgresql://lakehost@127.0.0.1:{port}/postgres"), format!("cli{}", unique()));
        let profile = format!(
            "[profile.cluster]\nwarehouse = \"store\"\n[profile.cluster.catalog]\nuri = \"{uri}\"\nname = \"{name}\"\n\
             password = {{ file = \"secret\" }}\n"
        );
        let bench = Bench::serving(&[MONTH])?;
        Cluster::new(bench, &profile, json!({ "name": name, "type": "sql", "uri": uri }))
    }

    #[test]
    fn every_verb_works() -> Result<()> {
        every_verb(&cluster()?)
    }

    #[test]
    fn a_killed_run_is_looked_after() -> Result<()> {
        killed(&cluster()?)
    }

    #[test]
    fn a_catalog_may_be_named_for_one_command() -> Result<()> {
        let port = programs::postgres();
        let bench = Bench::serving(&[MONTH])?;
        let uri = format!("postgresql://lakehost@127.0.0.1:{port}/postgres");
        let more = ["--catalog", &uri, "--warehouse", "here", "--table", &format!("adhoc.t{}", std::process::id())];
        expect(&bench.load("green", "2024-01", &more)?, 0, &["loaded"]);
        expect(&bench.load("green", "2024-01", &more)?, 0, &["already-loaded"]);
        assert!(bench.dir.path().join("here/adhoc").is_dir() && !bench.dir.path().join("here/catalog.db").exists());
        Ok(())
    }
}

mod on_rest {
    use lakehost_server::RestServer;

    use super::*;

    fn cluster() -> Result<(Cluster, RestServer)> {
        let bench = Bench::serving(&[MONTH])?;
        let server = RestServer::start(&bench.dir.path().join("store"));
        let profile = format!(
            "[profile.cluster]\nwarehouse = \"store\"\n[profile.cluster.catalog]\nuri = \"{}\"\nheaders = {{ x-key = {{ file = \"secret\" }} }}\n\
             client_id = \"id\"\nclient_secret = {{ command = [\"printf\", \"secret\"] }}\natomic_transactions = true\n",
            server.url()
        );
        let for_pyiceberg = json!({ "name": "rest", "type": "rest", "uri": server.url(), "credential": "id:secret" });
        server.guard();
        Ok((Cluster::new(bench, &profile, for_pyiceberg)?, server))
    }

    #[test]
    fn every_verb_works() -> Result<()> {
        let (cluster, server) = cluster()?;
        every_verb(&cluster)?;
        assert!(server.requests().iter().all(|request| request.path.contains("oauth")
            || request.header("x-key") == Some(SECRET)
            || request.header("user-agent").is_some_and(|agent| !agent.starts_with("lakehost"))));
        Ok(())
    }

    #[test]
    fn a_killed_run_is_looked_after() -> Result<()> {
        killed(&cluster()?.0)
    }

    #[test]
    fn a_wrong_credential_is_told_with_the_way_out() -> Result<()> {
        let (cluster, _server) = cluster()?;
        let path = cluster.bench.dir.path().join("lakehost.toml");
        let text =
            std::fs::read_to_string(&path)?.replace("[\"printf\", \"secret\"]", "[\"printf\", \"hunter2-hunter2\"]");
        std::fs::write(&path, text)?;
        let done = cluster.run(&["doctor", "--format", "json"])?;
        assert_eq!((done.code, done.json()?["error"]["code"].as_str()), (7, Some("LH0606")), "{}", done.stdout);
        assert!(
            done.json()?["error"]["hint"]
                .as_str()
                .is_some_and(|hint| hint.contains("credential") || hint.contains("token"))
        );
        Ok(())
    }
}

mod on_s3 {
    use lakehost_server::programs::{self, Minio};

    use super::*;

    pub fn s3(minio: Minio) -> (String, String, serde_json::Map<String, Value>) {
        let warehouse = format!("s3://{}/cli{}-{}", Minio::BUCKET, std::process::id(), unique());
        let section = format!(
            "[profile.cluster.s3]\nendpoint = \"{}\"\nregion = \"us-east-1\"\naccess_key_id = \"{}\"\n\
             secret_access_key = {{ command = [\"printf\", \"{}\"] }}\n",
            minio.url(),
            Minio::KEY,
            Minio::SECRET
        );
        let mut properties = serde_json::Map::new();
        for (name, value) in [
            ("s3.endpoint", minio.url()),
            ("s3.region", "us-east-1".to_owned()),
            ("s3.access-key-id", Minio::KEY.to_owned()),
            ("s3.secret-access-key", Minio::SECRET.to_owned()),
        ] {
            properties.insert(name.to_owned(), value.into());
        }
        (warehouse, section, properties)
    }

    fn cluster(section: impl FnOnce(String) -> String) -> Result<Cluster> {
        let minio = programs::minio();
        let bench = Bench::serving(&[MONTH])?;
        let (warehouse, keys, mut properties) = s3(minio);
        let keys = section(keys);
        let profile =
            format!("[profile.cluster]\nwarehouse = \"{warehouse}\"\ncatalog = \"sqlite:///lake.db\"\n{keys}");
        let file = bench.dir.path().canonicalize()?.join("lake.db");
        properties.extend(
            json!({ "name": "lakehost", "type": "sql", "uri": format!("sqlite:///{}", file.display()) })
                .as_object()
                .unwrap()
                .clone(),
        );
        Cluster::new(bench, &profile, Value::Object(properties))
    }

    #[test]
    fn every_verb_works() -> Result<()> {
        every_verb(&cluster(|keys| keys)?)
    }

    #[test]
    fn a_killed_run_is_looked_after() -> Result<()> {
        killed(&cluster(|keys| keys)?)
    }

    #[test]
    fn wrong_keys_and_missing_buckets_are_told_apart() -> Result<()> {
        let wrong = cluster(|keys| keys.replace(Minio::SECRET, SECRET))?;
        let doctor = wrong.run(&["doctor", "--format", "json"])?;
        assert_eq!((doctor.code, doctor.json()?["error"]["code"].as_str()), (6, Some("LH0503")), "{}", doctor.stdout);
        let load = wrong.bench.load("green", "2024-01", &["--profile", "cluster"])?;
        assert_eq!((load.code, load.error_code().as_str()), (6, "LH0503"), "{}", load.stdout);
        let nowhere = cluster(|keys| keys)?;
        let missing = nowhere.bench.run(&[
            "doctor",
            "--profile",
            "cluster",
            "--warehouse",
            "s3://no-such-bucket/x",
            "--format",
            "json",
        ])?;
        assert_eq!(missing.code, 6, "{}", missing.stdout);
        assert!(missing.stdout.contains("no-such-bucket"), "{}", missing.stdout);
        Ok(())
    }
}

mod on_postgres_and_s3 {
    use lakehost_server::programs;

    use super::*;

    #[test]
    fn every_verb_works() -> Result<()> {
        let (port, minio) = (programs::postgres(), programs::minio());
        let (warehouse, section, mut properties) = on_s3::s3(minio);
        let (uri, name) = (format!("postgresql://lakehost@127.0.0.1:{port}/postgres"), format!("cli{}", unique()));
        let profile = format!(
            "[profile.cluster]\nwarehouse = \"{warehouse}\"\n[profile.cluster.catalog]\nuri = \"{uri}\"\nname = \"{name}\"\n{section}"
        );
        properties.extend(json!({ "name": name, "type": "sql", "uri": uri }).as_object().unwrap().clone());
        every_verb(&Cluster::new(Bench::serving(&[MONTH])?, &profile, Value::Object(properties))?)
    }
}
