//! Java: the least version that is enough, wherever it lies.

use std::path::{Path, PathBuf};

use crate::Error;
use crate::versions::JavaProgram;

/// Where Linux distributions put Java.
const SYSTEM: &str = "/usr/lib/jvm";
/// Names a Java home to look at first.
const VARIABLES: [&str; 2] = ["LAKEHOST_JAVA_HOME", "JAVA_HOME"];

/// A Java development kit.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Java {
    pub major: u32,
    pub home: PathBuf,
}

impl Java {
    /// One of its programs.
    #[must_use]
    pub fn program(&self, name: &str) -> PathBuf {
        self.home.join("bin").join(name)
    }
}

/// The oldest kit that runs a program of that name.
pub fn of(name: &'static str, program: &JavaProgram) -> Result<Java, Error> {
    let (least, below) = (program.java, program.java_below.unwrap_or(u32::MAX));
    let named = VARIABLES.iter().filter_map(std::env::var_os).map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).filter_map(|folder| home_of(&folder.join("java")));
    let system = std::fs::read_dir(SYSTEM).into_iter().flatten().flatten().map(|entry| entry.path());
    let kits = named.chain(in_path).chain(system).filter_map(|home| kit(&home));
    let found = kits.filter(|kit| (least..below).contains(&kit.major)).min();
    let wanted = match program.java_below {
        Some(below) => format!("{least} to {}", below.saturating_sub(1)),
        None => format!("{least} or newer"),
    };
    found.ok_or_else(|| Error::Missing {
        service: name,
        what: format!("a Java development kit of version {wanted}"),
        install: match least {
            ..=17 => "apt-get install openjdk-17-jdk-headless, or name one with LAKEHOST_JAVA_HOME".to_owned(),
            _ => "install one (Debian: openjdk-25-jdk-headless or temurin-25-jdk), or name one with LAKEHOST_JAVA_HOME"
                .to_owned(),
        },
    })
}

/// The home of a `java` in the path, which is often a link to it.
fn home_of(java: &Path) -> Option<PathBuf> {
    java.canonicalize().ok()?.parent()?.parent().map(Path::to_owned)
}

fn kit(home: &Path) -> Option<Java> {
    let home = home.canonicalize().ok()?;
    let release = std::fs::read_to_string(home.join("release")).ok()?;
    let version = release.lines().find_map(|line| line.strip_prefix("JAVA_VERSION="))?;
    let major = version.trim_matches('"').split('.').next()?.parse().ok()?;
    // A runtime alone has no compiler.
    home.join("bin/javac").is_file().then_some(Java { major, home })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::versions::versions;

    #[test]
    fn a_kit_tells_its_version() {
        let folder = tempfile::tempdir().unwrap();
        let home = folder.path().canonicalize().unwrap();
        assert_eq!(kit(&home), None);
        std::fs::write(home.join("release"), "IMPLEMENTOR=\"x\"\nJAVA_VERSION=\"25.0.1\"\n").unwrap();
        assert_eq!(kit(&home), None, "a runtime without a compiler");
        std::fs::create_dir(home.join("bin")).unwrap();
        std::fs::write(home.join("bin/javac"), "").unwrap();
        assert_eq!(kit(&home), Some(Java { major: 25, home }));
        let mut program = versions().unwrap().spark;
        program.java = 9_999;
        program.java_below = None;
        let error = of("spark", &program).unwrap_err();
        assert_eq!(
            error.to_string(),
            "spark needs a Java development kit of version 9999 or newer, which is not on this machine"
        );
        assert!(matches!(error, Error::Missing { install, .. } if install.contains("LAKEHOST_JAVA_HOME")));
        // Newer is not enough where a program was left behind.
        (program.java, program.java_below) = (1, Some(2));
        let error = of("spark", &program).unwrap_err().to_string();
        assert!(error.contains("of version 1 to 1,"), "{error}");
    }
}
