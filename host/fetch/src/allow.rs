//! Grants: what an operator opened, and whether a URL lies inside.
//!
//! A grant is a URL prefix (`https://host:port/trip-data/`, `file:///data/`). Scheme, host and port are compared exactly, the path by
//! decoded segments. Requests and grants go through the same parser, the one that also decides what is dialled, so there is no
//! second reading of a strange URL. Which *addresses* a host name may lead to is `address.rs`.

use std::net::IpAddr;
use std::path::PathBuf;

use url::{Host, Url};

use crate::address::{AddressClass, Cidr, classify};
use crate::error::Error;
use crate::location::{check_form, decoded_segments, granting_prefix};
use crate::text::{display_unparsed, display_url};

/// A URL that was refused, why, and the line that would grant it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{url} is refused: {reason}")]
pub struct Refused {
    /// Without user information and query.
    pub url: String,
    /// Why, naming what is granted where that helps.
    pub reason: String,
    /// The flag to add, as it is typed: `--allow https://host/prefix/`. `None`: nothing grants it, because of what it is.
    pub grant_line: Option<String>,
}

/// One granted URL prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    origin: Origin,
    /// Decoded path segments that a URL must begin with.
    segments: Vec<String>,
    /// The grant ended in `/`: it opens what lies below, not the path itself.
    below_only: bool,
    text: String,
}

/// Scheme, host and port: equal or not, nothing in between.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    scheme: String,
    host: Option<Host>,
    port: Option<u16>,
}

impl Origin {
    fn of(url: &Url) -> Self {
        Self {
            scheme: url.scheme().to_owned(),
            host: url.host().map(|host| host.to_owned()),
            port: url.port_or_known_default(),
        }
    }

    /// The address, when the host is written as one.
    fn literal(&self) -> Option<IpAddr> {
        match self.host {
            Some(Host::Ipv4(address)) => Some(IpAddr::V4(address)),
            Some(Host::Ipv6(address)) => Some(IpAddr::V6(address)),
            Some(Host::Domain(_)) | None => None,
        }
    }
}

impl Grant {
    /// Reads `https://host[:port]/prefix/`, `http://…` or `file:///directory/`. A prefix that ends in `/` opens what lies below it;
    /// one that does not opens the path itself too. A host written as an IP address opens that address, private or not.
    ///
    /// # Errors
    /// [`Error::BadGrant`] for other schemes, wildcards, user information, a query, or an address that is never dialled.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let refuse = |reason: String| Error::BadGrant { grant: display_unparsed(text), reason };
        let url = Url::parse(text).map_err(|error| refuse(error.to_string()))?;
        if url.query().is_some() || url.fragment().is_some() {
            return Err(refuse("a grant is a prefix, without query or fragment".to_owned()));
        }
        if url.host_str().is_some_and(|host| host.contains('*')) {
            return Err(refuse("a wildcard is not a host; grant each host by its name".to_owned()));
        }
        check_form(&url).map_err(&refuse)?;
        let origin = Origin::of(&url);
        if let Some(AddressClass::Never(why)) = origin.literal().map(classify) {
            return Err(refuse(format!("the address is never dialled ({why})")));
        }
        let mut segments = decoded_segments(&url).map_err(refuse)?;
        let below_only = segments.last().is_some_and(String::is_empty);
        if below_only {
            segments.pop();
        }
        Ok(Self { origin, segments, below_only, text: display_url(&url) })
    }

    /// The prefix as it is shown to people.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The directory or file of a `file://` grant.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        (self.origin.scheme == "file")
            .then(|| self.segments.iter().fold(PathBuf::from("/"), |path, segment| path.join(segment)))
    }

    fn covers_path(&self, segments: &[String]) -> bool {
        let longer = segments.len() > self.segments.len();
        segments.starts_with(&self.segments) && (longer || !self.below_only)
    }
}

/// Everything an operator opened for one plugin.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Allowlist {
    /// URL prefixes.
    pub grants: Vec<Grant>,
    /// Private networks that a granted host name may resolve into.
    pub private_networks: Vec<Cidr>,
}

impl Allowlist {
    /// Reads `--allow` values: a URL prefix, or a private network such as `10.0.0.0/8`.
    ///
    /// # Errors
    /// [`Error::BadGrant`] naming the value that is neither.
    pub fn parse<T: AsRef<str>>(lines: impl IntoIterator<Item = T>) -> Result<Self, Error> {
        let mut allow = Self::default();
        for line in lines {
            let line = line.as_ref();
            if line.contains("://") || !line.contains('/') {
                allow.grants.push(Grant::parse(line)?);
            } else {
                allow.private_networks.push(Cidr::parse(line)?);
            }
        }
        Ok(allow)
    }

    /// Whether this URL may be asked for. A host that is a name says nothing of addresses yet: those are checked when it is dialled.
    ///
    /// # Errors
    /// [`Refused`] with the reason and the line that would grant it.
    pub fn check(&self, url: &Url) -> Result<(), Refused> {
        let refuse = |reason: String, grant_line| Refused { url: display_url(url), reason, grant_line };
        check_form(url).map_err(|reason| refuse(reason, None))?;
        let segments = decoded_segments(url).map_err(|reason| refuse(reason, None))?;
        let origin = Origin::of(url);
        if let Some(address) = origin.literal()
            && let AddressClass::Never(why) = classify(address)
        {
            return Err(refuse(format!("{address} is never dialled ({why})"), None));
        }
        // A literal address needs no more than this: a grant of the same origin names the same address.
        if self.grants.iter().any(|grant| grant.origin == origin && grant.covers_path(&segments)) {
            return Ok(());
        }
        let near: Vec<&str> =
            self.grants.iter().filter(|grant| grant.origin.host == origin.host).map(Grant::as_str).collect();
        let reason = if near.is_empty() {
            match origin.host {
                Some(_) => "nothing on this host is granted".to_owned(),
                None => "no file grant covers it".to_owned(),
            }
        } else {
            format!("granted here is only {}", near.join(", "))
        };
        Err(refuse(reason, Some(format!("--allow {}", granting_prefix(url)))))
    }

    /// Whether the address that a granted host name resolved to may be dialled.
    pub(crate) fn check_address(&self, host: &str, address: IpAddr) -> Result<(), Refused> {
        crate::address::address_allowed(address, &self.private_networks).map_err(|class| {
            let (reason, grant_line) = match class {
                AddressClass::Private(why) => {
                    let bits = if address.to_canonical().is_ipv4() { 32 } else { 128 };
                    let line = format!("--allow {}/{bits}", address.to_canonical());
                    (format!("it resolves to {address}, which is {why}"), Some(line))
                }
                AddressClass::Never(why) => (format!("it resolves to {address}, which is never dialled ({why})"), None),
                AddressClass::Public => ("it resolves to no address that may be dialled".to_owned(), None),
            };
            Refused { url: crate::text::excerpt(host.as_bytes(), 253), reason, grant_line }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::location::parse_url;

    fn allow(lines: &[&str]) -> Allowlist {
        Allowlist::parse(lines).unwrap()
    }

    fn check(allow: &Allowlist, url: &str) -> Result<(), Error> {
        allow.check(&parse_url(url)?).map_err(Error::Refused)
    }

    #[test]
    fn only_the_granted_prefix_is_open() {
        let allow = allow(&[
            "https://data.example/trip-data/",
            "http://127.0.0.1:8000/",
            "https://files.example/one.csv",
            "https://data.example:8443/x/",
            "file:///srv/data/",
        ]);
        for url in [
            "https://data.example/trip-data/green.parquet",
            "https://DATA.example/trip-data/a/b?x=1",
            "https://data.example:443/trip-data/a",
            "https://data.example/trip-data/./a",
            "https://data.example/a/../trip-data/b",
            "https://data.example/trip%2ddata/a",
            "http://127.0.0.1:8000/anything",
            "http://127.1:8000/anything",
            "http://0x7f000001:8000/anything",
            "https://files.example/one.csv",
            "https://data.example:8443/x/y",
            "file:///srv/data/a.csv",
            "file://localhost/srv/data/a.csv",
        ] {
            assert_eq!(check(&allow, url).map_err(|error| error.to_string()), Ok(()), "{url}");
        }
        for url in [
            "http://data.example/trip-data/a",
            "https://data.example/trip-data",
            "https://data.example/trip-data2/a",
            "https://data.example/",
            "https://data.example/trip-data/../secret",
            "https://data.example/trip-data/%2e%2e/secret",
            "https://data.example/trip-data/..%2fsecret",
            "https://data.example/trip-data/..%5csecret",
            "https://data.example/trip-data/%252e%252e%252fsecret",
            "https://data.example/trip-data/..;/secret",
            "https://data.example/trip-data/a%00b",
            "https://data.example/trip-data/a%0d%0ab",
            "https://data.example:22/trip-data/a",
            "https://data.example:8443/trip-data/a",
            "https://data.example./trip-data/a",
            "https://adata.example/trip-data/a",
            "https://x.data.example/trip-data/a",
            "https://data.example.evil/trip-data/a",
            "https://data.example@evil.example/trip-data/a",
            "https://user:pass@data.example/trip-data/a",
            "https://evil.example#@data.example/trip-data/a",
            "https://evil.example\\@data.example/trip-data/a",
            "https://data.exam\tple/trip-data/a",
            "https://data.example/trip-data/a\r\nHost: evil",
            "https://dаta.example/trip-data/a", // the second letter is Cyrillic
            "https://$(id).example/",
            "https://files.example/one.csv2",
            "https://files.example/other.csv",
            "http://127.0.0.1:8001/",
            "http://127.0.0.2:8000/",
            "http://localhost:8000/",
            "http://[::ffff:127.0.0.1]:8000/",
            "file:///srv/data2/a",
            "file:///srv/data/../secret",
            "file:///srv/data/..%2f..%2fetc/passwd",
            "file://server/srv/data/a.csv",
            "ftp://data.example/trip-data/a",
            "s3://data.example/trip-data/a",
            "data:text/plain,hello",
            "not a url",
            "",
        ] {
            assert!(check(&allow, url).is_err(), "{url}");
        }
    }

    #[test]
    fn metadata_is_refused_however_it_is_written() {
        // A grant of the address itself is refused, and so is every spelling of it.
        let allow = allow(&["http://127.0.0.1/"]);
        for url in [
            "http://169.254.169.254/",
            "http://169.254.169.254./",
            "http://2852039166/",
            "http://0xA9FEA9FE/",
            "http://0251.0376.0251.0376/",
            "http://169.254.43518/",
            "http://%31%36%39.254.169.254/",
            "http://１６９.２５４.１６９.２５４/",
            "http://[::ffff:169.254.169.254]/",
            "http://[fd00:ec2::254]/",
            "http://[fe80::1]/",
            "http://0.0.0.0/",
            "http://0/",
            "http://[::]/",
            "http://224.0.0.1/",
            "http://[64:ff9b::a9fe:a9fe]/",
            "http://[2002:a9fe:a9fe::]/",
        ] {
            let Err(Error::Refused(refused)) = check(&allow, url) else { panic!("{url} is not refused") };
            assert_eq!(refused.grant_line, None, "{url}: {refused}");
            assert!(refused.reason.contains("never"), "{url}: {refused}");
            assert!(Grant::parse(url).is_err(), "{url}");
        }
        assert!(matches!(check(&allow, "http://[fe80::1%25eth0]/"), Err(Error::BadUrl { .. })));
    }

    #[test]
    fn a_refusal_names_the_line_that_grants_it() {
        let allow = allow(&["https://data.example/a/"]);
        for (url, line) in [
            ("https://other.example/x/y.csv?token=1", "--allow https://other.example/x/"),
            ("https://other.example", "--allow https://other.example/"),
            ("https://data.example/b/c", "--allow https://data.example/b/"),
            ("http://10.0.0.5:9000/bucket/key", "--allow http://10.0.0.5:9000/bucket/"),
            ("https://other.example/$(reboot)/x", "--allow https://other.example/"),
            ("file:///srv/x/a.csv", "--allow file:///srv/x/"),
        ] {
            let Err(Error::Refused(refused)) = check(&allow, url) else { panic!("{url} is not refused") };
            assert_eq!(refused.grant_line.as_deref(), Some(line), "{url}");
            let granted = Allowlist::parse([line.trim_start_matches("--allow ")]).unwrap();
            assert_eq!(check(&granted, url).map_err(|error| error.to_string()), Ok(()), "{line} does not grant {url}");
        }
        let Err(Error::Refused(refused)) = check(&allow, "https://data.example/b/c?secret=1") else { panic!() };
        assert_eq!(
            refused.to_string(),
            "https://data.example/b/c is refused: granted here is only https://data.example/a/"
        );
    }

    #[test]
    fn addresses_behind_names_need_a_network() {
        let allow = allow(&["https://data.example/", "10.0.0.0/8"]);
        assert!(allow.check_address("data.example", "10.1.1.1".parse().unwrap()).is_ok());
        assert!(allow.check_address("data.example", "8.8.8.8".parse().unwrap()).is_ok());
        let refused = allow.check_address("data.example", "192.168.0.1".parse().unwrap()).unwrap_err();
        assert_eq!(refused.grant_line.as_deref(), Some("--allow 192.168.0.1/32"));
        let refused = allow.check_address("data.example", "::ffff:169.254.169.254".parse().unwrap()).unwrap_err();
        assert_eq!(refused.grant_line, None);
    }

    #[test]
    fn grants_are_read_strictly() {
        for text in [
            "https://*.example.com/",
            "https://*/",
            "https://user@host.example/",
            "https://host.example/?x=1",
            "https://host.example/#x",
            "ftp://host.example/",
            "host.example",
            "https://",
            "file://server/share/",
            "http://0.0.0.0:8000/",
            "10.0.0.1/8",
            "",
        ] {
            assert!(Allowlist::parse([text]).is_err(), "{text}");
        }
    }
}
