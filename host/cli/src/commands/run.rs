//! `lakehost run`: a configured source, cleaners and a table, over some windows.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use lakehost_pipeline::models::ModelsReport;
use lakehost_pipeline::ports::{Checker, Cleaner, Lake, Source, WriteMode};
use lakehost_pipeline::{Diagnostic as _, Fault, Granularity, Plan, Ports, RunReport, Window, sha256_hex};
use lakehost_wasm::{Grants, Plugin, WasmSource};
use serde_json::{Value, json};
use uuid::Uuid;

use super::trino_upkeep;
use crate::approve::Terminal;
use crate::args::{ReportFormat, RunArguments};
use crate::checker::LakeChecker;
use crate::config::resolve::{self, Request};
use crate::config::values::{Settings, identity, split_assignment};
use crate::config::windows;
use crate::error::Error;
use crate::plugins::{self, Plugins};
use crate::progress::Progress;
use crate::publish::{self, OnBranch, PublishReport};
use crate::recorded::{Part, Recorded};
use crate::render::{self, Colour, line};
use crate::runs::History;
use crate::upkeep::{self, Upkeep};
use crate::warehouse::{self, NoLake, Warehouse};
use crate::{append, embedded, exit_code, failures, models, report, screen, signals};

/// What a run that came to its end leaves to tell.
pub struct Ended {
    pub report: RunReport,
    parts: Parts,
    /// Sentences that people read already, and machines get in the report.
    warnings: Vec<String>,
    /// What was done to the table afterwards; `None`: the pipeline asks for nothing.
    upkeep: Option<Upkeep>,
    /// What became of the models above the table; `None`: the pipeline has none.
    models: Option<ModelsReport>,
    /// What became of the run's branch; `None`: each window is published by its own commit.
    publish: Option<PublishReport>,
    /// Why the report is not in the history.
    unkept: Option<String>,
}

/// Says which windows a load is about.
pub type Windows<'a> = dyn Fn(&Warehouse, Granularity) -> Result<Vec<Option<Window>>, Fault> + 'a;

/// Where the rows of a load are from.
pub enum RowsFrom<'a> {
    /// The source, for the windows that the flags name.
    Source,
    /// The rejected rows of the table, of one rule or all; the windows are those that this answers.
    Rejected { rule: Option<&'a str>, windows: &'a Windows<'a> },
}

/// Runs, and prints the report whatever comes.
pub fn run(arguments: &RunArguments) -> Result<u8, Fault> {
    run_from(arguments, &RowsFrom::Source)
}

/// The same for rows from elsewhere.
pub fn run_from(arguments: &RunArguments, from: &RowsFrom<'_>) -> Result<u8, Fault> {
    let run_id = Uuid::now_v7().to_string();
    let pipeline = arguments.pipeline.as_deref();
    prepare_last_words(arguments, &run_id)?;
    let ended = load(arguments, from, &run_id);
    signals::answer();
    match ended {
        Ok(Ended { report, parts, mut warnings, upkeep, models, publish, unkept }) => {
            screen::say(&failures::text(&report, Colour::of_stderr()));
            let models_fault = models.as_ref().and_then(|models| models.fault.as_ref());
            let publish_fault = publish.as_ref().and_then(|publish| publish.fault.as_ref());
            models_fault.into_iter().chain(publish_fault).for_each(crate::show);
            unkept.into_iter().for_each(|sentence| warn(&mut warnings, sentence));
            match arguments.format {
                ReportFormat::Json => {
                    let mut json = whole(&report, &warnings, upkeep.as_ref(), models.as_ref(), publish.as_ref())?;
                    if let (true, Value::Object(entries)) = (arguments.dry_run, &mut json) {
                        entries.insert("plan".to_owned(), parts.json());
                    }
                    super::print_json(&json).map_err(|error| error.after(&report))?;
                }
                ReportFormat::Text => {
                    let parts = if arguments.dry_run { parts.text() } else { String::new() };
                    let upkeep = upkeep.as_ref().map(Upkeep::text).unwrap_or_default();
                    let models = models.as_ref().map(models::text::report).unwrap_or_default();
                    let publish = publish.as_ref().map(PublishReport::text).unwrap_or_default();
                    let text = format!("{parts}{}{upkeep}{models}{publish}", report::text(&report));
                    super::print(&text).map_err(|error| error.after(&report))?;
                }
            }
            Ok(exit_code::of_report(&report, models_fault.or(publish_fault)))
        }
        Err(fault) => {
            crate::show(&fault);
            if arguments.format == ReportFormat::Json {
                print_failed(Some((&run_id, pipeline)), &fault)?;
            }
            Ok(exit_code::of_fault(&fault))
        }
    }
}

/// What is said when a signal ends the run before it could report.
fn prepare_last_words(arguments: &RunArguments, run_id: &str) -> Result<(), Error> {
    let fault = Fault::new(Error::Ended { run_id: run_id.to_owned() });
    let json = match arguments.format {
        ReportFormat::Json => format!("{:#}\n", failed_json(Some((run_id, arguments.pipeline.as_deref())), &fault)?),
        ReportFormat::Text => String::new(),
    };
    // A progress line may stand there; it is left as it is.
    signals::set_last_words(json, format!("\n{}", render::fault(&fault, Colour::of_stderr())));
    Ok(())
}

/// The report of a run that failed before its first window. `run`: its id and pipeline, once it has any.
pub fn print_failed(run: Option<(&str, Option<&str>)>, fault: &Fault) -> Result<(), Error> {
    super::print_json(&failed_json(run, fault)?)
}

fn failed_json(run: Option<(&str, Option<&str>)>, fault: &Fault) -> Result<Value, Error> {
    let (run_id, pipeline) = run.unwrap_or_default();
    let mut json = report::json(&report::failed(run_id, pipeline, fault), &[])?;
    if let (None, Value::Object(entries)) = (run, &mut json) {
        entries.insert("run_id".to_owned(), Value::Null);
    }
    Ok(json)
}

fn load(arguments: &RunArguments, from: &RowsFrom<'_>, run_id: &str) -> Result<Ended, Fault> {
    load_request(arguments, resolve::run(arguments)?, from, run_id)
}

/// A load whose request is made already.
pub fn load_request(
    arguments: &RunArguments,
    mut request: Request,
    from: &RowsFrom<'_>,
    run_id: &str,
) -> Result<Ended, Fault> {
    let stop = signals::stop_flag();
    let source_file = embedded::find(&request.source)?;
    let cleaner_files = request.cleaners.iter().map(embedded::find).collect::<Result<Vec<_>, _>>()?;
    let runtime = warehouse::runtime()?;
    let plugins = Plugins::start(&runtime, request.place.memory_bytes, Arc::clone(&stop))?;

    let plugin = plugins.load(&source_file)?;
    let cleaner_plugins = cleaner_files.iter().map(|file| plugins.load(file)).collect::<Result<Vec<_>, _>>()?;
    let pipeline = request.pipeline.as_deref();
    plugins::expect_source(&plugin, pipeline)?;
    plugins::expect_cleaners(&cleaner_plugins, pipeline.filter(|_| arguments.plugins.cleaner.is_empty()))?;
    let about = plugin.about()?;
    let granularity = about.granularity.unwrap_or(Granularity::None);
    let windows = match from {
        RowsFrom::Source => windows::resolve(&about.id.name, granularity, windows::typed(arguments))?,
        RowsFrom::Rejected { .. } => Vec::new(),
    };
    refuse_whole(&about.id.name, granularity, request.mode, arguments.write_mode.is_some())?;
    let mut settings = Settings::new(&about.id.name, &about.config_schema, &request.source.table)?;
    arguments.plugins.config.iter().try_for_each(|assignment| settings.assign(assignment, "--config"))?;
    let config = plugin.config(&settings.into_value())?;

    let cleaner_configs = cleaner_configs(&cleaner_plugins, &request, &arguments.plugins.cleaner_config)?;
    let cleaners = cleaner_plugins
        .iter()
        .zip(&cleaner_configs)
        .map(|(plugin, config)| plugins.cleaner(plugin, config))
        .collect::<Result<Vec<_>, Fault>>()?;

    // Last, so that nobody is asked to grant something to a run that cannot be.
    let grants = match from {
        RowsFrom::Source => plugins.grants(&plugin, &config, &request.allow, &mut Terminal)?,
        // It only says what it would read.
        RowsFrom::Rejected { .. } => Grants::default(),
    };
    let parts = Parts {
        source: about.id.to_string(),
        identity: identity(&about.config_schema, &config),
        config,
        cleaners: cleaners.iter().map(|cleaner| cleaner.plugin().to_string()).zip(cleaner_configs).collect(),
        grants: plugins::shown(&grants),
    };
    let recorded = recorded(&request, &parts, &about.config_schema, &cleaner_plugins)?;
    let mut plan = plan(arguments, &request, run_id, windows, &parts, recorded);
    let mut source = plugins.source(&plugin, &parts.config, &grants)?;
    let mut warnings = Vec::new();
    let mut on_branch = OnBranch::of(&runtime, &mut request, &mut plan, &mut |text| warn(&mut warnings, text))?;
    let warehouse = match plan.dry_run && !warehouse::exists(&request.place) {
        true => None,
        false => Some(Warehouse::open_on(Arc::clone(&runtime), &request.place)?),
    };
    if let (RowsFrom::Rejected { windows, .. }, Some(warehouse)) = (from, &warehouse) {
        plan.windows = windows(warehouse, granularity)?;
    }
    let lake: &dyn Lake = warehouse.as_ref().map_or(&NoLake, |warehouse| &warehouse.lake);
    if let Some(mode @ (WriteMode::Append | WriteMode::Merge)) = request.mode {
        let done = if mode == WriteMode::Merge { "merged into" } else { "appended to" };
        warnings.extend(adding(&plan, &mut source, &cleaners, lake, done)?);
    }
    let progress = Progress::new(plan.windows.len(), stop, Arc::clone(&plugins.ledger));
    let checker = warehouse.as_ref().map(|warehouse| LakeChecker {
        warehouse,
        place: &request.place,
        memory_bytes: request.place.memory_bytes / 4,
    });
    let checks = checker.as_ref().map(|checker| checker as &dyn Checker);
    let ports = Ports { source: &mut source, cleaners: &cleaners, lake, meter: &progress, checks };
    let mut report = progress.shown_while(|| match from {
        RowsFrom::Source => lakehost_pipeline::run(&plan, ports),
        RowsFrom::Rejected { rule, .. } => lakehost_pipeline::replay(&plan, *rule, ports),
    })?;
    report::add_process_cpu(&mut report, &progress.window_cpu_seconds());
    let upkeep = match (&request.maintenance, &warehouse) {
        (Some(_), _) if !plan.dry_run && trino_upkeep::is_maintainer(&request.place) => {
            Some(Upkeep::left_to_trino(&report))
        }
        (Some(thresholds), Some(warehouse)) if !plan.dry_run => {
            Some(upkeep::after(&report, &warehouse.lake, thresholds, request.place.memory_bytes, &signals::stop_flag()))
        }
        _ => None,
    };
    upkeep.iter().flat_map(|upkeep| &upkeep.problems).for_each(|sentence| warn(&mut warnings, sentence.clone()));
    let (mut models, mut unkept) = (None, None);
    let mut publish = on_branch.as_ref().map(OnBranch::pending);
    if let Some(warehouse) = warehouse.as_ref().filter(|_| !plan.dry_run) {
        let mut sentences = Vec::new();
        let next =
            models::after::next(&request, arguments, &report, plan.mode, warehouse, &mut |text| sentences.push(text))?;
        sentences.into_iter().for_each(|sentence| warn(&mut warnings, sentence));
        let due = next.as_ref().is_some_and(models::after::Next::is_due);
        let kept = |warnings: &[String], models: Option<&ModelsReport>, publish: Option<&PublishReport>| {
            keep(&request, &whole(&report, warnings, upkeep.as_ref(), models, publish)?, &report.run_id, &plugins)
        };
        // The history says what is still to be built before it is, so that a process that dies leaves it to the next run.
        unkept = kept(&warnings, next.as_ref().map(|next| &next.report), publish.as_ref())?;
        models = next.map(|next| match due {
            true => next.run(arguments, &request, warehouse, signals::stop_flag().load(Ordering::Relaxed)),
            false => next.report,
        });
        if let Some(on_branch) = &mut on_branch {
            publish = Some(on_branch.end(&report, models.as_ref(), signals::stop_flag().load(Ordering::Relaxed)));
        }
        if due || publish.is_some() {
            unkept = kept(&warnings, models.as_ref(), publish.as_ref())?;
        }
    }
    Ok(Ended { report, parts, warnings, upkeep, models, publish, unkept })
}

/// The report as machines read it, with the upkeep and the models that followed.
fn whole(
    report: &RunReport,
    warnings: &[String],
    upkeep: Option<&Upkeep>,
    models: Option<&ModelsReport>,
    publish: Option<&PublishReport>,
) -> Result<Value, Error> {
    let mut json = report::json(report, warnings)?;
    if let Value::Object(entries) = &mut json {
        if let Some(upkeep) = upkeep {
            entries.insert("maintenance".to_owned(), json!(upkeep.done));
        }
        if let Some(models) = models {
            // The load went well and its models did not: that is how the run ended.
            if let (Some(error), true) = (&models.error, report.fault().is_none()) {
                entries.insert("error".to_owned(), json!(error));
            }
            entries.insert(models::after::KEY.to_owned(), json!(models));
        }
        if let Some(publish) = publish {
            if let (Some(error), Some(Value::Null)) = (&publish.error, entries.get("error")) {
                entries.insert("error".to_owned(), json!(error));
            }
            entries.insert(publish::KEY.to_owned(), json!(publish));
        }
    }
    Ok(json)
}

/// Puts the report into the history. What was loaded is committed: that its report could not be kept is worth a sentence, not a failure.
fn keep(request: &Request, json: &Value, run_id: &str, plugins: &Plugins) -> Result<Option<String>, Fault> {
    let kept = History::of(&request.place).and_then(|history| history.record(run_id, json, &plugins.ledger.entries()));
    Ok(kept.err().map(|error| {
        let cause = error.cause().unwrap_or_default();
        let cause = cause.split(" at path ").next().unwrap_or_default();
        format!("`lakehost runs` will not have this run: {error}: {cause}")
    }))
}

/// Tells people now, and machines in the report.
fn warn(warnings: &mut Vec<String>, sentence: String) {
    screen::say(&render::warning(&sentence, Colour::of_stderr()));
    warnings.push(sentence);
}

/// Warns of rows that are added to those of another load.
fn adding(
    plan: &Plan,
    source: &mut WasmSource,
    cleaners: &[Box<dyn Cleaner>],
    lake: &dyn Lake,
    done: &str,
) -> Result<Vec<String>, Fault> {
    let mut warnings = Vec::new();
    let datasets = source.discover()?;
    let [dataset] = datasets.as_slice() else { return Ok(warnings) };
    let table = plan.table.as_ref().unwrap_or(&dataset.default_table);
    let Some(found) = lake.table(table)? else { return Ok(warnings) };
    let names: Vec<&str> = cleaners.iter().map(|cleaner| cleaner.plugin().name.as_str()).collect();
    let names = if names.is_empty() { "-".to_owned() } else { names.join(",") };
    let owner = format!("{}/{}", source.plugin().name, dataset.name);
    if let Some(sentence) = append::warning(&table.to_string(), &found.properties, &owner, &names, done) {
        warn(&mut warnings, sentence);
    }
    Ok(warnings)
}

/// A window that replaced the whole table would take all other windows with it.
fn refuse_whole(plugin: &str, width: Granularity, mode: Option<WriteMode>, typed: bool) -> Result<(), Error> {
    if width == Granularity::None || mode != Some(WriteMode::FullRefresh) {
        return Ok(());
    }
    let way_out = if typed { "leave --write-mode away" } else { "take `write` out of the pipeline" };
    Err(Error::Usage {
        message: format!("full-refresh replaces the whole table, and {plugin} is read by the {width}"),
        hint: Some(format!("{way_out}: each window replaces itself")),
    })
}

/// The effective settings of each cleaner: those of the file, then the flags that are meant for it.
fn cleaner_configs(plugins: &[Plugin], request: &Request, flags: &[String]) -> Result<Vec<Value>, Fault> {
    let abouts = plugins.iter().map(|plugin| plugin.about()).collect::<Result<Vec<_>, _>>()?;
    let mut all = abouts
        .iter()
        .zip(&request.cleaners)
        .map(|(about, named)| Settings::new(&about.id.name, &about.config_schema, &named.table))
        .collect::<Result<Vec<_>, _>>()?;
    let names: Vec<&str> = abouts.iter().map(|about| about.id.name.as_str()).collect();
    for flag in flags {
        let (index, assignment) = addressed(&names, flag)?;
        if let Some(settings) = all.get_mut(index) {
            settings.assign(assignment, "--cleaner-config")?;
        }
    }
    plugins.iter().zip(all).map(|(plugin, settings)| Ok(plugin.config(&settings.into_value())?)).collect()
}

/// Whose setting `NAME.KEY=VALUE` is; without a name that of the last cleaner.
fn addressed<'t>(names: &[&str], flag: &'t str) -> Result<(usize, &'t str), Error> {
    let (key, _) = split_assignment(flag, "--cleaner-config")?;
    let named = key.split_once('.').and_then(|(name, _)| {
        let index = names.iter().position(|known| *known == name)?;
        Some((index, flag.get(name.len() + 1..)?))
    });
    match (named, names.len().checked_sub(1)) {
        (Some(found), _) => Ok(found),
        (None, Some(last)) => Ok((last, flag)),
        (None, None) => Err(Error::Usage {
            message: format!("--cleaner-config {} is given, and there is no cleaner", flag.escape_debug()),
            hint: Some("name one with --cleaner FILE, or use --config for the source".to_owned()),
        }),
    }
}

/// Plugins and their effective settings.
struct Parts {
    /// `name@version`.
    source: String,
    config: Value,
    /// The part of the source's settings that tells loads apart.
    identity: Value,
    /// `name@version` and settings, in order.
    cleaners: Vec<(String, Value)>,
    /// What the source may reach, as `--allow` writes it.
    grants: Vec<String>,
}

impl Parts {
    /// What a dry run says of them; the windows follow in its report.
    fn text(&self) -> String {
        let mut text = format!("source   {} {}\n", line(&self.source), line(&self.config.to_string()));
        for (name, config) in &self.cleaners {
            text.push_str(&format!("cleaner  {} {}\n", line(name), line(&config.to_string())));
        }
        let grants = if self.grants.is_empty() { "nothing".to_owned() } else { self.grants.join(", ") };
        text.push_str(&format!("grants   {}\n", line(&grants)));
        text
    }

    /// The same for machines.
    fn json(&self) -> Value {
        json!({ "source": { "plugin": self.source, "config": self.config }, "cleaners": self.cleaning(), "grants": self.grants })
    }

    fn cleaning(&self) -> Vec<Value> {
        self.cleaners.iter().map(|(plugin, config)| json!({ "plugin": plugin, "config": config })).collect()
    }
}

fn plan(
    arguments: &RunArguments,
    request: &Request,
    run_id: &str,
    windows: Vec<Option<Window>>,
    parts: &Parts,
    config: String,
) -> Plan {
    let everything =
        json!({ "source": parts.config, "cleaners": parts.cleaning(), "metadata_columns": request.metadata_columns });
    Plan {
        run_id: run_id.to_owned(),
        pipeline: request.pipeline.clone(),
        windows,
        table: request.table.clone(),
        mode: request.mode,
        key: request.key.clone(),
        order_by: request.order_by.clone(),
        sort: request.sort.clone(),
        partition: request.partition.clone(),
        verify: request.verify,
        metadata_columns: request.metadata_columns,
        raw_landing: request.raw_landing,
        run_branch: None,
        allow_empty: arguments.allow_empty,
        only_missing: arguments.only_missing,
        keep_going: arguments.keep_going,
        force: arguments.force,
        dry_run: arguments.dry_run,
        contract: request.contract.clone(),
        renames: request.renames.clone(),
        checks: request.checks.clone(),
        quarantine: request.quarantine,
        max_rejected: request.max_rejected,
        memory_bytes: request.place.memory_bytes,
        threads: std::thread::available_parallelism().map_or(1, usize::from),
        reference_path: arguments.reference_path,
        source_identity: parts.identity.to_string(),
        config_sha256: sha256_hex(everything.to_string().as_bytes()),
        config,
    }
}

/// What `table reproduce` needs of this load.
fn recorded(request: &Request, parts: &Parts, schema: &Value, cleaners: &[Plugin]) -> Result<String, Fault> {
    let mut recorded = Recorded {
        source: Part::new(parts.source.clone(), &parts.config, schema),
        metadata_columns: request.metadata_columns,
        ..Recorded::default()
    };
    for (plugin, (name, config)) in cleaners.iter().zip(&parts.cleaners) {
        recorded.cleaners.push(Part::new(name.clone(), config, &plugin.about()?.config_schema));
    }
    let recorded = recorded.with_contract(&request.contract, &request.renames);
    Ok(serde_json::to_string(&recorded).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_never_replaces_the_whole_table() {
        let error = refuse_whole("nyc_tlc", Granularity::Month, Some(WriteMode::FullRefresh), true).unwrap_err();
        assert_eq!(
            format!("{}: {error}; {}", error.code(), error.hint().unwrap_or_default()),
            "LH0101: full-refresh replaces the whole table, and nyc_tlc is read by the month; \
             leave --write-mode away: each window replaces itself"
        );
        assert!(refuse_whole("a", Granularity::Month, Some(WriteMode::FullRefresh), false).is_err());
        assert!(refuse_whole("a", Granularity::Month, Some(WriteMode::Append), true).is_ok());
        assert!(refuse_whole("a", Granularity::None, Some(WriteMode::FullRefresh), true).is_ok());
    }

    #[test]
    fn cleaner_settings_find_their_cleaner() {
        let table = [
            (vec!["a", "b"], "x=1", Some((1, "x=1"))),
            (vec!["a", "b"], "a.x=1", Some((0, "x=1"))),
            (vec!["a", "b"], "b.x.y=1", Some((1, "x.y=1"))),
            (vec!["a", "b"], "other.x=1", Some((1, "other.x=1"))),
            (vec!["a"], "x=a.b", Some((0, "x=a.b"))),
            (vec![], "x=1", None),
            (vec!["a"], "x", None),
        ];
        for (names, flag, expected) in table {
            assert_eq!(addressed(&names, flag).ok(), expected, "{names:?} {flag}");
        }
    }
}
