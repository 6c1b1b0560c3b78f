//! The one place that turns a fault or a warning into text for people. (For machines a fault is an `ErrorReport`.)
//!
//! Much of what a fault says comes from strangers (plugins, servers, files): control characters are shown as escapes, never obeyed.

use std::fmt::Write as _;

use lakehost_pipeline::Fault;

/// Longest line of foreign text that is shown.
const LINE_CHARACTERS: usize = 2_000;

/// Whether text is coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Colour {
    Never,
    Always,
}

impl Colour {
    /// Colour on a terminal that did not ask for none.
    pub fn of_stderr() -> Self {
        use std::io::IsTerminal;
        let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
            || std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        if std::io::stderr().is_terminal() && !plain { Self::Always } else { Self::Never }
    }

    fn paint(self, code: &str, text: &str) -> String {
        match self {
            Self::Never => text.to_owned(),
            Self::Always => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
        }
    }
}

/// A fault as people read it: what happened, then input, cause and hint, each on a line of its own.
pub fn fault(fault: &Fault, colour: Colour) -> String {
    block(fault, &fault.to_string(), &fault.inputs(), colour)
}

/// The same fault of several windows in one block. `windows`: all of them, listed.
pub fn fault_of_windows(fault: &Fault, count: usize, windows: &str, colour: Colour) -> String {
    let more = count.saturating_sub(1);
    let message = format!("{fault}, and {more} more {} alike", if more == 1 { "window fails" } else { "windows fail" });
    let listed = |(name, value): (String, String)| match name.as_str() {
        "window" => ("windows".to_owned(), windows.to_owned()),
        _ => (name, value),
    };
    block(fault, &message, &fault.inputs().into_iter().map(listed).collect::<Vec<_>>(), colour)
}

/// A warning as people read it: one line, since nothing was lost.
pub fn warning(message: &str, colour: Colour) -> String {
    format!("{}: {}\n", colour.paint("1;33", "warning"), line(message))
}

fn block(fault: &Fault, message: &str, inputs: &[(String, String)], colour: Colour) -> String {
    let mut text = String::new();
    let label = colour.paint("1;31", &format!("error[{}]", fault.code()));
    let _ = writeln!(text, "{label}: {}", line(message));
    let inputs: Vec<String> = inputs
        .iter()
        .map(|(name, value)| match name.as_str() {
            // A file and a URL say by themselves what they are.
            "file" | "url" => line(value),
            _ => format!("{} {}", line(name), line(value)),
        })
        .collect();
    for (name, value) in
        [("input", (!inputs.is_empty()).then(|| inputs.join(", "))), ("cause", fault.cause()), ("hint", fault.hint())]
    {
        let Some(value) = value else { continue };
        for (index, part) in value.lines().enumerate() {
            let name = if index == 0 { colour.paint("1", &format!("{name:<5}")) } else { " ".repeat(5) };
            let _ = writeln!(text, "  {name}  {}", line(part));
        }
    }
    text
}

/// Foreign text on one line: control characters and direction marks as escapes, cut when it is endless.
pub fn line(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for (count, character) in text.trim_end().chars().enumerate() {
        if count == LINE_CHARACTERS {
            shown.push('…');
            break;
        }
        if is_unsafe(character) { shown.extend(character.escape_default()) } else { shown.push(character) }
    }
    shown
}

/// Characters that move the cursor, hide text or turn its direction.
fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use lakehost_pipeline::{Code, Diagnostic, ErrorReport};

    use super::*;

    #[derive(Debug)]
    struct Lost;
    impl std::fmt::Display for Lost {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("commit to lakehost.raw.green_trips lost a race with another writer")
        }
    }
    impl std::error::Error for Lost {}
    impl Diagnostic for Lost {
        fn code(&self) -> Code {
            Code("LH0602")
        }
        fn inputs(&self) -> Vec<(String, String)> {
            vec![("rows".to_owned(), "0..56551".to_owned())]
        }
        fn cause(&self) -> Option<String> {
            Some("another load changed it\u{1b}[2J\nexpected 812".to_owned())
        }
        fn hint(&self) -> Option<String> {
            Some("`lakehost snapshots raw.green_trips` shows who".to_owned())
        }
    }

    #[test]
    fn a_fault_reads_as_the_style_says() {
        let lost = Fault::new(Lost).with("window", "2024-01").with("file", "examples/nyc_taxi/lakehost.toml");
        let expected = "\
error[LH0602]: commit to lakehost.raw.green_trips lost a race with another writer
  input  examples/nyc_taxi/lakehost.toml, window 2024-01, rows 0..56551
  cause  another load changed it\\u{1b}[2J
         expected 812
  hint   `lakehost snapshots raw.green_trips` shows who
";
        assert_eq!(fault(&lost, Colour::Never), expected);
        assert!(fault(&lost, Colour::Always).starts_with("\u{1b}[1;31merror[LH0602]\u{1b}[0m: commit"));
        let json = serde_json::to_value(ErrorReport::from(&lost)).unwrap();
        assert_eq!(json["code"], "LH0602");
        assert_eq!(json["inputs"]["window"], "2024-01");
        assert_eq!(json["hint"], "`lakehost snapshots raw.green_trips` shows who");
    }

    #[test]
    fn a_warning_is_one_line() {
        assert_eq!(warning("it\nbreaks\u{1b}[2J", Colour::Never), "warning: it\\nbreaks\\u{1b}[2J\n");
    }

    #[test]
    fn foreign_text_cannot_move_the_cursor() {
        let table = [
            ("plain ünïcode", "plain ünïcode"),
            ("\u{1b}]0;title\u{7}", "\\u{1b}]0;title\\u{7}"),
            ("a\r\nb\tc", "a\\r\\nb\\tc"),
            ("evil\u{202e}txt", "evil\\u{202e}txt"),
        ];
        for (text, expected) in table {
            assert_eq!(line(text), expected);
        }
        assert_eq!(line(&"x".repeat(5_000)).chars().count(), LINE_CHARACTERS + 1);
    }
}
