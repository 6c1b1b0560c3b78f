//! Models on the embedded profile: what dbt makes of the six months is what DuckDB computes from the files, after each change of them.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::support::{Bench, Done, data, done, python, read, root, shared_cache};

pub const MONTHS: [&str; 6] = ["2024-01", "2024-02", "2024-03", "2024-04", "2024-05", "2024-06"];

/// The trips that the project counts, in the words of the files.
const COUNTED: &str = "tpep_pickup_datetime < tpep_dropoff_datetime and trip_distance > 0 and fare_amount > 0";

fn file(month: &str) -> String {
    format!("yellow_tripdata_{month}.parquet")
}

/// A bench with the project beside its lakehost.toml.
struct Modelled {
    bench: Bench,
    python: PathBuf,
}

impl Modelled {
    fn new(months: &[&str]) -> Result<Self> {
        let python = python()?;
        let files: Vec<String> = months.iter().map(|month| file(month)).collect();
        let bench = Bench::serving(&files.iter().map(String::as_str).collect::<Vec<_>>())?;
        copy(&root().join("dbt_project"), &bench.dir.path().join("dbt_project"))?;
        let url = bench.url();
        let text = format!(
            "[pipeline.yellow]\nplugin = \"nyc_tlc.wasm\"\nconfig = {{ dataset = \"yellow\", base_url = \"{url}\" }}\n\
             allow = [\"{url}\"]\ntable = \"raw.yellow_trips\"\nmodels = \"dbt_project\"\n\
             [pipeline.green]\nplugin = \"nyc_tlc.wasm\"\nconfig = {{ dataset = \"green\", base_url = \"{url}\" }}\n\
             allow = [\"{url}\"]\ntable = \"raw.green_trips\"\nmodels = \"dbt_project\"\n"
        );
        std::fs::write(bench.dir.path().join("lakehost.toml"), text)?;
        Ok(Self { bench, python })
    }

    #[track_caller]
    fn run(&self, code: i32, args: &[&str]) -> Result<Value> {
        let done = self.bench.run(&[args, &["--format", "json"]].concat())?;
        assert_eq!(done.code, code, "{args:?}\n{}\n{}", done.stdout, done.stderr);
        done.json()
    }

    /// The gold tables against the files that are served.
    #[track_caller]
    fn gold_is_that_of(&self, months: &[&str]) -> Result<Value> {
        gold_is_that_of(&self.bench, &self.python, &self.bench.warehouse(), months)
    }

    /// Another file for a month: what a statement over the present one answers.
    fn change(&self, month: &str, statement: &str) -> Result<()> {
        let served = self.bench.served(&file(month));
        let new = self.bench.dir.path().join("new.parquet");
        let statement = statement.replace("{file}", &format!("'{}'", data().join(file(month)).display()));
        read(&self.python, "gold.py", &["--write", &new.display().to_string(), &statement])?;
        std::fs::rename(new, served)?;
        Ok(())
    }
}

/// The project's tables in a warehouse, or in the catalog of PyIceberg's properties, against what DuckDB computes from the files that are served.
#[track_caller]
pub fn gold_is_that_of(bench: &Bench, python: &Path, place: &str, months: &[&str]) -> Result<Value> {
    let mut args = vec![place.to_owned()];
    args.extend(months.iter().map(|month| format!("{month}={}", bench.served(&file(month)).display())));
    let seen = read(python, "gold.py", &args.iter().map(String::as_str).collect::<Vec<_>>())?;
    for table in [
        "silver.stg_yellow_trips",
        "gold.fct_daily_trips",
        "gold.fct_hourly_revenue",
        "gold.fct_trip_distance_stats",
        "gold.dim_zone",
    ] {
        assert!(seen[table]["rows"].as_u64().is_some_and(|rows| rows > 0), "{table}: {}", seen[table]);
        assert_eq!(seen[table]["different"], 0, "{table}: {}", seen[table]);
    }
    Ok(seen)
}

/// Copies a folder.
pub fn copy(from: &std::path::Path, to: &std::path::Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// `status` and names of the nodes that ended so.
fn ended<'a>(models: &'a Value, status: &str) -> Vec<&'a str> {
    let nodes = models["nodes"].as_array().map(Vec::as_slice).unwrap_or_default();
    nodes.iter().filter(|node| node["status"] == status).filter_map(|node| node["name"].as_str()).collect()
}

#[test]
fn gold_is_what_duckdb_computes_and_follows_the_windows_that_change() -> Result<()> {
    let modelled = Modelled::new(&MONTHS)?;
    // Nothing is there yet: everything is built, the seed that the models read as well.
    let first = modelled.run(0, &["run", "yellow", "--month", "2024-01..2024-06"])?;
    let models = &first["models"];
    assert_eq!((&models["status"], &models["engine"]), (&"built".into(), &"duckdb".into()));
    assert_eq!(models["windows"].as_array().map(Vec::len), Some(0), "all of them: {models:#}");
    assert!(ended(models, "success").contains(&"dim_zone"));
    let daily = models["nodes"].as_array().unwrap().iter().find(|node| node["name"] == "fct_daily_trips").unwrap();
    let seen = modelled.gold_is_that_of(&MONTHS)?;
    assert_eq!(daily["rows"], seen["gold.fct_daily_trips"]["rows"]);

    // Loaded already: no model runs, and it is said.
    let again = modelled.run(0, &["run", "yellow", "--month", "2024-01..2024-06"])?;
    assert_eq!(
        (&again["models"]["status"], &again["models"]["nodes"]),
        (&"unchanged".into(), &Value::Array(Vec::new()))
    );

    // One month changes upstream: its window alone is built, and gold is that of the new files.
    modelled.change("2024-03", "select * from {file} where hour(tpep_pickup_datetime) < 12")?;
    let changed = modelled.run(0, &["run", "yellow", "--month", "2024-01..2024-06"])?;
    assert_eq!(changed["models"]["windows"], serde_json::json!(["2024-03"]));
    assert!(!ended(&changed["models"], "success").contains(&"dim_zone"), "the zones are there");
    let now = modelled.gold_is_that_of(&MONTHS)?;
    let (before, after) = (seen["days"].as_object().unwrap(), now["days"].as_object().unwrap());
    let march = seen["dates"]["2024-03"].as_array().unwrap();
    let differing: Vec<&String> = before.keys().filter(|day| before.get(*day) != after.get(*day)).collect();
    assert!(!differing.is_empty());
    for day in differing {
        assert!(march.iter().any(|of_march| of_march == day.as_str()), "{day} is no day of the month that changed");
    }

    // DuckDB deleted by position. A compaction takes those rows out of the data files and the delete files out of the table.
    for table in ["silver.stg_yellow_trips", "gold.fct_daily_trips"] {
        let count = |sql: &str| -> Result<Option<u64>> {
            let (namespace, name) = table.split_once('.').context("no namespace")?;
            let files = format!("{namespace}.\"{name}$files\"");
            let found = modelled.run(0, &["query", &sql.replace("{files}", &files).replace("{table}", table)])?;
            Ok(found[0]["n"].as_u64())
        };
        let deletes = "select count(*) as n from {files} where content <> 'data'";
        let (before, rows) = (count(deletes)?, count("select count(*) as n from {table}")?);
        assert!(before > Some(0), "{table} has no delete files to begin with");
        let compacted = modelled.run(0, &["table", "compact", table])?;
        assert_eq!(compacted["delete_files_dropped"].as_u64(), before, "{compacted}");
        assert_eq!(count(deletes)?, Some(0));
        let snapshots = modelled.run(0, &["snapshots", table])?;
        assert_eq!(
            (snapshots["snapshots"][0]["rows"].as_u64(), count("select count(*) as n from {table}")?),
            (rows, rows)
        );
    }
    modelled.gold_is_that_of(&MONTHS)?;
    modelled.bench.read_table(&modelled.python, "silver.stg_yellow_trips")?;

    // The table of another pipeline is no source of the project.
    std::fs::copy(
        data().join("green_tripdata_2024-01.parquet"),
        modelled.bench.served("green_tripdata_2024-01.parquet"),
    )?;
    let green = modelled.run(0, &["run", "green", "--month", "2024-01"])?;
    assert_eq!(green["models"]["status"], "unchanged");
    assert_eq!(green["models"]["note"], "the project has no source for raw.green_trips");

    // Nothing was written into the project, and nothing is left of the runs.
    for folder in ["target", "logs", "dbt_packages"] {
        assert!(!modelled.bench.dir.path().join("dbt_project").join(folder).exists(), "{folder}");
    }
    // Any reader of the lake sees the models' tables.
    let trips = modelled.run(0, &["query", "select sum(trips) as trips from gold.fct_daily_trips"])?;
    let total: u64 = after.values().filter_map(|day| day[0].as_u64()).sum();
    assert_eq!(trips[0]["trips"], total);
    Ok(())
}

#[test]
fn a_failed_test_is_exit_8_with_its_rows_and_the_next_run_makes_it_good() -> Result<()> {
    let modelled = Modelled::new(&MONTHS[..2])?;
    modelled.run(0, &["run", "yellow", "--month", "2024-01"])?;
    modelled.change("2024-02", "select * replace (case when tpep_pickup_datetime = (select max(tpep_pickup_datetime) from {file} where \
        trip_distance > 0 and fare_amount > 0 and tpep_pickup_datetime < tpep_dropoff_datetime) then 77 else payment_type end as payment_type) from {file}")?;
    let text = modelled.bench.run(&["run", "yellow", "--month", "2024-02"])?;
    assert_eq!(text.code, 8, "{}{}", text.stdout, text.stderr);
    for said in [
        "loaded, 1,593 rows read",
        "failed    test accepted_values_stg_yellow_trips_payment_type__False__0__1__2__3__4__5__6 of stg_yellow_trips",
        "file      models/nyc_taxi/staging/stg_yellow_trips.yml",
        "value_field=77 n_records=1",
        "skipped   ",
    ] {
        assert!(text.stdout.contains(said), "{said:?} is not in\n{}", text.stdout);
    }
    for said in [
        "error[LH0701]",
        "the loaded data is committed",
        "lakehost models --project-dir dbt_project --select source:raw.yellow_trips+ --windows 2024-02",
    ] {
        assert!(text.stderr.contains(said), "{said:?} is not in\n{}", text.stderr);
    }
    // The statement of the failed test is kept to be looked at.
    let compiled =
        text.stdout.lines().find_map(|line| line.trim().strip_prefix("compiled  ")).context("no statement")?;
    assert!(std::fs::read_to_string(compiled)?.contains("payment_type"), "{compiled}");

    // The data is committed, and gold is as it was.
    let count = modelled.run(0, &["query", "select count(*) as n from raw.yellow_trips where payment_type = 77"])?;
    assert_eq!(count[0]["n"], 1);
    gold_has_the_trips_of(&modelled, &["2024-01"])?;

    // Nothing changed upstream, but its models are still to be built: it is not passed over in silence.
    let again = modelled.run(8, &["run", "yellow", "--month", "2024-02"])?;
    assert_eq!(again["totals"]["status"], "already-loaded");
    let models = &again["models"];
    assert_eq!((&models["status"], &models["windows"]), (&"failed".into(), &serde_json::json!(["2024-02"])));
    assert_eq!(again["error"]["code"], "LH0701");
    let failed = models["nodes"].as_array().unwrap().iter().find(|node| node["status"] == "fail").unwrap();
    assert_eq!((&failed["of"], &failed["failures"]), (&"stg_yellow_trips".into(), &1.into()));
    assert_eq!(failed["sample"], serde_json::json!([{"value_field": 77, "n_records": 1}]));

    // Left out on request, and remembered.
    std::fs::copy(data().join(file("2024-02")), modelled.bench.served(&file("2024-02")))?;
    let left_out = modelled.run(0, &["run", "yellow", "--month", "2024-02", "--no-models"])?;
    assert_eq!((&left_out["models"]["status"], &left_out["totals"]["status"]), (&"left-out".into(), &"loaded".into()));
    let mended = modelled.run(0, &["run", "yellow", "--month", "2024-02"])?;
    assert_eq!(mended["totals"]["status"], "already-loaded");
    assert_eq!(
        (&mended["models"]["status"], &mended["models"]["windows"]),
        (&"built".into(), &serde_json::json!(["2024-02"]))
    );
    modelled.gold_is_that_of(&MONTHS[..2])?;
    assert_eq!(modelled.run(0, &["run", "yellow", "--month", "2024-02"])?["models"]["status"], "unchanged");
    Ok(())
}

/// The marts were not built on what failed: they have the trips of these months.
fn gold_has_the_trips_of(modelled: &Modelled, months: &[&str]) -> Result<()> {
    let found = modelled.run(0, &["query", "select sum(trips) as trips from gold.fct_daily_trips"])?;
    let files: Vec<String> = months.iter().map(|month| format!("'{}'", data().join(file(month)).display())).collect();
    let statement = format!("select count(*) from read_parquet([{}]) where {COUNTED}", files.join(", "));
    let expected = read(&modelled.python, "duck.py", &[&statement])?;
    assert_eq!(found[0]["trips"].to_string(), expected[0][0].as_str().unwrap_or_default());
    Ok(())
}

#[test]
fn models_by_hand_choose_document_and_say_what_is_wrong() -> Result<()> {
    let modelled = Modelled::new(&MONTHS[..1])?;
    let bench = &modelled.bench;
    // Before there is a warehouse.
    assert_eq!(bench.run(&["models"])?.code, 2);
    modelled.run(0, &["run", "yellow", "--month", "2024-01", "--no-models"])?;
    let docs = bench.dir.path().join("docs");
    let all = bench.run(&["models", "--docs", "docs"])?;
    assert_eq!(all.code, 0, "{}{}", all.stdout, all.stderr);
    assert!(
        all.stderr.contains("stg_yellow_trips") && all.stdout.contains("gold.fct_daily_trips"),
        "{}{}",
        all.stdout,
        all.stderr
    );
    modelled.gold_is_that_of(&MONTHS[..1])?;
    assert!(docs.join("index.html").exists());
    let catalog: Value = serde_json::from_str(&std::fs::read_to_string(docs.join("catalog.json"))?)?;
    assert_eq!(
        catalog["nodes"]["model.lakehost.fct_daily_trips"]["columns"].as_object().map(|columns| columns.len()),
        Some(9)
    );

    let some = modelled
        .run(0, &["models", "--select", "int_routes+", "--exclude", "resource_type:test", "--windows", "2024-01"])?;
    assert_eq!(ended(&some, "success"), ["int_routes", "fct_trip_distance_stats"]);
    modelled.run(0, &["models", "--select", "stg_yellow_trips", "--full-refresh"])?;
    modelled.gold_is_that_of(&MONTHS[..1])?;

    let none = modelled.run(8, &["models", "--select", "nonsense"])?;
    assert_eq!(none["error"]["code"], "LH0702");
    let model = bench.dir.path().join("dbt_project/models/nyc_taxi/marts/broken.sql");
    std::fs::write(&model, "select nonsense from {{ ref('stg_yellow_trips') }}")?;
    let broken = modelled.run(8, &["models", "--select", "broken"])?;
    assert_eq!(broken["error"]["code"], "LH0701");
    let node = &broken["nodes"][0];
    assert_eq!(
        (&node["name"], &node["status"], &node["file"]),
        (&"broken".into(), &"error".into(), &"models/nyc_taxi/marts/broken.sql".into())
    );
    assert!(node["message"].as_str().unwrap().contains("nonsense"), "{node}");
    std::fs::write(&model, "select {{ nonsense( }}")?;
    let refused = modelled.run(8, &["models"])?;
    assert_eq!(refused["error"]["code"], "LH0702");
    assert!(refused["error"]["cause"].as_str().unwrap().contains("broken.sql"), "{refused}");
    std::fs::remove_file(model)?;
    assert_eq!(bench.run(&["models", "--project-dir", "nowhere"])?.code, 8);

    // No Python that would do.
    let bare = bench.dir.path().join("bare");
    std::fs::create_dir(&bare)?;
    let without = done(bench.command(&["models"]).env("PATH", &bare).output()?)?;
    assert_eq!(without.code, 8, "{}", without.stderr);
    assert!(without.stderr.contains("LH0703") && without.stderr.contains("python3-venv"), "{}", without.stderr);
    Ok(())
}

mod on_postgres_and_s3 {
    use lakehost_server::programs::Minio;

    use super::*;
    use crate::support::bucket_profile;

    #[test]
    fn a_bucket_behind_a_postgres_catalog_is_modelled_alike() -> Result<()> {
        let modelled = Modelled::new(&MONTHS[..1])?;
        let file = modelled.bench.dir.path().join("lakehost.toml");
        let profile = bucket_profile("models");
        std::fs::write(&file, std::fs::read_to_string(&file)? + &profile)?;
        let text = modelled.bench.run(&["run", "yellow", "--month", "2024-01", "--profile", "cluster"])?;
        assert_eq!(text.code, 0, "{}{}", text.stdout, text.stderr);
        assert!(!format!("{}{}", text.stdout, text.stderr).contains(Minio::SECRET));
        let sum = "select sum(trips) as trips, sum(total_amount) as dollars from gold.fct_daily_trips";
        let found = modelled.run(0, &["query", sum, "--profile", "cluster"])?;
        let statement = format!(
            "select count(*), sum(total_amount::decimal(12, 2)) from read_parquet('{}') where {COUNTED}",
            modelled.bench.served(&self::file("2024-01")).display()
        );
        let expected = read(&modelled.python, "duck.py", &[&statement])?;
        assert_eq!(found[0]["trips"].to_string(), expected[0][0].as_str().unwrap_or_default());
        assert_eq!(found[0]["dollars"].to_string().trim_matches('"'), expected[0][1].as_str().unwrap_or_default());
        Ok(())
    }
}

/// The processes whose command line names a folder.
pub fn processes_of(folder: &str) -> Vec<String> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let lines = entries.filter_map(|entry| std::fs::read(entry.path().join("cmdline")).ok());
    lines.map(|line| String::from_utf8_lossy(&line).replace('\0', " ")).filter(|line| line.contains(folder)).collect()
}

/// Whether dbt, started by the lakehost of that pid, runs models: their statements lie in the folder of the run.
fn is_building(lakehost: u32) -> bool {
    let runs = std::fs::read_dir(shared_cache().join("lakehost/dbt/runs")).into_iter().flatten().flatten();
    let mut own = runs.filter(|run| run.file_name().to_string_lossy().contains(&format!("-{lakehost}-")));
    own.any(|run| run.path().join("target/run").exists())
}

#[test]
fn ctrl_c_ends_dbt_and_says_what_is_left() -> Result<()> {
    let modelled = Modelled::new(&MONTHS[..1])?;
    let bench = &modelled.bench;
    let folder = bench.dir.path().display().to_string();
    let child = bench
        .command(&["run", "yellow", "--month", "2024-01", "--format", "json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let since = Instant::now();
    while !is_building(child.id()) {
        assert!(since.elapsed() < Duration::from_secs(400), "dbt did not begin");
        std::thread::sleep(Duration::from_millis(50));
    }
    std::thread::sleep(Duration::from_millis(500));
    // SAFETY: the child is ours and not waited for yet.
    unsafe { libc::kill(libc::pid_t::try_from(child.id())?, libc::SIGINT) };
    let stopped: Done = done(child.wait_with_output()?)?;
    assert_eq!(stopped.code, 130, "{}{}", stopped.stdout, stopped.stderr);
    let report = stopped.json()?;
    assert_eq!(report["totals"]["status"], "loaded");
    assert_eq!((&report["models"]["status"], &report["error"]["code"]), (&"interrupted".into(), &"LH1099".into()));
    assert_eq!(processes_of(&folder), Vec::<String>::new());
    // The next run builds what is left.
    let next = modelled.run(0, &["run", "yellow", "--month", "2024-01"])?;
    assert_eq!((&next["totals"]["status"], &next["models"]["status"]), (&"already-loaded".into(), &"built".into()));
    modelled.gold_is_that_of(&MONTHS[..1])?;
    Ok(())
}
