//! `lakehost stack logs`: the end of a service's log, and what is added to it.

use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::sync::atomic::Ordering;
use std::time::Duration;

use lakehost_pipeline::Fault;
use lakehost_stack::Service;

use crate::args::StackLogsArguments;
use crate::error::Error;
use crate::{exit_code, signals};

/// Between two looks at a log that is followed.
const PAUSE: Duration = Duration::from_millis(200);
/// More than this of a log is not searched for the newest lines.
const NEWEST_BYTES: u64 = 16 << 20;

/// Prints the log. A service that never started has none, and that is said.
pub fn run(arguments: &StackLogsArguments) -> Result<u8, Fault> {
    let home = super::home(&arguments.place)?;
    let path = home.log_file(Service::from(arguments.service));
    let mut file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(Error::Usage {
                message: format!(
                    "{} was not started yet by this stack: there is no {}",
                    Service::from(arguments.service),
                    path.display()
                ),
                hint: Some(
                    "`lakehost stack status` shows the services; --name or --home choose another stack".to_owned(),
                ),
            }
            .into());
        }
        Err(error) => return Err(Error::file(&path, "read", error).into()),
    };
    let read = |file: &mut File| {
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map(|_| bytes).map_err(|error| Error::file(&path, "read", error))
    };
    let length = file.metadata().map(|metadata| metadata.len()).unwrap_or_default();
    if arguments.lines > 0 && length > NEWEST_BYTES {
        file.seek(SeekFrom::Start(length - NEWEST_BYTES)).map_err(|error| Error::file(&path, "read", error))?;
    }
    let bytes = read(&mut file)?;
    super::super::print(&String::from_utf8_lossy(newest(&bytes, arguments.lines)))?;
    if !arguments.follow {
        return Ok(exit_code::SUCCESS);
    }
    let stop = signals::stop_flag();
    while !stop.load(Ordering::SeqCst) {
        std::thread::sleep(PAUSE);
        let more = read(&mut file)?;
        super::super::print(&String::from_utf8_lossy(&more))?;
    }
    Ok(exit_code::SUCCESS)
}

/// The last lines of a text; 0: all.
fn newest(bytes: &[u8], lines: usize) -> &[u8] {
    if lines == 0 {
        return bytes;
    }
    let ended = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let breaks = ended.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
    let start = breaks.map(|(at, _)| at + 1).nth(lines - 1).unwrap_or(0);
    bytes.get(start..).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::newest;

    #[test]
    fn the_newest_lines_are_whole() {
        for (text, lines, wanted) in [
            ("a\nb\nc\n", 2, "b\nc\n"),
            ("a\nb\nc", 1, "c"),
            ("a\nb\n", 9, "a\nb\n"),
            ("a\nb\n", 0, "a\nb\n"),
            ("", 3, ""),
            ("\n\n\n", 1, "\n"),
        ] {
            assert_eq!(newest(text.as_bytes(), lines), wanted.as_bytes(), "{text:?} {lines}");
        }
    }
}
