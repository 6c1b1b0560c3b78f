//! A loaded plugin, and what it says of itself.

use std::sync::{Arc, OnceLock};

use lakehost_fetch::Fetcher;
use lakehost_pipeline::Granularity;
use lakehost_pipeline::ports::PluginId;
use serde_json::Value;
use wasmtime::component::Linker;

use crate::abi::since_v0_1::{self as abi, CleanerPlugin, CleanerPluginPre, SourcePlugin, SourcePluginPre};
use crate::component::{Kind, Loaded, innermost};
use crate::config;
use crate::error::{Error, Result, shown};
use crate::grants::Grants;
use crate::host::WasmHost;
use crate::running::{Birth, Running};
use crate::state::{HostState, Surroundings};

/// A loaded plugin: compiled, checked against the contract, not yet running. Cheap to clone.
#[derive(Clone)]
pub struct Plugin {
    inner: Arc<PluginInner>,
}

struct PluginInner {
    host: WasmHost,
    name: String,
    kind: Kind,
    contract: String,
    imports: Vec<String>,
    digest: String,
    size_bytes: u64,
    pre: Pre,
    about: OnceLock<About>,
}

enum Pre {
    Source(SourcePluginPre<HostState>),
    Cleaner(CleanerPluginPre<HostState>),
}

/// What a plugin says of itself, checked.
#[derive(Clone, Debug)]
pub struct About {
    pub id: PluginId,
    pub description: String,
    /// JSON Schema of its configuration.
    pub config_schema: Value,
    /// Width of a source's windows; `None` for cleaners.
    pub granularity: Option<Granularity>,
}

impl Plugin {
    /// Checks a component against the contract of its kind, function by function.
    pub(crate) fn link(host: WasmHost, linker: &Linker<HostState>, name: &str, loaded: Loaded) -> Result<Self> {
        let name = shown(name, 200);
        let refused = |error: wasmtime::Error| Error::Load {
            name: name.clone(),
            detail: format!("it does not fit the contract: {}", shown(&innermost(&error), 300)),
            hint: None,
        };
        let pre = linker.instantiate_pre(&loaded.component).map_err(refused)?;
        let pre = match loaded.kind {
            Kind::Source => Pre::Source(SourcePluginPre::new(pre).map_err(refused)?),
            Kind::Cleaner => Pre::Cleaner(CleanerPluginPre::new(pre).map_err(refused)?),
        };
        let Loaded { kind, contract, imports, digest, size_bytes, .. } = loaded;
        let about = OnceLock::new();
        Ok(Self {
            inner: Arc::new(PluginInner { host, name, kind, contract, imports, digest, size_bytes, pre, about }),
        })
    }

    /// What it does.
    pub fn kind(&self) -> Kind {
        self.inner.kind
    }

    /// sha256 of the component, lower-case hex.
    pub fn digest(&self) -> &str {
        &self.inner.digest
    }

    /// The name under which it was loaded.
    pub fn name(&self) -> &str {
        &self.inner.name
    }

    /// Size of the component file.
    pub fn size_bytes(&self) -> u64 {
        self.inner.size_bytes
    }

    /// The contract that it exports: `lakehost:plugin/source@0.1.0`.
    pub fn contract(&self) -> &str {
        &self.inner.contract
    }

    /// Interfaces that it imports.
    pub fn imports(&self) -> &[String] {
        &self.inner.imports
    }

    /// What it says of itself; asked once, without any grant.
    ///
    /// # Errors
    /// [`Error::Contract`] for a name, version or schema that cannot be used, and what the plugin did wrong.
    pub fn about(&self) -> Result<&About> {
        if let Some(about) = self.inner.about.get() {
            return Ok(about);
        }
        let about = self.ask_about()?;
        Ok(self.inner.about.get_or_init(|| about))
    }

    /// The effective configuration: checked against the plugin's schema, with its defaults, keys sorted.
    ///
    /// # Errors
    /// [`Error::Config`] naming the key that is wrong.
    pub fn config(&self, given: &Value) -> Result<Value> {
        let about = self.about()?;
        config::effective(&about.config_schema, given).map_err(|problem| Error::Config {
            plugin: about.id.to_string(),
            detail: problem.detail,
            nearest: problem.nearest,
        })
    }

    pub(crate) fn around(&self) -> &Arc<Surroundings> {
        self.inner.host.around()
    }

    pub(crate) fn threads(&self) -> usize {
        self.inner.host.threads()
    }

    pub(crate) fn host(&self) -> &WasmHost {
        &self.inner.host
    }

    /// Refuses a plugin of the other kind.
    pub(crate) fn expect(&self, kind: Kind) -> Result<()> {
        if self.kind() == kind {
            return Ok(());
        }
        Err(Error::Load {
            name: self.inner.name.clone(),
            detail: format!("it is a {}, and a {} is wanted here", self.kind().word(), kind.word()),
            hint: None,
        })
    }

    fn birth<'a>(&'a self, grants: &'a Grants, fetcher: Option<Fetcher>, label: &'a str) -> Birth<'a> {
        let host = &self.inner.host;
        Birth { engine: host.engine(), around: host.around(), plugin: label, seed: &self.inner.digest, grants, fetcher }
    }

    /// What messages call it: its own name once it is known.
    fn label(&self) -> String {
        self.inner.about.get().map_or_else(|| self.inner.name.clone(), |about| about.id.to_string())
    }

    /// A fresh instance of a source.
    pub(crate) fn start_source(&self, grants: &Grants, fetcher: Option<Fetcher>) -> Result<Running<SourcePlugin>> {
        match &self.inner.pre {
            Pre::Source(pre) => {
                Running::start(self.birth(grants, fetcher, &self.label()), |store| pre.instantiate(store))
            }
            Pre::Cleaner(_) => Err(self.wrong_kind(Kind::Source)),
        }
    }

    /// A fresh instance of a cleaner.
    pub(crate) fn start_cleaner(&self) -> Result<Running<CleanerPlugin>> {
        match &self.inner.pre {
            Pre::Cleaner(pre) => {
                Running::start(self.birth(&Grants::default(), None, &self.label()), |store| pre.instantiate(store))
            }
            Pre::Source(_) => Err(self.wrong_kind(Kind::Cleaner)),
        }
    }

    fn wrong_kind(&self, wanted: Kind) -> Error {
        Error::Host { doing: format!("starting {} as a {}", self.inner.name, wanted.word()), detail: String::new() }
    }

    fn ask_about(&self) -> Result<About> {
        let cpu = self.around().budgets.cpu_short;
        let (name, version, description, schema, granularity);
        match &self.inner.pre {
            Pre::Source(_) => {
                let mut running = self.start_source(&Grants::default(), None)?;
                let spec =
                    running.call("spec", cpu, |plugin, store| plugin.lakehost_plugin_source().call_spec(store))?;
                (name, version, description, schema) = (spec.name, spec.version, spec.description, spec.config_schema);
                granularity = Some(abi::granularity(spec.granularity));
            }
            Pre::Cleaner(_) => {
                let mut running = self.start_cleaner()?;
                let spec =
                    running.call("spec", cpu, |plugin, store| plugin.lakehost_plugin_cleaner().call_spec(store))?;
                (name, version, description, schema) = (spec.name, spec.version, spec.description, spec.config_schema);
                granularity = None;
            }
        }
        let wrong = |detail: String| Error::Contract { plugin: self.inner.name.clone(), call: "spec", detail };
        if !is_word(&name, "_-") {
            return Err(wrong(format!("its name `{}` is not made of a-z, 0-9, `_` and `-`", shown(&name, 80))));
        }
        if !is_word(&version.to_ascii_lowercase(), ".+-") {
            return Err(wrong(format!("its version `{}` is not one", shown(&version, 80))));
        }
        let limit = self.around().budgets.json_bytes;
        if schema.len() > limit {
            return Err(wrong(format!("its configuration schema has {} bytes, the limit is {limit}", schema.len())));
        }
        let config_schema: Value = serde_json::from_str(&schema).map_err(|error| {
            wrong(format!("its configuration schema is not JSON: {}", shown(&error.to_string(), 200)))
        })?;
        if !config_schema.is_object() {
            return Err(wrong("its configuration schema is not a JSON object".to_owned()));
        }
        let id = PluginId { name, version, sha256: self.inner.digest.clone() };
        Ok(About { id, description: shown(&description, 500), config_schema, granularity })
    }
}

/// A short word of lower-case letters, digits and `also`: safe in properties, summaries and file names.
pub(crate) fn is_word(text: &str, also: &str) -> bool {
    let plain =
        |character: char| character.is_ascii_lowercase() || character.is_ascii_digit() || also.contains(character);
    (1..=64).contains(&text.len())
        && text.chars().all(plain)
        && text.starts_with(|first: char| first.is_ascii_alphanumeric())
}
