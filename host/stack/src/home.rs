//! The folder of a stack: `state.json`, `secrets.json`, `etc/`, `log/`, `data/`, `env`, `lakehost.toml`. Only its owner may look inside.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::watch::Watch;
use crate::{Error, Service};

/// Downloads and builds of somebody else may take as long.
const LOCK_LIMIT: Duration = Duration::from_secs(30 * 60);

/// Shorter waits are not worth a word: parts of one `up` wait for each other too.
const TELL_AFTER: Duration = Duration::from_secs(20);

/// Where a stack lies.
#[derive(Clone, Debug)]
pub struct Home {
    pub folder: PathBuf,
}

/// Passwords of one stack, made when it is first started.
#[derive(Clone, Serialize, Deserialize)]
pub struct Secrets {
    pub s3_access_key_id: String,
    pub s3_secret_access_key: String,
    pub postgres_password: String,
}

impl std::fmt::Debug for Secrets {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Secrets")
    }
}

impl Home {
    /// A folder that the user named.
    pub fn at(folder: &Path) -> Result<Self, Error> {
        let folder = std::path::absolute(folder).map_err(Error::file(folder, "used"))?;
        Ok(Self { folder })
    }

    /// `<state of the user>/lakehost/stack/<name>`
    pub fn named(name: &str) -> Result<Self, Error> {
        let plain = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        if name.is_empty() || name.len() > 64 || !name.chars().all(plain) {
            return Err(Error::Name { name: name.to_owned() });
        }
        let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let states = variable("XDG_STATE_HOME").filter(|folder| folder.is_absolute());
        let states = states.or_else(|| Some(variable("HOME")?.join(".local/state")));
        let states = states.unwrap_or_else(|| {
            // SAFETY: `geteuid` takes nothing and cannot fail.
            let user = unsafe { libc::geteuid() };
            std::env::temp_dir().join(format!("lakehost-state-{user}"))
        });
        Self::at(&states.join("lakehost/stack").join(name))
    }

    pub fn state_file(&self) -> PathBuf {
        self.folder.join("state.json")
    }

    /// Variables for a shell.
    pub fn env_file(&self) -> PathBuf {
        self.folder.join("env")
    }

    /// A `lakehost.toml` with the profile `stack`.
    pub fn profile_file(&self) -> PathBuf {
        self.folder.join("lakehost.toml")
    }

    pub fn secret_file(&self) -> PathBuf {
        self.folder.join("s3-secret")
    }

    pub fn log_file(&self, service: Service) -> PathBuf {
        self.folder.join("log").join(format!("{service}.log"))
    }

    pub fn config_folder(&self) -> PathBuf {
        self.folder.join("etc")
    }

    pub fn data_folder(&self, service: Service) -> PathBuf {
        self.folder.join("data").join(service.name())
    }

    /// Makes the folders, and waits for the right to change them.
    pub(crate) fn lock(&self, watch: &Watch) -> Result<Lock, Error> {
        for folder in ["", "etc", "log", "data"] {
            private_folder(&self.folder.join(folder))?;
        }
        Lock::take(&self.folder.join("lock"), watch)
    }

    /// The stack's passwords; made at the first call.
    pub(crate) fn secrets(&self) -> Result<Secrets, Error> {
        let path = self.folder.join("secrets.json");
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text)
                .map_err(|error| Error::State { path: path.clone(), message: error.to_string() }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let secrets = Secrets {
                    s3_access_key_id: format!("lakehost-{}", random_text(4)?),
                    s3_secret_access_key: random_text(20)?,
                    postgres_password: random_text(20)?,
                };
                let text = serde_json::to_vec(&secrets)
                    .map_err(|error| Error::State { path: path.clone(), message: error.to_string() })?;
                write_private(&path, &text)?;
                Ok(secrets)
            }
            Err(error) => Err(Error::file(&path, "read")(error)),
        }
    }
}

/// So many random bytes as text.
fn random_text(bytes: usize) -> Result<String, Error> {
    let path = Path::new("/dev/urandom");
    let mut buffer = vec![0; bytes];
    File::open(path).and_then(|mut file| file.read_exact(&mut buffer)).map_err(Error::file(path, "read"))?;
    Ok(hex::encode(&buffer))
}

/// A folder that only its owner may look into; one that is there stays as it is.
pub fn private_folder(path: &Path) -> Result<(), Error> {
    DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(Error::file(path, "created"))
}

/// Puts a file that only its owner may read in the place of what is there, as a whole.
pub fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    let opened = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new);
    opened.and_then(|mut file| file.write_all(bytes)).map_err(Error::file(&new, "written"))?;
    fs::rename(&new, path).map_err(Error::file(path, "written"))
}

/// The right to change what a file stands for, as long as this lives. It ends with the process, however that ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Waits for it.
    pub fn take(path: &Path, watch: &Watch) -> Result<Self, Error> {
        let began = Instant::now();
        let mut told = false;
        loop {
            if let Some(lock) = Self::attempt(path)? {
                return Ok(lock);
            }
            if watch.stopped() {
                return Err(Error::Interrupted);
            }
            if began.elapsed() > LOCK_LIMIT {
                return Err(Error::Busy { path: path.to_owned(), minutes: began.elapsed().as_secs() / 60 });
            }
            if !told && began.elapsed() > TELL_AFTER {
                watch.say(&format!("waiting for somebody else, who holds {}", path.display()));
                told = true;
            }
            Watch::pause();
        }
    }

    /// None: somebody else has it.
    pub fn attempt(path: &Path) -> Result<Option<Self>, Error> {
        let opened = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(path);
        let file = opened.map_err(Error::file(path, "written"))?;
        // SAFETY: `flock` takes the descriptor of a live file.
        let taken = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) } == 0;
        Ok(taken.then_some(Self { _file: file }))
    }
}
