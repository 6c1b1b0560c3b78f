//! Progress and the stage clock. This crate reads no clock: whoever starts a run hands in an [`Observer`].

/// A point in time, as the observer's clock sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Wall clock, nanoseconds since any fixed point.
    pub wall_ns: u64,
    /// CPU time of the calling thread, nanoseconds.
    pub cpu_ns: u64,
}

/// The parts of a run that are timed apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Stage {
    /// Deciding what to load.
    Plan,
    /// Waiting for source bytes.
    Download,
    /// Source pages to values.
    Decode,
    /// Rules, casts and derived columns.
    Clean,
    /// Values to output pages.
    Encode,
    /// Output bytes to the store.
    Upload,
    /// Proving that every page of an as-is file reads.
    Verify,
    /// The table commit.
    Commit,
}

/// Told what is happening. Every method is called from several threads.
pub trait Observer: Send + Sync {
    /// A stage starts on this thread; the mark comes back in [`Observer::leave`].
    fn enter(&self, stage: Stage) -> Mark;
    /// The stage that was entered with `mark` ends, on the same thread.
    fn leave(&self, stage: Stage, mark: Mark);
    /// So many more source rows were dealt with, so many more bytes written.
    fn progress(&self, rows: u64, bytes: u64) {
        let _ = (rows, bytes);
    }
    /// Whether the run should stop at the next convenient point.
    fn cancelled(&self) -> bool {
        false
    }
}

/// Watches nothing and never cancels.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoObserver;

impl Observer for NoObserver {
    fn enter(&self, _stage: Stage) -> Mark {
        Mark::default()
    }

    fn leave(&self, _stage: Stage, _mark: Mark) {}
}

/// Run `work` as `stage`.
pub(crate) fn timed<T>(observer: &dyn Observer, stage: Stage, work: impl FnOnce() -> T) -> T {
    let mark = observer.enter(stage);
    let result = work();
    observer.leave(stage, mark);
    result
}
