//! Ports of loopback: the usual ones where they are free, others where not.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;

use crate::home::{Lock, private_folder};
use crate::{Error, Service};

/// So many free ports are looked at.
const ATTEMPTS: usize = 100;

/// Name in the state file, the service that listens there, usual port.
pub const USUAL: [(&str, Service, u16); 6] = [
    ("minio", Service::Minio, 9_000),
    ("postgres", Service::Postgres, 55_432),
    ("rest", Service::Rest, 8_181),
    ("nessie", Service::Nessie, 19_120),
    ("nessie_management", Service::Nessie, 19_121),
    ("trino", Service::Trino, 8_080),
];

/// Ports that no other `up` takes while this lives: between the choice and the start nobody listens there yet, and MinIO would share a port.
#[derive(Debug)]
pub struct Reservation {
    _files: Vec<Lock>,
}

/// A port for each name. `recorded` ones are kept while their service runs, and tried first otherwise. `folder`: where all stacks of a user
/// reserve theirs.
pub fn choose(
    recorded: &BTreeMap<String, u16>,
    runs: impl Fn(Service) -> bool,
    folder: &Path,
) -> Result<(BTreeMap<String, u16>, Reservation), Error> {
    private_folder(folder)?;
    // Held until all are chosen, so that none is chosen twice.
    let mut listeners = Vec::new();
    let mut files = Vec::new();
    let mut chosen = BTreeMap::new();
    for (name, service, usual) in USUAL {
        let before = recorded.get(name).copied();
        if let Some(port) = before.filter(|_| runs(service)) {
            chosen.insert(name.to_owned(), port);
            continue;
        }
        let wanted = before.into_iter().chain([usual]).chain(std::iter::repeat_n(0, ATTEMPTS));
        let found = wanted.into_iter().find_map(|port| {
            let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, port)).ok()?;
            let port = listener.local_addr().ok()?.port();
            let file = Lock::attempt(&folder.join(port.to_string())).ok().flatten()?;
            Some((port, listener, file))
        });
        let (port, listener, file) = found.ok_or(Error::NoPort { service })?;
        listeners.push(listener);
        files.push(file);
        chosen.insert(name.to_owned(), port);
    }
    Ok((chosen, Reservation { _files: files }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_left_alone() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let recorded = BTreeMap::from([("trino".to_owned(), port), ("minio".to_owned(), port)]);
        let folder = tempfile::tempdir().unwrap();
        let (chosen, _held) = choose(&recorded, |service| service == Service::Minio, folder.path()).unwrap();
        assert_eq!(chosen["minio"], port, "a running service keeps its port");
        assert_ne!(chosen["trino"], port);
        let mut ports: Vec<u16> = chosen.into_values().collect();
        ports.sort_unstable();
        ports.dedup();
        assert_eq!(ports.len(), USUAL.len(), "all differ");
    }

    #[test]
    fn a_free_port_of_before_is_kept() {
        let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port();
        let folder = tempfile::tempdir().unwrap();
        let recorded = BTreeMap::from([("rest".to_owned(), free)]);
        let (chosen, held) = choose(&recorded, |_| false, folder.path()).unwrap();
        assert_eq!(chosen["rest"], free);
        // Nobody listens there yet, and still nobody else gets it.
        let (others, _held) = choose(&recorded, |_| false, folder.path()).unwrap();
        assert!(chosen.values().all(|port| !others.values().any(|other| other == port)), "{chosen:?} {others:?}");
        drop(held);
        assert_eq!(choose(&recorded, |_| false, folder.path()).unwrap().0["rest"], free);
    }
}
