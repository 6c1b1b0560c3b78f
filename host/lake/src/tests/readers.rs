//! What PyIceberg and DuckDB see of a table, by the Python of `LAKEHOST_PYTHON`.

use std::process::Command;

use serde_json::Value;

use super::support::World;

/// Every branch and tag of a table as the two read it, their rows equal.
pub fn read(world: &World, table: &str) -> Value {
    let python = std::env::var("LAKEHOST_PYTHON")
        .expect("LAKEHOST_PYTHON is not set; `cargo xtask test` makes that environment and says where it is");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/python/read_refs.py");
    let output = Command::new(python).arg(script).arg(world.for_pyiceberg().to_string()).arg(table).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap();
    for (name, reference) in answer["refs"].as_object().unwrap() {
        assert_eq!(reference["pyiceberg"], reference["duckdb"], "{name}");
    }
    answer
}
