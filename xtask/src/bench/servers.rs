//! The services of a lakehouse beside a measured job, and what they cost meanwhile.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use crate::process;

/// The stack's own Trino is made for a soon start. This one may take what its statements are faster with.
const TRINO: &str = "-Xmx6g -XX:TieredStopAtLevel=4";

/// A stack of the bench's own; it ends with this value.
pub struct Servers {
    lakehost: PathBuf,
    home: PathBuf,
    services: Vec<Service>,
}

struct Service {
    name: String,
    address: String,
    pid: i32,
}

/// User seconds since the beginning, by service.
pub type Spent = HashMap<String, f64>;

impl Servers {
    /// MinIO, Postgres, the REST catalog and Trino, ready.
    pub fn start(lakehost: &Path, home: &Path) -> Result<Self> {
        let mut servers = Self { lakehost: lakehost.to_owned(), home: home.to_owned(), services: Vec::new() };
        servers.stack(&["up", "--only", "trino"])?;
        let status = servers.stack(&["status"])?;
        for found in status["services"].as_array().context("no services")? {
            let text = |key: &str| found[key].as_str().map(str::to_owned);
            let Some(pid) = found["pid"].as_i64().and_then(|pid| i32::try_from(pid).ok()) else { continue };
            servers.services.push(Service {
                name: text("service").context("a service without a name")?,
                address: text("address").context("a service without an address")?,
                pid,
            });
        }
        Ok(servers)
    }

    fn stack(&self, words: &[&str]) -> Result<Value> {
        let mut command = Command::new(&self.lakehost);
        command.arg("stack").args(words).args(["--format", "json", "--home"]).arg(&self.home);
        command.env("LAKEHOST_STACK_TRINO_OPTIONS", TRINO);
        Ok(serde_json::from_str(&process::stdout_of(&mut command)?)?)
    }

    /// `http://127.0.0.1:PORT`
    pub fn address(&self, service: &str) -> Result<&str> {
        Ok(&self.find(service)?.address)
    }

    fn find(&self, service: &str) -> Result<&Service> {
        self.services.iter().find(|known| known.name == service).with_context(|| format!("{service} does not run"))
    }

    /// The `lakehost.toml` with the profile `stack`.
    pub fn file(&self) -> PathBuf {
        self.home.join("lakehost.toml")
    }

    /// The catalog in PyIceberg's words.
    pub fn for_pyiceberg(&self) -> Result<Value> {
        let text = std::fs::read_to_string(self.home.join("secrets.json"))?;
        let secrets: Value = serde_json::from_str(&text)?;
        Ok(json!({
            "type": "rest",
            "uri": self.address("rest")?,
            "s3.endpoint": self.address("minio")?,
            "s3.region": "us-east-1",
            "s3.access-key-id": secrets["s3_access_key_id"],
            "s3.secret-access-key": secrets["s3_secret_access_key"],
        }))
    }

    /// What each has used so far, its own processes included, also those that have ended.
    pub fn spent(&self) -> Result<Spent> {
        let all = processes();
        let of = |service: &Service| {
            // A child's time is its parent's once it has ended and was waited for.
            let mut ticks = 0;
            let mut family = vec![service.pid];
            while let Some(pid) = family.pop() {
                ticks += all.get(&pid).map_or(0, |process| process.user_ticks);
                family.extend(all.iter().filter(|(_, process)| process.parent == pid).map(|(pid, _)| *pid));
            }
            (service.name.clone(), ticks as f64 / ticks_per_second())
        };
        Ok(self.services.iter().map(of).collect())
    }

    /// From now on the peak of a service's memory is counted anew.
    pub fn forget_peak(&self, service: &str) -> Result<()> {
        let path = format!("/proc/{}/clear_refs", self.find(service)?.pid);
        std::fs::write(&path, "5").with_context(|| format!("cannot write {path}"))
    }

    /// The most memory that a service held.
    pub fn peak_mib(&self, service: &str) -> Result<f64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.find(service)?.pid))?;
        let kib =
            text.lines().find_map(|line| line.strip_prefix("VmHWM:")).and_then(|rest| rest.split_whitespace().next());
        let kib: f64 = kib.and_then(|kib| kib.parse().ok()).context("no VmHWM")?;
        Ok(kib / 1024.0)
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        if let Err(error) = self.stack(&["down", "--wipe"]) {
            eprintln!("the services of the bench are still there: {error:#}");
        }
    }
}

struct Process {
    parent: i32,
    /// With those of its children that have ended.
    user_ticks: u64,
}

fn ticks_per_second() -> f64 {
    // SAFETY: `sysconf` takes a plain number and touches no memory of ours.
    let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
    if ticks > 0 { ticks as f64 } else { 100.0 }
}

fn processes() -> HashMap<i32, Process> {
    let entries = std::fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| Some((pid, parsed(&std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?))).collect()
}

/// `PID (NAME) STATE PPID … utime stime cutime …`: the name may hold anything.
fn parsed(stat: &str) -> Option<Process> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let number = |at: usize| fields.get(at)?.parse::<u64>().ok();
    Some(Process { parent: fields.get(1)?.parse().ok()?, user_ticks: number(11)? + number(13)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read_whatever_its_name() {
        let stat = "7 (a b) c) S 3 7 7 0 -1 4194560 1 0 0 0 120 5 30 2 20 0 1 0 99 1 1";
        let process = parsed(stat).expect("it is one");
        assert_eq!((process.parent, process.user_ticks), (3, 150));
        let own = i32::try_from(std::process::id()).expect("a pid");
        assert!(processes().contains_key(&own));
    }
}
