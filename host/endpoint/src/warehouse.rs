//! What every handler works with.

use std::sync::Arc;
use std::time::Duration;

use lakehost_lake::{CatalogRef, IcebergLake, TableState};
use lakehost_pipeline::ports::TableName;
use tokio::sync::Mutex;

use crate::access::Access;
use crate::names;
use crate::refusal::{Answer, Refusal};

/// A warehouse that is served.
#[derive(Debug)]
pub struct Warehouse {
    pub lake: IcebergLake,
    pub catalog: CatalogRef,
    /// By these clients may call it; the first is for messages.
    pub names: Vec<String>,
    pub access: Access,
    changing: Arc<Mutex<()>>,
}

impl Warehouse {
    pub fn new(lake: IcebergLake, names: Vec<String>, access: Access) -> Self {
        Self { catalog: lake.catalog(), lake, names, access, changing: Arc::default() }
    }

    /// Carries out a change to its end, though its client may be gone before. Changes that come in here go one after another, so that they need
    /// not overtake each other; those of other processes are met at the catalog.
    pub async fn change<T: Send + 'static>(&self, work: impl Future<Output = Answer<T>> + Send + 'static) -> Answer<T> {
        let turn = Arc::clone(&self.changing).lock_owned().await;
        let task = tokio::spawn(async move {
            let _turn = turn;
            work.await
        });
        task.await.unwrap_or_else(|error| Err(Refusal::unknown(format!("the change broke off: {error}"))))
    }

    /// Waits until no change is under way; `false`: it takes longer than that.
    pub async fn settle(&self, patience: Duration) -> bool {
        tokio::time::timeout(patience, self.changing.lock()).await.is_ok()
    }

    /// The table as it is now.
    pub async fn table(&self, table: &TableName) -> Answer<TableState> {
        self.catalog.load(table).await?.ok_or_else(|| Refusal::no_table(table))
    }

    /// That a namespace is there, by itself or by what it holds.
    pub async fn check_namespace(&self, namespace: &str) -> Answer<()> {
        let inner = format!("{namespace}.");
        let known = self.catalog.list_namespaces().await?;
        match known.iter().any(|known| known == namespace || known.starts_with(&inner)) {
            true => Ok(()),
            false => Err(Refusal::no_namespace(namespace)),
        }
    }

    /// That a new table may get that name.
    pub async fn check_new(&self, table: &TableName) -> Answer<()> {
        names::check_new(&table.namespace, Some(&table.name))?;
        self.check_namespace(&table.namespace).await
    }
}
