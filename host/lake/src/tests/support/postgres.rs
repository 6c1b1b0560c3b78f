//! A Postgres of the test process's own: a new cluster in a temporary folder, on a free port of loopback.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use lakehost_pipeline::Secret;

use crate::PostgresOptions;

/// Runs the server until the test process is gone, which closes the pipe. Arguments: programs, folder, port.
const KEEPER: &str = r#"
set -e
as=""
if [ "$(id -u)" = 0 ]; then
  chown postgres "$2"
  as="setpriv --reuid=postgres --regid=postgres --clear-groups"
fi
cd /
$as "$1/initdb" -D "$2/data" -U lakehost -A trust -E UTF8 --locale=C --no-sync >"$2/initdb.log" 2>&1
$as "$1/postgres" -D "$2/data" -p "$3" -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off \
  -c max_connections=300 >"$2/postgres.log" 2>&1 &
pid=$!
read -r _ || true
kill -INT $pid
wait $pid || true
rm -rf "$2"
"#;

struct Cluster {
    port: u16,
    /// Its standard input keeps the server up.
    _keeper: Child,
}

static CLUSTER: OnceLock<Option<Cluster>> = OnceLock::new();
static CATALOGS: AtomicU32 = AtomicU32::new(0);

/// A catalog of its own in the cluster; `None`, with a word on stderr, where there are no programs to start one.
pub fn catalog() -> Option<PostgresOptions> {
    let cluster = CLUSTER.get_or_init(|| {
        let Some(programs) = programs() else {
            eprintln!("skipped: postgres (no initdb; LAKEHOST_POSTGRES_BIN names the folder of the programs)");
            return None;
        };
        Some(start(&programs))
    });
    let number = CATALOGS.fetch_add(1, Ordering::Relaxed);
    Some(PostgresOptions {
        url: Secret::new(format!("postgresql://lakehost@127.0.0.1:{}/postgres", cluster.as_ref()?.port)),
        password: None,
        name: format!("catalog{number}"),
    })
}

/// The folder that holds `initdb` and `postgres`: the one named, or the newest where Debian puts them.
fn programs() -> Option<PathBuf> {
    let named = std::env::var_os("LAKEHOST_POSTGRES_BIN").map(PathBuf::from);
    let versions = std::fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let mut found: Vec<PathBuf> = versions.map(|entry| entry.path().join("bin")).collect();
    found.sort();
    named.into_iter().chain(found.into_iter().rev()).find(|folder| folder.join("initdb").is_file())
}

fn start(programs: &Path) -> Cluster {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let folder = tempfile::tempdir().unwrap().keep();
    let keeper = Command::new("sh")
        .arg("-c")
        .arg(KEEPER)
        .arg("keeper")
        .arg(programs)
        .arg(&folder)
        .arg(port.to_string())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let began = Instant::now();
    let ready = |program: &str| {
        let mut asked = Command::new(programs.join(program));
        asked.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
        asked.status().is_ok_and(|status| status.success())
    };
    while !ready("pg_isready") {
        let log = || {
            let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap_or_default();
            format!("{}{}", read("initdb.log"), read("postgres.log"))
        };
        assert!(began.elapsed() < Duration::from_secs(60), "postgres does not come up: {}", log());
        std::thread::sleep(Duration::from_millis(100));
    }
    Cluster { port, _keeper: keeper }
}
