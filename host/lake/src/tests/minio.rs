//! A MinIO of the test process's own, on a free port of loopback.

use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use lakehost_pipeline::Secret;

use crate::S3Options;

/// Runs the server until the test process is gone, which closes the pipe. Arguments: program, folder, port.
const KEEPER: &str = r#"
"$1" server --quiet --address "127.0.0.1:$3" "$2/data" >"$2/minio.log" 2>&1 &
pid=$!
read -r _ || true
kill $pid
wait $pid || true
rm -rf "$2"
"#;

struct Server {
    port: u16,
    /// Its standard input keeps the server up.
    _keeper: Child,
}

static SERVER: OnceLock<Option<Server>> = OnceLock::new();
static FOLDERS: AtomicU32 = AtomicU32::new(0);

const KEY: &str = "lakehost";
const SECRET: &str = "lakehost-secret";

/// How to reach the server, and a folder of its own in its bucket; `None`, with a word on stderr, where the program is not.
pub fn bucket() -> Option<(S3Options, String)> {
    let server = SERVER.get_or_init(|| {
        let Some(program) = program() else {
            eprintln!("skipped: S3 (no minio in the path; LAKEHOST_MINIO names it)");
            return None;
        };
        Some(start(&program))
    });
    let options = S3Options {
        endpoint: Some(format!("http://127.0.0.1:{}", server.as_ref()?.port)),
        region: Some("us-east-1".to_owned()),
        path_style: true,
        access_key: Some(Secret::new(KEY)),
        secret_key: Some(Secret::new(SECRET)),
        session_token: None,
        allow_http: true,
    };
    Some((options, format!("s3://lake/folder{}", FOLDERS.fetch_add(1, Ordering::Relaxed))))
}

fn program() -> Option<PathBuf> {
    let named = std::env::var_os("LAKEHOST_MINIO").map(PathBuf::from);
    let path = std::env::var_os("PATH").unwrap_or_default();
    named.into_iter().chain(std::env::split_paths(&path).map(|folder| folder.join("minio"))).find(|file| file.is_file())
}

fn start(program: &PathBuf) -> Server {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap().keep();
    // A folder of the data directory is a bucket.
    std::fs::create_dir_all(folder.join("data/lake")).unwrap();
    let keeper = Command::new("sh")
        .args(["-c", KEEPER, "keeper"])
        .arg(program)
        .arg(&folder)
        .arg(port.to_string())
        .env("MINIO_ROOT_USER", KEY)
        .env("MINIO_ROOT_PASSWORD", SECRET)
        .env("MINIO_CI_CD", "1")
        .env("MINIO_BROWSER", "off")
        .env("MINIO_UPDATE", "off")
        .env("GOMEMLIMIT", "512MiB")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let began = Instant::now();
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ready = || {
        let asked = client.get(format!("http://127.0.0.1:{port}/minio/health/ready")).send();
        runtime.block_on(asked).is_ok_and(|answer| answer.status().is_success())
    };
    while !ready() {
        let log = std::fs::read_to_string(folder.join("minio.log")).unwrap_or_default();
        assert!(began.elapsed() < Duration::from_secs(60), "minio does not come up: {log}");
        std::thread::sleep(Duration::from_millis(100));
    }
    Server { port, _keeper: keeper }
}
