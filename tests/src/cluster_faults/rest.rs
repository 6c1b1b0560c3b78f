//! A catalog that speaks Iceberg's REST protocol, behind a proxy that breaks things, with tables in a folder.

use anyhow::{Context as _, Result};
use lakehost_server::{Authority, Match, Proxy, ProxyFault, RestServer};
use serde_json::json;

use super::world::{MONTHS, Said, TABLE, WRONG, World, file};
use crate::support::Bench;

/// The client's secret, as the server knows it.
const SECRET: &str = "secret";
/// A port that nobody listens on.
const NOBODY: &str = "http://127.0.0.1:9";

fn section(profile: &str, uri: &str, more: &str) -> String {
    format!(
        "[profile.{profile}]\nwarehouse = \"store\"\n[profile.{profile}.catalog]\nuri = \"{uri}\"\nclient_id = \"id\"\n\
         client_secret = {{ command = [\"printf\", \"{SECRET}\"] }}\ntimeout_seconds = 5\n{more}"
    )
}

fn world() -> Result<(World, RestServer)> {
    let bench = Bench::serving(&MONTHS.map(file).iter().map(String::as_str).collect::<Vec<_>>())?;
    let server = RestServer::start(&bench.dir.path().join("store"));
    server.guard();
    let for_pyiceberg =
        json!({ "name": "rest", "type": "rest", "uri": server.url(), "credential": format!("id:{SECRET}") });
    let world = World::on(bench, |profile| section(profile, &server.url(), ""), &for_pyiceberg, &[])?;
    Ok((world, server))
}

#[test]
fn a_catalog_that_is_down_is_named_and_the_next_run_finishes() -> Result<()> {
    let (mut world, server) = world()?;
    let said = Said {
        exit: 7,
        code: "LH0601",
        words: &["127.0.0.1:9", "refused", "see that the catalog is up", "`uri` of [profile.NAME.catalog]"],
    };
    world.broken(&section("broken", NOBODY, ""))?;
    world.fails("a catalog that is down", MONTHS[1], &said)?;
    world.doctor_finds("a catalog that is down", "catalog", &said)?;

    // It answers no commit, and a gateway that says 503 may have passed the request on.
    let proxy = Proxy::start(&server.url())?;
    world.broken(&section("broken", &proxy.url(), ""))?;
    let commit = || Match::method("POST").on("/tables/yellow_trips");
    let busy = "{\"error\":{\"message\":\"upstream is down\",\"type\":\"ServiceUnavailable\",\"code\":503}}";
    proxy.rule(commit(), ProxyFault::Status(503, busy.to_owned()));
    let said = Said {
        exit: 9,
        code: "LH0651",
        words: &[MONTHS[1], "503 ServiceUnavailable upstream is down", "lakehost resolve"],
    };
    world.fails("a catalog that takes no commit", MONTHS[1], &said)?;
    assert!(proxy.clear() > 0);
    world.finishes("a catalog that takes no commit", "broken", MONTHS[1])?;

    // It goes away with the commit, and nobody can look whether it arrived. It had not.
    proxy.rule(commit(), ProxyFault::GoneBefore);
    let before = world.state()?;
    let done = world.load("broken", MONTHS[2])?;
    super::world::check(
        "a catalog that is lost in the commit",
        &done,
        &Said { exit: 9, code: "LH0651", words: &[TABLE, MONTHS[2], "lakehost resolve"] },
    )?;
    assert!(proxy.clear() > 0);
    assert_eq!(world.state()?, before);
    world.finishes("a catalog that is lost in the commit", "broken", MONTHS[2])?;

    // The same, and it had.
    proxy.rule(commit(), ProxyFault::GoneAfter);
    let done = world.load("broken", MONTHS[3])?;
    assert_eq!((done.code, done.error_code().as_str()), (9, "LH0651"), "{}", done.stdout);
    assert!(proxy.clear() > 0);
    let landed = world.state()?;
    crate::support::expect(&world.load("broken", MONTHS[3])?, 0, &["already-loaded"]);
    assert_eq!(world.state()?, landed);
    assert_ne!(landed["rows"], before["rows"]);
    Ok(())
}

#[test]
fn a_wrong_secret_or_token_is_told_with_its_key() -> Result<()> {
    let (mut world, server) = world()?;
    let right = section("broken", &server.url(), "");
    let credential = format!("client_id = \"id\"\nclient_secret = {{ command = [\"printf\", \"{SECRET}\"] }}");
    let token = format!("token = {{ command = [\"printf\", \"{WRONG}\"] }}");
    let said = Said { exit: 7, code: "LH0606", words: &["401", "correct `token`, or `client_id` and `client_secret`"] };
    for (fault, sections) in [
        ("a wrong secret", right.replace(&format!("\"{SECRET}\""), &format!("\"{WRONG}\""))),
        ("a token that has run out", right.replace(&credential, &token)),
    ] {
        assert!(sections.contains(WRONG));
        world.broken(&sections)?;
        world.fails(fault, MONTHS[1], &said)?;
        world.doctor_finds(fault, "catalog", &said)?;
    }
    world.broken(&right)?;
    world.finishes("the right secret", "broken", MONTHS[1])
}

#[test]
fn a_certificate_is_for_its_name_and_of_a_known_authority() -> Result<()> {
    let (mut world, server) = world()?;
    let authority = Authority::new(world.bench.dir.path())?;
    let front = |name: &str| -> Result<(Proxy, String)> {
        let proxy = Proxy::start_in(authority.identity(name)?.wrap(), &server.url())?;
        let port = proxy.url().rsplit(':').next().context("no port")?.to_owned();
        Ok((proxy, format!("https://localhost:{port}")))
    };
    let (other, other_url) = front("DNS:other.example")?;
    let words = ["not valid for name", "localhost", "into `uri` of [profile.NAME.catalog]"];
    let said = Said { exit: 7, code: "LH0601", words: &words };
    world.broken(&section("broken", &other_url, "ca = \"ca.pem\"\n"))?;
    world.fails("a certificate for another name", MONTHS[1], &said)?;
    world.doctor_finds("a certificate for another name", "catalog", &said)?;
    assert!(other.seen().is_empty(), "a secret went to a server that is not the one");

    let (right, right_url) = front("DNS:localhost")?;
    let said = Said { exit: 7, code: "LH0601", words: &["UnknownIssuer", "with `ca` of [profile.NAME.catalog]"] };
    world.broken(&section("broken", &right_url, ""))?;
    world.fails("an authority that nobody knows", MONTHS[1], &said)?;
    assert!(right.seen().is_empty(), "a secret went to a server that nobody vouches for");
    world.broken(&section("broken", &right_url, "ca = \"ca.pem\"\n"))?;
    world.finishes("a certificate of one's own authority", "broken", MONTHS[1])
}
