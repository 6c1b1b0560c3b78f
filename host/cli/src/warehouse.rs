//! A warehouse that a command works in: its lake, opened, and the threads that the lake runs on.

use std::sync::Arc;

use arrow::array::RecordBatch;
use lakehost_lake::{IcebergLake, MetadataTable, snapshot_as_of};
use lakehost_pipeline::Fault;
use lakehost_pipeline::ports::{Lake, Load, LoadRecord, TableInfo, TableName, Target};
use lakehost_query::{AsOf, OpenTable, Tables};
use tokio::runtime::Runtime;

use crate::config::resolve::Where;
use crate::error::Error;
use crate::time::utc;

/// Threads that wait for files, catalog, network and timers. Rows are worked on elsewhere.
const WAITING_THREADS: usize = 2;

/// An opened lake. The runtime ends with it.
pub struct Warehouse {
    pub lake: IcebergLake,
    _runtime: Arc<Runtime>,
}

impl Warehouse {
    /// Opens the warehouse; folder and catalog are made when they are not there.
    pub fn open(place: &Where) -> Result<Self, Fault> {
        Self::open_on(runtime()?, place)
    }

    /// As [`Warehouse::open`], on threads that the command has already.
    pub fn open_on(runtime: Arc<Runtime>, place: &Where) -> Result<Self, Fault> {
        let options = place.options(runtime.handle().clone())?;
        let lake = IcebergLake::open(options.merging_within(place.memory_bytes / 4))?;
        Ok(Self { lake, _runtime: runtime })
    }

    /// Opens a warehouse that is there, for a command that would find nothing in a new one.
    pub fn open_existing(place: &Where) -> Result<Self, Fault> {
        if !exists(place) {
            return Err(missing(place).into());
        }
        Self::open(place)
    }

    /// An error of the lake as a fault; a table that is not there comes with the name that was probably meant.
    pub fn fault(&self, error: lakehost_lake::Error) -> Fault {
        match error {
            lakehost_lake::Error::NoTable { table, .. } => {
                let known = self.lake.table_names(None).unwrap_or_default();
                let known = known.iter().map(ToString::to_string).collect();
                Error::TableUnknown { table: table.to_string(), known }.into()
            }
            error => Fault::new(error),
        }
    }

    /// The tables of the warehouse as a query sees them.
    pub fn tables_as_of(self, as_of: Option<AsOf>) -> QueriedTables {
        QueriedTables { warehouse: self, as_of }
    }
}

/// A lake without tables: what a dry run sees where no warehouse is yet, so that it makes none.
pub struct NoLake;

impl Lake for NoLake {
    fn table(&self, _name: &TableName) -> Result<Option<TableInfo>, Fault> {
        Ok(None)
    }

    fn last_load(&self, _name: &TableName, _window_key: &str) -> Result<Option<LoadRecord>, Fault> {
        Ok(None)
    }

    fn begin(&self, target: &Target, _run_id: &str) -> Result<Box<dyn Load>, Fault> {
        let what = format!("a dry run began to load {}", target.table);
        Err(Error::Bug { what, cause: "there is no warehouse to load into".to_owned() }.into())
    }
}

/// Whether there is a catalog to read. One on a server is taken to be there: opening it tells.
pub fn exists(place: &Where) -> bool {
    // Without a catalog file there is nothing to read, and reading makes none.
    place.catalog_file().is_none_or(|file| file.is_file())
}

/// That a folder without a catalog is one that may get one: it is there, or it is where nobody has loaded yet. One that was `named` and is not
/// there is a mistake.
pub fn expect_none_yet(place: &Where, named: bool) -> Result<(), Error> {
    let later = !named && !place.warehouse.exists();
    if later || place.is_remote() || place.warehouse.is_dir() { Ok(()) } else { Err(missing(place)) }
}

fn missing(place: &Where) -> Error {
    let warehouse = place.warehouse.display();
    match place.catalog_file().filter(|_| place.catalog.is_some()) {
        Some(file) => Error::Usage {
            message: format!("the warehouse {warehouse} has no catalog yet: there is no {}", file.display()),
            hint: Some("correct `catalog` of the profile or --catalog; `lakehost run` makes a new one".to_owned()),
        },
        None => Error::Usage {
            message: format!("there is no warehouse {warehouse}"),
            hint: Some("name its folder with --warehouse DIR; `lakehost run` makes a new one".to_owned()),
        },
    }
}

/// Threads for waiting on files, network and timers.
pub fn runtime() -> Result<Arc<Runtime>, Error> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(WAITING_THREADS)
        .thread_name("lakehost")
        .enable_all()
        .build()
        .map(Arc::new)
        .map_err(|error| Error::Bug { what: "no threads can be started".to_owned(), cause: error.to_string() })
}

/// A point in time as the lake takes it.
pub fn point(as_of: &AsOf) -> lakehost_lake::AsOf {
    match as_of {
        AsOf::Snapshot(id) => lakehost_lake::AsOf::Snapshot(*id),
        AsOf::TimeMs(ms) => lakehost_lake::AsOf::Time(*ms),
        AsOf::Reference(name) => lakehost_lake::AsOf::Reference(name.clone()),
    }
}

/// The error of a table that has no state at a time, with the time as people read it rather than as a number.
pub fn at_no_time(error: lakehost_lake::Error, table: &TableName, wanted: &AsOf) -> Fault {
    match (error, wanted) {
        (lakehost_lake::Error::NoSnapshot { .. }, AsOf::TimeMs(ms)) => {
            let time = utc(u64::try_from(*ms).unwrap_or_default());
            Fault::new(Error::NotYet { table: table.to_string(), time })
        }
        (error, _) => Fault::new(error),
    }
}

/// The tables of a warehouse at one point in time.
pub struct QueriedTables {
    warehouse: Warehouse,
    as_of: Option<AsOf>,
}

impl Tables for QueriedTables {
    fn open(&self, name: &TableName) -> Result<Option<OpenTable>, Fault> {
        let lake = &self.warehouse.lake;
        if !lake.table_names(Some(&name.namespace))?.contains(name) {
            return Ok(None);
        }
        let table = lake.open_table(name)?;
        let snapshot_id = match &self.as_of {
            None => None,
            Some(wanted) => {
                Some(snapshot_as_of(&table, &point(wanted)).map_err(|error| at_no_time(error, name, wanted))?)
            }
        };
        Ok(Some(OpenTable { table, snapshot_id }))
    }

    fn metadata(&self, name: &TableName, kind: &str) -> Result<Option<RecordBatch>, Fault> {
        let lake = &self.warehouse.lake;
        let Some(kind) = MetadataTable::parse(kind) else { return Ok(None) };
        if !lake.table_names(Some(&name.namespace))?.contains(name) {
            return Ok(None);
        }
        let at = self.as_of.as_ref().map(point);
        let batch = lake.metadata_batch(name, kind, at.as_ref());
        batch.map(Some).map_err(|error| match &self.as_of {
            Some(wanted) => at_no_time(error, name, wanted),
            None => Fault::new(error),
        })
    }

    fn names(&self) -> Result<Vec<TableName>, Fault> {
        Ok(self.warehouse.lake.table_names(None)?)
    }
}
