//! Catalogs in a Postgres database.
//!
//! Several hosts may commit at once: the compare-and-swap is an `UPDATE` that the database serialises. What an error of `COMMIT` means is
//! read off its SQLSTATE; an error without one, or one of a connection that is going away, leaves the outcome open.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use lakehost_pipeline::Secret;
use lakehost_pipeline::ports::TableName;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions, PgSslMode};
use sqlx::{Connection as _, Executor, PgConnection, PgPool};
use tokio::sync::OnceCell;

use super::sql::{Engine, SqlCatalog, Swap};
use super::statements::{ADD_TABLE, ADD_TYPE, LOCK_TABLE, NAMESPACES, TABLES};
use super::{Outcome, Renamed};
use crate::error::{Error, Result, postgres_code};
use crate::fail_point::{self, FailPoints};
use crate::store::Store;
use crate::tls::Tls;

mod on {
    super::super::statements::statements!(sqlx::PgPool, sqlx::PgConnection);
}

/// So long for a connection, a lock, a statement. A commit waits for those before it, so all are generous.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// So long for the one connection that is to say why there is none.
const ONE_TRY: Duration = Duration::from_secs(3);
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(45);
/// A SQL table that is not there.
const UNDEFINED_TABLE: &str = "42P01";
/// The database gives up first, with an answer that says so.
const SESSION: &str = "SET lock_timeout = '10s'; SET statement_timeout = '30s'";

/// Where the catalog is.
#[derive(Clone, Debug)]
pub struct PostgresOptions {
    /// `postgresql://user@host:5432/database`; a password in it is taken too.
    pub url: Secret,
    pub password: Option<Secret>,
    /// PyIceberg must be given the same name.
    pub name: String,
    /// What an encrypted connection trusts and shows. With an authority the connection must be encrypted and the server's name its own, unless
    /// the URL has an `sslmode`.
    pub tls: Tls,
}

impl PostgresOptions {
    /// A catalog named `lakehost`, with no more than the URL says.
    #[must_use]
    pub fn new(url: Secret) -> Self {
        Self { url, password: None, name: "lakehost".to_owned(), tls: Tls::default() }
    }
}

/// A catalog in a Postgres database.
pub type PostgresCatalog = SqlCatalog<Postgres>;

/// An open database.
#[derive(Debug)]
pub struct Postgres {
    pool: PgPool,
    /// For messages.
    shown: String,
    /// The two SQL tables are there. They are made with the first change, so that looking changes nothing.
    prepared: OnceCell<()>,
}

impl PostgresCatalog {
    /// Connects.
    pub async fn open(options: &PostgresOptions, store: Arc<dyn Store>, fail_points: FailPoints) -> Result<Self> {
        let (connect, shown) = connect_options(options)?;
        let pool = PgPoolOptions::new()
            .max_connections(4)
            .acquire_timeout(CONNECT_TIMEOUT)
            .after_connect(|connection, _| {
                Box::pin(async move {
                    connection.execute(SESSION).await?;
                    Ok(())
                })
            })
            .connect_with(connect.clone())
            .await;
        let pool = match pool {
            Ok(pool) => pool,
            Err(error) => {
                let source = Box::new(why(error, &connect).await);
                return Err(Error::Catalog { action: "open", catalog: shown, source });
            }
        };
        let engine = Postgres { pool, shown, prepared: OnceCell::new() };
        if !engine.columns().await?.is_empty() {
            engine.prepared().await?;
        }
        Ok(Self::new(engine, &options.name, store, fail_points))
    }
}

/// The pool tries until its time is up, and then says no more than that. One try of one connection says why.
async fn why(error: sqlx::Error, connect: &PgConnectOptions) -> sqlx::Error {
    if !matches!(error, sqlx::Error::PoolTimedOut) {
        return error;
    }
    match tokio::time::timeout(ONE_TRY, PgConnection::connect_with(connect)).await {
        Ok(Err(why)) => why,
        Ok(Ok(_)) => error,
        Err(_) => sqlx::Error::Io(std::io::ErrorKind::TimedOut.into()),
    }
}

/// What to connect to, and how it is shown.
fn connect_options(options: &PostgresOptions) -> Result<(PgConnectOptions, String)> {
    // The parser's own words could hold the password.
    let wrong = |detail: &str| Error::Setting {
        what: "the Postgres URL".to_owned(),
        purpose: "a catalog",
        detail: detail.to_owned(),
    };
    let url = options.url.expose();
    // SQLAlchemy, and so PyIceberg, names its driver in the scheme.
    let plain = match url.split_once("://") {
        Some((scheme, rest)) if scheme == "postgres" || scheme.split('+').next() == Some("postgresql") => {
            format!("postgresql://{rest}")
        }
        _ => return Err(wrong("it does not begin with postgresql://")),
    };
    let mut connect = PgConnectOptions::from_str(&plain)
        .map_err(|_| wrong("it is not of the form postgresql://USER@HOST:PORT/DATABASE"))?
        .application_name("lakehost");
    if let Some(password) = &options.password {
        connect = connect.password(password.expose());
    }
    if let Some(ca) = &options.tls.ca {
        connect = connect.ssl_root_cert(ca);
        if !url.contains("sslmode=") {
            connect = connect.ssl_mode(PgSslMode::VerifyFull);
        }
    }
    if let Some(certificate) = &options.tls.certificate {
        let key = options.tls.key.as_ref().unwrap_or(certificate);
        connect = connect.ssl_client_cert(certificate).ssl_client_key(key);
    }
    let database = connect.get_database().unwrap_or_else(|| connect.get_username());
    let place = match connect.get_socket() {
        Some(socket) => socket.display().to_string(),
        None => format!("{}:{}", connect.get_host(), connect.get_port()),
    };
    let shown = format!("postgresql://{}@{place}/{database}", connect.get_username());
    Ok((connect, shown))
}

impl Postgres {
    /// Makes the SQL tables, and brings those of an older PyIceberg up to date. A role that may not make tables can use those that are there.
    async fn prepare(&self) -> Result<()> {
        let columns = self.columns().await?;
        if columns.iter().any(|name| name == "iceberg_type") {
            return Ok(());
        }
        // In this order: who sees the second sees the first.
        let statements = [NAMESPACES, if columns.is_empty() { TABLES } else { ADD_TYPE }];
        for statement in statements {
            if let Err(error) = sqlx::query(statement).execute(&self.pool).await {
                // Another process was faster with the same change: duplicate column, table or type.
                if !matches!(postgres_code(&error).as_deref(), Some("42701" | "42P07" | "42710" | "23505")) {
                    return Err(self.failed("prepare")(error));
                }
            }
        }
        Ok(())
    }

    async fn prepared(&self) -> Result<()> {
        self.prepared.get_or_try_init(|| self.prepare()).await?;
        Ok(())
    }

    /// What a look finds; nothing where the SQL tables are not there yet.
    fn seen<T: Default>(&self, found: sqlx::Result<T>) -> Result<T> {
        match found {
            Err(error) if postgres_code(&error).as_deref() == Some(UNDEFINED_TABLE) => Ok(T::default()),
            found => found.map_err(self.failed("read")),
        }
    }

    async fn columns(&self) -> Result<Vec<String>> {
        sqlx::query_scalar(
            "SELECT attname::text FROM pg_attribute WHERE attrelid = to_regclass('iceberg_tables') AND attnum > 0",
        )
        .fetch_all(&self.pool)
        .await
        .map_err(self.failed("read"))
    }

    fn failed(&self, action: &'static str) -> impl FnOnce(sqlx::Error) -> Error {
        let catalog = self.shown.clone();
        move |source| match postgres_code(&source).as_deref() {
            // A standby, or a database that was set to read only.
            Some("25006") => Error::ReadOnly { what: format!("the catalog {catalog}"), detail: source.to_string() },
            _ => Error::Catalog { action, catalog, source: Box::new(source) },
        }
    }

    /// Everything up to `COMMIT`: an error, or a connection that breaks, means that nothing was written.
    async fn begin(
        &self,
        catalog: &str,
        swaps: &[Swap<'_>],
    ) -> Result<Option<sqlx::Transaction<'static, sqlx::Postgres>>, sqlx::Error> {
        let mut transaction = self.pool.begin().await?;
        for swap in swaps {
            if !on::swap(&mut transaction, catalog, swap).await? {
                transaction.rollback().await?;
                return Ok(None);
            }
        }
        Ok(Some(transaction))
    }
}

/// What an error means for a transaction that was asked to commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meaning {
    /// Rolled back, and it would be again.
    Refused,
    /// Rolled back, because others were at the same rows.
    Overtaken,
    /// It may have been committed.
    Open,
}

fn meaning(code: Option<&str>) -> Meaning {
    match code {
        // No answer of the database, or the last one of a server that goes away.
        None => Meaning::Open,
        Some(code) if code.starts_with("08") || code.starts_with("57P") || code.starts_with("XX") => Meaning::Open,
        // Serialisation failures and deadlocks; "the outcome is unknown" is of their class, too.
        Some("40003") => Meaning::Open,
        Some(code) if code.starts_with("40") => Meaning::Overtaken,
        Some(_) => Meaning::Refused,
    }
}

/// For the source of errors that the database did not give.
fn timed_out() -> sqlx::Error {
    sqlx::Error::Io(std::io::Error::new(std::io::ErrorKind::TimedOut, "no answer in time"))
}

#[async_trait]
impl Engine for Postgres {
    fn shown(&self) -> &str {
        &self.shown
    }

    async fn pointer(&self, catalog: &str, table: &TableName) -> Result<Option<String>> {
        self.seen(on::pointer(&self.pool, catalog, table).await)
    }

    async fn list(&self, catalog: &str, namespace: Option<&str>) -> Result<Vec<(String, String, String)>> {
        self.seen(on::list(&self.pool, catalog, namespace).await)
    }

    async fn namespaces(&self, catalog: &str) -> Result<Vec<String>> {
        self.seen(on::namespaces(&self.pool, catalog).await)
    }

    async fn add_namespace(&self, catalog: &str, namespace: &str) -> Result<()> {
        self.prepared().await?;
        on::add_namespace(&self.pool, catalog, namespace).await.map_err(self.failed("write to"))
    }

    async fn swap(&self, catalog: &str, swaps: &[Swap<'_>], fail_points: &FailPoints) -> Result<Outcome> {
        self.prepared().await?;
        let begun = tokio::time::timeout(STATEMENT_TIMEOUT, self.begin(catalog, swaps)).await;
        let transaction = match begun.unwrap_or_else(|_| Err(timed_out())) {
            Ok(Some(transaction)) => transaction,
            Ok(None) => return Ok(Outcome::Conflict),
            Err(error) if meaning(postgres_code(&error).as_deref()) == Meaning::Overtaken => {
                return Ok(Outcome::Conflict);
            }
            Err(error) => return Err(self.failed("write to")(error)),
        };
        fail_points.pass(fail_point::BEFORE_SQL_COMMIT)?;
        let ended = tokio::time::timeout(STATEMENT_TIMEOUT, transaction.commit()).await;
        if let Err(error) = ended.unwrap_or_else(|_| Err(timed_out())) {
            return match meaning(postgres_code(&error).as_deref()) {
                Meaning::Refused => Err(self.failed("commit to")(error)),
                Meaning::Overtaken => Ok(Outcome::Conflict),
                Meaning::Open => Ok(Outcome::Unknown(self.failed("commit to")(error))),
            };
        }
        Ok(match fail_points.pass(fail_point::AFTER_SQL_COMMIT) {
            Ok(()) => Outcome::Landed,
            Err(error) => Outcome::Unknown(error),
        })
    }

    async fn drop_table(&self, catalog: &str, table: &TableName, location: &str) -> Result<bool> {
        on::drop_table(&self.pool, catalog, table, location).await.map_err(self.failed("write to"))
    }

    async fn namespace(&self, catalog: &str, namespace: &str) -> Result<BTreeMap<String, String>> {
        self.seen(on::namespace(&self.pool, catalog, namespace).await)
    }

    async fn change_namespace(
        &self,
        catalog: &str,
        namespace: &str,
        set: &BTreeMap<String, String>,
        removed: &[String],
    ) -> Result<()> {
        self.prepared().await?;
        on::change_namespace(&self.pool, catalog, namespace, set, removed).await.map_err(self.failed("write to"))
    }

    async fn drop_namespace(&self, catalog: &str, namespace: &str) -> Result<bool> {
        self.prepared().await?;
        on::drop_namespace(&self.pool, catalog, namespace).await.map_err(self.failed("write to"))
    }

    async fn rename_table(&self, catalog: &str, table: &TableName, location: &str, to: &TableName) -> Result<Renamed> {
        on::rename_table(&self.pool, catalog, table, location, to).await.map_err(self.failed("write to"))
    }

    /// A `COMMIT` on its way belongs to a transaction that has written the table's row and holds its lock: the same lock is asked for. Of a table
    /// that is being made nobody sees a row; making it too, and taking that back, waits for the other.
    async fn settle(&self, catalog: &str, table: &TableName) -> Result<()> {
        let waited = async {
            let mut transaction = self.pool.begin().await?;
            let bound = |statement| sqlx::query(statement).bind(catalog).bind(&table.namespace).bind(&table.name);
            if bound(LOCK_TABLE).fetch_optional(&mut *transaction).await?.is_none() {
                bound(ADD_TABLE).bind("").execute(&mut *transaction).await?;
            }
            transaction.rollback().await
        };
        match waited.await {
            Err(error) if postgres_code(&error).as_deref() == Some(UNDEFINED_TABLE) => Ok(()),
            waited => waited.map_err(self.failed("wait for other writers of")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_is_never_shown() {
        for (url, shown) in [
            ("postgresql://lake:hunter2@db.example.com:6432/iceberg", "postgresql://lake@db.example.com:6432/iceberg"),
            ("postgresql+psycopg2://lake:hunter2@db/iceberg", "postgresql://lake@db:5432/iceberg"),
            ("postgres://lake:hunter2@db/iceberg?sslmode=require", "postgresql://lake@db:5432/iceberg"),
        ] {
            let options = PostgresOptions::new(Secret::new(url));
            assert_eq!(connect_options(&options).unwrap().1, shown);
            assert!(!format!("{options:?}").contains("hunter2"));
        }
        for url in ["postgresql://lake:hunter2@db:port/x", "mysql://lake:hunter2@db/x", "hunter2"] {
            let options = PostgresOptions::new(Secret::new(url));
            let error = connect_options(&options).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("hunter2"), "{error:?}");
        }
    }

    #[test]
    fn what_an_error_of_commit_means() {
        use Meaning::*;
        for (code, wanted) in [
            (None, Open),
            (Some("08006"), Open),
            (Some("57P01"), Open),
            (Some("57P02"), Open),
            (Some("XX000"), Open),
            (Some("40003"), Open),
            (Some("40001"), Overtaken),
            (Some("40P01"), Overtaken),
            (Some("23514"), Refused),
            (Some("P0001"), Refused),
            (Some("53100"), Refused),
            (Some("57014"), Refused),
        ] {
            assert_eq!(meaning(code), wanted, "{code:?}");
        }
    }
}
