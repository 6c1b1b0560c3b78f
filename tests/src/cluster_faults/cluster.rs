//! Services that die at work: one stack of real ones serves all of these, since it takes half a minute to come up.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use lakehost_server::{Match, Proxy, ProxyFault};
use serde_json::{Value, json};

use super::world::{MONTHS, Said, World, check};
use crate::cluster::Cluster;
use crate::models;
use crate::support::{Done, done, expect, python, root};

const EXPIRED: &str = "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>";
/// Longer than any of this takes.
const LIMIT: Duration = Duration::from_secs(120);

fn wait_for(what: &str, is_there: impl Fn() -> Result<bool>) -> Result<()> {
    let began = Instant::now();
    while !is_there()? {
        ensure!(began.elapsed() < LIMIT, "{what} does not come");
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
}

/// Ends a service as the kernel does that is out of memory.
fn kill(cluster: &Cluster, service: &str) -> Result<()> {
    let status = cluster.stack(&["status", "--format", "json"])?.json()?;
    let services = status["services"].as_array().context("no services")?;
    let found = services.iter().find(|known| known["service"] == service).context("no such service")?;
    let pid = found["pid"].as_i64().with_context(|| format!("no pid: {found}"))?;
    // SAFETY: the pid is that of a service of this test's own stack, which is up.
    ensure!(unsafe { libc::kill(libc::pid_t::try_from(pid)?, libc::SIGKILL) } == 0, "{service} is not there");
    Ok(())
}

fn up_again(cluster: &Cluster) -> Result<()> {
    let up = cluster.stack(&["up", "--format", "json"])?;
    ensure!(up.code == 0, "{}{}", up.stdout, up.stderr);
    Ok(())
}

/// A load that works while the test does something else.
fn begin(world: &World, profile: &str, month: &str) -> Result<Child> {
    let arguments = world.bench.load_args("yellow", month, &["--profile", profile]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    Ok(world.bench.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?)
}

fn end(world: &World, child: Child) -> Result<Done> {
    let done = done(child.wait_with_output()?)?;
    world.keeps_secrets(&done);
    Ok(done)
}

/// A request that uploads a data file is on its way.
fn uploads(proxy: &Proxy) -> bool {
    proxy.seen().iter().any(|request| request.method == "PUT" && request.path.contains("/data/"))
}

#[test]
fn services_that_die_at_work_leave_tables_whole_and_the_next_run_finishes() -> Result<()> {
    let python = python()?;
    let cluster = Cluster::start(&[], "trino")?;
    let profile = std::fs::read_to_string(cluster.file())?;
    let properties = cluster.for_pyiceberg("rest")?;
    let secret = properties["s3.secret-access-key"].as_str().context("no secret")?.to_owned();
    let section = |name: &str| profile.replace("[profile.stack", &format!("[profile.{name}"));
    let mut world = World::new(section, &properties, &[&secret])?;
    let store = cluster.address("minio")?;
    let proxy = Proxy::start(&store)?;
    let through = section("broken").replace(&store, &proxy.url());

    the_catalog_dies(&cluster, &mut world, &proxy, &through)?;
    keys_run_out(&mut world, &proxy, &through, &store, &|script, arguments| {
        let mut command = Command::new(&python);
        command.arg(root().join("tests/python").join(script)).args(arguments);
        command.env("AWS_SECRET_ACCESS_KEY", &secret);
        command.env("AWS_ACCESS_KEY_ID", properties["s3.access-key-id"].as_str().unwrap_or_default());
        let output = command.output()?;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(serde_json::from_slice(&output.stdout)?)
    })?;
    trino_dies(&cluster, &mut world)
}

/// Between the beginning of a load and its commit.
fn the_catalog_dies(cluster: &Cluster, world: &mut World, proxy: &Proxy, through: &str) -> Result<()> {
    world.broken(through)?;
    let before = world.state()?;
    proxy.rule(Match::method("PUT").on("/data/"), ProxyFault::HoldRequest(Duration::from_secs(2)));
    let child = begin(world, "broken", MONTHS[1])?;
    wait_for("an upload", || Ok(uploads(proxy)))?;
    kill(cluster, "rest")?;
    let died = end(world, child)?;
    proxy.clear();
    let said = Said {
        exit: 7,
        code: "LH0601",
        words: &["refused", "see that the catalog is up", "`uri` of [profile.NAME.catalog]"],
    };
    check("a catalog that dies at work", &died, &said)?;
    assert!(died.stdout.contains(MONTHS[1]), "{}", died.stdout);
    // Before it is up again.
    check("a catalog that is down", &world.load("sound", MONTHS[1])?, &said)?;
    world.doctor_finds("a catalog that is down", "catalog", &Said { words: &["refused"], ..said })?;
    up_again(cluster)?;
    assert_eq!(world.state()?, before, "the table is not as it was");
    world.finishes("a catalog that died at work", "sound", MONTHS[1])
}

/// Keys of a session, which the store refuses from the first upload on; by then the file has others.
fn keys_run_out(
    world: &mut World,
    proxy: &Proxy,
    through: &str,
    store: &str,
    python: &dyn Fn(&str, &[&str]) -> Result<Value>,
) -> Result<()> {
    let session = || python("assume_role.py", &[store, "us-east-1"]);
    let (first, second) = (session()?, session()?);
    assert_ne!(first["access_key_id"], second["access_key_id"]);
    let folder = world.bench.dir.path().to_owned();
    let write = |keys: &Value| -> Result<()> {
        for name in ["access_key_id", "secret_access_key", "session_token"] {
            std::fs::write(folder.join(name), keys[name].as_str().context("no key")?)?;
        }
        Ok(())
    };
    let plain: Vec<&str> = through
        .lines()
        .filter(|line| !line.starts_with("access_key_id") && !line.starts_with("secret_access_key"))
        .collect();
    let keys: String = ["access_key_id", "secret_access_key", "session_token"]
        .iter()
        .map(|name| format!("{name} = {{ file = \"{name}\" }}\n"))
        .collect();
    let sections = plain.join("\n").replace("[profile.broken.s3]\n", &format!("[profile.broken.s3]\n{keys}"));
    world.broken(&sections)?;

    let expired = || {
        proxy.rule(
            Match::method("PUT")
                .on("/data/")
                .header("authorization", first["access_key_id"].as_str().unwrap_or_default()),
            ProxyFault::StatusAfter(Duration::from_secs(2), 400, EXPIRED.to_owned()),
        )
    };
    // Nobody renews them.
    write(&first)?;
    expired();
    let words = ["have run out", "ExpiredToken", "renew the keys", "from a file or a command"];
    world.fails("keys that run out at work", MONTHS[2], &Said { exit: 6, code: "LH0503", words: &words })?;
    assert!(proxy.clear() > 0);
    // Somebody does.
    let before = world.state()?;
    let seen = proxy.seen().len();
    expired();
    let child = begin(world, "broken", MONTHS[2])?;
    wait_for("an upload", || {
        Ok(proxy.seen().iter().skip(seen).any(|request| request.method == "PUT" && request.path.contains("/data/")))
    })?;
    write(&second)?;
    expect(&end(world, child)?, 0, &["loaded"]);
    assert_eq!(proxy.clear(), 1, "the upload was refused once");
    let signed_by = |keys: &Value| {
        let id = keys["access_key_id"].as_str().unwrap_or_default().to_owned();
        let signed = |request: &&lakehost_server::RequestLog| {
            request.header("authorization").is_some_and(|value| value.contains(&id))
        };
        proxy.seen().iter().skip(seen).filter(signed).count()
    };
    assert!(signed_by(&first) > 0 && signed_by(&second) > 1);
    let after = world.state()?;
    assert!(after["rows"].as_u64() > before["rows"].as_u64());
    Ok(())
}

/// With SIGKILL, in the middle of a dbt run.
fn trino_dies(cluster: &Cluster, world: &mut World) -> Result<()> {
    let bench = &world.bench;
    models::copy(&root().join("dbt_project"), &bench.dir.path().join("dbt_project"))?;
    let url = bench.url();
    let pipeline = format!(
        "[pipeline.yellow]\nplugin = \"nyc_tlc.wasm\"\nconfig = {{ dataset = \"yellow\", base_url = \"{url}\" }}\nallow = [\"{url}\"]\n\
         table = \"raw.yellow_trips\"\nmodels = \"dbt_project\"\n"
    );
    world.broken(&pipeline)?;
    // dbt is set up before, which may take minutes once.
    let months = format!("{}..{}", MONTHS[0], MONTHS[3]);
    let arguments = ["run", "yellow", "--month", months.as_str(), "--profile", "sound", "--format", "json"];
    let first = world.run(&arguments)?;
    assert_eq!(first.code, 0, "{}{}", first.stdout, first.stderr);
    assert_eq!(first.json()?["models"]["engine"], "trino");
    let gold = "select count(*) as days, sum(trips) as trips from gold.fct_daily_trips";
    let asked = |world: &World| -> Result<Value> {
        let done = world.run(&["query", gold, "--profile", "sound", "--format", "json"])?;
        assert_eq!(done.code, 0, "{}{}", done.stdout, done.stderr);
        done.json()
    };
    let before = asked(world)?;

    let arguments = ["run", "yellow", "--month", MONTHS[4], "--profile", "sound", "--format", "json"];
    let child = world.bench.command(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn()?;
    let working =
        "select count(*) as n from system.runtime.queries where source like 'dbt-trino%' and state = 'RUNNING'";
    let began = Instant::now();
    wait_for("dbt's statements", || {
        let done = world.run(&["query", working, "--engine", "trino", "--profile", "sound", "--format", "json"])?;
        Ok(done.code == 0 && done.json()?[0]["n"].as_u64() > Some(0))
    })?;
    kill(cluster, "trino")?;
    let killed = Instant::now();
    let died = end(world, child)?;
    let took = killed.elapsed();
    assert!(took < Duration::from_secs(90), "{took:?} after Trino died, {:?} before", killed - began);
    let report = died.json()?;
    assert_eq!(report["totals"]["status"], "loaded", "{report:#}");
    let error = &report["error"];
    assert_eq!((died.code, error["code"].as_str()), (8, Some("LH0701")), "{report:#}");
    for word in ["the loaded data is committed", "lakehost models", MONTHS[4]] {
        assert!(error.to_string().contains(word), "{word:?} is not in {error:#}");
    }
    for word in ["Trino went away or was not reached", "see that Trino is up"] {
        assert!(error.to_string().contains(word), "{word:?} is not in {report:#}");
    }
    let down = Said { exit: 8, code: "LH0722", words: &["refused", "see that Trino runs"] };
    let query = world.run(&["query", "select 1", "--engine", "trino", "--profile", "sound", "--format", "json"])?;
    check("a Trino that is down", &query, &down)?;

    up_again(cluster)?;
    // What Trino did not finish is not there: gold is as before, or whole for the window.
    let raw = world.state()?;
    let next = world.run(&arguments)?;
    assert_eq!(next.code, 0, "{}{}", next.stdout, next.stderr);
    let report = next.json()?;
    assert_eq!((&report["totals"]["status"], &report["models"]["status"]), (&json!("already-loaded"), &json!("built")));
    assert_eq!(report["models"]["windows"], json!([MONTHS[4]]));
    assert_eq!(world.state()?, raw);
    let after = asked(world)?;
    assert!(after[0]["days"].as_u64() > before[0]["days"].as_u64(), "{before} {after}");
    let counted = "select count(*) as trips from raw.yellow_trips where tpep_pickup_datetime < tpep_dropoff_datetime and trip_distance > 0 and \
                   fare_amount > 0";
    let counted = world.run(&["query", counted, "--profile", "sound", "--format", "json"])?.json()?;
    assert_eq!(after[0]["trips"], counted[0]["trips"], "gold does not have the trips of raw");
    Ok(())
}
