//! From bytes to a component that may run: size, digest, compilation or cache, and the contract that it speaks.

use std::fs::File;
use std::io::{Read, Seek};
use std::path::Path;

use sha2::{Digest, Sha256};
use wasmtime::Engine;
use wasmtime::component::Component;

use crate::cache::AotCache;
use crate::error::{Error, Result, shown};

/// What a plugin does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Source,
    Cleaner,
}

impl Kind {
    /// The word for people and for JSON.
    pub fn word(self) -> &'static str {
        match self {
            Self::Source => "source",
            Self::Cleaner => "cleaner",
        }
    }

    /// Interfaces of the contract that a plugin of this kind may import.
    fn services(self) -> &'static [&'static str] {
        match self {
            Self::Source => &["types", "batches", "blobs", "readers", "telemetry"],
            Self::Cleaner => &["types", "batches", "telemetry"],
        }
    }
}

/// The package of the contract, and the version that this host speaks.
const PACKAGE: &str = "lakehost:plugin/";
const VERSION: &str = "0.1.0";
/// WASI packages that standard libraries import; each is linked, and empty.
const WASI: &[&str] = &["wasi:cli/", "wasi:clocks/", "wasi:filesystem/", "wasi:io/", "wasi:random/", "wasi:sockets/"];

/// What the first eight bytes of a component and of a plain module are.
const COMPONENT_PREAMBLE: &[u8] = b"\0asm\x0d\0\x01\0";
const MODULE_PREAMBLE: &[u8] = b"\0asm\x01\0\0\0";
const HASH_PART_BYTES: usize = 64 << 10;

/// A compiled component, and what its own interface says.
pub(crate) struct Loaded {
    pub component: Component,
    pub kind: Kind,
    /// `lakehost:plugin/source@0.1.0`.
    pub contract: String,
    pub imports: Vec<String>,
    /// sha256 of the bytes that were compiled, lower-case hex.
    pub digest: String,
    pub size_bytes: u64,
}

/// Loads plugins for one engine.
pub(crate) struct Loader<'a> {
    pub engine: &'a Engine,
    pub cache: Option<&'a AotCache>,
    pub limit_bytes: usize,
    /// What messages call the plugin.
    pub name: &'a str,
}

impl Loader<'_> {
    /// Loads from memory.
    pub fn bytes(&self, bytes: &[u8]) -> Result<Loaded> {
        self.check_start(bytes, bytes.len() as u64)?;
        let digest = hex::encode(Sha256::digest(bytes));
        let component = match self.cached(&digest) {
            Some(component) => component,
            None => self.compile(&digest, bytes)?,
        };
        self.inspected(component, digest, bytes.len() as u64)
    }

    /// Loads a file. On a warm start its bytes are hashed and never held.
    pub fn file(&self, path: &Path) -> Result<Loaded> {
        let failed = |source| Error::Io { doing: "read", path: path.to_owned(), source };
        let mut file = File::open(path).map_err(failed)?;
        let size_bytes = file.metadata().map_err(failed)?.len();
        let mut hasher = Sha256::new();
        let mut part = vec![0; HASH_PART_BYTES];
        let mut first = true;
        loop {
            let length = file.read(&mut part).map_err(failed)?;
            if first {
                self.check_start(part.get(..length).unwrap_or_default(), size_bytes)?;
                first = false;
            }
            if length == 0 {
                break;
            }
            hasher.update(part.get(..length).unwrap_or_default());
        }
        let digest = hex::encode(hasher.finalize());
        if let Some(component) = self.cached(&digest) {
            return self.inspected(component, digest, size_bytes);
        }
        file.rewind().map_err(failed)?;
        let mut bytes = Vec::new();
        file.take(self.limit_bytes as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
        // Hashed again: what is compiled is what has the digest, even when someone rewrote the file meanwhile.
        self.bytes(&bytes)
    }

    fn refuse(&self, detail: impl Into<String>, hint: Option<&str>) -> Error {
        Error::Load { name: shown(self.name, 200), detail: detail.into(), hint: hint.map(str::to_owned) }
    }

    fn check_start(&self, start: &[u8], size_bytes: u64) -> Result<()> {
        if size_bytes > self.limit_bytes as u64 {
            return Err(self.refuse(format!("it has {size_bytes} bytes, the limit is {}", self.limit_bytes), None));
        }
        if start.starts_with(COMPONENT_PREAMBLE) {
            return Ok(());
        }
        Err(if start.starts_with(MODULE_PREAMBLE) {
            self.refuse(
                "it is a plain WebAssembly module, and a plugin is a component",
                Some("build it with `cargo build --release --target wasm32-wasip2`"),
            )
        } else {
            self.refuse(
                "it is not a WebAssembly component",
                Some("a plugin is a .wasm file; `lakehost plugin inspect FILE` reads it"),
            )
        })
    }

    fn cached(&self, digest: &str) -> Option<Component> {
        self.cache?.load(self.engine, digest)
    }

    fn compile(&self, digest: &str, bytes: &[u8]) -> Result<Component> {
        tracing::info!(plugin = self.name, "compiling a plugin for the first time");
        let component = Component::from_binary(self.engine, bytes)
            .map_err(|error| self.refuse(shown(&innermost(&error), 300), None))?;
        if let Some(cache) = self.cache {
            let stored = component
                .serialize()
                .map_err(|error| std::io::Error::other(error.to_string()))
                .and_then(|compiled| cache.store(digest, &compiled));
            if let Err(error) = stored {
                tracing::warn!(plugin = self.name, %error, "cannot keep a compiled plugin; the next start compiles again");
            }
        }
        Ok(component)
    }

    fn inspected(&self, component: Component, digest: String, size_bytes: u64) -> Result<Loaded> {
        let interface = component.component_type();
        let exports: Vec<String> = interface.exports(self.engine).map(|(name, _)| name.to_owned()).collect();
        let imports: Vec<String> = interface.imports(self.engine).map(|(name, _)| name.to_owned()).collect();
        let (kind, contract) = contract(&exports).map_err(|detail| self.refuse(detail, None))?;
        if let Some(unknown) = imports.iter().find(|import| !offered(kind, import)) {
            return Err(self.refuse(
                format!("it imports {}, which lakehost does not offer to a {}", shown(unknown, 200), kind.word()),
                None,
            ));
        }
        Ok(Loaded { component, kind, contract, imports, digest, size_bytes })
    }
}

/// The last cause of an error, on which the others only build.
pub(crate) fn innermost(error: &wasmtime::Error) -> String {
    error.chain().last().map_or_else(|| error.to_string(), ToString::to_string)
}

/// Which plugin these exports make.
fn contract(exports: &[String]) -> Result<(Kind, String), String> {
    let ours: Vec<&String> = exports.iter().filter(|name| name.starts_with(PACKAGE)).collect();
    let found = |names: &[&String]| names.iter().map(|name| shown(name, 120)).collect::<Vec<_>>().join(", ");
    match ours.as_slice() {
        [] => {
            let all: Vec<&String> = exports.iter().take(8).collect();
            let instead = if all.is_empty() { "nothing".to_owned() } else { found(&all) };
            Err(format!("it exports neither `{PACKAGE}source` nor `{PACKAGE}cleaner`, but {instead}"))
        }
        [one] => {
            let rest = one.strip_prefix(PACKAGE).unwrap_or_default();
            let (interface, version) = rest.split_once('@').unwrap_or((rest, ""));
            let kind = match interface {
                "source" => Kind::Source,
                "cleaner" => Kind::Cleaner,
                _ => return Err(format!("it exports {}, which is neither a source nor a cleaner", shown(one, 120))),
            };
            if version != VERSION {
                return Err(format!("it speaks {}, and this lakehost knows version {VERSION}", shown(one, 120)));
            }
            Ok((kind, (*one).clone()))
        }
        several => Err(format!("it exports {}, and a plugin is one thing", found(several))),
    }
}

fn offered(kind: Kind, import: &str) -> bool {
    if let Some(rest) = import.strip_prefix(PACKAGE) {
        return rest
            .split_once('@')
            .is_some_and(|(interface, version)| version == VERSION && kind.services().contains(&interface));
    }
    WASI.iter().any(|package| import.starts_with(package))
        && import.rsplit('@').next().is_some_and(|v| v.starts_with("0.2."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(exports: &[&str], expected: &str) {
        let exports: Vec<String> = exports.iter().map(|&name| name.to_owned()).collect();
        let got = contract(&exports).map_or_else(|detail| detail, |(kind, name)| format!("{} {name}", kind.word()));
        assert_eq!(got, expected);
    }

    #[test]
    fn the_contract_is_read_from_the_exports() {
        check(&["lakehost:plugin/source@0.1.0"], "source lakehost:plugin/source@0.1.0");
        check(&["wasi:cli/run@0.2.0", "lakehost:plugin/cleaner@0.1.0"], "cleaner lakehost:plugin/cleaner@0.1.0");
        check(&[], "it exports neither `lakehost:plugin/source` nor `lakehost:plugin/cleaner`, but nothing");
        check(
            &["wasi:cli/run@0.2.0"],
            "it exports neither `lakehost:plugin/source` nor `lakehost:plugin/cleaner`, but wasi:cli/run@0.2.0",
        );
        check(
            &["lakehost:plugin/source@0.2.0"],
            "it speaks lakehost:plugin/source@0.2.0, and this lakehost knows version 0.1.0",
        );
        check(
            &["lakehost:plugin/source@0.1.0", "lakehost:plugin/cleaner@0.1.0"],
            "it exports lakehost:plugin/source@0.1.0, lakehost:plugin/cleaner@0.1.0, and a plugin is one thing",
        );
    }

    #[test]
    fn imports_are_offered_by_kind() {
        for (import, source, cleaner) in [
            ("lakehost:plugin/batches@0.1.0", true, true),
            ("lakehost:plugin/blobs@0.1.0", true, false),
            ("lakehost:plugin/readers@0.1.0", true, false),
            ("lakehost:plugin/blobs@0.2.0", false, false),
            ("lakehost:plugin/secrets@0.1.0", false, false),
            ("wasi:io/streams@0.2.9", true, true),
            ("wasi:sockets/tcp@0.2.0", true, true),
            ("wasi:clocks/wall-clock@0.3.0", false, false),
            ("wasi:http/outgoing-handler@0.2.0", false, false),
            ("env", false, false),
        ] {
            assert_eq!((offered(Kind::Source, import), offered(Kind::Cleaner, import)), (source, cleaner), "{import}");
        }
    }

    #[test]
    fn what_is_no_component_is_refused_before_it_is_compiled() {
        let engine = crate::engine::start().unwrap();
        let loader = Loader { engine: &engine, cache: None, limit_bytes: 100, name: "x.wasm" };
        let check = |bytes: &[u8], wanted: &str| {
            let error = loader.bytes(bytes).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("x.wasm");
            std::fs::write(&path, bytes).unwrap();
            let error = loader.file(&path).map(|_| ()).unwrap_err().to_string();
            assert!(error.contains(wanted), "{error}");
        };
        check(b"", "not a WebAssembly component");
        check(b"<html>", "not a WebAssembly component");
        check(b"\0asm\x01\0\0\0", "a plain WebAssembly module");
        check(b"\0asm\x0d\0\x01\0", "exports neither");
        check(b"\0asm\x0d\0\x01\0\x01", "cannot be loaded");
        check(&[0; 101], "the limit is 100");
    }
}
