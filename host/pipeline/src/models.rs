//! Models above the tables: what a run of them is about, what it answers, and what a load leaves for them to do.
//!
//! The engine that builds them is behind [`Models`](crate::ports::Models). Here is decided which windows it is told of.

use std::collections::BTreeSet;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::codes;
use crate::diagnostic::Fault;
use crate::ports::{TableName, WriteMode};
use crate::report::{ErrorReport, RunReport, Status};

/// Which models are built, and of which windows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ModelsRequest {
    pub scope: Scope,
    /// Their labels (`2024-01`); empty: all of them.
    pub windows: Vec<String>,
    /// Build incremental models anew.
    pub full_refresh: bool,
}

/// Which models are meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// In the words of the engine; both empty: all.
    Chosen { select: Vec<String>, exclude: Vec<String> },
    /// Those that read the table, directly or through others, and what they read besides that is not there yet. `present`: the tables that are.
    Downstream { table: TableName, present: Vec<TableName> },
}

impl Default for Scope {
    fn default() -> Self {
        Self::Chosen { select: Vec::new(), exclude: Vec::new() }
    }
}

/// How a run of models ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum ModelsStatus {
    /// All were built, and their tests pass.
    Built,
    /// There was nothing to do.
    Unchanged,
    /// Somebody asked to leave them out.
    LeftOut,
    /// Not begun yet, or the process died in it.
    Pending,
    Failed,
    Interrupted,
}

/// What became of one model, seed, snapshot or test.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct NodeReport {
    pub name: String,
    /// `model`, `seed`, `snapshot`, `test`.
    pub kind: String,
    /// In the engine's words: `success`, `pass`, `warn`, `fail`, `error`, `skipped`.
    pub status: String,
    /// `namespace.name`, of what makes a table.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// Rows of the table afterwards, where that is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    /// The model that a test is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub of: Option<String>,
    /// Where it is written, relative to the project.
    pub file: String,
    /// The statement as it ran; kept when something failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub compiled: Option<String>,
    /// Rows that a test found.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failures: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// Some of the rows that a test found.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sample: Vec<Map<String, Value>>,
    pub seconds: f64,
}

impl NodeReport {
    /// Whether it stops the run from being well.
    #[must_use]
    pub fn failed(&self) -> bool {
        matches!(self.status.as_str(), "fail" | "error" | "runtime error" | "partial success")
    }
}

/// A run of models.
#[derive(Debug, Serialize)]
pub struct ModelsReport {
    pub status: ModelsStatus,
    pub project: String,
    /// What ran the statements: `duckdb`, `trino`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub engine: Option<String>,
    /// Labels of the windows that were built, or are still to be; empty: all.
    pub windows: Vec<String>,
    /// What was built, in the engine's words; empty: all.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub select: Vec<String>,
    /// What else a person would want to know.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorReport>,
    /// Everything that ran or was skipped, in the order in which it ended.
    pub nodes: Vec<NodeReport>,
    pub seconds: f64,
    /// The fault itself, for the exit code and the text.
    #[serde(skip)]
    pub fault: Option<Fault>,
}

impl ModelsReport {
    /// Nothing has happened yet.
    #[must_use]
    pub fn new(project: String, status: ModelsStatus, windows: Vec<String>) -> Self {
        Self {
            status,
            project,
            engine: None,
            windows,
            select: Vec::new(),
            note: None,
            error: None,
            nodes: Vec::new(),
            seconds: 0.0,
            fault: None,
        }
    }

    /// It did not end well.
    pub fn fail(&mut self, fault: Fault) {
        self.status = if fault.code() == codes::INTERRUPTED { ModelsStatus::Interrupted } else { ModelsStatus::Failed };
        self.error = Some(ErrorReport::from(&fault));
        self.fault = Some(fault);
    }
}

/// What a load leaves for models to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changed {
    Nothing,
    /// Rows of these windows alone, by label.
    Windows(BTreeSet<String>),
    /// Rows anywhere.
    All,
}

impl Changed {
    /// What a run changed. A commit of unknown outcome counts: models of rows that stayed as they were come out as they were.
    ///
    /// A merge takes rows out of other windows than that of the load, and a full refresh has no windows, so both change all.
    #[must_use]
    pub fn by(report: &RunReport, mode: Option<WriteMode>) -> Self {
        let unknown = |code: &str| code == codes::COMMIT_UNKNOWN.0;
        let mut changed = Self::Nothing;
        for window in &report.windows {
            let may_differ =
                window.status == Status::Loaded || window.error.as_ref().is_some_and(|error| unknown(error.code));
            if may_differ {
                changed = changed.and(match (&window.window, mode) {
                    (Some(label), None | Some(WriteMode::ReplaceWindow | WriteMode::Append)) => {
                        Self::Windows(BTreeSet::from([label.clone()]))
                    }
                    _ => Self::All,
                });
            }
        }
        changed
    }

    /// Both.
    #[must_use]
    pub fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::All, _) | (_, Self::All) => Self::All,
            (Self::Nothing, other) | (other, Self::Nothing) => other,
            (Self::Windows(mut some), Self::Windows(more)) => {
                some.extend(more);
                Self::Windows(some)
            }
        }
    }

    /// What is left when `done` was built meanwhile.
    #[must_use]
    pub fn without(self, done: &Self) -> Self {
        match (self, done) {
            (_, Self::All) => Self::Nothing,
            (Self::Windows(some), Self::Windows(done)) => match &some - done {
                left if left.is_empty() => Self::Nothing,
                left => Self::Windows(left),
            },
            (changed, _) => changed,
        }
    }

    /// As a request says it: labels, none for all. `None`: there is nothing to build.
    #[must_use]
    pub fn windows(self) -> Option<Vec<String>> {
        match self {
            Self::Nothing => None,
            Self::All => Some(Vec::new()),
            Self::Windows(labels) => Some(labels.into_iter().collect()),
        }
    }

    /// The other way round: what a request's windows stand for.
    #[must_use]
    pub fn of_windows(windows: &[String]) -> Self {
        if windows.is_empty() { Self::All } else { Self::Windows(windows.iter().cloned().collect()) }
    }
}

/// The first moment of a window by its label, as models are told of it: `2024-01-01`, and `2024-01-31T13:00:00` of an hour.
#[must_use]
pub fn first_moment(label: &str) -> String {
    match label.len() {
        4 => format!("{label}-01-01"),
        7 => format!("{label}-01"),
        13 => format!("{label}:00:00"),
        _ => label.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::WindowReport;

    fn windows(labels: &[&str]) -> Changed {
        Changed::Windows(labels.iter().map(|label| (*label).to_owned()).collect())
    }

    fn report(windows: &[(Option<&str>, Status, Option<&'static str>)]) -> RunReport {
        let of = |(label, status, code): &(Option<&str>, Status, Option<&'static str>)| {
            let mut window = WindowReport::new(label.map(str::to_owned), *status);
            window.error = code.map(|code| ErrorReport {
                code,
                message: String::new(),
                cause: None,
                hint: None,
                inputs: Default::default(),
            });
            window
        };
        RunReport::sum("r".to_owned(), None, None, windows.iter().map(of).collect())
    }

    #[test]
    fn models_hear_of_the_windows_that_changed() {
        use Status::{AlreadyLoaded, Failed, Loaded, NoData};
        let (january, february) = (Some("2024-01"), Some("2024-02"));
        let table = [
            (vec![], None, Changed::Nothing),
            (vec![(january, AlreadyLoaded, None), (february, NoData, None)], None, Changed::Nothing),
            (vec![(january, Loaded, None), (february, AlreadyLoaded, None)], None, windows(&["2024-01"])),
            (vec![(january, Loaded, None)], Some(WriteMode::Append), windows(&["2024-01"])),
            // The merge may have taken rows out of other windows.
            (vec![(january, Loaded, None)], Some(WriteMode::Merge), Changed::All),
            (vec![(None, Loaded, None)], None, Changed::All),
            (vec![(january, Failed, Some("LH0402"))], None, Changed::Nothing),
            (vec![(january, Failed, Some("LH0651"))], None, windows(&["2024-01"])),
        ];
        for (ended, mode, expected) in table {
            assert_eq!(Changed::by(&report(&ended), mode), expected, "{ended:?} {mode:?}");
        }
    }

    #[test]
    fn what_is_left_to_build_adds_up() {
        let both = windows(&["2024-01", "2024-02"]);
        assert_eq!(windows(&["2024-01"]).and(windows(&["2024-02"])), both);
        assert_eq!(both.clone().and(Changed::All), Changed::All);
        assert_eq!(both.clone().and(Changed::Nothing), both);
        assert_eq!(both.clone().without(&windows(&["2024-02"])), windows(&["2024-01"]));
        assert_eq!(both.clone().without(&both), Changed::Nothing);
        assert_eq!(both.clone().without(&Changed::All), Changed::Nothing);
        assert_eq!(Changed::All.without(&both), Changed::All, "some windows are not all");
        assert_eq!(Changed::All.windows(), Some(Vec::new()));
        assert_eq!(Changed::Nothing.windows(), None);
        assert_eq!(Changed::of_windows(&[]), Changed::All);
    }

    #[test]
    fn a_label_has_a_first_moment() {
        for (label, moment) in [
            ("2024", "2024-01-01"),
            ("2024-03", "2024-03-01"),
            ("2024-03-31", "2024-03-31"),
            ("2024-03-31T13", "2024-03-31T13:00:00"),
        ] {
            assert_eq!(first_moment(label), moment);
        }
    }
}
