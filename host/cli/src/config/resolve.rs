//! What flags, environment, file and defaults mean together: a [`Request`] with every path resolved and nothing left to look up.
//!
//! Order: flag, then `LAKEHOST__SECTION__KEY`, then file, then default. What needs the plugin itself (its settings, its windows) is decided once
//! it is loaded, from the parts kept here.

use std::path::PathBuf;

use lakehost_columnar::{PartitionField, SortKey, Verify};
use lakehost_lake::Thresholds;
use lakehost_pipeline::ports::{TableName, WriteMode};
use lakehost_pipeline::{Check, Contract, OnDrift};

use super::file::{self, File, Loaded, Pipeline, SchemaContract, Write};

pub use super::place::{Where, place, place_in};
use super::sort::sort_key;
use super::{checks, maintenance, nearest, partition};
use crate::args::{Place, Publish, RunArguments, VerifyArgument, WriteModeArgument};
use crate::error::Error;

/// A component as it was named.
#[derive(Clone, Debug, PartialEq)]
pub struct PluginRequest {
    /// As written: a path, or the name of one that this binary carries.
    pub name: String,
    /// Where a relative path starts.
    pub folder: PathBuf,
    /// Settings of the file.
    pub table: toml::Table,
}

/// What the operator lets the source reach.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allow {
    /// `allow` of the pipeline, when it has the key: then a shipped plugin gets no more than this either.
    pub pipeline: Option<PipelineAllow>,
    /// `--allow`.
    pub flags: Vec<String>,
}

/// `allow = […]` of a pipeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PipelineAllow {
    /// Name of the pipeline.
    pub name: String,
    /// The file that it stands in.
    pub file: String,
    pub values: Vec<String>,
}

impl Allow {
    /// All values, those of the pipeline first.
    pub fn values(&self) -> Vec<String> {
        let written = self.pipeline.iter().flat_map(|pipeline| &pipeline.values);
        written.chain(&self.flags).cloned().collect()
    }
}

/// What a run was asked to do.
#[derive(Clone, Debug, PartialEq)]
pub struct Request {
    pub pipeline: Option<String>,
    pub source: PluginRequest,
    pub cleaners: Vec<PluginRequest>,
    pub allow: Allow,
    pub table: Option<TableName>,
    pub mode: Option<WriteMode>,
    /// Key columns of a merge; empty: the source's own.
    pub key: Vec<String>,
    pub order_by: Option<String>,
    pub sort: Vec<SortKey>,
    pub partition: Vec<PartitionField>,
    pub verify: Verify,
    pub metadata_columns: bool,
    pub raw_landing: bool,
    pub max_rejected: Option<f64>,
    pub contract: Contract,
    /// (new, old).
    pub renames: Vec<(String, String)>,
    pub checks: Vec<Check>,
    pub quarantine: bool,
    pub publish: Publish,
    /// When the table is worked on after the run; `None`: never.
    pub maintenance: Option<Thresholds>,
    /// The dbt project whose models follow the load, absolute.
    pub models: Option<PathBuf>,
    pub place: Where,
}

/// What `run` was asked to do.
pub fn run(arguments: &RunArguments) -> Result<Request, Error> {
    let loaded = file::load(arguments.place.file.as_deref())?;
    request(arguments, &loaded)
}

fn request(arguments: &RunArguments, loaded: &Loaded) -> Result<Request, Error> {
    let place = place_in(&arguments.place, arguments.memory.as_deref(), loaded)?;
    let pipeline = arguments.pipeline.as_deref().map(|name| pipeline(name, &loaded.file, loaded)).transpose()?;
    let typed =
        |name: &String| PluginRequest { name: name.clone(), folder: PathBuf::from("."), table: toml::Table::new() };
    let written = |name: &String, table: &toml::Table| PluginRequest {
        name: name.clone(),
        folder: loaded.folder().to_owned(),
        table: table.clone(),
    };
    let source = match (&arguments.plugin, pipeline) {
        (Some(plugin), _) => typed(plugin),
        (None, Some(pipeline)) => written(&pipeline.plugin, &pipeline.config),
        (None, None) => return Err(Error::usage("neither a pipeline nor --plugin is given")),
    };
    let cleaners = match pipeline {
        Some(pipeline) if arguments.plugins.cleaner.is_empty() => {
            pipeline.cleaner.iter().map(|cleaner| written(&cleaner.plugin, &cleaner.config)).collect()
        }
        _ => arguments.plugins.cleaner.iter().map(typed).collect(),
    };
    let written_allow = pipeline.and_then(|pipeline| pipeline.allow.clone());
    let allow = Allow {
        pipeline: written_allow.map(|values| PipelineAllow {
            name: arguments.pipeline.clone().unwrap_or_default(),
            file: loaded.place(),
            values,
        }),
        flags: arguments.allow.clone(),
    };
    let in_file = |message: String| Error::Config { place: loaded.place(), message, hint: None };
    let table = match (&arguments.table, pipeline.and_then(|pipeline| pipeline.table.as_deref())) {
        (Some(flag), _) => Some(table_name(flag)?),
        (None, Some(key)) => Some(TableName::parse(key).map_err(|reason| in_file(format!("table: {reason}")))?),
        (None, None) => None,
    };
    let partition = match (&arguments.partition_by, pipeline) {
        (Some(flag), _) => {
            partition::parse(flag).map_err(|reason| Error::usage(format!("--partition-by: {reason}")))?
        }
        (None, Some(pipeline)) if !pipeline.partition_by.is_empty() => {
            partition::parse(&pipeline.partition_by.join(","))
                .map_err(|reason| in_file(format!("partition_by: {reason}")))?
        }
        _ => Vec::new(),
    };
    Ok(Request {
        pipeline: arguments.pipeline.clone(),
        source,
        cleaners,
        allow,
        table,
        mode: mode(arguments.write_mode, pipeline.and_then(|pipeline| pipeline.write)),
        key: match pipeline {
            Some(pipeline) if arguments.rows.key.is_empty() => pipeline.key.clone(),
            _ => arguments.rows.key.clone(),
        },
        sort: match pipeline {
            Some(pipeline) if arguments.rows.sort_by.is_empty() => sort_keys(&pipeline.sort_by)?,
            _ => sort_keys(&arguments.rows.sort_by)?,
        },
        order_by: arguments.rows.order_by.clone().or_else(|| pipeline.and_then(|pipeline| pipeline.order_by.clone())),
        partition,
        verify: match (arguments.verify, pipeline.and_then(|pipeline| pipeline.verify)) {
            (Some(VerifyArgument::Footer), _) | (None, Some(file::Verify::Footer)) => Verify::Footer,
            _ => Verify::Pages,
        },
        raw_landing: arguments.raw_landing || pipeline.is_some_and(|pipeline| pipeline.raw_landing),
        metadata_columns: arguments.metadata_columns || pipeline.is_some_and(|pipeline| pipeline.metadata_columns),
        max_rejected: pipeline.and_then(|pipeline| pipeline.max_rejected).map(|share| share.0),
        contract: pipeline.map(contract).unwrap_or_default(),
        renames: pipeline.map(|pipeline| pipeline.rename.clone().into_iter().collect()).unwrap_or_default(),
        checks: pipeline
            .map_or(Ok(Vec::new()), |pipeline| {
                checks::resolve(&pipeline.check, pipeline.models.as_deref(), loaded.folder())
            })
            .map_err(in_file)?,
        quarantine: !arguments.no_quarantine && pipeline.and_then(|pipeline| pipeline.quarantine).unwrap_or(true),
        publish: arguments.publish.or_else(|| pipeline.and_then(|pipeline| pipeline.publish)).unwrap_or_default(),
        maintenance: pipeline
            .map_or(Ok(None), |pipeline| maintenance::resolve(pipeline.maintenance.as_ref()))
            .map_err(in_file)?,
        models: pipeline
            .and_then(|pipeline| pipeline.models.as_deref())
            .map(|name| project(name, loaded))
            .transpose()?,
        place,
    })
}

/// The one pipeline that says it loads a table.
pub fn pipeline_of(arguments: &Place, table: &TableName) -> Result<String, Error> {
    let loaded = file::load(arguments.file.as_deref())?;
    let name = table.to_string();
    let loads = loaded.file.pipeline.iter().filter(|(_, pipeline)| pipeline.table.as_ref() == Some(&name));
    let names: Vec<&str> = loads.map(|(pipeline, _)| pipeline.as_str()).collect();
    match names.as_slice() {
        [only] => Ok((*only).to_owned()),
        [] => Err(Error::Usage {
            message: format!("no pipeline of {} says `table = \"{table}\"`", loaded.place()),
            hint: Some("name one with --pipeline, or the source with --plugin FILE and its cleaners".to_owned()),
        }),
        several => Err(Error::Usage {
            message: format!("{table} is loaded by the pipelines {}", several.join(", ")),
            hint: Some("name one with --pipeline".to_owned()),
        }),
    }
}

/// A table that was named on the command line.
pub fn table_name(text: &str) -> Result<TableName, Error> {
    TableName::parse(text)
        .map_err(|reason| Error::Usage { message: reason, hint: Some("write it as raw.green_trips".to_owned()) })
}

fn pipeline<'f>(name: &str, file: &'f File, loaded: &Loaded) -> Result<&'f Pipeline, Error> {
    file.pipeline.get(name).ok_or_else(|| {
        let known = file.pipeline.keys().map(String::as_str);
        Error::PipelineUnknown {
            name: name.escape_debug().to_string(),
            file: loaded.path.clone(),
            nearest: nearest(name, known.clone()).map(str::to_owned),
            known: known.map(str::to_owned).collect(),
        }
    })
}

/// What upstream may change: nothing, where the pipeline does not say.
fn contract(pipeline: &Pipeline) -> Contract {
    let on_drift = |word: SchemaContract| match word {
        SchemaContract::Evolve => OnDrift::Evolve,
        SchemaContract::Freeze => OnDrift::Freeze,
        SchemaContract::DiscardRow => OnDrift::DiscardRow,
        SchemaContract::DiscardValue => OnDrift::DiscardValue,
    };
    Contract {
        default: pipeline.schema.map(on_drift).unwrap_or_default(),
        columns: pipeline.columns.iter().map(|(name, column)| (name.clone(), on_drift(column.schema))).collect(),
    }
}

/// The folder of a dbt project, which the file names relative to itself.
fn project(name: &str, loaded: &Loaded) -> Result<PathBuf, Error> {
    let folder = loaded.folder().join(name);
    let missing = |_| Error::Config {
        place: loaded.place(),
        message: format!("`models` names {}, which is no dbt project: it has no dbt_project.yml", folder.display()),
        hint: Some("write the project's folder, relative to this file, or take the key out".to_owned()),
    };
    // Before the load: finding out afterwards would leave tables without their models.
    std::fs::metadata(folder.join("dbt_project.yml")).map_err(missing)?;
    std::path::absolute(&folder).map_err(|error| Error::file(&folder, "located", error))
}

fn sort_keys(texts: &[String]) -> Result<Vec<SortKey>, Error> {
    texts.iter().map(|text| sort_key(text)).collect()
}

fn mode(flag: Option<WriteModeArgument>, key: Option<Write>) -> Option<WriteMode> {
    match (flag, key) {
        (Some(WriteModeArgument::Merge), _) | (None, Some(Write::Merge)) => Some(WriteMode::Merge),
        (Some(WriteModeArgument::ReplaceWindow), _) | (None, Some(Write::ReplaceWindow)) => {
            Some(WriteMode::ReplaceWindow)
        }
        (Some(WriteModeArgument::Append), _) | (None, Some(Write::Append)) => Some(WriteMode::Append),
        (Some(WriteModeArgument::FullRefresh), _) | (None, Some(Write::FullRefresh)) => Some(WriteMode::FullRefresh),
        (None, None) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use lakehost_pipeline::Diagnostic;

    use super::*;

    const FILE: &str = r#"
[profile.local]
warehouse = "store"
memory = "256MiB"
[profile.big]
warehouse = "file:///big"
[pipeline.trips]
plugin = "nyc_tlc.wasm"
config = { dataset = "green" }
allow = ["https://a/"]
table = "clean.trips"
write = "append"
partition_by = ["day(pickup)", "bucket(4, id)"]
verify = "footer"
max_rejected = "5%"
[[pipeline.trips.cleaner]]
plugin = "trip_cleaner.wasm"
[pipeline.careful]
plugin = "x.wasm"
schema = "evolve"
quarantine = false
rename = { fee = "Fee" }
[pipeline.careful.columns.junk]
schema = "discard_value"
[[pipeline.careful.check]]
not_null = ["id", "fee"]
[pipeline.merging]
plugin = "x.wasm"
write = "merge"
key = ["id"]
order_by = "at"
[pipeline.checked]
plugin = "x.wasm"
[[pipeline.checked.check]]
severity = "warn"
[pipeline.modelled]
plugin = "x.wasm"
models = "dbt_project"
"#;

    fn loaded() -> Loaded {
        Loaded {
            file: file::parse(FILE, "lakehost.toml").unwrap(),
            path: Some(PathBuf::from("/project/lakehost.toml")),
        }
    }

    fn asked(pipeline: &str) -> RunArguments {
        RunArguments { pipeline: Some(pipeline.to_owned()), ..RunArguments::default() }
    }

    #[test]
    fn a_pipeline_comes_from_the_file() {
        let request = request(&asked("trips"), &loaded()).unwrap();
        assert_eq!(
            (request.place.warehouse.as_path(), request.place.memory_bytes),
            (Path::new("/project/store"), 256 << 20)
        );
        assert_eq!(request.source.folder, Path::new("/project"));
        assert_eq!(request.source.table["dataset"].as_str(), Some("green"));
        assert_eq!(request.cleaners.len(), 1);
        assert_eq!(request.table.map(|table| table.to_string()).as_deref(), Some("clean.trips"));
        assert_eq!(request.mode, Some(WriteMode::Append));
        assert_eq!(request.partition.len(), 2);
        assert_eq!(request.max_rejected, Some(0.05));
        assert!(matches!(request.verify, Verify::Footer));
    }

    #[test]
    fn contract_checks_and_quarantine_come_from_the_file() {
        let careful = request(&asked("careful"), &loaded()).unwrap();
        assert_eq!(careful.contract.of("junk"), OnDrift::DiscardValue);
        assert_eq!(careful.contract.of("other"), OnDrift::Evolve);
        assert_eq!(careful.renames, [("fee".to_owned(), "Fee".to_owned())]);
        assert_eq!((careful.checks.len(), careful.quarantine), (1, false));
        let trips = request(&asked("trips"), &loaded()).unwrap();
        assert_eq!((trips.contract, trips.checks.len(), trips.quarantine), (Contract::default(), 0, true));
    }

    #[test]
    fn a_merge_has_a_key_from_the_file_or_from_flags() {
        let merging = request(&asked("merging"), &loaded()).unwrap();
        assert_eq!(
            (merging.mode, merging.key, merging.order_by),
            (Some(WriteMode::Merge), vec!["id".into()], Some("at".into()))
        );
        let mut arguments = asked("merging");
        arguments.rows = crate::args::RowArguments {
            key: vec!["a".into(), "b".into()],
            order_by: Some("c".into()),
            sort_by: vec!["-c".into(), "d".into()],
        };
        let merging = request(&arguments, &loaded()).unwrap();
        assert_eq!((merging.key, merging.order_by), (vec!["a".to_owned(), "b".to_owned()], Some("c".to_owned())));
        let sort: Vec<_> = merging.sort.iter().map(|key| (key.column.as_str(), key.descending)).collect();
        assert_eq!(sort, [("c", true), ("d", false)]);
    }

    #[test]
    fn flags_win() {
        let mut arguments = asked("trips");
        arguments.place.profile = Some("big".to_owned());
        arguments.memory = Some("1GiB".to_owned());
        arguments.table = Some("raw.other".to_owned());
        arguments.write_mode = Some(WriteModeArgument::FullRefresh);
        arguments.verify = Some(VerifyArgument::Pages);
        arguments.allow = vec!["https://b/".to_owned()];
        arguments.plugins.cleaner = vec!["other.wasm".to_owned()];
        arguments.partition_by = Some("region".to_owned());
        let request = request(&arguments, &loaded()).unwrap();
        assert_eq!((request.place.warehouse.as_path(), request.place.memory_bytes), (Path::new("/big"), 1 << 30));
        assert_eq!(request.allow.values(), ["https://a/", "https://b/"]);
        assert_eq!(request.allow.pipeline.map(|allow| (allow.name, allow.values.len())), Some(("trips".to_owned(), 1)));
        assert_eq!(request.cleaners.len(), 1);
        assert_eq!(request.cleaners[0].name, "other.wasm");
        assert_eq!(request.partition.len(), 1);
        assert_eq!(request.mode, Some(WriteMode::FullRefresh));
        assert!(matches!(request.verify, Verify::Pages));
    }

    #[test]
    fn an_ad_hoc_run_needs_no_file() {
        let arguments = RunArguments { plugin: Some("nyc_tlc.wasm".to_owned()), ..RunArguments::default() };
        let request = request(&arguments, &Loaded::default()).unwrap();
        assert!(request.place.warehouse.ends_with("warehouse") && request.place.warehouse.is_absolute());
        assert_eq!(request.place.memory_bytes, 512 << 20);
        assert_eq!((request.table, request.mode, request.pipeline), (None, None, None));
    }

    fn check(change: impl FnOnce(&mut RunArguments), expected: &str) {
        let mut arguments = asked("trips");
        change(&mut arguments);
        let got = match request(&arguments, &loaded()) {
            Ok(_) => "fine".to_owned(),
            Err(error) => format!("{}: {error}; {}", error.code(), error.hint().unwrap_or_default()),
        };
        assert_eq!(got, expected);
    }

    #[test]
    fn what_cannot_be_is_refused() {
        check(|a| a.pipeline = Some("trip".to_owned()), "LH0103: no pipeline `trip`; did you mean `trips`?");
        check(
            |a| a.pipeline = Some("checked".to_owned()),
            "LH0102: check 1: it says not what to look at: not_null, unique, accepted_values, range, regex, row_count, freshness, foreign_key, sql or dbt; ",
        );
        check(
            |a| a.pipeline = Some("modelled".to_owned()),
            "LH0102: `models` names /project/dbt_project, which is no dbt project: it has no dbt_project.yml; write the project's folder, relative to this file, or take the key out",
        );
        check(
            |a| a.place.profile = Some("bigg".to_owned()),
            "LH0108: no profile `bigg` in /project/lakehost.toml; did you mean `big`?",
        );
        check(
            |a| a.place.warehouse = Some("gs://bucket/x".to_owned()),
            "LH0101: --warehouse lies on gs://, which lakehost does not know; write it as ./warehouse, file:///data/warehouse or s3://bucket/prefix",
        );
        check(
            |a| a.place.warehouse = Some("s3://bucket/x".to_owned()),
            "LH0108: the warehouse s3://bucket/x has no catalog; a catalog file cannot lie in a bucket: name one with `catalog` in the profile, or --catalog",
        );
        check(|a| a.memory = Some("1MiB".to_owned()), "LH0101: --memory of 1MiB is too small; give at least 64MiB");
        check(
            |a| a.table = Some("trips".to_owned()),
            "LH0101: `trips` is not NAMESPACE.TABLE; write it as raw.green_trips",
        );
    }
}
