//! A folder of a world's own in the bucket of the test process's MinIO.

use std::sync::atomic::{AtomicU32, Ordering};

use lakehost_pipeline::Secret;
use lakehost_server::programs::{self, Minio};

use crate::S3Options;

static FOLDERS: AtomicU32 = AtomicU32::new(0);

/// How to reach the server, and the folder.
pub fn bucket() -> (S3Options, String) {
    let options = S3Options {
        endpoint: Some(programs::minio().url()),
        region: Some("us-east-1".to_owned()),
        path_style: true,
        access_key: Some(Secret::new(Minio::KEY)),
        secret_key: Some(Secret::new(Minio::SECRET)),
        allow_http: true,
        ..S3Options::default()
    };
    (options, format!("s3://{}/folder{}", Minio::BUCKET, FOLDERS.fetch_add(1, Ordering::Relaxed)))
}
