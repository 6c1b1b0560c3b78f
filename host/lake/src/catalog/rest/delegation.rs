//! Keys of the object store that the catalog hands out with a table, asked for again by whoever finds that they run out.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use async_trait::async_trait;
use reqwest::Method;

use super::http::{Ask, Http};
use super::wire::Loaded;
use super::{parsed, refused};
use crate::error::{Error, Result};
use crate::store::Renew;

/// Asks for keys.
pub fn header() -> (&'static str, String) {
    ("x-iceberg-access-delegation", "vended-credentials".to_owned())
}

/// Which table is where.
#[derive(Debug)]
pub struct Delegation {
    http: Arc<Http>,
    /// Paths of tables at the catalog, by their folders.
    tables: Mutex<BTreeMap<String, String>>,
}

impl Delegation {
    pub fn new(http: Arc<Http>) -> Self {
        Self { http, tables: Mutex::default() }
    }

    /// The table in this folder is at this path.
    pub fn know(&self, location: &str, path: &str) {
        let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
        tables.insert(location.trim_end_matches('/').to_owned(), path.to_owned());
    }
}

#[async_trait]
impl Renew for Delegation {
    async fn renew(&self, location: &str) -> Result<BTreeMap<String, String>> {
        let path = self.tables.lock().unwrap_or_else(PoisonError::into_inner).get(location).cloned();
        let path = path.ok_or_else(|| Error::Internal(format!("no table is known at {location}")))?;
        let mut ask = Ask::new(Method::GET, &path);
        ask.headers.push(header());
        let answer = self.http.read(&ask).await?;
        match answer.status {
            200 => Ok(parsed::<Loaded>(&self.http, &answer)?.access()),
            _ => Err(refused(&self.http, &answer)),
        }
    }
}
