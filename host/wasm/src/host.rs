//! The front door for the command line: load plugins, look at them, and make sources and cleaners of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use lakehost_fetch::{FetchLimits, Fetcher, Ledger};
use serde_json::Value;
use tokio::runtime::Handle;
use wasmtime::Engine;
use wasmtime::component::Linker;

use crate::cache::AotCache;
use crate::cleaner::WasmCleaner;
use crate::component::{Kind, Loaded, Loader};
use crate::engine::{self, host_fault};
use crate::error::Result;
use crate::grants::{Ask, Grants};
use crate::limits::{Budgets, MemoryPool};
use crate::plugin::Plugin;
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
    /// [`crate::Error::Host`] when the machine cannot run WebAssembly.
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
    /// [`crate::Error::Load`] naming what the bytes are instead.
    pub fn load(&self, bytes: &[u8], name: &str) -> Result<Plugin> {
        let loaded = self.loader(name).bytes(bytes)?;
        self.plugin(name, loaded)
    }

    /// Loads a plugin file; a warm start only hashes it.
    ///
    /// # Errors
    /// [`crate::Error::Io`] when it cannot be read, otherwise as [`WasmHost::load`].
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
    /// [`crate::Error::Config`] for a wrong configuration, [`crate::Error::Grant`] for a grant that is none, and what the plugin reports.
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
    /// [`crate::Error::Config`] for a wrong configuration, and what the plugin did wrong.
    pub fn cleaner(&self, plugin: &Plugin, config: &Value) -> Result<WasmCleaner> {
        plugin.expect(Kind::Cleaner)?;
        WasmCleaner::new(plugin.clone(), plugin.config(config)?.to_string())
    }

    fn loader<'a>(&'a self, name: &'a str) -> Loader<'a> {
        let limit_bytes = self.inner.around.budgets.component_bytes;
        Loader { engine: &self.inner.engine, cache: self.inner.cache.as_ref(), limit_bytes, name }
    }

    fn plugin(&self, name: &str, loaded: Loaded) -> Result<Plugin> {
        Plugin::link(self.clone(), &self.inner.linker, name, loaded)
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    pub(crate) fn around(&self) -> &Arc<Surroundings> {
        &self.inner.around
    }

    pub(crate) fn threads(&self) -> usize {
        self.inner.threads
    }
}

/// Things that one plugin may ask for.
const ASKS_LIMIT: usize = 100;
