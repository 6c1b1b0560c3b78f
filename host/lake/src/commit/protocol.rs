//! Exactly once: one request at a time, and a look at the table after each.
//!
//! The snapshot id is chosen before the first request and is the same in all of them, so "did we land?" has one answer, which
//! [`landed`](super::landed()) gives. A request whose answer is lost is sent again only while the table is where it was; once the table has
//! moved without us the change is worked out anew on the new head, unless somebody changed what it was about.
//!
//! A request of unknown outcome may still arrive, and if somebody rolls the table back meanwhile, land. So its files are never deleted here:
//! they are in the table or orphans.

use std::time::{Duration, Instant};

use lakehost_pipeline::Diagnostic as _;
use lakehost_pipeline::ports::TableName;

use super::action::{Action, On, Step};
use super::build::{Built, build};
use super::landed::Verdict;
use super::manifests::Manifests;
use crate::catalog::{Outcome, TableChange, TableState};
use crate::core::Core;
use crate::error::{Error, Result};
use crate::intent::SentNote;
use crate::location::metadata_id;

/// Requests of one commit, at most.
pub const REQUESTS: u32 = 400;
/// Requests of one attempt, all the same, that a catalog does not answer, at most.
const UNANSWERED: u32 = 40;
/// A commit that others overtake is made again at least so long. Whoever has just landed goes on from the newest head, and so wins against those
/// that wait: a number of requests alone would starve one of many writers now and then.
const PATIENCE: Duration = Duration::from_secs(60);

/// No pause between two of them is longer.
const PAUSE_LIMIT_MS: u64 = 10_000;

/// How a commit to one table ended well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landing {
    /// It is in the table.
    Landed { requests: u32, snapshot_id: Option<i64> },
    /// Somebody else committed the same; our files are superfluous.
    AlreadyLoaded { snapshot_id: i64 },
    /// There was nothing to do.
    Nothing,
}

/// How a commit ended.
#[derive(Debug)]
pub struct Ended {
    /// One landing for each action. After [`Error::OutcomeUnknown`] nobody knows; after any other error nothing of ours is in a table, but
    /// for tables of a catalog that cannot move several at once.
    pub result: Result<Vec<Landing>>,
    /// A request's answer was lost and it did not land so far: its files must stay.
    pub stray: bool,
}

impl Ended {
    /// Whether files of the commit must be left where they are though it did not land.
    #[must_use]
    pub fn keeps_files(&self) -> bool {
        self.stray || self.result.as_ref().is_err_and(keeps_files)
    }
}

/// Files may be deleted only when the commit certainly did not land.
pub fn keeps_files(error: &Error) -> bool {
    matches!(error, Error::OutcomeUnknown { .. }) || error.is_fail_point()
}

/// An error with what is behind it: one that becomes the cause of another has no line of its own for that.
fn told(error: &Error) -> String {
    match error.cause() {
        Some(cause) => format!("{error}: {cause}"),
        None => error.to_string(),
    }
}

/// Commits what the actions want, all in one request where the catalog can, else the first one last. When the first has nothing to do, so
/// have the others: they only go with it. `snapshot_ids` are those of their snapshots.
pub async fn land(core: &Core, actions: &[&dyn Action], run_id: &str, snapshot_ids: &[i64]) -> Ended {
    let parts: Vec<Part<'_>> =
        actions.iter().zip(snapshot_ids).map(|(action, id)| Part { action: *action, snapshot_id: *id }).collect();
    let mut deed = Deed { core, run_id, manifests: Manifests::new(core.io.clone()), stray: false };
    let result = deed.run(&parts).await;
    let ended = Ended { result, stray: deed.stray };
    if core.catalog.late().is_some() && !ended.keeps_files() {
        snapshot_ids.iter().for_each(|id| SentNote::remove(core, run_id, *id));
    }
    ended
}

/// An action with the id of its snapshot.
#[derive(Clone, Copy)]
struct Part<'a> {
    action: &'a dyn Action,
    snapshot_id: i64,
}

impl Part<'_> {
    fn table(&self) -> &TableName {
        self.action.table()
    }
}

struct Deed<'a> {
    core: &'a Core,
    run_id: &'a str,
    manifests: Manifests,
    stray: bool,
}

type Heads = Vec<Option<TableState>>;

impl Deed<'_> {
    async fn run(&mut self, parts: &[Part<'_>]) -> Result<Vec<Landing>> {
        if parts.len() < 2 || self.core.catalog.can().many_tables {
            return self.group(parts).await;
        }
        // Readers go by the first table, so it comes last; but first of all it is asked whether anything is to do.
        let (Some(lead), heads) = (parts.first(), self.heads(parts).await?) else { return Ok(Vec::new()) };
        let head = heads.first().and_then(Option::as_ref);
        if let Step::Nothing { snapshot_id } = lead.action.prepare(&self.on(lead, head, head, 0)).await? {
            return Ok(nothing(parts, snapshot_id));
        }
        let mut landings = Vec::new();
        for part in parts.iter().rev() {
            landings.extend(self.group(std::slice::from_ref(part)).await?);
        }
        landings.reverse();
        Ok(landings)
    }

    /// Commits some actions in one request.
    async fn group(&mut self, parts: &[Part<'_>]) -> Result<Vec<Landing>> {
        let bases = self.heads(parts).await?;
        let mut heads = bases.clone();
        let mut requests = 0;
        let since = Instant::now();
        for attempt in 1.. {
            let begun = Instant::now();
            let mut landings = vec![Landing::Nothing; parts.len()];
            let mut sent = Vec::new();
            match self.prepare(parts, &bases, &heads, attempt, &mut sent).await {
                Ok(Some(snapshot_id)) => return Ok(nothing(parts, snapshot_id)),
                Ok(None) => {}
                Err(error) => {
                    if !keeps_files(&error) {
                        self.forget(sent);
                    }
                    return Err(error);
                }
            }
            if sent.is_empty() {
                return Ok(landings);
            }
            let mut lost = false;
            let ended = self.send(parts, &mut sent, &heads, &mut requests, &mut lost).await;
            self.stray |= lost && !matches!(ended, Ok(Sent::Landed));
            if !lost && !matches!(&ended, Ok(Sent::Landed)) && !ended.as_ref().is_err_and(keeps_files) {
                self.forget(std::mem::take(&mut sent));
            }
            match ended? {
                Sent::Landed => {
                    for (number, built) in &sent {
                        if let (Some(landing), Some(part)) = (landings.get_mut(*number), parts.get(*number)) {
                            let snapshot_id = built.brings_snapshot.then_some(part.snapshot_id);
                            *landing = Landing::Landed { requests, snapshot_id };
                        }
                    }
                    return Ok(landings);
                }
                Sent::Overtaken(now) => heads = now,
            }
            if requests >= REQUESTS - UNANSWERED || (requests >= UNANSWERED && since.elapsed() >= PATIENCE) {
                break;
            }
            pause(requests, begun.elapsed()).await;
        }
        Err(self.busy(parts, requests))
    }

    /// Asks every action and builds its request into `built`. `Some`: there is nothing to do.
    async fn prepare(
        &self,
        parts: &[Part<'_>],
        bases: &Heads,
        heads: &Heads,
        attempt: u32,
        sent: &mut Vec<(usize, Built)>,
    ) -> Result<Option<Option<i64>>> {
        for (number, part) in parts.iter().enumerate() {
            let base = bases.get(number).and_then(Option::as_ref);
            let head = heads.get(number).and_then(Option::as_ref);
            let on = self.on(part, base, head, attempt);
            match part.action.prepare(&on).await? {
                Step::Nothing { snapshot_id } if number == 0 => return Ok(Some(snapshot_id)),
                Step::Nothing { .. } => {}
                Step::Change(delta) => sent.push((number, build(&on, part.table(), *delta).await?)),
            }
        }
        Ok(None)
    }

    fn on<'b>(
        &'b self,
        part: &Part<'_>,
        base: Option<&'b TableState>,
        head: Option<&'b TableState>,
        attempt: u32,
    ) -> On<'b> {
        On {
            core: self.core,
            manifests: &self.manifests,
            base,
            head,
            attempt,
            snapshot_id: part.snapshot_id,
            run_id: self.run_id,
        }
    }

    async fn heads(&self, parts: &[Part<'_>]) -> Result<Heads> {
        let mut heads = Vec::with_capacity(parts.len());
        for part in parts {
            heads.push(self.core.catalog.load(part.table()).await?);
        }
        Ok(heads)
    }

    /// Sends one request, again while its outcome is open and the tables are where they were. `lost`: some answer did not come.
    async fn send(
        &self,
        parts: &[Part<'_>],
        sent: &mut [(usize, Built)],
        heads: &Heads,
        requests: &mut u32,
        lost: &mut bool,
    ) -> Result<Sent> {
        let before = *requests;
        loop {
            *requests += 1;
            for (number, built) in sent.iter_mut() {
                let id = parts.get(*number).map_or(0, |part| part.snapshot_id);
                built.change.metadata_id = metadata_id(id, *requests);
            }
            if self.core.catalog.late().is_some() {
                let mut ours = sent.iter().filter_map(|(number, _)| parts.get(*number));
                let noted = ours.try_for_each(|part| SentNote::write(self.core, self.run_id, part.snapshot_id));
                noted.map_err(|error| if *lost { self.unknown(parts, told(&error)) } else { error })?;
            }
            let changes: Vec<TableChange> = sent.iter().map(|(_, built)| built.change.clone()).collect();
            let answer = match self.core.catalog.commit(&changes).await {
                Err(error) if error.is_fail_point() => return Err(error),
                answer => answer,
            };
            *lost |= matches!(answer, Ok(Outcome::Unknown(_)));
            let unknown = |detail: String| self.unknown(parts, detail);
            let now = self.heads(parts).await.map_err(|error| unknown(told(&error)))?;
            let verdict = self.verdict(parts, sent, heads, &now).await.map_err(|error| unknown(told(&error)))?;
            let moved = !same(heads, &now);
            match (verdict, answer) {
                (Verdict::Yes, _) | (Verdict::Unsure, Ok(Outcome::Landed)) => return Ok(Sent::Landed),
                // The catalog said yes, and the table says no: nothing may be deleted on such ground.
                (Verdict::No, Ok(Outcome::Landed)) if !moved || now.iter().all(Option::is_some) => {
                    *lost = true;
                    return Err(unknown("the catalog confirmed the commit, but the table does not show it".to_owned()));
                }
                (Verdict::Unsure, answer) if *lost => {
                    let detail = "snapshots have gone since, and nothing that is left tells".to_owned();
                    return Err(unknown(match answer {
                        Ok(Outcome::Unknown(error)) | Err(error) => format!("{}; {detail}", told(&error)),
                        Ok(_) => detail,
                    }));
                }
                (_, _) if moved => return Ok(Sent::Overtaken(now)),
                (_, Err(error)) if !*lost => return Err(error),
                (_, Ok(Outcome::Unknown(error)) | Err(error)) if *requests - before >= UNANSWERED => {
                    return Err(unknown(told(&error)));
                }
                _ if *requests - before >= UNANSWERED => return Err(self.busy(parts, *requests)),
                _ => pause(*requests, Duration::ZERO).await,
            }
        }
    }

    /// Whether a request for these tables, which takes effect on all or none, is in them.
    async fn verdict(
        &self,
        parts: &[Part<'_>],
        sent: &[(usize, Built)],
        heads: &Heads,
        now: &Heads,
    ) -> Result<Verdict> {
        let mut verdict = Verdict::No;
        if same(heads, now) {
            return Ok(verdict);
        }
        for (number, built) in sent {
            let (Some(part), Some(Some(state))) = (parts.get(*number), now.get(*number)) else { continue };
            match built.is_in(&self.manifests, state, part.snapshot_id).await? {
                Verdict::Yes => return Ok(Verdict::Yes),
                Verdict::Unsure => verdict = Verdict::Unsure,
                Verdict::No => {}
            }
        }
        Ok(verdict)
    }

    fn forget(&self, sent: Vec<(usize, Built)>) {
        self.core.forget(sent.into_iter().flat_map(|(_, built)| built.scratch));
    }

    fn unknown(&self, parts: &[Part<'_>], detail: String) -> Error {
        Error::OutcomeUnknown { table: lead(parts), run_id: self.run_id.to_owned(), detail }
    }

    fn busy(&self, parts: &[Part<'_>], attempts: u32) -> Error {
        Error::Busy { table: lead(parts), attempts }
    }
}

/// The table that messages are about.
fn lead(parts: &[Part<'_>]) -> TableName {
    parts
        .first()
        .map_or_else(|| TableName { namespace: String::new(), name: String::new() }, |part| part.table().clone())
}

/// The first action has nothing to do, so nothing is done.
fn nothing(parts: &[Part<'_>], snapshot_id: Option<i64>) -> Vec<Landing> {
    let mut landings = vec![Landing::Nothing; parts.len()];
    if let (Some(first), Some(part), Some(snapshot_id)) = (landings.first_mut(), parts.first(), snapshot_id) {
        *first = if snapshot_id == part.snapshot_id {
            Landing::Landed { requests: 0, snapshot_id: Some(snapshot_id) }
        } else {
            Landing::AlreadyLoaded { snapshot_id }
        };
    }
    landings
}

/// Whether every table is where it was.
fn same(before: &Heads, now: &Heads) -> bool {
    let versions = |heads: &Heads| heads.iter().map(|head| head.as_ref().map(TableState::version)).collect::<Vec<_>>();
    versions(before) == versions(now)
}

/// What is certain after a request and a look at the tables.
enum Sent {
    Landed,
    /// Some table is another than the request was made for, and ours is not in it.
    Overtaken(Heads),
}

/// Longer and longer, and never two writers in step. `took`: an attempt; where many writers are at work, or each is slow, a pause of several
/// attempts lets one of the others through.
async fn pause(requests: u32, took: Duration) {
    let took_ms = u64::try_from(took.as_millis()).unwrap_or(u64::MAX);
    let limit_ms = (10_u64 << requests.min(6)).max(took_ms.saturating_mul(1 << requests.min(4))).min(PAUSE_LIMIT_MS);
    tokio::time::sleep(Duration::from_millis(5 + rand::random_range(0..limit_ms))).await;
}
