//! Ports of loopback: the usual ones where they are free, others where not.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener};

use crate::{Error, Service};

/// Name in the state file, the service that listens there, usual port.
pub const USUAL: [(&str, Service, u16); 6] = [
    ("minio", Service::Minio, 9_000),
    ("postgres", Service::Postgres, 55_432),
    ("rest", Service::Rest, 8_181),
    ("nessie", Service::Nessie, 19_120),
    ("nessie_management", Service::Nessie, 19_121),
    ("trino", Service::Trino, 8_080),
];

/// A port for each name. `recorded` ones are kept while their service runs, and tried first otherwise.
pub fn choose(recorded: &BTreeMap<String, u16>, runs: impl Fn(Service) -> bool) -> Result<BTreeMap<String, u16>, Error> {
    // Held until all are chosen, so that none is chosen twice.
    let mut held = Vec::new();
    let mut chosen = BTreeMap::new();
    for (name, service, usual) in USUAL {
        let before = recorded.get(name).copied();
        if let Some(port) = before.filter(|_| runs(service)) {
            chosen.insert(name.to_owned(), port);
            continue;
        }
        let wanted = before.into_iter().chain([usual, 0]);
        let listener = wanted
            .map(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)))
            .reduce(|first, second| first.or(second))
            .unwrap_or_else(|| TcpListener::bind((Ipv4Addr::LOCALHOST, 0)))
            .and_then(|listener| Ok((listener.local_addr()?.port(), listener)));
        let (port, listener) = listener.map_err(Error::file(std::path::Path::new("127.0.0.1"), "listened on"))?;
        held.push(listener);
        chosen.insert(name.to_owned(), port);
    }
    Ok(chosen)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_taken_port_is_left_alone() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let recorded = BTreeMap::from([("trino".to_owned(), port), ("minio".to_owned(), port)]);
        let chosen = choose(&recorded, |service| service == Service::Minio).unwrap();
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
        let chosen = choose(&BTreeMap::from([("rest".to_owned(), free)]), |_| false).unwrap();
        assert_eq!(chosen["rest"], free);
    }
}
