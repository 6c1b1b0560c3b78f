//! The server: one address, its connections, and its end.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener as StdListener};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use lakehost_lake::IcebergLake;
use lakehost_pipeline::Secret;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::access::Access;
use crate::error::{Error, Result};
use crate::guard::Guard;
use crate::routes;
use crate::token::new_token;
use crate::warehouse::Warehouse;

/// So long the head of a request may take, and a connection may wait for the next one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(60);
/// So long requests under way may take to end when the server stops.
const GRACE: Duration = Duration::from_secs(10);
/// Connections at a time; others wait to be taken.
const CONNECTIONS: usize = 256;

/// Where and how a catalog is served.
#[derive(Clone, Debug)]
pub struct Options {
    /// Port 0: any that is free.
    pub listen: SocketAddr,
    /// None: a new one.
    pub token: Option<Secret>,
    /// Names by which clients may ask for the warehouse.
    pub names: Vec<String>,
    /// What engines are told of a bucket.
    pub access: Access,
}

impl Default for Options {
    /// Any free port of loopback, with a new token.
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            token: None,
            names: vec!["lakehost".to_owned()],
            access: Access::default(),
        }
    }
}

/// A catalog that is being served. It ends with this value, at once; [`Endpoint::stop`] lets requests finish.
#[derive(Debug)]
pub struct Endpoint {
    address: SocketAddr,
    token: Secret,
    runtime: Handle,
    stop: watch::Sender<bool>,
    task: Option<JoinHandle<()>>,
}

/// Serves the catalog of a lake on the lake's own runtime. Requests are answered from now on.
///
/// # Errors
/// `LH1003` when the address cannot be had.
pub fn serve(lake: &IcebergLake, options: Options) -> Result<Endpoint> {
    let wrong = |source| Error::Listen { address: options.listen, source };
    let listener = StdListener::bind(options.listen).map_err(wrong)?;
    listener.set_nonblocking(true).map_err(wrong)?;
    let address = listener.local_addr().map_err(wrong)?;
    let runtime = lake.runtime();
    let listener = {
        let _inside = runtime.enter();
        TcpListener::from_std(listener).map_err(wrong)?
    };
    let token = options.token.unwrap_or_else(new_token);
    let warehouse = Arc::new(Warehouse::new(lake.clone(), options.names, options.access));
    let guard = Guard { token: token.clone(), near: address.ip().is_loopback() };
    let router = routes::router(Arc::clone(&warehouse), Arc::new(guard));
    let (stop, stopped) = watch::channel(false);
    let task = runtime.spawn(run(listener, router, warehouse, stopped));
    Ok(Endpoint { address, token, runtime, stop, task: Some(task) })
}

impl Endpoint {
    /// The address that it listens on.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where engines of this machine find it: `http://127.0.0.1:8181`.
    #[must_use]
    pub fn uri(&self) -> String {
        let ip = match self.address.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::from(Ipv4Addr::LOCALHOST),
            IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::from(Ipv6Addr::LOCALHOST),
            ip => ip,
        };
        format!("http://{}", SocketAddr::new(ip, self.address.port()))
    }

    /// What clients must show.
    #[must_use]
    pub fn token(&self) -> &Secret {
        &self.token
    }

    /// Takes no more requests, and waits a little for those under way. Not for calls from inside a runtime.
    pub fn stop(mut self) {
        self.stop.send_replace(true);
        if let Some(task) = self.task.take() {
            let ended = self.runtime.block_on(task);
            if let Err(error) = ended {
                tracing::warn!(%error, "the catalog's server broke off");
            }
        }
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.stop.send_replace(true);
    }
}

async fn run(listener: TcpListener, router: Router, warehouse: Arc<Warehouse>, mut stopped: watch::Receiver<bool>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = told(&mut stopped) => break,
            Some(_) = connections.join_next() => continue,
            accepted = accept(&listener, &places) => accepted,
        };
        match accepted {
            Ok((stream, place)) => {
                let (router, stopped) = (router.clone(), stopped.clone());
                connections.spawn(async move {
                    converse(stream, router, stopped).await;
                    std::mem::drop(place);
                });
            }
            Err(error) => {
                // Too many open files, for instance: others may close some.
                tracing::warn!(%error, "a connection could not be taken");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
    std::mem::drop(listener);
    let all = async { while connections.join_next().await.is_some() {} };
    if tokio::time::timeout(GRACE, all).await.is_err() {
        tracing::warn!("requests were cut off that did not end in time");
    }
    // A change whose client is gone goes on by itself.
    if !warehouse.settle(GRACE).await {
        tracing::warn!("a change to a table is still under way");
    }
}

/// Waits for the word to stop.
async fn told(stopped: &mut watch::Receiver<bool>) {
    // Who could say it is gone when this fails.
    let _ = stopped.wait_for(|stop| *stop).await;
}

async fn accept(
    listener: &TcpListener,
    places: &Arc<Semaphore>,
) -> std::io::Result<(TcpStream, tokio::sync::OwnedSemaphorePermit)> {
    let place = Arc::clone(places).acquire_owned().await.map_err(std::io::Error::other)?;
    let (stream, _) = listener.accept().await?;
    stream.set_nodelay(true)?;
    Ok((stream, place))
}

/// One connection, request after request.
async fn converse(stream: TcpStream, router: Router, mut stopped: watch::Receiver<bool>) {
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let connection = server.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    let mut connection = std::pin::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = told(&mut stopped) => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a connection ended early");
    }
}
