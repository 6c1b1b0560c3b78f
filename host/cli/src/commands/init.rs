//! `lakehost init`: a first `lakehost.toml`, or the JSON Schema of the file.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::Path;

use lakehost_pipeline::Fault;

use crate::args::InitArguments;
use crate::config::{file, schema};
use crate::error::Error;
use crate::exit_code;

/// What a first file holds: it runs as it stands.
const TEMPLATE: &str = include_str!("init.toml");

/// Writes the file, never over one that is there.
pub fn run(arguments: &InitArguments) -> Result<u8, Fault> {
    if arguments.schema {
        super::print_json(&schema::schema())?;
        return Ok(exit_code::SUCCESS);
    }
    let folder = &arguments.folder;
    fs::create_dir_all(folder).map_err(|error| Error::file(folder, "created", error))?;
    let path = folder.join(file::FILE_NAME);
    let created = OpenOptions::new().write(true).create_new(true).open(&path);
    match created.and_then(|mut file| file.write_all(TEMPLATE.as_bytes())) {
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            return Err(Error::Usage {
                message: format!("{} is there already", path.display()),
                hint: Some("edit it, or name another folder: `lakehost init DIR`".to_owned()),
            }
            .into());
        }
        Err(error) => return Err(Error::file(&path, "written", error).into()),
    }
    let named = if folder == Path::new(".") { String::new() } else { format!(" --file {}", quoted(&path)) };
    super::print(&format!("wrote {}\nnext: lakehost run green_trips --month 2024-01{named}\n", path.display()))?;
    Ok(exit_code::SUCCESS)
}

/// A path as a shell takes it.
pub fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let plain = text.chars().all(|c| c.is_alphanumeric() || "/._-+:@%,=".contains(c));
    if plain { text } else { format!("'{}'", text.replace('\'', "'\\''")) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::RunArguments;
    use crate::config::resolve;

    #[test]
    fn paths_survive_a_shell() {
        assert_eq!(quoted(Path::new("new/lakehost.toml")), "new/lakehost.toml");
        assert_eq!(quoted(Path::new("it's new/a")), "'it'\\''s new/a'");
    }

    #[test]
    fn the_first_file_can_be_run() {
        let folder = tempfile::tempdir().unwrap();
        let arguments = InitArguments { folder: folder.path().join("new"), schema: false };
        assert_eq!(run(&arguments).unwrap(), 0);
        let mut asked = RunArguments { pipeline: Some("green_trips".to_owned()), ..RunArguments::default() };
        asked.place.file = Some(arguments.folder.join(file::FILE_NAME));
        let request = resolve::run(&asked).unwrap();
        assert_eq!(request.source.name, "nyc_tlc.wasm");
        assert_eq!(run(&arguments).unwrap_err().code().0, "LH0101", "never over one that is there");
    }
}
