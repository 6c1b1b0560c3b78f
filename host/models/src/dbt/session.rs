//! A dbt that stays for all commands of a run: it takes a second of CPU to start, and a tenth of one for most of what it is asked.

use std::io::{self, Write as _};
use std::ops::ControlFlow;
use std::process::{ChildStdin, Command};
use std::sync::atomic::AtomicBool;

use serde::Deserialize;

use super::process::Running;

/// What Python runs.
pub(super) const PROGRAM: &str = include_str!("session.py");

/// A dbt that waits for commands. It ends when this is dropped.
pub(super) struct Session {
    running: Running,
    /// Closed when nothing more is wanted.
    input: Option<ChildStdin>,
}

/// How a command ended.
pub(super) struct Outcome {
    pub success: bool,
    /// It was told to stop.
    pub stopped: bool,
    /// Why it failed where dbt's log does not say so.
    pub complaint: String,
}

/// The line behind those of a command.
#[derive(Deserialize)]
struct Mark {
    lakehost: Verdict,
}

#[derive(Deserialize)]
struct Verdict {
    success: bool,
    error: Option<String>,
}

impl Session {
    /// Starts Python with [`PROGRAM`].
    pub fn start(command: Command) -> io::Result<Self> {
        let (running, input) = Running::start_with_input(command)?;
        Ok(Self { running, input: Some(input) })
    }

    /// Runs one command to its end; `line` gets what dbt says.
    pub fn ask(&mut self, words: &[String], stop: &AtomicBool, line: &mut dyn FnMut(&str)) -> io::Result<Outcome> {
        if let Some(input) = &mut self.input {
            let asked = serde_json::to_string(words)? + "\n";
            // One that is gone says below why.
            let _ = input.write_all(asked.as_bytes()).and_then(|()| input.flush());
        }
        let mut last = |text: &str| {
            if text.starts_with("{\"lakehost\"")
                && let Ok(mark) = serde_json::from_str::<Mark>(text)
            {
                return ControlFlow::Break(mark.lakehost);
            }
            line(text);
            ControlFlow::Continue(())
        };
        match self.running.listen(stop, &mut last)? {
            ControlFlow::Break(verdict) => {
                let stopped = self.running.is_stopping();
                if stopped {
                    self.end();
                }
                let complaint = verdict.error.unwrap_or_else(|| "it says no more than that it failed".to_owned());
                Ok(Outcome { success: verdict.success, stopped, complaint })
            }
            ControlFlow::Continue(ended) => {
                self.input = None;
                Ok(Outcome { success: false, stopped: ended.stopped, complaint: ended.complaint() })
            }
        }
    }

    fn end(&mut self) {
        if self.input.take().is_some() {
            self.running.end();
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    /// A shell in dbt's place.
    fn shell(script: &str) -> Session {
        let mut command = Command::new("sh");
        command.args(["-c", script]);
        Session::start(command).unwrap()
    }

    fn words() -> Vec<String> {
        vec!["build".to_owned()]
    }

    #[test]
    fn one_process_runs_all_commands() {
        let mut session = shell(
            r#"while read -r asked; do
                 echo "$$ $asked"; echo '{"lakehost": {"success": true, "error": null}}'
               done"#,
        );
        let mut said = Vec::new();
        for _ in 0..3 {
            let outcome = session.ask(&words(), &AtomicBool::new(false), &mut |line| said.push(line.to_owned()));
            assert!(outcome.is_ok_and(|outcome| outcome.success && !outcome.stopped));
        }
        assert_eq!(said.len(), 3);
        assert!(said[0].ends_with(r#" ["build"]"#) && said.iter().all(|line| *line == said[0]), "{said:?}");
    }

    #[test]
    fn a_failure_and_a_death_say_why() {
        let mut session = shell(
            r#"read -r _; echo '{"lakehost": {"success": false, "error": "no such command"}}'; read -r _; echo why >&2; exit 3"#,
        );
        let calm = AtomicBool::new(false);
        for expected in ["no such command", "why", "why"] {
            let outcome = session.ask(&words(), &calm, &mut |_| {}).unwrap();
            assert_eq!((outcome.success, outcome.stopped, outcome.complaint.as_str()), (false, false, expected));
        }
    }

    #[test]
    fn a_stop_ends_the_command_and_the_process() {
        let mut session = shell(
            r#"trap 'echo "{\"lakehost\": {\"success\": false, \"error\": \"stopped\"}}"' INT; read -r _; echo begun; sleep 30 & wait; cat"#,
        );
        let stop = AtomicBool::new(false);
        let outcome = session.ask(&words(), &stop, &mut |_| stop.store(true, Ordering::Relaxed)).unwrap();
        assert!(outcome.stopped && !outcome.success);
        let after = session.ask(&words(), &stop, &mut |_| {}).unwrap();
        assert!(!after.success, "it is gone");
    }
}
