//! Stacks of real servers, MinIO and Postgres: started twice, ended twice, killed in between, in each other's way.

use std::net::TcpListener;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tempfile::TempDir;

use crate::process::Process;
use crate::state::State;
use crate::{Error, Health, Home, Outcome, Service, Stack, Watch, bucket, install, postgres};

const BOTH: [Service; 2] = [Service::Minio, Service::Postgres];

/// A stack in a folder of its own, ended and removed with this.
struct Own {
    stack: Stack,
    _folder: TempDir,
}

impl Own {
    fn new() -> Self {
        assert!(
            postgres::programs().is_some() && install::present_minio().is_some(),
            "no MinIO or no Postgres: LAKEHOST_MINIO and {} name them, as `cargo xtask test` does",
            postgres::VARIABLE
        );
        let folder = tempfile::tempdir().unwrap();
        let stack = Stack::new(Home::at(&folder.path().join("home")).unwrap()).unwrap();
        Self { stack, _folder: folder }
    }

    fn up(&self) -> Vec<Outcome> {
        let ups = self.stack.up(&BOTH, &Watch::nobody()).unwrap();
        ups.into_iter().map(|up| up.outcome).collect()
    }

    fn down(&self) -> Vec<Service> {
        let ended = self.stack.down(&Service::ALL, &Watch::nobody()).unwrap();
        ended.into_iter().filter(|ended| ended.pid.is_some()).map(|ended| ended.service).collect()
    }

    fn state(&self) -> State {
        State::load(&self.stack.home.state_file()).unwrap()
    }

    fn process(&self, service: Service) -> Process {
        self.state().services[&service].process.clone()
    }

    fn health(&self, service: Service) -> Health {
        self.stack.status().unwrap().into_iter().find(|status| status.service == service).unwrap().health
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        let _ = self.stack.down(&Service::ALL, &Watch::nobody());
        let _ = self.stack.wipe(&Watch::nobody());
    }
}

fn signal(process: &Process, signal: libc::c_int) {
    // SAFETY: `kill` takes numbers; the process is a service of this test.
    unsafe { libc::kill(libc::pid_t::try_from(process.pid).unwrap(), signal) };
    for _ in 0..100 {
        if !process.is_alive() {
            return;
        }
        Watch::pause();
    }
    panic!("{process:?} does not end");
}

#[test]
fn up_is_ready_and_again_changes_nothing_and_down_leaves_nothing() {
    let own = Own::new();
    assert_eq!(own.up(), [Outcome::Started; 2]);
    let before = own.state();
    assert_eq!(own.up(), [Outcome::AlreadyRunning; 2]);
    assert_eq!(own.state(), before);
    assert_eq!(own.health(Service::Minio), Health::Ready);
    assert_eq!(own.health(Service::Trino), Health::Down);
    for file in [
        own.stack.home.env_file(),
        own.stack.home.profile_file(),
        own.stack.home.secret_file(),
        own.stack.home.state_file(),
    ] {
        let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata().unwrap().permissions());
        assert_eq!(mode & 0o077, 0, "{}", file.display());
    }
    // No secret stands in a command line.
    let secrets = own.stack.home.secrets().unwrap();
    for service in BOTH {
        let line = std::fs::read(format!("/proc/{}/cmdline", own.process(service).pid)).unwrap();
        let line = String::from_utf8_lossy(&line);
        for secret in [&secrets.s3_secret_access_key, &secrets.postgres_password] {
            assert!(!line.contains(secret.as_str()), "{line}");
        }
    }
    let processes = BOTH.map(|service| own.process(service));
    assert_eq!(own.down(), BOTH);
    assert!(processes.iter().all(|process| !process.is_alive()));
    assert_eq!(own.down(), [], "a second time there is nothing to end");
    assert_eq!(own.health(Service::Minio), Health::Down);
    // What was there is there again, at the same ports.
    assert_eq!(own.up(), [Outcome::Started; 2]);
    assert_eq!(own.state().ports, before.ports);
}

#[test]
fn a_port_that_somebody_took_is_not_fought_over() {
    let own = Own::new();
    own.up();
    let before = own.state().ports;
    own.down();
    let _taken = TcpListener::bind(("127.0.0.1", before["minio"])).unwrap();
    assert_eq!(own.up(), [Outcome::Started; 2]);
    let after = own.state().ports;
    assert_ne!(after["minio"], before["minio"]);
    assert_eq!(after["postgres"], before["postgres"]);
}

#[test]
fn one_that_died_is_told_and_started_again() {
    let own = Own::new();
    own.up();
    signal(&own.process(Service::Minio), libc::SIGKILL);
    assert_eq!(own.health(Service::Minio), Health::Died);
    assert_eq!(own.up(), [Outcome::Started, Outcome::AlreadyRunning]);
    assert_eq!(own.health(Service::Minio), Health::Ready);
}

#[test]
fn a_stale_state_file_ends_no_stranger() {
    let own = Own::new();
    own.up();
    let mut stranger = std::process::Command::new("sleep").arg("60").spawn().unwrap();
    let mut state = own.state();
    let minio = own.process(Service::Minio);
    // As after a crash, when the pid was given to somebody else.
    state.services.get_mut(&Service::Minio).unwrap().process.pid = stranger.id();
    state.save(&own.stack.home.state_file()).unwrap();
    assert_eq!(own.health(Service::Minio), Health::Died);
    assert_eq!(own.down(), [Service::Postgres]);
    assert!(stranger.try_wait().unwrap().is_none(), "the stranger lives");
    assert!(!minio.is_alive(), "the process that nobody recorded any more is found by its mark");
    stranger.kill().unwrap();
    stranger.wait().unwrap();
}

#[test]
fn a_service_that_dies_at_once_is_told_with_its_last_words() {
    let own = Own::new();
    own.up();
    own.down();
    // A cluster of a version that no program has.
    let version = postgres::data_folder(&own.stack.home).join("cluster/PG_VERSION");
    let mut bytes = std::fs::read(&version).unwrap();
    bytes.splice(.., *b"7\n");
    std::fs::write(&version, bytes).unwrap();
    let error = own.stack.up(&BOTH, &Watch::nobody()).unwrap_err();
    let Error::Start { service, tail, .. } = &error else { panic!("{error}") };
    assert_eq!(*service, Service::Postgres);
    assert!(tail.contains("is not compatible with this version"), "{tail}");
    assert!(error.to_string().starts_with("postgres does not start: it ended at once: exit status: 1"), "{error}");
    assert_eq!(own.health(Service::Minio), Health::Down, "what the same `up` had started was ended");
}

#[test]
fn an_interrupted_up_leaves_nothing() {
    let own = Own::new();
    let stop = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stop);
    // As soon as one service is ready, Ctrl-C.
    let watch = Watch::new(Arc::clone(&stop), move |_| seen.store(true, Ordering::SeqCst));
    let error = own.stack.up(&BOTH, &watch).unwrap_err();
    assert!(matches!(error, Error::Interrupted), "{error}");
    assert_eq!(own.state().services.len(), 0);
    assert_eq!(crate::process::strays(&own.stack.home.folder, &[]), []);
}

#[test]
fn two_at_once_start_one_stack() {
    let own = Own::new();
    let (one, other) = std::thread::scope(|scope| {
        let (one, other) = (scope.spawn(|| own.up()), scope.spawn(|| own.up()));
        (one.join().unwrap(), other.join().unwrap())
    });
    let mut outcomes = [one, other].concat();
    outcomes.sort_by_key(|outcome| *outcome == Outcome::AlreadyRunning);
    assert_eq!(outcomes, [Outcome::Started, Outcome::Started, Outcome::AlreadyRunning, Outcome::AlreadyRunning]);
}

#[test]
fn two_stacks_live_beside_each_other() {
    let (one, other) = (Own::new(), Own::new());
    one.up();
    other.up();
    let (ports, theirs) = (one.state().ports, other.state().ports);
    for service in ["minio", "postgres"] {
        assert_ne!(ports[service], theirs[service]);
    }
    let keys = |own: &Own| own.stack.home.secrets().unwrap().s3_secret_access_key;
    assert_ne!(keys(&one), keys(&other), "passwords are each stack's own");
    one.down();
    assert_eq!(other.health(Service::Minio), Health::Ready, "a neighbour is left alone");
}

#[test]
fn the_bucket_is_refused_to_a_wrong_key() {
    let own = Own::new();
    own.up();
    let ports = own.state().ports;
    let mut settings = crate::stack::settings(&ports, &own.stack.home.secrets().unwrap());
    assert_eq!(bucket::exists(&settings, ports["minio"]), Ok(true));
    "0".repeat(40).clone_into(&mut settings.s3_secret_access_key);
    assert!(bucket::exists(&settings, ports["minio"]).unwrap_err().contains("403"));
}

#[test]
fn data_goes_only_when_nothing_runs() {
    let own = Own::new();
    own.up();
    let error = own.stack.wipe(&Watch::nobody()).unwrap_err();
    assert_eq!(error.to_string(), "the data cannot be removed while minio, postgres is up");
    own.down();
    own.stack.wipe(&Watch::nobody()).unwrap();
    assert!(!own.stack.home.folder.exists() && !postgres::data_folder(&own.stack.home).exists());
    assert_eq!(own.down(), [], "a stack that was never started");
}

#[test]
fn names_are_folders() {
    assert!(Home::named("ci-2").unwrap().folder.ends_with(Path::new("lakehost/stack/ci-2")));
    for name in ["", "..", "a/b", "a b", &"x".repeat(65)] {
        assert!(matches!(Home::named(name), Err(Error::Name { .. })), "{name}");
    }
}
