//! A Trino that is not reached, by its certificate or its password. What one does that dies at work is in `cluster`.

use anyhow::{Context as _, Result};
use lakehost_server::{Answer, Authority, Identity, Service};

use super::world::{MONTHS, Said, WRONG, World, check};
use crate::support::Bench;

fn section(profile: &str, uri: &str, more: &str) -> String {
    format!(
        "[profile.{profile}]\nwarehouse = \"warehouse\"\n[profile.{profile}.trino]\nuri = \"{uri}\"\ncatalog = \"lake\"\nuser = \"ann\"\n\
         password = {{ command = [\"printf\", \"{WRONG}\"] }}\n{more}"
    )
}

/// What lets nobody in and speaks Trino's protocol so far.
fn guarded(identity: Identity) -> Result<(Service, String)> {
    let service = Service::start_in(identity.wrap(), |request| match request.path.as_str() {
        "/v1/info" => Answer::with(200, "application/json", r#"{"nodeVersion":{"version":"476"},"starting":false}"#),
        _ => Answer::with(401, "text/plain", "Access Denied: Invalid credentials"),
    })?;
    let port = service.url().rsplit(':').next().context("no port")?.to_owned();
    Ok((service, format!("https://localhost:{port}")))
}

#[test]
fn its_certificate_and_its_password_come_with_their_own_way_out() -> Result<()> {
    let bench = Bench::serving(&[])?;
    let authority = Authority::new(bench.dir.path())?;
    let (other, other_url) = guarded(authority.identity("DNS:other.example")?)?;
    let (right, right_url) = guarded(authority.identity("DNS:localhost")?)?;
    let with_ca = "ca = \"ca.pem\"\n";
    let cases = [
        (
            "a certificate for another name",
            section("broken", &other_url, with_ca),
            "LH0722",
            ["not valid for name", "into `uri` of [profile.NAME.trino]"],
        ),
        (
            "an authority that nobody knows",
            section("broken", &right_url, ""),
            "LH0722",
            ["UnknownIssuer", "with `ca` of [profile.NAME.trino]"],
        ),
        (
            "a wrong password",
            section("broken", &right_url, with_ca),
            "LH0723",
            ["401", "`user` and `password` or `token` of [profile.NAME.trino]"],
        ),
        (
            "nobody at the address",
            section("broken", "https://127.0.0.1:9", ""),
            "LH0722",
            ["127.0.0.1:9", "see that Trino runs"],
        ),
    ];
    let path = bench.dir.path().join("lakehost.toml");
    for (fault, sections, code, words) in cases {
        std::fs::write(&path, sections)?;
        let arguments = ["query", "select 1", "--engine", "trino", "--profile", "broken", "--format", "json"];
        let done = bench.run(&arguments)?;
        assert!(!format!("{}{}", done.stdout, done.stderr).contains(WRONG), "{fault}: the password is said");
        check(fault, &done, &Said { exit: 8, code, words: &words })?;
    }
    assert!(other.requests().is_empty(), "a password went to a server that is not the one");
    assert!(right.requests().iter().all(|request| request.header("authorization").is_some()));
    Ok(())
}

#[test]
fn the_doctor_finds_it_and_loads_need_it_not() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let authority = Authority::new(folder.path())?;
    let (_other, url) = guarded(authority.identity("DNS:other.example")?)?;
    let ca = format!("ca = \"{}\"\n", authority.file().display());
    let sound = |profile: &str| format!("[profile.{profile}]\nwarehouse = \"warehouse\"\n");
    let bench = Bench::serving(&MONTHS.map(super::world::file).iter().map(String::as_str).collect::<Vec<_>>())?;
    let warehouse = bench.dir.path().canonicalize()?.join("warehouse");
    let for_pyiceberg =
        serde_json::json!({ "type": "sql", "uri": format!("sqlite:///{}/catalog.db", warehouse.display()) });
    let mut world = World::on(bench, sound, &for_pyiceberg, &[])?;
    world.broken(&section("broken", &url, &ca))?;
    let words = ["not valid for name", "into `uri` of [profile.NAME.trino]"];
    world.doctor_finds("a certificate for another name", "trino", &Said { exit: 8, code: "LH0722", words: &words })?;
    world.finishes("a load beside it", "broken", MONTHS[1])
}
