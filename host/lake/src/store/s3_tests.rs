//! Against a real server, started here.

use std::io::Write;

use super::*;
use crate::store::s3_sink::PART_BYTES;
use crate::tests::minio;

/// A store on a bucket of its own, and the root of a folder in it.
fn store() -> (S3Store, String) {
    let (options, root) = minio::bucket();
    (S3Store::new(options).unwrap(), root)
}

#[test]
fn put_get_list_walk_delete() {
    let (store, root) = store();
    let location = format!("{root}/a/b/c.txt");
    assert!(store.list(&format!("{root}/a/b")).unwrap().is_empty());
    store.put(&location, b"one").unwrap();
    store.put(&location, b"two").unwrap();
    store.note(&format!("{root}/a/b/d.txt"), b"four").unwrap();
    store.put(&format!("{root}/a/e.txt"), b"").unwrap();
    assert_eq!(store.get(&location).unwrap(), b"two");
    let listed = store.list(&format!("{root}/a/b")).unwrap();
    let names: Vec<(&str, u64)> = listed.iter().map(|file| (file.name.as_str(), file.size_bytes)).collect();
    assert_eq!(names, [("c.txt", 3), ("d.txt", 4)]);
    assert_eq!(listed[0].location, location);
    assert!(listed[0].modified_ms > 1_700_000_000_000);
    let walked = |until: usize| {
        let mut found = Vec::new();
        let mut visit = |file: StoredFile| {
            found.push(file.name);
            if found.len() == until { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        };
        store.walk(&root, &mut visit).unwrap();
        found.sort();
        found
    };
    assert_eq!(walked(0), ["c.txt", "d.txt", "e.txt"]);
    assert_eq!(walked(1).len(), 1);
    assert_eq!(&store.read_range(&location, 1..3).unwrap()[..], b"wo");
    assert_eq!(store.read_range(&location, 1..9).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(store.size(&location).unwrap(), Some(3));
    store.delete(&location).unwrap();
    store.delete(&location).unwrap();
    assert_eq!(store.size(&location).unwrap(), None);
    assert_eq!(store.get(&location).unwrap_err().kind(), io::ErrorKind::NotFound);
    let many: Vec<String> = (0..1_500).map(|number| format!("{root}/many/{number}")).collect();
    many.iter().step_by(3).for_each(|location| store.put(location, b"x").unwrap());
    assert!(store.delete_many(&many).is_empty());
    assert!(store.list(&format!("{root}/many")).unwrap().is_empty());
    store.delete_folder(&format!("{root}/a")).unwrap();
    assert!(walked(0).is_empty());
}

#[test]
fn large_files_go_in_parts_and_abandoned_ones_leave_nothing() {
    let (store, root) = store();
    let whole: Vec<u8> = (0..5 * PART_BYTES + 12_345).map(|value| (value % 251) as u8).collect();
    for length in [0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, whole.len()] {
        let location = format!("{root}/data/{length}.parquet");
        let mut sink = store.create(&location).unwrap();
        whole[..length].chunks(777_777).for_each(|chunk| sink.write_all(chunk).unwrap());
        sink.finish().unwrap();
        assert_eq!(store.size(&location).unwrap(), Some(length as u64));
        assert!(store.get(&location).unwrap() == whole[..length], "{length}");
    }
    assert!(store.uploads(&root).unwrap().is_empty());

    let location = format!("{root}/data/left.parquet");
    let mut sink = store.create(&location).unwrap();
    sink.write_all(&whole[..3 * PART_BYTES]).unwrap();
    drop(sink);
    assert_eq!(store.size(&location).unwrap(), None);
    assert!(exact(&store, &location).is_empty(), "dropped, and given up");

    // A process that was killed.
    let mut sink = store.create(&location).unwrap();
    sink.write_all(&whole[..3 * PART_BYTES]).unwrap();
    std::mem::forget(sink);
    std::thread::sleep(std::time::Duration::from_millis(500));
    let asked = exact(&store, &location);
    // MinIO lists uploads by the whole key alone, others by any prefix.
    let pending = store.uploads(&format!("{root}/data")).unwrap();
    assert!(pending.is_empty() || pending == asked, "{pending:?}");
    assert_eq!(asked.len(), 1, "{asked:?}");
    assert_eq!(asked[0].location, location);
    assert!(asked[0].started_ms > 1_700_000_000_000, "{asked:?}");
    store.abort_upload(&asked[0]).unwrap();
    store.abort_upload(&asked[0]).unwrap();
    assert!(exact(&store, &location).is_empty());
}

fn exact(store: &S3Store, location: &str) -> Vec<PendingUpload> {
    let (bucket, key) = store.bucket(location).unwrap();
    store.wait(async move { s3_uploads::of(&bucket, key.as_ref()).await }).unwrap()
}

#[test]
fn methods_work_inside_a_runtime_too() {
    let (store, root) = store();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let location = format!("{root}/x");
        store.put(&location, b"x").unwrap();
        assert_eq!(store.get(&location).unwrap(), b"x");
        let io = store.file_io();
        assert_eq!(&io.new_input(&location).unwrap().read().await.unwrap()[..], b"x");
        io.new_output(format!("{root}/y")).unwrap().write(Bytes::from_static(b"yy")).await.unwrap();
        assert_eq!(io.new_input(format!("{root}/y")).unwrap().metadata().await.unwrap().size, 2);
        assert!(!io.exists(format!("{root}/z")).await.unwrap());
        // The store may be dropped here.
        drop(store);
    });
}

#[test]
fn refused_keys_are_named_as_such_and_never_shown() {
    let (options, root) = minio::bucket();
    let wrong = S3Options { secret_key: Some(Secret::new("hunter2")), ..options.clone() };
    let store = S3Store::new(wrong).unwrap();
    let error = store.put(&format!("{root}/x"), b"x").unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error:?}");
    assert!(error.to_string().contains("SignatureDoesNotMatch"), "{error}");
    assert!(!format!("{error:?} {store:?}").contains("hunter2"));
    let error = crate::Error::store("write", "s3://b/x/y")(error);
    assert_eq!(lakehost_pipeline::Diagnostic::code(&error).0, "LH0503");

    // Keys that a catalog hands out for one table are used for that table alone.
    let mut config = BTreeMap::new();
    config.insert("s3.access-key-id".to_owned(), options.access_key.as_ref().unwrap().expose().to_owned());
    config.insert("s3.secret-access-key".to_owned(), options.secret_key.as_ref().unwrap().expose().to_owned());
    store.learn(&format!("{root}/raw/t"), &config);
    store.put(&format!("{root}/raw/t/x"), b"x").unwrap();
    assert!(store.put(&format!("{root}/raw/t2/x"), b"x").is_err());
    config.insert("s3.secret-access-key".to_owned(), "ran out".to_owned());
    store.learn(&format!("{root}/raw/t"), &config);
    assert!(store.put(&format!("{root}/raw/t/x"), b"x").is_err());
}
