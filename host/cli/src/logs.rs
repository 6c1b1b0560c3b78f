//! Events of the crates on stderr: warnings as one line each in the words of `render.rs`; with `LAKEHOST_LOG=info` (or any filter of `tracing`) all
//! that the filter lets through, as `tracing` writes it.

use std::env;
use std::fmt::Write as _;
use std::io;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, SubscriberExt as _};
use tracing_subscriber::util::SubscriberInitExt as _;
use tracing_subscriber::{EnvFilter, Layer};

use crate::render::{self, Colour};
use crate::screen;

/// Starts listening. Building a filter takes milliseconds, so there is one only when it was asked for.
pub fn start() {
    let started = match env::var("LAKEHOST_LOG") {
        Ok(filter) if !filter.trim().is_empty() => tracing_subscriber::fmt()
            .with_writer(Shared::default)
            .with_target(false)
            .with_ansi(false)
            .without_time()
            .with_env_filter(EnvFilter::new(filter))
            .try_init()
            .is_ok(),
        _ => tracing_subscriber::registry().with(Warnings.with_filter(LevelFilter::WARN)).try_init().is_ok(),
    };
    // Only a second start fails, and the first one listens.
    debug_assert!(started, "logs are started once");
}

/// One event's text on its way to the screen.
#[derive(Default)]
struct Shared(Vec<u8>);

impl io::Write for Shared {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        screen::say(&String::from_utf8_lossy(&self.0));
    }
}

/// Shows warnings to people.
struct Warnings;

impl<S: Subscriber> Layer<S> for Warnings {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        let mut said = Said::default();
        event.record(&mut said);
        screen::say(&render::warning(&said.sentence(screen::window().as_deref()), Colour::of_stderr()));
    }
}

/// What an event holds.
#[derive(Default)]
struct Said {
    message: String,
    fields: Vec<(&'static str, String)>,
}

impl Said {
    fn set(&mut self, field: &Field, value: String) {
        match field.name() {
            "message" => self.message = value,
            name => self.fields.push((name, value)),
        }
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_str())
    }

    /// The event in a sentence. `window`: the one under way.
    fn sentence(&self, window: Option<&str>) -> String {
        let mut text = window.map(|window| format!("window {window}: ")).unwrap_or_default();
        if let Some(again) = self.trying_again() {
            return text + &again;
        }
        if let (Some(plugin), false) = (self.get("plugin"), self.message.contains("plugin")) {
            let _ = write!(text, "plugin {plugin}: ");
        }
        text.push_str(&self.message);
        let rest = self.fields.iter().filter(|(name, _)| *name != "plugin" || self.message.contains("plugin"));
        let rest: Vec<String> = rest.map(|(name, value)| format!("{} {value}", name.replace('_', " "))).collect();
        if !rest.is_empty() {
            let _ = write!(text, " ({})", rest.join(", "));
        }
        text
    }

    /// A download that is tried again: what went wrong, which attempt comes, and when.
    fn trying_again(&self) -> Option<String> {
        let number = |name: &str| self.get(name)?.parse::<u64>().ok();
        let (error, wait_ms, tries) = (self.get("error")?, number("wait_ms")?, number("tries")?);
        let of = number("limit").map(|limit| format!(" of {limit}")).unwrap_or_default();
        Some(format!("{error}; attempt {}{of} in {:.1} s", tries.saturating_add(1), wait_ms as f64 / 1e3))
    }
}

impl Visit for Said {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        self.set(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.set(field, value.to_owned());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(message: &str, fields: &[(&'static str, &str)], expected: &str) {
        let fields = fields.iter().map(|(name, value)| (*name, (*value).to_owned())).collect();
        let said = Said { message: message.to_owned(), fields };
        assert_eq!(said.sentence(Some("2024-01")), expected);
    }

    #[test]
    fn events_read_as_sentences() {
        check(
            "trying again",
            &[("error", "http://h/a answered 503"), ("wait_ms", "250"), ("tries", "1"), ("limit", "5")],
            "window 2024-01: http://h/a answered 503; attempt 2 of 5 in 0.2 s",
        );
        check("fares look odd", &[("plugin", "p@1")], "window 2024-01: plugin p@1: fares look odd");
        check(
            "refused a request of a plugin",
            &[("plugin", "p@1"), ("url", "http://x/")],
            "window 2024-01: refused a request of a plugin (plugin p@1, url http://x/)",
        );
        let said = Said { message: "a file could not be deleted".to_owned(), ..Said::default() };
        assert_eq!(said.sentence(None), "a file could not be deleted");
    }
}
