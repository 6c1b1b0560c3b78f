//! A stack: its services are started, looked at and ended here.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use crate::home::{Home, Secrets};
use crate::install::{Installer, cache_folder};
use crate::process::{self, Process};
use crate::settings::{BUCKET, POSTGRES_USER, REGION, Settings};
use crate::state::State;
use crate::up::{Start, Up};
use crate::versions::versions;
use crate::watch::Watch;
use crate::{Error, Service, nessie, ports, postgres, profile, rest, storage, trino};

/// Between the signal and a SIGKILL.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// The services of one folder.
#[derive(Clone, Debug)]
pub struct Stack {
    pub home: Home,
    /// Where programs are kept.
    pub cache: PathBuf,
}

/// How a service is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// Runs and answers.
    Ready,
    /// Runs and does not answer: it starts, or hangs.
    Silent,
    /// On record, and gone without `down`.
    Died,
    /// Not started.
    Down,
}

/// What there is to say of a service.
#[derive(Clone, Debug)]
pub struct Status {
    pub service: Service,
    pub health: Health,
    pub pid: Option<u32>,
    /// Where it answers, when it runs.
    pub address: Option<String>,
    pub memory_bytes: Option<u64>,
    pub age: Option<Duration>,
    pub log: PathBuf,
}

/// What `down` did about a service.
#[derive(Clone, Debug)]
pub struct Ended {
    pub service: Service,
    /// None: it did not run.
    pub pid: Option<u32>,
}

impl Stack {
    /// The stack of a folder. Nothing is made yet.
    pub fn new(home: Home) -> Result<Self, Error> {
        match process::can_tell() {
            true => Ok(Self { home, cache: cache_folder() }),
            false => Err(Error::NoProc),
        }
    }

    /// Starts these and what they need, in parallel, and waits until they answer. Again: nothing happens.
    pub fn up(&self, wanted: &[Service], watch: &Watch) -> Result<Vec<Up>, Error> {
        let versions = versions()?;
        let _lock = self.home.lock(watch)?;
        let mut state = self.load_and_end_strays()?;
        let chosen = Service::with_needs(wanted);
        let alive: BTreeSet<Service> =
            Service::ALL.into_iter().filter(|service| state.alive(*service).is_some()).collect();
        let secrets = self.home.secrets()?;
        let reserved = self.cache.join("ports");
        let (ports, _reservation) = ports::choose(&state.ports, |service| alive.contains(&service), &reserved)?;
        state.ports = ports.clone();
        state.services.retain(|service, _| alive.contains(service));
        state.save(&self.home.state_file())?;
        let settings = settings(&ports, &secrets);
        let start = Start {
            home: &self.home,
            installer: Installer { cache: &self.cache, watch },
            versions: &versions,
            settings: &settings,
            secrets: &secrets,
            ports: &ports,
            with_nessie: chosen.contains(&Service::Nessie) || alive.contains(&Service::Nessie),
            state: state.into(),
            progress: Default::default(),
            changed: Default::default(),
        };
        let ups = start.run(&chosen)?;
        let with_trino = chosen.contains(&Service::Trino) || alive.contains(&Service::Trino);
        profile::write(&self.home, &settings, &ports, &versions.spark, with_trino)?;
        Ok(ups)
    }

    /// Ends these and all that need them.
    pub fn down(&self, which: &[Service], watch: &Watch) -> Result<Vec<Ended>, Error> {
        if !self.home.folder.exists() {
            return Ok(which.iter().map(|service| Ended { service: *service, pid: None }).collect());
        }
        let _lock = self.home.lock(watch)?;
        let mut state = self.load_and_end_strays()?;
        let mut ended = Vec::new();
        let mut failed = None;
        // Users first; those that do not need each other together.
        for step in [&[Service::Trino][..], &[Service::Rest, Service::Nessie], &[Service::Minio, Service::Postgres]] {
            let chosen = Service::with_users(which);
            let services = step.iter().copied().filter(|service| chosen.contains(service));
            let running: Vec<(Service, Option<Process>)> =
                services.map(|service| (service, state.alive(service).map(|record| record.process.clone()))).collect();
            let gone: Vec<bool> = std::thread::scope(|scope| {
                let threads: Vec<_> = running
                    .iter()
                    .map(|(service, process)| {
                        scope.spawn(|| process.as_ref().is_none_or(|process| process.end(signal(*service), STOP_LIMIT)))
                    })
                    .collect();
                threads.into_iter().map(|thread| thread.join().unwrap_or(false)).collect()
            });
            for ((service, process), gone) in running.into_iter().zip(gone) {
                let pid = process.map(|process| process.pid);
                match (gone, pid) {
                    (false, Some(pid)) => failed = Some(Error::NotEnded { service, pid }),
                    _ => {
                        state.services.remove(&service);
                        if pid.is_some() {
                            watch.say(&format!("{service} has ended"));
                        }
                        ended.push(Ended { service, pid });
                    }
                }
            }
        }
        state.save(&self.home.state_file())?;
        failed.map_or(Ok(ended), Err)
    }

    /// Removes the stack's folder with all data in it.
    pub fn wipe(&self, watch: &Watch) -> Result<(), Error> {
        if !self.home.folder.exists() {
            return Ok(());
        }
        let _lock = self.home.lock(watch)?;
        let state = self.load_and_end_strays()?;
        let running: Vec<Service> =
            Service::ALL.into_iter().filter(|service| state.alive(*service).is_some()).collect();
        if !running.is_empty() {
            return Err(Error::InUse { running });
        }
        for folder in [postgres::data_folder(&self.home), self.home.folder.clone()] {
            match std::fs::remove_dir_all(&folder) {
                Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                    return Err(Error::file(&folder, "removed")(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// All services; nothing is changed.
    pub fn status(&self) -> Result<Vec<Status>, Error> {
        let state = State::load(&self.home.state_file())?;
        let port = |name: &str| state.ports.get(name).copied().unwrap_or_default();
        let statuses = Service::ALL.into_iter().map(|service| {
            let alive = state.alive(service);
            let health = match alive {
                Some(_) if self.answers(service, &port) => Health::Ready,
                Some(_) => Health::Silent,
                None if state.services.contains_key(&service) => Health::Died,
                None => Health::Down,
            };
            Status {
                service,
                health,
                pid: alive.map(|record| record.process.pid),
                address: alive.map(|_| address(service, port(service.name()))),
                memory_bytes: alive.and_then(|record| record.process.memory_bytes()),
                age: alive.and_then(|record| record.process.age()),
                log: self.home.log_file(service),
            }
        });
        Ok(statuses.collect())
    }

    fn answers(&self, service: Service, port: &impl Fn(&str) -> u16) -> bool {
        match service {
            Service::Minio => storage::is_ready(port("minio")),
            Service::Postgres => match (postgres::programs(), self.home.secrets()) {
                (Some(programs), Ok(secrets)) => postgres::is_ready(&programs, &secrets, port("postgres")),
                _ => false,
            },
            Service::Rest => rest::is_ready(port("rest")),
            Service::Nessie => nessie::is_ready(port("nessie")),
            Service::Trino => trino::is_ready(port("trino")),
        }
    }

    /// What is on record. Services that a killed `up` had no time to record are ended.
    fn load_and_end_strays(&self) -> Result<State, Error> {
        let state = State::load(&self.home.state_file())?;
        let recorded: Vec<Process> = state.services.values().map(|record| record.process.clone()).collect();
        for stray in process::strays(&self.home.folder, &recorded) {
            stray.end(libc::SIGINT, STOP_LIMIT);
        }
        Ok(state)
    }
}

fn signal(service: Service) -> libc::c_int {
    match service {
        // Its "fast" shutdown: SIGTERM would wait for clients.
        Service::Postgres => libc::SIGINT,
        _ => libc::SIGTERM,
    }
}

/// Where a service answers.
fn address(service: Service, port: u16) -> String {
    match service {
        Service::Postgres => format!("postgresql://{POSTGRES_USER}@127.0.0.1:{port}"),
        Service::Nessie => format!("http://127.0.0.1:{port}/iceberg"),
        _ => format!("http://127.0.0.1:{port}"),
    }
}

/// What the services of these ports tell each other.
pub(crate) fn settings(ports: &BTreeMap<String, u16>, secrets: &Secrets) -> Settings {
    let at = |name: &str| format!("127.0.0.1:{}", ports.get(name).copied().unwrap_or_default());
    Settings {
        bucket: BUCKET.to_owned(),
        region: REGION.to_owned(),
        s3_endpoint: format!("http://{}", at("minio")),
        s3_access_key_id: secrets.s3_access_key_id.clone(),
        s3_secret_access_key: secrets.s3_secret_access_key.clone(),
        postgres: at("postgres"),
        postgres_user: POSTGRES_USER.to_owned(),
        postgres_password: secrets.postgres_password.clone(),
        rest: format!("http://{}", at("rest")),
        nessie: format!("http://{}", at("nessie")),
    }
}
