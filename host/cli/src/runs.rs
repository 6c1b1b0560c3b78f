//! The run history of a warehouse: one JSON report a run, in `_lakehost/runs/`.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;

use lakehost_fetch::LedgerEntry;
use lakehost_lake::Store;
use serde::Serialize;
use serde_json::Value;

use crate::config::resolve::Where;
use crate::error::Error;
use crate::report;

/// What is kept of a run.
#[derive(Serialize)]
struct Kept<'a> {
    #[serde(flatten)]
    report: &'a Value,
    requests: &'a [LedgerEntry],
}

/// The reports of a warehouse.
pub struct History {
    store: Arc<dyn Store>,
    /// Where they lie.
    folder: String,
}

impl History {
    /// Those of a place.
    pub fn of(place: &Where) -> Result<Self, Error> {
        let root = place.warehouse.display().to_string();
        Ok(Self { store: place.store()?, folder: format!("{}/_lakehost/runs", root.trim_end_matches('/')) })
    }

    /// Keeps the JSON report of a run and the requests that its source made. Atomic: a reader sees all of it or nothing.
    pub fn record(&self, run_id: &str, report: &Value, requests: &[LedgerEntry]) -> Result<(), Error> {
        self.write(run_id, &Kept { report, requests })
    }

    /// Writes a kept report anew.
    pub fn rewrite(&self, run_id: &str, report: &Value) -> Result<(), Error> {
        self.write(run_id, report)
    }

    fn write(&self, run_id: &str, report: &impl Serialize) -> Result<(), Error> {
        let location = self.location(run_id);
        let written = serde_json::to_vec_pretty(report).map_err(std::io::Error::from);
        let kept = written.and_then(|text| self.store.note(&location, &[text.as_slice(), b"\n"].concat()));
        kept.map_err(|error| Error::file(Path::new(&location), "written", error))
    }

    /// The newest runs, newest first; `limit` 0: all. A file that is no report is left out.
    ///
    /// # Errors
    /// `LH0501` for a folder or report that this user may not read.
    pub fn newest(&self, limit: usize) -> Result<Vec<(String, Value)>, Error> {
        let mut ids = self.ids()?;
        ids.truncate(if limit == 0 { usize::MAX } else { limit });
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            if let Some(report) = self.read(&id)? {
                found.push((id, report));
            }
        }
        Ok(found)
    }

    /// One run by its id, or by a beginning of it that no other run has.
    pub fn one(&self, run_id: &str) -> Result<Value, Error> {
        let unknown = || Error::RunUnknown { run_id: run_id.escape_debug().to_string(), folder: self.folder.clone() };
        let ids = self.ids()?;
        let matching: Vec<&String> = ids.iter().filter(|id| !run_id.is_empty() && id.starts_with(run_id)).collect();
        let chosen = match matching.iter().find(|id| **id == run_id).or_else(|| matching.first()) {
            Some(id) if matching.len() == 1 || *id == run_id => *id,
            _ => return Err(unknown()),
        };
        self.read(chosen)?.ok_or_else(unknown)
    }

    /// Newest first: a run id begins with its time.
    fn ids(&self) -> Result<Vec<String>, Error> {
        let listed = self.store.list(&self.folder);
        let files = listed.map_err(|error| Error::file(Path::new(&self.folder), "read", error))?;
        let mut ids: Vec<String> =
            files.iter().filter_map(|file| file.name.strip_suffix(".json").map(str::to_owned)).collect();
        ids.sort_unstable_by(|a, b| b.cmp(a));
        Ok(ids)
    }

    fn location(&self, id: &str) -> String {
        format!("{}/{id}.json", self.folder)
    }

    fn read(&self, id: &str) -> Result<Option<Value>, Error> {
        let location = self.location(id);
        let bytes = match self.store.get(&location) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                return Err(Error::file(Path::new(&location), "read", error));
            }
            Err(_) => return Ok(None),
        };
        let mut report = serde_json::from_slice(&bytes).ok();
        // Reports of older versions have them as numbers.
        report.iter_mut().for_each(report::ids_as_text);
        Ok(report)
    }
}

/// When a run began, in milliseconds since 1970-01-01T00:00Z: its id says so.
pub fn started_ms(run_id: &str) -> Option<u64> {
    let (seconds, nanos) = uuid::Uuid::parse_str(run_id).ok()?.get_timestamp()?.to_unix();
    seconds.checked_mul(1_000)?.checked_add(u64::from(nanos) / 1_000_000)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn history(warehouse: &tempfile::TempDir) -> History {
        History::of(&Where { warehouse: warehouse.path().to_owned(), ..Where::default() }).unwrap()
    }

    #[test]
    fn runs_are_listed_newest_first() {
        let warehouse = tempfile::tempdir().unwrap();
        let history = history(&warehouse);
        assert!(history.newest(0).unwrap().is_empty());
        let folder = warehouse.path().join("_lakehost/runs");
        fs::create_dir_all(&folder).unwrap();
        for id in ["0190-a", "0191-b", "0192-c"] {
            fs::write(folder.join(format!("{id}.json")), format!("{{\"run_id\":\"{id}\"}}")).unwrap();
        }
        fs::write(folder.join("0193-broken.json"), "{").unwrap();
        let ids: Vec<String> = history.newest(0).unwrap().into_iter().map(|(id, _)| id).collect();
        assert_eq!(ids, ["0192-c", "0191-b", "0190-a"]);
        assert_eq!(history.newest(2).unwrap().len(), 1, "the broken one counts and is left out");
        assert_eq!(history.one("0191").unwrap()["run_id"], "0191-b");
        assert!(history.one("019").is_err() && history.one("").is_err());
    }

    #[test]
    fn a_kept_report_can_be_read_by_others() {
        let warehouse = tempfile::tempdir().unwrap();
        let history = history(&warehouse);
        history.record("0190-a", &serde_json::json!({"run_id": "0190-a", "snapshot_id": 7}), &[]).unwrap();
        let mode = fs::metadata(warehouse.path().join("_lakehost/runs/0190-a.json")).unwrap().permissions().mode();
        assert_ne!(mode & 0o040, 0, "{mode:o}");
        assert_eq!(history.one("0190").unwrap()["snapshot_id"], "7");
    }

    #[test]
    fn a_run_id_tells_its_time() {
        assert_eq!(started_ms("018cc251-f400-7000-8000-000000000000"), Some(1_704_067_200_000));
        assert_eq!(started_ms("not-one"), None);
    }
}
