//! Who may use whom: the table of ARCHITECTURE.md, checked against the manifests.

use crate::workspace::Workspace;

/// Our crates, by folder, and the ones of ours that each may use. Adding a word here is a change of its own, with a decision note.
const MAY_USE: &[(&str, &[&str])] = &[
    ("sdk/wire", &[]),
    ("sdk/guest", &["lakehost-wire"]),
    ("host/columnar", &[]),
    ("host/fetch", &[]),
    ("host/pipeline", &["lakehost-columnar"]),
    ("host/wasm", &["lakehost-pipeline", "lakehost-columnar", "lakehost-fetch", "lakehost-wire"]),
    ("host/lake", &["lakehost-pipeline", "lakehost-columnar"]),
    ("host/query", &["lakehost-pipeline", "lakehost-lake"]),
    ("host/models", &["lakehost-pipeline"]),
    ("host/endpoint", &["lakehost-pipeline", "lakehost-lake"]),
    ("host/stack", &[]),
    (
        "host/cli",
        &[
            "lakehost-columnar",
            "lakehost-fetch",
            "lakehost-pipeline",
            "lakehost-wasm",
            "lakehost-lake",
            "lakehost-query",
            "lakehost-models",
            "lakehost-endpoint",
            "lakehost-stack",
            // Optional, behind the feature `native-cleaner`: what the bench compares the component with.
            "lakehost-sdk",
            "trip_cleaner",
        ],
    ),
    ("tests/server", &["lakehost-stack"]),
    ("tests", ANY),
    ("xtask", &["lakehost-server", "lakehost-stack"]),
    (UNIFY, &[]),
];
/// A plugin sees the SDK and nothing else of ours.
const PLUGIN_MAY_USE: &[&str] = &["lakehost-sdk"];
/// Holds nothing and depends on every heavy crate, so that one crate built alone gets the features of the whole: no fence is for it.
const UNIFY: &str = "xtask/unify";
/// The tests may use every library.
const ANY: &[&str] = &["*"];

/// Heavy crates of others, and the folders that fence them off.
const FENCES: &[(&str, &[&str])] = &[
    ("wasmtime", &["host/wasm"]),
    ("wasmtime-wasi", &["host/wasm"]),
    ("wit-bindgen", &["sdk/guest"]),
    ("iceberg", &["host/lake", "host/query", "host/endpoint", "tests/server"]),
    ("sqlx", &["host/lake"]),
    ("object_store", &["host/lake", "host/query"]),
    ("datafusion", &["host/query"]),
    ("axum", &["host/endpoint"]),
    ("reqwest", &["host/fetch", "host/lake", "host/models"]),
    ("clap", &["host/cli"]),
    ("clap_complete", &["host/cli"]),
    ("indicatif", &["host/cli"]),
    ("toml", &["host/cli", "host/stack"]),
    ("tracing-subscriber", &["host/cli"]),
    ("anyhow", &["host/cli", "tests", "tests/server", "xtask"]),
    ("tokio", &["host/cli", "host/endpoint", "host/fetch", "host/lake", "host/models", "host/query", "host/wasm"]),
];

pub fn check(workspace: &Workspace) -> Vec<String> {
    let ours: Vec<&str> = workspace.members.iter().map(|member| member.name.as_str()).collect();
    let mut findings = Vec::new();
    for member in &workspace.members {
        let used = member.dependencies.iter().filter(|dependency| dependency.kind != "dev").map(|d| d.name.as_str());
        let Some(allowed) = allowed(&member.folder) else {
            findings.push(format!(
                "{} is a crate that the table in xtask/src/tidy/dependencies.rs does not know: say there what it may use",
                member.folder
            ));
            continue;
        };
        for name in used {
            if ours.contains(&name) && allowed != ANY && !allowed.contains(&name) {
                findings.push(format!(
                    "{} uses {name}; by ARCHITECTURE.md it may use {}: move the code, or change the table with a decision note",
                    member.folder,
                    if allowed.is_empty() { "no crate of ours".to_owned() } else { allowed.join(", ") }
                ));
            }
            if let Some((_, folders)) = FENCES.iter().find(|(fenced, _)| *fenced == name)
                && !folders.contains(&member.folder.as_str())
                && member.folder != UNIFY
            {
                findings.push(format!("{} uses {name}, which stays inside {}", member.folder, folders.join(", ")));
            }
        }
    }
    findings
}

fn allowed(folder: &str) -> Option<&'static [&'static str]> {
    if folder.starts_with("plugins/") || folder.starts_with("examples/") {
        return Some(PLUGIN_MAY_USE);
    }
    MAY_USE.iter().find(|(known, _)| *known == folder).map(|(_, allowed)| *allowed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workspace::{Dependency, Member};

    fn workspace(folder: &str, name: &str, uses: &[(&str, &str)]) -> Workspace {
        let dependencies =
            uses.iter().map(|(name, kind)| Dependency { name: (*name).into(), kind: (*kind).into() }).collect();
        let member = |name: &str, folder: &str| Member {
            name: name.into(),
            folder: folder.into(),
            dependencies: Vec::new(),
            is_component: false,
        };
        let mut members = vec![member("lakehost-lake", "host/lake"), member("lakehost-sdk", "sdk/guest")];
        members.push(Member { dependencies, ..member(name, folder) });
        Workspace { root: "/".into(), target: "/".into(), members }
    }

    #[test]
    fn a_line_that_the_table_does_not_have_is_told() {
        for (folder, uses, wanted) in [
            ("host/pipeline", ("lakehost-lake", "normal"), Some("host/pipeline uses lakehost-lake")),
            ("host/pipeline", ("lakehost-lake", "dev"), None),
            ("plugins/nyc_tlc", ("lakehost-sdk", "normal"), None),
            ("plugins/nyc_tlc", ("lakehost-lake", "build"), Some("no crate")),
            ("host/columnar", ("wasmtime", "normal"), Some("stays inside host/wasm")),
            ("tests", ("lakehost-lake", "normal"), None),
            ("host/new", ("serde", "normal"), Some("does not know")),
        ] {
            let findings = check(&workspace(folder, "it", &[uses]));
            let matching = |wanted: &str| findings.iter().any(|finding| finding.contains(wanted));
            match wanted {
                None => assert_eq!(findings, Vec::<String>::new(), "{folder} {uses:?}"),
                Some("no crate") => assert!(matching("may use lakehost-sdk"), "{findings:?}"),
                Some(wanted) => assert!(matching(wanted), "{findings:?}"),
            }
        }
    }
}
