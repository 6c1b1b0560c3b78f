//! The same files in fewer manifests, neighbours together: a reader of one window then opens one of them.

use std::collections::BTreeMap;

use async_trait::async_trait;
use iceberg::spec::{ManifestContentType, Operation};
use lakehost_pipeline::ports::TableName;

use crate::catalog::{Base, TableState};
use crate::commit::{Action, Delta, Manifests, NewSnapshot, On, Step, is_live, of_action};
use crate::error::Result;
use crate::lake::IcebergLake;

/// So many files a manifest lists when all are written anew.
const FILES: u64 = 2_048;

impl IcebergLake {
    /// Lists the live files of a table in as few manifests as they need; how many manifests there were and are.
    ///
    /// # Errors
    /// Those of a commit.
    pub fn rewrite_manifests(&self, table: &TableName) -> Result<(usize, usize)> {
        let count = || -> Result<usize> { self.core.block_on(count(self, &self.state(table)?)) };
        let before = count()?;
        self.act(&Regroup { table }, "rewrite-manifests")?;
        Ok((before, count()?))
    }
}

async fn count(lake: &IcebergLake, state: &TableState) -> Result<usize> {
    let manifests = Manifests::new(lake.core.io.clone());
    Ok(manifests.list(&state.metadata, state.main()).await?.iter().filter(|manifest| is_live(manifest)).count())
}

struct Regroup<'a> {
    table: &'a TableName,
}

#[async_trait]
impl Action for Regroup<'_> {
    fn table(&self) -> &TableName {
        self.table
    }

    async fn prepare(&self, on: &On<'_>) -> Result<Step> {
        let Some(head) = on.head else { return Ok(Step::Nothing { snapshot_id: None }) };
        let list = on.manifests.list(&head.metadata, head.main()).await?;
        let mut by_spec: BTreeMap<i32, (u64, u64)> = BTreeMap::new();
        for manifest in
            list.iter().filter(|manifest| manifest.content == ManifestContentType::Data && is_live(manifest))
        {
            let (count, files) = by_spec.entry(manifest.partition_spec_id).or_default();
            *count += 1;
            let live = manifest.added_files_count.unwrap_or(0) + manifest.existing_files_count.unwrap_or(0);
            *files += u64::from(live);
        }
        if by_spec.values().all(|(count, files)| *count <= files.div_ceil(FILES)) {
            return Ok(Step::Nothing { snapshot_id: None });
        }
        let mut delta = Delta::on(Base::Existing(head.clone()));
        delta.snapshot = Some(NewSnapshot {
            operation: Some(Operation::Replace),
            regroup: true,
            ..NewSnapshot::on_main(of_action("rewrite-manifests", on.run_id, &[]))
        });
        Ok(Step::Change(Box::new(delta)))
    }
}
