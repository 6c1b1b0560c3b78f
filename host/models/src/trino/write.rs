//! Statements that change something: sent once, and looked up in Trino's list of queries when their outcome gets lost.

use std::time::{Duration, Instant, SystemTime};

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray as _;
use lakehost_pipeline::Diagnostic as _;

use super::error::{Error, Result};
use super::http::Trino;
use super::query::Query;
use super::statement::{Statement, literal};

/// A statement that still runs is looked at again after so long.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// What a statement came to that changes something.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Written {
    pub query_id: String,
    /// `INSERT`, `ALTER TABLE EXECUTE` …
    pub kind: Option<String>,
    /// Rows that it changed, where Trino counts them.
    pub rows: Option<u64>,
    /// What it says of itself.
    pub answer: Vec<RecordBatch>,
    /// The connection got lost, and Trino's list of queries says that it was carried out.
    pub found_later: bool,
}

/// What Trino's list of queries says.
enum Fate {
    Finished { query_id: String },
    Failed { query_id: String, error: String },
    Unknown { why: String },
}

impl Trino {
    /// Carries out a statement that changes something.
    ///
    /// # Errors
    /// `LH0724` when its outcome got lost and Trino does not say any more what became of it; before that it is never sent twice. Else as
    /// [`Trino::query`].
    pub async fn write(&self, statement: &Statement) -> Result<Written> {
        let mark = mark();
        let (server, query_id, mark, cause) = match self.carry_out(statement, &mark).await {
            Err(Error::Unknown { server, query_id, mark, cause }) => (server, query_id, mark, cause),
            ended => return ended,
        };
        match self.fate(&mark).await {
            Fate::Finished { query_id } => Ok(Written { query_id, found_later: true, ..Written::default() }),
            Fate::Failed { query_id, .. } if self.is_stopped() => {
                Err(Error::Interrupted { query_id: Some(query_id), cancelled: true })
            }
            Fate::Failed { query_id, error } => Err(Error::Statement {
                query_id,
                name: error,
                kind: "EXTERNAL".to_owned(),
                message: format!("the connection got lost ({cause}), and Trino's list of queries says that it failed"),
            }),
            Fate::Unknown { why } => Err(Error::Unknown { server, query_id, mark, cause: format!("{cause}; {why}") }),
        }
    }

    async fn carry_out(&self, statement: &Statement, mark: &str) -> Result<Written> {
        let mut query: Query = self.send(statement, mark).await?;
        let mut written = Written { query_id: query.id().to_owned(), ..Written::default() };
        while let Some(batch) = query.next().await? {
            written.answer.push(batch);
        }
        written.kind = query.update_type.take();
        written.rows = query.update_count;
        Ok(written)
    }

    /// What became of the one statement that was sent under a mark.
    async fn fate(&self, mark: &str) -> Fate {
        // A command that was interrupted still wants to know.
        let asker = self.unstoppable();
        let sql =
            format!("SELECT query_id, state, error_code FROM system.runtime.queries WHERE source = {}", literal(mark));
        let began = Instant::now();
        loop {
            let found = match asker.rows(&Statement::new(&sql)).await {
                Ok(batches) => batches.iter().find_map(first_row),
                Err(error) => {
                    let cause = error.cause().map(|cause| format!(" ({cause})")).unwrap_or_default();
                    return Fate::Unknown { why: format!("its list of queries cannot be read: {error}{cause}") };
                }
            };
            match found {
                None => return Fate::Unknown { why: "its list of queries does not have it".to_owned() },
                Some((query_id, state, _)) if state == "FINISHED" => return Fate::Finished { query_id },
                Some((query_id, state, error)) if state == "FAILED" => return Fate::Failed { query_id, error },
                Some((query_id, state, _)) if began.elapsed() > asker.options().patience => {
                    return Fate::Unknown { why: format!("query {query_id} is still {state}") };
                }
                Some(_) => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
    }
}

fn first_row(batch: &RecordBatch) -> Option<(String, String, String)> {
    let text = |index: usize| {
        let column = batch.columns().get(index)?.as_string_opt::<i32>()?;
        column.iter().next().map(|text| text.unwrap_or_default().to_owned())
    };
    Some((text(0)?, text(1)?, text(2)?))
}

/// A source name that no other statement has.
fn mark() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("lakehost-{}-{}", std::process::id(), now.as_nanos())
}
