//! What is on record about a stack: ports, and the process of each service. Written anew as a whole, so that a reader never sees a half.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::process::Process;
use crate::{Error, Service};

/// The file `state.json` of a stack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct State {
    /// Kept when everything is down, so that the next `up` has the same where it can.
    #[serde(default)]
    pub ports: BTreeMap<String, u16>,
    #[serde(default)]
    pub services: BTreeMap<Service, Record>,
}

/// A started service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    #[serde(flatten)]
    pub process: Process,
    /// Of its command and files: another one means that it has to be started again.
    pub fingerprint: String,
}

impl State {
    /// None there yet: empty.
    pub fn load(path: &Path) -> Result<Self, Error> {
        let text = match std::fs::read(path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => return Err(Error::file(path, "read")(error)),
        };
        serde_json::from_slice(&text)
            .map_err(|error| Error::State { path: path.to_owned(), message: error.to_string() })
    }

    pub fn save(&self, path: &Path) -> Result<(), Error> {
        let text = serde_json::to_vec_pretty(self)
            .map_err(|error| Error::State { path: path.to_owned(), message: error.to_string() })?;
        crate::home::write_private(path, &text)
    }

    /// The service's process, when it still runs.
    pub fn alive(&self, service: Service) -> Option<&Record> {
        self.services.get(&service).filter(|record| record.process.is_alive())
    }
}
