//! Secrets that can be looked up again where they come from, when those in use are refused.

use std::fmt;
use std::sync::Arc;

type Look<T> = dyn Fn() -> Result<T, String> + Send + Sync;

/// Looks a secret up where it comes from; else a sentence on why it cannot.
pub struct LookUp<T>(Arc<Look<T>>);

impl<T: Send + 'static> LookUp<T> {
    /// It may take its time: it is asked on a thread of its own.
    pub fn new(look_up: impl Fn() -> Result<T, String> + Send + Sync + 'static) -> Self {
        Self(Arc::new(look_up))
    }

    /// What is there now.
    pub(crate) async fn ask(&self) -> Result<T, String> {
        let look_up = Arc::clone(&self.0);
        tokio::task::spawn_blocking(move || look_up()).await.map_err(|error| error.to_string())?
    }
}

impl<T> Clone for LookUp<T> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<T> fmt::Debug for LookUp<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("LookUp")
    }
}

impl<T> PartialEq for LookUp<T> {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.0, &other.0)
    }
}

impl<T> Eq for LookUp<T> {}
