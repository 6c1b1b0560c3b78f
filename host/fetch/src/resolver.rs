//! Names to addresses, each checked before it can be dialled. The client asks here and nowhere else, and dials what it was told:
//! between check and dial there is no second look-up that could answer differently.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use futures::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use crate::allow::{Allowlist, Refused};

/// Where addresses of a name come from: the system, or a script in a test.
pub(crate) type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, io::Result<Vec<IpAddr>>> + Send + Sync>;

/// The system's name service.
pub(crate) fn system_lookup() -> Lookup {
    Arc::new(|host| {
        Box::pin(async move {
            let found = tokio::net::lookup_host((host.as_str(), 0)).await?;
            Ok(found.map(|address| address.ip()).collect())
        })
    })
}

/// A name that led nowhere. A type of its own, so that it is recognised at the far end of the client's error chain.
#[derive(Debug, thiserror::Error)]
#[error("{detail}")]
pub(crate) struct LookupFailed {
    pub detail: String,
}

/// Resolves names under an allow-list.
pub(crate) struct CheckedResolver {
    allow: Arc<Allowlist>,
    lookup: Lookup,
}

impl CheckedResolver {
    pub(crate) fn new(allow: Arc<Allowlist>, lookup: Lookup) -> Self {
        Self { allow, lookup }
    }
}

impl Resolve for CheckedResolver {
    fn resolve(&self, name: Name) -> Resolving {
        let allow = Arc::clone(&self.allow);
        let lookup = self.lookup.as_ref()(name.as_str().to_owned());
        Box::pin(async move {
            let found = lookup.await.map_err(|error| LookupFailed { detail: error.to_string() })?;
            let mut open = Vec::new();
            let mut refused: Option<Refused> = None;
            for address in found {
                match allow.check_address(name.as_str(), address) {
                    Ok(()) => open.push(SocketAddr::new(address, 0)),
                    Err(reason) => refused = refused.or(Some(reason)),
                }
            }
            match refused {
                _ if !open.is_empty() => Ok(Box::new(open.into_iter()) as Addrs),
                Some(refused) => Err(refused.into()),
                None => Err(LookupFailed { detail: "the name has no addresses".to_owned() }.into()),
            }
        })
    }
}
