//! Starting other programs: with their output shown, kept in a log, or measured.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// Where a program's words go.
pub enum Output {
    /// To the terminal, as they come.
    Inherit,
    /// Appended to a file.
    Log(PathBuf),
}

impl Output {
    /// Says a line where the program's words go.
    pub fn say(&self, line: &str) -> Result<()> {
        match self {
            Self::Inherit => println!("{line}"),
            Self::Log(path) => writeln!(append(path)?, "{line}")?,
        }
        Ok(())
    }
}

fn append(path: &Path) -> Result<File> {
    OpenOptions::new().create(true).append(true).open(path).with_context(|| format!("cannot write {}", path.display()))
}

/// The command as one would type it, without the environment.
pub fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let mut line = program.file_name().unwrap_or(command.get_program()).to_string_lossy().into_owned();
    for argument in command.get_args() {
        line.push(' ');
        line.push_str(&quoted(&argument.to_string_lossy()));
    }
    line
}

/// A word as a shell takes it.
fn quoted(word: &str) -> String {
    let special = |c: char| c.is_whitespace() || "\"'`$&|;()<>*?\\!#~".contains(c);
    if !word.is_empty() && !word.contains(special) {
        word.to_owned()
    } else if word.contains('\'') && !word.contains(['"', '$', '`', '\\', '!']) {
        format!("\"{word}\"")
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// Runs a program to its end. Fails with its command line when it fails.
pub fn run(command: &mut Command, output: &Output) -> Result<()> {
    command.stdin(Stdio::null());
    if let Output::Log(path) = output {
        let mut log = append(path)?;
        writeln!(log, "$ {}", shown(command))?;
        command.stdout(log.try_clone()?).stderr(log);
    }
    let status = command.status().with_context(|| format!("cannot start `{}`", shown(command)))?;
    if !status.success() {
        bail!("`{}` failed: {status}", shown(command));
    }
    Ok(())
}

/// Like [`run`], and gives up after a while.
pub fn run_within(command: &mut Command, output: &Output, limit: Duration) -> Result<()> {
    command.stdin(Stdio::null());
    if let Output::Log(path) = output {
        let log = append(path)?;
        command.stdout(log.try_clone()?).stderr(log);
    }
    let mut child = command.spawn().with_context(|| format!("cannot start `{}`", shown(command)))?;
    let started = Instant::now();
    loop {
        if let Some(status) = child.try_wait()? {
            if !status.success() {
                bail!("`{}` failed: {status}", shown(command));
            }
            return Ok(());
        }
        if started.elapsed() > limit {
            child.kill()?;
            child.wait()?;
            bail!("`{}` took longer than {} s", shown(command), limit.as_secs());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// What a program prints on standard output. Fails with what it said on standard error.
pub fn stdout_of(command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{}`", shown(command)))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` failed: {}: {}", shown(command), output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The last lines of a log.
pub fn tail(path: &Path, lines: usize) -> String {
    let text = std::fs::read(path).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}

/// What one whole process cost, as the kernel counted it (its own children included).
#[derive(Clone, Copy, Debug)]
pub struct Cost {
    pub wall_s: f64,
    pub user_s: f64,
    pub system_s: f64,
    pub peak_rss_bytes: u64,
}

/// Runs a program to its end and takes its cost; its standard output goes to `stdout`, its standard error beside it.
pub fn measured(command: &mut Command, stdout: &Path) -> Result<Cost> {
    let errors = stdout.with_extension("stderr");
    let create = |path: &Path| File::create(path).with_context(|| format!("cannot write {}", path.display()));
    command.stdin(Stdio::null()).stdout(create(stdout)?).stderr(create(&errors)?);
    let started = Instant::now();
    let child = command.spawn().with_context(|| format!("cannot start `{}`", shown(command)))?;
    let (status, usage) = wait4(child.id())?;
    let wall_s = started.elapsed().as_secs_f64();
    if status != 0 {
        bail!("`{}` failed (wait status {status}): {}", shown(command), tail(&errors, 20));
    }
    let seconds = |time: libc::timeval| time.tv_sec as f64 + time.tv_usec as f64 / 1e6;
    Ok(Cost {
        wall_s,
        user_s: seconds(usage.ru_utime),
        system_s: seconds(usage.ru_stime),
        peak_rss_bytes: u64::try_from(usage.ru_maxrss).unwrap_or_default() * 1024,
    })
}

/// Waits for one child and takes its resource usage, which [`std::process::Child::wait`] throws away.
fn wait4(pid: u32) -> Result<(i32, libc::rusage)> {
    let pid = libc::pid_t::try_from(pid).context("a process id out of range")?;
    loop {
        let mut status = 0;
        // SAFETY: all-zero bytes are a valid rusage, and both pointers are to live values of the right type.
        let (answer, usage) = unsafe {
            let mut usage: libc::rusage = std::mem::zeroed();
            (libc::wait4(pid, &raw mut status, 0, &raw mut usage), usage)
        };
        if answer == pid {
            return Ok((status, usage));
        }
        let error = std::io::Error::last_os_error();
        if error.kind() != std::io::ErrorKind::Interrupted {
            return Err(error).context("cannot wait for the process");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn command_lines_read_as_typed() {
        let mut command = Command::new("/usr/bin/lakehost");
        command.args(["query", "select 1", "--format", "json"]);
        assert_eq!(shown(&command), "lakehost query 'select 1' --format json");
        for (word, wanted) in [("", "''"), ("it's", "\"it's\""), ("it's $1", "'it'\\''s $1'"), ("day(a)", "'day(a)'")] {
            assert_eq!(quoted(word), wanted);
        }
    }

    #[test]
    fn a_process_is_measured_and_a_failure_is_told() {
        let folder = std::env::temp_dir().join(format!("lakehost-xtask-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let out = folder.join("out");
        let cost = measured(Command::new("sh").args(["-c", "echo hello"]), &out).expect("it runs");
        assert!(cost.wall_s > 0.0 && cost.peak_rss_bytes > 0);
        assert_eq!(std::fs::read_to_string(&out).expect("output"), "hello\n");
        let error = measured(Command::new("sh").args(["-c", "echo why >&2; exit 3"]), &out).expect_err("it fails");
        assert!(error.to_string().contains("why"), "{error}");
        let slow = run_within(Command::new("sleep").arg("5"), &Output::Inherit, Duration::from_millis(100));
        assert!(slow.expect_err("it is stopped").to_string().contains("took longer"));
        std::fs::remove_dir_all(&folder).expect("removed");
    }
}
