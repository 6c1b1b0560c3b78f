//! Nessie: an Iceberg catalog with branches, for several tables at once.

use std::path::PathBuf;

use crate::home::Home;
use crate::install::Installer;
use crate::install::java::{self, Java};
use crate::launch::Launch;
use crate::settings::{self, Settings};
use crate::versions::Versions;
use crate::{Error, Service, http, install};

/// What it runs with.
pub struct Program {
    java: Java,
    jar: PathBuf,
    heap: String,
}

pub fn install(installer: &Installer<'_>, versions: &Versions) -> Result<Program, Error> {
    let java = java::of(Service::Nessie.name(), &versions.nessie)?;
    let artifacts = install::fetch(installer, Service::Nessie.name(), &versions.nessie, &versions.maven_plugin)?;
    let jar =
        artifacts.into_values().next().ok_or_else(|| Error::Versions { message: "nessie has no jar".to_owned() })?;
    Ok(Program { java, jar, heap: versions.nessie.heap.clone() })
}

pub fn launch(home: &Home, program: &Program, settings: &Settings, port: u16, management_port: u16) -> Launch {
    let file = home.config_folder().join("nessie.properties");
    let mut properties = settings.nessie();
    for (key, value) in [
        ("quarkus.http.host", "127.0.0.1".to_owned()),
        ("quarkus.http.port", port.to_string()),
        ("quarkus.management.host", "127.0.0.1".to_owned()),
        ("quarkus.management.port", management_port.to_string()),
        ("quarkus.banner.enabled", "false".to_owned()),
        ("nessie.server.authentication.enabled", "false".to_owned()),
    ] {
        properties.insert(key.to_owned(), value);
    }
    let mut launch = Launch::new(program.java.program("java"), home.data_folder(Service::Nessie)).arguments([
        format!("-Xmx{}", program.heap).as_str(),
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-XX:+ExitOnOutOfMemoryError",
        &format!("-Dquarkus.config.locations={}", file.display()),
        "-jar",
    ]);
    launch.arguments.push(program.jar.clone().into());
    launch.files.insert(file, settings::lines(&properties));
    launch
}

pub fn is_ready(port: u16) -> bool {
    http::is_well(port, "/iceberg/v1/config", "")
}
