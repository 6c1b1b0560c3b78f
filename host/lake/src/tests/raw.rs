//! Source files on a folder and in a bucket: stored once, told apart, whole.

use bytes::Bytes;
use lakehost_columnar::{ByteSource, MemoryBytes};
use lakehost_pipeline::sha256_hex;

use super::*;
use crate::store::{LocalStore, PART_BYTES, S3Store};
use crate::tests::minio;

fn object(name: &str, bytes: &[u8]) -> SourceObject {
    SourceObject {
        split: "s".to_owned(),
        identity: None,
        url: format!("https://h.example.com/trip-data/{name}"),
        etag: None,
        length: bytes.len() as u64,
        sha256: sha256_hex(bytes),
        raw: None,
    }
}

fn put(store: &dyn Store, folder: &str, name: &str, bytes: &[u8]) -> Result<String> {
    let source = MemoryBytes::new(name, Bytes::copy_from_slice(bytes));
    keep(store, folder, &object(name, bytes), &source)
}

/// The same for every store.
fn check(store: &dyn Store, root: &str) {
    let table = TableName::parse("raw.green_trips").unwrap();
    let folder = folder(root, &table, Some("2024-01"));
    assert_eq!(folder, format!("{root}/raw_data/raw.green_trips/2024-01"));
    let names = || {
        let mut names: Vec<String> = store.list(&folder).unwrap().into_iter().map(|file| file.name).collect();
        names.sort();
        names
    };
    // More than a part of an upload, and than a block.
    let first: Vec<u8> = (0..PART_BYTES * 2 + 4_711).map(|n| (n % 251) as u8).collect();
    let location = put(store, &folder, "a.parquet", &first).unwrap();
    assert_eq!(location, format!("{folder}/a.parquet"));
    assert_eq!(store.get(&location).unwrap(), first);
    let seal = store.get(&format!("{location}.sha256")).unwrap();
    assert_eq!(String::from_utf8(seal).unwrap(), format!("{}  a.parquet\n", sha256_hex(&first)));

    let modified = || store.list(&folder).unwrap().iter().map(|file| file.modified_ms).collect::<Vec<_>>();
    let before = modified();
    assert_eq!(put(store, &folder, "a.parquet", &first).unwrap(), location, "the same bytes are there already");
    assert_eq!((modified(), names().len()), (before, 2));

    let other = put(store, &folder, "a.parquet", b"other bytes").unwrap();
    let short = &sha256_hex(b"other bytes")[..16];
    assert_eq!(other, format!("{folder}/{short}-a.parquet"));
    assert_eq!(put(store, &folder, "a.parquet", b"other bytes").unwrap(), other);
    assert_eq!(store.get(&location).unwrap(), first, "the first is as it was");
    assert_eq!(names().len(), 4);

    // The hash comes last: a file without it is looked at.
    store.delete(&format!("{location}.sha256")).unwrap();
    assert_eq!(put(store, &folder, "a.parquet", &first).unwrap(), location);
    assert_eq!(names().len(), 4);
    // Half a file that a killed run left is no reason to overwrite anything, unless its name says what it should hold.
    store.put(&format!("{folder}/b.parquet"), b"hal").unwrap();
    let beside = put(store, &folder, "b.parquet", b"half a file").unwrap();
    assert!(beside.ends_with("-b.parquet") && store.get(&format!("{folder}/b.parquet")).unwrap() == b"hal");
    store.delete(&format!("{beside}.sha256")).unwrap();
    store.put(&beside, b"hal").unwrap();
    assert_eq!(put(store, &folder, "b.parquet", b"half a file").unwrap(), beside);
    assert_eq!(store.get(&beside).unwrap(), b"half a file");

    assert_eq!(store.size(&put(store, &folder, "empty", b"").unwrap()).unwrap(), Some(0));
}

#[test]
fn a_folder_keeps_source_files() {
    let folder = tempfile::tempdir().unwrap();
    check(&LocalStore::new(true), &folder.path().display().to_string());
}

mod on_s3 {
    use super::*;

    #[test]
    fn a_bucket_keeps_source_files() {
        let (options, root) = minio::bucket();
        check(&S3Store::new(options).unwrap(), &root);
    }
}

/// Says less than it has, or other than it said.
struct Changed;

impl ByteSource for Changed {
    fn name(&self) -> &str {
        "changed"
    }
    fn len(&self) -> u64 {
        3
    }
    fn read_at(&self, _offset: u64, _len: usize) -> io::Result<Bytes> {
        Ok(Bytes::from_static(b"xyz"))
    }
}

#[test]
fn other_bytes_than_were_loaded_are_not_kept() {
    let folder = tempfile::tempdir().unwrap();
    let (store, root) = (LocalStore::new(false), folder.path().display().to_string());
    let error = keep(&store, &root, &object("a", b"abc"), &Changed).unwrap_err();
    let Error::Store { source, .. } = &error else { panic!("{error}") };
    assert!(source.to_string().contains("was loaded"), "{source}");
    assert_eq!(store.list(&root).unwrap(), []);
}

#[test]
fn names_lead_nowhere_else() {
    for (url, expected) in [
        ("https://h/trip-data/green_tripdata_2024-01.parquet", "green_tripdata_2024-01.parquet"),
        ("file:///data/a b.csv", "a_b.csv"),
        ("https://h/..", "file"),
        ("https://h/.hidden", "hidden"),
        ("https://h/%2e%2e%2fetc", "_2e_2e_2fetc"),
        ("https://h/x.sha256", "x_sha256"),
        ("https://h/a\u{7}\\b", "a__b"),
        ("", "file"),
    ] {
        assert_eq!(file_name(url), expected, "{url:?}");
    }
    assert_eq!(file_name(&format!("https://h/{}.parquet", "x".repeat(500))).len(), NAME_BYTES);
}
