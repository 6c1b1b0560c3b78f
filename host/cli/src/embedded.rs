//! The components that travel inside this binary, and how a named plugin is found.
//!
//! An embedded component is known by the sha256 of its bytes: what it asks for is granted without a question, also when the same bytes come
//! from a file.

use std::fs;
use std::path::{Path, PathBuf};

use lakehost_pipeline::sha256_hex;

use crate::config::resolve::PluginRequest;
use crate::error::Error;

/// Name, sha256 as lower-case hex, bytes. Empty when the binary was built without components.
const COMPONENTS: &[(&str, &str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/components.rs"));

/// A component that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// As it was named.
    pub name: String,
    pub origin: Origin,
}

/// Where a component's bytes are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    File(PathBuf),
    Embedded(&'static [u8]),
}

/// Names of the components in this binary.
pub fn names() -> Vec<&'static str> {
    COMPONENTS.iter().map(|(name, ..)| *name).collect()
}

/// Whether this binary carries the component of that digest.
pub fn vouches_for(sha256: &str) -> bool {
    COMPONENTS.iter().any(|(_, digest, _)| *digest == sha256)
}

/// The component that a request names: the file when there is one, else the embedded one of that name.
pub fn find(request: &PluginRequest) -> Result<Component, Error> {
    let path = request.folder.join(&request.name);
    match fs::metadata(&path) {
        Ok(_) => Ok(Component { name: request.name.clone(), origin: Origin::File(path) }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => embedded(&request.name)
            .ok_or_else(|| Error::PluginMissing { name: request.name.escape_debug().to_string(), embedded: names() }),
        Err(error) => Err(Error::file(&path, "read", error)),
    }
}

/// The component of that name in this binary. Only a bare name means one: `./nyc_tlc.wasm` is a file or an error.
pub fn embedded(name: &str) -> Option<Component> {
    let bare = Path::new(name).components().count() == 1 && !name.starts_with("./");
    COMPONENTS
        .iter()
        .find(|(known, ..)| bare && *known == name)
        .map(|(known, _, bytes)| Component { name: (*known).to_owned(), origin: Origin::Embedded(bytes) })
}

/// The component of that digest in this binary.
pub fn of_digest(sha256: &str) -> Option<Component> {
    COMPONENTS
        .iter()
        .find(|(_, digest, _)| *digest == sha256)
        .map(|(known, _, bytes)| Component { name: (*known).to_owned(), origin: Origin::Embedded(bytes) })
}

impl Component {
    /// The sha256 of its bytes.
    pub fn sha256(&self) -> Result<String, Error> {
        match &self.origin {
            Origin::Embedded(bytes) => Ok(sha256_hex(bytes)),
            Origin::File(path) => {
                fs::read(path).map(|bytes| sha256_hex(&bytes)).map_err(|error| Error::file(path, "read", error))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use lakehost_pipeline::Diagnostic;

    use super::*;

    fn request(name: &str, folder: &Path) -> PluginRequest {
        PluginRequest { name: name.to_owned(), folder: folder.to_owned(), table: toml::Table::new() }
    }

    #[test]
    fn a_file_is_found_from_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("nyc_tlc.wasm"), b"abc").unwrap();
        let component = find(&request("nyc_tlc.wasm", folder.path())).unwrap();
        assert_eq!(
            component.origin,
            Origin::File(folder.path().join("nyc_tlc.wasm")),
            "a file goes before an embedded one"
        );
        assert!(!vouches_for(&sha256_hex(b"abc")));
    }

    #[test]
    fn what_is_missing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = find(&request("none.wasm", folder.path())).unwrap_err();
        assert_eq!((error.code().0, error.to_string().as_str()), ("LH0101", "there is no plugin none.wasm"));
        assert!(find(&request("./nyc_tlc.wasm", folder.path())).is_err());
    }

    #[test]
    fn embedded_components_are_vouched_for() {
        for (name, digest, bytes) in COMPONENTS {
            assert_eq!(find(&request(name, Path::new("/nonexistent"))).unwrap().origin, Origin::Embedded(bytes));
            assert_eq!(sha256_hex(bytes), *digest);
            assert!(vouches_for(digest));
        }
    }
}
