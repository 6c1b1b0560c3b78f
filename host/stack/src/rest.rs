//! Iceberg's REST catalog: Apache's own server over a JDBC catalog, on loopback.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::home::{Home, private_folder};
use crate::install::Installer;
use crate::install::java::{self, Java};
use crate::launch::Launch;
use crate::settings::{self, Settings};
use crate::versions::{JavaProgram, Versions};
use crate::{Error, Service, digest, http, install};

/// Apache's `main` listens on every interface; this one on one address.
const SERVER: &str = include_str!("LoopbackRest.java");
const MAIN: &str = "org.apache.iceberg.rest.LoopbackRest";

/// What it runs with.
pub struct Program {
    java: Java,
    class_path: String,
    heap: String,
}

/// Fetches the libraries and compiles the `main`, where that was not done before.
pub fn install(installer: &Installer<'_>, versions: &Versions) -> Result<Program, Error> {
    let java = java::of(Service::Rest.name(), &versions.rest)?;
    let artifacts = install::fetch(installer, Service::Rest.name(), &versions.rest, &versions.maven_plugin)?;
    let libraries: Vec<String> = artifacts.values().map(|path| path.display().to_string()).collect();
    let libraries = libraries.join(":");
    let classes = compile(installer, &java, &versions.rest, &libraries)?;
    Ok(Program { class_path: format!("{}:{libraries}", classes.display()), heap: versions.rest.heap.clone(), java })
}

/// The folder of the compiled `main`. Its name says what it was made from.
fn compile(installer: &Installer<'_>, java: &Java, program: &JavaProgram, libraries: &str) -> Result<PathBuf, Error> {
    let key = digest::of_bytes(format!("{SERVER}\0{}\0{}", java.major, program.version).as_bytes());
    let folder = installer.cache.join(format!("rest-{}-{}", program.version, key.get(..12).unwrap_or_default()));
    let class = |folder: &Path| folder.join("org/apache/iceberg/rest/LoopbackRest.class");
    if class(&folder).is_file() {
        return Ok(folder);
    }
    let unfinished = folder.with_extension(format!("{}", std::process::id()));
    private_folder(&unfinished)?;
    let source = unfinished.join("LoopbackRest.java");
    std::fs::write(&source, SERVER).map_err(Error::file(&source, "written"))?;
    let mut javac = Command::new(java.program("javac"));
    javac.args(["-nowarn", "-proc:none", "-cp", libraries, "-d"]).arg(&unfinished).arg(&source);
    let output = javac.output().map_err(Error::file(&java.program("javac"), "started"))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Error::Fetch { what: "the REST server".to_owned(), said, log: source });
    }
    match std::fs::rename(&unfinished, &folder) {
        // Somebody else was faster.
        Err(_) if class(&folder).is_file() => {
            let _ = std::fs::remove_dir_all(&unfinished);
        }
        done => done.map_err(Error::file(&folder, "written"))?,
    }
    Ok(folder)
}

pub fn launch(home: &Home, program: &Program, settings: &Settings, port: u16) -> Launch {
    let file = home.config_folder().join("rest.properties");
    let mut properties = settings.rest_catalog();
    properties.insert("rest.host".to_owned(), "127.0.0.1".to_owned());
    properties.insert("rest.port".to_owned(), port.to_string());
    let mut launch = Launch::new(program.java.program("java"), home.data_folder(Service::Rest)).arguments([
        format!("-Xmx{}", program.heap).as_str(),
        "-XX:+UseSerialGC",
        "-XX:TieredStopAtLevel=1",
        "-XX:+ExitOnOutOfMemoryError",
        "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
        "-cp",
        &program.class_path,
        MAIN,
    ]);
    launch.arguments.push(file.clone().into());
    launch.files.insert(file, settings::lines(&properties));
    launch
}

pub fn is_ready(port: u16) -> bool {
    http::is_well(port, "/v1/config", "")
}
