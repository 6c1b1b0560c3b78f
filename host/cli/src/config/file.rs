//! `lakehost.toml` as it is written. Unknown keys are errors that name the nearest known one; every error says line and column.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::Table;

use super::checks::CheckSection;
use super::maintenance::Maintenance;
use super::profile::Profile;
use super::{did_you_mean, environment, types};
use crate::args::Publish;
use crate::error::Error;

/// The name that is looked for in the current folder.
pub const FILE_NAME: &str = "lakehost.toml";

/// Everything that the file can say.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct File {
    /// Where tables lie, by name. `local` is used when nobody says otherwise.
    #[serde(default)]
    pub profile: BTreeMap<String, Profile>,
    /// What is loaded, by name.
    #[serde(default)]
    pub pipeline: BTreeMap<String, Pipeline>,
}

/// A source, its cleaners and its table.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pipeline {
    /// The source component: a path relative to the file, or one that the binary carries.
    pub plugin: String,
    /// Settings of the source.
    #[serde(default)]
    pub config: Table,
    /// URL prefixes that the source may reach, `clock`, `random`. When it is there, a shipped plugin gets no more than this either.
    pub allow: Option<Vec<String>>,
    /// `namespace.name`; the source's own when missing.
    pub table: Option<String>,
    /// What becomes of rows that are there.
    pub write: Option<Write>,
    /// Columns that tell rows apart, for `merge`; the source's own when missing.
    #[serde(default)]
    pub key: Vec<String>,
    /// Of several new rows with one key the one with the greatest value here counts, for `merge`.
    pub order_by: Option<String>,
    /// What the rows of each data file are sorted by; `-` before a column turns its order round.
    #[serde(default)]
    pub sort_by: Vec<String>,
    /// Partition fields beyond the window.
    #[serde(default)]
    pub partition_by: Vec<String>,
    /// What becomes of columns that differ from the table's.
    pub schema: Option<SchemaContract>,
    /// What becomes of single columns, by name.
    #[serde(default)]
    pub columns: BTreeMap<String, Column>,
    /// Columns that get another name: `new = "old"`.
    #[serde(default)]
    pub rename: BTreeMap<String, String>,
    /// How files that are taken as they are get proven.
    pub verify: Option<Verify>,
    /// `"5%"` or a share such as `0.05`: more rejected rows fail the window.
    pub max_rejected: Option<Share>,
    /// Keep rejected rows in `<table>__rejected`.
    pub quarantine: Option<bool>,
    /// Add `ingested_at` and `source_file`.
    #[serde(default)]
    pub metadata_columns: bool,
    /// Store the source files themselves, in `raw_data/` of the warehouse.
    #[serde(default)]
    pub raw_landing: bool,
    /// When readers see what a run changes.
    pub publish: Option<Publish>,
    /// Whether the table is kept small after each run.
    pub maintenance: Option<Maintenance>,
    /// A dbt project to run after the load.
    pub models: Option<String>,
    /// Row cleaners, in order.
    #[serde(default)]
    pub cleaner: Vec<Cleaner>,
    /// Checks on what is about to be published.
    #[serde(default)]
    pub check: Vec<CheckSection>,
}

/// What a pipeline says of one column.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Column {
    /// What becomes of it when it differs from the table's.
    pub schema: SchemaContract,
}

/// One row cleaner of a pipeline.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Cleaner {
    /// The component, as for the source.
    pub plugin: String,
    /// Its settings.
    #[serde(default)]
    pub config: Table,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Write {
    ReplaceWindow,
    Append,
    Merge,
    FullRefresh,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SchemaContract {
    Evolve,
    Freeze,
    DiscardRow,
    DiscardValue,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verify {
    Pages,
    Footer,
}

/// A share of rows, 0..=1.
#[derive(Clone, Copy, Debug, PartialEq, Deserialize)]
#[serde(try_from = "ShareText")]
pub struct Share(pub f64);

#[derive(Deserialize)]
#[serde(untagged, expecting = "a percentage such as \"5%\", or a share such as 0.05")]
enum ShareText {
    Number(f64),
    Text(String),
}

impl TryFrom<ShareText> for Share {
    type Error = String;

    fn try_from(text: ShareText) -> Result<Self, String> {
        let wrong = "max_rejected is a percentage such as \"5%\", or a share such as 0.05";
        let share = match text {
            ShareText::Number(share) => share,
            ShareText::Text(text) => {
                let percent = text.trim().strip_suffix('%').ok_or(wrong)?;
                percent.trim().parse::<f64>().map_err(|_| wrong)? / 100.0
            }
        };
        if (0.0..=1.0).contains(&share) { Ok(Self(share)) } else { Err(wrong.to_owned()) }
    }
}

/// A file that was read, and where it lies.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// Empty when there is no file.
    pub file: File,
    /// Where it was read from; none: there is no file.
    pub path: Option<PathBuf>,
}

impl Loaded {
    /// The folder that paths in the file start from.
    pub fn folder(&self) -> &Path {
        match self.path.as_deref().and_then(Path::parent) {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        }
    }

    /// The file's name for messages.
    pub fn place(&self) -> String {
        self.path.as_deref().map_or_else(|| FILE_NAME.to_owned(), |path| path.display().to_string())
    }
}

/// Reads the named file, else `./lakehost.toml` when there is one, and lays `LAKEHOST__…` variables over it.
pub fn load(named: Option<&Path>) -> Result<Loaded, Error> {
    let path = named.unwrap_or(Path::new(FILE_NAME));
    let text = match fs::read_to_string(path) {
        Ok(text) => Some(text),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound && named.is_none() => None,
        Err(error) => {
            return Err(Error::Config {
                place: path.display().to_string(),
                message: format!("{} cannot be read: {error}", path.display()),
                hint: Some("`lakehost init` writes a first one".to_owned()),
            });
        }
    };
    let place = path.display().to_string();
    let file = parse(text.as_deref().unwrap_or_default(), &place)?;
    let variables = environment::variables(std::env::vars_os());
    let file = if variables.is_empty() {
        file
    } else {
        environment::overlay(text.as_deref().unwrap_or_default(), &variables)?
    };
    Ok(Loaded { file, path: text.is_some().then(|| path.to_owned()) })
}

/// Parses the text of a file. `place` names it in errors.
pub fn parse(text: &str, place: &str) -> Result<File, Error> {
    toml::from_str(text).map_err(|error| {
        let (place, key) = match error.span() {
            Some(span) => {
                let (line, column) = position(text, span.start);
                (format!("{place}:{line}:{column}"), types::key_at(text, span.start))
            }
            None => (place.to_owned(), None),
        };
        from_toml(&error, place, key.as_deref())
    })
}

/// A TOML error as ours: its sentence, and the nearest known key or word as hint. `key`: the one it is about, when known.
pub(super) fn from_toml(error: &toml::de::Error, place: String, key: Option<&str>) -> Error {
    let text = error.message().trim().replace('\n', ", ");
    if let Some((message, hint)) = types::reworded(&text, key) {
        return Error::Config { place, message, hint };
    }
    let quoted: Vec<&str> = text.split('`').skip(1).step_by(2).collect();
    let (message, hint) = match quoted.split_first() {
        Some((wanted, known)) if text.starts_with("unknown field") => {
            (format!("unknown key `{wanted}`"), did_you_mean(wanted, known.iter().copied()))
        }
        Some((wanted, known)) if text.starts_with("unknown variant") => {
            (format!("`{wanted}` is not a value of this key"), did_you_mean(wanted, known.iter().copied()))
        }
        Some((wanted, _)) if text.starts_with("missing field") => (format!("key `{wanted}` is missing"), None),
        _ => (text, None),
    };
    Error::Config { place, message, hint }
}

/// Line and column of a byte, both from 1; columns count characters.
fn position(text: &str, offset: usize) -> (usize, usize) {
    let before = text.get(..offset.min(text.len())).unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    let column = before.rsplit('\n').next().map_or(0, |rest| rest.chars().count()) + 1;
    (line, column)
}

#[cfg(test)]
mod tests {
    use lakehost_pipeline::Diagnostic;

    use super::*;

    /// The example of the design, all of it.
    pub const FULL: &str = r#"
[profile.local]
warehouse = "./warehouse"

[pipeline.yellow_trips]
plugin = "nyc_tlc.wasm"
config = { dataset = "yellow" }
allow = ["https://d37ci6vzurychx.cloudfront.net/trip-data/"]
table = "clean.yellow_trips"
write = "replace-window"          # append | merge | full-refresh
schema = "evolve"                 # freeze | discard_row | discard_value
verify = "pages"
max_rejected = "5%"
models = "dbt_project"
[[pipeline.yellow_trips.cleaner]]
plugin = "trip_cleaner.wasm"
[[pipeline.yellow_trips.check]]
not_null = "tpep_pickup_datetime"
"#;

    #[test]
    fn the_whole_example_parses() {
        let file = parse(FULL, "lakehost.toml").unwrap();
        let pipeline = &file.pipeline["yellow_trips"];
        assert_eq!(file.profile["local"].warehouse.as_deref(), Some("./warehouse"));
        assert_eq!(pipeline.config["dataset"].as_str(), Some("yellow"));
        assert_eq!(pipeline.max_rejected, Some(Share(0.05)));
        assert_eq!(pipeline.cleaner[0].plugin, "trip_cleaner.wasm");
        assert_eq!(pipeline.check.len(), 1);
    }

    fn check(text: &str, expected: &str) {
        let error = parse(text, "lakehost.toml").expect_err(text);
        let place = error.inputs().first().map(|(_, place)| place.clone()).unwrap_or_default();
        let hint = error.hint().map(|hint| format!(" ({hint})")).unwrap_or_default();
        assert_eq!(format!("{place}: {error}{hint}"), expected, "{text}");
    }

    #[test]
    fn errors_say_where_and_what_was_meant() {
        check("[profil.local]\n", "lakehost.toml:1:2: unknown key `profil` (did you mean `profile`?)");
        check(
            "[pipeline.a]\nplugin = \"x\"\n  maxrejected = 1\n",
            "lakehost.toml:3:3: unknown key `maxrejected` (did you mean `max_rejected`?)",
        );
        check(
            "[pipeline.a]\nplugin = \"x\"\nwrite = \"apend\"\n",
            "lakehost.toml:3:9: `apend` is not a value of this key (did you mean `append`?)",
        );
        check("[pipeline.a]\ntable = \"raw.t\"\n", "lakehost.toml:1:1: key `plugin` is missing");
        check(
            "[pipeline.a]\nplugin = \"x\"\nmax_rejected = \"lots\"\n",
            "lakehost.toml:3:16: max_rejected is a percentage such as \"5%\", or a share such as 0.05",
        );
        let section = "[pipeline.a]\nplugin = \"x\"\n";
        let of = |lines: &str, expected: &str| check(&format!("{section}{lines}\n"), expected);
        of(
            "allow = \"https://a/\"",
            "lakehost.toml:3:9: `allow` is the text \"https://a/\", and a list of texts belongs there (write allow = [\"https://a/\"])",
        );
        of(
            "allow = [\n  \"https://a/\",\n  7,\n]",
            "lakehost.toml:5:3: `allow` holds the number 7, and each of its items is text (write it as allow = [\"https://data.example.com/\"])",
        );
        of(
            "config = \"green\"",
            "lakehost.toml:3:10: `config` is the text \"green\", and a table of settings belongs there (write it as config = { dataset = \"green\" })",
        );
        of(
            "metadata_columns = \"yes\"",
            "lakehost.toml:3:20: `metadata_columns` is the text \"yes\", and true or false belongs there (write it as metadata_columns = true)",
        );
        of(
            "[pipeline.a.cleaner]\nplugin = \"y\"",
            "lakehost.toml:3:1: `pipeline.a.cleaner` is a section, and a list of sections belongs there (write [[pipeline.a.cleaner]], with two brackets on each side)",
        );
        of(
            "cleaner = [{ plugin = true }]",
            "lakehost.toml:3:23: `plugin` is true, and text belongs there (write it as plugin = \"nyc_tlc.wasm\")",
        );
        of(
            "write = 1",
            "lakehost.toml:3:9: `write` has a value that is no text, and a word belongs there (write it as write = \"replace-window\")",
        );
        check(
            "pipeline = 3\n",
            "lakehost.toml:1:12: `pipeline` is the number 3, and a section for each name belongs there (write it as [pipeline.green_trips])",
        );
        check(
            "[pipeline]\na = \"x.wasm\"\n",
            "lakehost.toml:2:5: `a` is the text \"x.wasm\", and a section belongs there",
        );
        check(
            "[pipeline.a]\nplugin = 7\n",
            "lakehost.toml:2:10: `plugin` is the number 7, and text belongs there (write it as plugin = \"nyc_tlc.wasm\")",
        );
        check(
            "[[pipeline.a.cleaner]]\nplugn = \"x\"\n",
            "lakehost.toml:2:1: unknown key `plugn` (did you mean `plugin`?)",
        );
    }

    #[test]
    fn broken_toml_is_located() {
        let error = parse("[pipeline.a\n", "lakehost.toml").expect_err("broken");
        assert!(error.inputs()[0].1.starts_with("lakehost.toml:1:"), "{:?}", error.inputs());
    }

    #[test]
    fn positions_count_characters() {
        assert_eq!(position("äb\nüc = 1", 4), (2, 1));
        assert_eq!(position("äb\nüc = 1", 6), (2, 2));
        assert_eq!(position("", 9), (1, 1));
    }
}
