//! Sizes as people write them, and what the kernel says about this process and machine.

use std::fs;

use crate::error::Error;

/// What a run may use when nobody says otherwise.
pub const DEFAULT_BYTES: u64 = 512 << 20;
/// Heaps of the allocator: one for each of two busy workers; more only hold more free memory.
#[cfg(target_env = "gnu")]
const ARENAS: libc::c_int = 2;
/// Blocks of at least this size come from the system and go back to it. The allocator would raise the size by itself to 32 MiB once such blocks
/// were freed, and the column chunks of later windows would then lie scattered over its heaps: a year needed a fifth more than a month.
#[cfg(target_env = "gnu")]
const MAPPED_BYTES: libc::c_int = 2 << 20;
/// Less than this holds no run at all.
const LEAST_BYTES: u64 = 64 << 20;

/// Keeps freed memory together: few arenas for few busy threads, large blocks apart. Called before any thread starts.
pub fn tune_allocator() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: `mallopt` takes two integers and no thread but this one runs yet.
        unsafe {
            libc::mallopt(libc::M_ARENA_MAX, ARENAS);
            libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_BYTES);
        }
    }
}

/// Gives memory that is free back to the system, so that a range of windows needs no more than one of them.
pub fn release_free() {
    #[cfg(target_env = "gnu")]
    {
        // SAFETY: `malloc_trim` may be called at any time from any thread.
        unsafe { libc::malloc_trim(0) };
    }
}

/// Parses `512MiB`, `2GB`, `1.5 GiB`, `536870912`. `whose`: the flag or key, for the message.
pub fn parse_size(text: &str, whose: &str) -> Result<u64, Error> {
    let wrong = || Error::Usage {
        message: format!("`{}` is not a size for {whose}", text.escape_debug()),
        hint: Some("write it as 512MiB or 2GiB".to_owned()),
    };
    let trimmed = text.trim();
    let digits = trimmed.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(digits);
    let scale: f64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1.0,
        "kb" => 1e3,
        "mb" => 1e6,
        "gb" => 1e9,
        "k" | "kib" => 1024.0,
        "m" | "mib" => 1_048_576.0,
        "g" | "gib" => 1_073_741_824.0,
        _ => return Err(wrong()),
    };
    let bytes = number.parse::<f64>().map_err(|_| wrong())? * scale;
    // Beyond 2^53 a float no longer counts bytes; no machine has that much.
    if !bytes.is_finite() || bytes >= 9e15 { Err(wrong()) } else { Ok(bytes as u64) }
}

/// Parses a memory budget, which must hold a run.
pub fn parse_budget(text: &str, whose: &str) -> Result<u64, Error> {
    match parse_size(text, whose)? {
        bytes if bytes < LEAST_BYTES => Err(Error::Usage {
            message: format!("{whose} of {} is too small", text.trim()),
            hint: Some("give at least 64MiB".to_owned()),
        }),
        bytes => Ok(bytes),
    }
}

/// A size as people read it: `1.4 MiB`.
pub fn shown(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "KiB", "MiB", "GiB"] {
        if value < 1024.0 || unit == "GiB" {
            return if unit == "B" { format!("{bytes} B") } else { format!("{value:.1} {unit}") };
        }
        value /= 1024.0;
    }
    format!("{bytes} B")
}

/// Peak resident memory of this process, when the kernel tells.
pub fn peak_rss_bytes() -> Option<u64> {
    kib_line(&fs::read_to_string("/proc/self/status").ok()?, "VmHWM:")
}

/// Memory of the machine: all of it, and what is free to use.
pub fn machine_bytes() -> Option<(u64, u64)> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    Some((kib_line(&text, "MemTotal:")?, kib_line(&text, "MemAvailable:")?))
}

fn kib_line(text: &str, name: &str) -> Option<u64> {
    let rest = text.lines().find_map(|line| line.strip_prefix(name))?;
    rest.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_parse() {
        let table = [
            ("512MiB", Some(512 << 20)),
            ("2GB", Some(2_000_000_000)),
            ("1.5 GiB", Some(1_610_612_736)),
            ("64m", Some(64 << 20)),
            ("1024", Some(1024)),
            ("", None),
            ("MiB", None),
            ("12 parsecs", None),
            ("1.2.3MiB", None),
            ("99999999999999GiB", None),
            ("-1MiB", None),
        ];
        for (text, expected) in table {
            assert_eq!(parse_size(text, "--memory").ok(), expected, "{text:?}");
        }
        assert!(parse_budget("1MiB", "--memory").is_err());
    }

    #[test]
    fn sizes_are_shown() {
        for (bytes, expected) in
            [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (1 << 20, "1.0 MiB"), (5 << 40, "5120.0 GiB")]
        {
            assert_eq!(shown(bytes), expected);
        }
    }

    #[test]
    fn kernel_lines() {
        assert_eq!(kib_line("VmPeak:\t 12 kB\nVmHWM:\t  2048 kB\n", "VmHWM:"), Some(2 << 20));
        assert_eq!(kib_line("VmHWM: many\n", "VmHWM:"), None);
    }
}
