//! Places where a test may stop a commit: the process dies, or the call fails as if it had died there.
//!
//! `LAKEHOST_FAIL_POINT=name[:nth]` kills the process (SIGKILL, nothing is tidied up) when the point `name` is reached for the nth time,
//! counted from 1; `name:nth:int` sends it SIGINT there instead, as Ctrl-C does. Without the variable a point costs one comparison.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::error::{Error, Result};

/// The environment variable that arms a point.
pub const VARIABLE: &str = "LAKEHOST_FAIL_POINT";

/// Before the intent record of a run is written.
pub const INTENT: &str = "intent";
/// The intent record is there, no data file yet.
pub const FIRST_FILE: &str = "first-file";
/// A data file is complete.
pub const FILE_FINISHED: &str = "file-finished";
/// All data files are complete, no manifest yet.
pub const BEFORE_MANIFESTS: &str = "before-manifests";
/// Manifests and manifest list are written, nothing was sent to the catalog.
pub const BEFORE_REQUEST: &str = "before-request";
/// The new metadata file is written, the catalog does not point to it.
pub const METADATA_WRITTEN: &str = "metadata-written";
/// The catalog's transaction is open and holds the change.
pub const BEFORE_SQL_COMMIT: &str = "before-sql-commit";
/// The catalog has committed; the answer is not there yet.
pub const AFTER_SQL_COMMIT: &str = "after-sql-commit";
/// The commit is known to have landed; intent record and lost files are still there.
pub const BEFORE_CLEANUP: &str = "before-cleanup";

/// A branch is about to become `main`; it was checked.
pub const BEFORE_PUBLISH: &str = "before-publish";
/// The branch is `main`.
pub const AFTER_PUBLISH: &str = "after-publish";
/// The branch of a run is about to be merged; that is on record.
pub const BEFORE_MERGE: &str = "before-merge";
/// The branch of a run is merged, and still there.
pub const AFTER_MERGE: &str = "after-merge";
/// A branch is dropped, its files are still there.
pub const BEFORE_DISCARD_DELETE: &str = "before-discard-delete";

/// Snapshots have expired, their files are still there.
pub const BEFORE_EXPIRE_DELETE: &str = "before-expire-delete";
/// Orphans are known and still there.
pub const BEFORE_ORPHAN_DELETE: &str = "before-orphan-delete";
/// The files of a compaction are complete, no manifest yet.
pub const COMPACT_WRITTEN: &str = "compact-written";

/// The files of a deletion are complete, no manifest yet.
pub const DELETE_WRITTEN: &str = "delete-written";
/// The files of a merge are complete, no manifest yet.
pub const MERGE_WRITTEN: &str = "merge-written";
/// A table is out of the catalog, its files are still there.
pub const BEFORE_DROP_DELETE: &str = "before-drop-delete";

/// Every point.
pub const ALL: &[&str] = &[
    INTENT,
    FIRST_FILE,
    FILE_FINISHED,
    BEFORE_MANIFESTS,
    BEFORE_REQUEST,
    METADATA_WRITTEN,
    BEFORE_SQL_COMMIT,
    AFTER_SQL_COMMIT,
    BEFORE_CLEANUP,
    BEFORE_PUBLISH,
    AFTER_PUBLISH,
    BEFORE_DISCARD_DELETE,
    BEFORE_EXPIRE_DELETE,
    BEFORE_ORPHAN_DELETE,
    COMPACT_WRITTEN,
    DELETE_WRITTEN,
    MERGE_WRITTEN,
    BEFORE_DROP_DELETE,
];

/// The points that a load passes, in order: of [`ALL`] those up to [`BEFORE_CLEANUP`].
pub const LOAD: &[&str] = ALL.split_at(9).0;

/// What happens at an armed point.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Effect {
    Kill,
    /// Ctrl-C, and on.
    Interrupt,
    Fail,
}

#[derive(Debug)]
struct Armed {
    name: String,
    nth: u32,
    effect: Effect,
    reached: AtomicU32,
}

/// The armed point of a lake, usually none.
#[derive(Clone, Debug, Default)]
pub struct FailPoints(Option<Arc<Armed>>);

impl FailPoints {
    /// What `LAKEHOST_FAIL_POINT` asks for.
    #[must_use]
    pub fn from_env() -> Self {
        match std::env::var(VARIABLE) {
            Ok(text) if !text.is_empty() => {
                let mut parts = text.split(':');
                let name = parts.next().unwrap_or_default();
                let nth = parts.next().and_then(|nth| nth.parse().ok()).unwrap_or(1);
                let effect = if parts.next() == Some("int") { Effect::Interrupt } else { Effect::Kill };
                Self::arm(name, nth, effect)
            }
            _ => Self::default(),
        }
    }

    /// The nth passing of `name` fails with [`Error::FailPoint`], which nothing tidies up after.
    #[must_use]
    pub fn failing(name: &str, nth: u32) -> Self {
        Self::arm(name, nth, Effect::Fail)
    }

    fn arm(name: &str, nth: u32, effect: Effect) -> Self {
        Self(Some(Arc::new(Armed { name: name.to_owned(), nth, effect, reached: AtomicU32::new(0) })))
    }

    /// Whether the armed point was reached as often as it was to be.
    #[cfg(test)]
    pub(crate) fn fired(&self) -> bool {
        self.0.as_ref().is_some_and(|armed| armed.reached.load(Ordering::SeqCst) >= armed.nth)
    }

    /// Passes the point `name`, unless it is armed.
    pub(crate) fn pass(&self, name: &'static str) -> Result<()> {
        let Some(armed) = self.0.as_deref().filter(|armed| armed.name == name) else {
            return Ok(());
        };
        if armed.reached.fetch_add(1, Ordering::SeqCst) + 1 != armed.nth {
            return Ok(());
        }
        match armed.effect {
            Effect::Kill => kill_this_process(),
            Effect::Interrupt => {
                interrupt_this_process();
                Ok(())
            }
            Effect::Fail => Err(Error::FailPoint(name)),
        }
    }
}

/// As Ctrl-C would. Whoever handles it goes on; nobody else does.
fn interrupt_this_process() {
    #[cfg(unix)]
    // SAFETY: `kill` and `getpid` take plain numbers and touch no memory of ours.
    unsafe {
        libc::kill(libc::getpid(), libc::SIGINT);
    }
}

/// As a power cut would: no destructor, no exit handler.
fn kill_this_process() -> ! {
    #[cfg(unix)]
    // SAFETY: `raise` takes a plain signal number and touches no memory of ours.
    unsafe {
        libc::raise(libc::SIGKILL);
    }
    std::process::abort()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_load_passes_the_points_up_to_its_clean_up() {
        assert_eq!((LOAD.first(), LOAD.last()), (Some(&INTENT), Some(&BEFORE_CLEANUP)));
    }

    #[test]
    fn only_the_nth_passing_of_the_armed_point_fails() {
        let points = FailPoints::failing(BEFORE_REQUEST, 2);
        assert!(points.pass(INTENT).is_ok());
        assert!(points.pass(BEFORE_REQUEST).is_ok());
        assert!(points.pass(BEFORE_REQUEST).unwrap_err().is_fail_point());
        assert!(points.pass(BEFORE_REQUEST).is_ok());
        assert!(FailPoints::default().pass(BEFORE_REQUEST).is_ok());
    }
}
