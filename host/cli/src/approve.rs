//! What a plugin may reach: what it asks for, cut to what the operator gives.
//!
//! A component of this binary is vouched for by its digest, as far as its pipeline has no `allow = […]` of its own. Of any other, every ask must be
//! given by `--allow` or `allow = […]`, or by a person who says yes at the terminal, for this run.

use std::io::{self, BufRead, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::Error;
use crate::render::line;
use crate::signals;

/// How long a question waits before it looks whether a signal came.
const LOOK_MS: libc::c_int = 100;

/// Someone who can be asked.
pub trait Operator {
    /// Whether there is a person at a terminal.
    fn present(&self) -> bool;
    /// Asks a question that is answered with yes or no; Ctrl-C is neither.
    fn agrees(&mut self, question: &str) -> Result<bool, Error>;
}

/// The person at the terminal, if any.
pub struct Terminal;

impl Operator for Terminal {
    fn present(&self) -> bool {
        io::stdin().is_terminal() && io::stderr().is_terminal()
    }

    fn agrees(&mut self, question: &str) -> Result<bool, Error> {
        let stop = signals::stop_flag();
        let mut answer = String::new();
        let asked = write!(io::stderr(), "{question} [y/N] ").and_then(|()| io::stderr().flush());
        wait_for_input(&stop)?;
        let read = asked.and_then(|()| io::stdin().lock().read_line(&mut answer));
        Ok(read.is_ok() && matches!(answer.trim().to_ascii_lowercase().as_str(), "y" | "yes"))
    }
}

/// Returns once stdin has a line, or is at its end.
fn wait_for_input(stop: &AtomicBool) -> Result<(), Error> {
    loop {
        if stop.load(Ordering::SeqCst) {
            let _ = writeln!(io::stderr());
            return Err(Error::Stopped { what: "the question was not answered" });
        }
        let mut input = libc::pollfd { fd: libc::STDIN_FILENO, events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid `pollfd`, and its count.
        let ready = unsafe { libc::poll(&mut input, 1, LOOK_MS) };
        let failed = ready < 0 && io::Error::last_os_error().kind() != io::ErrorKind::Interrupted;
        if ready > 0 || failed {
            return Ok(());
        }
    }
}

/// What is decided upon.
pub struct Petition<'a> {
    /// `name@version`.
    pub plugin: &'a str,
    /// sha256 of its bytes.
    pub digest: &'a str,
    /// Whether this binary vouches for it.
    pub known: bool,
    /// What it asks for and `--allow` does not cover, as `--allow` writes it: a URL prefix, `clock`, `random`.
    pub missing: &'a [String],
}

/// Settles whether a plugin may reach all that it asks for; if not, nothing runs.
///
/// # Errors
/// `LH0802` with the flags that would grant what is missing.
pub fn settle(petition: &Petition<'_>, operator: &mut dyn Operator) -> Result<(), Error> {
    let missing = petition.missing;
    if petition.known || missing.is_empty() {
        return Ok(());
    }
    let refused = operator.present();
    if refused {
        let asks: Vec<String> = missing.iter().map(|ask| format!("  {}\n", line(ask))).collect();
        let question = format!(
            "{} (sha256 {}) is not one that this lakehost ships. It asks for:\n{}Grant this, for this run?",
            line(petition.plugin),
            petition.digest,
            asks.concat()
        );
        if operator.agrees(&question)? {
            return Ok(());
        }
    }
    Err(Error::Unapproved { plugin: petition.plugin.to_owned(), missing: missing.to_vec(), refused })
}

#[cfg(test)]
mod tests {
    use lakehost_pipeline::Diagnostic;

    use super::*;

    struct Person(Option<bool>);
    impl Operator for Person {
        fn present(&self) -> bool {
            self.0.is_some()
        }
        fn agrees(&mut self, question: &str) -> Result<bool, Error> {
            assert!(question.contains("https://a/x"));
            Ok(self.0 == Some(true))
        }
    }

    #[test]
    fn strangers_need_a_yes() {
        let some = ["https://a/x".to_owned(), "clock".to_owned()];
        let table: [(bool, &[String], Option<bool>, bool); 7] = [
            (true, &some, None, true),
            (true, &some, Some(false), true),
            (false, &[], None, true),
            (false, &[], Some(false), true),
            (false, &some, None, false),
            (false, &some, Some(true), true),
            (false, &some, Some(false), false),
        ];
        for (known, missing, person, expected) in table {
            let petition = Petition { plugin: "p@1", digest: "00", known, missing };
            let settled = settle(&petition, &mut Person(person));
            assert_eq!(settled.is_ok(), expected, "{known} {missing:?} {person:?}");
        }
    }

    #[test]
    fn the_refusal_names_the_flags() {
        let missing = ["https://a/x".to_owned(), "clock".to_owned()];
        let petition = Petition { plugin: "p@1", digest: "00", known: false, missing: &missing };
        let error = settle(&petition, &mut Person(None)).unwrap_err();
        assert_eq!(error.code().0, "LH0802");
        assert_eq!(error.hint().as_deref(), Some("if you trust it, add --allow https://a/x --allow clock"));
    }
}
