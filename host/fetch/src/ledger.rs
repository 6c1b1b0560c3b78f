//! The egress ledger: every request of a run, refused ones too, for the report and for whoever asks later what left this machine.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use serde::Serialize;
use url::Url;

use crate::text::display_url;

/// Entries kept in full. What comes after still counts in the summary.
const ENTRY_LIMIT: usize = 10_000;

/// How a request ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Not finished yet.
    Open,
    /// Answered; the body was read or not wanted.
    Done,
    /// Never sent.
    Refused { reason: String },
    /// Sent, or tried to, and failed.
    Failed { reason: String },
}

/// One request: every try and every redirect is its own.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct LedgerEntry {
    pub method: String,
    /// Without user information and query.
    pub url: String,
    pub status: Option<u16>,
    /// Body bytes sent.
    pub sent_bytes: u64,
    /// Body bytes received.
    pub received_bytes: u64,
    /// The address that was really dialled.
    pub address: Option<SocketAddr>,
    /// From the request to the end of the body.
    pub duration_ms: u64,
    pub outcome: Outcome,
}

/// What went to and came from one origin.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct OriginSummary {
    pub requests: u64,
    pub refused: u64,
    pub failed: u64,
    pub sent_bytes: u64,
    pub received_bytes: u64,
}

/// Totals of a run, by origin (`https://host:port`, `file://`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct LedgerSummary {
    pub total: OriginSummary,
    pub origins: BTreeMap<String, OriginSummary>,
    /// Requests beyond the number that is kept in full.
    pub entries_left_out: u64,
}

/// Collects entries from all requests of a run. Shared between fetchers.
#[derive(Debug, Default)]
pub struct Ledger {
    state: Mutex<State>,
    /// Body bytes of all requests, open ones too.
    received_bytes: AtomicU64,
}

#[derive(Debug, Default)]
struct State {
    entries: Vec<LedgerEntry>,
    summary: LedgerSummary,
}

impl Ledger {
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    /// All entries so far, in the order in which the requests began.
    pub fn entries(&self) -> Vec<LedgerEntry> {
        self.lock().entries.clone()
    }

    /// Totals so far, of finished requests.
    pub fn summary(&self) -> LedgerSummary {
        self.lock().summary.clone()
    }

    /// Body bytes that have come in so far, those of open requests too.
    pub fn received_bytes(&self) -> u64 {
        self.received_bytes.load(Ordering::Relaxed)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Plain counters: a panic elsewhere leaves them usable.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Opens an entry; it is closed when the ticket is dropped.
    pub(crate) fn begin(self: &Arc<Self>, method: &str, url: &Url, sent_bytes: u64) -> Ticket {
        let entry = LedgerEntry {
            method: method.to_owned(),
            url: display_url(url),
            status: None,
            sent_bytes,
            received_bytes: 0,
            address: None,
            duration_ms: 0,
            outcome: Outcome::Open,
        };
        let mut state = self.lock();
        let index = (state.entries.len() < ENTRY_LIMIT).then_some(state.entries.len());
        match index {
            Some(_) => state.entries.push(entry.clone()),
            None => state.summary.entries_left_out += 1,
        }
        drop(state);
        Ticket { ledger: Arc::clone(self), index, entry, origin: origin_of(url), began: Instant::now() }
    }

    /// Records a request that was never sent.
    pub(crate) fn refused(self: &Arc<Self>, method: &str, url: &Url, reason: &str) {
        let mut ticket = self.begin(method, url, 0);
        ticket.entry.outcome = Outcome::Refused { reason: reason.to_owned() };
    }

    fn close(&self, index: Option<usize>, entry: LedgerEntry, origin: String) {
        let mut state = self.lock();
        let total = std::iter::once(&mut state.summary.total);
        total.for_each(|sums| add(sums, &entry));
        add(state.summary.origins.entry(origin).or_default(), &entry);
        if let Some(kept) = index.and_then(|index| state.entries.get_mut(index)) {
            *kept = entry;
        }
    }
}

fn add(sums: &mut OriginSummary, entry: &LedgerEntry) {
    sums.requests += 1;
    sums.refused += u64::from(matches!(entry.outcome, Outcome::Refused { .. }));
    sums.failed += u64::from(matches!(entry.outcome, Outcome::Failed { .. }));
    sums.sent_bytes = sums.sent_bytes.saturating_add(entry.sent_bytes);
    sums.received_bytes = sums.received_bytes.saturating_add(entry.received_bytes);
}

fn origin_of(url: &Url) -> String {
    match (url.host_str(), url.port()) {
        (Some(host), Some(port)) => format!("{}://{host}:{port}", url.scheme()),
        (Some(host), None) => format!("{}://{host}", url.scheme()),
        (None, _) => format!("{}://", url.scheme()),
    }
}

/// The open entry of one request.
#[derive(Debug)]
pub(crate) struct Ticket {
    ledger: Arc<Ledger>,
    index: Option<usize>,
    entry: LedgerEntry,
    origin: String,
    began: Instant,
}

impl Ticket {
    pub(crate) fn answered(&mut self, status: u16, address: Option<SocketAddr>) {
        self.entry.status = Some(status);
        self.entry.address = address;
    }

    pub(crate) fn received(&mut self, bytes: u64) {
        self.entry.received_bytes = self.entry.received_bytes.saturating_add(bytes);
        self.ledger.received_bytes.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(crate) fn refused(&mut self, reason: &str) {
        self.entry.outcome = Outcome::Refused { reason: reason.to_owned() };
    }

    pub(crate) fn failed(&mut self, reason: &str) {
        self.entry.outcome = Outcome::Failed { reason: reason.to_owned() };
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut entry = self.entry.clone();
        entry.duration_ms = u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX);
        if entry.outcome == Outcome::Open {
            entry.outcome = match entry.status {
                Some(_) => Outcome::Done,
                None => Outcome::Failed { reason: "cancelled before an answer".to_owned() },
            };
        }
        self.ledger.close(self.index, entry, std::mem::take(&mut self.origin));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_request_counts_once() {
        let ledger = Ledger::new();
        let url = Url::parse("https://u:p@h.example/a?token=1").unwrap();
        let mut ticket = ledger.begin("GET", &url, 3);
        assert_eq!(ledger.entries()[0].outcome, Outcome::Open);
        ticket.answered(200, "127.0.0.1:80".parse().ok());
        ticket.received(10);
        ticket.received(5);
        assert_eq!(ledger.received_bytes(), 15, "also while the request is open");
        drop(ticket);
        ledger.refused("GET", &Url::parse("http://evil.example:81/").unwrap(), "not granted");
        drop(ledger.begin("HEAD", &url, 0));

        let entries = ledger.entries();
        assert_eq!(entries.len(), 3);
        assert_eq!((entries[0].url.as_str(), entries[0].received_bytes), ("https://h.example/a", 15));
        assert_eq!(entries[0].outcome, Outcome::Done);
        assert_eq!(entries[1].outcome, Outcome::Refused { reason: "not granted".to_owned() });
        assert!(matches!(entries[2].outcome, Outcome::Failed { .. }));

        let summary = ledger.summary();
        assert_eq!((summary.total.requests, summary.total.refused, summary.total.failed), (3, 1, 1));
        assert_eq!(summary.origins["https://h.example"].received_bytes, 15);
        assert_eq!(summary.origins["http://evil.example:81"].refused, 1);
    }

    #[test]
    fn a_flood_is_counted_but_not_kept() {
        let ledger = Ledger::new();
        let url = Url::parse("https://h.example/").unwrap();
        (0..ENTRY_LIMIT + 5).for_each(|_| ledger.refused("GET", &url, "no"));
        assert_eq!(ledger.entries().len(), ENTRY_LIMIT);
        assert_eq!((ledger.summary().total.refused, ledger.summary().entries_left_out), (ENTRY_LIMIT as u64 + 5, 5));
    }
}
