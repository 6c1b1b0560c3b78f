//! The folder of one run: statements, logs and results of dbt. It goes with the run, unless something failed that a person wants to look at.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::error::Error;

/// So many folders of failed runs are kept.
const KEPT: usize = 10;
/// A folder without a mark is of a run that goes on, or of one that died; after this long of one that died.
const ABANDONED: Duration = Duration::from_secs(7 * 24 * 3600);
/// Says that the run is over.
const MARK: &str = "failed";

/// The folder of a run.
pub(super) struct Scratch {
    folder: PathBuf,
    keep: bool,
}

impl Scratch {
    /// A new one, and older ones away.
    pub fn new(cache: &Path) -> Result<Self, Error> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let runs = cache.join("runs");
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        // Names sort by time.
        let folder = runs.join(format!(
            "{:015}-{}-{}",
            since.as_millis(),
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        ));
        fs::create_dir_all(folder.join("target")).map_err(|error| Error::file(&folder, "made", error))?;
        prune(&runs);
        Ok(Self { folder, keep: false })
    }

    /// dbt's target folder.
    pub fn target(&self) -> PathBuf {
        self.folder.join("target")
    }

    /// Whether it outlives the run.
    pub fn keep(&mut self, keep: bool) {
        self.keep = keep;
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What cannot be marked or removed goes when it is old.
        let _ = if self.keep { fs::write(self.folder.join(MARK), "") } else { fs::remove_dir_all(&self.folder) };
    }
}

fn prune(runs: &Path) {
    let mut folders: Vec<PathBuf> =
        fs::read_dir(runs).into_iter().flatten().flatten().map(|entry| entry.path()).collect();
    folders.sort_unstable_by(|a, b| b.cmp(a));
    let (marked, open): (Vec<PathBuf>, Vec<PathBuf>) =
        folders.into_iter().partition(|folder| folder.join(MARK).exists());
    let old = |folder: &PathBuf| {
        let changed = fs::metadata(folder).and_then(|metadata| metadata.modified()).ok();
        changed.and_then(|changed| changed.elapsed().ok()).is_some_and(|age| age > ABANDONED)
    };
    for folder in marked.iter().skip(KEPT).chain(open.iter().filter(|folder| old(folder))) {
        let _ = fs::remove_dir_all(folder);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_failed_runs_leave_a_folder_and_not_for_ever() {
        let cache = tempfile::tempdir().unwrap();
        let count = || fs::read_dir(cache.path().join("runs")).unwrap().count();
        drop(Scratch::new(cache.path()).unwrap());
        assert_eq!(count(), 0);
        let going_on = Scratch::new(cache.path()).unwrap();
        for _ in 0..KEPT + 3 {
            let mut scratch = Scratch::new(cache.path()).unwrap();
            scratch.keep(true);
            drop(scratch);
            std::thread::sleep(Duration::from_millis(2));
        }
        drop(Scratch::new(cache.path()).unwrap());
        assert_eq!(count(), KEPT + 1, "those kept, and the one that goes on");
        drop(going_on);
    }
}
