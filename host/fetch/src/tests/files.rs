//! Local files under a grant.

use std::os::unix::fs::symlink;
use std::path::Path;

use super::*;

fn url_of(path: &Path) -> String {
    format!("file://{}", path.display())
}

fn fetch(world: &World, fetcher: &Fetcher, path: &Path) -> Result<Arc<Spool>, Error> {
    world.runtime.block_on(fetcher.fetch(Request::get(url_of(path))))
}

#[test]
fn a_granted_file_is_read_where_it_lies() {
    let world = World::new();
    let bytes = world.file("a.csv", 1_000_000);
    let path = world.folder.path().join("a.csv");
    let fetcher = world.fetcher_with(&[&format!("{}/", url_of(world.folder.path()))], &[]);
    let spool = fetch(&world, &fetcher, &path).unwrap();
    assert_eq!((spool.status(), spool.etag(), spool.url()), (200, None, url_of(&path).as_str()));
    assert_eq!(spool.read_at(999_990, 100).unwrap(), bytes[999_990..]);
    assert_holds(&spool, &bytes);
    assert!(!spool.prefetch_tail(100));
    let stat = world.runtime.block_on(fetcher.stat(&url_of(&path))).unwrap();
    assert_eq!((stat.size, stat.etag), (1_000_000, None));
    assert_eq!(fetcher.ledger().entries()[0].received_bytes, 1_000_000);
    let limited = Request { max_bytes: Some(10), ..Request::get(url_of(&path)) };
    assert!(matches!(world.runtime.block_on(fetcher.fetch(limited)), Err(Error::TooLarge { .. })));
}

#[test]
fn links_do_not_lead_out() {
    let world = World::new();
    let folder = world.folder.path();
    let outside = tempfile::tempdir().unwrap();
    std::fs::write(outside.path().join("secret"), b"secret").unwrap();
    std::fs::create_dir(folder.join("in")).unwrap();
    std::fs::write(folder.join("in/a"), b"a").unwrap();
    std::fs::write(folder.join("beside"), b"b").unwrap();
    symlink(outside.path().join("secret"), folder.join("in/link")).unwrap();
    symlink(outside.path(), folder.join("in/folder")).unwrap();
    symlink(folder.join("beside"), folder.join("in/up")).unwrap();
    symlink(folder.join("in/a"), folder.join("in/fine")).unwrap();
    symlink(folder.join("in"), folder.join("granted")).unwrap();
    let fetcher = world.fetcher_with(&[&format!("{}/in/", url_of(folder))], &[]);
    for path in ["in/link", "in/folder/secret", "in/up"] {
        assert!(matches!(fetch(&world, &fetcher, &folder.join(path)), Err(Error::Refused(_))), "{path}");
    }
    assert_holds(&fetch(&world, &fetcher, &folder.join("in/fine")).unwrap(), b"a");
    // A grant that is itself a link was the operator's to give.
    let fetcher = world.fetcher_with(&[&format!("{}/granted/", url_of(folder))], &[]);
    assert_holds(&fetch(&world, &fetcher, &folder.join("granted/a")).unwrap(), b"a");
}

#[test]
fn only_regular_files_are_files() {
    let world = World::new();
    let folder = world.folder.path();
    std::fs::create_dir(folder.join("folder")).unwrap();
    let _socket = std::os::unix::net::UnixListener::bind(folder.join("socket")).unwrap();
    let fetcher = world.fetcher_with(&[&format!("{}/", url_of(folder))], &[]);
    assert!(matches!(fetch(&world, &fetcher, &folder.join("folder")), Err(Error::BadUrl { .. })));
    assert!(fetch(&world, &fetcher, &folder.join("socket")).is_err());
    let Err(Error::Io { kind, doing, .. }) = fetch(&world, &fetcher, &folder.join("none")) else { panic!() };
    assert_eq!((kind, doing), (io::ErrorKind::NotFound, format!("open {}", url_of(&folder.join("none")))));
}

#[test]
fn a_file_that_changes_under_the_reader_is_an_error() {
    let world = World::new();
    world.file("a", 100_000);
    let path = world.folder.path().join("a");
    let fetcher = world.fetcher_with(&[&format!("{}/", url_of(world.folder.path()))], &[]);
    let spool = fetch(&world, &fetcher, &path).unwrap();
    spool.wait_complete().unwrap();
    std::fs::File::options().write(true).open(&path).unwrap().set_len(50).unwrap();
    let error = spool.read_at(99_000, 10).unwrap_err();
    assert!(matches!(Error::from_io(&error), Some(Error::Changed { .. })), "{error}");
}
