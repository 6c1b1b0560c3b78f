use super::*;

#[test]
fn catalog_uris_are_read_as_pyiceberg_reads_them() {
    for (uri, path) in [
        ("sqlite:////w/catalog.db", "/w/catalog.db"),
        ("sqlite:///w/catalog.db", "w/catalog.db"),
        ("/w/catalog.db", "/w/catalog.db"),
        ("catalog.db", "catalog.db"),
    ] {
        assert_eq!(catalog_path(uri).unwrap(), Path::new(path), "{uri}");
    }
    assert!(catalog_path("postgresql://user:secret@host/db").unwrap_err().to_string().starts_with("postgresql cannot"));
    assert!(catalog_path("sqlite:///").is_err());
}
