//! A real object store behind a proxy that breaks things, with a catalog in a file.

use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context as _, Result};
use lakehost_server::programs::{self, Minio};
use lakehost_server::{Authority, Match, Proxy, ProxyFault};
use serde_json::json;

use super::world::{MONTHS, Said, WRONG, World};
use crate::support::expect;

const SLOW: &str = "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";
const EXPIRED: &str = "<Error><Code>ExpiredToken</Code><Message>The provided token has expired.</Message></Error>";

/// The sections of a profile on a bucket.
struct Bucket {
    warehouse: String,
    minio: Minio,
}

impl Bucket {
    fn section(&self, profile: &str, endpoint: &str, more: &str) -> String {
        format!(
            "[profile.{profile}]\nwarehouse = \"{}\"\ncatalog = \"sqlite:///lake.db\"\n[profile.{profile}.s3]\nendpoint = \"{endpoint}\"\n\
             region = \"us-east-1\"\naccess_key_id = \"{}\"\nsecret_access_key = {{ command = [\"printf\", \"{}\"] }}\n{more}",
            self.warehouse,
            Minio::KEY,
            Minio::SECRET
        )
    }
}

/// `None`, with a word on stderr, where there is no store to start.
fn world() -> Result<(World, Bucket)> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let minio = programs::minio();
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let warehouse = format!("s3://{}/faults{}-{number}", Minio::BUCKET, std::process::id());
    let bucket = Bucket { warehouse, minio };
    let bench =
        crate::support::Bench::serving(&MONTHS.map(super::world::file).iter().map(String::as_str).collect::<Vec<_>>())?;
    let catalog = bench.dir.path().canonicalize()?.join("lake.db");
    let for_pyiceberg = json!({
        "name": "lakehost", "type": "sql", "uri": format!("sqlite:///{}", catalog.display()),
        "s3.endpoint": minio.url(), "s3.region": "us-east-1",
        "s3.access-key-id": Minio::KEY, "s3.secret-access-key": Minio::SECRET,
    });
    let world =
        World::on(bench, |profile| bucket.section(profile, &minio.url(), ""), &for_pyiceberg, &[Minio::SECRET])?;
    Ok((world, bucket))
}

#[test]
fn a_store_that_fails_in_mid_run_leaves_the_table_whole() -> Result<()> {
    let (mut world, bucket) = world()?;
    let proxy = Proxy::start(&bucket.minio.url())?;
    world.broken(&bucket.section("broken", &proxy.url(), ""))?;
    let data = || Match::method("PUT").on("/data/");
    // What passes is outlived.
    for (month, of, fault) in [
        (MONTHS[1], data().times(2), ProxyFault::Status(503, SLOW.into())),
        (MONTHS[2], data().times(1), ProxyFault::DropAnswer),
    ] {
        proxy.rule(of, fault.clone());
        world.finishes(&format!("{fault:?} that passes"), "broken", month)?;
        assert!(proxy.clear() > 0, "{fault:?} was never met");
    }
    // What stays is told.
    let location = format!("{}/raw/yellow_trips/data/", bucket.warehouse);
    for (month, fault, code, words) in [
        (
            MONTHS[3],
            ProxyFault::Status(503, SLOW.into()),
            "LH0501",
            ["SlowDown", "asks to wait", "run the same command again when the object store is less busy"],
        ),
        (
            MONTHS[4],
            ProxyFault::DropRequest,
            "LH0501",
            ["does not answer", "tried 5 times more", "`endpoint` of [profile.NAME.s3]"],
        ),
        (
            MONTHS[5],
            ProxyFault::Status(400, EXPIRED.into()),
            "LH0503",
            ["have run out", "ExpiredToken", "renew the keys where `secret_access_key`"],
        ),
    ] {
        proxy.rule(data(), fault.clone());
        let words = [&words[..], &[location.as_str(), month]].concat();
        let name = format!("{fault:?} that stays");
        world.fails(&name, month, &Said { exit: 6, code, words: &words })?;
        assert!(proxy.clear() > 0, "{fault:?} was never met");
        world.finishes(&name, "broken", month)?;
    }
    let tidy = world.run(&[
        "table",
        "orphans",
        super::world::TABLE,
        "--older-than",
        "0 s",
        "--allow-younger-than-72h",
        "--profile",
        "sound",
        "--format",
        "json",
    ])?;
    assert_eq!(tidy.code, 0, "{}{}", tidy.stdout, tidy.stderr);
    assert_eq!(tidy.json()?["orphans"].as_array().map(Vec::len), Some(0), "files are left behind: {}", tidy.stdout);
    Ok(())
}

#[test]
fn wrong_keys_and_missing_buckets_come_with_their_own_way_out() -> Result<()> {
    let (mut world, bucket) = world()?;
    let straight = bucket.section("broken", &bucket.minio.url(), "");
    let keys = ["LH0503", "[profile.NAME.s3]", "`access_key_id` and `secret_access_key`"];
    let cases = [
        ("a wrong secret key", straight.replace(Minio::SECRET, WRONG), keys),
        ("a key that nobody has", straight.replace(&format!("\"{}\"", Minio::KEY), "\"nobody\""), keys),
        (
            "a bucket that is not there",
            straight.replace(&format!("s3://{}/", Minio::BUCKET), "s3://no-such-bucket/"),
            ["LH0504", "no such bucket", "make the bucket no-such-bucket"],
        ),
    ];
    for (fault, sections, [code, words @ ..]) in cases {
        world.broken(&sections)?;
        let said = Said { exit: 6, code, words: &words };
        world.fails(fault, MONTHS[1], &said)?;
        world.doctor_finds(fault, "warehouse", &said)?;
    }
    world.broken(&straight)?;
    world.finishes("the right keys", "broken", MONTHS[1])
}

#[test]
fn a_certificate_is_for_its_name_and_of_a_known_authority() -> Result<()> {
    let (mut world, bucket) = world()?;
    let authority = Authority::new(world.bench.dir.path())?;
    let upstream = bucket.minio.url();
    let front = |name: &str| -> Result<(Proxy, String)> {
        let proxy = Proxy::start_in(authority.identity(name)?.wrap(), &upstream)?;
        let port = proxy.url().rsplit(':').next().context("no port")?.to_owned();
        Ok((proxy, format!("https://localhost:{port}")))
    };
    let (other, other_url) = front("DNS:other.example")?;
    let said = Said {
        exit: 6,
        code: "LH0501",
        words: &["not valid for name", "localhost", "into `endpoint` of [profile.NAME.s3]"],
    };
    world.broken(&bucket.section("broken", &other_url, "ca = \"ca.pem\"\n"))?;
    world.fails("a certificate for another name", MONTHS[1], &said)?;
    world.doctor_finds("a certificate for another name", "warehouse", &said)?;
    assert!(other.seen().is_empty(), "something was sent to a server that is not the one");

    let (right, right_url) = front("DNS:localhost")?;
    let said = Said { exit: 6, code: "LH0501", words: &["UnknownIssuer", "with `ca` of [profile.NAME.s3]"] };
    world.broken(&bucket.section("broken", &right_url, ""))?;
    world.fails("an authority that nobody knows", MONTHS[1], &said)?;
    world.doctor_finds("an authority that nobody knows", "warehouse", &said)?;
    assert!(right.seen().is_empty(), "something was sent to a server that nobody vouches for");

    // With its authority named, everything goes through it.
    world.broken(&bucket.section("broken", &right_url, "ca = \"ca.pem\"\n"))?;
    world.finishes("a certificate of one's own authority", "broken", MONTHS[1])?;
    assert!(right.seen().iter().any(|request| request.method == "PUT"));
    let tidy = world.run(&["table", "orphans", super::world::TABLE, "--profile", "broken", "--format", "json"])?;
    assert_eq!(tidy.code, 0, "{}{}", tidy.stdout, tidy.stderr);
    expect(&world.load("broken", MONTHS[1])?, 0, &["already-loaded"]);
    Ok(())
}
