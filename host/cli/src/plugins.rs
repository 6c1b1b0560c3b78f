//! Plugins of a command: the host that runs them, with what it needs from this machine.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use lakehost_fetch::{FetchLimits, Ledger};
use lakehost_pipeline::Fault;
use lakehost_pipeline::ports::Cleaner;
use lakehost_wasm::{Ask, Budgets, FetchOptions, Grants, HostOptions, Plugin, WasmHost, WasmSource};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::approve::{self, Operator, Petition};
use crate::embedded::{self, Component, Origin};
use crate::error::Error;

/// Overrides where compiled plugins are kept.
const CACHE_VARIABLE: &str = "LAKEHOST_CACHE_DIR";

/// Loads and starts plugins.
pub struct Plugins {
    pub host: WasmHost,
    /// Every request that a source made.
    pub ledger: Arc<Ledger>,
}

impl Plugins {
    /// Starts the engine. Of `memory_bytes` all guests together get at most half.
    pub fn start(runtime: &Runtime, memory_bytes: u64, stop: Arc<AtomicBool>) -> Result<Self, Fault> {
        let memory_bytes = usize::try_from(memory_bytes / 2).unwrap_or(usize::MAX);
        let options = HostOptions {
            cache_dir: cache_folder(),
            budgets: Budgets { memory_bytes, ..Budgets::default() },
            threads: std::thread::available_parallelism().map_or(1, usize::from),
            runtime: runtime.handle().clone(),
            cancel: stop,
        };
        Ok(Self { host: WasmHost::new(options)?, ledger: Ledger::new() })
    }

    /// Loads a component: compiled code comes from the cache when it is there.
    pub fn load(&self, component: &Component) -> Result<Plugin, Fault> {
        Ok(match &component.origin {
            Origin::File(path) => self.host.load_file(path)?,
            Origin::Embedded(bytes) => self.host.load(bytes, &component.name)?,
        })
    }

    /// What a source may reach: what it asks for, as far as `allow` or its digest or a person gives it.
    ///
    /// # Errors
    /// `LH0802` when nobody gives it all.
    pub fn grants(
        &self,
        source: &Plugin,
        config: &Value,
        allow: &[String],
        operator: &mut dyn Operator,
    ) -> Result<Grants, Fault> {
        let asks = self.host.asks(source, config)?;
        let decision = Grants::effective(&asks, allow)?;
        if decision.missing.is_empty() {
            return Ok(decision.grants);
        }
        let missing: Vec<String> = decision.missing.iter().map(|ask| ask.value().to_owned()).collect();
        let plugin = source.about()?.id.to_string();
        let known = embedded::vouches_for(source.digest());
        approve::settle(&Petition { plugin: &plugin, digest: source.digest(), known, missing: &missing }, operator)?;
        // Vouched for, by digest or by a person: all that it asks for, and the private networks that `allow` opens beyond that.
        let mut grants = Grants::all(&asks);
        for url in decision.grants.urls {
            if !grants.urls.contains(&url) {
                grants.urls.push(url);
            }
        }
        Ok(grants)
    }

    /// A configured cleaner.
    pub fn cleaner(&self, plugin: &Plugin, config: &Value) -> Result<Box<dyn Cleaner>, Fault> {
        #[cfg(feature = "native-cleaner")]
        if std::env::var_os("LAKEHOST_NATIVE_CLEANER").is_some() && plugin.about()?.id.name == "trip_cleaner" {
            let id = plugin.about()?.id.clone();
            return Ok(Box::new(crate::native_cleaner::NativeCleaner::new(id, plugin.config(config)?.to_string())));
        }
        Ok(Box::new(self.host.cleaner(plugin, config)?))
    }

    /// A configured source under these grants.
    pub fn source(&self, plugin: &Plugin, config: &Value, grants: &Grants) -> Result<WasmSource, Fault> {
        // Bodies wait in files without a name: they are gone with the process, however it ends.
        let fetch = FetchOptions {
            limits: FetchLimits::default(),
            spool_dir: std::env::temp_dir(),
            ledger: Arc::clone(&self.ledger),
        };
        Ok(self.host.source(plugin, config, grants, fetch)?)
    }
}

/// Grants as `--allow` writes them.
pub fn shown(grants: &Grants) -> Vec<String> {
    let words = [(grants.clock, Ask::Clock), (grants.random, Ask::Random)];
    let words = words.into_iter().filter(|(given, _)| *given).map(|(_, ask)| ask.value().to_owned());
    grants.urls.iter().cloned().chain(words).collect()
}

/// The source of a command, refused when it is a cleaner. (A cleaner that is a source is refused where it is configured.)
pub fn expect_source(plugin: &Plugin) -> Result<(), Error> {
    if plugin.kind() == lakehost_wasm::Kind::Source {
        return Ok(());
    }
    Err(Error::Usage {
        message: format!("{} is a cleaner, and the source of a run is wanted", plugin.name()),
        hint: Some("give it as --cleaner, and a source as --plugin".to_owned()),
    })
}

/// Where compiled plugins are kept: `$LAKEHOST_CACHE_DIR`, else the user's cache folder, else one of the user's in the temporary folder.
pub fn cache_folder() -> PathBuf {
    let folder = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(own) = folder(CACHE_VARIABLE) {
        return own;
    }
    match folder("XDG_CACHE_HOME").or_else(|| Some(folder("HOME")?.join(".cache"))) {
        Some(cache) => cache.join("lakehost").join("components"),
        None => {
            // SAFETY: `geteuid` takes nothing and cannot fail.
            let user = unsafe { libc::geteuid() };
            std::env::temp_dir().join(format!("lakehost-cache-{user}"))
        }
    }
}
