//! Statements that change something: sent once, and looked up in Trino's list of queries when their outcome gets lost.

use std::time::{Duration, Instant, SystemTime};

use arrow_array::RecordBatch;
use arrow_array::cast::AsArray as _;
use lakehost_pipeline::Diagnostic as _;
use url::Url;

use super::error::{Error, Result};
use super::http::Trino;
use super::query::Query;
use super::statement::{Statement, literal};

/// A statement that still runs is looked at again after so long.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Trino's word for errors of the statement itself.
const USER_ERROR: &str = "USER_ERROR";

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
    Finished {
        query_id: String,
    },
    /// It was refused before it did anything.
    Refused {
        query_id: String,
        error: String,
    },
    Unknown {
        why: String,
    },
}

impl Trino {
    /// Carries out a statement that changes something.
    ///
    /// # Errors
    /// `LH0724` when its outcome got lost and Trino does not say any more what became of it; before that it is never sent twice. Else as
    /// [`Trino::query`].
    pub async fn write(&self, statement: &Statement) -> Result<Written> {
        let mark = mark();
        let mut lost = None;
        let (server, query_id, mark, cause) = match self.carry_out(statement, &mark, &mut lost).await {
            Err(Error::Unknown { server, query_id, mark, cause }) => (server, query_id, mark, cause),
            ended => return ended,
        };
        match self.fate(&mark, lost).await {
            Fate::Finished { query_id } => Ok(Written { query_id, found_later: true, ..Written::default() }),
            Fate::Refused { query_id, error } => Err(Error::Statement {
                query_id,
                name: error,
                kind: USER_ERROR.to_owned(),
                message: format!("the connection got lost ({cause}), and Trino's list of queries has this error"),
            }),
            Fate::Unknown { why } => Err(Error::Unknown { server, query_id, mark, cause: format!("{cause}; {why}") }),
        }
    }

    /// `lost`: where the answer goes on, when the connection got lost in its middle.
    async fn carry_out(&self, statement: &Statement, mark: &str, lost: &mut Option<Url>) -> Result<Written> {
        let mut query: Query = self.send(statement, mark).await?;
        let mut written = Written { query_id: query.id().to_owned(), ..Written::default() };
        loop {
            match query.next().await {
                Ok(Some(batch)) => written.answer.push(batch),
                Ok(None) => break,
                Err(error) => {
                    *lost = query.lost.take();
                    return Err(error);
                }
            }
        }
        written.kind = query.update_type.take();
        written.rows = query.update_count;
        Ok(written)
    }

    /// What became of the one statement that was sent under a mark.
    async fn fate(&self, mark: &str, mut lost: Option<Url>) -> Fate {
        // A command that was interrupted still wants to know.
        let asker = self.unstoppable();
        let sql = format!(
            "SELECT query_id, state, error_code, error_type FROM system.runtime.queries WHERE source = {}",
            literal(mark)
        );
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
                Some([query_id, state, ..]) if state == "FINISHED" => return Fate::Finished { query_id },
                Some([query_id, state, error, kind]) if state == "FAILED" => return failed(query_id, error, &kind),
                Some([query_id, ..]) if lost.is_some() => {
                    // It runs until somebody has taken its answer.
                    if let Some(fate) = asker.go_on(lost.take(), query_id).await {
                        return fate;
                    }
                }
                Some([query_id, state, ..]) if began.elapsed() > asker.options().patience => {
                    return Fate::Unknown { why: format!("query {query_id} is still {state}") };
                }
                Some(_) => tokio::time::sleep(LOOK_AGAIN).await,
            }
        }
    }

    /// Takes what is left of an answer. `None`: it still does not come.
    async fn go_on(&self, mut next: Option<Url>, query_id: String) -> Option<Fate> {
        while let Some(url) = next {
            let page = self.get(&url).await.ok()?;
            if let Some(error) = page.error {
                return Some(failed(query_id, error.error_name, &error.error_type));
            }
            next = page.next_uri.map(|next| self.follow(&next)).transpose().ok()?;
        }
        Some(Fate::Finished { query_id })
    }
}

/// What a failed query proves: Trino commits before its client has heard of it, and one that is cancelled or abandoned after that is listed as
/// failed too.
fn failed(query_id: String, error: String, kind: &str) -> Fate {
    if kind == USER_ERROR && error != "USER_CANCELED" {
        return Fate::Refused { query_id, error };
    }
    Fate::Unknown {
        why: format!(
            "query {query_id} ended with {error}, which is also said of one that had changed the table by then"
        ),
    }
}

fn first_row(batch: &RecordBatch) -> Option<[String; 4]> {
    let text = |index: usize| {
        let column = batch.columns().get(index)?.as_string_opt::<i32>()?;
        column.iter().next().map(|text| text.unwrap_or_default().to_owned())
    };
    Some([text(0)?, text(1)?, text(2)?, text(3)?])
}

/// A source name that no other statement has.
fn mark() -> String {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    format!("lakehost-{}-{}", std::process::id(), now.as_nanos())
}
