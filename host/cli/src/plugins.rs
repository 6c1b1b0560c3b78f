//! Plugins of a command: the host that runs them, with what it needs from this machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use lakehost_fetch::{FetchLimits, Ledger};
use lakehost_pipeline::Fault;
use lakehost_pipeline::ports::Cleaner;
use lakehost_wasm::{Ask, Budgets, FetchOptions, Grants, HostOptions, Kind, Plugin, WasmHost, WasmSource};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::approve::{self, Operator, Petition};
use crate::config::resolve::Allow;
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

    /// What a source may reach: what it asks for, as far as the operator gives it.
    ///
    /// # Errors
    /// `LH0801` when the pipeline's `allow` leaves it nothing of an ask; `LH0802` when nobody gives anything of it.
    pub fn grants(
        &self,
        source: &Plugin,
        config: &Value,
        allow: &Allow,
        operator: &mut dyn Operator,
    ) -> Result<Grants, Fault> {
        let asks = self.host.asks(source, config)?;
        let known = embedded::vouches_for(source.digest());
        match decide(&asks, allow, known)? {
            Decided::Granted(grants) => Ok(grants),
            Decided::Missing(missing) => {
                let plugin = source.about()?.id.to_string();
                if let (true, Some(pipeline)) = (known, &allow.pipeline) {
                    return Err(Error::NotAllowed {
                        pipeline: pipeline.name.clone(),
                        file: pipeline.file.clone(),
                        plugin,
                        missing,
                        allowed: allow.values(),
                    }
                    .into());
                }
                approve::settle(
                    &Petition { plugin: &plugin, digest: source.digest(), known: false, missing: &missing },
                    operator,
                )?;
                // A person said yes: all that it asks for, and what `--allow` opens beyond that.
                Ok(with_networks(Grants::all(&asks), &Grants::effective(&asks, &allow.values())?.grants))
            }
        }
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

/// What came of the asks.
#[derive(Debug, PartialEq, Eq)]
enum Decided {
    Granted(Grants),
    /// Asks that nothing given touches, as `--allow` writes them.
    Missing(Vec<String>),
}

/// What a source asks for, cut to what the operator gives: `allow`, and of a plugin that this binary vouches for all that it asks for, unless its
/// pipeline says by an `allow` of its own what that is. A value narrower than an ask narrows it; what lies outside is refused when it is reached for.
fn decide(asks: &[Ask], allow: &Allow, known: bool) -> Result<Decided, Fault> {
    let values = allow.values();
    let given = Grants::effective(asks, &values)?.grants;
    if known && allow.pipeline.is_none() {
        return Ok(Decided::Granted(with_networks(Grants::all(asks), &given)));
    }
    let mut missing = Vec::new();
    for ask in asks {
        let one = Grants::effective(std::slice::from_ref(ask), &values)?;
        let touched = one.grants.urls.iter().any(|url| url.contains("://"));
        if !one.missing.is_empty() && !touched {
            missing.push(ask.value().to_owned());
        }
    }
    Ok(if missing.is_empty() { Decided::Granted(given) } else { Decided::Missing(missing) })
}

/// The grants, and the private networks that others open beyond them.
fn with_networks(mut grants: Grants, others: &Grants) -> Grants {
    for url in &others.urls {
        if !grants.urls.contains(url) {
            grants.urls.push(url.clone());
        }
    }
    grants
}

/// Grants as `--allow` writes them.
pub fn shown(grants: &Grants) -> Vec<String> {
    let words = [(grants.clock, Ask::Clock), (grants.random, Ask::Random)];
    let words = words.into_iter().filter(|(given, _)| *given).map(|(_, ask)| ask.value().to_owned());
    grants.urls.iter().cloned().chain(words).collect()
}

/// The source of a command is one. `pipeline`: the one that names it; none: a flag does.
///
/// # Errors
/// `LH0101` with the flag or key that takes the plugin.
pub fn expect_source(plugin: &Plugin, pipeline: Option<&str>) -> Result<(), Error> {
    if plugin.kind() == Kind::Source { Ok(()) } else { Err(wrong_kind(plugin.name(), Kind::Source, pipeline)) }
}

/// The cleaners of a command are cleaners, as for [`expect_source`].
pub fn expect_cleaners(plugins: &[Plugin], pipeline: Option<&str>) -> Result<(), Error> {
    match plugins.iter().find(|plugin| plugin.kind() != Kind::Cleaner) {
        Some(plugin) => Err(wrong_kind(plugin.name(), Kind::Cleaner, pipeline)),
        None => Ok(()),
    }
}

fn wrong_kind(plugin: &str, wanted: Kind, pipeline: Option<&str>) -> Error {
    let name =
        Path::new(plugin).file_name().map_or_else(|| plugin.to_owned(), |name| name.to_string_lossy().into_owned());
    let flag = match (wanted, pipeline) {
        (Kind::Source, None) => "--plugin".to_owned(),
        (Kind::Cleaner, None) => "--cleaner".to_owned(),
        (Kind::Source, Some(pipeline)) => format!("`plugin` of [pipeline.{pipeline}]"),
        (Kind::Cleaner, Some(pipeline)) => format!("`plugin` of [[pipeline.{pipeline}.cleaner]]"),
    };
    let way_out = match (wanted, pipeline) {
        (Kind::Source, None) => {
            format!("give it as --cleaner {plugin}, and a source as --plugin, such as --plugin nyc_tlc.wasm")
        }
        (Kind::Cleaner, None) => {
            format!("give it as --plugin {plugin}, and a cleaner as --cleaner, such as --cleaner trip_cleaner.wasm")
        }
        (Kind::Source, Some(pipeline)) => {
            format!("move {name} to a [[pipeline.{pipeline}.cleaner]] section, and name a source here")
        }
        (Kind::Cleaner, Some(pipeline)) => {
            format!("name {name} as `plugin` of [pipeline.{pipeline}], and a cleaner here")
        }
    };
    let (kind, wanted) = match wanted {
        Kind::Source => (Kind::Cleaner.word(), wanted.word()),
        Kind::Cleaner => (Kind::Source.word(), wanted.word()),
    };
    Error::PluginKind { plugin: name, kind, flag, wanted, way_out }
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

#[cfg(test)]
mod tests {
    use lakehost_pipeline::Diagnostic;

    use super::*;
    use crate::config::resolve::PipelineAllow;

    const ASK: &str = "https://data.example/trips/";

    /// `pipeline`: its `allow`, comma-separated; `-`: it has none.
    fn check(known: bool, pipeline: &str, flags: &[&str], expected: &str) {
        let values = |text: &str| text.split(',').filter(|value| !value.is_empty()).map(str::to_owned).collect();
        let allow = Allow {
            pipeline: (pipeline != "-").then(|| PipelineAllow {
                name: "p".to_owned(),
                file: "f".to_owned(),
                values: values(pipeline),
            }),
            flags: flags.iter().map(|flag| (*flag).to_owned()).collect(),
        };
        let asks = [Ask::UrlPrefix(ASK.to_owned()), Ask::Clock];
        let got = match decide(&asks, &allow, known).unwrap() {
            Decided::Granted(grants) => shown(&grants).join(" "),
            Decided::Missing(missing) => format!("missing {}", missing.join(" ")),
        };
        assert_eq!(got, expected, "{known} {pipeline} {flags:?}");
    }

    #[test]
    fn a_pipeline_narrows_what_a_shipped_plugin_may_reach() {
        let all = format!("{ASK} clock");
        let narrow = "https://data.example/trips/green/";
        check(true, "-", &[], &all);
        check(true, "-", &["10.0.0.0/8"], &format!("{ASK} 10.0.0.0/8 clock"));
        check(true, "https://data.example/,clock", &[], &all);
        check(true, &format!("{narrow},clock"), &[], &format!("{narrow} clock"));
        check(true, "", &[], &format!("missing {all}"));
        check(true, "https://other.example/,clock", &[], &format!("missing {ASK}"));
        check(true, "https://other.example/,clock", &[ASK], &all);
        check(true, "10.0.0.0/8,clock", &[], &format!("missing {ASK}"));
        check(true, ASK, &[], "missing clock");
        check(false, "-", &[], &format!("missing {all}"));
        check(false, "-", &[narrow, "clock"], &format!("{narrow} clock"));
        check(false, "-", &[ASK, "clock", "random"], &all);
        check(false, "https://data.example/,clock", &[], &all);
    }

    #[test]
    fn a_plugin_in_the_wrong_place_has_a_way_out() {
        for (wanted, pipeline, expected) in [
            (
                Kind::Source,
                None,
                "LH0101: x.wasm is a cleaner, and --plugin wants a source; give it as --cleaner a/x.wasm, and a source as --plugin, such as --plugin nyc_tlc.wasm",
            ),
            (
                Kind::Cleaner,
                None,
                "LH0101: x.wasm is a source, and --cleaner wants a cleaner; give it as --plugin a/x.wasm, and a cleaner as --cleaner, such as --cleaner trip_cleaner.wasm",
            ),
            (
                Kind::Cleaner,
                Some("t"),
                "LH0101: x.wasm is a source, and `plugin` of [[pipeline.t.cleaner]] wants a cleaner; name x.wasm as `plugin` of [pipeline.t], and a cleaner here",
            ),
        ] {
            let error = wrong_kind("a/x.wasm", wanted, pipeline);
            assert_eq!(format!("{}: {error}; {}", error.code(), error.hint().unwrap_or_default()), expected);
        }
    }
}
