//! The same world on every catalog and every store.

use std::ops::Deref;
use std::path::Path;

use lakehost_server::CatalogFiles;

use super::{Place, RestServer, World, postgres};
use crate::tests::minio;
use crate::{S3Store, Store};

macro_rules! worlds {
    ($($(#[$doc:meta])* $name:ident = $new:expr;)*) => {$(
        $(#[$doc])*
        pub struct $name(World);

        impl $name {
            pub fn new() -> Self {
                Self($new)
            }
        }

        impl Deref for $name {
            type Target = World;
            fn deref(&self) -> &World {
                &self.0
            }
        }
    )*};
}

worlds! {
    /// A world whose catalog is in Postgres.
    PostgresWorld = World::with(in_postgres);
    /// A world whose catalog speaks HTTP.
    RestWorld = World::with(behind_rest);
    /// A world whose warehouse is in a bucket.
    S3World = World { bucket: Some(minio::bucket()), ..World::new() };
    /// Postgres and a bucket.
    PostgresS3World = World { bucket: Some(minio::bucket()), ..World::with(in_postgres) };
    /// A catalog that speaks HTTP, and a bucket that it writes its metadata files to.
    RestS3World = rest_on_s3();
}

fn in_postgres(_: &Path) -> Place {
    Place::Postgres(postgres::catalog())
}

fn behind_rest(folder: &Path) -> Place {
    Place::Rest(RestServer::start(&folder.join("warehouse")))
}

fn rest_on_s3() -> World {
    let (options, root) = minio::bucket();
    let store = S3Store::new(options.clone()).unwrap();
    let (puts, deletes, at) = (store.clone(), store, root.clone());
    let server = RestServer::with(CatalogFiles {
        root: Box::new(move || at.clone()),
        put: Box::new(move |location, text| puts.put(location, text).unwrap()),
        delete: Box::new(move |location| deletes.delete(location).unwrap()),
    });
    World { bucket: Some((options, root)), ..World::with(|_| Place::Rest(server)) }
}

impl RestWorld {
    pub fn server(&self) -> &RestServer {
        match &self.place {
            Place::Rest(server) => server,
            other => panic!("not a REST catalog: {other:?}"),
        }
    }
}
