//! `telemetry`: a plugin's words, on their way to people. Escaped, cut and rate-limited.

use std::time::Instant;

use crate::abi::since_v0_1::telemetry;
use crate::error::shown;
use crate::state::HostState;

/// Lets so many bytes a second through, and counts what it drops.
#[derive(Debug)]
pub(crate) struct LogGate {
    bytes_per_second: usize,
    line_bytes: usize,
    left_bytes: usize,
    since: Instant,
    dropped_lines: u64,
}

/// What every line costs beyond its text, so that a flood of empty lines ends too.
const LINE_COST_BYTES: usize = 64;

impl LogGate {
    pub fn new(bytes_per_second: usize, line_bytes: usize) -> Self {
        Self { bytes_per_second, line_bytes, left_bytes: bytes_per_second, since: Instant::now(), dropped_lines: 0 }
    }

    /// The line as it may be shown, with the number of lines dropped before it; `None` when it is dropped too.
    fn pass(&mut self, text: &str, now: Instant) -> Option<(String, u64)> {
        if now.saturating_duration_since(self.since).as_secs() >= 1 {
            (self.since, self.left_bytes) = (now, self.bytes_per_second);
        }
        let cost = text.len().min(self.line_bytes) + LINE_COST_BYTES;
        if cost > self.left_bytes {
            self.dropped_lines += 1;
            return None;
        }
        self.left_bytes -= cost;
        Some((shown(text, self.line_bytes), self.take_dropped()))
    }

    /// Lines that were dropped since someone was told.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.dropped_lines)
    }
}

/// Tells that lines of a plugin were dropped.
pub(crate) fn tell_dropped(plugin: &str, dropped_lines: u64) {
    if dropped_lines > 0 {
        tracing::warn!(target: "lakehost::plugin", plugin, dropped_lines, "a plugin logs too much; lines were dropped");
    }
}

impl telemetry::Host for HostState {
    fn log(&mut self, level: telemetry::Level, message: String) -> wasmtime::Result<()> {
        self.outside(|state| {
            let Some((line, dropped)) = state.log.pass(&message, Instant::now()) else { return };
            let plugin = state.plugin.as_str();
            tell_dropped(plugin, dropped);
            match level {
                telemetry::Level::Debug => tracing::debug!(target: "lakehost::plugin", plugin, "{line}"),
                telemetry::Level::Info => tracing::info!(target: "lakehost::plugin", plugin, "{line}"),
                telemetry::Level::Warn => tracing::warn!(target: "lakehost::plugin", plugin, "{line}"),
                telemetry::Level::Error => tracing::error!(target: "lakehost::plugin", plugin, "{line}"),
            }
        });
        Ok(())
    }

    fn progress(&mut self, done: u64, total: Option<u64>, unit: String) -> wasmtime::Result<()> {
        self.outside(|state| {
            if let Some((unit, _)) = state.log.pass(unit.get(..40).unwrap_or(&unit), Instant::now()) {
                let plugin = state.plugin.as_str();
                tracing::debug!(target: "lakehost::progress", plugin, done, total, unit, "progress");
            }
        });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_flood_is_dropped_and_counted() {
        let mut gate = LogGate::new(1000, 100);
        let start = Instant::now();
        let passed = (0..1000).filter(|_| gate.pass("x", start).is_some()).count();
        assert_eq!(passed, 1000 / (LINE_COST_BYTES + 1));
        let (line, dropped) = gate.pass("again", start + Duration::from_secs(2)).unwrap();
        assert_eq!((line.as_str(), dropped), ("again", 1000 - passed as u64));
    }

    #[test]
    fn a_line_is_escaped_and_cut() {
        let mut gate = LogGate::new(10_000, 100);
        let (line, _) = gate.pass("a\u{1b}]52;c;xx\u{7}\rb\nc\u{202e}", Instant::now()).unwrap();
        assert!(!line.contains(['\u{1b}', '\r', '\n', '\u{7}', '\u{202e}']), "{line:?}");
        let (line, _) = gate.pass(&"y".repeat(5000), Instant::now()).unwrap();
        assert!(line.chars().count() <= 101);
    }
}
