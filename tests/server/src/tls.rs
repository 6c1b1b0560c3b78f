//! Certificates made for a test, and connections behind them.
//!
//! `openssl` makes them: Debian has it wherever there are certificates at all.

use std::io;
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::service::{Wire, Wrap};

/// An authority of a test's own, with its files in a folder.
#[derive(Debug)]
pub struct Authority {
    folder: PathBuf,
}

/// A server's certificate with its key.
#[derive(Clone, Debug)]
pub struct Identity {
    config: Arc<ServerConfig>,
}

fn openssl(arguments: &[&str], folder: &Path) -> io::Result<()> {
    let output = Command::new("openssl").args(arguments).current_dir(folder).stdin(Stdio::null()).output();
    let output =
        output.map_err(|error| io::Error::new(error.kind(), format!("openssl, which makes certificates: {error}")))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(io::Error::other(format!("openssl {arguments:?}: {}", String::from_utf8_lossy(&output.stderr)))),
    }
}

impl Authority {
    /// A new one in a folder that is there.
    pub fn new(folder: &Path) -> io::Result<Self> {
        let make = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=test authority"];
        openssl(&[&make[..], &["-keyout", "ca.key", "-out", "ca.pem"]].concat(), folder)?;
        Ok(Self { folder: folder.to_owned() })
    }

    /// Its certificate, in PEM.
    #[must_use]
    pub fn file(&self) -> PathBuf {
        self.folder.join("ca.pem")
    }

    /// A certificate for a name: `DNS:localhost`, `IP:127.0.0.1`.
    pub fn identity(&self, name: &str) -> io::Result<Identity> {
        let file = |ending: &str| format!("{}.{ending}", name.replace([':', '.'], "-"));
        let (key, request, certificate, extensions) = (file("key"), file("csr"), file("pem"), file("ext"));
        let make = ["req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=test server"];
        openssl(&[&make[..], &["-keyout", &key, "-out", &request]].concat(), &self.folder)?;
        let text = format!("subjectAltName={name}\nextendedKeyUsage=serverAuth\nbasicConstraints=CA:FALSE\n");
        std::fs::write(self.folder.join(&extensions), text)?;
        let sign = ["x509", "-req", "-CA", "ca.pem", "-CAkey", "ca.key", "-CAcreateserial", "-days", "30"];
        openssl(
            &[&sign[..], &["-in", &request, "-extfile", &extensions, "-out", &certificate]].concat(),
            &self.folder,
        )?;
        let certificate = CertificateDer::from_pem_file(self.folder.join(certificate)).map_err(io::Error::other)?;
        let key = PrivateKeyDer::from_pem_file(self.folder.join(key)).map_err(io::Error::other)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(io::Error::other)?
            .with_no_client_auth()
            .with_single_cert(vec![certificate], key)
            .map_err(io::Error::other)?;
        Ok(Identity { config: Arc::new(config) })
    }
}

impl Identity {
    /// For [`Service::start_in`] and [`Proxy::start_in`]. The handshake comes with the first bytes.
    ///
    /// [`Service::start_in`]: crate::Service::start_in
    /// [`Proxy::start_in`]: crate::Proxy::start_in
    #[must_use]
    pub fn wrap(self) -> Option<Box<Wrap>> {
        Some(Box::new(move |stream: TcpStream| {
            let connection = ServerConnection::new(Arc::clone(&self.config)).map_err(io::Error::other)?;
            Ok(Box::new(StreamOwned::new(connection, stream)) as Box<dyn Wire>)
        }))
    }
}
