//! Who looks on: words for people as things happen, and the wish to stop.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// The caller of a long action.
pub struct Watch {
    stop: Arc<AtomicBool>,
    say: Box<dyn Fn(&str) + Send + Sync>,
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("stop", &self.stop).finish_non_exhaustive()
    }
}

impl Watch {
    /// `stop` ends the action at its next step; `say` gets sentences without a line's end.
    pub fn new(stop: Arc<AtomicBool>, say: impl Fn(&str) + Send + Sync + 'static) -> Self {
        Self { stop, say: Box::new(say) }
    }

    /// Nobody looks on.
    #[must_use]
    pub fn nobody() -> Self {
        Self::new(Arc::default(), |_| {})
    }

    pub(crate) fn say(&self, text: &str) {
        (self.say)(text);
    }

    pub(crate) fn stopped(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// The pause between two looks.
    pub(crate) fn pause() {
        std::thread::sleep(Duration::from_millis(50));
    }
}
