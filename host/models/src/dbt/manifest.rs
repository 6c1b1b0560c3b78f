//! `manifest.json`: what the project holds and what reads what.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use lakehost_pipeline::ports::TableName;
use serde::Deserialize;

use super::error::Error;

/// The part of it that is needed here.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Manifest {
    #[serde(default)]
    pub nodes: BTreeMap<String, Node>,
    #[serde(default)]
    sources: BTreeMap<String, Source>,
    #[serde(default)]
    unit_tests: BTreeMap<String, Node>,
    #[serde(default)]
    child_map: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    parent_map: BTreeMap<String, Vec<String>>,
}

/// A model, seed, snapshot or test.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Node {
    pub name: String,
    pub resource_type: String,
    #[serde(default)]
    pub schema: Option<String>,
    #[serde(default)]
    pub alias: Option<String>,
    pub original_file_path: String,
    #[serde(default)]
    fqn: Vec<String>,
    #[serde(default)]
    pub attached_node: Option<String>,
    #[serde(default)]
    depends_on: DependsOn,
    #[serde(default)]
    config: Config,
}

#[derive(Debug, Default, Deserialize)]
struct DependsOn {
    #[serde(default)]
    nodes: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
struct Config {
    #[serde(default)]
    materialized: Option<String>,
}

#[derive(Debug, Deserialize)]
struct Source {
    name: String,
    source_name: String,
    schema: String,
    identifier: String,
    /// As statements have it.
    #[serde(default)]
    relation_name: Option<String>,
}

impl Source {
    fn is(&self, table: &TableName) -> bool {
        self.schema == table.namespace && self.identifier == table.name
    }
}

/// What a table's readers come to.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Downstream {
    /// Words for `--select`; empty: nothing reads the table.
    pub select: Vec<String>,
    /// Why all windows have to be built: tables that are not there.
    pub missing: Vec<String>,
    /// The project knows the table as a source.
    pub known: bool,
}

impl Manifest {
    /// The one that dbt left in its target folder.
    pub fn read(target: &Path) -> Result<Self, Error> {
        let text = fs::read(target.join("manifest.json")).map_err(|error| Error::artifact("manifest.json", error))?;
        serde_json::from_slice(&text).map_err(|error| Error::artifact("manifest.json", error))
    }

    /// A node by its id.
    pub fn node(&self, id: &str) -> Option<&Node> {
        self.nodes.get(id).or_else(|| self.unit_tests.get(id))
    }

    /// The name by which `--select` finds a node and no other.
    pub fn word(&self, id: &str) -> Option<String> {
        Some(format!("fqn:{}", self.node(id)?.fqn.join(".")))
    }

    /// The names of the models that a test is about.
    pub fn subjects(&self, node: &Node) -> Option<String> {
        let ids: Vec<&String> = match &node.attached_node {
            Some(id) => vec![id],
            None => node.depends_on.nodes.iter().collect(),
        };
        let names: Vec<&str> = ids.iter().filter_map(|id| Some(self.node(id)?.name.as_str())).collect();
        (!names.is_empty()).then(|| names.join(", "))
    }

    /// The models that read a table, directly or through others, and what they read besides that is not there.
    pub fn downstream(&self, table: &TableName, present: &[TableName]) -> Downstream {
        let sources: Vec<(&String, &Source)> = self.sources.iter().filter(|(_, source)| source.is(table)).collect();
        let reading = reach(sources.iter().map(|(id, _)| *id), &self.child_map, |id| self.is_built(id));
        if reading.is_empty() {
            return Downstream { known: !sources.is_empty(), ..Downstream::default() };
        }
        let absent = |id: &&String| self.nodes.get(*id).is_some_and(|node| node.is_absent(present));
        let read = reach(reading.iter(), &self.parent_map, |id| self.is_built(id));
        let needed: Vec<&String> = read.difference(&reading).filter(absent).collect();
        // A seed has no windows.
        let windowed = |id: &&String| self.nodes.get(*id).is_some_and(|node| node.resource_type != "seed");
        let missing = reading.iter().filter(absent).chain(needed.iter().copied().filter(windowed));
        let mut select: Vec<String> =
            sources.iter().map(|(_, source)| format!("source:{}.{}+", source.source_name, source.name)).collect();
        select.extend(needed.iter().filter_map(|id| self.word(id)));
        Downstream {
            select,
            missing: missing.filter_map(|id| self.nodes.get(id).and_then(Node::table)).collect(),
            known: true,
        }
    }

    /// What statements call a table that is a source.
    pub fn relation_of(&self, table: &TableName) -> Option<&str> {
        self.sources.values().find(|source| source.is(table))?.relation_name.as_deref()
    }

    /// Of these tests the ones that can tell of one snapshot of a source, and the others with the reason: a test sees what is built from the source
    /// as it is, not as it would be.
    pub fn auditable(
        &self,
        table: &TableName,
        tests: &[String],
        present: &[TableName],
    ) -> (Vec<String>, Vec<(String, String)>) {
        let sources: BTreeSet<&String> =
            self.sources.iter().filter(|(_, source)| source.is(table)).map(|(id, _)| id).collect();
        let behind = reach(sources.iter().copied(), &self.child_map, |id| self.is_built(id));
        let (mut wanted, mut left_out) = (Vec::new(), Vec::new());
        for id in tests {
            let Some(node) = self.nodes.get(id) else { continue };
            let read = &node.depends_on.nodes;
            let name_of = |id: &String| self.nodes.get(id).map_or_else(|| id.clone(), |node| node.name.clone());
            let reason = if !read.iter().any(|id| sources.contains(id)) {
                Some(format!("does not read {table} itself"))
            } else if let Some(model) = read.iter().find(|id| behind.contains(*id)) {
                Some(format!("reads {}, which is built from {table}", name_of(model)))
            } else {
                let absent = read.iter().find(|id| self.nodes.get(*id).is_some_and(|node| node.is_absent(present)));
                absent.map(|id| format!("reads {}, which is not there yet", name_of(id)))
            };
            match reason {
                Some(reason) => left_out.push((node.name.clone(), reason)),
                None => wanted.push(id.clone()),
            }
        }
        (wanted, left_out)
    }

    fn is_built(&self, id: &str) -> bool {
        self.nodes.get(id).is_some_and(|node| super::run_results::makes_table(&node.resource_type))
    }
}

impl Node {
    /// `namespace.name` of what it makes.
    pub fn table(&self) -> Option<String> {
        let made = super::run_results::makes_table(&self.resource_type)
            && self.config.materialized.as_deref() != Some("ephemeral");
        match (&self.schema, &self.alias) {
            (Some(schema), Some(alias)) if made => Some(format!("{schema}.{alias}")),
            _ => None,
        }
    }

    /// Its table is to be there and is not.
    fn is_absent(&self, present: &[TableName]) -> bool {
        let is_it = |table: &TableName| {
            Some(&table.namespace) == self.schema.as_ref() && Some(&table.name) == self.alias.as_ref()
        };
        self.keeps_rows() && !present.iter().any(is_it)
    }

    /// A view or ephemeral model has none of its own, so that it does not matter whether it is there.
    fn keeps_rows(&self) -> bool {
        !matches!(self.config.materialized.as_deref(), Some("view" | "ephemeral"))
    }
}

/// Everything that is reached over an edge from one of `from`, as far as it is wanted.
fn reach<'a>(
    from: impl Iterator<Item = &'a String>,
    edges: &BTreeMap<String, Vec<String>>,
    wanted: impl Fn(&str) -> bool,
) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open: Vec<&str> = from.map(String::as_str).collect();
    while let Some(id) = open.pop() {
        for next in edges.get(id).into_iter().flatten().filter(|next| wanted(next)) {
            if found.insert(next.clone()) {
                open.push(next);
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// raw.trips → stg → fct ← zones (seed), other ← raw.other; fct also reads `other`.
    fn manifest() -> Manifest {
        let node = |kind: &str, name: &str, materialized: &str| {
            json!({
                "name": name, "resource_type": kind, "schema": "s", "alias": name, "original_file_path": format!("models/{name}.sql"),
                "fqn": ["p", name], "config": {"materialized": materialized},
            })
        };
        serde_json::from_value(json!({
            "nodes": {
                "model.p.stg": node("model", "stg", "incremental"),
                "model.p.fct": node("model", "fct", "table"),
                "model.p.other": node("model", "other", "table"),
                "seed.p.zones": node("seed", "zones", "seed"),
                "test.p.t": {"name": "t", "resource_type": "test", "original_file_path": "x.yml", "attached_node": "model.p.stg"},
                "test.p.single": {"name": "single", "resource_type": "test", "original_file_path": "y.sql",
                    "depends_on": {"nodes": ["model.p.stg", "model.p.fct"]}},
            },
            "sources": {
                "source.p.raw.trips": {"name": "trips", "source_name": "taxi", "schema": "raw", "identifier": "yellow_trips"},
                "source.p.raw.unread": {"name": "unread", "source_name": "taxi", "schema": "raw", "identifier": "unread"},
            },
            "child_map": {
                "source.p.raw.trips": ["model.p.stg"], "model.p.stg": ["model.p.fct", "test.p.t"],
                "model.p.other": ["model.p.fct"], "seed.p.zones": ["model.p.fct"],
            },
            "parent_map": {
                "model.p.stg": ["source.p.raw.trips"], "model.p.fct": ["model.p.stg", "model.p.other", "seed.p.zones"],
                "model.p.other": ["source.p.raw.other"],
            },
        }))
        .unwrap()
    }

    fn downstream(table: &str, present: &[&str]) -> Downstream {
        let parse = |name: &str| TableName::parse(name).unwrap();
        manifest().downstream(&parse(table), &present.iter().map(|name| parse(name)).collect::<Vec<_>>())
    }

    #[test]
    fn only_what_reads_the_table_is_built() {
        let found = downstream("raw.yellow_trips", &["s.stg", "s.fct", "s.other", "s.zones"]);
        assert_eq!((found.select, found.missing), (vec!["source:taxi.trips+".to_owned()], vec![]));
    }

    #[test]
    fn what_is_read_besides_and_is_not_there_is_built_too() {
        let found = downstream("raw.yellow_trips", &["s.stg", "s.fct", "s.other"]);
        assert_eq!((found.select.len(), found.missing), (2, vec![]), "a seed needs no other windows");
        assert_eq!(found.select[1], "fqn:p.zones");
        let found = downstream("raw.yellow_trips", &["s.stg", "s.fct", "s.zones"]);
        assert_eq!((found.select[1].as_str(), found.missing), ("fqn:p.other", vec!["s.other".to_owned()]));
    }

    #[test]
    fn a_model_that_is_not_there_needs_all_windows() {
        assert_eq!(downstream("raw.yellow_trips", &["s.stg", "s.other", "s.zones"]).missing, ["s.fct"]);
        assert_eq!(downstream("raw.yellow_trips", &[]).missing.len(), 3);
    }

    #[test]
    fn a_table_without_readers_builds_nothing() {
        assert_eq!(downstream("raw.unread", &[]), Downstream { known: true, ..Downstream::default() });
        assert_eq!(downstream("raw.green_trips", &[]), Downstream::default());
    }

    #[test]
    fn only_tests_of_the_source_itself_can_tell_of_a_snapshot() {
        let mut manifest = manifest();
        let reads = |name: &str, ids: &[&str]| {
            let nodes: Vec<String> = ids.iter().map(|id| (*id).to_owned()).collect();
            let name = name.to_owned();
            (format!("test.p.{name}"), Node { name, depends_on: DependsOn { nodes }, ..Node::default() })
        };
        let trips = "source.p.raw.trips";
        manifest.nodes.extend([
            reads("alone", &[trips]),
            reads("beside", &[trips, "source.p.raw.unread"]),
            reads("seeded", &[trips, "seed.p.zones"]),
            reads("stale", &[trips, "model.p.fct"]),
            reads("missing", &[trips, "model.p.other"]),
        ]);
        let names = ["alone", "beside", "seeded", "stale", "missing", "single"];
        let ids: Vec<String> = names.iter().map(|name| format!("test.p.{name}")).collect();
        let table = TableName::parse("raw.yellow_trips").unwrap();
        let (wanted, left_out) = manifest.auditable(&table, &ids, &[TableName::parse("s.zones").unwrap()]);
        assert_eq!(wanted, ["test.p.alone", "test.p.beside", "test.p.seeded"]);
        let left_out: Vec<String> = left_out.iter().map(|(name, reason)| format!("{name} {reason}")).collect();
        assert_eq!(
            left_out,
            [
                "stale reads fct, which is built from raw.yellow_trips",
                "missing reads other, which is not there yet",
                "single does not read raw.yellow_trips itself",
            ]
        );
    }

    #[test]
    fn a_test_names_its_models() {
        let manifest = manifest();
        let of = |id: &str| manifest.subjects(manifest.node(id).unwrap());
        assert_eq!(of("test.p.t").as_deref(), Some("stg"));
        assert_eq!(of("test.p.single").as_deref(), Some("stg, fct"));
    }
}
