//! A query under way: page after page, typed.

use arrow_array::RecordBatch;
use arrow_schema::SchemaRef;
use lakehost_pipeline::Diagnostic as _;
use url::Url;

use super::error::{Error, Result};
use super::http::Trino;
use super::options::Progress;
use super::statement::{Statement, is_read};
use super::types::{Columns, columns};
use super::wire::{Page, Stats};

/// The source name of queries that only read.
const SOURCE: &str = "lakehost";

/// One statement that Trino works on.
#[derive(Debug)]
pub struct Query {
    trino: Trino,
    id: String,
    mark: String,
    reads: bool,
    next: Option<Url>,
    columns: Option<Columns>,
    waiting: Option<RecordBatch>,
    /// The page that did not come, of a statement that changes something.
    pub(super) lost: Option<Url>,
    pub(super) update_type: Option<String>,
    pub(super) update_count: Option<u64>,
}

impl Trino {
    /// Sends a statement and waits until its columns are known, or it has ended.
    ///
    /// # Errors
    /// `LH0721` when Trino refuses it, `LH0722` when it does not answer, `LH0723` when it refuses access, `LH0724` when it changes something and its
    /// outcome got lost.
    pub async fn query(&self, statement: &Statement) -> Result<Query> {
        let mut query = self.send(statement, SOURCE).await?;
        while query.columns.is_none() && query.next.is_some() {
            query.step().await?;
        }
        Ok(query)
    }

    /// All rows of a statement whose answer is small.
    ///
    /// # Errors
    /// As [`Trino::query`].
    pub async fn rows(&self, statement: &Statement) -> Result<Vec<RecordBatch>> {
        let mut query = self.query(statement).await?;
        let mut batches = Vec::new();
        while let Some(batch) = query.next().await? {
            batches.push(batch);
        }
        Ok(batches)
    }

    pub(super) async fn send(&self, statement: &Statement, mark: &str) -> Result<Query> {
        let page = self.post(statement, mark).await?;
        let mut query = Query {
            trino: self.clone(),
            id: page.id.clone(),
            mark: mark.to_owned(),
            reads: is_read(&statement.sql),
            next: None,
            columns: None,
            waiting: None,
            lost: None,
            update_type: None,
            update_count: None,
        };
        query.take(page)?;
        Ok(query)
    }
}

impl Query {
    /// Trino's name for it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The columns of its rows; none for a statement without rows.
    #[must_use]
    pub fn schema(&self) -> Option<&SchemaRef> {
        self.columns.as_ref().map(|columns| &columns.schema)
    }

    /// Whether Trino has said all there is.
    #[must_use]
    pub fn has_ended(&self) -> bool {
        self.next.is_none()
    }

    /// The next rows; `None` when there are no more.
    ///
    /// # Errors
    /// As [`Trino::query`]. After an error there are no more rows.
    pub async fn next(&mut self) -> Result<Option<RecordBatch>> {
        while self.waiting.is_none() && self.next.is_some() {
            self.step().await?;
        }
        Ok(self.waiting.take())
    }

    /// Ends the query on the server; whether the server took note.
    pub async fn cancel(&mut self) -> bool {
        match self.next.take() {
            Some(next) => self.trino.delete(&next).await,
            None => true,
        }
    }

    /// Asks for the next page.
    async fn step(&mut self) -> Result<()> {
        let Some(next) = &self.next else { return Ok(()) };
        let error = match self.trino.get(next).await {
            Ok(page) => match self.take(page) {
                // Nobody will ask for the rest.
                Err(error) => {
                    self.cancel().await;
                    return Err(error);
                }
                Ok(()) => return Ok(()),
            },
            Err(error) => error,
        };
        let cancelled = match error {
            // Trino gives up on a query that nobody asks about, but only after minutes.
            Error::Interrupted { .. } | Error::TooLarge { .. } => self.cancel().await,
            _ => false,
        };
        let at = self.next.take();
        Err(match error {
            Error::Interrupted { .. } if self.reads => {
                Error::Interrupted { query_id: Some(self.id.clone()), cancelled }
            }
            Error::Interrupted { .. } => self.unknown("the command was interrupted".to_owned()),
            error if self.reads => error,
            error => {
                self.lost = at;
                let cause = error.cause().unwrap_or_default();
                self.unknown(format!("{error}: {cause}"))
            }
        })
    }

    fn unknown(&self, cause: String) -> Error {
        self.trino.unknown(Some(self.id.clone()), &self.mark, cause)
    }

    fn take(&mut self, page: Page) -> Result<()> {
        self.next = None;
        self.watch(&page.stats);
        if let Some(error) = page.error {
            return Err(Error::Statement {
                query_id: self.id.clone(),
                name: error.error_name,
                kind: error.error_type,
                message: error.message,
            });
        }
        let follow = |text: &String| self.trino.follow(text);
        self.next = match page.next_uri.as_ref().map(follow).transpose() {
            Err(error) if !self.reads => return Err(self.unknown(error.cause().unwrap_or_default())),
            found => found?,
        };
        self.update_type = page.update_type.or(self.update_type.take());
        self.update_count = page.update_count.or(self.update_count);
        if let (None, Some(found)) = (&self.columns, &page.columns) {
            self.columns = Some(columns(found));
        }
        if let (Some(columns), Some(rows)) = (&self.columns, page.data)
            && !rows.is_empty()
        {
            self.waiting = Some(columns.batch(&rows)?);
        }
        Ok(())
    }

    fn watch(&self, stats: &Stats) {
        if let Some(watch) = &self.trino.options().watch {
            watch(&Progress {
                query_id: self.id.clone(),
                state: stats.state.clone(),
                percent: stats.progress_percentage,
                rows: stats.processed_rows,
                bytes: stats.processed_bytes,
                elapsed_ms: stats.elapsed_time_millis,
            });
        }
    }
}
