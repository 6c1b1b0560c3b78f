//! A database that refuses, goes away or was made by others.

use std::time::Duration;

use lakehost_pipeline::Secret;
use lakehost_pipeline::ports::{Committed, Lake};
use sqlx::{Connection, Executor, PgConnection};

use super::support::{Job, Place, PostgresWorld, rows, table};
use crate::resolve::Resolution;
use crate::{CatalogOptions, IcebergLake, LakeOptions, PostgresOptions};

/// A world and its database, where there is one.
fn world() -> Option<(PostgresWorld, PostgresOptions)> {
    let world = PostgresWorld::new();
    let options = match &world.place {
        Place::Postgres(options) => options.clone(),
        _ => return None,
    };
    // The SQL tables are made with the first change.
    let lake = world.lake();
    world.runtime.block_on(lake.core.catalog.create_namespace("raw")).unwrap();
    Some((world, options))
}

fn execute(world: &PostgresWorld, options: &PostgresOptions, statement: &str) {
    world.runtime.block_on(async {
        let mut connection = PgConnection::connect(options.url.expose()).await.unwrap();
        connection.execute(statement).await.unwrap();
    });
}

/// From now on a change of this catalog's tables runs `body`: at once, or with `COMMIT`.
fn trigger(world: &PostgresWorld, options: &PostgresOptions, deferred: bool, body: &str) {
    let name = &options.name;
    let when = if deferred { "DEFERRED" } else { "IMMEDIATE" };
    let statement = format!(
        "CREATE SEQUENCE {name}_seen;
         CREATE FUNCTION {name}_f() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN {body} RETURN NULL; END $$;
         CREATE CONSTRAINT TRIGGER {name}_t AFTER INSERT OR UPDATE ON iceberg_tables DEFERRABLE INITIALLY {when}
           FOR EACH ROW WHEN (NEW.catalog_name = '{name}') EXECUTE FUNCTION {name}_f();"
    );
    execute(world, options, &statement);
}

fn untrigger(world: &PostgresWorld, options: &PostgresOptions) {
    execute(world, options, &format!("DROP TRIGGER {}_t ON iceberg_tables", options.name));
}

#[test]
fn a_commit_that_the_database_refuses_leaves_nothing() {
    for existing in [false, true] {
        let Some((world, options)) = world() else { return };
        let lake = world.lake();
        if existing {
            Job::month("2023-12", 100..110).land(&lake);
        }
        let before = world.files();
        trigger(&world, &options, true, "RAISE EXCEPTION 'not on a Sunday' USING ERRCODE = 'check_violation';");
        let fault = Job::month("2024-01", 0..10).run(&lake).unwrap_err();
        assert_eq!(fault.code().0, "LH0601", "{fault}");
        assert!(fault.cause().unwrap().contains("not on a Sunday"), "{fault}");
        assert_eq!(world.files(), before);
        untrigger(&world, &options);
        let job = Job::month("2024-01", 0..10);
        assert!(matches!(job.run(&lake).unwrap(), Committed::Landed { attempts: 1, .. }));
        assert_eq!(rows(&world, &lake)["2024-01"], 10);
        world.check_no_orphans(&lake);
    }
}

#[test]
fn a_connection_that_dies_before_commit_is_a_certain_failure_and_one_that_dies_in_it_is_looked_after() {
    for (deferred, lands) in [(false, false), (true, true)] {
        let Some((world, options)) = world() else { return };
        let lake = world.lake();
        Job::month("2023-12", 100..110).land(&lake);
        let before = world.files();
        // A sequence is not rolled back: only the first change ends so.
        let name = &options.name;
        let kill =
            format!("IF nextval('{name}_seen') = 1 THEN PERFORM pg_terminate_backend(pg_backend_pid()); END IF;");
        trigger(&world, &options, deferred, &kill);
        let job = Job::month("2024-01", 0..10);
        let ended = job.run(&lake);
        if lands {
            assert!(matches!(ended, Ok(Committed::Landed { attempts: 2, .. })), "{ended:?}");
        } else {
            assert_eq!(ended.unwrap_err().code().0, "LH0601");
            assert_eq!(world.files(), before);
            Job { run_id: "again".into(), ..job }.land(&lake);
        }
        assert_eq!(rows(&world, &lake)["2024-01"], 10);
    }
}

#[test]
fn a_role_that_is_not_let_in_is_told_so_without_its_password() {
    let Some((world, options)) = world() else { return };
    let url = options.url.expose().replace("lakehost@", "stranger:hunter2@");
    let options = PostgresOptions { url: Secret::new(url), ..options };
    let options = LakeOptions { catalog: CatalogOptions::Postgres(options), ..world.options() };
    let error = IcebergLake::open(options).unwrap_err();
    assert_eq!(lakehost_pipeline::Diagnostic::code(&error).0, "LH0606", "{error:?}");
    assert!(!format!("{error} {error:?}").contains("hunter2"));
    // A server that is not there.
    let nobody = PostgresOptions {
        password: Some(Secret::new("hunter2")),
        ..PostgresOptions::new(Secret::new("postgresql://lake@127.0.0.1:1/db"))
    };
    let options = LakeOptions { catalog: CatalogOptions::Postgres(nobody), ..world.options() };
    let error = IcebergLake::open(options).unwrap_err();
    assert_eq!(lakehost_pipeline::Diagnostic::code(&error).0, "LH0601");
    assert_eq!(error.to_string(), "cannot open the catalog postgresql://lake@127.0.0.1:1/db");
}

#[test]
fn looking_at_an_empty_database_changes_nothing() {
    let Some((world, options)) = world() else { return };
    let name = format!("empty_{}", options.name);
    execute(&world, &options, &format!("CREATE DATABASE {name}"));
    let url = options.url.expose().replace("/postgres", &format!("/{name}"));
    let options = PostgresOptions { url: Secret::new(url), ..options };
    let lake =
        || IcebergLake::open(LakeOptions { catalog: CatalogOptions::Postgres(options.clone()), ..world.options() });
    let empty = lake().unwrap();
    assert!(empty.list(None).unwrap().is_empty() && empty.namespaces().unwrap().is_empty());
    assert!(Lake::table(&empty, &table()).unwrap().is_none());
    assert!(empty.resolve(None).unwrap().is_empty());
    // The statement fails where the SQL tables are there.
    execute(&world, &options, "CREATE TABLE iceberg_tables (x int); DROP TABLE iceberg_tables");
    Job::month("2024-01", 0..10).land(&empty);
    assert_eq!(lake().unwrap().list(None).unwrap().len(), 1);
}

#[test]
fn tables_of_other_writers_are_understood() {
    let Some((world, options)) = world() else { return };
    let name = format!("old_{}", options.name);
    execute(&world, &options, &format!("CREATE DATABASE {name}"));
    let url = options.url.expose().replace("/postgres", &format!("/{name}"));
    let options = PostgresOptions { url: Secret::new(url), ..options };
    // The two tables as PyIceberg made them before views came.
    let old = "CREATE TABLE iceberg_tables (catalog_name VARCHAR(255) NOT NULL, table_namespace VARCHAR(255) NOT NULL,
                 table_name VARCHAR(255) NOT NULL, metadata_location VARCHAR(1000), previous_metadata_location VARCHAR(1000),
                 PRIMARY KEY (catalog_name, table_namespace, table_name));
               CREATE TABLE iceberg_namespace_properties (catalog_name VARCHAR(255) NOT NULL, namespace VARCHAR(255) NOT NULL,
                 property_key VARCHAR(255) NOT NULL, property_value VARCHAR(1000) NOT NULL,
                 PRIMARY KEY (catalog_name, namespace, property_key));";
    execute(&world, &options, old);
    let nested =
        format!("INSERT INTO iceberg_tables VALUES ('{}', 'a.b', 'deep', '/nowhere/deep.json', NULL)", options.name);
    execute(&world, &options, &nested);
    let options = LakeOptions { catalog: CatalogOptions::Postgres(options), ..world.options() };
    let lake = IcebergLake::open(options).unwrap();
    Job::month("2024-01", 0..10).land(&lake);
    assert!(Lake::table(&lake, &table()).unwrap().is_some());
    let lines = lake.list(None).unwrap();
    assert_eq!(lines.len(), 2);
    assert!(lines[0].problem.as_ref().is_some_and(|problem| problem.contains("nested namespace a.b")), "{lines:?}");
    assert!(lines[1].problem.is_none());
}

#[test]
fn a_commit_that_postgres_is_still_at_is_waited_for() {
    for (existing, lands) in [(false, true), (true, true), (false, false), (true, false)] {
        let Some((world, options)) = world() else { return };
        if existing {
            Job::month("2023-12", 100..110).land(&world.lake());
        }
        let end = if lands { "" } else { "RAISE EXCEPTION 'no' USING ERRCODE = 'check_violation';" };
        trigger(&world, &options, true, &format!("PERFORM pg_sleep(2); {end}"));
        let job = Job::month("2024-01", 0..10);
        let dead = world.doomed("none", 1);
        // This thread plays a process that is no longer there; the database works on for it.
        let writer = {
            let job = job.clone();
            std::thread::spawn(move || job.run(&dead).map_err(|fault| fault.code()))
        };
        std::thread::sleep(Duration::from_millis(1_000));
        let lake = world.lake();
        let resolved = lake.resolve(Some(&job.run_id)).unwrap();
        let ended = writer.join().unwrap();
        untrigger(&world, &options);
        assert_eq!(ended.is_ok(), lands, "{ended:?}");
        let landed = |found: &Resolution| matches!(found, Resolution::Landed { .. });
        assert!(resolved.iter().all(|run| landed(&run.resolution) == lands), "{resolved:?}");
        assert_eq!(lake.last_load(&table(), "2024-01").unwrap().is_some(), lands);
        if lands {
            assert_eq!(rows(&world, &lake)["2024-01"], 10);
        }
        world.check_no_orphans(&lake);
    }
}
