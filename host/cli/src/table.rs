//! Text tables for people: columns aligned, numbers to the right, foreign text escaped.

use crate::render::line;

/// Where a column's text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Align {
    Left,
    Right,
}

/// Widest cell that is shown in full.
const CELL_CHARACTERS: usize = 120;

/// Rows under their headings, columns two spaces apart, ruled by a line.
pub struct TextTable {
    headings: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
}

impl TextTable {
    /// A table with these columns and no rows yet.
    pub fn new<'a>(headings: impl IntoIterator<Item = (&'a str, Align)>) -> Self {
        Self { headings: headings.into_iter().map(|(name, align)| (cell(name), align)).collect(), rows: Vec::new() }
    }

    /// Adds a row; a missing cell is empty.
    pub fn row<S: AsRef<str>>(&mut self, cells: impl IntoIterator<Item = S>) {
        self.rows.push(cells.into_iter().map(|text| cell(text.as_ref())).collect());
    }

    /// The text, one line a row, each ended.
    pub fn render(&self) -> String {
        let widths: Vec<usize> = (0..self.headings.len())
            .map(|index| {
                let heading = self.headings.get(index).map_or(0, |(name, _)| width(name));
                self.rows.iter().filter_map(|row| row.get(index)).map(|text| width(text)).fold(heading, usize::max)
            })
            .collect();
        let headings: Vec<String> = self.headings.iter().map(|(name, _)| name.clone()).collect();
        let rule: Vec<String> = widths.iter().map(|width| "─".repeat(*width)).collect();
        let mut text = String::new();
        for row in [&headings, &rule].into_iter().chain(&self.rows) {
            let mut written = String::new();
            for (index, (_, align)) in self.headings.iter().enumerate() {
                let shown = row.get(index).map_or("", String::as_str);
                let padding = " ".repeat(widths.get(index).copied().unwrap_or(0).saturating_sub(width(shown)));
                if index > 0 {
                    written.push_str("  ");
                }
                match align {
                    Align::Left => written.extend([shown, &padding]),
                    Align::Right => written.extend([padding.as_str(), shown]),
                }
            }
            text.push_str(written.trim_end());
            text.push('\n');
        }
        text
    }
}

fn cell(text: &str) -> String {
    let shown = line(text);
    match shown.char_indices().nth(CELL_CHARACTERS) {
        Some((end, _)) => format!("{}…", shown.get(..end).unwrap_or(&shown)),
        None => shown,
    }
}

fn width(text: &str) -> usize {
    text.chars().count()
}

/// A count with thin groups: `2,964,624`.
pub fn grouped(count: u64) -> String {
    let digits = count.to_string();
    let mut shown = String::with_capacity(digits.len() + digits.len() / 3);
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up() {
        let mut table = TextTable::new([("name", Align::Left), ("rows", Align::Right)]);
        table.row(["raw.green_trips", "56,551"]);
        table.row(["a\u{1b}[31m", "1"]);
        let expected = "\
name               rows
───────────────  ──────
raw.green_trips  56,551
a\\u{1b}[31m           1
";
        assert_eq!(table.render(), expected);
    }

    #[test]
    fn counts_are_grouped() {
        for (count, expected) in [(0, "0"), (999, "999"), (1_000, "1,000"), (2_964_624, "2,964,624")] {
            assert_eq!(grouped(count), expected);
        }
    }
}
