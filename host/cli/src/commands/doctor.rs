//! `lakehost doctor`: is this machine fit, can the warehouse be used, do the components load?

mod hops;

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lakehost_pipeline::{Code, ErrorReport, Fault};
use serde_json::{Value, json};

use crate::args::{DoctorArguments, ReportFormat};
use crate::config::resolve::{self, Where};
use crate::error::Error;
use crate::plugins::{self, Plugins};
use crate::render::line;
use crate::warehouse::{self, Warehouse};
use crate::{embedded, exit_code, memory};

/// Less room than this on a disk is worth a warning.
const LEAST_DISK_BYTES: u64 = 1 << 30;

/// What became of one check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Fine,
    /// Works, and is worth knowing.
    Warning,
    /// Stands in the way of a run.
    Broken(Code),
}

struct Finding {
    what: &'static str,
    verdict: Verdict,
    detail: String,
    hint: Option<String>,
    /// What stands in the way, in full.
    error: Option<ErrorReport>,
}

impl Finding {
    fn fine(what: &'static str, detail: String) -> Self {
        Self { what, verdict: Verdict::Fine, detail, hint: None, error: None }
    }

    fn warning(what: &'static str, detail: String, hint: &str) -> Self {
        Self { what, verdict: Verdict::Warning, detail, hint: Some(hint.to_owned()), error: None }
    }

    fn broken(what: &'static str, fault: &Fault) -> Self {
        let cause = fault.cause().map(|cause| format!(": {cause}")).unwrap_or_default();
        Self {
            what,
            verdict: Verdict::Broken(fault.code()),
            detail: format!("{fault}{cause}"),
            hint: fault.hint(),
            error: Some(ErrorReport::from(fault)),
        }
    }
}

/// Runs all checks. The exit code is that of the first that stands in the way.
pub fn run(arguments: &DoctorArguments) -> Result<u8, Fault> {
    let place = resolve::place(&arguments.place, None)?;
    let mut findings = vec![machine()];
    if !place.is_remote() {
        findings.push(disk("disk of the warehouse", &place.warehouse));
    }
    findings.push(disk("disk for downloads", &std::env::temp_dir()));
    findings.extend(match place.is_remote() {
        true => hops::bucket(&place),
        false => vec![writable("warehouse", &place.warehouse)],
    });
    findings.push(catalog(&place));
    findings.extend(hops::branches(&place));
    findings.extend(place.trino.is_some().then(|| hops::trino(&place)));
    findings.push(cache());
    findings.extend(components(&place));
    match arguments.format {
        ReportFormat::Text => super::print(&text(&findings))?,
        ReportFormat::Json => super::print_json(&json_of(&findings, &place))?,
    }
    let broken = findings.iter().find_map(|finding| match finding.verdict {
        Verdict::Broken(code) => Some(code.exit()),
        Verdict::Fine | Verdict::Warning => None,
    });
    Ok(broken.unwrap_or(exit_code::SUCCESS))
}

fn machine() -> Finding {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let Some((total, available)) = memory::machine_bytes() else {
        return Finding::fine("machine", format!("{cores} cores, memory unknown"));
    };
    let detail =
        format!("{cores} cores, {} memory, {} of it free to use", memory::shown(total), memory::shown(available));
    if available < memory::DEFAULT_BYTES {
        Finding::warning("machine", detail, "give runs less with --memory 256MiB, or end other programs")
    } else {
        Finding::fine("machine", detail)
    }
}

/// The nearest folder above a path that is there.
fn existing(path: &Path) -> PathBuf {
    path.ancestors().find(|path| path.exists()).unwrap_or(Path::new("/")).to_owned()
}

fn disk(what: &'static str, path: &Path) -> Finding {
    let folder = existing(path);
    match free_bytes(&folder) {
        Some(bytes) if bytes < LEAST_DISK_BYTES => Finding::warning(
            what,
            format!("{} free at {}", memory::shown(bytes), folder.display()),
            "a month of trips needs a few hundred MiB: free some space",
        ),
        Some(bytes) => Finding::fine(what, format!("{} free at {}", memory::shown(bytes), folder.display())),
        None => {
            Finding::warning(what, format!("{} does not say how much is free", folder.display()), "look with `df -h`")
        }
    }
}

/// What an ordinary user may still write to the file system of a folder.
fn free_bytes(folder: &Path) -> Option<u64> {
    let path = CString::new(folder.as_os_str().as_bytes()).ok()?;
    // SAFETY: a zeroed `statvfs` is valid, the path ends in NUL, and the call fills the struct before it is read.
    let stat = unsafe {
        let mut stat: libc::statvfs = std::mem::zeroed();
        (libc::statvfs(path.as_ptr(), &mut stat) == 0).then_some(stat)
    }?;
    stat.f_bavail.checked_mul(stat.f_frsize)
}

/// Whether a file can be made in a folder, or in the one that it would be made in.
fn writable(what: &'static str, folder: &Path) -> Finding {
    let nearest = existing(folder);
    let tried = tempfile::Builder::new().prefix(".lakehost-doctor-").tempfile_in(&nearest);
    match tried {
        Err(error) => Finding::broken(what, &Fault::new(Error::file(&nearest, "written", error))),
        Ok(_) if nearest == folder => Finding::fine(what, format!("{} is writable", folder.display())),
        Ok(_) => Finding::fine(what, format!("{} is not there yet; a run makes it", folder.display())),
    }
}

fn catalog(place: &Where) -> Finding {
    if !warehouse::exists(place) {
        return Finding::fine("catalog", "not there yet; a run makes it".to_owned());
    }
    // The names first: they alone tell how fast the catalog is.
    let opened = Warehouse::open(place).and_then(|warehouse| {
        let began = Instant::now();
        warehouse.lake.namespaces()?;
        let answered = began.elapsed();
        Ok((warehouse.lake.list(None)?, answered))
    });
    let opens = |answered: Duration| match place.catalog_file() {
        Some(_) => "opens".to_owned(),
        None => format!("{} answers in {} ms", place.catalog_shown(), answered.as_millis()),
    };
    let tables = match opened {
        Ok((tables, answered)) => Ok((opens(answered), tables)),
        Err(fault) => Err(fault),
    };
    match tables {
        Err(fault) => Finding::broken("catalog", &fault),
        Ok((opens, tables)) if tables.len() == 1 && tables.iter().all(|table| table.problem.is_none()) => {
            Finding::fine("catalog", format!("{opens}, 1 table"))
        }
        Ok((opens, tables)) => match tables.iter().find_map(|table| Some((&table.table, table.problem.as_ref()?))) {
            Some((table, problem)) => Finding::warning(
                "catalog",
                format!("{table}, one of {}, cannot be read: {problem}", tables.len()),
                "other tables work; bring its files back from a backup, or drop it",
            ),
            None => Finding::fine("catalog", format!("{opens}, {} tables", tables.len())),
        },
    }
}

fn cache() -> Finding {
    let folder = plugins::cache_folder();
    let finding = writable("plugin cache", &folder);
    match finding.verdict {
        Verdict::Broken(_) => Finding::warning(
            "plugin cache",
            finding.detail,
            "plugins are compiled at every start; set LAKEHOST_CACHE_DIR",
        ),
        Verdict::Fine | Verdict::Warning => finding,
    }
}

fn components(place: &Where) -> Vec<Finding> {
    if embedded::names().is_empty() {
        return vec![Finding::warning(
            "components",
            "this binary carries none".to_owned(),
            "give plugins as paths; a build by `cargo xtask` embeds nyc_tlc.wasm and trip_cleaner.wasm",
        )];
    }
    let started = warehouse::runtime().map_err(Fault::new).and_then(|runtime| {
        let plugins = Plugins::start(&runtime, place.memory_bytes, Arc::default())?;
        Ok((runtime, plugins))
    });
    let (_runtime, plugins) = match started {
        Ok(started) => started,
        Err(fault) => return vec![Finding::broken("components", &fault)],
    };
    let components = embedded::names().into_iter().filter_map(embedded::embedded);
    components
        .map(|component| match plugins.load(&component).and_then(|plugin| Ok(plugin.inspect()?)) {
            Ok(found) => Finding::fine(
                "component",
                format!(
                    "{}: {}, {}, sha256 {}",
                    found.file,
                    found.id(),
                    memory::shown(found.size_bytes),
                    found.id().sha256
                ),
            ),
            Err(fault) => Finding::broken("component", &fault),
        })
        .collect()
}

fn text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        let mark = match finding.verdict {
            Verdict::Fine => "ok".to_owned(),
            Verdict::Warning => "warning".to_owned(),
            Verdict::Broken(code) => code.to_string(),
        };
        text.push_str(&format!("{mark:<8} {:<22} {}\n", finding.what, line(&finding.detail)));
        if let Some(hint) = &finding.hint {
            text.push_str(&format!("{:<8} {:<22} hint: {}\n", "", "", line(hint)));
        }
    }
    text
}

fn json_of(findings: &[Finding], place: &Where) -> Value {
    let checks: Vec<Value> = findings
        .iter()
        .map(|finding| {
            let (status, code) = match finding.verdict {
                Verdict::Fine => ("ok", None),
                Verdict::Warning => ("warning", None),
                Verdict::Broken(code) => ("broken", Some(code.0)),
            };
            json!({ "check": finding.what, "status": status, "code": code, "detail": finding.detail, "hint": finding.hint })
        })
        .collect();
    let error = findings.iter().find_map(|finding| finding.error.as_ref());
    json!({
        "version": crate::args::VERSION,
        "profile": place.profile,
        "warehouse": place.warehouse,
        "catalog": place.catalog_shown(),
        "checks": checks,
        "error": error,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_warehouse_that_is_not_there_yet_is_fine() {
        let folder = tempfile::tempdir().unwrap();
        let finding = writable("warehouse", &folder.path().join("a/b"));
        assert_eq!(finding.verdict, Verdict::Fine);
        assert!(finding.detail.ends_with("a run makes it"), "{}", finding.detail);
        assert!(!folder.path().join("a").exists(), "looking changes nothing");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn disks_tell_their_room() {
        assert!(free_bytes(Path::new("/")).is_some_and(|bytes| bytes > 0));
        assert_eq!(free_bytes(Path::new("/nonexistent")), None);
    }

    #[test]
    fn findings_read_as_lines() {
        let findings = [
            Finding::fine("machine", "2 cores".to_owned()),
            Finding::broken("catalog", &Fault::new(Error::usage("odd\u{7}"))),
            Finding::warning("disk", "little".to_owned(), "free some"),
        ];
        let expected = "\
ok       machine                2 cores
LH0101   catalog                odd\\u{7}
warning  disk                   little
                                hint: free some
";
        assert_eq!(text(&findings), expected);
    }
}
