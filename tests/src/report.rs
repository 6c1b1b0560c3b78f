//! The history of a table as people, programs and browsers get it, and the present against an earlier state.

use anyhow::Result;

use crate::support::{Bench, expect};

const MONTHS: [&str; 3] =
    ["yellow_tripdata_2024-01.parquet", "yellow_tripdata_2024-02.parquet", "yellow_tripdata_2024-03.parquet"];

#[test]
fn a_history_is_a_page_a_document_and_a_table_of_the_same_numbers() -> Result<()> {
    let bench = Bench::serving(&MONTHS)?;
    let loaded = bench.load("yellow", "2024-01..2024-03", &[])?;
    expect(&loaded, 0, &["loaded", "loaded", "loaded"]);
    let first = loaded.json()?["windows"][0]["snapshot_id"].as_str().unwrap().to_owned();
    assert_eq!(bench.run(&["table", "tag", "raw.yellow_trips", "v1", "--at", &first])?.code, 0);

    for earlier in [first.as_str(), "v1"] {
        let told = ["snapshots", "raw.yellow_trips", "--against", earlier, "--format"];
        let json = bench.run(&[&told[..], &["json"]].concat())?.json()?;
        assert_eq!(json["snapshots"].as_array().unwrap().len(), 3);
        assert_eq!((&json["against"]["rows_before"], &json["against"]["rows_after"]), (&1_703.into(), &4_998.into()));
        assert_eq!(json["against"]["windows"].as_array().unwrap().len(), 2);
        let text = bench.run(&[&told[..], &["text"]].concat())?.stdout;
        assert!(text.contains("+3,295 rows (1,703 → 4,998)") && text.contains("2024-03"), "{text}");
        let page = bench.run(&[&told[..], &["html"]].concat())?.stdout;
        for part in [
            "<h1>raw.yellow_trips</h1>",
            "4,998",
            "1,703 → 4,998 (+3,295) rows",
            "2024-03",
            &first,
            "<svg",
            "nyc_tlc@0.1.0",
        ] {
            assert!(page.contains(part), "{part} in {page}");
        }
        for outside in ["<script", "src=", "href=", "url(", "@import"] {
            assert!(!page.contains(outside), "{outside}");
        }
    }
    let none = bench.run(&["snapshots", "raw.yellow_trips", "--against", "nosuch", "--format", "html"])?;
    assert_eq!((none.code, none.stdout.as_str()), (2, ""), "{}", none.stderr);
    let before = bench.run(&["snapshots", "raw.yellow_trips", "--against", "2001-01-01"])?;
    assert!(before.code == 2 && before.stderr.contains("had no rows yet"), "{}", before.stderr);
    Ok(())
}
