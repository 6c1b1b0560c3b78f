//! What a plugin may reach: what it asks for, as far as the operator gives it.

use std::fmt;

use lakehost_fetch::{Allowlist, Grant};
use url::Url;

use crate::error::{Error, Result, shown};

/// Something that a plugin needs under a configuration, in its own words.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Ask {
    UrlPrefix(String),
    Clock,
    Random,
}

impl Ask {
    /// What `--allow` takes to grant it.
    pub fn value(&self) -> &str {
        match self {
            Self::UrlPrefix(prefix) => prefix,
            Self::Clock => "clock",
            Self::Random => "random",
        }
    }
}

impl fmt::Display for Ask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&shown(self.value(), 300))
    }
}

/// What is open to one plugin. The default opens nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// URL prefixes, and private networks (`10.0.0.0/8`) that granted names may lead into.
    pub urls: Vec<String>,
    /// The real time; otherwise a clock that starts at the same moment in every run.
    pub clock: bool,
    /// Real randomness; otherwise the same numbers in every run.
    pub random: bool,
}

/// What came of asks and `--allow` values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Decision {
    pub grants: Grants,
    /// Asks that no value covers.
    pub missing: Vec<Ask>,
}

impl Grants {
    /// The effective grants: what is asked, as far as `allow` covers it. A value wider than an ask gives just what is asked; a narrower
    /// one gives itself. Private networks are taken as given: they open no URL.
    ///
    /// # Errors
    /// [`Error::Grant`] for a value that grants nothing that exists, [`Error::Ask`] for an ask that nothing can grant.
    pub fn effective<T: AsRef<str>>(asks: &[Ask], allow: &[T]) -> Result<Decision> {
        let mut decision = Decision::default();
        let mut prefixes = Vec::new();
        let (mut clock, mut random) = (false, false);
        for value in allow {
            match value.as_ref() {
                "clock" => clock = true,
                "random" => random = true,
                value => {
                    let parsed = Allowlist::parse([value]).map_err(|error| bad_value(value, &error))?;
                    match parsed.grants.into_iter().next() {
                        Some(grant) => prefixes.push(grant),
                        None => decision.grants.urls.push(value.to_owned()),
                    }
                }
            }
        }
        for ask in asks {
            let covered = match ask {
                Ask::Clock => {
                    decision.grants.clock |= clock;
                    clock
                }
                Ask::Random => {
                    decision.grants.random |= random;
                    random
                }
                Ask::UrlPrefix(prefix) => {
                    let (granted, whole) = covered_prefixes(prefix, &prefixes)?;
                    for url in granted {
                        if !decision.grants.urls.contains(&url) {
                            decision.grants.urls.push(url);
                        }
                    }
                    whole
                }
            };
            if !covered && !decision.missing.contains(ask) {
                decision.missing.push(ask.clone());
            }
        }
        Ok(decision)
    }

    /// Everything that is asked, for a plugin that the operator trusts.
    pub fn all(asks: &[Ask]) -> Self {
        let mut grants = Self::default();
        for ask in asks {
            match ask {
                Ask::Clock => grants.clock = true,
                Ask::Random => grants.random = true,
                Ask::UrlPrefix(prefix) => grants.urls.push(prefix.clone()),
            }
        }
        grants
    }

    /// The list that the fetcher checks URLs against.
    pub(crate) fn allowlist(&self) -> Result<Allowlist> {
        Allowlist::parse(&self.urls).map_err(|error| bad_ask(&self.urls.join(", "), &error))
    }
}

/// Which prefixes of an ask are granted, and whether they are all of it.
fn covered_prefixes(ask: &str, allow: &[Grant]) -> Result<(Vec<String>, bool)> {
    let asked = Grant::parse(ask).map_err(|error| bad_ask(ask, &error))?;
    let mut narrower = Vec::new();
    for grant in allow {
        if covers(grant, asked.as_str()) {
            return Ok((vec![asked.as_str().to_owned()], true));
        }
        if covers(&asked, grant.as_str()) {
            narrower.push(grant.as_str().to_owned());
        }
    }
    Ok((narrower, false))
}

fn covers(grant: &Grant, prefix: &str) -> bool {
    // A prefix that ends in a slash lies below itself: the same parser and rules as for requests decide.
    let list = Allowlist { grants: vec![grant.clone()], private_networks: Vec::new() };
    grant.as_str() == prefix || Url::parse(prefix).is_ok_and(|url| list.check(&url).is_ok())
}

fn bad_value(value: &str, error: &lakehost_fetch::Error) -> Error {
    Error::Grant { value: shown(value, 300), detail: reason(error) }
}

fn bad_ask(value: &str, error: &lakehost_fetch::Error) -> Error {
    Error::Ask { value: shown(value, 300), detail: reason(error) }
}

/// Why, without the value: the message names that itself.
fn reason(error: &lakehost_fetch::Error) -> String {
    match error {
        lakehost_fetch::Error::BadGrant { reason, .. } => shown(reason, 300),
        other => shown(&other.to_string(), 300),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(asks: &[&str], allow: &[&str], granted: &[&str], missing: &[&str]) {
        let ask = |text: &&str| match *text {
            "clock" => Ask::Clock,
            "random" => Ask::Random,
            url => Ask::UrlPrefix(url.to_owned()),
        };
        let asks: Vec<Ask> = asks.iter().map(ask).collect();
        let decision = Grants::effective(&asks, allow).unwrap();
        let mut found = decision.grants.urls.clone();
        found.extend(decision.grants.clock.then(|| "clock".to_owned()));
        found.extend(decision.grants.random.then(|| "random".to_owned()));
        assert_eq!(found, granted, "granted of {asks:?} by {allow:?}");
        let left: Vec<&str> = decision.missing.iter().map(Ask::value).collect();
        assert_eq!(left, missing, "missing of {asks:?} by {allow:?}");
    }

    #[test]
    fn the_effective_grant_is_the_intersection() {
        let tlc = "https://data.example/trip-data/";
        check(&[tlc], &[], &[], &[tlc]);
        check(&[tlc], &[tlc], &[tlc], &[]);
        check(&[tlc], &["https://data.example/"], &[tlc], &[]);
        let narrow = "https://data.example/trip-data/2024/";
        check(&[tlc], &[narrow], &[narrow], &[tlc]);
        check(&[tlc], &["https://other.example/"], &[], &[tlc]);
        check(&[tlc], &["http://data.example/trip-data/"], &[], &[tlc]);
        check(&[tlc], &["https://data.example:8443/trip-data/"], &[], &[tlc]);
        check(&[tlc], &["https://data.example/trip-data2/"], &[], &[tlc]);
        check(&[], &[tlc, "clock", "random"], &[], &[]);
        check(&["clock", "random"], &["clock"], &["clock"], &["random"]);
        check(&[tlc], &["10.0.0.0/8", tlc], &["10.0.0.0/8", tlc], &[]);
        check(&["http://127.0.0.1:8000/"], &["http://127.0.0.1:8000/"], &["http://127.0.0.1:8000/"], &[]);
    }

    #[test]
    fn values_that_grant_nothing_are_refused() {
        for value in ["everything", "*", "https://*.example/", "ftp://h/", "https://u:p@h/", "http://169.254.169.254/"]
        {
            assert!(Grants::effective(&[], &[value]).is_err(), "{value}");
        }
        for ask in ["nonsense", "http://169.254.169.254/", "https://*/"] {
            let error = Grants::effective(&[Ask::UrlPrefix(ask.to_owned())], &["https://h/"]).unwrap_err();
            assert!(matches!(error, Error::Ask { .. }), "{ask}");
            assert!(Grants::all(&[Ask::UrlPrefix(ask.to_owned())]).allowlist().is_err(), "{ask}");
        }
    }
}
