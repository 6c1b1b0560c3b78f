//! What a URL says, read once: its form, its decoded path, and the prefix that would grant it.

use percent_encoding::percent_decode_str;
use url::{Host, Url};

use crate::error::Error;
use crate::text::{display_unparsed, excerpt};

/// Longest URL that is read at all.
const URL_LIMIT_BYTES: usize = 8 * 1024;

/// Reads a URL that came from a plugin.
pub(crate) fn parse_url(text: &str) -> Result<Url, Error> {
    let refuse = |detail: String| Error::BadUrl { url: display_unparsed(text), detail };
    if text.len() > URL_LIMIT_BYTES {
        return Err(refuse(format!("longer than {URL_LIMIT_BYTES} bytes")));
    }
    // The parser drops tabs and line ends and trims; a URL that holds them was built from parts that it should not have.
    if text.chars().any(|character| character.is_control() || character == ' ' || character == '\\') {
        return Err(refuse("control characters, spaces and backslashes are not part of a URL".to_owned()));
    }
    Url::parse(text).map_err(|error| refuse(error.to_string()))
}

/// What holds for requests and grants alike: a known scheme, no user information, a plain host name.
pub(crate) fn check_form(url: &Url) -> Result<(), String> {
    if !url.username().is_empty() || url.password().is_some() {
        return Err("user information in a URL is never sent; the host adds credentials".to_owned());
    }
    match (url.scheme(), url.host()) {
        ("http" | "https", Some(Host::Domain(name))) => {
            let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
            if !name.is_empty() && name.bytes().all(plain) { Ok(()) } else { Err("this is not a host name".to_owned()) }
        }
        ("http" | "https", Some(_)) | ("file", None) => Ok(()),
        ("file", Some(_)) => Err("a file URL names no host; write file:///path".to_owned()),
        (scheme, _) => Err(format!("scheme {} is not one of https, http, file", excerpt(scheme.as_bytes(), 20))),
    }
}

/// Path segments after percent-decoding, refused when a server could read them as another path.
pub(crate) fn decoded_segments(url: &Url) -> Result<Vec<String>, String> {
    let segments = url.path_segments().ok_or("the URL has no path")?;
    let mut decoded = Vec::new();
    for segment in segments {
        let once = percent_decode_str(segment).decode_utf8_lossy().into_owned();
        let twice = percent_decode_str(&once).decode_utf8_lossy().into_owned();
        for text in [&once, &twice] {
            if text.contains(['/', '\\']) {
                return Err("an encoded slash in a path is never sent".to_owned());
            }
            if text.chars().any(char::is_control) {
                return Err("an encoded control character in a path is never sent".to_owned());
            }
            let name = text.split(';').next().unwrap_or_default().trim();
            if name == "." || name == ".." {
                return Err("a path may not go up".to_owned());
            }
        }
        decoded.push(once);
    }
    Ok(decoded)
}

/// The narrowest prefix that grants a URL and is safe to paste into a shell: its folder, cut at the first unusual character.
pub(crate) fn granting_prefix(url: &Url) -> String {
    let mut prefix = url.clone();
    prefix.set_query(None);
    prefix.set_fragment(None);
    let plain = |segment: &&str| {
        segment
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~' | b'=' | b'%'))
    };
    let mut segments: Vec<&str> = url.path_segments().into_iter().flatten().collect();
    segments.pop();
    let folder: Vec<&str> = segments.into_iter().take_while(plain).collect();
    prefix.set_path(&folder.join("/"));
    let text = prefix.to_string();
    if text.ends_with('/') { text } else { format!("{text}/") }
}
