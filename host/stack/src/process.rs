//! Processes that are surely ours: a pid, the kernel's start time of it, and the boot in which both mean something.

use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::watch::Watch;

/// Stands in the environment of every service, with the stack's folder as its value: even one whose pid was never recorded is found.
pub const MARKER: &str = "LAKEHOST_STACK_HOME";
/// Between a SIGKILL and the end.
const KILL_LIMIT: Duration = Duration::from_secs(10);

/// One process of this boot. A pid that was given away again has another start time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pub pid: u32,
    /// Clock ticks since boot.
    pub started_ticks: u64,
    pub boot: String,
}

/// What the kernel says of a pid now.
struct Stat {
    state: char,
    parent: u32,
    started_ticks: u64,
}

fn stat(pid: u32) -> Option<Stat> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name stands in parentheses and may hold anything, parentheses too.
    let mut fields = text.get(text.rfind(')')? + 1..)?.split_whitespace();
    let state = fields.next()?.chars().next()?;
    let parent = fields.next()?.parse().ok()?;
    let started_ticks = fields.nth(17)?.parse().ok()?;
    Some(Stat { state, parent, started_ticks })
}

fn boot() -> Option<String> {
    let text = std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok()?;
    Some(text.trim().to_owned())
}

/// Whether processes can be told apart here.
pub fn can_tell() -> bool {
    boot().is_some() && stat(std::process::id()).is_some()
}

impl Process {
    /// The process that has this pid now.
    pub fn of(pid: u32) -> Option<Self> {
        Some(Self { pid, started_ticks: stat(pid)?.started_ticks, boot: boot()? })
    }

    /// Whether it still runs. One that ended and was not waited for does not.
    pub fn is_alive(&self) -> bool {
        boot().as_deref() == Some(&self.boot)
            && stat(self.pid)
                .is_some_and(|now| now.started_ticks == self.started_ticks && !matches!(now.state, 'Z' | 'X'))
    }

    /// For how long it has run.
    pub fn age(&self) -> Option<Duration> {
        let uptime = std::fs::read_to_string("/proc/uptime").ok()?;
        let uptime: f64 = uptime.split_whitespace().next()?.parse().ok()?;
        // SAFETY: `sysconf` takes a number and answers one.
        let ticks = unsafe { libc::sysconf(libc::_SC_CLK_TCK) };
        let started = self.started_ticks as f64 / f64::from(i32::try_from(ticks).ok().filter(|ticks| *ticks > 0)?);
        Duration::try_from_secs_f64(uptime - started).ok()
    }

    /// Memory that it holds.
    pub fn memory_bytes(&self) -> Option<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid)).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
        Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1_024)
    }

    /// Ends it: asks with `signal`, and after `limit` makes it. `false`: it is still there.
    pub fn end(&self, signal: libc::c_int, limit: Duration) -> bool {
        self.signal(signal, false);
        if !self.gone_within(limit) {
            // It leads a session of its own, so that what it started goes too.
            self.signal(libc::SIGKILL, true);
            self.signal(libc::SIGKILL, false);
        }
        self.gone_within(KILL_LIMIT)
    }

    fn signal(&self, signal: libc::c_int, group: bool) {
        let Ok(pid) = libc::pid_t::try_from(self.pid) else { return };
        if self.is_alive() {
            // SAFETY: `kill` takes numbers; a moment ago this pid was ours.
            unsafe { libc::kill(if group { -pid } else { pid }, signal) };
        }
    }

    fn gone_within(&self, limit: Duration) -> bool {
        let until = Instant::now() + limit;
        while self.is_alive() {
            if Instant::now() > until {
                return false;
            }
            Watch::pause();
        }
        true
    }
}

/// Processes of a stack's services that nobody recorded: what is left when `up` was killed between a start and its record.
pub fn strays(home: &Path, recorded: &[Process]) -> Vec<Process> {
    let wanted = format!("{MARKER}={}", home.display());
    let Ok(all) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = all.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let marked: Vec<u32> = pids
        .filter(|pid| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == wanted.as_bytes())
        })
        .collect();
    let known = |pid: &u32| recorded.iter().any(|process| process.pid == *pid && process.is_alive());
    // What a service started ends with it.
    let is_top = |pid: &u32| stat(*pid).is_some_and(|now| !marked.contains(&now.parent) && !known(&now.parent));
    let ours = marked.iter().filter(|pid| !known(pid) && is_top(pid) && **pid != std::process::id());
    ours.filter_map(|pid| Process::of(*pid)).filter(Process::is_alive).collect()
}
