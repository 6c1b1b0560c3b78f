//! Models above the tables of a warehouse: what dbt is given to reach them, and what people see of it. dbt itself is run by `host/models`.

pub mod after;
pub mod audit;
pub mod branch_catalog;
pub mod engine;
pub mod text;

use std::path::{Path, PathBuf};

use lakehost_models::dbt::{Dbt, DbtOptions};
use lakehost_pipeline::Fault;
use lakehost_pipeline::models::{ModelsReport, ModelsRequest};
use lakehost_pipeline::ports::{Models as _, TableName};

use self::branch_catalog::BranchCatalog;
use crate::args::{ModelEngine, Place};
use crate::config::resolve::Where;
use crate::warehouse::Warehouse;
use crate::{plugins, screen, signals};

/// What is run, and where.
pub struct Run<'a> {
    pub project: PathBuf,
    /// None: what the profile has.
    pub engine: Option<ModelEngine>,
    pub place: &'a Where,
    /// As it was typed, for the command that does it again.
    pub typed: &'a Place,
    pub docs: Option<PathBuf>,
    /// A load was committed before.
    pub committed: bool,
}

/// Builds models and tells of each as it ends.
pub fn build(run: Run<'_>, warehouse: &Warehouse, request: &ModelsRequest) -> Result<ModelsReport, Fault> {
    let chosen = run.engine.unwrap_or_else(|| engine::of(run.place));
    // Trino has no branches of its own within a catalog.
    let branch_catalog = match (chosen, &run.place.run) {
        (ModelEngine::Trino, Some(run_id)) => Some(BranchCatalog::make(run.place, run_id)?),
        _ => None,
    };
    let place = branch_catalog.as_ref().map(BranchCatalog::place);
    let engine = engine::attach(chosen, place.as_ref().unwrap_or(run.place), warehouse)?;
    let again = again(&run);
    let mut dbt = Dbt::new(DbtOptions {
        project: run.project,
        cache: cache(),
        engine: chosen.word().to_owned(),
        target: engine.target.to_owned(),
        variables: engine.variables.clone(),
        secrets: engine.secrets.clone(),
        docs: run.docs,
        again,
        committed: run.committed,
        stop: signals::stop_flag(),
        say: Box::new(|text| screen::say(&format!("{text}\n"))),
    });
    let mut report = dbt.build(request, &mut |node, place| screen::say(&text::ended(node, place)))?;
    engine.end();
    for node in &mut report.nodes {
        let table = node.table.as_deref().and_then(|name| TableName::parse(name).ok());
        // How many rows there are is worth knowing, not worth failing for.
        node.rows = table.and_then(|table| warehouse.lake.describe(&table).ok()?.head?.rows);
    }
    Ok(report)
}

/// dbt's environments lie beside the compiled components.
fn cache() -> PathBuf {
    let components = plugins::cache_folder();
    components.parent().map_or_else(|| components.join("dbt"), |folder| folder.join("dbt"))
}

/// The command that builds the same project on the same tables.
fn again(run: &Run<'_>) -> String {
    if let Some(run_id) = &run.place.run {
        // What was built is on the branch, and the run that comes next begins without it.
        return format!("lakehost runs discard {run_id} --yes");
    }
    let mut command = "lakehost models".to_owned();
    let here = std::env::current_dir().unwrap_or_default();
    let shown = |path: &Path| path.strip_prefix(&here).unwrap_or(path).display().to_string();
    command.push_str(&format!(" --project-dir {}", shown(&run.project)));
    if let Some(engine) = run.engine {
        command.push_str(&format!(" --engine {}", engine.word()));
    }
    let file = run.typed.file.as_deref().map(|file| file.display().to_string());
    for (flag, value) in [
        ("--file", &file),
        ("--profile", &run.typed.profile),
        ("--warehouse", &run.typed.warehouse),
        ("--catalog", &run.typed.catalog),
    ] {
        if let Some(value) = value {
            command.push_str(&format!(" {flag} {value}"));
        }
    }
    command
}
