//! A catalog that speaks HTTP: what each kind of answer does to a load.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use lakehost_pipeline::Secret;
use lakehost_pipeline::ports::{Committed, Lake};

use super::support::{Job, RestWorld, Trouble, rows, table};
use crate::{CatalogOptions, IcebergLake, LakeOptions, LookUp, RefKind, RestAuth, RestOptions};

fn open(world: &RestWorld, change: impl FnOnce(&mut RestOptions)) -> crate::Result<IcebergLake> {
    let mut options = RestOptions::new(world.server().url().parse().unwrap());
    change(&mut options);
    IcebergLake::open(LakeOptions { catalog: CatalogOptions::Rest(Box::new(options)), ..world.options() })
}

fn credential(text: &str) -> RestAuth {
    RestAuth::Credential { credential: Secret::new(text), server: None, scope: None }
}

const REFUSAL: &str = r#"{"error": {"message": "no, never", "type": "BadRequestException", "code": 400}}"#;

#[test]
fn a_catalog_with_branches_of_its_own_is_sent_none_of_a_table() {
    let world = RestWorld::new();
    let lake = open(&world, |options| options.nessie = true).unwrap();
    Job::month("2024-01", 0..10).land(&lake);
    let before = world.server().commits();
    let refused = lake.set_ref(&table(), "x", RefKind::Tag, None, None).unwrap_err();
    assert_eq!(
        (lakehost_pipeline::Diagnostic::code(&refused).0, world.server().commits()),
        ("LH0607", before),
        "{refused:?}"
    );
    // And one that has none is not asked for any.
    let refused = open(&world, |options| options.branch = Some("x".to_owned())).unwrap_err();
    assert_eq!(lakehost_pipeline::Diagnostic::code(&refused).0, "LH0607", "{refused:?}");
}

#[test]
fn every_answer_ends_in_one_snapshot_or_in_none() {
    use Trouble::*;
    // The trouble of the first request, then either how many requests it takes or the code of the failure.
    let cases: Vec<(Trouble, Result<u32, &str>)> = vec![
        (Refuse(500, "<html>"), Ok(2)),
        (Refuse(502, "<html>bad gateway</html>"), Ok(2)),
        (Refuse(503, ""), Ok(2)),
        (Refuse(504, "<html>"), Ok(2)),
        (Refuse(302, ""), Ok(2)),
        (Refuse(200, "<html>please wait</html>"), Ok(2)),
        (ApplyThen(500, "<html>"), Ok(1)),
        (ApplyThen(503, ""), Ok(1)),
        (ApplyThen(200, "<html>please wait</html>"), Ok(1)),
        (DropAnswer, Ok(1)),
        (DropRequest, Ok(2)),
        (CutAnswer(40), Ok(1)),
        (Refuse(409, ""), Ok(2)),
        (Refuse(400, REFUSAL), Err("LH0607")),
        (Refuse(406, REFUSAL), Err("LH0607")),
        (Refuse(403, "<html>"), Err("LH0606")),
        (Refuse(401, ""), Err("LH0606")),
        (Busy(503, 0), Ok(2)),
    ];
    for existing in [false, true] {
        for (trouble, wanted) in &cases {
            let world = RestWorld::new();
            let lake = world.lake();
            if existing {
                Job::month("2023-12", 100..110).land(&lake);
            }
            let before = (world.files(), world.server().commits());
            world.server().trouble([trouble.clone()]);
            let job = Job::month("2024-01", 0..10);
            let ended = job.run(&lake);
            let context = format!("{trouble:?}, existing {existing}: {ended:?}");
            match wanted {
                Ok(requests) => {
                    assert!(
                        matches!(ended, Ok(Committed::Landed { attempts, .. }) if attempts == *requests),
                        "{context}"
                    );
                    assert_eq!(world.server().commits() - before.1, *requests as usize, "{context}");
                    assert_eq!(lake.state(&table()).unwrap().metadata.snapshots().len(), 1 + usize::from(existing));
                    assert_eq!(rows(&world, &lake)["2024-01"], 10, "{context}");
                    world.check_no_orphans(&lake);
                }
                Err(code) => {
                    assert_eq!(ended.as_ref().unwrap_err().code().0, *code, "{context}");
                    assert_eq!(world.files(), before.0, "{context}");
                    assert_eq!(Lake::table(&lake, &table()).unwrap().is_some(), existing);
                }
            }
        }
    }
}

#[test]
fn a_catalog_that_asks_to_slow_down_is_given_the_time() {
    for existing in [false, true] {
        let world = RestWorld::new();
        let lake = world.lake();
        if existing {
            Job::month("2023-12", 100..110).land(&lake);
        }
        // 429 says that nothing was done: the same request again, after the time that was asked for.
        let before = (world.files(), world.server().commits());
        world.server().trouble([Trouble::Busy(429, 1), Trouble::Refuse(429, "")]);
        let began = std::time::Instant::now();
        let ended = Job::month("2024-01", 0..10).run(&lake).unwrap();
        assert!(matches!(ended, Committed::Landed { attempts: 1, .. }), "{ended:?}");
        assert!(began.elapsed() >= Duration::from_secs(1));
        assert_eq!(world.server().commits() - before.1, 3);
        // 503 does not: a look, then again.
        world.server().trouble([Trouble::Busy(503, 1)]);
        let began = std::time::Instant::now();
        let ended = Job::month("2024-02", 10..20).run(&lake).unwrap();
        assert!(matches!(ended, Committed::Landed { attempts: 2, .. }), "{ended:?}");
        assert!(began.elapsed() >= Duration::from_secs(1));
        // One that asks for longer than anybody waits for.
        let before = world.files();
        world.server().trouble([Trouble::Busy(429, 3_600)]);
        let fault = Job::month("2024-03", 0..10).run(&lake).unwrap_err();
        assert_eq!(fault.code().0, "LH0601");
        assert!(fault.cause().unwrap().contains("left alone for 3600 s"), "{:?}", fault.cause());
        assert_eq!(world.files(), before);
        world.server().trouble(vec![Trouble::Refuse(429, ""); 4]);
        assert_eq!(Job::month("2024-03", 0..10).run(&lake).unwrap_err().code().0, "LH0601");
        assert_eq!(world.files(), before);
        assert_eq!(rows(&world, &lake).len(), 2 + usize::from(existing));
        world.check_no_orphans(&lake);
    }
}

#[test]
fn a_new_table_comes_with_the_ids_that_nessie_wants() {
    let world = RestWorld::new();
    let lake = world.lake();
    Job::month("2024-01", 5..6).partition("id", lakehost_columnar::Transform::Identity).land(&lake);
    let requests = world.server().requests();
    let staged = requests.iter().find(|request| request.path.ends_with("/tables") && request.method == "POST").unwrap();
    let body: serde_json::Value = serde_json::from_slice(&staged.body).unwrap();
    let fields = body["partition-spec"]["fields"].as_array().unwrap();
    let ids: Vec<i64> = fields.iter().filter_map(|field| field["field-id"].as_i64()).collect();
    assert_eq!(ids, [1000, 1001], "{body}");
    // Nessie refuses a spec whose fields have none; the sources are columns of the same request.
    let columns: Vec<i64> =
        body["schema"]["fields"].as_array().unwrap().iter().filter_map(|field| field["id"].as_i64()).collect();
    let born =
        requests.iter().find(|request| request.path.ends_with("/tables/trips") && request.method == "POST").unwrap();
    let born: serde_json::Value = serde_json::from_slice(&born.body).unwrap();
    let added = born["updates"].as_array().unwrap().iter().find(|update| update["action"] == "add-schema").unwrap();
    assert_eq!(added["last-column-id"].as_i64(), columns.iter().max().copied(), "{added}");
    assert!(fields.iter().all(|field| columns.contains(&field["source-id"].as_i64().unwrap())), "{body}");
}

#[test]
fn a_request_that_arrives_after_its_client_gave_up_lands_at_most_once() {
    for existing in [false, true] {
        let world = RestWorld::new();
        let lake = open(&world, |options| options.timeout = Duration::from_millis(400)).unwrap();
        if existing {
            Job::month("2023-12", 100..110).land(&lake);
        }
        world.server().trouble([Trouble::Hold(Duration::from_millis(900))]);
        let ended = Job::month("2024-01", 0..10).run(&lake).unwrap();
        assert!(matches!(ended, Committed::Landed { attempts: 2, .. }), "{ended:?}");
        std::thread::sleep(Duration::from_millis(1_000));
        assert_eq!(lake.state(&table()).unwrap().metadata.snapshots().len(), 1 + usize::from(existing));
        assert_eq!(rows(&world, &lake)["2024-01"], 10);
        world.check_no_orphans(&lake);
    }
}

#[test]
fn a_token_that_runs_out_during_a_commit_is_renewed_and_the_request_sent_again() {
    let world = RestWorld::new();
    world.server().guard();
    let lake = open(&world, |options| options.auth = credential("id:secret")).unwrap();
    Job::month("2023-12", 100..110).land(&lake);
    let before = world.server().commits();
    world.server().trouble([Trouble::ExpireToken]);
    let ended = Job::month("2024-01", 0..10).run(&lake).unwrap();
    assert!(matches!(ended, Committed::Landed { attempts: 1, .. }), "{ended:?}");
    let requests = world.server().requests();
    let posts: Vec<_> =
        requests.iter().filter(|request| request.path.ends_with("/tables/trips") && request.method == "POST").collect();
    assert_eq!(posts.len(), before + 2);
    let last = &posts[posts.len() - 2..];
    assert_eq!(last[0].body, last[1].body);
    assert_eq!(last[0].header("idempotency-key"), last[1].header("idempotency-key"));
    assert_ne!(last[0].header("authorization"), last[1].header("authorization"));
    world.check_no_orphans(&lake);

    for wrong in
        [credential("id:hunter2"), RestAuth::Token { token: Secret::new("hunter2"), again: None }, RestAuth::None]
    {
        let error = open(&world, |options| options.auth = wrong).unwrap_err();
        assert_eq!(lakehost_pipeline::Diagnostic::code(&error).0, "LH0606", "{error:?}");
        let shown = format!("{error} {error:?} {:?}", lakehost_pipeline::Diagnostic::cause(&error));
        assert!(!shown.contains("hunter2"), "{shown}");
    }
}

#[test]
fn a_token_that_somebody_else_renews_is_looked_up_again_when_it_is_refused() {
    let world = RestWorld::new();
    world.server().guard();
    // What lies in the file: first an old token, then the good one.
    let asked = Arc::new(AtomicU32::new(0));
    let counted = Arc::clone(&asked);
    let again = LookUp::new(move || {
        let number = counted.fetch_add(1, Ordering::SeqCst);
        Ok(Secret::new(["first", "token1"].get(number as usize).copied().unwrap_or("token1")))
    });
    let auth = RestAuth::Token { token: Secret::new("hunter2"), again: Some(again) };
    let lake = open(&world, |options| options.auth = auth).unwrap();
    Job::month("2023-12", 100..110).land(&lake);
    assert_eq!(asked.load(Ordering::SeqCst), 1, "an answer of 401 is enough");
    world.server().trouble([Trouble::ExpireToken]);
    let ended = Job::month("2024-01", 0..10).run(&lake).unwrap();
    assert!(matches!(ended, Committed::Landed { attempts: 1, .. }), "{ended:?}");
    assert_eq!(asked.load(Ordering::SeqCst), 2, "the one that was found is kept");
    // Nobody renews it: the commit is refused, and so is the look at what became of it.
    world.server().trouble([Trouble::ExpireToken]);
    let error = Job::month("2024-02", 0..10).run(&lake).unwrap_err();
    assert_eq!(error.code().0, "LH0651", "{error:?}");
    assert!(!format!("{error:?}").contains("token1"), "{error:?}");
    let lake = open(&world, |options| options.auth = credential("id:secret")).unwrap();
    assert_eq!(rows(&world, &lake).len(), 2, "two months, as before");
}

#[test]
fn the_catalog_says_where_a_new_table_lies_and_which_uuid_it_has() {
    let world = RestWorld::new();
    world.server().suffix("-0a1b");
    let lake = world.lake();
    Job::month("2024-01", 0..10).land(&lake);
    Job::month("2024-02", 10..20).land(&lake);
    let state = lake.state(&table()).unwrap();
    assert!(state.metadata.location().ends_with("/raw/trips-0a1b"), "{}", state.metadata.location());
    assert!(world.files().iter().all(|name| name.starts_with("raw/trips-0a1b/")), "{:?}", world.files());
    assert_eq!(rows(&world, &lake).len(), 2);
    world.check_no_orphans(&lake);
}

#[test]
fn a_catalog_that_keeps_its_metadata_files_to_itself_works_too() {
    let world = RestWorld::new();
    world.server().secretive();
    let (one, two) = (world.lake(), world.lake());
    Job::month("2024-01", 0..10).land(&one);
    let slow = Job::month("2024-02", 10..20);
    let load = slow.begin(&one).unwrap();
    Job::month("2024-03", 20..30).land(&two);
    world.server().trouble([Trouble::Refuse(500, ""), Trouble::DropAnswer]);
    assert!(matches!(slow.finish(load).unwrap(), Committed::Landed { .. }));
    assert_eq!(rows(&world, &one).values().sum::<usize>(), 30);
    assert_eq!(one.state(&table()).unwrap().metadata.snapshots().len(), 3);
    assert!(one.drop_table(&table()).unwrap().files_deleted);
    assert!(Lake::table(&one, &table()).unwrap().is_none());
}

#[test]
fn lists_come_page_by_page() {
    let world = RestWorld::new();
    let lake = world.lake();
    assert!(lake.list(None).unwrap().is_empty());
    for name in ["e", "a", "d", "b", "c"] {
        let mut job = Job::month("2024-01", 0..1);
        job.target.table.name = name.into();
        job.land(&lake);
    }
    let names: Vec<String> = lake.table_names(Some("raw")).unwrap().iter().map(ToString::to_string).collect();
    assert_eq!(names, ["raw.a", "raw.b", "raw.c", "raw.d", "raw.e"]);
    assert_eq!(lake.namespaces().unwrap(), ["raw"]);
    assert!(lake.table_names(Some("nope")).unwrap().is_empty());
}

#[test]
fn a_url_that_is_no_catalog_is_told_from_one_without_tables() {
    let world = RestWorld::new();
    let error =
        open(&world, |options| options.uri = format!("{}/else", world.server().url()).parse().unwrap()).unwrap_err();
    assert_eq!(lakehost_pipeline::Diagnostic::code(&error).0, "LH0601", "{error:?}");
    for uri in ["ftp://h/x", "http://user:hunter2@h/x"] {
        let error = open(&world, |options| options.uri = uri.parse().unwrap()).unwrap_err();
        assert_eq!(lakehost_pipeline::Diagnostic::code(&error).0, "LH0102");
        assert!(!format!("{error:?}").contains("hunter2"));
    }
    // The version at the end of a URL is no part of it.
    let lake = open(&world, |options| options.uri = format!("{}/v1/", world.server().url()).parse().unwrap()).unwrap();
    assert!(lake.list(None).unwrap().is_empty());
}

/// A server of others: the Apache project's own, on MinIO. `LAKEHOST_REST_URL` names it, `LAKEHOST_REST_S3` its object store as
/// `http://key:secret@host:port/bucket`.
#[test]
fn the_servers_of_others_take_our_commits() {
    let (Ok(uri), Ok(s3)) = (std::env::var("LAKEHOST_REST_URL"), std::env::var("LAKEHOST_REST_S3")) else {
        eprintln!("skipped: a REST catalog of others (LAKEHOST_REST_URL and LAKEHOST_REST_S3 are not set)");
        return;
    };
    let s3: url::Url = s3.parse().unwrap();
    let options = crate::S3Options {
        endpoint: Some(format!("http://{}:{}", s3.host_str().unwrap(), s3.port().unwrap())),
        region: Some("us-east-1".to_owned()),
        path_style: true,
        access_key: Some(Secret::new(s3.username())),
        secret_key: Some(Secret::new(s3.password().unwrap())),
        allow_http: true,
        ..crate::S3Options::default()
    };
    let world = super::support::World::new();
    let open = || {
        let catalog = CatalogOptions::from_uri(&uri, "lakehost").unwrap();
        let warehouse = format!("s3:/{}/warehouse", s3.path()).into();
        IcebergLake::open(LakeOptions { catalog, warehouse, s3: options.clone(), ..world.options() }).unwrap()
    };
    let (one, two) = (open(), open());
    if Lake::table(&one, &table()).unwrap().is_some() {
        one.drop_table(&table()).unwrap();
    }
    Job::month("2024-01", 0..10).land(&one);
    Job::month("2024-02", 10..20).land(&two);
    Job::month("2024-01", 0..7).land(&one);
    let slow = Job::month("2024-03", 30..40);
    let load = slow.begin(&one).unwrap();
    Job::month("2024-04", 40..50).land(&two);
    assert!(matches!(slow.finish(load).unwrap(), Committed::Landed { .. }));
    let (slow, fast) = (Job::month("2024-05", 0..1), Job::month("2024-05", 0..2));
    let load = slow.begin(&one).unwrap();
    fast.land(&two);
    assert_eq!(slow.finish(load).unwrap_err().code().0, "LH0602");
    let found: Vec<usize> = rows(&world, &two).into_values().collect();
    assert_eq!(found, [7, 10, 10, 10, 2]);
    let state = one.state(&table()).unwrap();
    // Nessie shows the present snapshot alone.
    let keeps_history = one.core.catalog.can().history;
    assert_eq!(state.metadata.snapshots().len(), if keeps_history { 6 } else { 1 });
    assert!(one.table_names(None).unwrap().contains(&table()));
    let dropped = one.drop_table(&table()).unwrap();
    assert_eq!(dropped.files_deleted, one.core.warehouse.owns(&dropped.location), "{dropped:?}");
}
