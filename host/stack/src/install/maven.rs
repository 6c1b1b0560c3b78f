//! Files from Maven: one project that names exactly the pinned ones, resolved by `mvn`, and each file's SHA-256 compared.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

use super::{Installer, client};
use crate::home::{Lock, private_folder, write_private};
use crate::versions::JavaProgram;
use crate::{Error, digest};

/// A file in Maven's local repository, as it was when its hash was compared.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Verified {
    sha256: String,
    path: PathBuf,
    size: u64,
    modified_ns: u128,
}

impl Verified {
    fn of(path: &Path, sha256: String) -> std::io::Result<Self> {
        let metadata = path.metadata()?;
        let modified = metadata.modified()?.duration_since(UNIX_EPOCH).map_err(std::io::Error::other)?;
        Ok(Self { sha256, path: path.to_owned(), size: metadata.len(), modified_ns: modified.as_nanos() })
    }

    fn still_is(&self) -> bool {
        Self::of(&self.path, self.sha256.clone()).is_ok_and(|now| now == *self)
    }
}

/// The pinned files of a program by their coordinates; fetched and compared when that was not done before.
pub fn fetch(
    installer: &Installer<'_>,
    name: &'static str,
    program: &JavaProgram,
    plugin: &str,
) -> Result<BTreeMap<String, PathBuf>, Error> {
    private_folder(installer.cache)?;
    let record = record(installer.cache, name, program);
    if let Some(known) = known(&record, program) {
        return Ok(known);
    }
    // Maven's local repository is not made for two writers.
    let _lock = Lock::take(&installer.cache.join("maven.lock"), installer.watch)?;
    if let Some(known) = known(&record, program) {
        return Ok(known);
    }
    installer.watch.say(&format!("fetching {name} {}", program.version));
    let found = resolve(installer, name, program, plugin)?;
    let verified = compared(program, &found, &installer.log(name))?;
    let text = serde_json::to_vec_pretty(&verified)
        .map_err(|error| Error::State { path: record.clone(), message: error.to_string() })?;
    write_private(&record, &text)?;
    Ok(verified.into_iter().map(|(coordinate, file)| (coordinate, file.path)).collect())
}

/// All files of a program among those that were found, each with the hash that is pinned.
fn compared(program: &JavaProgram, found: &[PathBuf], log: &Path) -> Result<BTreeMap<String, Verified>, Error> {
    let mut verified = BTreeMap::new();
    for (coordinate, sha256) in &program.artifacts {
        let name = file_name(coordinate);
        let path = found.iter().find(|path| path.file_name().is_some_and(|found| found == name.as_str()));
        let path = path.ok_or_else(|| Error::Fetch {
            what: coordinate.clone(),
            said: "mvn answers without it".to_owned(),
            log: log.to_owned(),
        })?;
        let now = digest::of_file(path).map_err(Error::file(path, "read"))?;
        if now != *sha256 {
            return Err(Error::Checksum { what: path.display().to_string(), pinned: sha256.clone(), found: now });
        }
        verified.insert(coordinate.clone(), Verified::of(path, now).map_err(Error::file(path, "read"))?);
    }
    Ok(verified)
}

/// Where it is written what was fetched and compared.
fn record(cache: &Path, name: &str, program: &JavaProgram) -> PathBuf {
    cache.join(format!("{name}-{}.json", program.version))
}

/// Whether nothing of a program would have to be fetched.
pub fn is_fetched(cache: &Path, name: &str, program: &JavaProgram) -> bool {
    known(&record(cache, name, program), program).is_some()
}

/// What was fetched and compared before, when all of it is still there.
fn known(record: &Path, program: &JavaProgram) -> Option<BTreeMap<String, PathBuf>> {
    let verified: BTreeMap<String, Verified> = serde_json::from_slice(&std::fs::read(record).ok()?).ok()?;
    let whole = program.artifacts.iter().all(|(coordinate, sha256)| {
        verified.get(coordinate).is_some_and(|file| file.sha256 == *sha256 && file.still_is())
    });
    let wanted = |coordinate: &String| program.artifacts.contains_key(coordinate);
    whole.then(|| verified.into_iter().filter(|(name, _)| wanted(name)).map(|(name, file)| (name, file.path)).collect())
}

/// The files' paths in the local repository.
fn resolve(
    installer: &Installer<'_>,
    name: &'static str,
    program: &JavaProgram,
    plugin: &str,
) -> Result<Vec<PathBuf>, Error> {
    let pom = installer.cache.join(format!("{name}.pom.xml"));
    let paths = installer.cache.join(format!("{name}.paths"));
    let _ = std::fs::remove_file(&paths);
    write_private(&pom, project(name, program.artifacts.keys()).as_bytes())?;
    let mut mvn = Command::new("mvn");
    mvn.args(["-B", "-q", "-Dstyle.color=never", "-f"]).arg(&pom).arg(format!("{plugin}:build-classpath"));
    mvn.arg(format!("-Dmdep.outputFile={}", paths.display())).arg("-Dmdep.pathSeparator=:");
    let missing = || Error::Missing {
        service: name,
        what: "`mvn`, which fetches it".to_owned(),
        install: "apt-get install maven".to_owned(),
    };
    client::run(&mut mvn, &installer.log(name), installer.watch).map_err(|error| match error {
        Some(Error::Fetch { said, log, .. }) => Error::Fetch { what: format!("{name} {}", program.version), said, log },
        Some(other) => other,
        None => missing(),
    })?;
    let text = std::fs::read_to_string(&paths).map_err(Error::file(&paths, "read"))?;
    Ok(text.trim().split(':').map(PathBuf::from).collect())
}

/// A project that depends on exactly these files and on nothing that they name.
fn project<'a>(name: &str, coordinates: impl Iterator<Item = &'a String>) -> String {
    let mut text = format!(
        "<project xmlns=\"http://maven.apache.org/POM/4.0.0\"><modelVersion>4.0.0</modelVersion><groupId>lakehost</groupId>\
         <artifactId>{name}</artifactId><version>1</version><packaging>pom</packaging><dependencies>\n"
    );
    for coordinate in coordinates {
        let mut parts = coordinate.split(':');
        let mut part = || parts.next().unwrap_or_default();
        let (group, artifact, version, extension, classifier) = (part(), part(), part(), part(), part());
        let classifier =
            if classifier.is_empty() { String::new() } else { format!("<classifier>{classifier}</classifier>") };
        text.push_str(&format!(
            "<dependency><groupId>{group}</groupId><artifactId>{artifact}</artifactId><version>{version}</version>\
             <type>{extension}</type>{classifier}<exclusions><exclusion><groupId>*</groupId><artifactId>*</artifactId>\
             </exclusion></exclusions></dependency>\n"
        ));
    }
    text.push_str("</dependencies></project>\n");
    text
}

/// `artifact-version[-classifier].extension`
fn file_name(coordinate: &str) -> String {
    let parts: Vec<&str> = coordinate.split(':').collect();
    match parts.as_slice() {
        [_, artifact, version, extension, classifier] => format!("{artifact}-{version}-{classifier}.{extension}"),
        [_, artifact, version, extension] => format!("{artifact}-{version}.{extension}"),
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn coordinates_become_projects_and_names() {
        let plain = "io.trino:trino-iceberg:476:zip".to_owned();
        let classified = "org.x:core:1.0:jar:tests".to_owned();
        assert_eq!(
            (file_name(&plain).as_str(), file_name(&classified).as_str()),
            ("trino-iceberg-476.zip", "core-1.0-tests.jar")
        );
        let text = project("trino", [&plain, &classified].into_iter());
        assert!(text.contains("<version>476</version><type>zip</type><exclusions>"), "{text}");
        assert!(text.contains("<type>jar</type><classifier>tests</classifier>"), "{text}");
    }

    #[test]
    fn a_changed_file_is_not_taken_for_the_compared_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("core-1.0.jar");
        std::fs::write(&path, "one").unwrap();
        let coordinate = "org.x:core:1.0:jar".to_owned();
        let sha256 = digest::of_bytes(b"one");
        let program = JavaProgram {
            image: String::new(),
            version: "1.0".to_owned(),
            java: 17,
            java_below: None,
            heap: "1m".to_owned(),
            artifacts: BTreeMap::from([(coordinate.clone(), sha256.clone())]),
        };
        let record = folder.path().join("record.json");
        assert_eq!(known(&record, &program), None);
        let verified = compared(&program, std::slice::from_ref(&path), &record).unwrap();
        std::fs::write(&record, serde_json::to_vec(&verified).unwrap()).unwrap();
        assert_eq!(known(&record, &program).unwrap()[&coordinate], path);
        std::fs::write(&path, "two, longer").unwrap();
        assert_eq!(known(&record, &program), None);
        let error = compared(&program, &[path], &record).unwrap_err();
        assert!(matches!(&error, Error::Checksum { pinned, .. } if *pinned == sha256), "{error}");
        assert!(error.to_string().ends_with("core-1.0.jar is not what is pinned"), "{error}");
        let error = compared(&program, &[], &record).unwrap_err();
        assert_eq!(error.to_string(), "org.x:core:1.0:jar cannot be fetched");
    }
}
