//! A listing in pages.
//!
//! Who sends no token gets everything at once. Who does gets pages; a token is the last name of the page before, so names that come and go in
//! between cost nobody a name.

use serde::Deserialize;

/// Names of a page when the client does not say.
const USUAL: usize = 100;
/// More are never in one.
const MOST: usize = 1_000;

/// The query of a listing.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Paging {
    #[serde(rename = "pageToken")]
    token: Option<String>,
    #[serde(rename = "pageSize")]
    size: Option<usize>,
}

impl Paging {
    pub fn new(token: Option<String>, size: Option<usize>) -> Self {
        Self { token, size }
    }

    /// The page of sorted `names`, and the token of the next one.
    pub fn page(&self, names: Vec<String>) -> (Vec<String>, Option<String>) {
        let Some(token) = &self.token else { return (names, None) };
        let size = self.size.unwrap_or(USUAL).clamp(1, MOST);
        let mut rest = names.into_iter().filter(|name| token.is_empty() || name > token);
        let page: Vec<String> = rest.by_ref().take(size).collect();
        let next = rest.next().and(page.last().cloned());
        (page, next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_whatever_comes_and_goes() {
        let names = |text: &str| text.chars().map(String::from).collect::<Vec<_>>();
        let page = |token: Option<&str>, size, all: &str| {
            let paging = Paging { token: token.map(str::to_owned), size };
            let (page, next) = paging.page(names(all));
            (page.concat(), next)
        };
        assert_eq!(page(None, Some(2), "abcde"), ("abcde".into(), None));
        assert_eq!(page(Some(""), Some(2), "abcde"), ("ab".into(), Some("b".into())));
        assert_eq!(page(Some("b"), Some(2), "acde"), ("cd".into(), Some("d".into())));
        assert_eq!(page(Some("d"), Some(2), "abcde"), ("e".into(), None));
        assert_eq!(page(Some("e"), None, "abcde"), (String::new(), None));
        assert_eq!(page(Some(""), Some(0), "ab"), ("a".into(), Some("a".into())));
    }
}
