//! Commits of tables: one, or several that become visible together.
//!
//! What a client requires is checked on the state that the catalog has now, and what it changes is applied to that. When another writer moves
//! a table in between, both are done again on the new state: only a requirement that does not hold there is a conflict for the client.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use iceberg::{ErrorKind, TableRequirement, TableUpdate};
use lakehost_lake::{Base, Error, Outcome, TableChange, TableState};
use lakehost_pipeline::ports::TableName;
use serde::Deserialize;
use uuid::Uuid;

use crate::birth;
use crate::names::Identifier;
use crate::refusal::{Answer, Refusal};
use crate::warehouse::Warehouse;

/// So long a commit that others overtake is made again.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is required of a table, and what is done to it.
#[derive(Clone, Debug, Deserialize)]
pub struct CommitTable {
    #[serde(default)]
    pub identifier: Option<Identifier>,
    requirements: Vec<TableRequirement>,
    updates: Vec<TableUpdate>,
}

/// A commit of several tables.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct CommitTables {
    pub table_changes: Vec<CommitTable>,
}

impl CommitTables {
    /// The changes, each with its table. None may come twice: the second would not know the first.
    pub fn named(self) -> Answer<Vec<(TableName, CommitTable)>> {
        let mut seen = BTreeSet::new();
        self.table_changes
            .into_iter()
            .map(|change| {
                let Some(identifier) = &change.identifier else {
                    return Err(Refusal::bad_request("a change names no table: `identifier` is missing"));
                };
                let table = identifier.table()?;
                match seen.insert(table.clone()) {
                    true => Ok((table, change)),
                    false => Err(Refusal::bad_request(format!("table {table} comes twice in one transaction"))),
                }
            })
            .collect()
    }
}

/// Makes all changes visible, or none.
pub async fn commit(warehouse: &Warehouse, requests: &[(TableName, CommitTable)]) -> Answer<()> {
    if requests.len() > 1 && !warehouse.catalog.can().many_tables {
        let catalog = warehouse.catalog.shown();
        return Err(Refusal::unsupported(format!("the catalog {catalog} commits one table at a time")));
    }
    let until = Instant::now() + PATIENCE;
    loop {
        let mut changes = Vec::new();
        for (table, request) in requests {
            changes.extend(planned(warehouse, table, request).await?);
        }
        if changes.is_empty() {
            return Ok(());
        }
        match warehouse.catalog.commit(&changes).await? {
            Outcome::Landed => return Ok(()),
            Outcome::Unknown(error) => return looked(warehouse, &changes, &error).await,
            Outcome::Conflict if Instant::now() < until => tokio::time::sleep(Duration::from_millis(5)).await,
            Outcome::Conflict => {
                return Err(Refusal::conflict(format!(
                    "other writers were faster for {} seconds; nothing was changed",
                    PATIENCE.as_secs()
                )));
            }
        }
    }
}

/// The change on the table as it is now; `None`: nothing is to be done.
async fn planned(warehouse: &Warehouse, table: &TableName, request: &CommitTable) -> Answer<Option<TableChange>> {
    let state = warehouse.catalog.load(table).await?;
    for requirement in &request.requirements {
        let checked = requirement.check(state.as_ref().map(|state| state.metadata.as_ref()));
        checked.map_err(|error| missed(table, requirement, &error))?;
    }
    let base = match state {
        Some(state) => {
            check_updates(warehouse, &state, &request.updates).await?;
            Base::Existing(state)
        }
        None if request.requirements.contains(&TableRequirement::NotExist) => {
            warehouse.check_new(table).await?;
            Base::New(Box::new(birth::committed(warehouse, table, &request.updates).await?))
        }
        None => return Err(Refusal::no_table(table)),
    };
    let is_new = matches!(base, Base::New(_));
    let updates = request.updates.clone();
    let change = TableChange::build(table, base, request.requirements.clone(), Uuid::new_v4(), |builder| {
        updates.into_iter().try_fold(builder, |builder, update| update.apply(builder))
    });
    let change = change.map_err(unfit)?;
    Ok((is_new || !change.updates.is_empty()).then_some(change))
}

/// What no client may do to a table that is there.
async fn check_updates(warehouse: &Warehouse, state: &TableState, updates: &[TableUpdate]) -> Answer<()> {
    for update in updates {
        match update {
            TableUpdate::AssignUuid { uuid } if *uuid != state.metadata.uuid() => {
                return Err(Refusal::bad_request(format!("table {} has a uuid already, and keeps it", state.name)));
            }
            TableUpdate::SetLocation { location } if location.trim_end_matches('/') != state.metadata.location() => {
                birth::checked(warehouse, location.clone()).await?;
            }
            _ => {}
        }
    }
    Ok(())
}

/// A requirement that does not hold, by its name in the protocol.
fn missed(table: &TableName, requirement: &TableRequirement, error: &iceberg::Error) -> Refusal {
    if error.kind() == ErrorKind::TableNotFound {
        return Refusal::no_table(table);
    }
    let name = serde_json::to_value(requirement).ok();
    let name =
        name.as_ref().and_then(|value| value.get("type")).and_then(|name| name.as_str()).unwrap_or("requirement");
    Refusal::conflict(format!("table {table}: {name} does not hold: {error}"))
}

/// A change that leaves no sound table. What another commit took in between is a conflict: the same on the newest state may be sound.
pub fn unfit(error: Error) -> Refusal {
    let Error::Iceberg { source, table, .. } = &error else { return error.into() };
    let text = source.message();
    let message = format!("table {table}: {text}");
    if text.contains("older than last sequence number") || text.contains("first-row-id is behind") {
        return Refusal::conflict(message);
    }
    match source.kind() {
        ErrorKind::FeatureUnsupported => Refusal::unsupported(message),
        _ => Refusal::invalid(message),
    }
}

/// Looks whether a commit without an answer is visible.
async fn looked(warehouse: &Warehouse, changes: &[TableChange], error: &Error) -> Answer<()> {
    for change in changes {
        let wanted = change.metadata_location();
        let state = warehouse.catalog.load(&change.table).await.ok().flatten();
        let visible = state.is_some_and(|state| {
            let mut before = state.metadata.metadata_log().iter();
            state.metadata_location == wanted || before.any(|entry| entry.metadata_file == wanted)
        });
        if !visible {
            return Err(Refusal::unknown(format!("the commit of table {} may have landed: {error}", change.table)));
        }
    }
    Ok(())
}
