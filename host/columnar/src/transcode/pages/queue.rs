//! Who does what next: tasks of at most two row groups, and the finished row groups in source order.
//!
//! Everything is behind one lock that is held for moments. An error closes the queue: workers leave at their next turn, the writer gets the error.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::group::{Done, Group};
use super::locked;
use crate::error::{Error, Result};
use crate::observer::Observer;

/// How long the writer sleeps before it asks again whether the run was cancelled.
const CANCEL_POLL: Duration = Duration::from_millis(50);
/// Row groups under way: one, and one ahead.
const GROUPS: usize = 2;

/// A piece of work on a row group.
#[derive(Clone, Copy, Debug)]
pub(super) enum Step {
    /// Decode the early source column at this position.
    Decode(usize),
    /// Judge the slice at this position.
    Clean(usize),
    /// Give every row its partition.
    Route,
    /// Encode the output column at this position.
    Encode(usize),
    /// Look up the dropped rows of the source column at this position.
    Gather(usize),
    /// Read the row group again for its dropped rows, which are many.
    Reread,
}

pub(super) type Task = (Arc<Group>, Step);

/// What a worker finds.
pub(super) enum Work {
    Task(Task),
    /// Open this row group and push its first tasks.
    Open(usize),
    End,
}

/// What the writer finds.
pub(super) enum Turn {
    Done(Done),
    End,
}

struct State {
    tasks: VecDeque<Task>,
    /// Row groups to come, with the memory that each needs.
    coming: VecDeque<(usize, u64)>,
    /// Row groups opened and not yet written.
    open: Vec<(usize, u64)>,
    /// An opened row group whose rows are not routed yet: the next one has to wait, since partitions are numbered in row order.
    unrouted: bool,
    order: VecDeque<usize>,
    done: BTreeMap<usize, Done>,
    failure: Option<Error>,
    closed: bool,
}

pub(super) struct Queue {
    state: Mutex<State>,
    changed: Condvar,
    limit_bytes: u64,
}

impl Queue {
    /// `groups`: the row groups in source order, with the memory that each needs.
    pub fn new(groups: Vec<(usize, u64)>, limit_bytes: u64) -> Self {
        let state = State {
            tasks: VecDeque::new(),
            order: groups.iter().map(|(group, _)| *group).collect(),
            coming: groups.into(),
            open: Vec::new(),
            unrouted: false,
            done: BTreeMap::new(),
            failure: None,
            closed: false,
        };
        Self { state: Mutex::new(state), changed: Condvar::new(), limit_bytes }
    }

    /// What to do next; waits while there is nothing.
    pub fn take(&self) -> Work {
        let mut state = locked(&self.state);
        loop {
            if state.closed {
                return Work::End;
            }
            if let Some(task) = state.tasks.pop_front() {
                return Work::Task(task);
            }
            if state.coming.is_empty() && state.open.is_empty() {
                return Work::End;
            }
            if let Some((group, bytes)) = state.coming.front().copied() {
                let held: u64 = state.open.iter().map(|(_, bytes)| bytes).sum();
                let room = state.open.is_empty()
                    || (state.open.len() < GROUPS && held.saturating_add(bytes) <= self.limit_bytes);
                if room && !state.unrouted {
                    state.coming.pop_front();
                    state.open.push((group, bytes));
                    state.unrouted = true;
                    return Work::Open(group);
                }
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Adds tasks in front of all others, in their order.
    pub fn push(&self, group: &Arc<Group>, steps: impl DoubleEndedIterator<Item = Step>) {
        let mut state = locked(&self.state);
        for step in steps.rev() {
            state.tasks.push_front((group.clone(), step));
        }
        drop(state);
        self.changed.notify_all();
    }

    /// The rows of the row group opened last are routed.
    pub fn routed(&self) {
        locked(&self.state).unrouted = false;
        self.changed.notify_all();
    }

    /// A row group is encoded.
    pub fn finished(&self, done: Done) {
        locked(&self.state).done.insert(done.group, done);
        self.changed.notify_all();
    }

    /// A row group is in its files, and its memory is free.
    pub fn written(&self, group: usize) {
        locked(&self.state).open.retain(|(open, _)| *open != group);
        self.changed.notify_all();
    }

    /// Ends the run for all threads; the first failure counts.
    pub fn close(&self, failure: Option<Error>) {
        let mut state = locked(&self.state);
        if !state.closed {
            state.failure = failure;
        }
        state.closed = true;
        state.tasks.clear();
        drop(state);
        self.changed.notify_all();
    }

    /// The next row group in source order; waits for it.
    ///
    /// # Errors
    /// What closed the queue, or [`Error::Cancelled`].
    pub fn next_done(&self, observer: &dyn Observer) -> Result<Turn> {
        let mut state = locked(&self.state);
        loop {
            if let Some(failure) = state.failure.take() {
                return Err(failure);
            }
            if state.closed || observer.cancelled() {
                return Err(Error::Cancelled);
            }
            let Some(next) = state.order.front().copied() else { return Ok(Turn::End) };
            if let Some(done) = state.done.remove(&next) {
                state.order.pop_front();
                return Ok(Turn::Done(done));
            }
            let waited = self.changed.wait_timeout(state, CANCEL_POLL);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}
