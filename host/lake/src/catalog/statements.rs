//! The SQL of the two tables that PyIceberg's `SqlCatalog` and Iceberg's JDBC catalog use, in words that every engine here understands.
//!
//! Parameters are `$1`, `$2`: Postgres has no other form, and SQLite takes it too.

/// Tables, one row each.
pub const TABLES: &str = "CREATE TABLE IF NOT EXISTS iceberg_tables (
    catalog_name VARCHAR(255) NOT NULL,
    table_namespace VARCHAR(255) NOT NULL,
    table_name VARCHAR(255) NOT NULL,
    metadata_location VARCHAR(1000),
    previous_metadata_location VARCHAR(1000),
    iceberg_type VARCHAR(5),
    PRIMARY KEY (catalog_name, table_namespace, table_name))";

/// Namespaces, one row for each property.
pub const NAMESPACES: &str = "CREATE TABLE IF NOT EXISTS iceberg_namespace_properties (
    catalog_name VARCHAR(255) NOT NULL,
    namespace VARCHAR(255) NOT NULL,
    property_key VARCHAR(255) NOT NULL,
    property_value VARCHAR(1000) NOT NULL,
    PRIMARY KEY (catalog_name, namespace, property_key))";

/// For a file or database of an older PyIceberg.
pub const ADD_TYPE: &str = "ALTER TABLE iceberg_tables ADD COLUMN iceberg_type VARCHAR(5)";

/// Where a table is. Views of other writers share the SQL table.
pub const POINTER: &str = "SELECT metadata_location FROM iceberg_tables \
     WHERE catalog_name = $1 AND table_namespace = $2 AND table_name = $3 \
     AND (iceberg_type = 'TABLE' OR iceberg_type IS NULL) AND metadata_location IS NOT NULL";

/// All tables, of a namespace when `$2` is one.
pub const LIST: &str = "SELECT table_namespace, table_name, metadata_location FROM iceberg_tables \
     WHERE catalog_name = $1 AND ($2 IS NULL OR table_namespace = $2) \
     AND (iceberg_type = 'TABLE' OR iceberg_type IS NULL) AND metadata_location IS NOT NULL ORDER BY 1, 2";

/// All namespaces, also those that only their tables tell of.
pub const LIST_NAMESPACES: &str = "SELECT namespace FROM iceberg_namespace_properties WHERE catalog_name = $1 \
     UNION SELECT table_namespace FROM iceberg_tables WHERE catalog_name = $1 ORDER BY 1";

/// Makes a namespace.
pub const ADD_NAMESPACE: &str = "INSERT INTO iceberg_namespace_properties \
     (catalog_name, namespace, property_key, property_value) VALUES ($1, $2, 'exists', 'true') ON CONFLICT DO NOTHING";

/// Properties of a namespace.
pub const NAMESPACE: &str = "SELECT property_key, property_value FROM iceberg_namespace_properties \
     WHERE catalog_name = $1 AND namespace = $2";

/// Sets a property of a namespace.
pub const SET_PROPERTY: &str = "INSERT INTO iceberg_namespace_properties \
     (catalog_name, namespace, property_key, property_value) VALUES ($1, $2, $3, $4) \
     ON CONFLICT (catalog_name, namespace, property_key) DO UPDATE SET property_value = excluded.property_value";

/// Removes a property of a namespace.
pub const REMOVE_PROPERTY: &str = "DELETE FROM iceberg_namespace_properties \
     WHERE catalog_name = $1 AND namespace = $2 AND property_key = $3";

/// Forgets a namespace that holds neither tables nor namespaces.
pub const DROP_NAMESPACE: &str = "DELETE FROM iceberg_namespace_properties WHERE catalog_name = $1 AND namespace = $2 \
     AND NOT EXISTS (SELECT 1 FROM iceberg_tables WHERE catalog_name = $1 \
       AND (table_namespace = $2 OR substr(table_namespace, 1, length($2) + 1) = $2 || '.')) \
     AND NOT EXISTS (SELECT 1 FROM iceberg_namespace_properties AS inner_one WHERE inner_one.catalog_name = $1 \
       AND substr(inner_one.namespace, 1, length($2) + 1) = $2 || '.')";

/// Gives a table that is at `$4` the name `$5`, `$6`.
pub const RENAME_TABLE: &str = "UPDATE iceberg_tables SET table_namespace = $5, table_name = $6 \
     WHERE catalog_name = $1 AND table_namespace = $2 AND table_name = $3 AND metadata_location = $4";

/// Makes a table, unless it is there.
pub const ADD_TABLE: &str = "INSERT INTO iceberg_tables (catalog_name, table_namespace, table_name, \
     metadata_location, previous_metadata_location, iceberg_type) VALUES ($1, $2, $3, $4, NULL, 'TABLE') \
     ON CONFLICT DO NOTHING";

/// Waits for whoever has written a table's row. Postgres alone has it.
pub const LOCK_TABLE: &str = "SELECT 1 FROM iceberg_tables \
     WHERE catalog_name = $1 AND table_namespace = $2 AND table_name = $3 FOR UPDATE";

/// Moves a table from `$5` to `$4`, unless it has moved already.
pub const MOVE_TABLE: &str = "UPDATE iceberg_tables SET metadata_location = $4, previous_metadata_location = $5 \
     WHERE catalog_name = $1 AND table_namespace = $2 AND table_name = $3 AND metadata_location = $5";

/// Forgets a table that is at `$4`.
pub const DROP_TABLE: &str = "DELETE FROM iceberg_tables \
     WHERE catalog_name = $1 AND table_namespace = $2 AND table_name = $3 AND metadata_location = $4";

/// The statements as functions on one kind of connection pool. Two of them differ only in types that are painful to name as bounds.
macro_rules! statements {
    ($pool:ty, $connection:ty) => {
        use lakehost_pipeline::ports::TableName;

        use crate::catalog::sql::Swap;
        use crate::catalog::statements as sql;

        pub async fn pointer(pool: &$pool, catalog: &str, table: &TableName) -> sqlx::Result<Option<String>> {
            sqlx::query_scalar(sql::POINTER)
                .bind(catalog)
                .bind(table.namespace.as_str())
                .bind(table.name.as_str())
                .fetch_optional(pool)
                .await
        }

        pub async fn list(
            pool: &$pool,
            catalog: &str,
            namespace: Option<&str>,
        ) -> sqlx::Result<Vec<(String, String, String)>> {
            sqlx::query_as(sql::LIST).bind(catalog).bind(namespace).fetch_all(pool).await
        }

        pub async fn namespaces(pool: &$pool, catalog: &str) -> sqlx::Result<Vec<String>> {
            sqlx::query_scalar(sql::LIST_NAMESPACES).bind(catalog).fetch_all(pool).await
        }

        pub async fn add_namespace(pool: &$pool, catalog: &str, namespace: &str) -> sqlx::Result<()> {
            sqlx::query(sql::ADD_NAMESPACE).bind(catalog).bind(namespace).execute(pool).await.map(|_| ())
        }

        pub async fn namespace(
            pool: &$pool,
            catalog: &str,
            namespace: &str,
        ) -> sqlx::Result<std::collections::BTreeMap<String, String>> {
            let rows: Vec<(String, String)> =
                sqlx::query_as(sql::NAMESPACE).bind(catalog).bind(namespace).fetch_all(pool).await?;
            Ok(rows.into_iter().collect())
        }

        pub async fn change_namespace(
            pool: &$pool,
            catalog: &str,
            namespace: &str,
            set: &std::collections::BTreeMap<String, String>,
            removed: &[String],
        ) -> sqlx::Result<()> {
            let mut transaction = pool.begin().await?;
            let of = |statement: &'static str| sqlx::query(statement).bind(catalog).bind(namespace);
            of(sql::ADD_NAMESPACE).execute(&mut *transaction).await?;
            for key in removed {
                of(sql::REMOVE_PROPERTY).bind(key).execute(&mut *transaction).await?;
            }
            for (key, value) in set {
                of(sql::SET_PROPERTY).bind(key).bind(value).execute(&mut *transaction).await?;
            }
            transaction.commit().await
        }

        /// `false`: it is not there, or it holds something.
        pub async fn drop_namespace(pool: &$pool, catalog: &str, namespace: &str) -> sqlx::Result<bool> {
            let done = sqlx::query(sql::DROP_NAMESPACE).bind(catalog).bind(namespace).execute(pool).await?;
            Ok(done.rows_affected() > 0)
        }

        pub async fn rename_table(
            pool: &$pool,
            catalog: &str,
            table: &TableName,
            location: &str,
            to: &TableName,
        ) -> sqlx::Result<crate::catalog::Renamed> {
            use crate::catalog::Renamed;
            let rename = sqlx::query(sql::RENAME_TABLE).bind(catalog).bind(table.namespace.as_str());
            let rename = rename.bind(table.name.as_str()).bind(location);
            match rename.bind(to.namespace.as_str()).bind(to.name.as_str()).execute(pool).await {
                Ok(done) if done.rows_affected() == 1 => Ok(Renamed::Done),
                Ok(_) => Ok(Renamed::Changed),
                Err(sqlx::Error::Database(error)) if error.is_unique_violation() => Ok(Renamed::Taken),
                Err(error) => Err(error),
            }
        }

        /// `false`: the table is not where the change started.
        pub async fn swap(connection: &mut $connection, catalog: &str, swap: &Swap<'_>) -> sqlx::Result<bool> {
            let (namespace, name) = (swap.table.namespace.as_str(), swap.table.name.as_str());
            let done = match swap.old {
                None => {
                    sqlx::query(sql::ADD_NAMESPACE).bind(catalog).bind(namespace).execute(&mut *connection).await?;
                    let add = sqlx::query(sql::ADD_TABLE).bind(catalog).bind(namespace).bind(name);
                    add.bind(swap.new.as_str()).execute(&mut *connection).await?
                }
                Some(old) => {
                    let change = sqlx::query(sql::MOVE_TABLE).bind(catalog).bind(namespace).bind(name);
                    change.bind(swap.new.as_str()).bind(old).execute(&mut *connection).await?
                }
            };
            Ok(done.rows_affected() == 1)
        }

        pub async fn drop_table(pool: &$pool, catalog: &str, table: &TableName, location: &str) -> sqlx::Result<bool> {
            let drop = sqlx::query(sql::DROP_TABLE).bind(catalog).bind(table.namespace.as_str());
            let done = drop.bind(table.name.as_str()).bind(location).execute(pool).await?;
            Ok(done.rows_affected() == 1)
        }
    };
}

pub(super) use statements;
