//! What to do about a store or a catalog that does not do as asked.

use std::io;

use lakehost_pipeline::{Diagnostic as _, certificate_hint, codes};

use super::{BoxError, Error, postgres_code};
use crate::store::{Reason, Refusal, UNKNOWN_KEYS};

/// What comes after the cause is gone.
const AGAIN: &str = "then run the same command again";

/// The folder of a file, for the advice to free some space there.
fn folder_of(location: &str) -> &str {
    match location.rsplit_once('/') {
        Some((folder, _)) if !folder.is_empty() => folder,
        _ => location,
    }
}

/// The bucket of a location.
fn bucket_of(location: &str) -> Option<&str> {
    location.split_once("://")?.1.split('/').next()
}

/// What an object store refused.
fn refusal_hint(refusal: &Refusal, location: Option<&str>) -> Option<String> {
    let place = location.map_or("in the warehouse".to_owned(), |location| format!("under {}", folder_of(location)));
    match refusal.reason {
        Reason::Access => Some(match UNKNOWN_KEYS.iter().any(|code| refusal.says(code)) {
            true => format!(
                "correct `access_key_id` and `secret_access_key` of [profile.NAME.s3]: the store does not know these keys; {AGAIN}"
            ),
            false => format!("see that the keys of the profile may read, write and delete {place}"),
        }),
        Reason::Expired => Some(format!(
            "renew the keys where `secret_access_key` and `session_token` of [profile.NAME.s3] come from, {AGAIN}; keys from a file or a command \
             are looked up again while a run works"
        )),
        Reason::NoBucket => Some(match location.and_then(bucket_of) {
            Some(bucket) => {
                format!("make the bucket {bucket}, or correct `warehouse` or `endpoint` of the profile, {AGAIN}")
            }
            None => format!("make the bucket, or correct `warehouse` of the profile, {AGAIN}"),
        }),
        Reason::Busy => {
            Some("nothing was committed; run the same command again when the object store is less busy".to_owned())
        }
        Reason::Unreachable => {
            certificate_hint(&refusal.to_string(), "`endpoint` of [profile.NAME.s3]", "`ca` of [profile.NAME.s3]")
                .or_else(|| {
                    Some(format!(
                        "see that the object store is up and `endpoint` of [profile.NAME.s3] is its address, {AGAIN}"
                    ))
                })
        }
        Reason::Other => None,
    }
}

/// All that a catalog's error says.
fn words(source: &BoxError) -> String {
    let mut words = source.to_string();
    let mut next = source.source();
    while let Some(error) = next {
        words.push_str(&format!(": {error}"));
        next = error.source();
    }
    words
}

impl Error {
    /// The I/O error behind it.
    fn io(&self) -> Option<(&io::Error, Option<&str>)> {
        match self {
            Self::Store { source, location, .. } => Some((source, Some(location))),
            Self::Iceberg { source, .. } => {
                std::error::Error::source(source.as_ref()).and_then(|source| source.downcast_ref()).map(|io| (io, None))
            }
            _ => None,
        }
    }

    /// By what was refused, and by whom.
    pub(super) fn way_out(&self) -> Option<String> {
        if let Some((error, location)) = self.io()
            && let Some(refusal) = Refusal::of(error)
        {
            return refusal_hint(refusal, location);
        }
        match self.code() {
            codes::MACHINE_DISK => {
                let place = match self {
                    Self::Store { location, .. } => format!("under {}", folder_of(location)),
                    Self::Catalog { catalog, .. } => format!("under {}", folder_of(catalog)),
                    Self::Iceberg { table, .. } => format!("in the warehouse of table {table}"),
                    _ => "in the warehouse".to_owned(),
                };
                Some(format!("free some space {place}, {AGAIN}"))
            }
            codes::STORE_ACCESS => {
                Some("see that the keys of the profile may read, write and delete in the warehouse".to_owned())
            }
            codes::CATALOG_ACCESS => Some(self.catalog_access()),
            codes::CATALOG_IO => Some(match self {
                Self::Catalog { catalog, source, .. } if catalog.contains("://") => {
                    certificate_hint(&words(source), "`uri` of [profile.NAME.catalog]", "`ca` of [profile.NAME.catalog]")
                        .unwrap_or_else(|| {
                            format!(
                                "nothing was changed; see that the catalog is up and `uri` of [profile.NAME.catalog] is its address, {AGAIN}"
                            )
                        })
                }
                _ => "`lakehost doctor` looks closer; restore catalog.db from a copy, or name another --warehouse".to_owned(),
            }),
            codes::STORE_MISSING => Some(
                "restore the file from a copy; a warehouse that was moved has to go back: table locations are absolute"
                    .to_owned(),
            ),
            _ => None,
        }
    }

    /// Who is not let in needs another password or token; who is, more rights.
    fn catalog_access(&self) -> String {
        let rights = "give the catalog's user or token the rights to read and commit; `lakehost doctor` looks closer";
        match self {
            Self::Catalog { source, .. } => {
                match source.downcast_ref::<sqlx::Error>().and_then(postgres_code).as_deref() {
                    Some("28000" | "28P01") => format!(
                        "correct the user in `uri` and `password` of [profile.NAME.catalog], or where they come from, {AGAIN}"
                    ),
                    _ => rights.to_owned(),
                }
            }
            Self::CatalogAccess { detail, .. }
                if detail.contains(" 401") || detail.contains(" 419") || detail.contains("token endpoint") =>
            {
                format!(
                    "correct `token`, or `client_id` and `client_secret`, of [profile.NAME.catalog]: this token or credential is wrong or has run out; \
                     {AGAIN}"
                )
            }
            _ => rights.to_owned(),
        }
    }
}
