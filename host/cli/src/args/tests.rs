//! What the command line takes, and what it refuses.

use super::*;
use clap::CommandFactory;

#[test]
fn definition_is_sound() {
    Arguments::command().debug_assert();
}

#[test]
fn even_a_wrong_line_says_how_to_answer() {
    let table = [
        ("lakehost query x --format json", ErrorFormat::Json),
        ("lakehost runs --format=json --bogus", ErrorFormat::Json),
        ("lakehost query --format jsonl", ErrorFormat::JsonLine),
        ("lakehost query --format csv", ErrorFormat::None),
        ("lakehost runs --format", ErrorFormat::None),
    ];
    for (line, expected) in table {
        let words: Vec<std::ffi::OsString> = line.split_whitespace().map(Into::into).collect();
        assert_eq!(ErrorFormat::of_raw_arguments(&words), expected, "{line}");
    }
}

#[test]
fn the_contract_parses() {
    let lines = [
        "lakehost run --plugin nyc_tlc.wasm --month 2024-01",
        "lakehost run --plugin a.wasm --month 2024-01..2024-06 --cleaner b.wasm --cleaner c.wasm --config a=1 --config b=2 \
         --cleaner-config x=1 --allow https://a/ --table raw.t --warehouse w --profile p --partition-by day(a),b --write-mode append \
         --verify footer --metadata-columns --allow-empty --only-missing --keep-going --dry-run --memory 1GiB --format json",
        "lakehost run --plugin a.wasm --write-mode merge --key id,region --order-by updated_at --sort-by -at,id",
        "lakehost run yellow_trips --day 2024-01-31",
        "lakehost query SELECT --as-of now --format jsonl --limit 0",
        "lakehost table rollback raw.t 17 --yes",
        "lakehost table tag raw.t v1 --at 2024-01-31 --keep 30days",
        "lakehost table tag raw.t v1 --drop",
        "lakehost table branch raw.t trial",
        "lakehost table publish raw.t audit/1 --unchecked --format json",
        "lakehost table discard raw.t audit/1 --yes",
        "lakehost init",
        "lakehost init --schema",
        "lakehost runs --format json",
        "lakehost resolve",
        "lakehost snapshots raw.t",
        "lakehost plugin inspect nyc_tlc.wasm",
        "lakehost explain LH0301",
        "lakehost doctor",
        "lakehost completions bash",
        "lakehost rejects list",
        "lakehost rejects show raw.t --window 2024-01 --rule cast:fare --limit 0 --format json",
    ];
    for line in lines {
        let parsed = Arguments::try_parse_from(line.split_whitespace());
        assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
    }
    for line in [
        "lakehost run",
        "lakehost run p --plugin x",
        "lakehost run p --month 2024-01 --day 2024-01-01",
        "lakehost run p --bogus",
        "lakehost run p --only-missing --force",
    ] {
        assert!(Arguments::try_parse_from(line.split_whitespace()).is_err(), "{line}");
    }
}
