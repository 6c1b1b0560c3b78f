//! What the services tell each other: one set of words for the processes of the stack and for the containers of `docker-compose.yml`.

use std::collections::BTreeMap;

/// Where everything is and how it lets one in.
#[derive(Clone)]
pub struct Settings {
    pub bucket: String,
    pub region: String,
    /// `http://127.0.0.1:9000`
    pub s3_endpoint: String,
    pub s3_access_key_id: String,
    pub s3_secret_access_key: String,
    /// `127.0.0.1:55432`
    pub postgres: String,
    pub postgres_user: String,
    pub postgres_password: String,
    /// `http://127.0.0.1:8181`
    pub rest: String,
    /// `http://127.0.0.1:19120`
    pub nessie: String,
}

/// The bucket of tables, and the region that it says it is in.
pub const BUCKET: &str = "lakehouse";
pub const REGION: &str = "us-east-1";
/// The catalogs' user, and their databases.
pub const POSTGRES_USER: &str = "lake";
pub const DATABASES: [&str; 2] = ["iceberg", "nessie"];

/// Keys and values of a file of properties.
pub type Properties = BTreeMap<String, String>;

fn properties<const N: usize>(pairs: [(&str, String); N]) -> Properties {
    pairs.into_iter().map(|(key, value)| (key.to_owned(), value)).collect()
}

/// `key=value` lines. A backslash would be an escape; none of ours has one.
#[must_use]
pub fn lines(properties: &Properties) -> String {
    properties.iter().map(|(key, value)| format!("{key}={value}\n")).collect()
}

impl Settings {
    /// Where the REST catalog keeps tables.
    #[must_use]
    pub fn warehouse(&self) -> String {
        format!("s3://{}/warehouse", self.bucket)
    }

    /// The catalog behind Iceberg's REST server: JDBC on Postgres, files in the bucket.
    #[must_use]
    pub fn rest_catalog(&self) -> Properties {
        properties([
            ("catalog-impl", "org.apache.iceberg.jdbc.JdbcCatalog".to_owned()),
            ("uri", format!("jdbc:postgresql://{}/iceberg", self.postgres)),
            ("jdbc.user", self.postgres_user.clone()),
            ("jdbc.password", self.postgres_password.clone()),
            // Views too.
            ("jdbc.schema-version", "V1".to_owned()),
            ("warehouse", self.warehouse()),
            ("io-impl", "org.apache.iceberg.aws.s3.S3FileIO".to_owned()),
            ("client.region", self.region.clone()),
            ("s3.endpoint", self.s3_endpoint.clone()),
            ("s3.path-style-access", "true".to_owned()),
            ("s3.access-key-id", self.s3_access_key_id.clone()),
            ("s3.secret-access-key", self.s3_secret_access_key.clone()),
        ])
    }

    /// Nessie: versions in Postgres, tables in the bucket. The name of the secret must not begin with `nessie.`.
    #[must_use]
    pub fn nessie(&self) -> Properties {
        let s3 = "nessie.catalog.service.s3.default-options";
        let mut all = properties([
            ("quarkus.otel.sdk.disabled", "true".to_owned()),
            ("nessie.version.store.type", "JDBC".to_owned()),
            ("nessie.version.store.persist.jdbc.datasource", "postgresql".to_owned()),
            ("quarkus.datasource.postgresql.jdbc.url", format!("jdbc:postgresql://{}/nessie", self.postgres)),
            ("quarkus.datasource.postgresql.username", self.postgres_user.clone()),
            ("quarkus.datasource.postgresql.password", self.postgres_password.clone()),
            ("nessie.catalog.default-warehouse", "lake".to_owned()),
            ("nessie.catalog.warehouses.lake.location", format!("s3://{}/nessie", self.bucket)),
            ("lakehost.s3-key.name", self.s3_access_key_id.clone()),
            ("lakehost.s3-key.secret", self.s3_secret_access_key.clone()),
        ]);
        for (key, value) in [
            ("endpoint", self.s3_endpoint.as_str()),
            ("path-style-access", "true"),
            ("region", &self.region),
            ("auth-type", "STATIC"),
            ("request-signing-enabled", "false"),
            ("access-key", "urn:nessie-secret:quarkus:lakehost.s3-key"),
        ] {
            all.insert(format!("{s3}.{key}"), value.to_owned());
        }
        all
    }

    /// Trino's catalogs by name. Nessie's are there when Nessie is.
    #[must_use]
    pub fn trino_catalogs(&self, with_nessie: bool) -> BTreeMap<String, Properties> {
        let s3 = properties([
            ("connector.name", "iceberg".to_owned()),
            ("fs.native-s3.enabled", "true".to_owned()),
            ("s3.endpoint", self.s3_endpoint.clone()),
            ("s3.region", self.region.clone()),
            ("s3.path-style-access", "true".to_owned()),
            ("s3.aws-access-key", self.s3_access_key_id.clone()),
            ("s3.aws-secret-key", self.s3_secret_access_key.clone()),
        ]);
        let on_rest = |uri: String| {
            let mut catalog = s3.clone();
            catalog.insert("iceberg.catalog.type".to_owned(), "rest".to_owned());
            catalog.insert("iceberg.rest-catalog.uri".to_owned(), uri);
            catalog
        };
        let mut catalogs = BTreeMap::from([("lake".to_owned(), on_rest(self.rest.clone()))]);
        if with_nessie {
            catalogs.insert("nessie".to_owned(), on_rest(format!("{}/iceberg/main", self.nessie)));
        }
        catalogs
    }

    /// Spark's catalog `lake`, as `spark.conf` has it. Its keys come from `AWS_` variables.
    #[must_use]
    pub fn spark(&self) -> Properties {
        properties([
            ("spark.sql.extensions", "org.apache.iceberg.spark.extensions.IcebergSparkSessionExtensions".to_owned()),
            ("spark.sql.catalog.lake", "org.apache.iceberg.spark.SparkCatalog".to_owned()),
            ("spark.sql.catalog.lake.type", "rest".to_owned()),
            ("spark.sql.catalog.lake.uri", self.rest.clone()),
            ("spark.sql.catalog.lake.io-impl", "org.apache.iceberg.aws.s3.S3FileIO".to_owned()),
            ("spark.sql.catalog.lake.s3.endpoint", self.s3_endpoint.clone()),
            ("spark.sql.catalog.lake.s3.path-style-access", "true".to_owned()),
            ("spark.sql.defaultCatalog", "lake".to_owned()),
        ])
    }
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut shown = f.debug_struct("Settings");
        shown.field("s3_endpoint", &self.s3_endpoint).field("postgres", &self.postgres);
        shown.field("rest", &self.rest).field("nessie", &self.nessie).finish_non_exhaustive()
    }
}
