//! Values of the wrong type in `lakehost.toml`, in the file's own words: which key, what stands there, what belongs there and how it is written.

/// What a key holds.
struct Key {
    name: &'static str,
    holds: &'static str,
    example: &'static str,
}

const KEYS: &[Key] = &[
    Key { name: "plugin", holds: "text", example: "plugin = \"nyc_tlc.wasm\"" },
    Key { name: "config", holds: "a table of settings", example: "config = { dataset = \"green\" }" },
    Key { name: "allow", holds: LIST, example: "allow = [\"https://data.example.com/\"]" },
    Key { name: "table", holds: "text", example: "table = \"raw.green_trips\"" },
    Key { name: "write", holds: "a word", example: "write = \"replace-window\"" },
    Key { name: "key", holds: LIST, example: "key = [\"id\"]" },
    Key { name: "order_by", holds: "text", example: "order_by = \"updated_at\"" },
    Key { name: "sort_by", holds: LIST, example: "sort_by = [\"pickup_datetime\", \"-fare\"]" },
    Key { name: "partition_by", holds: LIST, example: "partition_by = [\"day(pickup_datetime)\"]" },
    Key { name: "schema", holds: "a word", example: "schema = \"freeze\"" },
    Key { name: "verify", holds: "a word", example: "verify = \"pages\"" },
    Key { name: "max_rejected", holds: "a percentage or a share", example: "max_rejected = \"5%\"" },
    Key { name: "quarantine", holds: "true or false", example: "quarantine = false" },
    Key { name: "columns", holds: "a section for each column", example: "columns.fee.schema = \"discard_value\"" },
    Key { name: "rename", holds: "a table of names", example: "rename = { airport_fee = \"Airport_fee\" }" },
    Key { name: "metadata_columns", holds: "true or false", example: "metadata_columns = true" },
    Key { name: "raw_landing", holds: "true or false", example: "raw_landing = true" },
    Key { name: "publish", holds: "a word", example: "publish = \"run\"" },
    Key { name: "branch", holds: "text", example: "branch = \"main\"" },
    Key { name: "maintenance", holds: "a word or limits", example: "maintenance = \"auto\"" },
    Key { name: "models", holds: "text", example: "models = \"dbt_project\"" },
    Key { name: "cleaner", holds: "a list of sections", example: "[[pipeline.NAME.cleaner]]" },
    Key { name: "check", holds: "a list of sections", example: "[[pipeline.NAME.check]]" },
    Key { name: "warehouse", holds: "text", example: "warehouse = \"./warehouse\"" },
    Key {
        name: "catalog",
        holds: "a URI or a section",
        example: "catalog = \"postgresql://lake@db.example.com/iceberg\"",
    },
    Key { name: "s3", holds: "a section", example: "s3 = { endpoint = \"https://s3.example.com\" }" },
    Key {
        name: "trino",
        holds: "a section",
        example: "trino = { uri = \"https://trino.example.com\", catalog = \"lake\" }",
    },
    Key {
        name: "branch_catalog",
        holds: "a table of properties",
        example: "branch_catalog = { \"s3.region\" = \"eu-west-1\" }",
    },
    Key { name: "maintained_by", holds: "a word", example: "maintained_by = \"trino\"" },
    Key { name: "uri", holds: "text", example: "uri = \"https://catalog.example.com/iceberg\"" },
    Key { name: "headers", holds: "a table of headers", example: "headers = { x-tenant = \"a\" }" },
    Key { name: "path_style", holds: "true or false", example: "path_style = true" },
    Key { name: "allow_http", holds: "true or false", example: "allow_http = true" },
    Key { name: "vended_credentials", holds: "true or false", example: "vended_credentials = true" },
    Key { name: "atomic_transactions", holds: "true or false", example: "atomic_transactions = true" },
    Key { name: "nessie", holds: "true or false", example: "nessie = true" },
    Key { name: "timeout_seconds", holds: "a number", example: "timeout_seconds = 30" },
    Key { name: "memory", holds: "text", example: "memory = \"512MiB\"" },
    Key { name: "profile", holds: "a section for each name", example: "[profile.local]" },
    Key { name: "pipeline", holds: "a section for each name", example: "[pipeline.green_trips]" },
];
const LIST: &str = "a list of texts";

/// Message and hint for serde's sentence about a wrong type; `None`: it is about something else. `key`: the key or section it is about, when known.
pub fn reworded(sentence: &str, key: Option<&str>) -> Option<(String, Option<String>)> {
    // All that is said of a word, such as that of `write`.
    if let (Some(name), "wanted string or table") = (key, sentence) {
        let known = KEYS.iter().find(|known| known.name == name);
        return Some((
            format!(
                "`{name}` has a value that is no text, and {} belongs there",
                known.map_or("text", |known| known.holds)
            ),
            known.map(|known| format!("write it as {}", known.example)),
        ));
    }
    let rest = sentence.strip_prefix("invalid type: ")?;
    let (found, wanted) = rest.rsplit_once(", expected ")?;
    let stands = stands(found);
    let Some(name) = key else {
        return Some((format!("{stands} stands where {} belongs", expected(wanted)), None));
    };
    let section = name.rsplit('.').next().unwrap_or(name);
    match KEYS.iter().find(|known| known.name == section) {
        // One of the items, not the list.
        Some(known) if known.holds == LIST && wanted.contains("string") => Some((
            format!("`{name}` holds {stands}, and each of its items is text"),
            Some(format!("write it as {}", known.example)),
        )),
        Some(known) => {
            let message = format!("`{name}` is {stands}, and {} belongs there", known.holds);
            let text = found.strip_prefix("string ").filter(|_| known.holds == LIST);
            let hint = match text {
                Some(text) => format!("write {section} = [{text}]"),
                None if known.holds == "a list of sections" && found == "map" => {
                    format!("write [[{name}]], with two brackets on each side")
                }
                None => format!("write it as {}", known.example),
            };
            Some((message, Some(hint)))
        }
        None => {
            let hint = name.contains('.').then(|| format!("write it as a section: [{name}]"));
            Some((format!("`{name}` is {stands}, and {} belongs there", expected(wanted)), hint))
        }
    }
}

/// What stands in the file, for people.
fn stands(found: &str) -> String {
    match found.split_once(' ') {
        Some(("string", text)) => format!("the text {text}"),
        Some(("integer", number)) => format!("the number {}", number.trim_matches('`')),
        Some(("floating", number)) => format!("the number {}", number.trim_start_matches("point ").trim_matches('`')),
        Some(("boolean", word)) => word.trim_matches('`').to_owned(),
        _ => match found {
            "sequence" => "a list".to_owned(),
            "map" => "a section".to_owned(),
            other => other.to_owned(),
        },
    }
}

fn expected(wanted: &str) -> &str {
    match wanted {
        "a string" => "text",
        "a sequence" => "a list",
        "a boolean" => "true or false",
        wanted if wanted.starts_with("struct") || wanted == "a map" => "a section",
        wanted => wanted,
    }
}

/// The key or section that a place in the file belongs to: `plugin`, or `pipeline.a.cleaner` of a section's head.
pub fn key_at(text: &str, offset: usize) -> Option<String> {
    let start = text.get(..offset)?.rfind('\n').map_or(0, |end| end + 1);
    let line = text.get(start..)?.lines().next()?.trim();
    if line.starts_with('[') && !text.get(start..offset)?.contains(['=', '"']) && !line.contains('"') {
        let head = line.split('#').next().unwrap_or(line).trim();
        return Some(head.trim_matches(['[', ']', ' ']).to_owned());
    }
    // The last `key =` before the place, on its line or above it.
    let before = text.get(..offset)?;
    let (before, _) = before.rsplit_once('=').or_else(|| line.split_once('=').map(|_| (before, "")))?;
    let key = before.trim_end().rsplit(|c: char| !(c.is_alphanumeric() || "_-.".contains(c))).next()?;
    (!key.is_empty()).then(|| key.to_owned())
}
