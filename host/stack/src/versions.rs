//! `services.toml`: what the stack is made of, with checksums.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::Error;

const TEXT: &str = include_str!("services.toml");

/// All of the file.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Versions {
    pub maven_plugin: String,
    pub minio: GoProgram,
    pub versitygw: GoProgram,
    pub postgres: Package,
    pub rest: JavaProgram,
    pub nessie: JavaProgram,
    pub trino: JavaProgram,
    /// Reads and writes the catalog from outside; its version is that of `pyspark`.
    pub spark: JavaProgram,
    /// Images that the compose file alone starts.
    pub images: BTreeMap<String, String>,
}

/// A program that `go install` builds.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GoProgram {
    pub image: String,
    pub module: String,
    /// The package of its `main`.
    pub package: String,
    pub version: String,
    /// The module's hash, as go.sum has it.
    pub sum: String,
}

/// A program that the system's package manager brings.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Package {
    pub image: String,
    pub version: String,
}

/// A program of files that Maven fetches.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JavaProgram {
    pub image: String,
    pub version: String,
    /// The least Java that runs it.
    pub java: u32,
    /// The least Java that does not, where there is one.
    #[serde(default)]
    pub java_below: Option<u32>,
    /// The most memory for its objects, as `-Xmx` takes it.
    pub heap: String,
    /// `group:artifact:version:extension[:classifier]` → SHA-256.
    pub artifacts: BTreeMap<String, String>,
}

impl JavaProgram {
    /// Its files as `group:artifact:version`, which resolvers take.
    #[must_use]
    pub fn packages(&self) -> Vec<String> {
        let package = |coordinate: &String| coordinate.split(':').take(3).collect::<Vec<_>>().join(":");
        self.artifacts.keys().map(package).collect()
    }
}

/// What this binary was built with.
pub fn versions() -> Result<Versions, Error> {
    toml::from_str(TEXT).map_err(|error| Error::Versions { message: error.to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_pinned() {
        let versions = versions().unwrap();
        for program in [&versions.rest, &versions.nessie, &versions.trino, &versions.spark] {
            assert!(!program.artifacts.is_empty());
            for (coordinate, sha256) in &program.artifacts {
                assert!((4..=5).contains(&coordinate.split(':').count()), "{coordinate}");
                assert!(sha256.len() == 64 && sha256.bytes().all(|byte| byte.is_ascii_hexdigit()), "{coordinate}");
            }
        }
        assert!([&versions.minio, &versions.versitygw].iter().all(|program| program.sum.starts_with("h1:")));
        assert!(!TEXT.contains("://"), "the clients' own configuration says where things come from");
    }
}
