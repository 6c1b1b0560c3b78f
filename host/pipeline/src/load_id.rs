//! The load id: equal for two loads that put the same rows into the same window.

use sha2::{Digest, Sha256};

/// Lower-case hex of the sha256 of `bytes`.
pub fn sha256_hex(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}

/// Everything that decides which rows and columns a load makes.
///
/// Left out on purpose: pipeline name, URL and host, ETag, time, plugin digest, and configuration that the plugin's schema marks as not identity.
/// A rebuilt plugin or a mirror of the same files reloads nothing.
#[derive(Debug)]
pub struct LoadIdentity<'a> {
    pub source: &'a str,
    pub dataset: &'a str,
    /// Window label, `all` without windows.
    pub window: &'a str,
    /// Source configuration that is identity, canonical JSON.
    pub source_config: &'a str,
    /// Name@version and effective configuration of each cleaner, in order.
    pub cleaners: &'a [(String, String)],
    /// Options that change rows or columns: `metadata-columns`.
    pub options: &'a [&'a str],
    /// The load id that the window has now, for `--force`.
    pub forced_over: Option<&'a str>,
}

impl LoadIdentity<'_> {
    /// The id for these contents: (split id, sha256 of its content), in any order.
    pub fn load_id(&self, contents: &[(&str, &str)]) -> String {
        let mut hash = Sha256::new();
        // Length-prefixed, so that no two different lists of parts read the same.
        let mut part = |text: &str| {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        };
        part("lakehost load id 1");
        for text in [self.source, self.dataset, self.window, self.source_config] {
            part(text);
        }
        let mut contents = contents.to_vec();
        contents.sort_unstable();
        part(&contents.len().to_string());
        for (split, sha256) in contents {
            part(split);
            part(sha256);
        }
        part(&self.cleaners.len().to_string());
        for (name, config) in self.cleaners {
            part(name);
            part(config);
        }
        for option in self.options {
            part(option);
        }
        if let Some(present) = self.forced_over {
            part("forced over");
            part(present);
        }
        hex::encode(hash.finalize())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity<'a>(cleaners: &'a [(String, String)]) -> LoadIdentity<'a> {
        LoadIdentity {
            source: "nyc_tlc",
            dataset: "green",
            window: "2024-01",
            source_config: "{}",
            cleaners,
            options: &[],
            forced_over: None,
        }
    }

    #[test]
    fn content_and_cleaners_decide_and_order_of_splits_does_not() {
        let cleaner = [("trip_cleaner@0.1.0".to_owned(), "{}".to_owned())];
        let plain = identity(&[]).load_id(&[("a", "1"), ("b", "2")]);
        assert_eq!(plain.len(), 64);
        assert_eq!(plain, identity(&[]).load_id(&[("b", "2"), ("a", "1")]));
        assert_ne!(plain, identity(&[]).load_id(&[("a", "1"), ("b", "3")]));
        assert_ne!(plain, identity(&[]).load_id(&[("a", "1b"), ("", "2")]));
        assert_ne!(plain, identity(&cleaner).load_id(&[("a", "1"), ("b", "2")]));
        let forced = LoadIdentity { forced_over: Some(&plain), ..identity(&[]) };
        assert_ne!(plain, forced.load_id(&[("a", "1"), ("b", "2")]));
    }
}
