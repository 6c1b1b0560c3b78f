//! `maintenance` of a pipeline: whether its table is kept small after each run, and from when on that is worth it.

use lakehost_lake::Thresholds;
use lakehost_pipeline::span_ms;
use serde::Deserialize;

use crate::memory;

/// `"auto"`, `"off"`, or thresholds.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(
    untagged,
    expecting = "\"auto\", \"off\", or limits such as { files = 20, average_size = \"64MiB\", manifests = 200, snapshots = 200, keep = 100, \
                 older_than = \"5 days\" }"
)]
pub enum Maintenance {
    Word(Word),
    Limits(Limits),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Word {
    Auto,
    Off,
}

/// Limits that differ from the usual ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Limits {
    /// A window with more files, small on the average, is compacted.
    pub files: Option<u64>,
    /// Small is below this: `64MiB`.
    pub average_size: Option<String>,
    /// With more manifests they are written anew.
    pub manifests: Option<usize>,
    /// With more snapshots old ones expire.
    pub snapshots: Option<usize>,
    /// So many of the newest stay whatever their age.
    pub keep: Option<usize>,
    /// Younger snapshots stay: `5 days`.
    pub older_than: Option<String>,
}

/// What is asked for; `None`: nothing. `Err`: the key that is wrong, and why.
pub fn resolve(maintenance: Option<&Maintenance>) -> Result<Option<Thresholds>, String> {
    let usual = Thresholds::default();
    let limits = match maintenance {
        None | Some(Maintenance::Word(Word::Off)) => return Ok(None),
        Some(Maintenance::Word(Word::Auto)) => return Ok(Some(usual)),
        Some(Maintenance::Limits(limits)) => limits,
    };
    let average_bytes = match &limits.average_size {
        None => usual.average_bytes,
        Some(text) => memory::parse_size(text, "maintenance.average_size").map_err(|error| error.to_string())?,
    };
    let older_than_ms = match &limits.older_than {
        None => usual.expire.older_than_ms,
        Some(text) => span_ms(text).ok_or_else(|| {
            format!("maintenance.older_than: `{}` is not a span of time such as \"5 days\"", text.escape_debug())
        })?,
    };
    let expire =
        lakehost_lake::ExpireOptions { older_than_ms, keep: limits.keep.unwrap_or(usual.expire.keep), ..usual.expire };
    Ok(Some(Thresholds {
        files: limits.files.unwrap_or(usual.files),
        average_bytes,
        manifests: limits.manifests.unwrap_or(usual.manifests),
        snapshots: limits.snapshots.unwrap_or(usual.snapshots),
        expire,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::file;

    fn of(text: &str) -> Result<Option<Thresholds>, String> {
        let file = file::parse(&format!("[pipeline.a]\nplugin = \"x\"\n{text}\n"), "lakehost.toml");
        let file = file.map_err(|error| error.to_string())?;
        resolve(file.pipeline["a"].maintenance.as_ref())
    }

    #[test]
    fn words_and_limits_are_understood() {
        let usual = Thresholds::default();
        assert_eq!(of(""), Ok(None));
        assert_eq!(of("maintenance = \"off\""), Ok(None));
        assert_eq!(of("maintenance = \"auto\""), Ok(Some(usual)));
        let found = of("maintenance = { files = 3, average_size = \"1MiB\", keep = 2, older_than = \"1 hour\" }");
        let expire = lakehost_lake::ExpireOptions { older_than_ms: 3_600_000, keep: 2, dry_run: false };
        assert_eq!(found, Ok(Some(Thresholds { files: 3, average_bytes: 1 << 20, expire, ..usual })));
        for wrong in ["\"always\"", "true", "{ file = 3 }", "{ older_than = \"soon\" }", "{ average_size = \"big\" }"] {
            assert!(of(&format!("maintenance = {wrong}")).is_err(), "{wrong}");
        }
    }
}
