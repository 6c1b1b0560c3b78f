//! What a catalog does besides commits: namespaces, names and tables that are there already.

use std::collections::BTreeMap;

use lakehost_pipeline::ports::TableName;

use super::support::{Job, World, table};
use crate::{CatalogRef, Error, NamespaceEnd, Outcome, Renamed};

fn properties(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

#[test]
fn namespaces_are_described_changed_and_dropped() {
    let world = World::new();
    let catalog: CatalogRef = world.lake().catalog();
    if !catalog.can().upkeep {
        let refused = world.runtime.block_on(catalog.drop_namespace("gold"));
        assert!(matches!(refused, Err(Error::CatalogUnable { .. })), "{refused:?}");
        return;
    }
    world.runtime.block_on(async {
        assert_eq!(catalog.namespace("gold").await.unwrap(), None);
        catalog.change_namespace("gold", &properties(&[("a", "1"), ("b", "2")]), &[]).await.unwrap();
        catalog.change_namespace("gold", &properties(&[("a", "3")]), &["b".to_owned(), "c".to_owned()]).await.unwrap();
        let found = catalog.namespace("gold").await.unwrap().unwrap();
        assert_eq!((found.get("a").map(String::as_str), found.get("b")), (Some("3"), None));
        // A name that only begins like another is none of its own.
        catalog.create_namespace("gold.inner").await.unwrap();
        catalog.create_namespace("golden").await.unwrap();
        assert_eq!(catalog.drop_namespace("gold").await.unwrap(), NamespaceEnd::NotEmpty);
        assert_eq!(catalog.drop_namespace("gold.inner").await.unwrap(), NamespaceEnd::Dropped);
        assert_eq!(catalog.drop_namespace("gold").await.unwrap(), NamespaceEnd::Dropped);
        assert_eq!(catalog.drop_namespace("gold").await.unwrap(), NamespaceEnd::Missing);
        assert_eq!(catalog.list_namespaces().await.unwrap(), ["golden"]);
    });
    Job::month("2024-01", 0..10).land(&world.lake());
    world.runtime.block_on(async {
        assert!(catalog.namespace("raw").await.unwrap().is_some());
        assert_eq!(catalog.drop_namespace("raw").await.unwrap(), NamespaceEnd::NotEmpty);
    });
}

#[test]
fn tables_are_renamed_and_registered_as_they_were_seen() {
    let world = World::new();
    let lake = world.lake();
    let catalog = lake.catalog();
    if !catalog.can().upkeep {
        return;
    }
    Job::month("2024-01", 0..10).land(&lake);
    let stale = lake.state(&table()).unwrap();
    Job::month("2024-02", 10..20).land(&lake);
    let state = lake.state(&table()).unwrap();
    let other = TableName::parse("raw.other").unwrap();
    let third = TableName::parse("gold.third").unwrap();
    world.runtime.block_on(async {
        assert_eq!(catalog.rename_table(&stale, &other).await.unwrap(), Renamed::Changed);
        assert!(matches!(catalog.register_table(&other, &state.metadata_location).await.unwrap(), Outcome::Landed));
        let taken = catalog.register_table(&other, &state.metadata_location).await.unwrap();
        assert!(matches!(taken, Outcome::Conflict), "{taken:?}");
        assert_eq!(catalog.rename_table(&state, &other).await.unwrap(), Renamed::Taken);
        assert_eq!(catalog.rename_table(&state, &third).await.unwrap(), Renamed::Done);
        assert!(catalog.load(&table()).await.unwrap().is_none());
        let renamed = catalog.load(&third).await.unwrap().unwrap();
        assert_eq!(
            (renamed.metadata_location, renamed.metadata),
            (state.metadata_location.clone(), state.metadata.clone())
        );
    });
    // The two share their files: dropping one leaves them to the other.
    assert!(!lake.drop_table(&other).unwrap().files_deleted);
    assert_eq!(lake.list(None).unwrap().len(), 1);
}
