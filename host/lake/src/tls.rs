//! Certificates beyond those of this machine: an authority of one's own, and a client certificate for servers that ask for one.

use std::io;
use std::path::{Path, PathBuf};

use reqwest::{Certificate, ClientBuilder, Identity};

/// What a connection trusts and shows besides what this machine has. Files in PEM, read when a client is made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tls {
    /// Authorities that are trusted too.
    pub ca: Option<PathBuf>,
    /// The certificate that is shown to a server that asks, with those between it and its authority.
    pub certificate: Option<PathBuf>,
    /// The key of `certificate`; none: it is in the same file.
    pub key: Option<PathBuf>,
}

impl Tls {
    /// A client that trusts and shows them.
    ///
    /// # Errors
    /// A file that cannot be read or is none in PEM, by name.
    pub fn apply(&self, mut builder: ClientBuilder) -> io::Result<ClientBuilder> {
        if let Some(path) = &self.ca {
            let found = Certificate::from_pem_bundle(&read(path)?).map_err(|_| unsound(path, "certificate"))?;
            if found.is_empty() {
                return Err(unsound(path, "certificate"));
            }
            builder = found.into_iter().fold(builder, ClientBuilder::add_root_certificate);
        }
        if let Some(path) = &self.certificate {
            let mut text = read(path)?;
            if let Some(key) = &self.key {
                text.push(b'\n');
                text.extend(read(key)?);
            }
            let identity = Identity::from_pem(&text).map_err(|_| unsound(path, "certificate with a key"))?;
            builder = builder.identity(identity);
        }
        Ok(builder)
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    std::fs::read(path).map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display())))
}

/// The parser's own words could hold a part of a key.
fn unsound(path: &Path, what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("{} holds no {what} in PEM", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_is_no_certificate_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        std::fs::write(&file, "hunter2").unwrap();
        let with = |tls: Tls| tls.apply(reqwest::Client::builder()).err().map(|error| error.to_string());
        assert!(with(Tls::default()).is_none());
        let shown = with(Tls { ca: Some(file.clone()), ..Tls::default() }).unwrap();
        assert!(shown.ends_with("ca.pem holds no certificate in PEM"), "{shown}");
        let shown = with(Tls { certificate: Some(file), ..Tls::default() }).unwrap();
        assert!(shown.ends_with("holds no certificate with a key in PEM") && !shown.contains("hunter2"), "{shown}");
        let shown = with(Tls { ca: Some(folder.path().join("none.pem")), ..Tls::default() }).unwrap();
        assert!(shown.contains("none.pem"), "{shown}");
    }
}
