//! Programs from Go modules: `go mod download` for the hash, `go install` for the program.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Installer, client};
use crate::versions::GoProgram;
use crate::{Error, Service};

/// Where a built program lies.
pub fn program(cache: &Path, program: &GoProgram) -> PathBuf {
    let name = program.package.rsplit('/').next().unwrap_or_default();
    cache.join(format!("{name}-{}", program.version)).join(name)
}

/// The program, built when it is not there yet: that takes minutes.
pub fn build(installer: &Installer<'_>, service: Service, wanted: &GoProgram) -> Result<PathBuf, Error> {
    let built = program(installer.cache, wanted);
    if built.is_file() {
        return Ok(built);
    }
    let missing = || Error::Missing {
        service: service.name(),
        what: "`go`, which builds it".to_owned(),
        install: "apt-get install golang-go, or name a program with LAKEHOST_MINIO".to_owned(),
    };
    let item = format!("{}-{}", wanted.package.rsplit('/').next().unwrap_or_default(), wanted.version);
    let (folder, _lock) = installer.item(&item)?;
    if built.is_file() {
        return Ok(built);
    }
    let module = format!("{}@{}", wanted.module, wanted.version);
    installer.watch.say(&format!("building {module}; this takes minutes, once"));
    let log = installer.log(&item);
    // The hash first: `go install` runs what it gets through a compiler only.
    let downloaded = installer.log(&format!("{item}.download"));
    let _ = std::fs::remove_file(&downloaded);
    let mut download = Command::new("go");
    download.args(["mod", "download", "-json", &module]).current_dir(&folder).env("GOFLAGS", "-mod=mod");
    client::run(&mut download, &downloaded, installer.watch).map_err(|error| error.unwrap_or_else(missing))?;
    let text = std::fs::read_to_string(&downloaded).map_err(Error::file(&downloaded, "read"))?;
    let found = sum(&text).unwrap_or_default();
    if found != wanted.sum {
        return Err(Error::Checksum { what: module, pinned: wanted.sum.clone(), found });
    }
    // Built beside its place, so that a half program is never taken for one.
    let bin = folder.join("building");
    let mut install = Command::new("go");
    install.args(["install", "-p", "2", &format!("{}@{}", wanted.package, wanted.version)]).current_dir(&folder);
    install.env("GOBIN", &bin).env("GOFLAGS", "-buildvcs=false");
    client::run(&mut install, &log, installer.watch).map_err(|error| error.unwrap_or_else(missing))?;
    let name = built.file_name().unwrap_or_default();
    std::fs::rename(bin.join(name), &built).map_err(Error::file(&built, "written"))?;
    let _ = std::fs::remove_dir(&bin);
    Ok(built)
}

/// The module's hash in what `go mod download -json` prints, among words of other origin.
fn sum(text: &str) -> Option<String> {
    let json: serde_json::Value = serde_json::from_str(text.get(text.find('{')?..=text.rfind('}')?)?).ok()?;
    json["Sum"].as_str().map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_found() {
        let said =
            "go: downloading x\n{\n\t\"Path\": \"x\",\n\t\"Sum\": \"h1:abc=\",\n\t\"GoModSum\": \"h1:def=\"\n}\n";
        assert_eq!(sum(said).as_deref(), Some("h1:abc="));
        assert_eq!(sum("no answer"), None);
    }
}
