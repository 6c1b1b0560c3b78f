//! Every error code that people meet, with its one-line title. Each has a page in `docs/errors/`.

use crate::diagnostic::Code;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $code:literal, $title:literal;)*) => {
        $( #[doc = $title] pub const $name: Code = Code($code); )*
        /// All codes with their titles, in order.
        pub const ALL: &[(Code, &str)] = &[$(($name, $title)),*];
    };
}

codes! {
    USAGE = "LH0101", "a flag or argument is wrong or missing";
    CONFIG_FILE = "LH0102", "lakehost.toml cannot be read or has a wrong key or value";
    PIPELINE_UNKNOWN = "LH0103", "no pipeline of that name";
    PLUGIN_CONFIG = "LH0104", "the plugin refuses its configuration";
    WINDOW = "LH0105", "the window is not one that the plugin has";
    TABLE_OWNER = "LH0106", "the table belongs to another load";
    QUERY = "LH0107", "the SQL statement is wrong";
    PROFILE = "LH0108", "the profile is not there or cannot work";
    REFERENCE = "LH0109", "no such snapshot, branch or tag, or its name is taken";
    PLUGIN_TRAP = "LH0201", "a plugin crashed";
    PLUGIN_DEADLINE = "LH0202", "a plugin used up its CPU time";
    PLUGIN_MEMORY = "LH0203", "a plugin used up its memory";
    PLUGIN_CONTRACT = "LH0204", "a plugin broke the contract";
    PLUGIN_BATCH = "LH0205", "a plugin handed over bytes that are not a sound batch";
    PLUGIN_LOAD = "LH0206", "a file is not a plugin that this lakehost can load";
    PLUGIN_HOST_CALL = "LH0207", "a host call of a plugin took too long";
    PLUGIN_INTERNAL = "LH0208", "a plugin reports a fault of its own";
    PLUGIN_BUDGET = "LH0209", "a plugin went over a budget";
    SOURCE_NOT_PUBLISHED = "LH0301", "upstream has not published the window yet";
    SOURCE_NOT_FOUND = "LH0302", "upstream does not have what was asked for";
    SOURCE_REFUSED = "LH0303", "upstream refuses access";
    SOURCE_UNAVAILABLE = "LH0304", "upstream is down or the connection broke";
    SOURCE_RATE_LIMITED = "LH0305", "upstream asks to slow down";
    SOURCE_INVALID = "LH0306", "upstream sent bytes that are not what they should be";
    SOURCE_CHANGED = "LH0307", "the file changed upstream during the download";
    DATA_SCHEMA = "LH0401", "columns or types came that the table does not have";
    DATA_EMPTY = "LH0402", "a window that should have rows has none";
    DATA_BALANCE = "LH0403", "rows are not accounted for";
    DATA_REJECTED = "LH0404", "more rows were rejected than the pipeline allows";
    DATA_CONTRACT = "LH0405", "a column changed and the contract forbids it";
    DATA_CHECK = "LH0406", "a check failed; nothing was published";
    DATA_KEY = "LH0407", "a merge has no usable key";
    DATA_DIFFERENT = "LH0408", "a load made again came to other rows";
    STORE_IO = "LH0501", "the warehouse cannot be read or written";
    STORE_MISSING = "LH0502", "a file of the table is missing or damaged";
    STORE_ACCESS = "LH0503", "the object store refuses access";
    STORE_BUCKET = "LH0504", "the object store has no such bucket";
    CATALOG_IO = "LH0601", "the catalog cannot be read or written";
    CATALOG_CONFLICT = "LH0602", "another load changed the same window";
    CATALOG_TABLE = "LH0603", "the table is not as the load expects it";
    CATALOG_NO_TABLE = "LH0604", "no such table";
    CATALOG_BUSY = "LH0605", "too many writers at once";
    CATALOG_ACCESS = "LH0606", "the catalog refuses access";
    CATALOG_UNABLE = "LH0607", "the catalog cannot do what was asked";
    CATALOG_MERGE = "LH0608", "others changed the tables that a run would publish";
    COMMIT_UNKNOWN = "LH0651", "it is not known whether the commit landed";
    MODELS_FAILED = "LH0701", "a model or one of its tests failed; the loaded data is committed";
    MODELS_PROJECT = "LH0702", "dbt cannot run the project";
    MODELS_ENVIRONMENT = "LH0703", "dbt cannot be set up on this machine";
    TRINO_STATEMENT = "LH0721", "Trino ends a statement with an error";
    TRINO_UNAVAILABLE = "LH0722", "Trino cannot be reached";
    TRINO_ACCESS = "LH0723", "Trino refuses access";
    TRINO_UNKNOWN = "LH0724", "it is not known whether Trino carried out a statement";
    TRUST_GRANT = "LH0801", "a plugin asks for something that was not granted";
    TRUST_UNKNOWN_PLUGIN = "LH0802", "an unknown plugin asks for grants and nobody approved them";
    BUG = "LH0901", "a bug in lakehost";
    MACHINE_DISK = "LH1001", "the disk is full or cannot be used";
    MACHINE_MEMORY = "LH1002", "the memory budget does not hold the work";
    MACHINE_ADDRESS = "LH1003", "an address of this machine cannot be listened on";
    STACK_PROGRAM = "LH1011", "a program that the stack needs is missing";
    STACK_FETCH = "LH1012", "a part of the stack cannot be fetched, or is not what is pinned";
    STACK_SERVICE = "LH1013", "a service of the stack does not start or does not end";
    INTERRUPTED = "LH1099", "interrupted; the window under way was not committed";
}

/// The title of a code, when there is such a code.
pub fn title(code: &str) -> Option<&'static str> {
    ALL.iter().find(|(known, _)| known.0.eq_ignore_ascii_case(code)).map(|(_, title)| *title)
}
