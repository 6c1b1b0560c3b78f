//! The front door for the command line: load plugins, look at them, and make sources and cleaners of them.

use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use lakehost_fetch::{FetchLimits, Fetcher, Ledger};
use lakehost_pipeline::Granularity;
use lakehost_pipeline::ports::PluginId;
use serde_json::Value;
use tokio::runtime::Handle;
use wasmtime::Engine;
use wasmtime::component::Linker;

use crate::abi::since_v0_1::{self as abi, CleanerPlugin, CleanerPluginPre, SourcePlugin, SourcePluginPre};
use crate::cache::AotCache;
use crate::cleaner::WasmCleaner;
use crate::component::{Kind, Loaded, Loader, innermost};
use crate::config;
use crate::engine::{self, host_fault};
use crate::error::{Error, Result, shown};
use crate::grants::{Ask, Grants};
use crate::limits::{Budgets, MemoryPool};
use crate::running::{Birth, Running};
use crate::source::WasmSource;
use crate::state::{HostState, Surroundings};
use crate::{services, wasi};

/// How plugins are run.
#[derive(Clone, Debug)]
pub struct HostOptions {
    /// Where compiled plugins are kept; made when missing, for this user alone.
    pub cache_dir: PathBuf,
    pub budgets: Budgets,
    /// Instances of one cleaner at a time.
    pub threads: usize,
    /// Drives downloads and timers. Calls of this crate block, so they never come from its threads.
    pub runtime: Handle,
    /// Set to stop: guests end within a tick, host calls within milliseconds.
    pub cancel: Arc<AtomicBool>,
}

/// What a source fetches with.
#[derive(Clone, Debug)]
pub struct FetchOptions {
    pub limits: FetchLimits,
    /// An existing folder with room for bodies.
    pub spool_dir: PathBuf,
    /// Records every request of the run.
    pub ledger: Arc<Ledger>,
}

/// Runs plugins. Cheap to clone; clones share the engine, the budgets and the memory of the run.
#[derive(Clone)]
pub struct WasmHost {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    linker: Linker<HostState>,
    cache: Option<AotCache>,
    around: Arc<Surroundings>,
    threads: usize,
}

impl WasmHost {
    /// Starts an engine. A cache that cannot be used is a warning, not an error.
    ///
    /// # Errors
    /// [`Error::Host`] when the machine cannot run WebAssembly.
    pub fn new(options: HostOptions) -> Result<Self> {
        let engine = engine::start()?;
        let mut linker = Linker::new(&engine);
        wasi::add_to_linker(&mut linker)
            .and_then(|()| services::add_to_linker(&mut linker))
            .map_err(|error| host_fault("linking the services", &error))?;
        let cache = AotCache::open(&options.cache_dir, &engine)
            .inspect_err(|error| {
                let folder = options.cache_dir.display();
                tracing::warn!(%folder, %error, "compiled plugins cannot be kept; every start compiles them");
            })
            .ok();
        let pool = MemoryPool::new(options.budgets.memory_bytes);
        let around = Surroundings { budgets: options.budgets, runtime: options.runtime, cancel: options.cancel, pool };
        let threads = options.threads.max(1);
        Ok(Self { inner: Arc::new(Inner { engine, linker, cache, around: Arc::new(around), threads }) })
    }

    /// Loads a plugin from memory. `name`: what messages call it until it says its own name.
    ///
    /// # Errors
    /// [`Error::Load`] naming what the bytes are instead.
    pub fn load(&self, bytes: &[u8], name: &str) -> Result<Plugin> {
        let loaded = self.loader(name).bytes(bytes)?;
        self.plugin(name, loaded)
    }

    /// Loads a plugin file; a warm start only hashes it.
    ///
    /// # Errors
    /// [`Error::Io`] when it cannot be read, otherwise as [`WasmHost::load`].
    pub fn load_file(&self, path: &Path) -> Result<Plugin> {
        let name = path.display().to_string();
        let loaded = self.loader(&name).file(path)?;
        self.plugin(&name, loaded)
    }

    /// What a source needs under a configuration; a cleaner needs nothing. No grant is active while it is asked.
    ///
    /// # Errors
    /// What the plugin reports, or did wrong.
    pub fn asks(&self, plugin: &Plugin, config: &Value) -> Result<Vec<Ask>> {
        if plugin.kind() == Kind::Cleaner {
            return Ok(Vec::new());
        }
        let config = plugin.config(config)?.to_string();
        let mut running = plugin.start_source(&Grants::default(), None)?;
        let cpu = self.inner.around.budgets.cpu_short;
        let asks =
            running.ask("asks", cpu, |plugin, store| plugin.lakehost_plugin_source().call_asks(store, &config))?;
        if asks.len() > ASKS_LIMIT {
            return Err(running.contract("asks", format!("{} asks, the limit is {ASKS_LIMIT}", asks.len())));
        }
        Ok(asks.into_iter().map(Ask::from).collect())
    }

    /// A configured source under these grants.
    ///
    /// # Errors
    /// [`Error::Config`] for a wrong configuration, [`Error::Grant`] for a grant that is none, and what the plugin reports.
    pub fn source(&self, plugin: &Plugin, config: &Value, grants: &Grants, fetch: FetchOptions) -> Result<WasmSource> {
        plugin.expect(Kind::Source)?;
        let fetcher = Fetcher::new(
            self.inner.around.runtime.clone(),
            grants.allowlist()?,
            fetch.limits,
            fetch.spool_dir,
            fetch.ledger,
        );
        WasmSource::new(plugin.clone(), plugin.config(config)?.to_string(), grants.clone(), fetcher)
    }

    /// A configured cleaner. It has no grants: what it sees are the columns that it declares.
    ///
    /// # Errors
    /// [`Error::Config`] for a wrong configuration, and what the plugin did wrong.
    pub fn cleaner(&self, plugin: &Plugin, config: &Value) -> Result<WasmCleaner> {
        plugin.expect(Kind::Cleaner)?;
        WasmCleaner::new(plugin.clone(), plugin.config(config)?.to_string())
    }

    fn loader<'a>(&'a self, name: &'a str) -> Loader<'a> {
        let limit_bytes = self.inner.around.budgets.component_bytes;
        Loader { engine: &self.inner.engine, cache: self.inner.cache.as_ref(), limit_bytes, name }
    }

    fn plugin(&self, name: &str, loaded: Loaded) -> Result<Plugin> {
        let refused = |error: wasmtime::Error| Error::Load {
            name: shown(name, 200),
            detail: format!("it does not fit the contract: {}", shown(&innermost(&error), 300)),
            hint: None,
        };
        let pre = self.inner.linker.instantiate_pre(&loaded.component).map_err(refused)?;
        let pre = match loaded.kind {
            Kind::Source => Pre::Source(SourcePluginPre::new(pre).map_err(refused)?),
            Kind::Cleaner => Pre::Cleaner(CleanerPluginPre::new(pre).map_err(refused)?),
        };
        let inner = PluginInner {
            host: self.clone(),
            name: shown(name, 200),
            kind: loaded.kind,
            contract: loaded.contract,
            imports: loaded.imports,
            digest: loaded.digest,
            size_bytes: loaded.size_bytes,
            pre,
            about: OnceLock::new(),
        };
        Ok(Plugin { inner: Arc::new(inner) })
    }
}

/// Things that one plugin may ask for.
const ASKS_LIMIT: usize = 100;

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
        &self.inner.host.inner.around
    }

    pub(crate) fn threads(&self) -> usize {
        self.inner.host.inner.threads
    }

    pub(crate) fn host(&self) -> &WasmHost {
        &self.inner.host
    }

    fn expect(&self, kind: Kind) -> Result<()> {
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
        let host = &self.inner.host.inner;
        Birth { engine: &host.engine, around: &host.around, plugin: label, seed: &self.inner.digest, grants, fetcher }
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
