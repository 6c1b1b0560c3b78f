//! A page that stands alone: no script, no other file, readable by day and by night. Foreign text goes through [`text`] and nowhere else.

pub mod chart;

use crate::args::VERSION;
use crate::render::line;

/// Foreign text as it is shown: control characters as escapes, and nothing that HTML would take for its own.
pub fn text(foreign: &str) -> String {
    let mut shown = String::with_capacity(foreign.len());
    for character in line(foreign).chars() {
        match character {
            '&' => shown.push_str("&amp;"),
            '<' => shown.push_str("&lt;"),
            '>' => shown.push_str("&gt;"),
            '"' => shown.push_str("&quot;"),
            '\'' => shown.push_str("&#39;"),
            other => shown.push(other),
        }
    }
    shown
}

/// A whole page. `title` is foreign text, `body` is HTML.
pub fn page(title: &str, body: &str) -> String {
    let (title, version) = (text(title), text(VERSION));
    format!(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
         <title>{title}</title>\n<style>\n{STYLE}</style>\n</head>\n<body>\n<main>\n{body}</main>\n\
         <footer>lakehost {version}</footer>\n</body>\n</html>\n"
    )
}

const STYLE: &str = include_str!("html/style.css");

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn foreign_text_stays_text() {
        assert_eq!(text("<script>alert('x')</script>"), "&lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt;");
        assert_eq!(text("\" onload=\"x&y\u{202e}\n."), "&quot; onload=&quot;x&amp;y\\u{202e}\\n.");
        let page = page("</title><img src=x>", "");
        assert!(!page.contains("<img") && !page.contains("<script"), "{page}");
    }
}
