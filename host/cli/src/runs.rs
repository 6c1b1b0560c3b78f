//! The run history of a warehouse: one JSON report a run, in `_lakehost/runs/`.

use std::fs;
use std::io::{ErrorKind, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use lakehost_fetch::LedgerEntry;
use serde::Serialize;
use serde_json::Value;

use crate::error::Error;
use crate::report;

/// What is kept of a run.
#[derive(Serialize)]
struct Kept<'a> {
    #[serde(flatten)]
    report: &'a Value,
    requests: &'a [LedgerEntry],
}

/// Whoever may read the warehouse may read its history; the process's umask takes away what it should not give.
const READABLE: u32 = 0o666;

/// Where the reports of a warehouse lie.
pub fn folder(warehouse: &Path) -> PathBuf {
    warehouse.join("_lakehost").join("runs")
}

/// Keeps the JSON report of a run and the requests that its source made. Atomic: a reader sees all of it or nothing.
pub fn record(warehouse: &Path, run_id: &str, report: &Value, requests: &[LedgerEntry]) -> Result<(), Error> {
    let folder = folder(warehouse);
    fs::create_dir_all(&folder).map_err(|error| Error::file(&folder, "created", error))?;
    let path = folder.join(format!("{run_id}.json"));
    let write = || -> std::io::Result<()> {
        let readable = fs::Permissions::from_mode(READABLE);
        let mut file = tempfile::Builder::new().prefix(".run-").permissions(readable).tempfile_in(&folder)?;
        serde_json::to_writer_pretty(&mut file, &Kept { report, requests })?;
        file.write_all(b"\n")?;
        file.persist(&path).map_err(|error| error.error)?;
        Ok(())
    };
    write().map_err(|error| Error::file(&path, "written", error))
}

/// The newest runs, newest first; `limit` 0: all. A file that is no report is left out.
///
/// # Errors
/// `LH0501` for a folder or report that this user may not read.
pub fn newest(warehouse: &Path, limit: usize) -> Result<Vec<(String, Value)>, Error> {
    let folder = folder(warehouse);
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(Error::file(&folder, "read", error)),
    };
    let mut ids: Vec<String> = entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok()?.strip_suffix(".json").map(str::to_owned))
        .collect();
    // A run id begins with its time.
    ids.sort_unstable_by(|a, b| b.cmp(a));
    ids.truncate(if limit == 0 { usize::MAX } else { limit });
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        if let Some(report) = read(&folder, &id)? {
            found.push((id, report));
        }
    }
    Ok(found)
}

/// One run by its id, or by a beginning of it that no other run has.
pub fn one(warehouse: &Path, run_id: &str) -> Result<Value, Error> {
    let unknown = || Error::RunUnknown {
        run_id: run_id.escape_debug().to_string(),
        folder: folder(warehouse).display().to_string(),
    };
    let matching: Vec<(String, Value)> =
        newest(warehouse, 0)?.into_iter().filter(|(id, _)| !run_id.is_empty() && id.starts_with(run_id)).collect();
    let exact = matching.iter().position(|(id, _)| id == run_id);
    match (exact, matching.len()) {
        (Some(index), _) => matching.into_iter().nth(index).map(|(_, report)| report).ok_or_else(unknown),
        (None, 1) => matching.into_iter().next().map(|(_, report)| report).ok_or_else(unknown),
        _ => Err(unknown()),
    }
}

/// When a run began, in milliseconds since 1970-01-01T00:00Z: its id says so.
pub fn started_ms(run_id: &str) -> Option<u64> {
    let (seconds, nanos) = uuid::Uuid::parse_str(run_id).ok()?.get_timestamp()?.to_unix();
    seconds.checked_mul(1_000)?.checked_add(u64::from(nanos) / 1_000_000)
}

fn read(folder: &Path, id: &str) -> Result<Option<Value>, Error> {
    let path = folder.join(format!("{id}.json"));
    let bytes = match fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return Err(Error::file(&path, "read", error)),
        Err(_) => return Ok(None),
    };
    let mut report = serde_json::from_slice(&bytes).ok();
    // Reports of older versions have them as numbers.
    report.iter_mut().for_each(report::ids_as_text);
    Ok(report)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_listed_newest_first() {
        let warehouse = tempfile::tempdir().unwrap();
        assert!(newest(warehouse.path(), 0).unwrap().is_empty());
        let folder = folder(warehouse.path());
        fs::create_dir_all(&folder).unwrap();
        for id in ["0190-a", "0191-b", "0192-c"] {
            fs::write(folder.join(format!("{id}.json")), format!("{{\"run_id\":\"{id}\"}}")).unwrap();
        }
        fs::write(folder.join("0193-broken.json"), "{").unwrap();
        let ids: Vec<String> = newest(warehouse.path(), 0).unwrap().into_iter().map(|(id, _)| id).collect();
        assert_eq!(ids, ["0192-c", "0191-b", "0190-a"]);
        assert_eq!(newest(warehouse.path(), 2).unwrap().len(), 1, "the broken one counts and is left out");
        assert_eq!(one(warehouse.path(), "0191").unwrap()["run_id"], "0191-b");
        assert!(one(warehouse.path(), "019").is_err() && one(warehouse.path(), "").is_err());
    }

    #[test]
    fn a_kept_report_can_be_read_by_others() {
        let warehouse = tempfile::tempdir().unwrap();
        record(warehouse.path(), "0190-a", &serde_json::json!({"run_id": "0190-a", "snapshot_id": 7}), &[]).unwrap();
        let mode = fs::metadata(folder(warehouse.path()).join("0190-a.json")).unwrap().permissions().mode();
        assert_ne!(mode & 0o040, 0, "{mode:o}");
        assert_eq!(one(warehouse.path(), "0190").unwrap()["snapshot_id"], "7");
    }

    #[test]
    fn a_run_id_tells_its_time() {
        assert_eq!(started_ms("018cc251-f400-7000-8000-000000000000"), Some(1_704_067_200_000));
        assert_eq!(started_ms("not-one"), None);
    }
}
