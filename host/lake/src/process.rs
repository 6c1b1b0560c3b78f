//! Which process wrote something, and whether it is certainly gone.

use serde::{Deserialize, Serialize};

/// A process, told apart from every other that ever ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pub host: String,
    pub pid: u32,
    /// Start time in the kernel's clock ticks since boot.
    pub started: Option<u64>,
    /// The kernel's id of this boot.
    pub boot: Option<String>,
    /// The process id namespace: a pid means something in its own only.
    pub namespace: Option<String>,
}

/// What is known of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Life {
    Alive,
    /// Certainly.
    Gone,
    /// Another machine, another container, or a system that does not tell.
    Unknown,
}

impl Process {
    /// This process.
    #[must_use]
    pub fn current() -> Self {
        let pid = std::process::id();
        Self {
            host: read("/proc/sys/kernel/hostname").unwrap_or_default(),
            pid,
            started: start_ticks(pid),
            boot: read("/proc/sys/kernel/random/boot_id"),
            namespace: namespace(),
        }
    }

    /// Whether this process still runs, as far as `here` can tell.
    #[must_use]
    pub fn life(&self, here: &Self) -> Life {
        let same_place = self.boot.is_some()
            && self.namespace.is_some()
            && self.host == here.host
            && self.boot == here.boot
            && self.namespace == here.namespace;
        match self.started {
            Some(started) if same_place => {
                if start_ticks(self.pid) == Some(started) {
                    Life::Alive
                } else {
                    Life::Gone
                }
            }
            _ => Life::Unknown,
        }
    }
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned()).filter(|text| !text.is_empty())
}

fn namespace() -> Option<String> {
    std::fs::read_link("/proc/self/ns/pid").ok()?.into_os_string().into_string().ok()
}

/// Field 22 of `/proc/<pid>/stat`. The name of the program, in parentheses, may hold anything.
fn start_ticks(pid: u32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    // A zombie is gone for our purposes: it runs no more code.
    if matches!(fields.next()?, "Z" | "X") {
        return None;
    }
    fields.nth(18)?.parse().ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn only_a_process_of_this_place_can_be_known_to_be_gone() {
        let here = Process::current();
        assert_eq!(here.life(&here), Life::Alive);
        assert_eq!(Process { started: here.started.map(|ticks| ticks + 1), ..here.clone() }.life(&here), Life::Gone);
        assert_eq!(Process { host: "other".into(), ..here.clone() }.life(&here), Life::Unknown);
        assert_eq!(Process { boot: Some("other".into()), ..here.clone() }.life(&here), Life::Unknown);
        assert_eq!(Process { started: None, ..here.clone() }.life(&here), Life::Unknown);

        let mut child = std::process::Command::new("sleep").arg("60").spawn().unwrap();
        let other = Process { pid: child.id(), started: start_ticks(child.id()), ..here.clone() };
        assert_eq!(other.life(&here), Life::Alive);
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(other.life(&here), Life::Gone);
    }
}
