//! Where the tables of a command lie: what `--profile`, `--warehouse` and `--catalog` mean together with the file.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lakehost_lake::{CatalogOptions, LakeOptions, LocalStore, S3Options, S3Store, Store, Tls};
use lakehost_models::trino::{Options, Trino};
use lakehost_pipeline::{Fault, Secret};
use tokio::runtime::Handle;

use super::did_you_mean;
use super::file::{self, Loaded};
use super::profile::{CatalogSection, S3Section};
use super::reach::Wrong;
use super::trino::{MaintainedBy, TrinoSection};
use crate::args::Place;
use crate::error::Error;
use crate::{memory, progress};

/// The profile that is used when nobody names one.
const DEFAULT_PROFILE: &str = "local";
/// Where tables lie when nobody says otherwise.
const DEFAULT_WAREHOUSE: &str = "./warehouse";

/// Where tables lie, how they are reached, and the budget to work with. Secrets are not looked up yet.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Where {
    /// A folder, absolute, or `s3://bucket/prefix`.
    pub warehouse: PathBuf,
    pub memory_bytes: u64,
    /// None: `catalog.db` in the warehouse.
    pub catalog: Option<CatalogSection>,
    pub s3: S3Section,
    /// The Trino that knows the same tables.
    pub trino: Option<TrinoSection>,
    pub maintained_by: MaintainedBy,
    /// The run whose branch of the catalog the tables are on.
    pub run: Option<String>,
    /// The profile's name, for messages.
    pub profile: String,
    /// Where relative paths of the profile start.
    pub folder: PathBuf,
}

/// Where the tables of a command lie.
pub fn place(arguments: &Place, memory: Option<&str>) -> Result<Where, Error> {
    let loaded = file::load(arguments.file.as_deref())?;
    place_in(arguments, memory, &loaded)
}

/// As [`place`], with the file read already.
pub fn place_in(arguments: &Place, memory: Option<&str>, loaded: &Loaded) -> Result<Where, Error> {
    let profiles = &loaded.file.profile;
    let name = arguments.profile.as_deref().unwrap_or(DEFAULT_PROFILE);
    let profile = profiles.get(name);
    if profile.is_none() && arguments.profile.is_some() && name != DEFAULT_PROFILE {
        return Err(Error::Profile {
            profile: name.escape_debug().to_string(),
            message: format!("no profile `{}` in {}", name.escape_debug(), loaded.place()),
            hint: did_you_mean(name, profiles.keys().map(String::as_str))
                .or_else(|| Some(format!("add a [profile.{name}] section with a `warehouse`"))),
        });
    }
    let from_profile = profile.and_then(|profile| profile.warehouse.as_deref());
    let (folder, text, whose) = match (&arguments.warehouse, from_profile) {
        (Some(flag), _) => (Path::new("."), flag.as_str(), "--warehouse"),
        (None, Some(text)) => (loaded.folder(), text, "warehouse"),
        (None, None) => (Path::new("."), DEFAULT_WAREHOUSE, "warehouse"),
    };
    let memory_bytes = match (memory, profile.and_then(|profile| profile.memory.as_deref())) {
        (Some(flag), _) => memory::parse_budget(flag, "--memory")?,
        (None, Some(key)) => memory::parse_budget(key, "the profile's `memory`")?,
        (None, None) => memory::DEFAULT_BYTES,
    };
    let (catalog, start) = match &arguments.catalog {
        Some(uri) => (Some(CatalogSection { uri: uri.clone(), ..CatalogSection::default() }), Path::new(".")),
        None => (profile.and_then(|profile| profile.catalog.clone()), loaded.folder()),
    };
    let found = Where {
        warehouse: warehouse(folder, text, whose)?,
        memory_bytes,
        catalog,
        s3: profile.and_then(|profile| profile.s3.clone()).unwrap_or_default(),
        trino: profile.and_then(|profile| profile.trino.clone()),
        maintained_by: profile.map(|profile| profile.maintained_by).unwrap_or_default(),
        run: None,
        profile: name.to_owned(),
        folder: std::path::absolute(start).map_err(|error| Error::file(start, "located", error))?,
    };
    if found.is_remote() && found.catalog.is_none() {
        return Err(found.wrong(Wrong::new(
            format!("the warehouse {} has no catalog", found.warehouse.display()),
            "a catalog file cannot lie in a bucket: name one with `catalog` in the profile, or --catalog",
        )));
    }
    Ok(found)
}

/// A folder or file:// URL as an absolute path; a bucket as it is.
fn warehouse(folder: &Path, text: &str, whose: &str) -> Result<PathBuf, Error> {
    let way_out = || Some("write it as ./warehouse, file:///data/warehouse or s3://bucket/prefix".to_owned());
    let path = match text.split_once("://") {
        Some(("file", _)) => url::Url::parse(text).ok().and_then(|url| url.to_file_path().ok()).ok_or_else(|| {
            Error::Usage { message: format!("`{}` is not a folder for {whose}", text.escape_debug()), hint: way_out() }
        })?,
        Some(("s3" | "s3a" | "s3n", rest)) => return Ok(PathBuf::from(format!("s3://{}", rest.trim_end_matches('/')))),
        Some((scheme, _)) => {
            return Err(Error::Usage {
                message: format!("{whose} lies on {}://, which lakehost does not know", scheme.escape_debug()),
                hint: way_out(),
            });
        }
        None if text.is_empty() => return Err(Error::usage(format!("{whose} is empty"))),
        None => folder.join(text),
    };
    std::path::absolute(&path).map_err(|error| Error::file(&path, "located", error))
}

impl Where {
    /// Whether the warehouse is in a bucket.
    pub fn is_remote(&self) -> bool {
        self.warehouse.starts_with("s3:")
    }

    /// The catalog for people.
    pub fn catalog_shown(&self) -> String {
        match &self.catalog {
            Some(catalog) => catalog.shown(),
            None => self.warehouse.join("catalog.db").display().to_string(),
        }
    }

    fn wrong(&self, wrong: Wrong) -> Error {
        Error::Profile { profile: self.profile.clone(), message: wrong.message, hint: wrong.hint }
    }

    fn catalog_options(&self) -> Result<CatalogOptions, Error> {
        let section = self.catalog.as_ref().map(|catalog| catalog.options(&self.folder)).transpose();
        Ok(section.map_err(|wrong| self.wrong(wrong))?.unwrap_or_default())
    }

    /// How its bucket is reached. Secrets are looked up now.
    pub fn s3_options(&self) -> Result<S3Options, Error> {
        if !self.is_remote() && self.s3 == S3Section::default() {
            return Ok(S3Options::default());
        }
        self.s3.options(&self.folder).map_err(|wrong| self.wrong(wrong))
    }

    /// A Trino that knows the tables, and Trino's name of their catalog. `change` adds what only the command knows. Secrets are looked up now.
    pub fn trino(&self, change: impl FnOnce(&mut Options)) -> Result<(Trino, String), Fault> {
        let (mut options, tls) = self.trino_options()?;
        change(&mut options);
        let catalog = options.catalog.clone().unwrap_or_default();
        let trino = Trino::new(options, |builder| tls.apply(builder));
        Ok((trino.map_err(|error| Fault::new(error).with("profile", &self.profile))?, catalog))
    }

    /// How that Trino is reached. Secrets are looked up now.
    pub fn trino_options(&self) -> Result<(Options, Tls), Error> {
        let name = &self.profile;
        let section = self.trino.as_ref().ok_or_else(|| {
            self.wrong(Wrong::new(
                format!("profile {name} names no Trino"),
                &format!("add [profile.{name}.trino] with uri = \"https://HOST:PORT\" and catalog = \"NAME\", or choose another with --profile"),
            ))
        })?;
        section.options(&self.folder).map_err(|wrong| self.wrong(wrong))
    }

    /// What a catalog of Trino's for the branch of a run is made with in particular. Secrets are looked up now.
    pub fn branch_catalog(&self) -> Result<BTreeMap<String, Secret>, Error> {
        let own = self.trino.iter().flat_map(|trino| &trino.branch_catalog);
        own.map(|(name, value)| match value.resolve(&self.folder) {
            Ok(value) => Ok((name.clone(), value)),
            Err(reason) => {
                Err(self.wrong(Wrong::new(format!("`{}` of branch_catalog: {reason}", name.escape_debug()), "")))
            }
        })
        .collect()
    }

    /// The file that a SQLite catalog is in; `None`: the catalog is a server.
    pub fn catalog_file(&self) -> Option<PathBuf> {
        match &self.catalog {
            Some(catalog) => catalog.file(&self.folder),
            None => Some(self.warehouse.join("catalog.db")),
        }
    }

    /// What a lake is opened with. Secrets are looked up now.
    pub fn options(&self, runtime: Handle) -> Result<LakeOptions, Error> {
        let mut options = LakeOptions::new(self.warehouse.clone(), runtime, Arc::new(progress::now_ms));
        options.catalog = self.catalog_options()?;
        options.s3 = self.s3_options()?;
        options.run.clone_from(&self.run);
        Ok(options)
    }

    /// The same place on the branch of a run.
    pub fn on_branch(&self, run_id: &str, branch: &str) -> Self {
        let mut place = Self { run: Some(run_id.to_owned()), ..self.clone() };
        if let Some(catalog) = &mut place.catalog {
            catalog.keys.branch = Some(branch.to_owned());
        }
        place
    }

    /// The files of the warehouse, without its catalog.
    pub fn store(&self) -> Result<Arc<dyn Store>, Error> {
        if !self.is_remote() {
            return Ok(Arc::new(LocalStore::new(false)));
        }
        let store = S3Store::new(self.s3_options()?).map_err(|error| Error::file(&self.warehouse, "reached", error))?;
        Ok(Arc::new(store))
    }
}
