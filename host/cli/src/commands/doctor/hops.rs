//! The hops to a warehouse in a bucket: one small object is written, read back, looked at and deleted. And the one to Trino.

use std::time::{Duration, Instant};

use lakehost_lake::{BranchState, Store};
use lakehost_models::trino::{Statement, quoted};
use lakehost_pipeline::Fault;

use super::Finding;
use crate::config::resolve::Where;
use crate::trino::Connection;
use crate::{progress, publish, warehouse};

/// A store refuses signatures that are a quarter of an hour off; half of that is worth a word.
const CLOCK_SKEW_MS: i64 = 5 * 60_000;
/// A commit makes about ten requests one after another.
const SLOW: Duration = Duration::from_millis(500);

/// Whether the bucket can be written, and whether its clock is ours.
pub fn bucket(place: &Where) -> Vec<Finding> {
    let store = match place.store() {
        Ok(store) => store,
        Err(error) => return vec![Finding::broken("warehouse", &Fault::new(error))],
    };
    let root = place.warehouse.display();
    let location = format!("{root}/_lakehost/doctor/{}", uuid::Uuid::now_v7());
    match probe(store.as_ref(), &location) {
        Err((action, source)) => {
            let error = lakehost_lake::Error::Store { action, location, source };
            vec![Finding::broken("warehouse", &Fault::new(error))]
        }
        Ok(Probe { slowest, skew_ms }) => {
            let said = format!(
                "{root} takes an object, gives it back and deletes it; the slowest answer took {} ms",
                slowest.as_millis()
            );
            let mut findings = vec![match slowest > SLOW {
                true => Finding::warning("warehouse", said, "a run is quicker on a machine near the bucket"),
                false => Finding::fine("warehouse", said),
            }];
            match skew_ms {
                Some(skew_ms) if skew_ms.abs() > CLOCK_SKEW_MS => findings.push(Finding::warning(
                    "clock",
                    format!("this machine and the bucket are {} s apart", skew_ms.abs() / 1_000),
                    "set this machine's clock (NTP): the bucket refuses what is signed too early or too late",
                )),
                Some(skew_ms) => {
                    findings.push(Finding::fine(
                        "clock",
                        format!("within {} s of the bucket's", skew_ms.abs() / 1_000 + 1),
                    ));
                }
                None => {}
            }
            findings
        }
    }
}

/// The branches of runs that wait, where the profile says that there can be any.
pub fn branches(place: &Where) -> Option<Finding> {
    let keys = &place.catalog.as_ref()?.keys;
    if !keys.nessie && keys.branch.is_none() {
        return None;
    }
    let looked = warehouse::runtime().map_err(Fault::new).and_then(|runtime| {
        let branches = publish::open(&runtime, place)?;
        Ok((branches.all()?, branches.onto().to_owned()))
    });
    Some(match looked {
        Err(fault) => Finding::broken("branches", &fault),
        Ok((runs, onto)) => match runs.iter().filter(|run| matches!(run.state, BranchState::Kept { .. })).count() {
            0 => Finding::fine("branches", format!("readers are on {onto}, and no run waits to be published")),
            kept => Finding::warning(
                "branches",
                format!("readers are on {onto}, and of {kept} runs what they changed is on their branches alone"),
                "`lakehost runs waiting` lists them; `lakehost runs publish` or `discard` decides",
            ),
        },
    })
}

/// Whether Trino answers, lets us in, and knows the catalog of the tables.
pub fn trino(place: &Where) -> Finding {
    let asked = Connection::open(place).and_then(|trino| {
        let version = trino.version()?;
        let began = Instant::now();
        let schemas = format!("SHOW SCHEMAS FROM {}", quoted(&trino.catalog));
        for batch in trino.query(&Statement::new(&schemas))? {
            batch?;
        }
        Ok(format!(
            "{} is Trino {version} and lists the schemas of {} in {} ms",
            trino.shown(),
            trino.catalog,
            began.elapsed().as_millis()
        ))
    });
    match asked {
        Ok(said) => Finding::fine("trino", said),
        Err(fault) => Finding::broken("trino", &fault),
    }
}

struct Probe {
    slowest: Duration,
    /// The store's clock less ours.
    skew_ms: Option<i64>,
}

/// The object's whole life. It is deleted also when a step in between fails.
fn probe(store: &dyn Store, location: &str) -> Result<Probe, (&'static str, std::io::Error)> {
    const TEXT: &[u8] = b"lakehost doctor";
    let mut slowest = Duration::ZERO;
    let mut timed = |work: &mut dyn FnMut() -> std::io::Result<()>| {
        let began = Instant::now();
        let done = work();
        slowest = slowest.max(began.elapsed());
        done
    };
    timed(&mut || store.put(location, TEXT)).map_err(|error| ("write", error))?;
    let written_ms = progress::now_ms();
    let mut modified_ms = 0;
    let seen = timed(&mut || match store.get(location)? == TEXT {
        true => Ok(()),
        false => Err(std::io::Error::other("other bytes come back than were written")),
    })
    .map_err(|error| ("read", error))
    .and_then(|()| {
        let folder = location.rsplit_once('/').map_or(location, |(folder, _)| folder);
        timed(&mut || {
            let listed = store.list(folder)?;
            let found = listed.iter().find(|file| file.location == location);
            modified_ms = found.ok_or_else(|| std::io::Error::other("the object is not listed"))?.modified_ms;
            Ok(())
        })
        .map_err(|error| ("list", error))
    });
    let deleted = timed(&mut || store.delete(location)).map_err(|error| ("delete", error));
    seen.and(deleted)?;
    Ok(Probe { slowest, skew_ms: (modified_ms > 0).then(|| modified_ms - written_ms) })
}

#[cfg(test)]
mod tests {
    use lakehost_lake::LocalStore;

    use super::*;

    #[test]
    fn a_probe_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let location = format!("{}/probe/x", folder.path().display());
        let found = probe(&LocalStore::new(false), &location).map_err(|(action, error)| format!("{action}: {error}"));
        assert!(found.unwrap().skew_ms.is_some_and(|skew| skew.abs() < 60_000));
        assert_eq!(std::fs::read_dir(folder.path().join("probe")).unwrap().count(), 0);
    }

    #[test]
    fn a_profile_without_its_keys_is_told_so() {
        let s3 =
            toml::from_str("secret_access_key = { env = \"LAKEHOST_NO_SUCH_SECRET\" }\naccess_key_id = \"a\"").unwrap();
        let place = Where { warehouse: "s3://b/w".into(), profile: "prod".to_owned(), s3, ..Where::default() };
        let findings = bucket(&place);
        assert!(findings[0].detail.contains("LAKEHOST_NO_SUCH_SECRET is not set"), "{}", findings[0].detail);
    }
}
