//! Real servers of the test process's own, each on a free port of loopback and in a folder that goes with it: Postgres and MinIO.
//!
//! They are started once a process and end with it: a shell holds each one's pid and ends it when the pipe from this process closes.

#![allow(clippy::unwrap_used, reason = "servers of tests alone: what cannot be ends the test")]

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// A server that takes longer is not coming.
const START_LIMIT: Duration = Duration::from_secs(60);

/// Arguments: programs, folder, port.
const POSTGRES: &str = r#"
set -e
as=""
if [ "$(id -u)" = 0 ]; then
  chown postgres "$2"
  as="setpriv --reuid=postgres --regid=postgres --clear-groups"
fi
cd /
$as "$1/initdb" -D "$2/data" -U lakehost -A trust -E UTF8 --locale=C --no-sync >"$2/log" 2>&1
printf 'host all lakehost 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n' >"$2/data/pg_hba.conf"
$as "$1/postgres" -D "$2/data" -p "$3" -c listen_addresses=127.0.0.1 -c unix_socket_directories= -c fsync=off \
  -c max_connections=300 >>"$2/log" 2>&1 &
pid=$!
read -r _ || true
kill -INT $pid
wait $pid || true
rm -rf "$2"
"#;

/// Arguments: program, folder, port.
const MINIO: &str = r#"
"$1" server --quiet --address "127.0.0.1:$3" "$2/data" >"$2/log" 2>&1 &
pid=$!
read -r _ || true
kill $pid
wait $pid || true
rm -rf "$2"
"#;

/// Arguments: program, folder, port.
const VERSITYGW: &str = r#"
"$1" --quiet --port "127.0.0.1:$3" --health /health posix "$2/data" >"$2/log" 2>&1 &
pid=$!
read -r _ || true
kill $pid
wait $pid || true
rm -rf "$2"
"#;

struct Running {
    port: u16,
    /// Its standard input keeps the server up.
    _keeper: Child,
}

/// The port of a Postgres with the user and superuser `lakehost`, who needs no password as others do, and the database `postgres`.
///
/// # Panics
/// Where there are no programs to start one: `cargo xtask test` leaves such tests out by name.
#[must_use]
pub fn postgres() -> u16 {
    static CLUSTER: OnceLock<Running> = OnceLock::new();
    let cluster = CLUSTER.get_or_init(|| {
        let programs = lakehost_stack::postgres::programs()
            .expect("no Postgres: LAKEHOST_POSTGRES_BIN names the folder of its programs, which `cargo xtask test` finds or installs");
        start(POSTGRES, &programs, &[], |port| {
            let mut asked = Command::new(programs.join("pg_isready"));
            asked.args(["-q", "-h", "127.0.0.1", "-p", &port.to_string()]).stdout(Stdio::null()).stderr(Stdio::null());
            asked.status().is_ok_and(|status| status.success())
        })
    });
    cluster.port
}

/// A MinIO: where it is and how it lets one in.
#[derive(Clone, Copy, Debug)]
pub struct Minio {
    pub port: u16,
}

impl Minio {
    pub const KEY: &'static str = "lakehost";
    pub const SECRET: &'static str = "lakehost-secret";
    /// A bucket that is there.
    pub const BUCKET: &'static str = "lake";

    /// `http://127.0.0.1:port`
    #[must_use]
    pub fn url(self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }
}

/// A MinIO, or Versity's gateway where `LAKEHOST_VERSITYGW` names it.
///
/// # Panics
/// Where neither program is: `cargo xtask test` leaves such tests out by name.
#[must_use]
pub fn minio() -> Minio {
    static SERVER: OnceLock<Running> = OnceLock::new();
    let server = SERVER.get_or_init(|| {
        if let Some(gateway) = std::env::var_os(lakehost_stack::install::VERSITYGW_VARIABLE) {
            let variables: Vec<(&str, String)> =
                lakehost_stack::versitygw_variables(Minio::KEY, Minio::SECRET).into_iter().collect();
            return start(VERSITYGW, Path::new(&gateway), &variables, lakehost_stack::versitygw_is_ready);
        }
        let program = lakehost_stack::install::present_minio()
            .expect("no S3 server: LAKEHOST_MINIO names MinIO, which `cargo xtask test --full` builds");
        let variables: Vec<(&str, String)> =
            lakehost_stack::minio_variables(Minio::KEY, Minio::SECRET).into_iter().collect();
        start(MINIO, &program, &variables, lakehost_stack::minio_is_ready)
    });
    Minio { port: server.port }
}

fn start(script: &str, program: &Path, variables: &[(&str, String)], ready: impl Fn(u16) -> bool) -> Running {
    let port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr()).unwrap().port();
    let folder = tempfile::tempdir().unwrap().keep();
    // To both S3 servers a folder of their data is a bucket; initdb makes its own.
    if script != POSTGRES {
        std::fs::create_dir_all(folder.join("data").join(Minio::BUCKET)).unwrap();
    }
    let keeper = Command::new("sh")
        .args(["-c", script, "keeper"])
        .arg(program)
        .arg(&folder)
        .arg(port.to_string())
        .envs(variables.iter().map(|(name, value)| (name, value)))
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let began = Instant::now();
    while !ready(port) {
        let log = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
        assert!(began.elapsed() < START_LIMIT, "{} does not come up: {log}", program.display());
        std::thread::sleep(Duration::from_millis(100));
    }
    Running { port, _keeper: keeper }
}
