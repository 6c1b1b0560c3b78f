//! From what an action wants to the request that asks for it.

use std::collections::HashSet;
use std::sync::Arc;

use iceberg::TableRequirement;
use iceberg::spec::{MAIN_BRANCH, Snapshot, TableMetadata, TableMetadataBuilder, TableMetadataRef};
use lakehost_pipeline::ports::TableName;
use uuid::Uuid;

use super::action::{Delta, NewSnapshot, On, RefChange};
use super::landed::{Landed, Verdict, landed};
use super::manifests::Manifests;
use super::protocol::keeps_files;
use super::snapshot::Attempt;
use crate::catalog::{Base, TableChange, TableState};
use crate::error::{Error, Result};
use crate::fail_point;

/// A request that is ready to be sent.
#[derive(Debug)]
pub struct Built {
    pub change: TableChange,
    /// Files that are superfluous when the request certainly lost.
    pub scratch: Vec<String>,
    pub brings_snapshot: bool,
    proof: Option<(String, String)>,
    files: HashSet<String>,
    refs: Vec<RefChange>,
    set: Vec<(String, String)>,
    unset: Vec<String>,
}

impl Built {
    /// Whether the change is in the table as it is now.
    pub async fn is_in(&self, manifests: &Manifests, state: &TableState, snapshot_id: i64) -> Result<Verdict> {
        let proof = self.proof.as_ref().map(|(name, value)| (name.as_str(), value.as_str()));
        if !self.brings_snapshot && proof.is_none() {
            return Ok(if self.shows(&state.metadata) { Verdict::Yes } else { Verdict::No });
        }
        let base = match &self.change.base {
            Base::New(_) => None,
            Base::Existing(state) => Some(state),
        };
        let ask = Landed {
            snapshot_id,
            proof,
            base_uuid: base.map(|state| state.metadata.uuid()),
            base_snapshot_id: base.and_then(TableState::main).map(|snapshot| snapshot.snapshot_id()),
            files: &self.files,
        };
        landed(manifests, state, &ask).await
    }

    /// The table looks as the change would have it.
    fn shows(&self, metadata: &TableMetadata) -> bool {
        let wanted = &self.change.metadata;
        let base = match &self.change.base {
            Base::New(_) => return metadata.uuid() == wanted.uuid(),
            Base::Existing(state) => &state.metadata,
        };
        metadata.uuid() == base.uuid()
            && self.set.iter().all(|(name, value)| metadata.properties().get(name) == Some(value))
            && self.unset.iter().all(|name| !metadata.properties().contains_key(name))
            && self.refs.iter().all(|change| match change {
                RefChange::Set { name, reference } => metadata
                    .snapshot_for_ref(name)
                    .is_some_and(|snapshot| snapshot.snapshot_id() == reference.snapshot_id),
                RefChange::Remove { name } => metadata.snapshot_for_ref(name).is_none(),
            })
            && base.snapshots().all(|snapshot| {
                let id = snapshot.snapshot_id();
                wanted.snapshot_by_id(id).is_some() || metadata.snapshot_by_id(id).is_none()
            })
            && (wanted.current_schema_id() == base.current_schema_id()
                || metadata.current_schema().as_struct() == wanted.current_schema().as_struct())
            && (wanted.default_partition_spec_id() == base.default_partition_spec_id()
                || metadata.default_partition_spec().fields() == wanted.default_partition_spec().fields())
            && (wanted.default_sort_order_id() == base.default_sort_order_id()
                || metadata.default_sort_order().fields == wanted.default_sort_order().fields)
    }
}

/// Writes the manifests of an attempt and builds its request. On an error nothing of the attempt is left.
pub async fn build(on: &On<'_>, table: &TableName, delta: Delta) -> Result<Built> {
    let mut scratch = delta.scratch.clone();
    match request(on, table, delta, &mut scratch).await {
        Ok(mut built) => {
            built.files.extend(scratch.iter().cloned());
            Ok(Built { scratch, ..built })
        }
        Err(error) => {
            if !keeps_files(&error) {
                on.core.forget(scratch);
            }
            Err(error)
        }
    }
}

async fn request(on: &On<'_>, table: &TableName, delta: Delta, scratch: &mut Vec<String>) -> Result<Built> {
    let metadata = shaped(table, &delta)?;
    let snapshot = match &delta.snapshot {
        Some(new) => {
            on.core.fail_points.pass(fail_point::BEFORE_MANIFESTS)?;
            let snapshot = write(on, table, &delta, &metadata, new, scratch).await?;
            on.core.fail_points.pass(fail_point::BEFORE_REQUEST)?;
            Some((snapshot, new.branch.clone()))
        }
        None => None,
    };
    let requires = requirements(&delta);
    let files =
        delta.snapshot.iter().flat_map(|new| &new.added).map(|added| added.file.file_path().to_owned()).collect();
    let brings_snapshot = snapshot.is_some();
    let change = TableChange::build(table, delta.base.clone(), requires, Uuid::nil(), |builder| {
        let mut builder = reshape(builder, &delta)?;
        if let Some((snapshot, branch)) = snapshot {
            builder = builder.set_branch_snapshot(snapshot, &branch)?;
        }
        for change in &delta.refs {
            builder = match change {
                RefChange::Set { name, reference } => builder.set_ref(name, reference.clone())?,
                RefChange::Remove { name } => builder.remove_ref(name),
            };
        }
        if !delta.remove_snapshots.is_empty() {
            builder = builder.remove_snapshots(&delta.remove_snapshots);
            // Statistics are of a snapshot, and go with it.
            for id in &delta.remove_snapshots {
                builder = builder.remove_statistics(*id).remove_partition_statistics(*id);
            }
        }
        builder.set_properties(delta.set.clone())?.remove_properties(&delta.unset)
    })?;
    Ok(Built {
        change,
        scratch: Vec::new(),
        brings_snapshot,
        proof: delta.proof,
        files,
        refs: delta.refs,
        set: delta.set.into_iter().collect(),
        unset: delta.unset,
    })
}

fn reshape(mut builder: TableMetadataBuilder, delta: &Delta) -> iceberg::Result<TableMetadataBuilder> {
    if let Some(schema) = &delta.schema {
        builder = builder.add_current_schema(schema.clone())?;
    }
    if let Some(spec) = &delta.spec {
        builder = builder.add_default_partition_spec(spec.clone())?;
    }
    if let Some(order) = &delta.sort_order {
        builder = builder.add_sort_order(order.clone())?.set_default_sort_order(-1)?;
    }
    Ok(builder)
}

/// The base with the columns, spec and order of the change: what its manifests are written for.
fn shaped(table: &TableName, delta: &Delta) -> Result<TableMetadataRef> {
    let builder = match &delta.base {
        Base::Existing(state) if delta.schema.is_none() && delta.spec.is_none() && delta.sort_order.is_none() => {
            return Ok(Arc::clone(&state.metadata));
        }
        Base::Existing(state) => Ok(TableMetadata::clone(&state.metadata).into_builder(None)),
        Base::New(creation) => creation.builder(),
    };
    builder
        .and_then(|builder| reshape(builder, delta)?.build())
        .map(|built| Arc::new(built.metadata))
        .map_err(|error| Error::shape(table, format!("cannot be changed so: {}", error.message())))
}

async fn write(
    on: &On<'_>,
    table: &TableName,
    delta: &Delta,
    metadata: &TableMetadata,
    new: &NewSnapshot,
    scratch: &mut Vec<String>,
) -> Result<Snapshot> {
    let parent = metadata.snapshot_for_ref(&new.branch).or_else(|| metadata.snapshot_for_ref(MAIN_BRANCH));
    let updated_ms = match &delta.base {
        Base::New(_) => 0,
        Base::Existing(state) => state.metadata.last_updated_ms(),
    };
    let attempt = Attempt {
        table,
        store: on.core.store.as_ref(),
        manifests: on.manifests,
        metadata,
        parent,
        run_id: on.run_id,
        number: on.attempt,
        snapshot_id: on.snapshot_id,
        new,
        // A clock that was set back must not make the history run backwards.
        timestamp_ms: (on.core.clock)().max(updated_ms),
    };
    let (snapshot, written) = attempt.write().await;
    scratch.extend(written);
    snapshot
}

/// What must hold for the request to land: the table is the same one, and everything that the change was worked out from is as it was.
fn requirements(delta: &Delta) -> Vec<TableRequirement> {
    let Base::Existing(state) = &delta.base else { return vec![TableRequirement::NotExist] };
    let metadata = &state.metadata;
    let mut requires = delta.requires.clone();
    if let Some(new) = &delta.snapshot {
        requires.push(TableRequirement::RefSnapshotIdMatch {
            r#ref: new.branch.clone(),
            snapshot_id: metadata.snapshot_for_ref(&new.branch).map(|snapshot| snapshot.snapshot_id()),
        });
    }
    if delta.snapshot.is_some() || delta.schema.is_some() || delta.spec.is_some() || delta.sort_order.is_some() {
        requires.push(TableRequirement::DefaultSpecIdMatch { default_spec_id: metadata.default_partition_spec_id() });
        requires.push(TableRequirement::CurrentSchemaIdMatch { current_schema_id: metadata.current_schema_id() });
    }
    if delta.schema.is_some() {
        requires.push(TableRequirement::LastAssignedFieldIdMatch { last_assigned_field_id: metadata.last_column_id() });
    }
    if delta.spec.is_some() {
        requires.push(TableRequirement::LastAssignedPartitionIdMatch {
            last_assigned_partition_id: metadata.last_partition_id(),
        });
    }
    if delta.sort_order.is_some() {
        requires.push(TableRequirement::DefaultSortOrderIdMatch {
            default_sort_order_id: metadata.default_sort_order_id(),
        });
    }
    requires
}
