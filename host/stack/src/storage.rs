//! MinIO: the S3 store.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::home::{Home, Secrets};
use crate::launch::Launch;
use crate::{Service, http};

/// What MinIO is told by variables: its keys, and not to look around.
#[must_use]
pub fn minio_variables(key: &str, secret: &str) -> BTreeMap<&'static str, String> {
    BTreeMap::from([
        ("MINIO_ROOT_USER", key.to_owned()),
        ("MINIO_ROOT_PASSWORD", secret.to_owned()),
        // Data may lie on the disk of the system.
        ("MINIO_CI_CD", "1".to_owned()),
        ("MINIO_BROWSER", "off".to_owned()),
        ("MINIO_UPDATE", "off".to_owned()),
        ("GOMEMLIMIT", "512MiB".to_owned()),
    ])
}

/// What Versity's gateway is told by variables.
#[must_use]
pub fn versitygw_variables(key: &str, secret: &str) -> BTreeMap<&'static str, String> {
    BTreeMap::from([("ROOT_ACCESS_KEY_ID", key.to_owned()), ("ROOT_SECRET_ACCESS_KEY", secret.to_owned())])
}

/// Whether Versity's gateway, started with `--health /health`, says that it is.
#[must_use]
pub fn versitygw_is_ready(port: u16) -> bool {
    http::is_well(port, "/health", "")
}

pub fn launch(home: &Home, program: PathBuf, secrets: &Secrets, port: u16) -> Launch {
    let data = home.data_folder(Service::Minio);
    let address = format!("127.0.0.1:{port}");
    let mut launch = Launch::new(program, data.clone()).arguments(["server", "--quiet", "--address", &address]);
    launch.arguments.push(data.into());
    launch.variables = minio_variables(&secrets.s3_access_key_id, &secrets.s3_secret_access_key);
    launch
}

/// Whether MinIO says that it is.
#[must_use]
pub fn is_ready(port: u16) -> bool {
    http::is_well(port, "/minio/health/ready", "")
}
