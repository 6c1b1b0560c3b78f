//! dbt in an environment of its own: pinned versions, made once a user, used by all runs.
//!
//! The folder's name holds a hash of the pins and of the Python, so other pins make another environment. It counts when its last file is written;
//! one that is half made is made anew. Packages come from where pip (or `uv`) of this machine is configured to get them.

use std::fs::{self, DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sha2::{Digest as _, Sha256};

use super::error::Error;
use super::process;

/// dbt, its adapters and all that they need.
const PINS: &str = include_str!("requirements.txt");
/// Written last.
const READY: &str = "ready";
/// Pythons by the names that they go by in PATH.
const PYTHONS: [&str; 4] = ["python3", "python3.13", "python3.12", "python3.11"];
/// Versions that the pins are for.
const MINORS: std::ops::RangeInclusive<u32> = 11..=13;
/// Between two looks at a lock.
const LOOK: Duration = Duration::from_millis(200);
/// DuckDB finds its extensions in a folder, so they are put there from their wheels once.
const EXTENSIONS: &str = "
import sys, duckdb
from duckdb_extensions import import_extension
connection = duckdb.connect(config={'extension_directory': sys.argv[1]})
for name in ('httpfs', 'avro', 'iceberg'):
    import_extension(name, con=connection)
";

/// An environment that is ready.
#[derive(Clone, Debug)]
pub(super) struct Environment {
    pub python: PathBuf,
    /// Where DuckDB finds its extensions.
    pub extensions: PathBuf,
}

/// The environment under `cache`, made when it is not there. `say` hears of what takes time.
pub(super) fn ensure(cache: &Path, stop: &AtomicBool, say: &mut dyn FnMut(&str)) -> Result<Environment, Error> {
    private_folder(cache)?;
    let python = find_python(stop)?;
    let folder = cache.join(name(python.as_ref().map_or("uv", |(_, version)| version)));
    let environment = Environment { python: folder.join("bin/python"), extensions: folder.join("duckdb") };
    let ready = folder.join(READY);
    // A link to a Python that is gone is not there.
    if ready.exists() && environment.python.exists() {
        return Ok(environment);
    }
    let _lock = lock(&folder.with_extension("lock"), stop, say)?;
    if ready.exists() && environment.python.exists() {
        return Ok(environment);
    }
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            return Err(Error::file(&folder, "removed", error));
        }
        _ => {}
    }
    say(&format!("setting up dbt in {}, once for this user: about a minute", folder.display()));
    make(&folder, python.as_ref().map(|(path, _)| path.as_str()), stop)?;
    let mut unpack = python_of(&environment.python);
    unpack.args(["-c", EXTENSIONS]).arg(&environment.extensions);
    step(
        unpack,
        &folder,
        "DuckDB's extensions do not unpack",
        "look at the cause; the folder can be deleted at any time",
        stop,
    )?;
    fs::write(&ready, PINS).map_err(|error| Error::file(&ready, "written", error))?;
    Ok(environment)
}

/// A Python without what the user's shell would have it load.
pub(super) fn python_of(python: &Path) -> Command {
    let mut command = Command::new(python);
    command.env_remove("PYTHONPATH").env_remove("PYTHONHOME").env("PYTHONUNBUFFERED", "1").env("PYTHONUTF8", "1");
    command
}

fn name(version: &str) -> String {
    let digest = Sha256::new().chain_update(PINS).chain_update(version).finalize();
    format!("{:.16}", hex::encode(digest))
}

/// Makes the folder and sees to it that nobody else may put programs there.
fn private_folder(folder: &Path) -> Result<(), Error> {
    let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
    made.map_err(|error| Error::file(folder, "made", error))?;
    let metadata = fs::metadata(folder).map_err(|error| Error::file(folder, "read", error))?;
    // SAFETY: `geteuid` takes nothing and cannot fail.
    let own = metadata.uid() == unsafe { libc::geteuid() };
    if own && metadata.mode() & 0o022 == 0 {
        Ok(())
    } else {
        Err(Error::Shared { folder: folder.display().to_string() })
    }
}

/// The lock of one environment, when nobody else has it any more.
fn lock(path: &Path, stop: &AtomicBool, say: &mut dyn FnMut(&str)) -> Result<File, Error> {
    let file = File::create(path).map_err(|error| Error::file(path, "written", error))?;
    let mut said = false;
    loop {
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(fs::TryLockError::WouldBlock) => {}
            Err(fs::TryLockError::Error(error)) => return Err(Error::file(path, "locked", error)),
        }
        if stop.load(Ordering::Relaxed) {
            return Err(Error::Stopped { what: "another lakehost set up dbt" });
        }
        if !said {
            say("another lakehost sets up dbt; waiting for it");
            said = true;
        }
        std::thread::sleep(LOOK);
    }
}

/// A Python that the pins are for, with its version. `None`: `uv` is to find one.
fn find_python(stop: &AtomicBool) -> Result<Option<(String, String)>, Error> {
    let mut found = Vec::new();
    for name in PYTHONS {
        let mut ask = python_of(Path::new(name));
        ask.args(["-c", "import sys; print('%d.%d.%d' % sys.version_info[:3])"]);
        let Ok((ended, version)) = process::answer(ask, stop) else { continue };
        let version = version.trim().to_owned();
        let mut numbers = version.split('.').map(|number| number.parse::<u32>().unwrap_or_default());
        if ended.status.success()
            && numbers.next() == Some(3)
            && numbers.next().is_some_and(|minor| MINORS.contains(&minor))
        {
            return Ok(Some((name.to_owned(), version)));
        }
        if ended.status.success() {
            found.push(format!("{name} is {version}"));
        }
    }
    if Command::new("uv").arg("--version").output().is_ok_and(|output| output.status.success()) {
        return Ok(None);
    }
    let found = if found.is_empty() { "there is no python3 in PATH, and no uv".to_owned() } else { found.join(", ") };
    Err(Error::NoPython { found })
}

/// Makes the environment: with `uv` when it is there, which is faster, else with Python's own means.
fn make(folder: &Path, python: Option<&str>, stop: &AtomicBool) -> Result<(), Error> {
    let pins = folder.with_extension("txt");
    fs::write(&pins, PINS).map_err(|error| Error::file(&pins, "written", error))?;
    let with_uv = make_with_uv(folder, python, &pins, stop);
    let made = match (with_uv, python) {
        (Some(Ok(())), _) => Ok(()),
        (Some(Err(error)), None) => Err(error),
        (Some(Err(error @ Error::Stopped { .. })), _) => Err(error),
        // `uv` does not read pip's configuration, so what it cannot get pip may.
        (_, Some(python)) => make_with_pip(folder, python, &pins, stop),
        (None, None) => Err(Error::NoPython { found: "uv is gone".to_owned() }),
    };
    let _ = fs::remove_file(&pins);
    made
}

/// `None`: there is no `uv`.
fn make_with_uv(folder: &Path, python: Option<&str>, pins: &Path, stop: &AtomicBool) -> Option<Result<(), Error>> {
    Command::new("uv").arg("--version").output().ok().filter(|output| output.status.success())?;
    let mut venv = Command::new("uv");
    venv.args(["venv", "--quiet", "--python", python.unwrap_or(">=3.11,<3.14")]).arg(folder);
    let mut install = Command::new("uv");
    install
        .args(["pip", "install", "--quiet", "--no-deps", "--python"])
        .arg(folder.join("bin/python"))
        .arg("-r")
        .arg(pins);
    let hint = "see that uv reaches its package index (UV_INDEX_URL)";
    let done = step(venv, folder, "uv makes no environment", hint, stop)
        .and_then(|()| step(install, folder, "uv cannot install the packages", hint, stop));
    Some(done)
}

fn make_with_pip(folder: &Path, python: &str, pins: &Path, stop: &AtomicBool) -> Result<(), Error> {
    let mut venv = python_of(Path::new(python));
    venv.args(["-m", "venv", "--clear"]).arg(folder);
    step(
        venv,
        folder,
        "Python makes no environment",
        "on Debian: apt-get install python3-venv; or have uv in PATH",
        stop,
    )?;
    let mut install = python_of(&folder.join("bin/python"));
    // All pins are there, so there is nothing to work out.
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-input", "--no-deps"]);
    install.arg("--requirement").arg(pins);
    let hint = "see that pip reaches its package index (`pip config list`, PIP_INDEX_URL, PIP_CERT)";
    step(install, folder, "pip cannot install the packages", hint, stop)
}

fn step(
    command: Command,
    folder: &Path,
    what: &'static str,
    hint: &'static str,
    stop: &AtomicBool,
) -> Result<(), Error> {
    match process::answer(command, stop) {
        Ok((ended, _)) if ended.stopped => Err(Error::Stopped { what: "dbt was set up" }),
        Ok((ended, _)) if ended.status.success() => Ok(()),
        Ok((ended, _)) => Err(Error::setup(folder, what, last_lines(&ended.complaint()), hint)),
        Err(error) => Err(Error::setup(folder, what, error.to_string(), hint)),
    }
}

/// The end of a long complaint, where the reason is.
fn last_lines(text: &str) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines.iter().skip(lines.len().saturating_sub(6)).copied().collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    #[test]
    fn everything_is_pinned() {
        let lines: Vec<&str> = PINS.lines().filter(|line| !line.starts_with('#')).collect();
        assert!(lines.len() > 50);
        for line in &lines {
            let (name, version) = line.split_once("==").expect(line);
            assert!(!name.is_empty() && version.starts_with(|c: char| c.is_ascii_digit()), "{line}");
        }
        for pin in ["dbt-core==1.11.16", "dbt-duckdb==1.11.1", "dbt-trino==1.11.0", "duckdb==1.5.5"] {
            assert!(lines.contains(&pin), "{pin}");
        }
        assert_ne!(name("3.11.7"), name("3.12.1"));
    }

    #[test]
    fn a_folder_that_others_write_to_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let cache = folder.path().join("a/b");
        private_folder(&cache).unwrap();
        fs::set_permissions(&cache, fs::Permissions::from_mode(0o777)).unwrap();
        assert!(matches!(private_folder(&cache), Err(Error::Shared { .. })));
    }

    #[test]
    fn one_sets_up_and_the_others_wait() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.lock");
        let stop = AtomicBool::new(false);
        let held = lock(&path, &stop, &mut |_| {}).unwrap();
        let mut said = Vec::new();
        let waiting = AtomicBool::new(false);
        let refused = lock(&path, &waiting, &mut |text| {
            said.push(text.to_owned());
            waiting.store(true, Ordering::Relaxed);
        });
        // It looked at the flag before it spoke, so it looks once more.
        assert!(matches!(refused, Err(Error::Stopped { .. })));
        assert_eq!(said.len(), 1);
        drop(held);
        assert!(lock(&path, &stop, &mut |_| {}).is_ok());
    }
}
