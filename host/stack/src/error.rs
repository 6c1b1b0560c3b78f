//! What can go wrong with the services of a stack.

use std::path::{Path, PathBuf};

use crate::Service;

/// Findings about the stack. The command line gives each its code and its page.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A program that is needed is not on this machine.
    #[error("{service} needs {what}, which is not on this machine")]
    Missing { service: &'static str, what: String, install: String },
    /// `go` or `mvn` failed.
    #[error("{what} cannot be fetched")]
    Fetch { what: String, said: String, log: PathBuf },
    /// Something other came than was pinned.
    #[error("{what} is not what is pinned")]
    Checksum { what: String, pinned: String, found: String },
    /// A service that ended while it started, or never answered.
    #[error("{service} does not start: {why}")]
    Start { service: Service, why: String, log: PathBuf, tail: String },
    /// A process that a SIGKILL did not end.
    #[error("{service} (pid {pid}) does not end")]
    NotEnded { service: Service, pid: u32 },
    /// A file or folder of the stack's own.
    #[error("{path} cannot be {action}")]
    File { path: PathBuf, action: &'static str, source: std::io::Error },
    /// A state file that is none.
    #[error("{path} is not the state of a stack: {message}")]
    State { path: PathBuf, message: String },
    /// Somebody else works on the same stack or cache and does not end.
    #[error("another `lakehost stack` has been at work on {path} for {minutes} minutes")]
    Busy { path: PathBuf, minutes: u64 },
    /// All that were tried are taken.
    #[error("there is no free port on loopback for {service}")]
    NoPort { service: Service },
    /// A name that is no folder's.
    #[error("`{name}` cannot be the name of a stack")]
    Name { name: String },
    /// What holds tables is still in use.
    #[error("the data cannot be removed while {} is up", list(.running))]
    InUse { running: Vec<Service> },
    /// Not a machine on which processes can be told apart.
    #[error("this machine has no /proc, by which lakehost tells its own processes from others")]
    NoProc,
    /// Ctrl-C.
    #[error("stopped; what this command had started was ended")]
    Interrupted,
    /// Another service failed first.
    #[error("{service} was not started, because another service failed")]
    Abandoned { service: Service },
    /// The file of versions in this binary.
    #[error("services.toml cannot be read")]
    Versions { message: String },
}

impl Error {
    pub(crate) fn file(path: &Path, action: &'static str) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::File { path, action, source }
    }
}

/// `minio, trino`
fn list(services: &[Service]) -> String {
    services.iter().map(|service| service.name()).collect::<Vec<_>>().join(", ")
}
