//! Keys that a catalog hands out for one table: used by every client of that table, asked for again before they run out.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;

use super::Renew;
use super::s3_fresh::{Fresh, Used};

/// So long before they run out new ones are asked for.
const AHEAD: Duration = Duration::from_secs(300);
/// After a refusal the catalog is left alone for so long.
const PATIENCE: Duration = Duration::from_secs(30);

/// How a catalog says when its keys run out, in milliseconds since 1970.
const EXPIRES: &str = "s3.session-token-expires-at-ms";

struct Held {
    keys: Arc<AwsCredential>,
    /// By this machine's clock.
    expires: Option<SystemTime>,
    refused_at: Option<Instant>,
}

/// The present keys of one table.
pub(super) struct VendedKeys {
    /// The table's folder.
    table: String,
    renew: Option<Arc<dyn Renew>>,
    held: Mutex<Held>,
    /// One asks at a time, and the others take what it gets.
    asking: tokio::sync::Mutex<()>,
}

impl fmt::Debug for VendedKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("VendedKeys").field("table", &self.table).finish_non_exhaustive()
    }
}

/// The keys in a catalog's word for a table, when there are any.
fn keys_of(config: &BTreeMap<String, String>) -> Option<(AwsCredential, Option<SystemTime>)> {
    let word = |name: &str| config.get(name).cloned();
    let keys = AwsCredential {
        key_id: word("s3.access-key-id")?,
        secret_key: word("s3.secret-access-key")?,
        token: word("s3.session-token"),
    };
    let expires_ms: Option<u64> = word(EXPIRES).and_then(|text| text.parse().ok());
    Some((keys, expires_ms.and_then(|ms| UNIX_EPOCH.checked_add(Duration::from_millis(ms)))))
}

impl VendedKeys {
    /// `None`: the catalog hands out none.
    pub fn new(table: &str, config: &BTreeMap<String, String>, renew: Option<Arc<dyn Renew>>) -> Option<Self> {
        let (keys, expires) = keys_of(config)?;
        let held = Mutex::new(Held { keys: Arc::new(keys), expires, refused_at: None });
        Some(Self { table: table.to_owned(), renew, held, asking: tokio::sync::Mutex::new(()) })
    }

    /// From now on these.
    pub fn learn(&self, config: &BTreeMap<String, String>) {
        if let Some((keys, expires)) = keys_of(config) {
            *self.held.lock().unwrap_or_else(PoisonError::into_inner) =
                Held { keys: Arc::new(keys), expires, refused_at: None };
        }
    }

    /// Takes what the catalog hands out now.
    async fn ask(&self, renew: &dyn Renew) {
        match renew.renew(&self.table).await {
            Ok(config) => self.learn(&config),
            // Those at hand may do for some minutes more, and the store says so when they do not.
            Err(error) => {
                tracing::warn!(table = %self.table, %error, "the catalog gives no new keys for the object store");
                self.held.lock().unwrap_or_else(PoisonError::into_inner).refused_at = Some(Instant::now());
            }
        }
    }

    /// The keys, and whether it is time for others.
    fn present(&self) -> (Arc<AwsCredential>, bool) {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let due = held.expires.is_some_and(|expires| {
            expires.duration_since(SystemTime::now()).is_ok_and(|left| left < AHEAD) || expires <= SystemTime::now()
        });
        let patient = held.refused_at.is_none_or(|at| at.elapsed() > PATIENCE);
        (Arc::clone(&held.keys), due && patient)
    }
}

#[async_trait]
impl CredentialProvider for VendedKeys {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        let (keys, due) = self.present();
        let Some(renew) = self.renew.as_ref().filter(|_| due) else { return Ok(keys) };
        let _asking = self.asking.lock().await;
        let (keys, due) = self.present();
        if !due {
            return Ok(keys);
        }
        self.ask(renew.as_ref()).await;
        Ok(self.present().0)
    }
}

#[async_trait]
impl Fresh for VendedKeys {
    async fn instead_of(&self, refused: &Used) -> Option<Arc<AwsCredential>> {
        let renew = self.renew.as_ref()?;
        let _asking = self.asking.lock().await;
        if !refused.is(&self.present().0) {
            return Some(self.present().0);
        }
        let at = self.held.lock().unwrap_or_else(PoisonError::into_inner).refused_at;
        if at.is_some_and(|at| at.elapsed() < PATIENCE) {
            return None;
        }
        self.ask(renew.as_ref()).await;
        let keys = self.present().0;
        if refused.is(&keys) {
            self.held.lock().unwrap_or_else(PoisonError::into_inner).refused_at = Some(Instant::now());
            return None;
        }
        Some(keys)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::error::Error;

    #[derive(Debug, Default)]
    struct Catalog {
        asked: AtomicU32,
        refuses: bool,
    }

    fn config(secret: &str, left: Duration) -> BTreeMap<String, String> {
        let expires = (SystemTime::now() + left).duration_since(UNIX_EPOCH).unwrap().as_millis();
        [("s3.access-key-id", "id"), ("s3.secret-access-key", secret), (EXPIRES, &expires.to_string())]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into()
    }

    #[async_trait]
    impl Renew for Catalog {
        async fn renew(&self, location: &str) -> Result<BTreeMap<String, String>, Error> {
            assert_eq!(location, "s3://b/t");
            let number = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
            if self.refuses {
                return Err(Error::Internal("no".to_owned()));
            }
            Ok(config(&format!("secret{number}"), Duration::from_secs(3_600)))
        }
    }

    #[tokio::test]
    async fn keys_are_asked_for_again_before_they_run_out_and_once() {
        let catalog = Arc::new(Catalog::default());
        let renew = || Some(catalog.clone() as Arc<dyn Renew>);
        let fresh = VendedKeys::new("s3://b/t", &config("secret0", Duration::from_secs(3_600)), renew()).unwrap();
        assert_eq!(fresh.get_credential().await.unwrap().secret_key, "secret0");
        assert_eq!(catalog.asked.load(Ordering::SeqCst), 0);
        let old = Arc::new(VendedKeys::new("s3://b/t", &config("secret0", Duration::from_secs(60)), renew()).unwrap());
        let (one, two) = tokio::join!(old.get_credential(), old.get_credential());
        assert_eq!((one.unwrap().secret_key.as_str(), two.unwrap().secret_key.as_str()), ("secret1", "secret1"));
        assert_eq!(catalog.asked.load(Ordering::SeqCst), 1);
        assert!(VendedKeys::new("s3://b/t", &BTreeMap::new(), None).is_none());
        assert!(!format!("{old:?}").contains("secret1"));
    }

    #[tokio::test]
    async fn a_catalog_that_refuses_is_left_alone_for_a_while() {
        let catalog = Arc::new(Catalog { refuses: true, ..Catalog::default() });
        let old =
            VendedKeys::new("s3://b/t", &config("secret0", Duration::from_secs(60)), Some(catalog.clone())).unwrap();
        for _ in 0..3 {
            assert_eq!(old.get_credential().await.unwrap().secret_key, "secret0");
        }
        assert_eq!(catalog.asked.load(Ordering::SeqCst), 1);
    }
}
