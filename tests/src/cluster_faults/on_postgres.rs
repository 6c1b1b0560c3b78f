//! A catalog in a real Postgres that does not let one in, or is not there.

use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use lakehost_server::programs;
use serde_json::json;

use super::world::{MONTHS, Said, WRONG, World};

const PASSWORD: &str = "correct-horse-battery";

/// A statement by the superuser, who needs no password.
fn sql(port: u16, statement: &str) -> Result<()> {
    let folder = lakehost_stack::postgres::programs().context("no programs")?;
    let mut psql = Command::new(folder.join("psql"));
    psql.args([
        "-h",
        "127.0.0.1",
        "-p",
        &port.to_string(),
        "-U",
        "lakehost",
        "-d",
        "postgres",
        "-X",
        "-q",
        "-c",
        statement,
    ]);
    let output = psql.output()?;
    ensure!(output.status.success(), "{statement}: {}", String::from_utf8_lossy(&output.stderr));
    Ok(())
}

#[test]
fn a_wrong_password_and_a_server_that_is_down_are_told_apart() -> Result<()> {
    let port = programs::postgres();
    let role = format!("guarded{}", std::process::id());
    sql(port, &format!("create role {role} login superuser password '{PASSWORD}'"))?;
    let section = |profile: &str, uri: &str, password: &str| {
        format!(
            "[profile.{profile}]\nwarehouse = \"store\"\n[profile.{profile}.catalog]\nuri = \"{uri}\"\nname = \"{role}\"\n\
             password = {{ command = [\"printf\", \"{password}\"] }}\n"
        )
    };
    let uri = format!("postgresql://{role}@127.0.0.1:{port}/postgres");
    let for_pyiceberg = json!({ "name": role, "type": "sql", "uri": format!("postgresql://{role}:{PASSWORD}@127.0.0.1:{port}/postgres") });
    let mut world = World::new(|profile| section(profile, &uri, PASSWORD), &for_pyiceberg, &[PASSWORD])?;

    let words = ["password authentication failed", &role, "`password` of [profile.NAME.catalog]"];
    let said = Said { exit: 7, code: "LH0606", words: &words };
    world.broken(&section("broken", &uri, WRONG))?;
    world.fails("a wrong password", MONTHS[1], &said)?;
    world.doctor_finds("a wrong password", "catalog", &said)?;

    let nobody = format!("postgresql://{role}@127.0.0.1:9/postgres");
    let words = ["127.0.0.1:9", "refused", "see that the catalog is up"];
    let said = Said { exit: 7, code: "LH0601", words: &words };
    world.broken(&section("broken", &nobody, PASSWORD))?;
    world.fails("a server that is down", MONTHS[1], &said)?;
    world.doctor_finds("a server that is down", "catalog", &said)?;

    world.broken(&section("broken", &uri, PASSWORD))?;
    world.finishes("the right password", "broken", MONTHS[1])
}
