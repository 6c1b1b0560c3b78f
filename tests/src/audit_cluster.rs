//! dbt's tests as checks on a cluster: on Trino, by `FOR VERSION AS OF` a snapshot that is only on a branch of the REST catalog.

use anyhow::Result;

use crate::audit_dbt::{FEBRUARY, JANUARY, MARCH, pipeline, project, story};
use crate::cluster::Cluster;
use crate::support::python;

#[test]
fn a_bad_month_is_refused_by_dbts_tests_on_trino() -> Result<()> {
    let python = python()?;
    let cluster = Cluster::start(&[JANUARY, FEBRUARY, MARCH], "trino")?;
    let (bench, file) = (&cluster.bench, cluster.file());
    let beside = std::path::Path::new(&file).with_file_name("dbt_project");
    project(bench.dir.path())?;
    std::fs::rename(bench.dir.path().join("dbt_project"), beside)?;
    let text = std::fs::read_to_string(&file)? + "\n" + &pipeline(bench, "")?;
    std::fs::write(&file, text)?;
    story(bench, &python, "trino", &["--profile", "stack", "--file", &file])
}
