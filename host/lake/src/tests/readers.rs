//! What PyIceberg and DuckDB see of a table, where `LAKEHOST_PYTHON` names a Python that has them.

use std::process::Command;

use serde_json::Value;

use super::support::World;

/// Every branch and tag of a table as the two read it, their rows equal. `None`: there is no such Python, which the test's output says.
pub fn read(world: &World, table: &str) -> Option<Value> {
    let Ok(python) = std::env::var("LAKEHOST_PYTHON") else {
        eprintln!("skipped: PyIceberg and DuckDB (LAKEHOST_PYTHON is not set)");
        return None;
    };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/python/read_refs.py");
    let output = Command::new(python).arg(script).arg(world.for_pyiceberg().to_string()).arg(table).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    if let Some(missing) = answer.get("skipped") {
        eprintln!("skipped: PyIceberg and DuckDB on {:?} ({missing})", world.place);
        return None;
    }
    for (name, reference) in answer["refs"].as_object().unwrap() {
        assert_eq!(reference["pyiceberg"], reference["duckdb"], "{name}");
    }
    Some(answer)
}
