//! Whole loads on a temporary warehouse.

mod admin;
mod answers;
mod commits;
mod compact;
mod crashes;
mod dangling;
mod delete;
mod evolve;
mod expire;
mod fail_points;
mod late;
mod lost;
mod many;
mod merge;
pub mod minio;
mod orphans;
mod races;
mod readback;
mod readers;
mod refs;
mod rejects;
mod replay;
mod reshape;
mod rest;
mod s3_faults;
mod scale;
mod services;
mod show;
mod source_state;
mod support;
mod upkeep;

/// The same tests on a catalog in Postgres.
#[path = "tests"]
#[allow(clippy::duplicate_mod, reason = "one suite, every catalog")]
mod on_postgres {
    mod support {
        pub use crate::tests::support::{PostgresWorld as World, *};
    }
    use crate::tests::readers;

    mod answers;
    mod commits;
    mod crashes;
    mod delete;
    mod evolve;
    mod lost;
    mod many;
    mod merge;
    mod races;
    mod readback;
    mod refs;
    mod rejects;
    mod replay;
    mod reshape;
    mod show;
    mod source_state;
    mod upkeep;
}

/// The same tests on a catalog that speaks HTTP.
#[path = "tests"]
#[allow(clippy::duplicate_mod, reason = "one suite, every catalog")]
mod on_rest {
    mod support {
        pub use crate::tests::support::{RestWorld as World, *};
    }
    use crate::tests::readers;

    mod answers;
    mod commits;
    mod crashes;
    mod delete;
    mod evolve;
    mod lost;
    mod many;
    mod merge;
    mod races;
    mod readback;
    mod refs;
    mod rejects;
    mod replay;
    mod reshape;
    mod show;
    mod source_state;
    mod upkeep;
}

/// The same tests on a warehouse in a bucket.
#[path = "tests"]
#[allow(clippy::duplicate_mod, reason = "one suite, every store")]
mod on_s3 {
    mod support {
        pub use crate::tests::support::{S3World as World, *};
    }
    use crate::tests::readers;

    mod answers;
    mod evolve;
    mod lost;
    mod races;
    mod readback;
    mod refs;
    mod rejects;
    mod replay;
    mod show;
    mod source_state;
}

/// What others read, with Postgres and a bucket.
#[path = "tests"]
#[allow(clippy::duplicate_mod, reason = "one suite, every catalog and store")]
mod on_postgres_and_s3 {
    mod support {
        pub use crate::tests::support::{PostgresS3World as World, *};
    }
    use crate::tests::readers;

    mod readback;
}

/// What others read, with a catalog that speaks HTTP and a bucket.
#[path = "tests"]
#[allow(clippy::duplicate_mod, reason = "one suite, every catalog and store")]
mod on_rest_and_s3 {
    mod support {
        pub use crate::tests::support::{RestS3World as World, *};
    }
    use crate::tests::readers;

    mod readback;
}
