//! Postgres: the database behind the catalogs, from the system's own package.

use std::ffi::OsString;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::home::{Home, Secrets, private_folder, write_private};
use crate::launch::Launch;
use crate::settings::{DATABASES, POSTGRES_USER};
use crate::{Error, Service, digest};

/// Names the folder with `initdb` and `postgres`.
pub const VARIABLE: &str = "LAKEHOST_POSTGRES_BIN";
/// Where Debian keeps a folder of programs for each major version.
const DEBIAN: &str = "/usr/lib/postgresql";
/// It refuses to run as root; the package brings this user.
const SYSTEM_USER: &str = "postgres";

/// The folder with `initdb` and `postgres`: the one named, Debian's newest, or one in the path.
#[must_use]
pub fn programs() -> Option<PathBuf> {
    let named = std::env::var_os(VARIABLE).map(PathBuf::from);
    let versions = std::fs::read_dir(DEBIAN).into_iter().flatten().flatten();
    let mut debian: Vec<PathBuf> = versions.map(|version| version.path().join("bin")).collect();
    debian.sort();
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let has_both = |folder: &PathBuf| folder.join("initdb").is_file() && folder.join("postgres").is_file();
    named.into_iter().chain(debian.into_iter().rev()).chain(in_path).find(has_both)
}

/// The same, or how to get it.
pub fn install() -> Result<PathBuf, Error> {
    programs().ok_or_else(|| Error::Missing {
        service: Service::Postgres.name(),
        what: "`initdb` and `postgres`".to_owned(),
        install: format!("apt-get install postgresql, or name the folder of its programs with {VARIABLE}"),
    })
}

/// The folder of its data. Root hands it to the user `postgres`, who could not walk into a private home: there it lies in the system's folder of
/// temporary files that outlive a boot.
pub fn data_folder(home: &Home) -> PathBuf {
    match is_root() {
        false => home.data_folder(Service::Postgres),
        true => {
            let key = digest::of_bytes(home.folder.as_os_str().as_encoded_bytes());
            Path::new("/var/tmp").join(format!("lakehost-stack-postgres-{}", key.get(..12).unwrap_or_default()))
        }
    }
}

fn is_root() -> bool {
    // SAFETY: `geteuid` takes nothing and cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// User and group that it runs as, when it cannot be ours.
fn system_user() -> Result<Option<(u32, u32)>, Error> {
    if !is_root() {
        return Ok(None);
    }
    let users = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let fields = users.lines().map(|line| line.split(':').collect::<Vec<_>>());
    let found = fields.into_iter().find_map(|fields| match fields.as_slice() {
        [SYSTEM_USER, _, user, group, ..] => Some((user.parse().ok()?, group.parse().ok()?)),
        _ => None,
    });
    found.map(Some).ok_or_else(|| Error::Missing {
        service: Service::Postgres.name(),
        what: format!("the user `{SYSTEM_USER}`, as which root runs it"),
        install: format!("useradd --system {SYSTEM_USER}, or run this command as another user than root"),
    })
}

/// The cluster itself. A folder of this name is a finished one.
fn cluster(home: &Home) -> PathBuf {
    data_folder(home).join("cluster")
}

/// Makes the cluster when it is not there yet: one user, who needs the password.
pub fn prepare(home: &Home, programs: &Path, secrets: &Secrets) -> Result<(), Error> {
    let (data, cluster) = (data_folder(home), cluster(home));
    let user = system_user()?;
    let owner = data.symlink_metadata().ok().filter(|found| found.is_dir()).map(|found| found.uid());
    if owner.is_some() && user.is_none_or(|(user, _)| owner == Some(user)) && cluster.is_dir() {
        return Ok(());
    }
    if data.exists() {
        // One that was never finished, or of somebody else.
        std::fs::remove_dir_all(&data).map_err(Error::file(&data, "removed"))?;
    }
    data.parent().map_or(Ok(()), private_folder)?;
    std::fs::DirBuilder::new().mode(0o700).create(&data).map_err(Error::file(&data, "created"))?;
    // In a file that it alone reads: an argument would be there for all to see.
    let (password, new) = (data.join("password"), data.join("cluster.new"));
    write_private(&password, format!("{}\n", secrets.postgres_password).as_bytes())?;
    let mut initdb = Command::new(programs.join("initdb"));
    initdb.arg("-D").arg(&new).arg("--pwfile").arg(&password).args(["-U", POSTGRES_USER, "-A", "scram-sha-256"]);
    initdb.args(["-E", "UTF8", "--locale=C", "--no-sync"]).current_dir("/").stdin(Stdio::null());
    if let Some((user, group)) = user {
        for path in [&data, &password] {
            std::os::unix::fs::chown(path, Some(user), Some(group)).map_err(Error::file(path, "given to postgres"))?;
        }
        initdb.uid(user).gid(group);
    }
    let output = initdb.output().map_err(Error::file(&programs.join("initdb"), "started"))?;
    std::fs::remove_file(&password).map_err(Error::file(&password, "removed"))?;
    if !output.status.success() {
        return Err(Error::Start {
            service: Service::Postgres,
            why: "initdb fails".to_owned(),
            log: home.log_file(Service::Postgres),
            tail: String::from_utf8_lossy(&output.stderr).trim().to_owned(),
        });
    }
    std::fs::rename(&new, &cluster).map_err(Error::file(&cluster, "written"))
}

pub fn launch(home: &Home, programs: &Path, port: u16) -> Result<Launch, Error> {
    let mut launch = Launch::new(programs.join("postgres"), PathBuf::from("/"));
    launch.arguments.extend([OsString::from("-D"), cluster(home).into()]);
    launch = launch.arguments(["-p".to_owned(), port.to_string()]);
    for setting in [
        "listen_addresses=127.0.0.1",
        "unix_socket_directories=",
        // A crash of the machine may cost the stack's data: it is for trying things, and tests begin anew.
        "fsync=off",
        "full_page_writes=off",
        "synchronous_commit=off",
        "shared_buffers=32MB",
        "max_connections=100",
    ] {
        launch = launch.arguments(["-c", setting]);
    }
    launch.user = system_user()?;
    // Its "fast" shutdown: SIGTERM would wait for clients.
    launch.stop_signal = libc::SIGINT;
    Ok(launch)
}

/// What a statement answers.
fn ask(programs: &Path, secrets: &Secrets, port: u16, statement: &str) -> Result<String, String> {
    let mut psql = Command::new(programs.join("psql"));
    psql.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-U", POSTGRES_USER, "-d", "postgres", "-X", "-qtA", "-w"]);
    psql.args(["-v", "ON_ERROR_STOP=1", "-c", statement]).current_dir("/").stdin(Stdio::null());
    psql.env("PGPASSWORD", &secrets.postgres_password).env("PGCONNECT_TIMEOUT", "5");
    let output = psql.output().map_err(|error| format!("{}: {error}", programs.join("psql").display()))?;
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned()),
        false => Err(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
    }
}

pub fn is_ready(programs: &Path, secrets: &Secrets, port: u16) -> bool {
    ask(programs, secrets, port, "select 1").is_ok_and(|answer| answer == "1")
}

/// Makes the catalogs' databases where they are not there.
pub fn make_databases(programs: &Path, secrets: &Secrets, port: u16) -> Result<(), String> {
    for database in DATABASES {
        let there = ask(programs, secrets, port, &format!("select 1 from pg_database where datname = '{database}'"))?;
        if there.is_empty() {
            ask(programs, secrets, port, &format!("create database {database}"))?;
        }
    }
    Ok(())
}
