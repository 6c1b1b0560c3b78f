//! Trino: core and the Iceberg connector alone, one node, on loopback.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

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
    folder: PathBuf,
    heap: String,
}

/// Fetches the archives and unpacks them, where that was not done before.
pub fn install(installer: &Installer<'_>, versions: &Versions) -> Result<Program, Error> {
    let java = java::of(Service::Trino.name(), &versions.trino)?;
    let folder = installer.cache.join(format!("trino-{}", versions.trino.version));
    if !folder.join("plugin").is_dir() {
        let artifacts = install::fetch(installer, Service::Trino.name(), &versions.trino, &versions.maven_plugin)?;
        unpack(installer, &java, &folder, artifacts.into_values().collect())?;
    }
    Ok(Program { java, folder, heap: versions.trino.heap.clone() })
}

/// The server's archive becomes the folder, the plugin's a folder in it.
fn unpack(installer: &Installer<'_>, java: &Java, folder: &Path, archives: Vec<PathBuf>) -> Result<(), Error> {
    let (work, _lock) = installer.item("trino-unpack")?;
    if folder.join("plugin").is_dir() {
        return Ok(());
    }
    installer.watch.say("unpacking trino");
    let fresh = || {
        let _ = std::fs::remove_dir_all(&work);
        std::fs::create_dir_all(work.join("plugin.new"))
    };
    fresh().map_err(Error::file(&work, "created"))?;
    for archive in archives {
        let mut command = match archive.extension().is_some_and(|extension| extension == "zip") {
            true => {
                // The kit's own tool: `unzip` is not everywhere.
                let mut jar = Command::new(java.program("jar"));
                jar.arg("--extract").arg("--file").arg(&archive).current_dir(work.join("plugin.new"));
                jar
            }
            false => {
                let mut tar = Command::new("tar");
                tar.arg("-xzf").arg(&archive).arg("-C").arg(&work);
                tar.args(["--strip-components=1", "--exclude=*/plugin/*", "--exclude=*/bin/*"]);
                tar
            }
        };
        let output = command.output().map_err(Error::file(&archive, "unpacked"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            return Err(Error::Fetch { what: archive.display().to_string(), said, log: work });
        }
    }
    let _ = std::fs::remove_dir_all(work.join("plugin"));
    let finish = || {
        std::fs::rename(work.join("plugin.new"), work.join("plugin"))?;
        std::fs::rename(&work, folder)
    };
    finish().map_err(Error::file(folder, "written"))
}

/// The part of its configuration that is the same for every stack.
const CONFIG: &str = "\
coordinator=true
node-scheduler.include-coordinator=true
node.environment=lakehost
node.bind-ip=127.0.0.1
node.internal-address=127.0.0.1
catalog.management=dynamic
catalog.store=file
query.max-memory=512MB
query.max-memory-per-node=512MB
memory.heap-headroom-per-node=400MB
task.concurrency=2
task.max-worker-threads=4
";

/// Options for its JVM behind ours, with white space between them: `-Xmx6g -XX:TieredStopAtLevel=4` is for statements that take longer than a start.
const OPTIONS_VARIABLE: &str = "LAKEHOST_STACK_TRINO_OPTIONS";

pub fn launch(home: &Home, program: &Program, settings: &Settings, port: u16, with_nessie: bool) -> Launch {
    // Catalogs are read from `etc/catalog` of the current folder.
    let folder = home.data_folder(Service::Trino);
    let etc = folder.join("etc");
    let (config, levels) = (etc.join("config.properties"), etc.join("log.properties"));
    let launch = Launch::new(program.java.program("java"), folder).arguments([
        &format!("-Xmx{}", program.heap),
        "-Xms256m",
        "-XX:+UseG1GC",
        "-XX:G1HeapRegionSize=8M",
        // Half the start and half the CPU of what the second compiler would cost here.
        "-XX:TieredStopAtLevel=1",
        "-XX:ReservedCodeCacheSize=256M",
        "-XX:+ExitOnOutOfMemoryError",
        "-XX:-OmitStackTraceInFastThrow",
        "-Djdk.attach.allowAttachSelf=true",
        "-Djdk.nio.maxCachedBufferSize=2000000",
        "-Dfile.encoding=UTF-8",
        "--enable-native-access=ALL-UNNAMED",
        "--sun-misc-unsafe-memory-access=allow",
    ]);
    // The last one counts of those that say the same.
    let more = std::env::var(OPTIONS_VARIABLE).unwrap_or_default();
    let mut launch = launch.arguments(more.split_whitespace()).arguments([
        &format!("-Dconfig={}", config.display()),
        &format!("-Dlog.levels-file={}", levels.display()),
        "-cp",
        &format!("{}/lib/*", program.folder.display()),
        "io.trino.server.TrinoServer",
    ]);
    launch.start_limit = Duration::from_secs(300);
    let plugins = program.folder.join("plugin");
    let more = format!(
        "http-server.http.port={port}\ndiscovery.uri=http://127.0.0.1:{port}\nplugin.dir={}\n",
        plugins.display()
    );
    launch.files.insert(config, format!("{CONFIG}{more}"));
    launch.files.insert(levels, "io.trino=WARN\nio.airlift=WARN\nio.trino.server.Server=INFO\n".to_owned());
    for (name, properties) in settings.trino_catalogs(with_nessie) {
        launch.files.insert(etc.join(format!("catalog/{name}.properties")), settings::lines(&properties));
    }
    launch
}

/// Takes away Nessie's catalog of an earlier start, when this one is without Nessie. Catalogs that users made at run time stay.
pub fn forget_nessie(launch: &Launch) {
    let file = launch.folder.join("etc/catalog/nessie.properties");
    if !launch.files.contains_key(&file) {
        let _ = std::fs::remove_file(file);
    }
}

pub fn is_ready(port: u16) -> bool {
    http::is_well(port, "/v1/info", "\"starting\":false")
}
