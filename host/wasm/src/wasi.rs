//! WASI as a plugin finds it: linked, because standard libraries import it, and empty.
//!
//! No files, no sockets, no names, no environment, no arguments. Standard error is kept for the message about a crash, standard output goes
//! nowhere. Time and randomness are the same in every run unless they were granted. Nobody sleeps: a plugin that waits is stopped by name,
//! since it would hold a thread of the host.

use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use bytes::Bytes;
use sha2::{Digest, Sha256};
use tokio::io::AsyncWrite;
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::bindings::clocks::monotonic_clock;
use wasmtime_wasi::p2::{DynPollable, OutputStream, Pollable, StreamResult, subscribe};
use wasmtime_wasi::{Deterministic, HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxView, WasiView, async_trait};

use crate::error::Stop;
use crate::grants::Grants;
use crate::state::HostState;

/// Where virtual time starts: 2000-01-01T00:00:00Z.
const EPOCH_SECONDS: u64 = 946_684_800;
/// What one look at the virtual clock takes.
const LOOK_NS: u64 = 1_000;
/// Random bytes that one call may ask for.
const RANDOM_LIMIT_BYTES: u64 = 64 << 10;
/// Length after which virtual randomness repeats.
const RANDOM_CYCLE_BYTES: usize = 16 << 10;

/// The context of one instance. `seed`: what virtual randomness is made of.
pub(crate) fn context(grants: &Grants, time: &GuestTime, stderr: &Capture, seed: &str) -> WasiCtx {
    let mut builder = WasiCtx::builder();
    builder.stderr(stderr.clone()).max_random_size(RANDOM_LIMIT_BYTES);
    builder.allow_tcp(false).allow_udp(false).allow_ip_name_lookup(false);
    builder.monotonic_clock(time.clone());
    if !grants.clock {
        builder.wall_clock(time.clone());
    }
    if !grants.random {
        let bytes = seeded_bytes(seed);
        let number = bytes.first_chunk::<16>().map_or(0, |bytes| u128::from_le_bytes(*bytes));
        builder.secure_random(Deterministic::new(bytes.clone()));
        builder.insecure_random(Deterministic::new(bytes)).insecure_random_seed(number);
    }
    builder.build()
}

fn seeded_bytes(seed: &str) -> Vec<u8> {
    let block = |counter: u64| Sha256::new().chain_update(seed).chain_update(counter.to_le_bytes()).finalize();
    (0..).flat_map(block).take(RANDOM_CYCLE_BYTES).collect()
}

/// Links WASI, with waiting replaced.
pub(crate) fn add_to_linker(linker: &mut Linker<HostState>) -> wasmtime::Result<()> {
    wasmtime_wasi::p2::add_to_linker_sync(linker)?;
    linker.allow_shadowing(true);
    monotonic_clock::add_to_linker::<HostState, Waiting>(linker, |state| {
        let time = state.time.clone();
        WaitingView { time, table: state.wasi_view().table }
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

impl WasiView for HostState {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.wasi_view()
    }
}

/// The clock of one instance: real, or one that moves only when it is looked at or waited on.
#[derive(Clone, Debug)]
pub(crate) struct GuestTime {
    kind: Arc<Kind>,
}

#[derive(Debug)]
enum Kind {
    Real(Instant),
    Virtual(AtomicU64),
}

impl GuestTime {
    pub fn new(real: bool) -> Self {
        let kind = if real { Kind::Real(Instant::now()) } else { Kind::Virtual(AtomicU64::new(0)) };
        Self { kind: Arc::new(kind) }
    }

    fn look_ns(&self) -> u64 {
        match &*self.kind {
            Kind::Real(start) => u64::try_from(start.elapsed().as_nanos()).unwrap_or(u64::MAX),
            Kind::Virtual(now) => now.fetch_add(LOOK_NS, Ordering::Relaxed).wrapping_add(LOOK_NS),
        }
    }
}

impl HostMonotonicClock for GuestTime {
    fn resolution(&self) -> u64 {
        LOOK_NS
    }
    fn now(&self) -> u64 {
        self.look_ns()
    }
}

impl HostWallClock for GuestTime {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(LOOK_NS)
    }
    fn now(&self) -> Duration {
        Duration::from_secs(EPOCH_SECONDS) + Duration::from_nanos(self.look_ns())
    }
}

struct Waiting;

impl HasData for Waiting {
    type Data<'a> = WaitingView<'a>;
}

struct WaitingView<'a> {
    time: GuestTime,
    table: &'a mut ResourceTable,
}

impl monotonic_clock::Host for WaitingView<'_> {
    fn now(&mut self) -> wasmtime::Result<u64> {
        Ok(self.time.look_ns())
    }

    fn resolution(&mut self) -> wasmtime::Result<u64> {
        Ok(LOOK_NS)
    }

    fn subscribe_instant(&mut self, when: u64) -> wasmtime::Result<Resource<DynPollable>> {
        let now = self.time.look_ns();
        self.subscribe_duration(when.saturating_sub(now))
    }

    fn subscribe_duration(&mut self, duration_ns: u64) -> wasmtime::Result<Resource<DynPollable>> {
        if duration_ns > 0 {
            let wait = Duration::from_nanos(duration_ns);
            let detail = format!("it waits for {wait:?}; a plugin has no pauses: it answers `retry` with `after-ms`");
            return Err(Stop::Contract(detail).into());
        }
        let over = self.table.push(Over)?;
        subscribe(self.table, over)
    }
}

/// No wait at all.
struct Over;

#[async_trait]
impl Pollable for Over {
    async fn ready(&mut self) {}
}

/// The first bytes that a guest wrote to standard error; what follows is dropped, so that writing never fails or blocks.
#[derive(Clone, Debug)]
pub(crate) struct Capture {
    bytes: Arc<Mutex<Vec<u8>>>,
    limit_bytes: usize,
}

impl Capture {
    pub fn new(limit_bytes: usize) -> Self {
        Self { bytes: Arc::default(), limit_bytes }
    }

    fn take_in(&self, bytes: &[u8]) {
        let mut held = self.bytes.lock().unwrap_or_else(PoisonError::into_inner);
        let room = self.limit_bytes.saturating_sub(held.len()).min(bytes.len());
        held.extend_from_slice(bytes.get(..room).unwrap_or_default());
    }

    /// What was written so far, and forgets it.
    pub fn take(&self) -> String {
        let bytes = std::mem::take(&mut *self.bytes.lock().unwrap_or_else(PoisonError::into_inner));
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl IsTerminal for Capture {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Capture {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }
    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl AsyncWrite for Capture {
    fn poll_write(self: Pin<&mut Self>, _: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.take_in(bytes);
        Poll::Ready(Ok(bytes.len()))
    }
    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[async_trait]
impl OutputStream for Capture {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.take_in(&bytes);
        Ok(())
    }
    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }
    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(4096)
    }
}

#[async_trait]
impl Pollable for Capture {
    async fn ready(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn virtual_time_is_the_same_in_every_run() {
        let run = || {
            let time = GuestTime::new(false);
            let first = HostMonotonicClock::now(&time);
            (first, HostMonotonicClock::now(&time), HostWallClock::now(&time))
        };
        let (first, second, wall) = run();
        assert!(second > first, "it moves when it is looked at");
        assert_eq!(wall.as_secs(), EPOCH_SECONDS);
        assert_eq!(run(), (first, second, wall));
    }

    #[test]
    fn a_wait_is_a_breach_and_a_look_is_not() {
        let mut table = ResourceTable::new();
        let mut view = WaitingView { time: GuestTime::new(false), table: &mut table };
        use monotonic_clock::Host;
        assert!(view.subscribe_duration(0).is_ok());
        assert!(view.subscribe_instant(0).is_ok());
        let error = view.subscribe_duration(1_500_000_000).unwrap_err();
        let stop = error.downcast_ref::<Stop>().unwrap().to_string();
        assert!(stop.contains("1.5s"), "{stop}");
    }

    #[test]
    fn randomness_is_seeded_by_the_plugin() {
        assert_eq!(seeded_bytes("a"), seeded_bytes("a"));
        assert_ne!(seeded_bytes("a"), seeded_bytes("b"));
        assert_eq!(seeded_bytes("a").len(), RANDOM_CYCLE_BYTES);
    }

    #[test]
    fn a_flood_on_standard_error_is_cut() {
        let capture = Capture::new(10);
        capture.take_in(b"0123456");
        capture.take_in(b"789abcdef");
        capture.take_in(&[b'x'; 100_000]);
        assert_eq!(capture.take(), "0123456789");
        capture.take_in(b"next");
        assert_eq!(capture.take(), "next");
    }
}
