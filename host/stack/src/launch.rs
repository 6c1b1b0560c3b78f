//! A service about to start: its command, its files, its user, and how it is asked to end.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use crate::home::{private_folder, write_private};
use crate::process::MARKER;
use crate::{Error, digest};

/// Trino keeps a file open for each part of each table that it reads.
const OPEN_FILES: libc::rlim_t = 65_536;

/// Everything that a start needs. Secrets stand in files and variables, never in arguments.
pub struct Launch {
    pub program: PathBuf,
    pub arguments: Vec<OsString>,
    pub variables: BTreeMap<&'static str, String>,
    /// Where it runs.
    pub folder: PathBuf,
    /// Its configuration, written before the start.
    pub files: BTreeMap<PathBuf, String>,
    /// Another user and group than ours.
    pub user: Option<(u32, u32)>,
    pub stop_signal: libc::c_int,
    pub start_limit: Duration,
    /// Between the signal and a SIGKILL.
    pub stop_limit: Duration,
}

impl Launch {
    /// A program that ends at SIGTERM.
    pub fn new(program: PathBuf, folder: PathBuf) -> Self {
        Self {
            program,
            arguments: Vec::new(),
            variables: BTreeMap::new(),
            folder,
            files: BTreeMap::new(),
            user: None,
            stop_signal: libc::SIGTERM,
            start_limit: Duration::from_secs(120),
            stop_limit: Duration::from_secs(30),
        }
    }

    pub fn arguments<S: Into<OsString>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Changes when anything changes that a running process would not notice.
    pub fn fingerprint(&self) -> String {
        let mut bytes = Vec::new();
        let mut add = |part: &OsStr| {
            bytes.extend_from_slice(part.as_bytes());
            bytes.push(0);
        };
        add(self.program.as_os_str());
        self.arguments.iter().for_each(|argument| add(argument));
        self.variables.iter().for_each(|(name, value)| [*name, value].into_iter().for_each(|part| add(part.as_ref())));
        self.files.iter().for_each(|(path, text)| {
            add(path.as_os_str());
            add(text.as_ref());
        });
        digest::of_bytes(&bytes)
    }

    /// Writes the files and starts the program in a session of its own; what it says goes to `log`.
    pub fn spawn(&self, home: &Path, log: &Path) -> Result<Child, Error> {
        for (path, text) in &self.files {
            path.parent().map_or(Ok(()), private_folder)?;
            write_private(path, text.as_bytes())?;
        }
        private_folder(&self.folder)?;
        let opened = OpenOptions::new().create(true).append(true).mode(0o600).open(log);
        let (out, errors) =
            opened.and_then(|file| Ok((file.try_clone()?, file))).map_err(Error::file(log, "written"))?;
        let mut command = Command::new(&self.program);
        command.args(&self.arguments).envs(&self.variables).env(MARKER, home).current_dir(&self.folder);
        command.stdin(Stdio::null()).stdout(out).stderr(errors);
        if let Some((user, group)) = self.user {
            command.uid(user).gid(group);
        }
        // SAFETY: between fork and exec only system calls that are async-signal-safe.
        unsafe { command.pre_exec(detach) };
        command.spawn().map_err(Error::file(&self.program, "started"))
    }
}

/// A session of its own: a Ctrl-C at our terminal is not for it. And as many open files as it may have.
fn detach() -> std::io::Result<()> {
    // SAFETY: the pointers are to a live struct; the calls are async-signal-safe.
    unsafe {
        libc::setsid();
        let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
        if libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) == 0 {
            limit.rlim_cur = limit.rlim_cur.max(OPEN_FILES.min(limit.rlim_max));
            libc::setrlimit(libc::RLIMIT_NOFILE, &limit);
        }
    }
    Ok(())
}
