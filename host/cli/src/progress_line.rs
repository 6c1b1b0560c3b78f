//! The progress line: what is told of a run, laid out for the width that there is.

use crate::memory;
use crate::table::grouped;

/// Where a run is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Position {
    /// `2024-01`, or `2024-01 (1/6)` of several windows.
    pub window: String,
    /// The word of a stage.
    pub stage: &'static str,
    /// Share of the whole run that is done, when that can be told.
    pub share: Option<f64>,
    /// Bytes that came in, while a download is under way.
    pub received_bytes: Option<u64>,
    /// Bytes of the window's source, when they were announced.
    pub total_bytes: Option<u64>,
    pub rows: u64,
    pub written_bytes: u64,
    pub elapsed_seconds: u64,
    pub left_seconds: Option<u64>,
}

/// A part of the line.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Window,
    Bar(usize),
    Stage,
    Received,
    Rows,
    Written,
    Elapsed,
    Left,
    /// The time left in few letters.
    LeftShort,
}

/// What is shown, from the widest layout to the narrowest.
const LAYOUTS: &[&[Part]] = {
    use Part::*;
    &[
        &[Window, Bar(24), Stage, Received, Rows, Written, Elapsed, Left],
        &[Window, Bar(16), Stage, Received, Rows, Elapsed, Left],
        &[Window, Bar(12), Stage, Received, Rows, Left],
        &[Window, Bar(8), Stage, Received, Left],
        &[Window, Stage, Received, LeftShort],
        &[Window, Stage, Received],
        &[Window, Stage],
        &[Window],
    ]
};

impl Position {
    /// The line for a terminal: never wider than `columns`. `frame`: counts the redraws.
    pub fn line(&self, frame: usize, columns: usize) -> String {
        const SPINNER: [char; 4] = ['⠋', '⠹', '⠴', '⠏'];
        let spinner = SPINNER.get(frame % SPINNER.len()).copied().unwrap_or(' ');
        let fitting = LAYOUTS.iter().map(|layout| format!("{spinner} {}", self.laid_out(layout)));
        let mut narrowest = String::new();
        for line in fitting {
            if line.chars().count() <= columns {
                return line;
            }
            narrowest = line;
        }
        narrowest.chars().take(columns).collect()
    }

    /// The line for a log.
    pub fn plain(&self) -> String {
        use Part::{Elapsed, Left, Received, Rows, Stage, Written};
        format!("{}: {}", self.window, self.laid_out(&[Stage, Received, Rows, Written, Elapsed, Left]))
    }

    fn laid_out(&self, layout: &[Part]) -> String {
        let mut text = String::new();
        let mut listed = false;
        for part in layout {
            let Some(shown) = self.part(*part) else { continue };
            match (text.is_empty(), listed) {
                (true, _) => {}
                (false, false) => text.push(' '),
                (false, true) => text.push_str(", "),
            }
            listed = !matches!(part, Part::Window | Part::Bar(_));
            text.push_str(&shown);
        }
        text
    }

    fn part(&self, part: Part) -> Option<String> {
        Some(match part {
            Part::Window => self.window.clone(),
            Part::Bar(width) => {
                let filled = (self.share?.clamp(0.0, 1.0) * width as f64) as usize;
                format!("[{}{}]", "█".repeat(filled), "░".repeat(width.saturating_sub(filled)))
            }
            Part::Stage => self.stage.to_owned(),
            Part::Received => match (self.received_bytes?, self.total_bytes) {
                (received, Some(total)) => of(received, total),
                (received, None) => memory::shown(received),
            },
            Part::Rows => Some(self.rows).filter(|rows| *rows > 0).map(|rows| format!("{} rows", grouped(rows)))?,
            Part::Written => {
                Some(self.written_bytes).filter(|bytes| *bytes > 0).map(|b| format!("{} written", memory::shown(b)))?
            }
            Part::Elapsed => time(self.elapsed_seconds),
            Part::Left => format!("about {} left", time(self.left_seconds?)),
            Part::LeftShort => format!("{} left", time(self.left_seconds?)),
        })
    }
}

/// `12.0 of 47.6 MiB`: both in the unit of the whole.
fn of(part: u64, whole: u64) -> String {
    let shown = memory::shown(whole);
    let scale = match shown.rsplit(' ').next() {
        Some("KiB") => 1_024.0,
        Some("MiB") => 1_048_576.0,
        Some("GiB") => 1_073_741_824.0,
        _ => return format!("{part} of {shown}"),
    };
    format!("{:.1} of {shown}", part as f64 / scale)
}

fn time(seconds: u64) -> String {
    if seconds < 100 { format!("{seconds} s") } else { format!("{} min", seconds.div_ceil(60)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position() -> Position {
        Position {
            window: "2024-01 (1/6)".to_owned(),
            stage: "download",
            share: Some(0.25),
            received_bytes: Some(12 << 20),
            total_bytes: Some(50_000_000),
            rows: 1_234_567,
            written_bytes: 10 << 20,
            elapsed_seconds: 3,
            left_seconds: Some(9),
        }
    }

    #[test]
    fn narrower_terminals_are_told_less() {
        let table = [
            (
                200,
                "⠋ 2024-01 (1/6) [██████░░░░░░░░░░░░░░░░░░] download, 12.0 of 47.7 MiB, 1,234,567 rows, 10.0 MiB written, 3 s, about 9 s left",
            ),
            (92, "⠋ 2024-01 (1/6) [███░░░░░░░░░] download, 12.0 of 47.7 MiB, 1,234,567 rows, about 9 s left"),
            (80, "⠋ 2024-01 (1/6) [██░░░░░░] download, 12.0 of 47.7 MiB, about 9 s left"),
            (60, "⠋ 2024-01 (1/6) download, 12.0 of 47.7 MiB, 9 s left"),
            (45, "⠋ 2024-01 (1/6) download, 12.0 of 47.7 MiB"),
            (40, "⠋ 2024-01 (1/6) download"),
            (20, "⠋ 2024-01 (1/6)"),
            (5, "⠋ 202"),
        ];
        for (columns, expected) in table {
            assert_eq!(position().line(0, columns), expected, "{columns}");
        }
        for columns in 0..200 {
            assert!(position().line(3, columns).chars().count() <= columns, "{columns}");
        }
        let one = Position { window: "2024-01".to_owned(), ..position() };
        assert_eq!(one.line(0, 39), "⠋ 2024-01 download, 12.0 of 47.7 MiB");
    }

    #[test]
    fn what_is_not_known_is_left_out() {
        let start = Position { window: "2024-01".to_owned(), stage: "plan", ..Position::default() };
        assert_eq!(start.line(1, 80), "⠹ 2024-01 plan, 0 s");
        assert_eq!(start.plain(), "2024-01: plan, 0 s");
        let unknown = Position { received_bytes: Some(1 << 20), total_bytes: None, stage: "download", ..start };
        assert_eq!(unknown.plain(), "2024-01: download, 1.0 MiB, 0 s");
        assert_eq!(of(512, 1_000), "512 of 1000 B");
    }
}
