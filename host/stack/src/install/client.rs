//! Running a client such as `mvn`: its words go to a log, and it ends when we are asked to stop.

use std::fs::OpenOptions;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Error;
use crate::watch::Watch;

/// The end of a log that is worth showing.
const TAIL_LINES: usize = 15;

/// Runs a program to its end. `Err(None)`: there is no such program.
pub fn run(command: &mut Command, log: &Path, watch: &Watch) -> Result<(), Option<Error>> {
    let opened = OpenOptions::new().create(true).append(true).open(log);
    let out = opened
        .and_then(|file| Ok((file.try_clone()?, file)))
        .map_err(|error| Some(Error::file(log, "written")(error)))?;
    command.stdin(Stdio::null()).stdout(out.0).stderr(out.1).process_group(0);
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = match command.spawn() {
        Ok(child) => child,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Err(None),
        Err(error) => return Err(Some(Error::file(Path::new(&program), "started")(error))),
    };
    loop {
        let ended = child.try_wait().map_err(|error| Some(Error::file(Path::new(&program), "waited for")(error)))?;
        if let Some(status) = ended {
            return match status.success() {
                true => Ok(()),
                false => Err(Some(Error::Fetch {
                    what: program.clone(),
                    said: format!("{program}: {status}: {}", tail(log, TAIL_LINES)),
                    log: log.to_owned(),
                })),
            };
        }
        if watch.stopped() {
            if let Ok(group) = libc::pid_t::try_from(child.id()) {
                // SAFETY: `kill` takes numbers; the child was not waited for, so its group is its own.
                unsafe { libc::kill(-group, libc::SIGKILL) };
            }
            let _ = child.wait();
            return Err(Some(Error::Interrupted));
        }
        Watch::pause();
    }
}

/// The last lines of a log.
pub fn tail(path: &Path, lines: usize) -> String {
    let text = std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all.get(all.len().saturating_sub(lines)..).unwrap_or_default().join("\n")
}
