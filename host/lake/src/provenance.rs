//! Where the rows of a snapshot came from: which objects, through which plugins, by which run.

use lakehost_pipeline::ports::{PluginId, SourceObject, TableName};
use serde_json::Value;

use crate::commit::source_objects;
use crate::error::{Error, Result};
use crate::history::{AsOf, SnapshotInfo, resolve, snapshots};
use crate::lake::IcebergLake;

/// What a snapshot says of its origin.
#[derive(Clone, Debug)]
pub struct Provenance {
    pub snapshot: SnapshotInfo,
    /// The objects that were read, when there were few enough to be listed.
    pub objects: Vec<SourceObject>,
    /// Count and hash of the objects, when there were too many.
    pub objects_digest: Option<Value>,
    /// The components that made the rows.
    pub plugins: Vec<PluginId>,
    /// The run as its report has it; none when its record is gone or another program wrote the snapshot.
    pub run: Option<Value>,
}

impl IcebergLake {
    /// The origin of a snapshot.
    ///
    /// # Errors
    /// `LH0101` when the table has no snapshot there.
    pub fn provenance(&self, table: &TableName, at: &AsOf) -> Result<Provenance> {
        let state = self.state(table)?;
        let missing = || Error::NoSnapshot { table: table.to_string(), wanted: at.to_string() };
        let raw = resolve(&state, Some(at))?.ok_or_else(missing)?;
        let snapshot = snapshots(&state)
            .into_iter()
            .find(|snapshot| snapshot.snapshot_id == raw.snapshot_id())
            .ok_or_else(missing)?;
        let objects = source_objects(raw.summary());
        let objects_digest =
            snapshot.load.get("source").and_then(|text| serde_json::from_str(text).ok()).filter(Value::is_object);
        let plugins = snapshot.load.get("plugins").map(|text| plugins(text)).unwrap_or_default();
        let run = snapshot.load.get("run-id").and_then(|run_id| self.run_record(run_id));
        Ok(Provenance { objects, objects_digest, plugins, run, snapshot })
    }

    /// What the warehouse keeps of a run, when it still does.
    fn run_record(&self, run_id: &str) -> Option<Value> {
        crate::location::check_run_id(run_id).ok()?;
        let location = format!("{}/_lakehost/runs/{run_id}.json", self.core.warehouse.root());
        serde_json::from_slice(&self.core.store.get(&location).ok()?).ok()
    }
}

/// `nyc_tlc@0.1.0=9f31…,trip_cleaner@0.1.0=0011…`
fn plugins(recorded: &str) -> Vec<PluginId> {
    let one = |text: &str| {
        let (name, sha256) = text.rsplit_once('=')?;
        let (name, version) = name.rsplit_once('@')?;
        Some(PluginId { name: name.to_owned(), version: version.to_owned(), sha256: sha256.to_owned() })
    };
    recorded.split(',').filter_map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plugins_are_read_back_from_a_summary() {
        let found = plugins("nyc_tlc@0.1.0=9f31,odd,trip_cleaner@0.2.0=0011");
        let shown: Vec<String> = found.iter().map(|plugin| format!("{plugin} {}", plugin.sha256)).collect();
        assert_eq!(shown, ["nyc_tlc@0.1.0 9f31", "trip_cleaner@0.2.0 0011"]);
        assert!(plugins("").is_empty());
    }
}
