//! What engines are told of reaching a table's files.

use std::collections::BTreeMap;

use lakehost_lake::S3Options;
use lakehost_pipeline::Secret;

use crate::error::{Error, Result};

/// How a bucket is reached, in the words of the protocol. A folder of this machine needs none.
#[derive(Clone, Debug, Default)]
pub struct Access {
    config: BTreeMap<String, String>,
    /// Handed over only to who asks for them, and only when the user wants that.
    keys: BTreeMap<String, Secret>,
}

impl Access {
    /// To a bucket. `delegate`: keys are handed to whoever shows the token and asks.
    ///
    /// # Errors
    /// `LH0102` when there are no keys to hand over.
    pub fn bucket(s3: &S3Options, delegate: bool) -> Result<Self> {
        let mut access = Self::default();
        let words = [
            ("s3.endpoint", s3.endpoint.clone()),
            ("s3.region", s3.region.clone()),
            ("client.region", s3.region.clone()),
            ("s3.path-style-access", Some(s3.path_style.to_string())),
        ];
        access.config = words.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect();
        if delegate {
            let (Some(id), Some(secret)) = (&s3.access_key, &s3.secret_key) else {
                return Err(Error::Setting {
                    what: "--delegate-keys".to_owned(),
                    purpose: "a way to hand over keys",
                    detail: "the profile's [s3] names no access_key_id and secret_access_key".to_owned(),
                });
            };
            let words = [
                ("s3.access-key-id", Some(id)),
                ("s3.secret-access-key", Some(secret)),
                ("s3.session-token", s3.session_token.as_ref()),
            ];
            access.keys = words.into_iter().filter_map(|(name, key)| Some((name.to_owned(), key?.clone()))).collect();
        }
        Ok(access)
    }

    /// For a table: without keys unless the client asks for them.
    pub fn config(&self, asks_for_keys: bool) -> BTreeMap<String, String> {
        let mut config = self.config.clone();
        if asks_for_keys {
            config.extend(self.keys());
        }
        config
    }

    /// Keys alone, for clients that look for them under a heading of their own.
    pub fn keys(&self) -> BTreeMap<String, String> {
        self.keys.iter().map(|(name, key)| (name.clone(), key.expose().to_owned())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_handed_over_only_when_user_and_client_want_it() {
        let s3 = S3Options {
            endpoint: Some("http://127.0.0.1:9000".to_owned()),
            region: Some("us-east-1".to_owned()),
            path_style: true,
            access_key: Some(Secret::new("id")),
            secret_key: Some(Secret::new("hunter2")),
            ..S3Options::default()
        };
        let without = Access::bucket(&s3, false).unwrap();
        assert_eq!(without.config(true), without.config(false));
        assert_eq!(without.config(true).get("s3.path-style-access").map(String::as_str), Some("true"));
        let with = Access::bucket(&s3, true).unwrap();
        assert!(!with.config(false).values().any(|value| value == "hunter2"));
        assert_eq!(with.config(true).get("s3.secret-access-key").map(String::as_str), Some("hunter2"));
        assert!(Access::bucket(&S3Options::default(), true).is_err());
    }
}
