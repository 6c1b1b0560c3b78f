//! The services by name, and who needs whom.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};

/// A service of the stack, in the order of their start.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Service {
    /// The S3 store.
    Minio,
    /// The database behind the catalogs.
    Postgres,
    /// Iceberg's REST catalog.
    Rest,
    /// A catalog with branches.
    Nessie,
    /// The query engine.
    Trino,
}

impl Service {
    pub const ALL: [Self; 5] = [Self::Minio, Self::Postgres, Self::Rest, Self::Nessie, Self::Trino];
    /// What `up` starts when nothing is said, as the compose file does without a profile.
    pub const DEFAULT: [Self; 4] = [Self::Minio, Self::Postgres, Self::Rest, Self::Trino];

    /// As it is typed and shown.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Minio => "minio",
            Self::Postgres => "postgres",
            Self::Rest => "rest",
            Self::Nessie => "nessie",
            Self::Trino => "trino",
        }
    }

    /// What must be ready before it starts.
    #[must_use]
    pub fn needs(self) -> &'static [Self] {
        match self {
            Self::Minio | Self::Postgres => &[],
            Self::Rest | Self::Nessie => &[Self::Minio, Self::Postgres],
            Self::Trino => &[Self::Minio, Self::Postgres, Self::Rest],
        }
    }

    /// These and all that they need.
    #[must_use]
    pub fn with_needs(wanted: &[Self]) -> BTreeSet<Self> {
        wanted.iter().flat_map(|service| service.needs().iter().copied().chain([*service])).collect()
    }

    /// These and all that need them.
    #[must_use]
    pub fn with_users(which: &[Self]) -> BTreeSet<Self> {
        let uses = |service: &Self| which.contains(service) || service.needs().iter().any(|need| which.contains(need));
        Self::ALL.into_iter().filter(uses).collect()
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn needs_are_complete_and_earlier() {
        for service in Service::ALL {
            for need in service.needs() {
                assert!(need < &service, "{need} is started before {service}");
                assert!(need.needs().iter().all(|inner| service.needs().contains(inner)), "{service} names all");
            }
        }
        assert_eq!(Service::with_needs(&[Service::Trino]).into_iter().collect::<Vec<_>>(), Service::DEFAULT);
        let users: Vec<Service> = Service::with_users(&[Service::Rest]).into_iter().collect();
        assert_eq!(users, [Service::Rest, Service::Trino]);
    }
}
