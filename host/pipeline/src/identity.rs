//! The load id of a window for any content, and what a window says that is loaded already or only planned.

use crate::contract::OnDrift;
use crate::load_id::LoadIdentity;
use crate::merge_key::MergeKey;
use crate::ports::{LoadRecord, SourceObject, Split, Target};
use crate::progress::Start;
use crate::report::{Status, WindowReport};
use crate::run::{OneWindow, Ports};
use crate::window::Window;

/// The load id of this window for any content.
pub(crate) struct Identity<'a> {
    source: String,
    dataset: &'a str,
    window: &'a str,
    source_config: &'a str,
    cleaners: Vec<(String, String)>,
    options: Vec<String>,
    forced_over: Option<&'a str>,
}

impl<'a> Identity<'a> {
    pub fn new(
        one: &OneWindow<'a>,
        ports: &Ports<'_>,
        key: &MergeKey,
        start: &Start,
        standing: Option<&'a LoadRecord>,
    ) -> Self {
        let cleaners = ports.cleaners.iter().map(|cleaner| (cleaner.plugin().to_string(), cleaner.config().to_owned()));
        Self {
            source: ports.source.plugin().name.clone(),
            dataset: &one.dataset.name,
            window: one.window.map_or("all", Window::key),
            source_config: &one.plan.source_identity,
            cleaners: cleaners.collect(),
            options: options(one, key, start),
            forced_over: standing.filter(|_| one.plan.force).map(|record| record.load_id.as_str()),
        }
    }

    fn load_id(&self, contents: &[(&str, &str)]) -> String {
        let options: Vec<&str> = self.options.iter().map(String::as_str).collect();
        let identity = LoadIdentity {
            source: &self.source,
            dataset: self.dataset,
            window: self.window,
            source_config: self.source_config,
            cleaners: &self.cleaners,
            options: &options,
            forced_over: self.forced_over,
        };
        identity.load_id(contents)
    }

    /// The load id before any download: only when every split is, by its identity, the one that the last load recorded.
    pub fn of_record(&self, splits: &[Split], record: &LoadRecord) -> Option<String> {
        let mut contents = Vec::with_capacity(splits.len());
        for split in splits {
            let mut objects = record.objects.iter().filter(|object| object.split == split.id).peekable();
            let first = objects.peek()?;
            if split.identity.is_none() || first.identity != split.identity {
                return None;
            }
            contents.extend(objects.map(|object| (object.split.as_str(), object.sha256.as_str())));
        }
        Some(self.load_id(&contents))
    }

    pub fn of_objects(&self, objects: &[SourceObject]) -> String {
        let contents: Vec<(&str, &str)> =
            objects.iter().map(|object| (object.split.as_str(), object.sha256.as_str())).collect();
        self.load_id(&contents)
    }
}

/// Options that change rows or columns. Those that take nothing out are not among them: what `freeze` let through is what `evolve` makes of it.
fn options(one: &OneWindow<'_>, key: &MergeKey, start: &Start) -> Vec<String> {
    let mut options = key.options();
    options.extend(start.option());
    if one.plan.metadata_columns {
        options.push("metadata-columns".to_owned());
    }
    let discards = |on_drift: OnDrift| matches!(on_drift, OnDrift::DiscardRow | OnDrift::DiscardValue);
    let contract = &one.plan.contract;
    if discards(contract.default) || contract.columns.values().any(|on_drift| discards(*on_drift)) {
        options.push(format!("contract={}", contract.default));
        options.extend(contract.columns.iter().map(|(column, on_drift)| format!("contract.{column}={on_drift}")));
    }
    options
}

pub(crate) fn already_loaded(report: &mut WindowReport, record: &LoadRecord) {
    report.end(Status::AlreadyLoaded);
    report.snapshot_id = Some(record.snapshot_id);
    report.load_id = Some(record.load_id.clone());
    let by: Vec<&str> = record.plugins.split(',').filter_map(|plugin| plugin.split('=').next()).collect();
    let by = if record.plugins.is_empty() { "an earlier run".to_owned() } else { by.join(", ") };
    report.note = Some(format!("already loaded by {by}; --force reloads"));
}

/// Bytes of all splits, when each announced its own.
pub(crate) fn announced_bytes(splits: &[Split]) -> Option<u64> {
    splits.iter().map(|split| split.bytes).sum()
}

pub(crate) fn describe(splits: &[Split], target: &Target) -> String {
    let size = announced_bytes(splits).map_or_else(|| "size unknown".to_owned(), |bytes| format!("{bytes} bytes"));
    let key = if target.key.is_empty() { String::new() } else { format!(" on {}", target.key.join(", ")) };
    format!("would load {} splits ({size}) into {} by {}{key}", splits.len(), target.table, target.mode.word())
}
