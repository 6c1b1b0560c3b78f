//! Text of strangers made safe to show: URLs without secrets, bodies cut and escaped.

use url::Url;

/// Longest URL or excerpt that a message shows.
const SHOWN_CHARS: usize = 300;

/// A URL as people may see it: no user information, query or fragment, and cut when long.
pub fn display_url(url: &Url) -> String {
    let mut shown = url.clone();
    shown.set_query(None);
    shown.set_fragment(None);
    // Both fail only for URLs that cannot hold user information, which then show none.
    let _ = shown.set_username("");
    let _ = shown.set_password(None);
    excerpt(shown.as_str().as_bytes(), SHOWN_CHARS)
}

/// What may be shown of text that did not parse as a URL: up to the query, and without anything before an `@`.
pub(crate) fn display_unparsed(text: &str) -> String {
    let path_end = text.find(['?', '#']).unwrap_or(text.len());
    let shown = text.get(..path_end).unwrap_or_default();
    let shown = match shown.rfind('@') {
        Some(at) => {
            let scheme_end = shown.find("://").map_or(0, |found| found + 3).min(at);
            let scheme = shown.get(..scheme_end).unwrap_or_default();
            format!("{scheme}{}", shown.get(at + 1..).unwrap_or_default())
        }
        None => shown.to_owned(),
    };
    excerpt(shown.as_bytes(), SHOWN_CHARS)
}

/// At most `limit_chars` characters of foreign bytes on one line. Control, direction-changing and invisible characters are
/// escaped, runs of white space become one space, and a cut ends with `…`.
pub fn excerpt(bytes: &[u8], limit_chars: usize) -> String {
    let text = String::from_utf8_lossy(bytes.get(..limit_chars.saturating_mul(8)).unwrap_or(bytes));
    let mut shown = String::new();
    let mut count = 0;
    let mut after_space = true;
    for character in text.chars() {
        let piece: String = if character.is_whitespace() {
            if after_space {
                continue;
            }
            " ".to_owned()
        } else if is_unsafe_to_show(character) {
            character.escape_unicode().to_string()
        } else {
            character.to_string()
        };
        after_space = character.is_whitespace();
        count += piece.len().min(piece.chars().count());
        if count > limit_chars {
            shown.truncate(shown.trim_end().len());
            shown.push('…');
            return shown;
        }
        shown.push_str(&piece);
    }
    shown.truncate(shown.trim_end().len());
    shown
}

/// Characters that move the cursor, change direction, or cannot be seen.
fn is_unsafe_to_show(character: char) -> bool {
    character.is_control()
        || matches!(character,
            '\u{00ad}' | '\u{061c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shown_urls_hold_no_secrets() {
        for (url, shown) in [
            ("https://user:pass@host.example/a/b?token=s3cret#frag", "https://host.example/a/b"),
            ("http://127.0.0.1:8000/x", "http://127.0.0.1:8000/x"),
            ("file:///data/a.csv", "file:///data/a.csv"),
        ] {
            assert_eq!(display_url(&Url::parse(url).unwrap()), shown);
        }
    }

    #[test]
    fn unparsed_text_is_cut_before_its_secrets() {
        for (text, shown) in [
            ("https://user:pass@host:99999/x?token=1", "https://host:99999/x"),
            ("user:pass@host", "host"),
            ("no url at all", "no url at all"),
            ("https://h/\u{1b}[31m", "https://h/\\u{1b}[31m"),
        ] {
            assert_eq!(display_unparsed(text), shown);
        }
    }

    #[test]
    fn excerpts_are_one_inert_line() {
        for (bytes, limit, shown) in [
            (
                &b"<Error>\n  <Code>AccessDenied</Code>\n</Error>\n"[..],
                200,
                "<Error> <Code>AccessDenied</Code> </Error>",
            ),
            (b"\x1b]52;c;evil\x07", 200, "\\u{1b}]52;c;evil\\u{7}"),
            ("a\u{202e}b".as_bytes(), 200, "a\\u{202e}b"),
            (b"abcdef", 3, "abc…"),
            (b"\xff\xfe", 10, "\u{fffd}\u{fffd}"),
            (b"", 10, ""),
        ] {
            assert_eq!(excerpt(bytes, limit), shown);
        }
        assert!(excerpt(&[b'x'; 100_000], 200).chars().count() <= 201);
    }
}
