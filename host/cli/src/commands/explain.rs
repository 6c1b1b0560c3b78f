//! `lakehost explain LHnnnn`: the page of an error code. The pages travel inside the binary.

use lakehost_pipeline::{Fault, codes};

use crate::args::ExplainArguments;
use crate::error::Error;
use crate::exit_code;
use crate::table::{Align, TextTable};

/// Code → page, in order of the codes.
const PAGES: &[(&str, &str)] = include!(concat!(env!("OUT_DIR"), "/error_pages.rs"));

/// Prints one page, or the list of all codes.
pub fn run(arguments: &ExplainArguments) -> Result<u8, Fault> {
    match &arguments.code {
        Some(code) => super::print(page(code)?)?,
        None => {
            let mut table =
                TextTable::new([("code", Align::Left), ("exit", Align::Right), ("what happened", Align::Left)]);
            for (code, title) in codes::ALL {
                table.row([code.0, &code.exit().to_string(), title]);
            }
            super::print(&table.render())?;
        }
    }
    Ok(exit_code::SUCCESS)
}

/// The page of a code, written as `LH0301`, `lh0301` or `301`.
fn page(asked: &str) -> Result<&'static str, Error> {
    let trimmed = asked.trim().trim_start_matches("error").trim_matches(['[', ']', ':']);
    let digits = trimmed.trim_start_matches(['l', 'h', 'L', 'H']);
    let code = format!("LH{digits:0>4}");
    PAGES.iter().find(|(known, _)| *known == code).map(|(_, page)| *page).ok_or_else(|| Error::CodeUnknown {
        code: asked.escape_debug().to_string(),
        nearest: PAGES
            .iter()
            .map(|(known, _)| *known)
            .find(|known| digits.len() == 4 && known.get(..4) == code.get(..4)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_has_a_page_and_every_page_a_code() {
        let mut codes: Vec<&str> = codes::ALL.iter().map(|(code, _)| code.0).collect();
        codes.sort_unstable();
        let pages: Vec<&str> = PAGES.iter().map(|(code, _)| *code).collect();
        assert_eq!(pages, codes);
    }

    #[test]
    fn pages_have_the_parts_that_people_look_for() {
        for (code, page) in PAGES {
            let title = codes::title(code).unwrap();
            assert!(page.starts_with(&format!("# {code}: {title}\n")), "{code} begins with its title");
            assert!(page.contains(&format!("error[{code}]: ")), "{code} shows the error");
            for part in ["\n## Why it usually happens\n", "\n## What to try\n"] {
                assert!(page.contains(part), "{code} has {part:?}");
            }
        }
    }

    #[test]
    fn codes_are_found_as_people_write_them() {
        for asked in ["LH0301", "lh0301", "0301", "301", "error[LH0301]:"] {
            assert!(page(asked).is_ok_and(|page| page.starts_with("# LH0301")), "{asked}");
        }
        for asked in ["LH9999", "", "LH03x1", "\u{1b}"] {
            assert!(page(asked).is_err(), "{asked}");
        }
    }
}
