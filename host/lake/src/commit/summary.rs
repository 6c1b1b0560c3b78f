//! The summary of a snapshot: Iceberg's counters, and what lakehost records of the load.

use std::collections::{HashMap, HashSet};

use iceberg::spec::{DataContentType, DataFile, ManifestContentType, ManifestFile, Operation, Struct, Summary};
use lakehost_pipeline::ports::{CommitRequest, SourceObject, Target};
use sha2::{Digest, Sha256};

use super::manifests::live_files;
use crate::source_state;

/// How the keys of this host begin.
pub const PREFIX: &str = "lakehost.";
/// `load`, `merge`, `delete`, `compact` and so on.
pub const ACTION: &str = "action";
/// The action of a replay.
pub const REPLAY: &str = "replay";
/// The key of the property that a load sets; see [`crate::properties`].
pub const LOADED_KEY: &str = "loaded-key";
/// More sources than this are counted and hashed, not listed.
const SOURCE_LIMIT: usize = 10;
/// A longer configuration is not recorded.
const CONFIG_BYTES: usize = 3 << 10;
/// All `lakehost.` keys and values of one snapshot together.
const LIMIT_BYTES: usize = 8 << 10;

/// What a load records in its snapshot: `lakehost.` keys with their values.
pub fn of_load(request: &CommitRequest, target: &Target, key: &str) -> Vec<(String, String)> {
    let mut pairs = vec![
        (ACTION, "load".to_owned()),
        ("mode", target.mode.word().to_owned()),
        ("load-id", request.load_id.clone()),
        (LOADED_KEY, key.to_owned()),
        ("run-id", request.run_id.clone()),
        ("rows-read", request.rows_read.to_string()),
        ("rows-written", request.rows_written.to_string()),
        ("rows-rejected", request.rows_rejected.to_string()),
        ("config-sha256", request.config_sha256.clone()),
    ];
    if let Some(window) = &target.window {
        pairs.push(("window", window.label().to_owned()));
    }
    if let Some(pipeline) = &request.pipeline {
        pairs.push(("pipeline", pipeline.clone()));
    }
    for (name, counts) in [("rejected-by", &request.rejected_by), ("values-discarded", &request.values_discarded)] {
        if !counts.is_empty() {
            pairs.push((name, serde_json::to_string(counts).unwrap_or_default()));
        }
    }
    if !request.checks.is_empty() {
        let passed = request.checks.iter().filter(|check| check.passed()).count();
        let failed = request.checks.iter().filter(|check| check.stops()).count();
        let warned = request.checks.len() - passed - failed;
        pairs.push(("checks", format!("{passed} passed, {warned} warned, {failed} failed")));
    }
    pairs.extend(request.progress.iter().flat_map(|progress| source_state::recorded(&target.owner.owner, progress)));
    let plugins: Vec<String> = request.plugins.iter().map(|plugin| format!("{plugin}={}", plugin.sha256)).collect();
    pairs.push(("plugins", plugins.join(",")));
    // Half of it would be none.
    if !request.config.is_empty() && request.config.len() <= CONFIG_BYTES {
        pairs.push(("config", request.config.clone()));
    }
    let used: usize = pairs.iter().map(|(name, value)| PREFIX.len() + name.len() + value.len()).sum();
    let room = LIMIT_BYTES.saturating_sub(used + PREFIX.len() + "source".len());
    pairs.push(("source", sources(&request.objects, room)));
    prefixed(pairs)
}

/// What a replay of rejected rows records: as a load does, but it is none, and what `key` says stays that of `replayed`.
pub fn of_replay(request: &CommitRequest, target: &Target, key: &str, replayed: &str) -> Vec<(String, String)> {
    let mut pairs = of_load(request, target, key);
    pairs.retain(|(name, _)| *name != format!("{PREFIX}mode"));
    for (name, value) in &mut pairs {
        if *name == format!("{PREFIX}{ACTION}") {
            REPLAY.clone_into(value);
        } else if *name == format!("{PREFIX}load-id") {
            *name = format!("{PREFIX}replay-id");
        }
    }
    if !replayed.is_empty() {
        pairs.push((format!("{PREFIX}replayed-load-id"), replayed.to_owned()));
    }
    cut(&mut pairs);
    pairs
}

/// What an action other than a load records.
pub fn of_action(action: &str, run_id: &str, more: &[(&'static str, String)]) -> Vec<(String, String)> {
    let mut pairs = vec![(ACTION, action.to_owned()), ("run-id", run_id.to_owned())];
    pairs.extend(more.iter().cloned());
    prefixed(pairs)
}

fn prefixed(pairs: Vec<(&str, String)>) -> Vec<(String, String)> {
    let mut pairs: Vec<(String, String)> =
        pairs.into_iter().map(|(name, value)| (format!("{PREFIX}{name}"), value)).collect();
    cut(&mut pairs);
    pairs
}

/// A `lakehost.` value of a snapshot, by its name without the prefix.
pub fn value<'a>(summary: &'a Summary, name: &str) -> Option<&'a str> {
    summary.additional_properties.get(&format!("{PREFIX}{name}")).map(String::as_str)
}

/// The objects as JSON, or their count and hash.
fn sources(objects: &[SourceObject], room_bytes: usize) -> String {
    let listed = serde_json::to_string(objects).unwrap_or_default();
    if objects.len() <= SOURCE_LIMIT && listed.len() <= room_bytes {
        return listed;
    }
    let mut hash = Sha256::new();
    for object in objects {
        hash.update(object.split.as_bytes());
        hash.update([0]);
        hash.update(object.sha256.as_bytes());
        hash.update([0]);
    }
    let hex = hex::encode(hash.finalize());
    format!("{{\"count\":{},\"sha256\":\"{hex}\"}}", objects.len())
}

/// The objects that a snapshot lists; none when there were too many.
pub fn source_objects(summary: &Summary) -> Vec<SourceObject> {
    summary
        .additional_properties
        .get(&format!("{PREFIX}source"))
        .and_then(|text| serde_json::from_str(text).ok())
        .unwrap_or_default()
}

/// Names of pipelines and plugins come from outside and could be long; the longest value gives way.
fn cut(pairs: &mut [(String, String)]) {
    loop {
        let total: usize = pairs.iter().map(|(name, value)| name.len() + value.len()).sum();
        let Some(excess) = total.checked_sub(LIMIT_BYTES).filter(|excess| *excess > 0) else { return };
        let Some((_, value)) = pairs.iter_mut().max_by_key(|(_, value)| value.len()) else { return };
        let mut end = value.len().saturating_sub(excess);
        while !value.is_char_boundary(end) {
            end -= 1;
        }
        value.truncate(end);
    }
}

/// Counts what a snapshot adds and removes.
#[derive(Debug, Default)]
pub struct Changes {
    added: Files,
    removed: Files,
    partitions: HashSet<(i32, Struct)>,
}

#[derive(Debug, Default)]
struct Files {
    data: u64,
    records: u64,
    bytes: u64,
    deletes: u64,
    position_delete_files: u64,
    equality_delete_files: u64,
    position_deletes: u64,
    equality_deletes: u64,
}

impl Files {
    fn count(&mut self, file: &DataFile) {
        self.bytes += file.file_size_in_bytes();
        match file.content_type() {
            DataContentType::Data => {
                self.data += 1;
                self.records += file.record_count();
            }
            DataContentType::PositionDeletes => {
                self.deletes += 1;
                self.position_delete_files += 1;
                self.position_deletes += file.record_count();
            }
            DataContentType::EqualityDeletes => {
                self.deletes += 1;
                self.equality_delete_files += 1;
                self.equality_deletes += file.record_count();
            }
        }
    }
}

impl Changes {
    pub fn add(&mut self, spec_id: i32, file: &DataFile) {
        self.added.count(file);
        self.touch(spec_id, file);
    }

    pub fn remove(&mut self, spec_id: i32, file: &DataFile) {
        self.removed.count(file);
        self.touch(spec_id, file);
    }

    fn touch(&mut self, spec_id: i32, file: &DataFile) {
        if !file.partition().fields().is_empty() {
            self.partitions.insert((spec_id, file.partition().clone()));
        }
    }

    /// What Iceberg calls such a change.
    fn operation(&self) -> Operation {
        match (self.added.data > 0, self.removed.data + self.removed.deletes > 0) {
            (_, false) => Operation::Append,
            (true, true) => Operation::Overwrite,
            (false, true) => Operation::Delete,
        }
    }

    /// The whole summary of a snapshot on top of `parent` whose manifests are `manifests`; `operation`: when the files do not tell it.
    pub fn summary(
        &self,
        parent: Option<&Summary>,
        manifests: &[ManifestFile],
        operation: Option<Operation>,
        own: &[(String, String)],
    ) -> Summary {
        let mut properties: HashMap<String, String> = own.iter().cloned().collect();
        let (added, removed) = (&self.added, &self.removed);
        let counters = [
            ("added-data-files", added.data),
            ("deleted-data-files", removed.data),
            ("added-records", added.records),
            ("deleted-records", removed.records),
            ("added-files-size", added.bytes),
            ("removed-files-size", removed.bytes),
            ("added-delete-files", added.deletes),
            ("removed-delete-files", removed.deletes),
            ("removed-position-delete-files", removed.position_delete_files),
            ("removed-equality-delete-files", removed.equality_delete_files),
            ("removed-position-deletes", removed.position_deletes),
            ("removed-equality-deletes", removed.equality_deletes),
            ("changed-partition-count", self.partitions.len() as u64),
        ];
        properties.extend(
            counters
                .iter()
                .filter(|(_, count)| *count > 0)
                .map(|(name, count)| ((*name).to_owned(), count.to_string())),
        );
        let delete_files = files(manifests, ManifestContentType::Deletes);
        // Without delete files nothing is deleted but what is gone from the data files.
        let no_deletes = delete_files.filter(|files| *files == 0);
        let totals = [
            ("total-data-files", added.data, removed.data, files(manifests, ManifestContentType::Data)),
            ("total-records", added.records, removed.records, rows(manifests)),
            ("total-files-size", added.bytes, removed.bytes, None),
            ("total-delete-files", added.deletes, removed.deletes, delete_files),
            ("total-position-deletes", added.position_deletes, removed.position_deletes, no_deletes),
            ("total-equality-deletes", added.equality_deletes, removed.equality_deletes, no_deletes),
        ];
        for (name, plus, minus, counted) in totals {
            // The manifests know best; else the parent's total counts on, when it has one.
            let total = counted.or_else(|| {
                let before = match parent {
                    Some(parent) => parent.additional_properties.get(name)?.parse::<u64>().ok()?,
                    None => 0,
                };
                (before + plus).checked_sub(minus)
            });
            if let Some(total) = total {
                properties.insert(name.to_owned(), total.to_string());
            }
        }
        Summary { operation: operation.unwrap_or_else(|| self.operation()), additional_properties: properties }
    }
}

fn files(manifests: &[ManifestFile], content: ManifestContentType) -> Option<u64> {
    manifests.iter().filter(|manifest| manifest.content == content).map(live_files).sum()
}

fn rows(manifests: &[ManifestFile]) -> Option<u64> {
    manifests
        .iter()
        .filter(|manifest| manifest.content == ManifestContentType::Data)
        .map(|manifest| Some(manifest.added_rows_count? + manifest.existing_rows_count?))
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use lakehost_pipeline::ports::{Owner, PluginId, TableName, WriteMode};

    fn request(objects: usize, pipeline: &str) -> CommitRequest {
        let object = |number: usize| SourceObject {
            split: format!("s{number}"),
            identity: None,
            url: format!("https://example.com/{number}.parquet"),
            etag: Some("\"e\"".to_owned()),
            length: 7,
            sha256: "ab".repeat(32),
            raw: None,
        };
        CommitRequest {
            load_id: "l".repeat(64),
            run_id: "run".to_owned(),
            pipeline: Some(pipeline.to_owned()),
            objects: (0..objects).map(object).collect(),
            plugins: vec![PluginId { name: "tlc".into(), version: "0.1.0".into(), sha256: "cd".repeat(32) }],
            config_sha256: "ef".repeat(32),
            rows_read: 10,
            rows_written: 9,
            rows_rejected: 1,
            ..CommitRequest::default()
        }
    }

    fn of(request: &CommitRequest) -> Vec<(String, String)> {
        let target = Target {
            table: TableName::parse("raw.t").unwrap(),
            schema: std::sync::Arc::new(arrow_schema::Schema::empty()),
            partition: Vec::new(),
            window: None,
            mode: WriteMode::Append,
            owner: Owner { owner: "o".into(), granularity: lakehost_pipeline::Granularity::None, cleaners: "-".into() },
            contract: Default::default(),
            renames: Vec::new(),
            key: Vec::new(),
            order: None,
            sort: Vec::new(),
        };
        of_load(request, &target, "o:all")
    }

    fn value(summary: &[(String, String)], name: &str) -> String {
        summary.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone()).unwrap_or_default()
    }

    #[test]
    fn few_sources_are_listed_and_many_are_hashed() {
        let few = of(&request(10, "p"));
        let summary = Summary { operation: Operation::Append, additional_properties: few.iter().cloned().collect() };
        assert_eq!(source_objects(&summary).len(), 10);
        let many = of(&request(11, "p"));
        assert!(value(&many, "lakehost.source").starts_with("{\"count\":11,\"sha256\":\""));
        assert_eq!(value(&many, "lakehost.plugins"), format!("tlc@0.1.0={}", "cd".repeat(32)));
    }

    #[test]
    fn the_whole_stays_under_eight_kib() {
        for (objects, pipeline) in [(10, "ä".repeat(20_000)), (0, "p".repeat(9_000)), (10, "p".repeat(7_000))] {
            let summary = of(&request(objects, &pipeline));
            let bytes: usize = summary.iter().map(|(name, value)| name.len() + value.len()).sum();
            assert!(bytes <= LIMIT_BYTES, "{bytes}");
            assert_eq!(value(&summary, "lakehost.load-id").len(), 64);
        }
    }
}
