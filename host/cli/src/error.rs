//! What the command line itself finds wrong: flags, `lakehost.toml`, grants nobody gave, files of its own.

use std::path::{Path, PathBuf};

use lakehost_pipeline::{Code, Diagnostic, RunReport, codes};

use crate::config::nearest;

/// More tables than this are not listed in a hint.
const LISTED_TABLES: usize = 20;

/// Findings of the command line.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A flag or argument.
    #[error("{message}")]
    Usage { message: String, hint: Option<String> },
    /// `lakehost.toml` or a `LAKEHOST__…` variable.
    #[error("{message}")]
    Config { place: String, message: String, hint: Option<String> },
    /// A profile that is not there, or cannot work.
    #[error("{message}")]
    Profile { profile: String, message: String, hint: Option<String> },
    /// A pipeline that the file does not have.
    #[error("no pipeline `{name}`")]
    PipelineUnknown { name: String, file: Option<PathBuf>, nearest: Option<String>, known: Vec<String> },
    /// A setting that the plugin's own schema refuses.
    #[error("{plugin} has no sound configuration: {message}")]
    PluginConfig { plugin: String, message: String, hint: Option<String> },
    /// A window flag that is missing, wrong or of another width.
    #[error("{message}")]
    Window { message: String, hint: Option<String> },
    /// A component that is no file and not in this binary.
    #[error("there is no plugin {name}")]
    PluginMissing { name: String, embedded: Vec<&'static str> },
    /// A plugin that nobody vouches for asks for grants, and there is nobody to ask.
    #[error("{plugin} is unknown to this lakehost and asks for what nobody granted")]
    Unapproved { plugin: String, missing: Vec<String>, refused: bool },
    /// A file of the command line's own.
    #[error("{path} cannot be {action}")]
    File { path: String, action: &'static str, source: std::io::Error },
    /// The report of a load that ended before stdout refused it.
    #[error("the report of run {run_id} cannot be written to standard output; the load itself ended as `{ended}`")]
    Unreported { run_id: String, ended: &'static str, source: std::io::Error },
    /// No page for a code.
    #[error("there is no error code {code}")]
    CodeUnknown { code: String, nearest: Option<&'static str> },
    /// A run that the history does not have.
    #[error("no run {run_id} in {folder}")]
    RunUnknown { run_id: String, folder: String },
    /// A table that the catalog does not have.
    #[error("no table {table}")]
    TableUnknown { table: String, known: Vec<String> },
    /// A plugin of the other kind. `wanted`: the flag that takes what is wanted; `way_out`: what to write.
    #[error("{plugin} is a {kind}, and {flag} wants a {wanted}")]
    PluginKind { plugin: String, kind: &'static str, flag: String, wanted: &'static str, way_out: String },
    /// A pipeline whose `allow` leaves its source nothing of what it asks for.
    #[error("pipeline {pipeline} does not let {plugin} reach what it asks for")]
    NotAllowed { pipeline: String, file: String, plugin: String, missing: Vec<String>, allowed: Vec<String> },
    /// A query as of a time before the table's first snapshot.
    #[error("table {table} had no rows yet at {time} UTC")]
    NotYet { table: String, time: String },
    /// A branch whose checks fail again.
    #[error("{failed} of {checks} checks fail on {branch} of {table}, and it was not published")]
    StillFails { table: String, branch: String, failed: usize, checks: usize, details: String },
    /// A snapshot whose load cannot be made again from what is recorded and at hand.
    #[error("snapshot {snapshot} of {table} cannot be reproduced: {reason}")]
    NotReproducible { table: String, snapshot: i64, reason: String, way_out: String },
    /// An input of a snapshot that upstream does not have any more.
    #[error("upstream changed since snapshot {snapshot} of {table} was loaded")]
    InputsChanged { table: String, snapshot: i64, differences: Vec<String> },
    /// A load that was made again and came to other rows.
    #[error("snapshot {snapshot} of {table} has other rows than its load made again")]
    Different { table: String, snapshot: i64, differences: Vec<String> },
    /// Trino did not make a catalog for the branch that models are to be built on.
    #[error("Trino has no catalog for the branch of the run: {message}")]
    BranchCatalog { message: String, cause: String, code: Code },
    /// What cannot happen did.
    #[error("{what}")]
    Bug { what: String, cause: String },
    /// A second signal, which ended a run at once.
    #[error("run {run_id} was ended at once by a second signal")]
    Ended { run_id: String },
    /// Ctrl-C before anything began, or `n` at a question.
    #[error("stopped: {what}")]
    Stopped { what: &'static str },
}

impl Error {
    /// A wrong flag or argument.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage { message: message.into(), hint: None }
    }

    /// A file of our own that cannot be read or written.
    pub fn file(path: &Path, action: &'static str, source: std::io::Error) -> Self {
        Self::File { path: path.display().to_string(), action, source }
    }

    /// Whoever read stdout went away.
    pub fn is_broken_pipe(&self) -> bool {
        matches!(self, Self::File { source, .. } if source.kind() == std::io::ErrorKind::BrokenPipe)
    }

    /// An answer that stdout refused, of a load that had ended: says how.
    pub fn after(self, report: &RunReport) -> Self {
        match self {
            Self::File { source, .. } => {
                Self::Unreported { run_id: report.run_id.clone(), ended: crate::report::ending(&report.totals), source }
            }
            other => other,
        }
    }
}

impl Diagnostic for Error {
    fn code(&self) -> Code {
        match self {
            Self::Usage { .. }
            | Self::PluginMissing { .. }
            | Self::CodeUnknown { .. }
            | Self::RunUnknown { .. }
            | Self::PluginKind { .. }
            | Self::NotYet { .. }
            | Self::NotReproducible { .. } => codes::USAGE,
            Self::InputsChanged { .. } => codes::SOURCE_CHANGED,
            Self::Different { .. } => codes::DATA_DIFFERENT,
            Self::TableUnknown { .. } => codes::CATALOG_NO_TABLE,
            Self::NotAllowed { .. } => codes::TRUST_GRANT,
            Self::Config { .. } => codes::CONFIG_FILE,
            Self::Profile { .. } => codes::PROFILE,
            Self::PipelineUnknown { .. } => codes::PIPELINE_UNKNOWN,
            Self::PluginConfig { .. } => codes::PLUGIN_CONFIG,
            Self::Window { .. } => codes::WINDOW,
            Self::Unapproved { .. } => codes::TRUST_UNKNOWN_PLUGIN,
            Self::File { source, .. } | Self::Unreported { source, .. }
                if source.kind() == std::io::ErrorKind::StorageFull =>
            {
                codes::MACHINE_DISK
            }
            Self::File { .. } | Self::Unreported { .. } => codes::STORE_IO,
            Self::StillFails { .. } => codes::DATA_CHECK,
            Self::BranchCatalog { code, .. } => *code,
            Self::Bug { .. } => codes::BUG,
            Self::Ended { .. } | Self::Stopped { .. } => codes::INTERRUPTED,
        }
    }

    fn inputs(&self) -> Vec<(String, String)> {
        let input = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        match self {
            Self::Config { place, .. } => input("file", place),
            Self::Profile { profile, .. } => input("profile", profile),
            Self::PipelineUnknown { file: Some(file), .. } => input("file", &file.display().to_string()),
            Self::Unapproved { plugin, .. } => input("plugin", plugin),
            Self::TableUnknown { table, .. } => input("table", table),
            Self::StillFails { table, branch, .. } => [input("table", table), input("branch", branch)].concat(),
            Self::NotAllowed { file, plugin, .. } => [input("file", file), input("plugin", plugin)].concat(),
            _ => Vec::new(),
        }
    }

    fn cause(&self) -> Option<String> {
        match self {
            Self::File { source, .. } | Self::Unreported { source, .. } => Some(source.to_string()),
            Self::Bug { cause, .. } | Self::BranchCatalog { cause, .. } => Some(cause.clone()),
            Self::StillFails { details, .. } => Some(details.clone()),
            Self::InputsChanged { differences, .. } | Self::Different { differences, .. } => {
                Some(differences.join("; "))
            }
            Self::NotAllowed { missing, allowed, .. } => Some(format!(
                "it asks for {}; `allow` gives {}",
                missing.join(", "),
                if allowed.is_empty() { "nothing".to_owned() } else { allowed.join(", ") }
            )),
            Self::Unapproved { missing, refused, .. } => Some(match refused {
                true => "the question was answered with no".to_owned(),
                false => format!("it asks for {}", missing.join(", ")),
            }),
            _ => None,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Usage { hint, .. }
            | Self::Config { hint, .. }
            | Self::Profile { hint, .. }
            | Self::PluginConfig { hint, .. }
            | Self::Window { hint, .. } => hint.clone(),
            Self::PipelineUnknown { nearest: Some(nearest), .. } => Some(format!("did you mean `{nearest}`?")),
            Self::PipelineUnknown { file: None, .. } => Some(
                "there is no lakehost.toml here: `lakehost init` writes one, or name a source with --plugin".to_owned(),
            ),
            Self::PipelineUnknown { known, .. } if known.is_empty() => {
                Some("the file has no [pipeline.NAME] section".to_owned())
            }
            Self::PipelineUnknown { known, .. } => Some(format!("there are: {}", known.join(", "))),
            Self::PluginMissing { embedded, .. } if embedded.is_empty() => Some(
                "this binary carries no components; give the path of a .wasm file (`cargo xtask plugins` builds them)"
                    .to_owned(),
            ),
            Self::PluginMissing { name, embedded } => Some(match nearest(name, embedded.iter().copied()) {
                Some(name) => format!("did you mean `{name}`?"),
                None => {
                    format!("give the path of a .wasm file, or one that this binary carries: {}", embedded.join(", "))
                }
            }),
            Self::Unapproved { missing, .. } => {
                let flags: Vec<String> = missing.iter().map(|ask| format!("--allow {ask}")).collect();
                Some(format!("if you trust it, add {}", flags.join(" ")))
            }
            Self::StillFails { table, branch, .. } => Some(format!(
                "`lakehost table publish {table} {branch} --unchecked` publishes it all the same; `lakehost table discard {table} {branch}` drops it"
            )),
            Self::PluginKind { way_out, .. } | Self::NotReproducible { way_out, .. } => Some(way_out.clone()),
            Self::InputsChanged { table, .. } => Some(format!(
                "only the objects of that time give the same rows: point `--config base_url=…` or its like to where they are kept; \
                 `lakehost table provenance {table} SNAPSHOT` lists them with their sha256"
            )),
            Self::Different { table, .. } => Some(format!(
                "a data file was changed behind the table's back, or the plugins gave other rows for the same input; \
                 `lakehost run … --force` loads the window of {table} again"
            )),
            Self::NotAllowed { pipeline, missing, .. } => {
                let quoted: Vec<String> = missing.iter().map(|ask| format!("\"{ask}\"")).collect();
                let flags: Vec<String> = missing.iter().map(|ask| format!("--allow {ask}")).collect();
                Some(format!(
                    "if you trust it with that, add {} to `allow = […]` of [pipeline.{pipeline}], or {} to this run",
                    quoted.join(", "),
                    flags.join(" ")
                ))
            }
            Self::TableUnknown { known, .. } if known.is_empty() => {
                Some("no table was loaded yet: `lakehost run` makes one".to_owned())
            }
            Self::TableUnknown { table, known } => Some(match nearest_table(table, known) {
                Some(name) => format!("did you mean `{name}`? `lakehost table list` shows all tables"),
                None if known.len() <= LISTED_TABLES => format!("there are: {}", known.join(", ")),
                None => "`lakehost table list` shows all tables".to_owned(),
            }),
            Self::CodeUnknown { nearest: Some(nearest), .. } => Some(format!("did you mean {nearest}?")),
            Self::CodeUnknown { .. } => Some("`lakehost explain` lists all codes".to_owned()),
            Self::NotYet { table, .. } => Some(format!("`lakehost snapshots {table}` shows since when it has")),
            Self::RunUnknown { .. } => Some(
                "`lakehost runs` lists the runs; `lakehost resolve` without an id looks at all that left work behind"
                    .to_owned(),
            ),
            Self::Ended { .. } => Some(
                "run the same command again: it looks first whether a window was committed, and tidies up".to_owned(),
            ),
            Self::BranchCatalog { .. } => Some(
                "catalogs are made at run time by a Trino with catalog.management=dynamic, for users who may; [profile.NAME.trino.branch_catalog] says \
                 with which properties"
                    .to_owned(),
            ),
            Self::Bug { .. } => Some("please report it, with the command line and this text".to_owned()),
            Self::File { .. } | Self::Unreported { .. } | Self::Stopped { .. } => None,
        }
    }
}

/// The table that was probably meant: by its whole name, else by the name without its namespace.
fn nearest_table<'a>(wanted: &str, known: &'a [String]) -> Option<&'a str> {
    let bare = |name: &str| name.rsplit('.').next().unwrap_or_default().to_owned();
    let names: Vec<String> = known.iter().map(|name| bare(name)).collect();
    let by_name = nearest(&bare(wanted), names.iter().map(String::as_str))
        .and_then(|found| names.iter().position(|name| name == found))
        .and_then(|index| known.get(index))
        .map(String::as_str);
    let exact = known.iter().map(String::as_str).find(|name| bare(name) == bare(wanted));
    exact.or_else(|| nearest(wanted, known.iter().map(String::as_str))).or(by_name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_that_was_meant_is_named() {
        let known: Vec<String> = ["raw.green_trips", "raw.yellow_trips", "clean.zones"].map(str::to_owned).to_vec();
        let hint = |table: &str| {
            Error::TableUnknown { table: table.to_owned(), known: known.clone() }.hint().unwrap_or_default()
        };
        for (wanted, meant) in [
            ("raw.gren_trips", "raw.green_trips"),
            ("rwa.yellow_trips", "raw.yellow_trips"),
            ("raw.zones", "clean.zones"),
            ("x.zone", "clean.zones"),
        ] {
            assert_eq!(hint(wanted), format!("did you mean `{meant}`? `lakehost table list` shows all tables"));
        }
        assert_eq!(hint("a.q"), "there are: raw.green_trips, raw.yellow_trips, clean.zones");
    }
}
