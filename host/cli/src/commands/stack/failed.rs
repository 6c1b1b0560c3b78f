//! What goes wrong with a stack, as a finding of the command line: its code, its inputs and the way out.

use lakehost_pipeline::{Code, Diagnostic, Fault, codes};
use lakehost_stack::Error;

/// An error of the stack that people meet.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct StackError(#[from] Error);

/// For `map_err`.
pub fn failed(error: Error) -> Fault {
    Fault::new(StackError(error))
}

impl Diagnostic for StackError {
    fn code(&self) -> Code {
        match &self.0 {
            Error::Missing { .. } | Error::NoProc => codes::STACK_PROGRAM,
            Error::Fetch { .. } | Error::Checksum { .. } => codes::STACK_FETCH,
            Error::Start { .. }
            | Error::NotEnded { .. }
            | Error::Busy { .. }
            | Error::Abandoned { .. }
            | Error::NoPort { .. } => codes::STACK_SERVICE,
            Error::File { source, .. } if source.kind() == std::io::ErrorKind::StorageFull => codes::MACHINE_DISK,
            Error::File { .. } | Error::State { .. } => codes::STORE_IO,
            Error::Name { .. } | Error::InUse { .. } => codes::USAGE,
            Error::Interrupted => codes::INTERRUPTED,
            Error::Versions { .. } => codes::BUG,
        }
    }

    fn inputs(&self) -> Vec<(String, String)> {
        match &self.0 {
            Error::Start { log, .. } | Error::Fetch { log, .. } => vec![("log".to_owned(), log.display().to_string())],
            _ => Vec::new(),
        }
    }

    fn cause(&self) -> Option<String> {
        match &self.0 {
            Error::Start { tail, .. } if !tail.is_empty() => Some(tail.clone()),
            Error::Fetch { said, .. } => Some(said.clone()),
            Error::Checksum { pinned, found, .. } => Some(format!("its checksum is {found}, and {pinned} is pinned")),
            Error::File { source, .. } => Some(source.to_string()),
            Error::Versions { message } => Some(message.clone()),
            _ => None,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match &self.0 {
            Error::Missing { install, .. } => install.clone(),
            Error::NoProc => "use the containers: `docker compose up -d`".to_owned(),
            Error::Fetch { .. } => {
                "look at the log; what was fetched is kept, so the same command goes on from there".to_owned()
            }
            Error::Checksum { what, .. } => {
                format!(
                    "do not use it: remove {what} and run the same command again; if it comes again, the source is not to be trusted"
                )
            }
            Error::Start { service, .. } => format!("`lakehost stack logs {service}` shows all that it said"),
            Error::NotEnded { pid, .. } => format!("look at it with `ps -fp {pid}`; it may wait for a disk"),
            Error::Busy { .. } => "wait for it, or end it".to_owned(),
            Error::State { path, .. } => {
                format!(
                    "end the processes that `grep -l LAKEHOST_STACK_HOME /proc/[0-9]*/environ` finds, then remove {}",
                    path.display()
                )
            }
            Error::Name { .. } => "use letters, digits, - and _, at most 64".to_owned(),
            Error::InUse { .. } => "`lakehost stack down` first".to_owned(),
            Error::Interrupted => "run the same command again: what was fetched is kept".to_owned(),
            _ => return None,
        })
    }
}
