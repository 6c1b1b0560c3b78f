//! Starting: all services at once, each as soon as what it needs is ready; all or nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::process::Child;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::home::{Home, Secrets};
use crate::install::{self, Installer};
use crate::launch::Launch;
use crate::process::Process;
use crate::settings::Settings;
use crate::state::{Record, State};
use crate::versions::Versions;
use crate::watch::Watch;
use crate::{Error, Service, bucket, nessie, postgres, rest, storage, trino};

/// Of a log, so much is shown with an error.
const TAIL_LINES: usize = 25;

/// What `up` did about a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Started,
    /// It ran with other settings before.
    Restarted,
    AlreadyRunning,
}

/// A service that is ready.
#[derive(Clone, Debug)]
pub struct Up {
    pub service: Service,
    pub outcome: Outcome,
    pub took: Duration,
}

/// A start in common.
pub struct Start<'a> {
    pub home: &'a Home,
    pub installer: Installer<'a>,
    pub versions: &'a Versions,
    pub settings: &'a Settings,
    pub secrets: &'a Secrets,
    pub ports: &'a BTreeMap<String, u16>,
    pub with_nessie: bool,
    /// On record, and saved at each change.
    pub state: Mutex<State>,
    pub progress: Mutex<Progress>,
    pub changed: Condvar,
}

/// How far the services are.
#[derive(Default)]
pub struct Progress {
    ready: BTreeSet<Service>,
    /// Started by this call: ended again when it fails.
    started: Vec<(Service, Process, libc::c_int, Duration)>,
    failed: bool,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A service's programs, wherever they are.
enum Program {
    Minio(PathBuf),
    Postgres(PathBuf),
    Rest(rest::Program),
    Nessie(nessie::Program),
    Trino(trino::Program),
}

impl Start<'_> {
    /// Starts all of them. When one fails or the caller stops, those that this call started are ended.
    pub fn run(&self, chosen: &BTreeSet<Service>) -> Result<Vec<Up>, Error> {
        let results: Vec<Result<Up, Error>> = std::thread::scope(|scope| {
            let threads: Vec<_> = chosen.iter().map(|service| scope.spawn(|| self.one(*service))).collect();
            let joined = threads.into_iter().map(|thread| thread.join());
            joined.map(|joined| joined.unwrap_or(Err(Error::Interrupted))).collect()
        });
        let mut ups = Vec::new();
        let mut failure = None;
        for result in results {
            match result {
                Ok(up) => ups.push(up),
                // The first cause, not what follows from it.
                Err(error) if failure.as_ref().is_none_or(|known| matches!(known, Error::Abandoned { .. })) => {
                    failure = Some(error);
                }
                Err(_) => {}
            }
        }
        let stopped = self.installer.watch.stopped().then_some(Error::Interrupted);
        match stopped.or(failure) {
            None => Ok(ups),
            Some(error) => {
                self.end_started()?;
                Err(error)
            }
        }
    }

    fn one(&self, service: Service) -> Result<Up, Error> {
        let up = self.start(service);
        let mut progress = lock(&self.progress);
        match &up {
            Ok(_) => {
                progress.ready.insert(service);
            }
            Err(_) => progress.failed = true,
        }
        drop(progress);
        self.changed.notify_all();
        up
    }

    fn start(&self, service: Service) -> Result<Up, Error> {
        let program = self.install(service)?;
        self.wait_for_needs(service)?;
        let began = Instant::now();
        let launch = self.launch(&program)?;
        let fingerprint = launch.fingerprint();
        let running = lock(&self.state).alive(service).cloned();
        let mut outcome = Outcome::Started;
        if let Some(record) = running {
            if record.fingerprint == fingerprint {
                self.wait_until_ready(service, &program, &launch, &record.process, None)?;
                return Ok(Up { service, outcome: Outcome::AlreadyRunning, took: began.elapsed() });
            }
            outcome = Outcome::Restarted;
            if !record.process.end(launch.stop_signal, launch.stop_limit) {
                return Err(Error::NotEnded { service, pid: record.process.pid });
            }
        }
        if let Program::Postgres(programs) = &program {
            postgres::prepare(self.home, programs, self.secrets)?;
        }
        if service == Service::Trino {
            trino::forget_nessie(&launch);
        }
        let log = self.home.log_file(service);
        let mut child = launch.spawn(&self.home.folder, &log)?;
        let process = Process::of(child.id()).ok_or(Error::NoProc)?;
        lock(&self.progress).started.push((service, process.clone(), launch.stop_signal, launch.stop_limit));
        self.record(service, Record { process: process.clone(), fingerprint })?;
        self.wait_until_ready(service, &program, &launch, &process, Some(&mut child))?;
        let took = began.elapsed();
        self.installer.watch.say(&format!("{service} is ready after {:.1} s", took.as_secs_f64()));
        Ok(Up { service, outcome, took })
    }

    fn install(&self, service: Service) -> Result<Program, Error> {
        Ok(match service {
            Service::Minio => Program::Minio(install::minio(&self.installer, self.versions)?),
            Service::Postgres => Program::Postgres(postgres::install()?),
            Service::Rest => Program::Rest(rest::install(&self.installer, self.versions)?),
            Service::Nessie => Program::Nessie(nessie::install(&self.installer, self.versions)?),
            Service::Trino => Program::Trino(trino::install(&self.installer, self.versions)?),
        })
    }

    fn port(&self, name: &str) -> u16 {
        self.ports.get(name).copied().unwrap_or_default()
    }

    fn launch(&self, program: &Program) -> Result<Launch, Error> {
        let (home, settings) = (self.home, self.settings);
        Ok(match program {
            Program::Minio(program) => storage::launch(home, program.clone(), self.secrets, self.port("minio")),
            Program::Postgres(programs) => postgres::launch(home, programs, self.port("postgres"))?,
            Program::Rest(program) => rest::launch(home, program, settings, self.port("rest")),
            Program::Nessie(program) => {
                nessie::launch(home, program, settings, self.port("nessie"), self.port("nessie_management"))
            }
            Program::Trino(program) => trino::launch(home, program, settings, self.port("trino"), self.with_nessie),
        })
    }

    fn wait_for_needs(&self, service: Service) -> Result<(), Error> {
        let mut progress = lock(&self.progress);
        loop {
            if self.installer.watch.stopped() {
                return Err(Error::Interrupted);
            }
            if progress.failed {
                return Err(Error::Abandoned { service });
            }
            if service.needs().iter().all(|need| progress.ready.contains(need)) {
                return Ok(());
            }
            let waited = self.changed.wait_timeout(progress, Duration::from_millis(100));
            progress = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// Asks until it answers. `child`: how we learn that it ended.
    fn wait_until_ready(
        &self,
        service: Service,
        program: &Program,
        launch: &Launch,
        process: &Process,
        mut child: Option<&mut Child>,
    ) -> Result<(), Error> {
        let log = self.home.log_file(service);
        let failed =
            |why: String| Error::Start { service, why, log: log.clone(), tail: install::tail(&log, TAIL_LINES) };
        let began = Instant::now();
        while !self.is_ready(program) {
            if self.installer.watch.stopped() {
                return Err(Error::Interrupted);
            }
            if lock(&self.progress).failed {
                return Err(Error::Abandoned { service });
            }
            let ended = child.as_mut().and_then(|child| child.try_wait().ok().flatten());
            if let Some(status) = ended {
                return Err(failed(format!("it ended at once: {status}")));
            }
            if !process.is_alive() {
                return Err(failed("it ended".to_owned()));
            }
            if began.elapsed() > launch.start_limit {
                return Err(failed(format!("it does not answer within {} s", launch.start_limit.as_secs())));
            }
            Watch::pause();
        }
        // Somebody else may answer at its port.
        if !process.is_alive() {
            return Err(failed("it ended, and something else answers at its port".to_owned()));
        }
        self.fill(program).map_err(failed)
    }

    fn is_ready(&self, program: &Program) -> bool {
        match program {
            Program::Minio(_) => {
                storage::is_ready(self.port("minio")) && bucket::is_open(self.settings, self.port("minio"))
            }
            Program::Postgres(programs) => postgres::is_ready(programs, self.secrets, self.port("postgres")),
            Program::Rest(_) => rest::is_ready(self.port("rest")),
            Program::Nessie(_) => nessie::is_ready(self.port("nessie")),
            Program::Trino(_) => trino::is_ready(self.port("trino")),
        }
    }

    /// What others expect to find in a service.
    fn fill(&self, program: &Program) -> Result<(), String> {
        match program {
            Program::Minio(_) => bucket::ensure(self.settings, self.port("minio")),
            Program::Postgres(programs) => postgres::make_databases(programs, self.secrets, self.port("postgres")),
            Program::Rest(_) | Program::Nessie(_) | Program::Trino(_) => Ok(()),
        }
    }

    fn record(&self, service: Service, record: Record) -> Result<(), Error> {
        let mut state = lock(&self.state);
        state.services.insert(service, record);
        state.save(&self.home.state_file())
    }

    /// Ends what this call started, users first.
    fn end_started(&self) -> Result<(), Error> {
        let mut started = std::mem::take(&mut lock(&self.progress).started);
        started.sort_by_key(|(service, ..)| std::cmp::Reverse(*service));
        let mut state = lock(&self.state);
        for (service, process, signal, limit) in &started {
            process.end(*signal, *limit);
            state.services.remove(service);
        }
        state.save(&self.home.state_file())
    }
}
