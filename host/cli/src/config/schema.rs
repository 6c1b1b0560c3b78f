//! The JSON Schema of `lakehost.toml`, for editors: `lakehost init --schema` prints it.

mod profile;

use serde_json::{Value, json};

use self::profile::profile;

/// The schema. A test holds it against what `file.rs` accepts.
pub fn schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "lakehost.toml",
        "description": "What lakehost loads, and where to",
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "profile": {
                "type": "object",
                "description": "Where tables lie, by name; `local` is used when nobody says otherwise",
                "additionalProperties": profile(),
            },
            "pipeline": {
                "type": "object",
                "description": "What is loaded, by name",
                "additionalProperties": {
                    "type": "object",
                    "additionalProperties": false,
                    "required": ["plugin"],
                    "properties": pipeline(),
                },
            },
        },
    })
}

/// The keys of a pipeline.
fn pipeline() -> Value {
    let text = |about: &str| json!({ "type": "string", "description": about });
    let settings =
        json!({ "type": "object", "description": "Settings of the plugin; `lakehost plugin inspect` lists them" });
    json!({
        "plugin": text("Source component: a path relative to this file, or one that the binary carries"),
        "config": settings,
        "allow": {
            "type": "array", "items": { "type": "string" },
            "description": "URL prefixes that the source may reach; `clock`, `random`. A shipped plugin reaches what it asks for when this is missing, else no more than this",
        },
        "table": text("namespace.name; the source's own when missing"),
        "write": {
            "enum": ["replace-window", "append", "full-refresh", "merge"],
            "description": "What becomes of rows that are there",
        },
        "key": {
            "type": "array", "items": { "type": "string" },
            "description": "Columns that tell rows apart, for merge; the source's key when missing",
        },
        "order_by": text("Of several new rows with one key the one with the greatest value in this column counts, for merge; the source's cursor when missing"),
        "sort_by": {
            "type": "array", "items": { "type": "string" },
            "description": "What the rows of each data file are sorted by: pickup_datetime, -fare",
        },
        "partition_by": {
            "type": "array", "items": { "type": "string" },
            "description": "Partition fields beyond the window: day(pickup_datetime), bucket(16, customer_id)",
        },
        "schema": {
            "enum": ["freeze", "evolve", "discard_row", "discard_value"],
            "description": "What becomes of columns that differ from the table's: refused, taken over, or their rows or values left out",
        },
        "columns": columns(),
        "rename": {
            "type": "object", "additionalProperties": { "type": "string" },
            "description": "Columns that get another name and stay the same column: new = \"old\"",
        },
        "verify": {
            "enum": ["pages", "footer"],
            "description": "How files that are taken as they are get proven",
        },
        "max_rejected": {
            "anyOf": [
                { "type": "string", "pattern": "^\\s*[0-9]+([.][0-9]+)?\\s*%$" },
                { "type": "number", "minimum": 0, "maximum": 1 },
            ],
            "description": "More rejected rows than this share fail the window",
        },
        "quarantine": {
            "type": "boolean",
            "description": "Keep rejected rows in <table>__rejected; true when missing",
        },
        "raw_landing": { "type": "boolean", "description": "Store the source files themselves, in raw_data/ of the warehouse" },
        "publish": {
            "enum": ["window", "run"],
            "description": "When readers see what is loaded: each window as it ends (when missing), or all of a run at once, on Nessie",
        },
        "metadata_columns": { "type": "boolean", "description": "Add ingested_at and source_file" },
        "maintenance": maintenance(),
        "models": text("A dbt project, relative to this file: after a load the models that read its table are built"),
        "cleaner": {
            "type": "array",
            "description": "Row cleaners, in order",
            "items": {
                "type": "object",
                "additionalProperties": false,
                "required": ["plugin"],
                "properties": { "plugin": text("Cleaner component"), "config": settings },
            },
        },
        "check": {
            "type": "array", "items": check(),
            "description": "Checks on what is about to be published, one kind each",
        },
    })
}

/// `columns` of a pipeline.
fn columns() -> Value {
    json!({
        "type": "object",
        "description": "What becomes of single columns, by name",
        "additionalProperties": {
            "type": "object",
            "additionalProperties": false,
            "required": ["schema"],
            "properties": {
                "schema": {
                    "enum": ["freeze", "evolve", "discard_row", "discard_value"],
                    "description": "As the pipeline's own `schema`",
                },
            },
        },
    })
}

/// `maintenance` of a pipeline.
fn maintenance() -> Value {
    let count = |about: &str| json!({ "type": "integer", "minimum": 0, "description": about });
    let text = |about: &str| json!({ "type": "string", "description": about });
    json!({
        "description": "Whether the table is kept small after each run that loaded something; auto takes the usual limits",
        "anyOf": [
            { "enum": ["auto", "off"] },
            {
                "type": "object",
                "additionalProperties": false,
                "properties": {
                    "files": count("A window with more files, small on the average, is compacted; usually 20"),
                    "average_size": text("Small is below this: 64MiB"),
                    "manifests": count("With more manifests they are written anew; usually 200"),
                    "snapshots": count("With more snapshots old ones expire; usually 200"),
                    "keep": count("So many of the newest snapshots stay whatever their age; usually 100"),
                    "older_than": text("Younger snapshots stay: 5 days"),
                },
            },
        ],
    })
}

/// One section of `[[pipeline.NAME.check]]`.
fn check() -> Value {
    let text = |about: &str| json!({ "type": "string", "description": about });
    let names = |about: &str| {
        json!({
            "anyOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" }, "minItems": 1 }],
            "description": about,
        })
    };
    let of = |about: &str, required: &[&str], properties: Value| {
        json!({
            "type": "object", "additionalProperties": false, "required": required,
            "properties": properties, "description": about,
        })
    };
    let column = || text("A column of the table");
    json!({
        "type": "object",
        "additionalProperties": false,
        "properties": {
            "name": text("How reports call it; else kind and columns"),
            "severity": { "enum": ["error", "warn"], "description": "warn publishes and says so" },
            "not_null": names("No row has a null there"),
            "unique": names("No two rows of the table share these values"),
            "accepted_values": of(
                "The column has these values only", &["column", "values"],
                json!({ "column": column(), "values": { "type": "array", "minItems": 1 } }),
            ),
            "range": of(
                "The column lies within bounds, both included", &["column"],
                json!({ "column": column(), "min": {}, "max": {} }),
            ),
            "regex": of(
                "The text matches somewhere", &["column", "pattern"],
                json!({ "column": column(), "pattern": text("^…$ for the whole text") }),
            ),
            "row_count": of(
                "About as many rows as in the window before", &["within"],
                json!({ "within": { "anyOf": [{ "type": "string" }, { "type": "number" }] } }),
            ),
            "freshness": of(
                "The newest value of the table is no older", &["column", "max_age"],
                json!({ "column": column(), "max_age": text("2 days, 90 minutes") }),
            ),
            "foreign_key": of(
                "Every value is in the other column", &["column", "references"],
                json!({ "column": column(), "references": text("namespace.table.column") }),
            ),
            "sql": text("A statement that answers no row; {table} is the table as it would be"),
            "dbt": {
                "anyOf": [
                    { "type": "string" },
                    of(
                        "Tests of another project than `models`", &["select"],
                        json!({
                            "project": text("Its folder, relative to this file"),
                            "select": text("dbt's words for --select"),
                            "exclude": text("dbt's words for --exclude"),
                        }),
                    ),
                ],
                "description": "Tests of the dbt project that read the table as a source, in dbt's words for --select",
            },
        },
    })
}

#[cfg(test)]
mod tests {
    use lakehost_pipeline::Diagnostic;

    use super::*;
    use crate::config::file;

    /// serde names all keys that it knows when it meets one that it does not.
    fn known_keys(section: &str) -> Vec<String> {
        let error = toml::from_str::<file::File>(&format!("{section}\nzzzzzzzz = 1\n")).expect_err(section);
        let mut keys: Vec<String> = error.message().split('`').skip(1).step_by(2).skip(1).map(str::to_owned).collect();
        keys.sort();
        keys
    }

    #[test]
    fn the_schema_lists_the_keys_that_the_file_accepts() {
        let schema = schema();
        for (section, pointer) in [
            ("", "/properties"),
            ("[profile.a]", "/properties/profile/additionalProperties/properties"),
            (
                "[profile.a.catalog]\nuri = \"x\"",
                "/properties/profile/additionalProperties/properties/catalog/anyOf/1/properties",
            ),
            (
                "[profile.a.trino]\nuri = \"x\"\ncatalog = \"y\"",
                "/properties/profile/additionalProperties/properties/trino/properties",
            ),
            ("[profile.a.s3]", "/properties/profile/additionalProperties/properties/s3/properties"),
            ("[pipeline.a]\nplugin = \"x\"", "/properties/pipeline/additionalProperties/properties"),
            (
                "[[pipeline.a.cleaner]]\nplugin = \"x\"",
                "/properties/pipeline/additionalProperties/properties/cleaner/items/properties",
            ),
            (
                "[[pipeline.a.check]]\nname = \"x\"",
                "/properties/pipeline/additionalProperties/properties/check/items/properties",
            ),
            (
                "[pipeline.a.columns.b]\nschema = \"freeze\"",
                "/properties/pipeline/additionalProperties/properties/columns/additionalProperties/properties",
            ),
        ] {
            let mut listed: Vec<String> =
                schema.pointer(pointer).and_then(Value::as_object).unwrap().keys().cloned().collect();
            listed.sort();
            assert_eq!(listed, known_keys(section), "{section:?}");
        }
    }

    #[test]
    fn every_word_of_the_schema_parses() {
        let schema = schema();
        for key in ["write", "schema", "verify"] {
            let pointer = format!("/properties/pipeline/additionalProperties/properties/{key}/enum");
            for word in schema.pointer(&pointer).and_then(Value::as_array).unwrap() {
                let text = format!("[pipeline.a]\nplugin = \"x\"\n{key} = {word}\n");
                let parsed = file::parse(&text, "lakehost.toml");
                assert!(parsed.is_ok(), "{text}: {:?}", parsed.map_err(|error| error.inputs()));
            }
        }
    }
}
