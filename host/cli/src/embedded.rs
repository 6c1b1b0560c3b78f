//! The components that travel inside this binary, and how a named plugin is found.
//!
//! An embedded component is known by the sha256 of its bytes: what it asks for is granted without a question, also when the same bytes come
//! from a file.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use sha2::{Digest, Sha256};

use crate::config::resolve::PluginRequest;
use crate::error::Error;

/// File name → bytes. Empty when the binary was built without components.
const COMPONENTS: &[(&str, &[u8])] = include!(concat!(env!("OUT_DIR"), "/components.rs"));

/// A component that was found.
pub struct Component {
    /// As it was named.
    pub name: String,
    /// Its bytes: of the file, or of this binary.
    pub bytes: std::borrow::Cow<'static, [u8]>,
    /// Lower-case hex.
    pub sha256: String,
    /// Whether this binary vouches for it.
    pub known: bool,
}

/// Names of the components in this binary.
pub fn names() -> Vec<&'static str> {
    COMPONENTS.iter().map(|(name, _)| *name).collect()
}

/// Names, sizes and digests of the components in this binary.
pub fn all() -> impl Iterator<Item = (&'static str, usize, &'static str)> {
    COMPONENTS.iter().zip(digests()).map(|((name, bytes), digest)| (*name, bytes.len(), digest.as_str()))
}

/// The component that a request names: the file when there is one, else the embedded one of that name.
pub fn find(request: &PluginRequest) -> Result<Component, Error> {
    let path = request.folder.join(&request.name);
    match fs::read(&path) {
        Ok(bytes) => {
            let sha256 = hex_digest(&bytes);
            let known = digests().contains(&sha256);
            Ok(Component { name: request.name.clone(), bytes: bytes.into(), sha256, known })
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            // Only a bare name means an embedded component: `./nyc_tlc.wasm` is a file or an error.
            let bare = Path::new(&request.name).components().count() == 1 && !request.name.starts_with("./");
            COMPONENTS
                .iter()
                .zip(digests())
                .find(|((name, _), _)| bare && *name == request.name)
                .map(|((name, bytes), sha256)| Component {
                    name: (*name).to_owned(),
                    bytes: (*bytes).into(),
                    sha256: sha256.clone(),
                    known: true,
                })
                .ok_or_else(|| Error::PluginMissing { name: request.name.escape_debug().to_string(), embedded: names() })
        }
        Err(error) => Err(Error::file(&path, "read", error)),
    }
}

fn digests() -> &'static [String] {
    static DIGESTS: OnceLock<Vec<String>> = OnceLock::new();
    DIGESTS.get_or_init(|| COMPONENTS.iter().map(|(_, bytes)| hex_digest(bytes)).collect())
}

fn hex_digest(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    Sha256::digest(bytes).iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
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
        fs::write(folder.path().join("a.wasm"), b"abc").unwrap();
        let component = find(&request("a.wasm", folder.path())).unwrap();
        assert_eq!(component.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert!(!component.known);
    }

    #[test]
    fn what_is_missing_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let error = find(&request("none.wasm", folder.path())).err().unwrap();
        assert_eq!((error.code().0, error.to_string().as_str()), ("LH0206", "there is no plugin none.wasm"));
        assert!(find(&request("./nyc_tlc.wasm", folder.path())).is_err());
    }

    #[test]
    fn embedded_components_are_known() {
        for (name, size, digest) in all() {
            let component = find(&request(name, Path::new("/nonexistent"))).unwrap();
            assert!(component.known && component.bytes.len() == size && component.sha256 == digest);
        }
    }
}
