//! Faults by script: what goes wrong, on which path, on which of its requests.

use std::sync::Mutex;
use std::time::Duration;

use crate::lock;

/// One way of going wrong. Several can hold for one request.
#[derive(Clone, Debug, PartialEq)]
pub enum Fault {
    /// Closes the connection after this many bytes of the body.
    CutAfter(u64),
    /// Answers this status with these headers and this body instead of the file.
    Status(u16, Vec<(String, String)>, String),
    /// From the request after the `n`th of the path on, the entity tag is another one.
    ChangeEtagAfter(u32),
    /// Another entity tag.
    ChangeEtag,
    /// An entity tag that is only weak.
    WeakEtag,
    /// Neither entity tag nor date.
    NoValidators,
    /// Ranges are not announced, and ignored.
    NoRange,
    /// Sends no faster than this.
    SlowBody { bytes_per_second: u64 },
    /// A part is served as asked, but said to begin one byte later.
    WrongContentRange,
    /// Redirects (302) to this URL.
    RedirectTo(String),
    /// Redirects with this status to this URL.
    RedirectWith(u16, String),
    /// Success, and an HTML page instead of the file.
    HtmlBody,
    /// These bytes instead of the file's.
    Body(Vec<u8>),
    /// Waits before it answers.
    ExtraDelay(Duration),
    /// Waits after this many bytes of the body.
    StallAfter(u64, Duration),
    /// Chunks instead of an announced length.
    NoContentLength,
    /// Neither length nor chunks: the end of the connection is the end of the body.
    Unframed,
    /// HEAD is 405.
    NoHead,
    /// Closes the connection without an answer.
    Hangup,
    /// A header more.
    Header(String, String),
}

impl Fault {
    /// A status with an empty body.
    pub fn status(status: u16) -> Self {
        Self::Status(status, Vec::new(), String::new())
    }

    /// A status with a `Retry-After`.
    pub fn retry_after(status: u16, value: impl Into<String>) -> Self {
        Self::Status(status, vec![("Retry-After".to_owned(), value.into())], String::new())
    }
}

#[derive(Debug)]
struct Rule {
    path: String,
    seen: u32,
    skip: u32,
    times: Option<u32>,
    fault: Fault,
}

/// The script of one server.
#[derive(Debug, Default)]
pub(crate) struct Faults {
    rules: Mutex<Vec<Rule>>,
}

impl Faults {
    pub(crate) fn add(&self, path: &str, skip: u32, times: Option<u32>, fault: Fault) {
        let path = if path == "*" || path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        // "After the nth" is the same fault as "always", n requests later.
        let (skip, fault) = match fault {
            Fault::ChangeEtagAfter(requests) => (skip.saturating_add(requests), Fault::ChangeEtag),
            other => (skip, other),
        };
        lock(&self.rules).push(Rule { path, seen: 0, skip, times, fault });
    }

    pub(crate) fn clear(&self) {
        lock(&self.rules).clear();
    }

    /// Counts a request of this path, and answers what goes wrong with it.
    pub(crate) fn for_request(&self, path: &str) -> Vec<Fault> {
        let mut rules = lock(&self.rules);
        let matching = rules.iter_mut().filter(|rule| rule.path == "*" || rule.path == path);
        matching
            .filter_map(|rule| {
                let index = rule.seen;
                rule.seen = rule.seen.saturating_add(1);
                let begun = index >= rule.skip;
                let over = rule.times.is_some_and(|times| index >= rule.skip.saturating_add(times));
                (begun && !over).then(|| rule.fault.clone())
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_count_the_requests_of_their_path() {
        let faults = Faults::default();
        faults.add("/a", 0, Some(1), Fault::CutAfter(1));
        faults.add("a", 1, Some(1), Fault::NoRange);
        faults.add("/a", 0, None, Fault::ChangeEtagAfter(2));
        faults.add("*", 0, None, Fault::NoHead);
        assert_eq!(faults.for_request("/b"), [Fault::NoHead]);
        assert_eq!(faults.for_request("/a"), [Fault::CutAfter(1), Fault::NoHead]);
        assert_eq!(faults.for_request("/a"), [Fault::NoRange, Fault::NoHead]);
        assert_eq!(faults.for_request("/a"), [Fault::ChangeEtag, Fault::NoHead]);
        faults.clear();
        assert_eq!(faults.for_request("/a"), []);
    }
}
