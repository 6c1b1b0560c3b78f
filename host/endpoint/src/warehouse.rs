//! What every handler works with.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use lakehost_lake::{CatalogRef, IcebergLake, TableState};
use lakehost_pipeline::ports::TableName;
use tokio::sync::Mutex;

use crate::access::Access;
use crate::names;
use crate::refusal::{Answer, Refusal};

/// The property by which SQL catalogs remember a namespace without properties.
pub const EXISTS: &str = "exists";
/// The property that says where a namespace's tables lie.
pub const LOCATION: &str = "location";

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

    /// Properties of a namespace that is there, with the place of its tables.
    pub async fn properties(&self, namespace: &str) -> Answer<BTreeMap<String, String>> {
        let mut properties = self.catalog.namespace(namespace).await?.unwrap_or_default();
        properties.remove(EXISTS);
        let place = || self.lake.namespace_location(namespace);
        properties.entry(LOCATION.to_owned()).or_insert_with(place);
        Ok(properties)
    }

    /// Where a new table lies when its client does not say.
    pub async fn place(&self, table: &TableName) -> Answer<String> {
        let properties = self.properties(&table.namespace).await?;
        let folder = properties.get(LOCATION).map_or("", String::as_str);
        Ok(self.lake.new_location(table, folder)?)
    }

    /// That a new table may get that name.
    pub async fn check_new(&self, table: &TableName) -> Answer<()> {
        names::check_new(&table.namespace, Some(&table.name))?;
        self.check_namespace(&table.namespace).await
    }
}
